"""TRL 1.16 on the same log-probabilities: equal where definitions agree, and asserted different where they do
not.
"""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from distalign import objectives as o
from distalign.divergences import alpha, alpha_from_trl
from distalign.preferences import PreferenceLogProbs as Batch

pytest.importorskip("trl")
from trl_losses import trl_dpo, trl_kto

BETA, TOKENS = 0.1, torch.tensor([1, 2, 3, 4, 4, 3, 2, 1, 1, 1, 2, 4])


def scores(
    seed: int, n: int = 6, m: int = 6, spread: float = 8.0, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [spread * torch.randn(k, generator=g).to(dtype) - 40 for k in (n, m, n, m)]


def agree(ours, theirs, columns, tolerance=1e-6, **fields):
    """Value and gradients by both log-probabilities."""
    results = []
    for loss in (
        lambda c, r: ours(Batch(c, r, *columns[2:], **fields)),
        lambda c, r: theirs(c, r, *columns[2:]),
    ):
        leaves = [x.clone().requires_grad_() for x in columns[:2]]
        value = loss(*leaves)
        results.append((value.detach(), *torch.autograd.grad(value, leaves)))
    torch.testing.assert_close(results[0], results[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (partial(o.dpo, beta=BETA), {}),
        (partial(o.rdpo, beta=BETA, flip_rate=0.1), {"loss_type": "robust", "label_smoothing": 0.1}),
        (partial(o.aot_paired, beta=BETA), {"loss_type": "aot"}),
        (partial(o.aot_unpaired, beta=BETA), {"loss_type": "aot_unpaired"}),
        (partial(o.f_dpo, beta=BETA, divergence="jensen_shannon"), {"divergence": "js_divergence"}),
        (
            partial(o.f_dpo, beta=BETA, divergence="reverse_kl"),
            {"divergence": "alpha_divergence", "coefficient": 1.0},
        ),
    ],
    ids=["sigmoid", "robust", "aot", "aot_unpaired", "js", "alpha 1 is reverse kl"],
)
@pytest.mark.parametrize("seed", range(3))
def test_equal_losses(ours, theirs, seed):
    agree(ours, partial(trl_dpo, beta=BETA, **theirs), scores(seed))


@pytest.mark.parametrize(
    ("divergence", "theirs"),
    [
        ("forward_kl", {"divergence": "forward_kl"}),
        *(
            (alpha_from_trl(c), {"divergence": "alpha_divergence", "coefficient": c})
            for c in (0.1, 0.3, 0.5, 0.9)
        ),
    ],
    ids=["forward_kl", "0.1", "0.3", "0.5", "0.9"],
)
def test_equal_f_dpo_where_trl_neither_overflows_nor_clamps(divergence, theirs):
    ours = partial(o.f_dpo, beta=BETA, divergence=divergence)
    agree(ours, partial(trl_dpo, beta=BETA, **theirs), scores(5, spread=1.0), 3e-6)


def test_equal_ipo_per_token():
    fields = {"chosen_tokens": TOKENS[:6], "rejected_tokens": TOKENS[6:]}
    agree(
        partial(o.ipo_per_token, beta=BETA),
        partial(trl_dpo, beta=BETA, loss_type="ipo", tokens=TOKENS),
        scores(6),
        **fields,
    )


@pytest.mark.parametrize(
    "kl", [torch.tensor([3.0, -1.0, 4.0]), torch.tensor([-5.0, 1.0])], ids=["positive", "clamped"]
)
def test_equal_kto_given_its_reference_point(kl):
    weights = {"desirable_weight": 1.3, "undesirable_weight": 0.7}
    ours = partial(o.kto, beta=BETA, kl=max(0.0, float(kl.mean())), **weights)
    agree(ours, partial(trl_kto, beta=BETA, kl=kl, **weights), scores(7, 5, 3))


def test_equal_bco_where_the_mean_reward_is_zero():
    """TRL's pairwise form has no shift and adds the classes; ours averages them."""
    chosen, rejected, ref_chosen, ref_rejected = scores(8)
    shift = torch.cat([chosen - ref_chosen, rejected - ref_rejected]).mean()
    columns = [chosen - shift, rejected - shift, ref_chosen, ref_rejected]
    agree(lambda b: 2 * o.bco(b, beta=BETA), partial(trl_dpo, beta=BETA, loss_type="bco_pair"), columns, 3e-6)


def test_equal_sft_for_one_length():
    """TRL averages over tokens, we sum over the tokens of a response."""
    columns = scores(9)
    assert trl_dpo(*columns, loss_type="sft").item() == pytest.approx(
        o.sft(Batch(*columns)).item() / 4, rel=1e-6
    )


def test_cdpo_is_ignored_by_trl():
    columns = scores(10)
    assert trl_dpo(*columns, label_smoothing=0.3).item() == trl_dpo(*columns).item()
    smoothed = o.cdpo(Batch(*columns), beta=BETA, label_smoothing=0.3).item()
    assert abs(smoothed - trl_dpo(*columns, label_smoothing=0.3).item()) > 1e-2
    # its AOT does smooth, though
    assert (
        trl_dpo(*columns, loss_type="aot", label_smoothing=0.3).item()
        != trl_dpo(*columns, loss_type="aot").item()
    )


@pytest.mark.parametrize(
    ("u", "v", "truth"), [(-30.0, -90.0, 0.0), (-100.0, -100.0, math.log(2)), (-40.0, -100.0, 0.0)]
)
def test_forward_kl_is_nan_in_trl_and_exact_here(u, v, truth):
    leaves = [torch.tensor([x], requires_grad=True) for x in (u, v)]
    zero = torch.zeros(1)
    theirs = torch.autograd.grad(trl_dpo(*leaves, zero, zero, divergence="forward_kl"), leaves)
    assert torch.isnan(torch.cat(theirs)).any()
    value = o.f_dpo(Batch(*leaves, zero, zero), beta=BETA, divergence="forward_kl")
    assert value.item() == pytest.approx(truth, abs=1e-6)
    assert torch.isfinite(torch.cat(torch.autograd.grad(value, leaves))).all()


def test_alpha_is_clamped_in_trl_and_keeps_its_gradient_here():
    """A pair that is wrong by ten nats beyond TRL's clamp: no signal there."""
    leaves = [torch.tensor([x], requires_grad=True) for x in (-160.0, -150.0)]
    zero = torch.zeros(1)
    theirs = trl_dpo(*leaves, zero, zero, divergence="alpha_divergence", coefficient=0.3)
    assert theirs.item() == pytest.approx(math.log(2), abs=1e-6)
    assert not torch.cat(torch.autograd.grad(theirs, leaves)).any()
    ours = o.f_dpo(Batch(*leaves, zero, zero), beta=BETA, divergence=alpha_from_trl(0.3))
    by_chosen, by_rejected = torch.autograd.grad(ours, leaves)
    assert by_chosen.item() < -1e3
    assert by_rejected.item() > 1e3


def test_alpha_means_one_minus_alpha():
    columns = [torch.tensor([x]) for x in (2.0, -1.0, 0.0, 0.0)]
    theirs = trl_dpo(*columns, divergence="alpha_divergence", coefficient=0.3).item()
    assert theirs == pytest.approx(0.5749, abs=5e-5)
    assert theirs == pytest.approx(
        o.f_dpo(Batch(*columns), beta=BETA, divergence=alpha(0.7)).item(), abs=1e-6
    )
    assert abs(theirs - o.f_dpo(Batch(*columns), beta=BETA, divergence=alpha(0.3)).item()) > 5e-3


def test_ipo_of_the_paper_does_not_depend_on_length():
    columns = scores(11)
    values = [trl_dpo(*columns, loss_type="ipo", tokens=torch.full((12,), k)).item() for k in (1, 2, 4)]
    paper = o.ipo(Batch(*columns), beta=BETA).item()
    assert values[0] == pytest.approx(paper, rel=1e-6)
    assert abs(values[1] - paper) > 0.1 * paper
    assert abs(values[2] - values[1]) > 0.1 * values[1]


def test_kto_without_its_extra_batch_is_another_objective():
    columns = scores(12, 5, 3)
    theirs = trl_kto(*columns, kl=torch.tensor([6.0]))
    assert abs(o.kto(Batch(*columns), beta=BETA).item() - theirs.item()) > 1e-3
