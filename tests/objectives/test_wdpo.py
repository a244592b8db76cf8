"""WDPO: its penalty by finite differences, its minimiser by another road, and the adversarial form it stands
for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from objective_batches import pairs
from scipy.optimize import minimize

from distalign.checks import InputError
from distalign.objectives import dpo, wdpo
from distalign.preferences import PreferenceLogProbs as Batch

THETA_REF = torch.tensor([0.5, -0.3], dtype=torch.float64)
FORMS = [(form, through) for form in ("root", "squared") for through in ("ratio", "policy")]


def features(seed: int, n: int = 30) -> torch.Tensor:
    """(n, 2, 2): those of the chosen and of the rejected response, the first better along (1, 1) on
    average.
    """
    z = torch.randn(n, 2, 2, generator=torch.Generator().manual_seed(seed)).double()
    return z + torch.tensor([[0.4, 0.4], [0.0, 0.0]]).double()


def linear(
    theta: torch.Tensor,
    z: torch.Tensor,
    weights: torch.Tensor | None = None,
    ref_inputs: torch.Tensor | None = None,
) -> Batch:
    scores, ref = z @ theta, (z if ref_inputs is None else ref_inputs) @ THETA_REF
    return Batch(scores[:, 0], scores[:, 1], ref[:, 0], ref[:, 1], weights=weights, inputs=(z,))


def curved(theta: torch.Tensor, z: torch.Tensor) -> Batch:
    """A policy that bends in its inputs; policy and reference are the same network at two parameters."""
    scores, ref = (-torch.nn.functional.softplus((z @ t) ** 2 + z[..., 0]) for t in (theta, THETA_REF))
    return Batch(scores[:, 0], scores[:, 1], ref[:, 0], ref[:, 1], inputs=(z,))


@pytest.mark.parametrize(("form", "through"), FORMS)
def test_penalty_is_the_gradient_norm_by_finite_differences(form, through):
    z, theta = features(0, 5).requires_grad_(), torch.tensor([1.0, 0.7], dtype=torch.float64)
    loss = partial(wdpo, beta=1.0, radius=1.0, form=form, through=through)
    penalty = loss(curved(theta, z)) - dpo(curved(theta, z), beta=1.0)

    def losses(moved):
        batch, clean = curved(theta, moved), curved(theta, z)
        if through == "policy":
            batch = replace(batch, ref_chosen=clean.ref_chosen, ref_rejected=clean.ref_rejected)
        return torch.nn.functional.softplus(batch.rejected_ratio - batch.chosen_ratio)

    step, squares = 1e-5, torch.zeros(5, dtype=torch.float64)
    for entry in range(4):
        e = step * torch.eye(4).double()[entry].reshape(2, 2)
        squares += ((losses(z + e) - losses(z - e)) / (2 * step)) ** 2
    expected = squares.mean().sqrt() if form == "root" else squares.mean()
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-8)


@pytest.mark.parametrize(("form", "through"), FORMS)
def test_minimiser_over_log_linear_policies(form, through):
    """Against numpy's closed form of the penalty, ||grad|| = beta sigma(-t) ||(theta, -theta)||, minimised by
    scipy.
    """
    z, w = features(1), torch.rand(30, generator=torch.Generator().manual_seed(2)).double()
    p, v, ref = (w / w.sum()).numpy(), (z[:, 0] - z[:, 1]).numpy(), THETA_REF.numpy()

    def closed(theta):
        t = 0.5 * v @ (theta - ref)
        size = np.linalg.norm(theta - (ref if through == "ratio" else 0))
        squares = p @ (2 * (0.5 * size / (1 + np.exp(t))) ** 2)
        return p @ np.logaddexp(0, -t) + 0.2 * (np.sqrt(squares) if form == "root" else squares)

    def ours(theta):
        leaf = torch.tensor(theta, requires_grad=True)
        value = wdpo(
            linear(leaf, z.clone().requires_grad_(), w), beta=0.5, radius=0.2, form=form, through=through
        )
        return value.item(), torch.autograd.grad(value, leaf)[0].numpy()

    start = ref + np.array([0.3, 0.2])
    found = minimize(ours, start, jac=True, method="BFGS", options={"gtol": 1e-10})
    oracle = minimize(closed, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    np.testing.assert_allclose(found.x, oracle.x, atol=1e-5)
    assert found.fun == pytest.approx(oracle.fun, abs=1e-12)


@pytest.mark.parametrize("form", ["root", "squared"])
@pytest.mark.parametrize("radius", [1e-4, 1e-3, 1e-2])
def test_parameter_gradient_is_that_of_the_moved_inputs_to_first_order(form, radius):
    """The adversarial form needs one derivative less: DPO at inputs moved by 2 rho g, or by rho g / root of
    the mean square.
    """
    z, theta = features(3).requires_grad_(), torch.tensor([1.2, 0.4], dtype=torch.float64, requires_grad=True)
    exact = torch.autograd.grad(
        wdpo(linear(theta, z), beta=1.0, radius=radius, form=form, through="policy"), theta
    )[0]
    clean = linear(theta, z, ref_inputs=z.detach())
    g = torch.autograd.grad(torch.nn.functional.softplus(clean.rejected_ratio - clean.chosen_ratio).sum(), z)[
        0
    ]
    move = 2 * radius * g if form == "squared" else radius * g / (g**2).sum((1, 2)).mean().sqrt()
    adversarial = torch.autograd.grad(
        dpo(linear(theta, (z + move).detach(), ref_inputs=z.detach()), beta=1.0), theta
    )[0]
    plain = torch.autograd.grad(dpo(linear(theta, z.detach()), beta=1.0), theta)[0]
    assert (exact - adversarial).norm() < 3 * radius * (exact - plain).norm() + 1e-12
    assert (exact - plain).norm() > 0.1 * radius


def test_ratio_form_starts_with_no_penalty_and_a_finite_gradient():
    theta = THETA_REF.clone().requires_grad_()
    value = wdpo(linear(theta, features(4).requires_grad_()), beta=1.0, radius=0.5)
    assert value.item() == pytest.approx(np.log(2), abs=1e-15)
    gradient = torch.autograd.grad(value, theta)[0]
    plain = torch.autograd.grad(dpo(linear(theta, features(4)), beta=1.0), theta)[0]
    torch.testing.assert_close(gradient, plain)
    assert (
        wdpo(linear(theta, features(4).requires_grad_()), beta=1.0, radius=0.5, through="policy")
        > value + 0.01
    )


def test_weights_count_pairs():
    theta, z = torch.tensor([1.0, 0.0], dtype=torch.float64), features(5, 3)
    counted = wdpo(
        linear(theta, z.clone().requires_grad_(), torch.tensor([1.0, 2.0, 0.0])), beta=1.0, radius=0.3
    )
    repeated = wdpo(linear(theta, z[[0, 1, 1]].clone().requires_grad_()), beta=1.0, radius=0.3)
    assert counted.item() == pytest.approx(repeated.item(), rel=1e-14)


def test_inputs_must_be_usable():
    theta, z = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True), features(6)
    with pytest.raises(InputError, match="through='ratio' differentiates the reference"):
        wdpo(linear(theta, z.requires_grad_(), ref_inputs=z.detach()), beta=1.0, radius=0.1)
    with pytest.raises(InputError, match="inputs must require gradients"):
        wdpo(linear(theta, z.detach()), beta=1.0, radius=0.1, through="policy")
    unused = replace(linear(theta, z), inputs=(z, torch.zeros(30, 1, requires_grad=True)))
    with pytest.raises(InputError, match="no log-probability depends on"):
        wdpo(unused, beta=1.0, radius=0.1)
    with pytest.raises(InputError, match="wdpo reads inputs, which the batch does not have"):
        wdpo(pairs(7), beta=1.0, radius=0.1)
