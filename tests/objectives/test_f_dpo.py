"""f-DPO against sixty digits, over log-ratios that language models reach."""

from __future__ import annotations

import itertools
from functools import partial

import mpmath as mp
import pytest
import torch
from objective_batches import gradients, ratios

from distalign.checks import InputError
from distalign.divergences import CHI2, TOTAL_VARIATION, alpha, divergence
from distalign.objectives import chi_po, dpo, f_dpo

mp.mp.dps = 60
LINKS = {
    "forward_kl": lambda x: 1 - mp.exp(-x),
    "alpha:0.3": lambda x: (1 - mp.exp(mp.mpf("-0.3") * x)) / mp.mpf("0.3"),
    "jensen_shannon": lambda x: mp.log(2) - mp.log1p(mp.exp(-x)),
    "squared_hellinger": lambda x: 1 - mp.exp(-x / 2),
    "jeffreys": lambda x: x + 1 - mp.exp(-x),
    "chi2_plus_kl": lambda x: x + mp.expm1(x),
}


def exact(name: str, u: float, v: float, beta: float) -> tuple[float, float, float]:
    """Loss and both derivatives for one pair."""
    g = LINKS[name]
    t = mp.mpf(beta) * (g(mp.mpf(u)) - g(mp.mpf(v)))
    slope = -mp.mpf(beta) / (1 + mp.exp(t))
    return float(mp.log1p(mp.exp(-t))), float(slope * mp.diff(g, u)), float(-slope * mp.diff(g, v))


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize(("u", "v"), [*itertools.product((-19.0, -3.0, -0.01, 0.0, 2.0, 15.0), repeat=2)])
def test_value_and_gradient_inside_the_exact_range(name, u, v):
    loss = partial(f_dpo, beta=0.3, divergence=name)
    batch = ratios([u], [v])
    found = [loss(batch).item(), *(g.item() for g in gradients(loss, batch))]
    assert found == pytest.approx(exact(name, u, v, 0.3), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_order_and_gradient_survive_beyond_it(name, dtype):
    """Log-ratios of -300 to 300: finite, monotone, and where the truth is a finite loss, that loss."""
    grid = torch.linspace(-300, 300, 61, dtype=dtype)
    link = divergence(name).continued_link(grid)
    assert torch.isfinite(link).all()
    assert (link.diff() >= 0).all()
    loss = partial(f_dpo, beta=0.1, divergence=name)
    for u, v in ((-30.0, -90.0), (-40.0, -100.0), (-100.0, -100.0), (-160.0, -150.0), (300.0, -300.0)):
        batch = ratios([u], [v], dtype=dtype)
        value, (by_chosen, by_rejected) = loss(batch).item(), gradients(loss, batch)
        assert torch.isfinite(torch.cat([by_chosen, by_rejected])).all()
        truth = exact(name, u, v, 0.1)[0]
        assert value == pytest.approx(truth, rel=1e-5, abs=1e-6) or (truth > 1e3 and value > 1e3)
        if u < v:
            assert by_chosen.item() < 0


@pytest.mark.parametrize("name", ["forward_kl", "alpha:0.3", "squared_hellinger", "jeffreys", "chi2_plus_kl"])
def test_the_continuation_is_once_differentiable(name):
    d = divergence(name)
    edge = next(x for x in d.exact if abs(x) < 1e9)
    x = torch.tensor([edge - 1e-6, edge, edge + 1e-6], dtype=torch.float64, requires_grad=True)
    link = d.continued_link(x)
    slope = torch.autograd.grad(link.sum(), x)[0]
    assert slope.tolist() == pytest.approx([slope[1].item()] * 3, rel=1e-5)
    assert (link[2] - link[0]).item() == pytest.approx(2e-6 * slope[1].item(), rel=1e-4)
    beyond = d.continued_link(torch.tensor([2 * edge, 3 * edge, 4 * edge], dtype=torch.float64)).diff()
    assert beyond[0].item() == pytest.approx(beyond[1].item(), rel=1e-9)


def test_small_alpha_loses_no_digits_in_float32():
    """A dropped constant would cost four of them at alpha = 1e-6."""
    batch = ratios([0.3], [-0.27], dtype=torch.float32)
    assert f_dpo(batch, beta=1.0, divergence=alpha(1e-6)).item() == pytest.approx(
        dpo(batch, beta=1.0).item(), rel=1e-6
    )


@pytest.mark.parametrize("refused", [CHI2, TOTAL_VARIATION])
def test_inadmissible_divergences_are_refused_with_the_reason(refused):
    with pytest.raises(
        InputError, match=f"divergence {refused.name} cannot be a preference loss: its derivative"
    ):
        f_dpo(ratios([0.0], [0.0]), beta=1.0, divergence=refused)


def test_chi_po_clips_both_ways():
    loss = partial(chi_po, beta=1.0, clip=2.0)
    for u, v in ((50.0, -50.0), (-50.0, 50.0)):
        assert not torch.cat(gradients(loss, ratios([u], [v]))).any()
        assert loss(ratios([u], [v])).item() == pytest.approx(float(mp.log1p(mp.exp(-2 if u > v else 2))))
