"""Batched fits of margin losses against the solver of one loss, and the flipped law."""

import numpy as np
from torch import Tensor

from distalign.objectives import dpo
from distalign.populations import log_linear_bradley_terry
from distalign.simulation.studies.robust import toy
from distalign.solvers.robust.kl_fit import fit_kl_temperature

DRAWN = [
    log_linear_bradley_terry(np.random.default_rng(seed), 2, 3, 2, norm=2.0, beta=1.0) for seed in (0, 1)
]
V, P = (np.stack(arrays) for arrays in zip(*(toy.atoms(one) for one in DRAWN), strict=True))


def loss(theta: Tensor, v: Tensor, p: Tensor) -> Tensor:
    return dpo(toy.batch(v @ theta, p), beta=1.0)


def test_fits_find_the_parameter_of_each_population():
    theta, converged = toy.fits(loss, V, P)
    assert converged.all()
    np.testing.assert_allclose(theta, [one.theta_star for one in DRAWN], atol=1e-7)
    assert np.abs(theta - theta[::-1]).max() > 0.1


def test_shared_features_many_laws():
    laws = np.stack([P[0], toy.flipped(DRAWN[0]), 0.8 * P[0] + 0.2 * toy.flipped(DRAWN[0])])
    theta, converged = toy.fits(loss, V[0], laws)
    assert converged.all()
    np.testing.assert_allclose(theta, fit_kl_temperature(V[0], laws, temperature=np.inf).theta, atol=1e-7)
    np.testing.assert_allclose(theta[1], -theta[0], atol=1e-7)


def test_separable_data_are_not_certified():
    first = np.zeros_like(P[:1])
    first[0, 0] = 1.0
    assert not toy.fits(loss, V[0], first)[1].any()


def test_losses_and_cosines():
    theta = np.stack([one.theta_star for one in DRAWN])
    np.testing.assert_allclose(toy.losses(theta, V)[1], np.logaddexp(0, -V[1] @ theta[1]))
    np.testing.assert_allclose(toy.cosine(theta, -2 * theta), -1)
