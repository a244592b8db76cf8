"""What theory says of the losses, against the gradients of the objectives; plateaus row by row."""

import numpy as np
import pytest
import torch

from distalign.objectives import ddro, rdro
from distalign.preferences import PreferenceLogProbs
from distalign.theory.density_ratio import plateaus
from distalign.theory.density_ratio.asymptotics import total_variation_constant, unpaired_covariance
from distalign.theory.density_ratio.losses import LOSSES, coefficients
from distalign.theory.density_ratio.stress import parametric_constants


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("t", [0.3, 0.65])
def test_coefficients_are_the_gradient_of_the_objective(loss, t):
    """One chosen and one rejected response with u = v = log rho: a class mean is the term itself."""
    method, form = loss.split()
    for rho in (0.2, 0.9, 1.4):
        ratios = [torch.tensor([np.log(rho)], requires_grad=True) for _ in range(2)]
        batch = PreferenceLogProbs(*ratios, *torch.zeros(2, 1, dtype=torch.float64))
        if method == "rdro":
            value = rdro(batch, alpha=t, form=form)
        elif form == "squash":
            value = ddro(batch, prior=t, stabiliser="squash", ratio_loss="label_mle")
        else:
            value = ddro(batch, prior=t, ratio_loss=form, stabiliser="none")
        value.backward()
        found = [float(c) for c in coefficients(loss, np.array(rho), t)]
        assert found == pytest.approx([r.grad.item() for r in ratios], rel=1e-10)


@pytest.mark.parametrize("estimator", ["sft", "rdro", "ddro"])
def test_constants_of_a_policy_with_scores_are_those_of_its_covariance(estimator):
    rng = np.random.default_rng(4)
    up, down = rng.dirichlet(np.full(7, 3.0)), rng.dirichlet(np.full(7, 3.0))
    scores = 0.3 * rng.normal(size=(7, 2))
    covariance = unpaired_covariance(estimator, up, down, 0.4, 0.3, scores)
    found = parametric_constants(estimator, up, down, 0.4, 0.3, scores)
    kl = 0.5 * (np.diag(covariance) / up).sum()
    assert found == pytest.approx((total_variation_constant(covariance), kl), rel=1e-9)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_equilibria_of_bco_are_found_row_by_row(shape):
    rng = np.random.default_rng(0)
    up, down = rng.gamma(3.0, size=(2, *shape, 4)) * 7
    ref = rng.dirichlet(np.full(4, 3.0))
    policy, solved = plateaus.bco_policy(up, down, ref, 0.6)
    assert policy.shape == (*shape, 4)
    assert solved.shape == shape
    assert solved.all()
    for p, a, b in zip(policy.reshape(-1, 4), up.reshape(-1, 4), down.reshape(-1, 4), strict=True):
        total = a.sum() + b.sum()
        reward = 0.6 * np.log(p / ref)
        shift = ((a + b) / total) @ reward
        g = 0.6 * ((a + b) / total / (1 + np.exp(shift - reward)) - a / total)
        assert p.sum() == pytest.approx(1)
        np.testing.assert_allclose(g, p * g.sum(), atol=1e-10)


def test_jacobian_of_the_equilibrium_is_that_of_its_residual():
    """Newton's method also arrives with a wrong Jacobian, later."""
    rng = np.random.default_rng(1)
    up, mass, q = (rng.dirichlet(np.full(4, 3.0), 2) for _ in range(3))
    theta, step = rng.normal(size=(2, 4)), 1e-6
    _, jacobian = plateaus._equilibrium(theta, up, mass, q[0], 0.6)
    for k in range(4):
        ends = [
            plateaus._equilibrium(theta + s * np.eye(4)[k], up, mass, q[0], 0.6)[0] for s in (step, -step)
        ]
        np.testing.assert_allclose(jacobian[..., k], (ends[0] - ends[1]) / (2 * step), atol=1e-8)
