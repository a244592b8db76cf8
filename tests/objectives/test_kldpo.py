"""KLDPO: the multiplier, both branches of the ball, second derivatives, and what happens where losses
agree.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from objective_batches import gradients, pairs, ratios
from scipy.optimize import brentq
from torch.func import grad, jacrev, vmap

from distalign.checks import InputError
from distalign.objectives import dpo, kldpo
from distalign.oracles.ambiguity import kl_ball_value
from distalign.preferences import PreferenceLogProbs as Batch

W = torch.tensor([0.5, 1.0, 2.0, 0.0, 1.5, 0.2, 0.4, 1.0, 3.0], dtype=torch.float64)


def tilt(losses, p, lam):
    q = p * np.exp((losses - losses.max()) / lam)
    return q / q.sum()


@pytest.mark.parametrize("radius", [1e-6, 1e-3, 0.1, 0.7, 1.5])
def test_gradient_is_that_of_the_worst_law(radius):
    """The multiplier found by brentq on KL(Q || P) = radius, where it exists; the pair without weight does
    not count.
    """
    batch = pairs(0, weights=W)
    losses = np.logaddexp(0, -(batch.chosen_ratio - batch.rejected_ratio).numpy())
    p, seen = batch.chosen_frequencies.numpy(), W.numpy() > 0
    losses, p = losses[seen], p[seen]

    def divergence(log_lam):
        q = tilt(losses, p, np.exp(log_lam))
        return float((q[q > 0] * np.log(q[q > 0] / p[q > 0])).sum()) - radius

    lam = np.exp(brentq(divergence, -4, 12, xtol=1e-14)) if radius < -np.log(p[losses.argmax()]) else 1e-9
    q = tilt(losses, p, lam)
    loss = partial(kldpo, beta=1.0, radius=radius)
    assert loss(batch).item() == pytest.approx(q @ losses, rel=1e-9)
    expected = np.zeros(9)
    expected[seen] = q * np.expm1(-losses)
    np.testing.assert_allclose(gradients(loss, batch)[0].numpy(), expected, atol=1e-7)


def test_largest_loss_when_the_ball_is_large():
    batch = pairs(1)
    worst = kldpo(batch, beta=1.0, radius=math.log(9) + 1e-9)
    losses = torch.nn.functional.softplus(batch.rejected_ratio - batch.chosen_ratio)
    assert worst.item() == pytest.approx(losses.max().item(), rel=1e-14)
    by_chosen, _ = gradients(partial(kldpo, beta=1.0, radius=3.0), batch)
    assert (by_chosen != 0).tolist() == (losses == losses.max()).tolist()
    just_inside = kldpo(batch, beta=1.0, radius=math.log(9) - 1e-6).item()
    assert worst.item() - 1e-3 < just_inside < worst.item()


@pytest.mark.parametrize("radius", [1e-3, 0.1, 0.7])
def test_second_derivatives_of_the_ball_include_the_multiplier(radius):
    batch = pairs(2, weights=W)

    def value(chosen, **knob):
        whole = Batch(chosen, batch.rejected, batch.ref_chosen, batch.ref_rejected, weights=W, validate=False)
        return kldpo(whole, beta=1.0, **knob)

    slope, step = grad(partial(value, radius=radius)), 1e-5
    exact = jacrev(slope)(batch.chosen)
    moves = step * torch.eye(9).double()
    differences = torch.stack(
        [(slope(batch.chosen + e) - slope(batch.chosen - e)) / (2 * step) for e in moves]
    )
    torch.testing.assert_close(exact, differences, rtol=1e-5, atol=1e-7)
    fixed = jacrev(grad(partial(value, temperature=1.0)))(batch.chosen)
    assert (exact - fixed).abs().max() > 1e-3


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_equal_losses_give_dpo_whatever_the_radius(noise):
    """The reference policy in float32, exactly and up to rounding: DPO's value and gradient, nothing
    non-finite.
    """
    u = torch.tensor([noise, 0.0, -noise, 0.0])
    batch = ratios(u, torch.zeros(4), dtype=torch.float32, weights=torch.tensor([1.0, 2.0, 3.0, 0.0]))
    for radius in (1e-3, 0.5, 5.0):
        loss = partial(kldpo, beta=0.1, radius=radius)
        torch.testing.assert_close(gradients(loss, batch), gradients(partial(dpo, beta=0.1), batch))
        assert loss(batch).item() == pytest.approx(math.log(2), rel=1e-6)


def test_replicates_on_both_branches_and_at_the_kink():
    """One batched call: equal losses, a reachable largest loss, an interior multiplier."""
    u = torch.tensor([[0.0, 0.0, 0.0], [5.0, 5.0, -5.0], [1.0, 0.0, -1.0]], dtype=torch.float64)
    p = torch.tensor([[0.2, 0.3, 0.5], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]], dtype=torch.float64)
    zeros = torch.zeros(3, dtype=torch.float64)

    def value(row, w):
        return kldpo(Batch(row, zeros, zeros, zeros, weights=w, validate=False), beta=1.0, radius=0.6)

    values, slopes, bends = (vmap(f)(u, p) for f in (value, grad(value), jacrev(grad(value))))
    losses = np.logaddexp(0, -u.numpy())
    np.testing.assert_allclose(
        values, [kl_ball_value(x, w, 0.6) for x, w in zip(losses, p.numpy())], atol=1e-7
    )
    assert torch.isfinite(slopes).all()
    assert torch.isfinite(bends).all()
    torch.testing.assert_close(slopes[0], -p[0] / 2)
    assert slopes[1][:2].abs().max() == 0


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e4])
def test_float32_balls_follow_float64(scale):
    double, single = (pairs(3, spread=scale, dtype=dtype) for dtype in (torch.float64, torch.float32))
    for radius in (1e-4, 0.3):
        values = [kldpo(b, beta=1.0, radius=radius).item() for b in (double, single)]
        assert values[1] == pytest.approx(values[0], rel=3e-6)


def test_a_pair_without_weight_is_not_feared():
    """Its loss is the largest, but no law near the data charges it."""
    w = torch.tensor([1.0, 2.0, 0.0, 1.0])
    batch, rest = (
        ratios([1.0, 0.0, -50.0, -1.0], [0.0] * 4, weights=w),
        ratios([1.0, 0.0, -1.0], [0.0] * 3, weights=w[w > 0]),
    )
    for radius in (0.1, 5.0):
        loss = partial(kldpo, beta=1.0, radius=radius)
        assert loss(batch).item() == pytest.approx(loss(rest).item(), rel=1e-9)
        assert gradients(loss, batch)[0][2] == 0


def test_released_weights_are_clamped_centred_and_detached():
    batch = ratios([0.0] * 19 + [-40.0], [0.0] * 20)
    losses = torch.nn.functional.softplus(-batch.chosen_ratio)
    weights = ((losses - losses.mean()) / 2).exp().clamp(max=10)
    by_chosen, _ = gradients(partial(kldpo, beta=1.0, temperature=2.0, weights="released"), batch)
    torch.testing.assert_close(by_chosen, weights * torch.expm1(-losses) / 20)
    assert weights[-1] == 10
    assert kldpo(batch, beta=1.0, temperature=2.0, weights="released") > dpo(batch, beta=1.0)
    crowd = ratios([0.0] * 199 + [-4000.0], [0.0] * 200)
    assert kldpo(crowd, beta=1.0, temperature=2.0, weights="released") > dpo(crowd, beta=1.0)


def test_released_weights_may_fall_below_dpo():
    """Unlike any supremum over laws: the clamp holds the outlier at ten times its share, the others lose all
    weight.
    """
    batch = ratios([0.0] * 3 + [3.0] + [-60.0] * 16, [0.0] * 20)
    released = kldpo(batch, beta=1.0, temperature=0.1, weights="released").item()
    normalised = kldpo(batch, beta=1.0, temperature=0.1).item()
    assert normalised >= dpo(batch, beta=1.0).item()
    assert released != pytest.approx(normalised)


def test_temperature_and_radius_exclude_each_other():
    for knobs in ({}, {"temperature": 1.0, "radius": 1.0}):
        with pytest.raises(InputError, match="give exactly one of temperature and radius"):
            kldpo(pairs(4), beta=1.0, **knobs)
