"""AOT sorted in batches of b pairs has a value and a gradient that are biased by a constant over b + 1.

Gradient accumulation sorts the pairs of each micro-batch by themselves and averages the losses. By
convexity the value of micro-batches of b, averaged, is never below that of the whole batch, whatever their
number: what is trained is the objective of the *micro-batch*. The paper has the consistency of the gradient
(its Theorem 4) and no rate; the constants are ours.

The policies have two responses a prompt. Their margins are shift + spread Z and the reference's are Z',
with Z and Z' independent, of mean 0 and variance 1. For least squares the excess of the value over that of
the whole batch, the bias of its gradient, and the spread that training ends with are closed forms for every b
(`distalign.theory.aot.finite_samples`). For the logistic penalty excess and bias are an integral over order
statistics, and a constant over b + 1 to first order. The remedy is the exact gradient in two passes
(`distalign.two_pass`), whose micro-batches may be single pairs.

The study has three parts. `bias` takes value and gradient in batches of b and subtracts those of all
samples sorted together, on each of many data sets. `training` is gradient descent that accumulates over
micro-batches of b. `two-pass` trains by two passes over single pairs.

The checks ask seven things. For both penalties the mean excess divided by its prediction is 1, within four
standard errors, which is 2 % at full size up to b = 32. The integral at b = 512 is the constant over b + 1.
Sorting all samples together never raises the value. The spread after training is its exact limit within
four standard errors. Two passes over single pairs take the same path as the whole batch at once. And AOT
accumulated over single pairs has exactly the gradient of DPO on the whole batch, computed by DPO's own
code.

The planted defects: the slope of AOT's logistic penalty 10 % off; one class sorted in descending order, which
makes the whole batch the worst one; the first of the two passes in single precision; DPO's slope 1 % off; and
each prediction off by twice its tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import grad, grad_and_value, vmap
from torch.nn.functional import logsigmoid

from distalign.objectives import aot_paired, dpo
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, no_cell, result, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.sorting import quantile_coupling
from distalign.theory.aot.finite_samples import (
    batch_bias_constant,
    learned_spread,
    order_variance,
    sorted_bias,
)
from distalign.two_pass import score_gradients, two_pass_backward

# THETA holds the shift and the spread at which the bias is measured; the reference's spread is 1.
THETA, BETA, MARGIN = (0.3, 0.6), 2.0, 1.0
# Training starts at the reference's spread; a step keeps 0.6 of the distance to where it leads.
STEP, START, GLOBAL_BATCH = 0.2, (0.0, 1.0), 64
# Up to this batch the mean excess is known to 2 % at full size, and at the larger one the logistic penalty's
# next order, about 3 / b of the first, is below 1 %.
JUDGED, ASYMPTOTIC = 32, 512
LEAST_SQUARES, LOGISTIC = (
    partial(aot_paired, penalty="least_squares", margin=MARGIN),
    partial(aot_paired, beta=BETA),
)
QUANTITIES = ("value", "by_shift", "by_spread")
SETTINGS = {
    "least squares, uniform": LEAST_SQUARES,
    "least squares, normal": LEAST_SQUARES,
    "logistic, uniform": LOGISTIC,
}


def _rejected_descending(right: Any) -> Any:
    """`quantile_coupling` by a developer who sorted the second class in descending order."""

    def wrong(u: Tensor, v: Tensor, *weights: Tensor | None, validate: bool = True) -> Any:
        widths, a, b = right(u, -v, *weights, validate=validate)
        return widths, a, -b

    return wrong


def _single_precision(right: Any) -> Any:
    """`score_gradients` by a developer who kept the factors of the first pass in single precision."""

    def wrong(*arguments: Any) -> Any:
        return tuple(x.float().double() for x in right(*arguments))

    return wrong


DEFECTS = (
    Defect(
        "AOT's slope 10 % too large",
        aot_paired,
        argument("beta", lambda x: x and 1.1 * x),
        where(setting="logistic, uniform"),
    ),
    Defect(
        "the rejected class sorted in descending order",
        quantile_coupling,
        _rejected_descending,
        lambda a: a["part"] != "two-pass",
    ),
    Defect(
        "the first pass in single precision",
        score_gradients,
        _single_precision,
        where(part="two-pass"),
    ),
    Defect(
        "DPO's slope 1 % too large",
        dpo,
        argument("beta", lambda x: 1.01 * x),
        where(part="two-pass"),
    ),
    Defect("the law of least squares 8 % too large", order_variance, result(lambda x: 1.08 * x), no_cell),
    Defect("the integral 10 % too large", sorted_bias, result(lambda x: 1.1 * x), no_cell),
    Defect("the constant 4 % too large", batch_bias_constant, result(lambda x: 1.04 * x), no_cell),
)


def cells(batches: list[int], replicates: int, samples: int, runs: int, steps: int) -> list[dict[str, Any]]:
    """The bias per setting and sort batch, training per micro-batch, and training by two passes."""
    bias = [
        {"part": "bias", "setting": s, "batch": b, "replicates": replicates, "samples": samples}
        for s in SETTINGS
        for b in batches
    ]
    training = [
        {"part": "training", "batch": b, "replicates": runs, "steps": steps}
        for b in batches
        if b <= GLOBAL_BATCH
    ]
    return [
        *bias,
        *training,
        {"part": "two-pass", "batch": 1, "replicates": max(1, runs // 128), "steps": steps},
    ]


def run(
    rng: np.random.Generator,
    *,
    part: str,
    batch: int,
    replicates: int,
    **arguments: Any,
) -> dict[str, Any]:
    """Rows of one part of the study; the columns of the other parts are missing."""
    study_part = {"bias": _bias, "training": _training, "two-pass": _two_pass}[part]
    return {
        "replicate": np.arange(replicates),
        **study_part(rng, batch, replicates, **arguments),
    }


def _loss(theta: Tensor, z: Tensor, ref: Tensor, objective: Callable[[PreferenceLogProbs], Tensor]) -> Tensor:
    """The objective on prompts with features z, whose two responses have these margins."""
    return objective(_scores(theta, z, ref))


def _scores(theta: Tensor, z: Tensor, ref: Tensor) -> PreferenceLogProbs:
    """The seam of a policy with these parameters: two responses whose log-probabilities have the margins."""
    margin = theta[0] + theta[1] * z
    return PreferenceLogProbs(
        logsigmoid(margin), logsigmoid(-margin), logsigmoid(ref), logsigmoid(-ref), validate=False
    )


def _draws(rng: np.random.Generator, law: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Independent samples of Z and Z', of mean 0 and variance 1."""
    draw = rng.standard_normal if law == "normal" else lambda size: np.sqrt(12) * (rng.random(size) - 0.5)
    return torch.from_numpy(draw(shape)), torch.from_numpy(draw(shape))


