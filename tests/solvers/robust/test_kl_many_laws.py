"""Fits of many samples of one law at a temperature: their common start, and what they are worth alone."""

import numpy as np
import pytest
from scipy.special import expit, logsumexp

from distalign.solvers.robust.kl_fit import _common_start, _losses_and_slopes, fit_kl_temperature


def samples(n, replicates, seed=0):
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(12, 3))
    v = np.concatenate([v, -v])
    p = expit(v @ [1.0, -0.5, 0.3]) / 12
    return v, rng.multinomial(n, p, replicates) / n


@pytest.mark.parametrize("temperature", [0.05, 0.3, np.inf])
@pytest.mark.parametrize("n", [40, 10**3, 10**7])
def test_each_of_many_is_what_it_is_alone_and_certified(n, temperature):
    v, laws = samples(n, 30)
    together = fit_kl_temperature(v, laws, temperature=temperature)
    for i, law in enumerate(laws):
        alone = fit_kl_temperature(v, law, temperature=temperature)
        assert together.solved[i] == alone.solved[0]
        if alone.solved[0]:
            np.testing.assert_allclose(together.theta[i], alone.theta[0], rtol=1e-7, atol=1e-8)
    on = together.solved
    assert on.any()
    # The robust loss and its gradient by the definition.
    margins = together.theta[on] @ v.T
    losses, p = np.logaddexp(0, -margins), laws[on]
    if temperature == np.inf:
        value, q = (p * losses).sum(-1), p
    else:
        value = temperature * logsumexp(losses / temperature, b=p, axis=-1)
        q = p * np.exp((losses - value[:, None]) / temperature)
    np.testing.assert_allclose(together.dual[on], value, atol=1e-13)
    np.testing.assert_allclose(together.primal[on], value, atol=1e-12)
    assert np.abs((q * expit(-margins)) @ v).max() < 1e-10


def test_the_common_start_is_of_second_order():
    v, laws = samples(10**5, 20)
    start, best = _common_start(v, laws, 0.3), fit_kl_temperature(v, laws, temperature=0.3).theta
    center = fit_kl_temperature(v, laws.mean(0), temperature=0.3).theta
    far, near = np.abs(center - best).max(), np.abs(start - best).max()
    assert 1e-3 < far < 0.1
    assert near < 3 * far**2


def test_losses_at_margins_of_any_size():
    margins = np.array([[-1e4, -800.0, -30.0, 0.0, 1e-9, 30.0, 800.0, 1e4]])
    for some in (margins, margins[:, 2:], margins[:, 2:6]):
        losses, slopes = _losses_and_slopes(some)
        np.testing.assert_allclose(losses, np.logaddexp(0, -some), rtol=1e-15, atol=2e-16)
        np.testing.assert_allclose(slopes, expit(-some), rtol=1e-13)
