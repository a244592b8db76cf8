"""The conic program against a generic optimiser in logits, and its refusals."""

import numpy as np
import pytest
from scipy.optimize import minimize

from distalign import InputError
from distalign.divergences import divergence
from distalign.oracles.regularised import NAMES, regularised_optimum

SMOOTH = (
    "reverse_kl",
    "forward_kl",
    "alpha:0.3",
    "jensen_shannon",
    "squared_hellinger",
    "jeffreys",
    "chi2_plus_kl",
)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("beta", [2.0, 0.3])
def test_against_descent_in_logits(name, beta):
    """The generic optimiser reads f from the divergence table, which the oracle does not."""
    rng = np.random.default_rng(4)
    reward, ref = rng.normal(size=6), rng.dirichlet(np.full(6, 3.0))

    def negative(z):
        p = np.exp(z - z.max())
        p /= p.sum()
        return float(beta * ref @ divergence(name).f(p / ref) - reward @ p)

    found = minimize(negative, np.log(ref), method="BFGS", options={"gtol": 1e-9})
    p = np.exp(found.x - found.x.max())
    np.testing.assert_allclose(regularised_optimum(reward, ref, beta, name), p / p.sum(), atol=2e-6)


def test_names_cover_the_table():
    from distalign.divergences import NAMES as TABLE

    assert set(NAMES) == set(TABLE)


@pytest.mark.parametrize(
    ("beta", "name", "message"), [(1.0, "renyi", "divergence must be one of"), (0.0, "chi2", "beta must be")]
)
def test_bad_input(beta, name, message):
    with pytest.raises(InputError, match=message):
        regularised_optimum([0.0, 1.0], [0.5, 0.5], beta, name)