def _bias(
    rng: np.random.Generator, batch: int, replicates: int, *, setting: str, samples: int
) -> dict[str, Any]:
    """Value and gradient in batches of b minus those of all samples sorted together, on each data set."""
    z, ref = _draws(rng, setting.split()[-1], (replicates, samples))
    theta = torch.tensor(THETA, dtype=torch.float64)
    value_and_gradient = vmap(grad_and_value(partial(_loss, objective=SETTINGS[setting])), (None, 0, 0))

    def averaged(size: int) -> np.ndarray:
        gradient, value = value_and_gradient(theta, z.reshape(-1, size), ref.reshape(-1, size))
        return torch.cat([value[:, None], gradient], 1).reshape(replicates, -1, 3).mean(1).numpy()

    sorted_together, sorted_in_batches = averaged(samples), averaged(batch)
    excess = sorted_in_batches - sorted_together
    return {
        "whole": sorted_together[:, 0],
        "parts": sorted_in_batches[:, 0],
        **{name: excess[:, i] for i, name in enumerate(QUANTITIES)},
    }


def _predicted(setting: str, batch: int) -> np.ndarray:
    """Predicted bias of the value, of its gradient by the shift, and of its gradient by the spread.

    For the logistic penalty beyond `ASYMPTOTIC` it is that of first order in 1/(b + 1).
    """
    if setting.startswith("least squares"):
        return 2 * order_variance(setting.split()[-1], batch) * np.array([THETA[1], 0.0, 1.0])
    return _limit() / (batch + 1) if batch > ASYMPTOTIC else _integral(batch)


