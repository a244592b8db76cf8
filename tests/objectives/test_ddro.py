"""DDRO and RDRO: the coefficients of their gradients, the wall, and what stabilisers do beyond it."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from objective_batches import classes, gradients, ratios

from distalign.objectives import ddro, rdro, sft
from distalign.objectives.ddro import RATIO_LOSSES, STABILISERS
from distalign.preferences import PreferenceLogProbs

T, U, V = 0.3, np.array([-2.0, 0.0, 0.9]), np.array([-1.5, 0.3, 1.1])
RHO_U, RHO_V = np.exp(U), np.exp(V)


def ratio(rho):
    return (1 - T) * rho / (1 - T * rho)


def k(rho):
    return (1 - 2 * T) * rho / (1 + (1 - 2 * T) * rho)


COEFFICIENTS = {
    "label_mle": (-T + 0 * RHO_U, (1 - T) * T * RHO_V / (1 - T * RHO_V)),
    "logistic": (k(RHO_U) - 1, T * RHO_V / (1 - T * RHO_V) + k(RHO_V)),
    "lsif": (-ratio(RHO_U) / (1 - T * RHO_U), ratio(RHO_V) ** 2 / (1 - T * RHO_V)),
    "kliep": (-1 / (1 - T * RHO_U), ratio(RHO_V) / (1 - T * RHO_V)),
}


@pytest.mark.parametrize("name", RATIO_LOSSES)
def test_coefficients_of_the_gradient(name):
    """d loss / d u of one response, derived by hand; means are over three responses."""
    found = gradients(partial(ddro, prior=T, ratio_loss=name), ratios(U, V))
    for ours, expected in zip(found, COEFFICIENTS[name]):
        np.testing.assert_allclose(3 * ours.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("t_rho", [1e-9, 1e-3, 0.5, 0.999, 1 - 1e-4])
def test_coefficients_keep_their_digits_in_float32(t_rho):
    """From a response that is hardly ever preferred to one at the wall, where the force passes a thousand."""
    v = torch.tensor([math.log(t_rho / T)])
    exact = T * v.double().exp().item()
    slope = gradients(partial(ddro, prior=T), ratios([0.0], v, dtype=torch.float32))[1].item()
    assert slope == pytest.approx((1 - T) * exact / (1 - exact), rel=1e-5 / (1 - exact))
    assert slope > 1e3 or t_rho < 0.9999


def test_label_mle_is_the_likelihood_of_the_labels():
    """n up among n + m responses at prior n / (n + m): the Bernoulli log-likelihood with success probability
    t e^u.
    """
    batch = classes(0, 3, 7, spread=0.2)
    q = np.concatenate(
        [0.3 * np.exp(batch.chosen_ratio.numpy()), 1 - 0.3 * np.exp(batch.rejected_ratio.numpy())]
    )
    assert ddro(batch, prior=0.3).item() == pytest.approx(-np.log(q).mean(), rel=1e-13)


@pytest.mark.parametrize("name", RATIO_LOSSES)
def test_outside_the_domain_the_raw_loss_is_infinite_and_the_rest_keeps_its_gradient(name):
    loss = partial(ddro, prior=T, ratio_loss=name)
    batch = ratios([0.0, 0.5], [0.1, 5.0])
    assert loss(batch).item() == math.inf
    by_chosen, by_rejected = gradients(loss, batch)
    assert torch.isfinite(torch.cat([by_chosen, by_rejected])).all()
    assert (by_rejected != 0).tolist() == [True, False]
    assert loss(ratios([5.0], [0.0])).item() == (
        pytest.approx(-T * (5 + math.log(T)) - (1 - T) * math.log(1 - T)) if name == "label_mle" else math.inf
    )


@pytest.mark.parametrize("name", RATIO_LOSSES)
def test_a_response_without_mass_may_lie_outside(name):
    one = torch.tensor([1.0, 0.0])
    inside = ratios([0.2], [0.1])
    both = ratios([0.2, 7.0], [0.1, 7.0], weights=one, rejected_weights=one)
    loss = partial(ddro, prior=T, ratio_loss=name)
    assert loss(both).item() == pytest.approx(loss(inside).item(), rel=1e-14)
    assert torch.isfinite(torch.cat(gradients(loss, both))).all()


@pytest.mark.parametrize(("name", "stabiliser"), [*itertools.product(RATIO_LOSSES, STABILISERS)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_never_nan(name, stabiliser, dtype):
    loss = partial(ddro, prior=T, ratio_loss=name, stabiliser=stabiliser)
    far = [-1000.0, -90.0, -1.0, -math.log(T) - 1e-6, -math.log(T), 1.3, 90.0, 1000.0]
    for u, v in itertools.product(far, far):
        batch = ratios([u], [v], dtype=dtype)
        value = loss(batch)
        assert not torch.isnan(value)
        if stabiliser in ("floor", "linear_log_ratio", "squash"):
            assert torch.isfinite(value)
            assert torch.isfinite(torch.cat(gradients(loss, batch))).all()


@pytest.mark.parametrize("stabiliser", ["linear_ratio", "linear_log_ratio"])
def test_linear_stabilisers_join_smoothly_and_push_back(stabiliser):
    loss = partial(ddro, prior=T, stabiliser=stabiliser, epsilon=0.1)
    wall = math.log(0.9 / T)
    slopes = [gradients(loss, ratios([0.0], [wall + x]))[1].item() for x in (-1e-7, 0.0, 1e-7, 2.0)]
    assert slopes[:3] == pytest.approx([0.7 * 0.9 / 0.1] * 3, rel=1e-5)
    assert slopes[3] == pytest.approx(0.7 * 9 * (math.e**2 if stabiliser == "linear_ratio" else 1), rel=1e-9)
    stuck = gradients(partial(ddro, prior=T, stabiliser="floor", epsilon=0.1), ratios([0.0], [wall + 1]))[
        1
    ].item()
    assert stuck == 0


def test_rdro_coefficients_are_bounded_and_pull_back_above_one_over_alpha():
    u = torch.linspace(-50, 50, 201, dtype=torch.float64)
    by_chosen, by_rejected = (201 * g for g in gradients(partial(rdro, alpha=0.39), ratios(u, u)))
    sigma = u.sigmoid()
    torch.testing.assert_close(by_chosen, 1.39 * sigma - 1)
    torch.testing.assert_close(by_rejected, 0.61 * sigma)
    assert by_chosen.abs().max() <= 1
    assert by_rejected.max() <= 0.61
    assert ((by_chosen > 0) == (u > math.log(1 / 0.39))).all()


def test_coefficients_of_the_other_forms_are_not_bounded():
    u = torch.tensor([-1.0, 0.0, 5.0], dtype=torch.float64)
    rho = u.exp()
    for form, chosen, rejected in (
        ("rulsif", 0.39 * rho**2 - rho, 0.61 * rho**2),
        ("rkliep", 0.39 * rho - 1, 0.61 * rho),
    ):
        by_chosen, by_rejected = (
            3 * g for g in gradients(partial(rdro, alpha=0.39, form=form), ratios(u, u))
        )
        torch.testing.assert_close(by_chosen, chosen)
        torch.testing.assert_close(by_rejected, rejected)
        assert by_rejected[-1] > 50
        value = rdro(ratios([1000.0], [1000.0], dtype=torch.float32), alpha=0.39, form=form)
        assert torch.isfinite(value)


def test_relative_kliep_is_sft_on_exact_laws():
    p, q = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
    ref, policy = 0.4 * p + 0.6 * q, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    gaps = [
        rdro(batch, alpha=0.4, form="rkliep").item() - sft(batch).item()
        for law in (policy, ref, p)
        for batch in [PreferenceLogProbs(law.log(), law.log(), ref.log(), ref.log(), p, q)]
    ]
    np.testing.assert_allclose(gaps, 1 + (p * ref.log()).sum().item(), rtol=1e-12)


def test_rdro_of_exact_laws_is_the_mean_over_atoms():
    p, q, u = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.3, -0.2, -1.0]], dtype=torch.float64)
    softplus = torch.nn.functional.softplus
    expected = (p * (1.4 * softplus(u) - u)).sum() + 0.6 * (q * softplus(u)).sum()
    batch = ratios(u, u, weights=5 * p, rejected_weights=2 * q)
    assert rdro(batch, alpha=0.4).item() == pytest.approx(expected.item(), rel=1e-14)
    pooled = rdro(batch, alpha=0.4, reduction="batch_mean").item()
    assert pooled == pytest.approx(
        ((5 * p * (1.4 * softplus(u) - u)).sum() + 2 * 0.6 * (q * softplus(u)).sum()).item() / 7
    )


def test_batch_mean_aims_elsewhere_unless_classes_are_balanced():
    """Pointwise minimiser a p+ / (a alpha p+ + (1-a)(1-alpha) p-): at a = alpha = 0.39 not p+ / p_ref."""
    a = 0.39
    p, q = 0.2, 0.8
    target = p / (a * p + (1 - a) * q)
    slope = {}
    for reduction in ("class_mean", "batch_mean"):
        u = np.full(2, math.log(target))
        weights = torch.tensor([[a * p, a * q], [(1 - a) * q, (1 - a) * p]], dtype=torch.float64)
        batch = ratios(u, u, weights=weights[0], rejected_weights=weights[1])
        by_chosen, by_rejected = gradients(partial(rdro, alpha=a, reduction=reduction), batch)
        slope[reduction] = (by_chosen[0] + by_rejected[0]).item()
    assert slope["class_mean"] == pytest.approx(0, abs=1e-14)
    assert abs(slope["batch_mean"]) > 1e-2
