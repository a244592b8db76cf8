"""The nearest dominating law against Strassen's coupling: moving each u up to its partner v costs (v -
u)_+.
"""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.oracles.dominance import nearest_dominating
from distalign.oracles.transport import transport_cost


@pytest.mark.parametrize("power", [1.0, 1.7, 3.0])
def test_least_distance_is_the_least_cost_of_moving_up(power):
    rng = np.random.default_rng(2)
    u, v, p, q = rng.normal(size=6), rng.normal(size=8), rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(8))
    found = nearest_dominating(u, v, power, p, q, np.concatenate([u, v, np.linspace(-3, 3, 9)]))
    assert found.cost == pytest.approx(
        transport_cost(u, v, lambda x: np.clip(-x, 0, None) ** power, p, q), abs=1e-9
    )
    cumulative = (v[None, :] <= found.support[:, None]) @ q
    assert (np.cumsum(found.weights) <= cumulative + 1e-9).all()


def test_a_support_below_v_is_refused():
    with pytest.raises(InputError, match="support"):
        nearest_dominating([0.0], [1.0], 2.0, [1.0], [1.0], [0.0, 0.5])