def _limit() -> np.ndarray:
    """The logistic penalty's constants over b + 1."""
    return _with_slopes(
        lambda *theta: batch_bias_constant(lambda x: (BETA / 2 / np.cosh(BETA * x / 2)) ** 2, *theta, 1.0)  # pyright: ignore[reportCallIssue]
    )


def _integral(batch: int) -> np.ndarray:
    """The logistic penalty's biases at sort batch b."""
    return _with_slopes(lambda *theta: sorted_bias(lambda x: np.logaddexp(0, -BETA * x), *theta, 1.0, batch))  # pyright: ignore[reportCallIssue]


def _with_slopes(of: Callable[[float, float], float]) -> np.ndarray:
    """A function of shift and spread at `THETA`, with its two derivatives."""
    (shift, spread), step = THETA, 1e-4
    by_shift = (of(shift + step, spread) - of(shift - step, spread)) / (2 * step)
    by_spread = (of(shift, spread + step) - of(shift, spread - step)) / (2 * step)
    return np.array([of(shift, spread), by_shift, by_spread])


def _with_predictions(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with what is predicted for each quantity."""
    out = rows.copy()
    for (setting, batch, samples), group in rows.loc[rows.part == "bias"].groupby(
        ["setting", "batch", "samples"]
    ):
        predicted = _predicted(setting, batch) - _predicted(setting, int(samples))
        for name, value in zip(QUANTITIES, predicted, strict=True):
            out.loc[group.index, f"{name}_predicted"] = value
    batch = rows.batch.where(rows.part == "training", GLOBAL_BATCH)
    return out.assign(spread_predicted=[learned_spread(1.0, b) for b in batch])


def _training(rng: np.random.Generator, batch: int, replicates: int, *, steps: int) -> dict[str, Any]:
    """Where gradient descent ends that accumulates over micro-batches of b within one global batch."""
    path = _descent(*_draws(rng, "uniform", (steps, replicates, GLOBAL_BATCH)), batch)
    # The recursion is linear, so its mean is the minimiser of the micro-batch's objective: average the second
    # half of the path.
    return {"spread": path[steps // 2 :, :, 1].mean(0).numpy()}


def _descent(z: Tensor, ref: Tensor, batch: int) -> Tensor:
    """(steps, R, 2) parameters after each step of size `STEP`."""

    def accumulated(theta: Tensor, z: Tensor, ref: Tensor) -> Tensor:
        loss = vmap(partial(_loss, objective=LEAST_SQUARES), (None, 0, 0))
        return loss(theta, z.reshape(-1, batch), ref.reshape(-1, batch)).mean()

    gradient, path = vmap(grad(accumulated)), [torch.tensor(START, dtype=torch.float64).repeat(z.shape[1], 1)]
    for a, b in zip(z, ref, strict=True):
        path.append(path[-1] - STEP * gradient(path[-1], a, b))
    return torch.stack(path[1:])


def _two_pass(rng: np.random.Generator, batch: int, replicates: int, *, steps: int) -> dict[str, Any]:
    """Training by two passes over micro-batches of one pair, against the whole batch at once.

    The two are compared along the whole path of training, not only at its end.
    """
    z, ref = _draws(rng, "uniform", (steps, replicates, GLOBAL_BATCH))
    path = torch.stack([_two_pass_descent(z[:, r], ref[:, r]) for r in range(replicates)], 1)
    return {
        "spread": path[steps // 2 :, :, 1].mean(0).numpy(),
        "path_deviation": float((path - _descent(z, ref, GLOBAL_BATCH)).abs().max()),
        "dpo_deviation": [_against_dpo(z[0, r], ref[0, r]) for r in range(replicates)],
    }


def _two_pass_descent(z: Tensor, ref: Tensor) -> Tensor:
    """(steps, 2) parameters along training by two passes over single pairs, for one data set."""
    theta, path = torch.tensor(START, dtype=torch.float64, requires_grad=True), []
    optimizer = torch.optim.SGD([theta], lr=STEP)

    def score(pair: tuple[Tensor, Tensor]) -> PreferenceLogProbs:
        return _scores(theta, *pair)

    for step in zip(z, ref, strict=True):
        optimizer.zero_grad()
        two_pass_backward(LEAST_SQUARES, score, list(zip(*(x.split(1) for x in step), strict=True)))
        optimizer.step()
        path.append(theta.detach().clone())
    return torch.stack(path)


def _against_dpo(z: Tensor, ref: Tensor) -> float:
    """Gradient of AOT accumulated over single pairs minus DPO's gradient on the whole batch.

    The second comes from another objective's code.
    """
    theta = torch.tensor(THETA, dtype=torch.float64, requires_grad=True)
    for pair in zip(z.split(1), ref.split(1), strict=True):
        (_loss(theta, *pair, LOGISTIC) / len(z)).backward()
    assert theta.grad is not None
    return float(
        (theta.grad - torch.autograd.grad(_loss(theta, z, ref, partial(dpo, beta=BETA)), theta)[0])
        .abs()
        .max()
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean with its interval and prediction of every quantity, by part, setting and sort batch."""
    rows, summaries = _with_predictions(rows), []
    for quantity, part in (
        ("value", "bias"),
        ("by_spread", "bias"),
        ("by_shift", "bias"),
        ("spread", "training"),
        ("spread", "two-pass"),
    ):
        of_part = rows[rows.part == part].assign(setting=lambda r: r.setting.fillna("least squares, uniform"))
        means = summarise(of_part, ["setting", "batch"], quantity).assign(part=part, quantity=quantity)
        predicted = of_part.groupby(["setting", "batch"], as_index=False).agg(
            predicted=(f"{quantity}_predicted", "first")
        )
        summaries.append(means.merge(predicted, on=["setting", "batch"]))
    everything = pd.concat(summaries, ignore_index=True)
    # Least squares leaves the gradient by the shift unbiased: there is nothing to predict.
    return everything.loc[(everything.quantity != "by_shift") | (everything.predicted != 0)]


def checks(rows: pd.DataFrame) -> list[Check]:
    """The law of the bias, what training makes of it, and the exact equalities.

    The equalities say what to do about the bias: two passes. They also say what single pairs train: DPO.
    """
    rows = _with_predictions(rows)
    bias, training, two_pass = (rows.loc[rows.part == part] for part in ("bias", "training", "two-pass"))
    judged = bias.loc[bias.batch <= JUDGED]
    logistic = judged.setting == "logistic, uniform"
    groups = training.groupby("batch")
    errors = (groups.spread.mean() - groups.spread_predicted.first()) / groups.spread.sem()
    return [
        _law("logistic: mean excess of value and gradient = integral", judged.loc[logistic], QUANTITIES),
        _law(
            "least squares: mean excess of value and gradient by spread = exact law",
            judged.loc[~logistic],
            ("value", "by_spread"),
        ),
        growth(
            f"logistic: integral at b = {ASYMPTOTIC} = constants / (b + 1)",
            _integral(ASYMPTOTIC) * (ASYMPTOTIC + 1),
            _limit(),
            0.02,
        ),
        bound("sorting all samples together never raises the value", bias.whole, bias.parts),
        identity("spread after training minus its exact limit, in standard errors", errors, 4.0),
        identity(
            "two passes over single pairs = whole batch, along training", two_pass.path_deviation, 1e-12
        ),
        identity("AOT accumulated over single pairs = DPO's gradient", two_pass.dpo_deviation, 1e-12),
    ]


def _law(name: str, rows: pd.DataFrame, quantities: tuple[str, ...]) -> Check:
    """The mean excess divided by its prediction is 1, within four of its largest standard error."""
    ratios = pd.DataFrame({q: rows[q] / rows[f"{q}_predicted"] for q in quantities})
    groups = ratios.groupby([rows.setting, rows.batch])
    return growth(name, np.asarray(groups.mean()), 1.0, 4 * float(np.max(groups.sem())))
