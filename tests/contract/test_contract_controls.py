"""The contract can fail: each of its points is given an objective with a planted defect and must object."""

from __future__ import annotations

from functools import partial

import contract_ranks
import pytest
import test_contract as points
import torch
from contract_cases import CASES
from contract_kit import Case, Limit, dpo_losses
from torch.autograd.gradcheck import GradcheckError
from torch.nn.functional import softplus

from distalign import objectives as o
from distalign.objectives import objective

REJECTED = (AssertionError, GradcheckError, pytest.fail.Exception)


def row(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def planted(loss, like: str = "dpo", **changes) -> Case:
    """The row `like` with a loss, and perhaps more, that does not deserve it."""
    case = row(like)
    values = {f: getattr(case, f) for f in case.__dataclass_fields__} | {"loss": loss, "skip": {}} | changes
    return Case(**values)


@objective(data="pairs", coupling="pair")
def upside_down(batch, *, beta=0.5):
    return softplus(beta * (batch.chosen_ratio - batch.rejected_ratio)).mean()


@objective(data="pairs", coupling="pair")
def half_detached(batch, *, beta=0.5):
    return softplus(beta * (batch.rejected_ratio.detach() - batch.chosen_ratio)).mean()


@objective(data="pairs", coupling="pair")
def naive_forward_kl(batch, *, beta=0.5):
    return softplus(-beta * ((-batch.rejected_ratio).exp() - (-batch.chosen_ratio).exp())).mean()


@objective(data="pairs", coupling="batch")
def ordered(batch, *, beta=0.5):
    return (torch.arange(len(batch.chosen)) * dpo_losses(batch, beta)).mean()


@objective(data="pairs", coupling="pair")
def weightless(batch, *, beta=0.5):
    return dpo_losses(batch, beta).mean()


@objective(data="pairs", coupling="batch")
def optimistic(batch, *, beta=1.0, temperature=2.0):
    return o.dr_dpo(batch, beta=beta, temperature=temperature)


@objective(data="pairs", coupling="batch")
def counts_calls(batch, *, beta=0.5):
    counts_calls.calls = getattr(counts_calls, "calls", 0) + 1
    return counts_calls.calls * o.dpo(batch, beta=beta)


@pytest.mark.parametrize(
    ("check", "case"),
    [
        (points.test_01_value_by_hand, planted(upside_down)),
        (points.test_01_value_by_hand, planted(partial(o.dpo, beta=0.5), "aot_paired logistic")),
        (
            points.test_02_limits,
            planted(row("dpo").loss, limits=(Limit("is not IPO", row("dpo").loss, row("ipo").loss),)),
        ),
        (points.test_02_limits, planted(row("dpo").loss)),
        (points.test_03_gradient_at_random, planted(half_detached)),
        (points.test_03_gradient_at_random, planted(row("bco").loss, "bco", frozen=None)),
        (
            points.test_03_gradient_at_the_reference,
            planted(row("kldpo radius").loss, "kldpo radius", kink=False),
        ),
        (points.test_03_gradient_at_the_reference, planted(row("dpo").loss, kink=True)),
        (partial(points.test_03_log_ratios_of_a_thousand, dtype=torch.float32), planted(naive_forward_kl)),
        (partial(points.test_03_log_ratios_of_a_thousand, dtype=torch.float32), planted(half_detached)),
        (points.test_04_order_weights_and_monotonicity, planted(ordered)),
        (points.test_04_order_weights_and_monotonicity, planted(weightless)),
        (points.test_04_order_weights_and_monotonicity, planted(upside_down)),
        (points.test_05_minimiser, planted(partial(o.dpo, beta=0.6))),
        (points.test_05_minimiser, planted(row("dpo").loss, "kldpo temperature")),
        (points.test_05_minimiser, planted(row("ddro squash").loss, "ddro floor")),
        (points.test_06_two_pass_in_one_process, planted(counts_calls)),
        (points.test_07_language_model, planted(counts_calls)),
        (points.test_08_robust, planted(optimistic, "kldpo temperature")),
        (points.test_08_robust, planted(row("kldpo temperature").loss, "dr_dpo")),
        (points.test_09_bad_input_gets_a_sentence, planted(upside_down)),
        (points.test_10_docstring, planted(upside_down)),
    ],
)
def test_planted_defects_are_found(check, case):
    with pytest.raises(REJECTED):
        check(case=case)


def test_averaging_over_micro_batches_is_not_the_gradient():
    """Point 6 compares with the whole batch; what trainers usually do must not pass it."""
    case = row("aot_unpaired logistic")
    theta = contract_ranks.start()
    for rows in ((range(1), range(2)), (range(1, 7), range(2, 5))):
        (case.loss(contract_ranks.score(theta, case, rows)) / 2).backward()
    with pytest.raises(AssertionError):
        torch.testing.assert_close(theta.grad, contract_ranks.whole_gradient(case)[1], rtol=1e-3, atol=1e-5)
