"""How far a policy moves in D_f bounds how far its calibration moves; binned errors have no such bound.

For the calibration error CE(pi) = E_x |pi(.|x) - p*(.|x)|_1 the claim (ours) is

    |CE(pi_1) - CE(pi_2)| <= E_x |pi_1 - pi_2|_1 <= 2 sqrt(E_x D_f(pi_1 || pi_2) / (2 f''(1))).    (1)

The paper's Theorem 2 bounds a difference of calibration errors by a divergence; no test of it is known to
us.

Three kinds of pairs of policies are drawn: `random` tilts; `sharp` pairs that make (1) an equality in the
limit; and `swap` pairs, in which two responses that are nearly tied change places. A fourth, `training`, is
f-DPO by steps of fixed length from a reference that is perfectly calibrated, where the two policies are the
one along the path and the reference. The two roads are the calibration errors themselves
(`distalign.calibration`) and the bound computed from D_f (`distalign.theory.f_dpo.closed_forms`).

The checks ask that each inequality of (1) holds on every row; that no smaller constant would do, because
the `sharp` pairs reach the bound within 0.1 %; and that two binned errors exceed the bound on the `swap`
pairs: the error of the top label that is usually plotted, and the one of the authors' code on pairs. Both
jump where two responses swap places, however small the step, so a theorem of this form cannot be about
them. The table counts how often they do so elsewhere. A bound above 2, the largest possible distance, is
marked as vacuous.

The planted defects: calibration errors 10 % too large; f''(1) 1 % off in the bound, to either side; the
confidence cut to its bin before the top label is chosen; and a pair counted as correct by its log-ratios to
the reference, as rewards are, in place of its log-probabilities.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.func import grad, vmap

from distalign.calibration import binned_calibration_error, calibration_error, pair_error, top_label_error
from distalign.divergences import divergence
from distalign.objectives import f_dpo
from distalign.policies import Tabular, score
from distalign.populations import Law, Population, win_matrix
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.verdict import Check, bound, differs, growth
from distalign.theory.f_dpo.closed_forms import calibration_bound

DIVERGENCES = (
    "reverse_kl",
    "forward_kl",
    "alpha:0.3",
    "alpha:0.7",
    "jensen_shannon",
    "squared_hellinger",
    "jeffreys",
    "chi2_plus_kl",
    "chi2",
)
TRAINED = ("reverse_kl", "alpha:0.3", "jensen_shannon", "forward_kl")
PROMPTS, RESPONSES, INSTANCE = 8, 6, 0
BETA, PAIRS, STEP = 0.1, 400, 0.05  # STEP: length of one step in all logits together, in nats
EVERYTHING = 2.0  # the largest |pi_1 - pi_2|_1 there is: a larger bound says nothing
ROUNDING = 1e-6  # relative, of a bound whose D_f of 1e-9 and more is a sum of terms near 0


def _pair_error_by_ratios(batch: PreferenceLogProbs, bins: int = 10) -> float:
    """`pair_error` by a developer who thinks of rewards."""
    confidence = (batch.chosen / batch.chosen_tokens).exp()  # pyright: ignore[reportOperatorIssue]
    correct = (batch.chosen_ratio > batch.rejected_ratio).double()
    weights = batch.chosen_frequencies
    return float(binned_calibration_error(confidence.numpy(), correct.numpy(), weights.numpy(), bins))


DEFECTS = (
    Defect(
        "calibration errors 10 % too large",
        calibration_error,
        result(lambda error: 1.1 * error),
        where(how="sharp", divergence="jensen_shannon"),
    ),
    Defect(
        "f''(1) 1 % too large in the bound",
        calibration_bound,
        argument("curvature", lambda c: 1.01 * c),
        where(how="sharp", divergence="jensen_shannon"),
    ),
    Defect(
        "f''(1) 1 % too small in the bound",
        calibration_bound,
        argument("curvature", lambda c: 0.99 * c),
        where(how="sharp", divergence="jensen_shannon"),
    ),
    Defect(
        "the confidence cut to its bin before the top label is chosen",
        top_label_error,
        argument("policy", lambda p: np.floor(10 * p) / 10),
        where(how="swap"),
    ),
    Defect(
        "a pair counted as correct by its log-ratios",
        pair_error,
        lambda right: _pair_error_by_ratios,
        where(how="swap"),
    ),
)


def cells(policies: int, runs: int, steps: int) -> list[dict[str, Any]]:
    """One cell per divergence and kind of pairs of policies."""
    pairs = [
        ("random", DIVERGENCES, policies, 0),
        ("sharp", DIVERGENCES, policies, 0),
        ("swap", DIVERGENCES, policies, 0),
        ("training", TRAINED, runs, steps),
    ]
    return [
        {"how": how, "divergence": f, "count": count, "steps": k}
        for how, names, count, k in pairs
        for f in names
    ]


def run(rng: np.random.Generator, *, how: str, divergence: str, count: int, steps: int) -> dict[str, Any]:
    """Distance, bound, and change of each calibration error, per pair of policies."""
    prompts = np.full(PROMPTS, 1 / PROMPTS)
    step = np.zeros(count, int)
    if how == "training":
        step, first, second, truth = _training(rng, divergence, count, steps)
    else:
        first, second, truth = {"random": _random, "sharp": _sharp, "swap": _swap}[how](rng, count)
    return {"step": step, **_compared(first, second, truth, prompts, divergence)}


def _compared(
    first: np.ndarray, second: np.ndarray, truth: np.ndarray, prompts: np.ndarray, name: str
) -> dict[str, Any]:
    """Both sides of (1), and the change of each binned error, for every pair of policies."""
    f = divergence(name)
    mean_divergence = (second * f.f(first / second)).sum(-1) @ prompts
    changes = {
        label: np.abs(error(first, truth, prompts) - error(second, truth, prompts))
        for label, error in (("change", calibration_error), ("top_label", top_label_error))
    }
    return {
        **changes,
        "pairs": _pair_change(first, second, truth, prompts),
        "mean_divergence": mean_divergence,
        "distance": np.abs(first - second).sum(-1) @ prompts,
        "limit": calibration_bound(mean_divergence, f.curvature),
    }


def _random(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tilts of random policies by random amounts from 1/1000 nat to 3 nats; an unrelated truth."""
    shape = (count, PROMPTS, RESPONSES)
    second, truth = (0.99 * rng.dirichlet(np.ones(RESPONSES), shape[:2]) + 0.01 / RESPONSES for _ in range(2))
    tilted = second * np.exp(
        np.exp(rng.uniform(np.log(1e-3), np.log(3), (count, 1, 1))) * rng.normal(size=shape)
    )
    return tilted / tilted.sum(-1, keepdims=True), second, truth


def _sharp(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pi_1/pi_2 = 1 +- e on halves of equal mass; pi_2 is the truth: equality in the limit e -> 0."""
    halves = rng.dirichlet(np.ones(RESPONSES // 2), (count, PROMPTS, 2)) / 2
    sign = np.repeat([1.0, -1.0], RESPONSES // 2)
    second = halves.reshape(count, PROMPTS, RESPONSES) + 1e-12
    e = np.exp(rng.uniform(np.log(1e-4), np.log(1e-2), (count, 1, 1)))
    return second * (1 + e * sign), second, second


def _swap(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two responses nearly tied in both policies, but in the other order.

    The truth prefers one of them by far.
    """
    e = np.exp(rng.uniform(np.log(1e-4), np.log(1e-2), (count, 1)))
    other_responses = np.full((count, RESPONSES - 2), 0.3 / (RESPONSES - 2))
    first, second = (np.concatenate([0.35 + s * e, 0.35 - s * e, other_responses], 1) for s in (-1, 1))
    truth = np.tile([0.35, 0.05, *[0.6 / (RESPONSES - 2)] * (RESPONSES - 2)], (count, 1))
    return tuple(np.repeat(x[:, None], PROMPTS, 1) for x in (first, second, truth))  # type: ignore[return-value]


def _training(rng: np.random.Generator, name: str, runs: int, steps: int) -> tuple[np.ndarray, ...]:
    """Policies along training, the reference they left, and the truth, which is the reference itself.

    One instance for all divergences, so that their paths may be compared; `rng` draws the samples.
    """
    instance = np.random.default_rng(INSTANCE)
    ref = 0.9 * instance.dirichlet(np.ones(RESPONSES), PROMPTS) + 0.1 / RESPONSES
    population = Population(win_matrix(instance.normal(size=(1, PROMPTS, RESPONSES)), [1.0], 1.0), ref)
    law = population.sample_pairs(PAIRS, rng, replicates=runs, distinct=True)
    path = np.concatenate(_descent(Tabular(ref), partial(f_dpo, beta=BETA, divergence=name), law, steps))
    start = np.broadcast_to(ref, path.shape)
    return np.repeat(_shown(steps), runs), path, start, start


def _shown(steps: int) -> np.ndarray:
    """Steps at which a path is looked at: every tenth, and the last."""
    return np.unique([*range(steps // 10, steps + 1, max(1, steps // 10)), steps])


def _descent(policy: Tabular, loss: Any, law: Law, steps: int) -> list[np.ndarray]:
    """Policies (R, S, K) at the steps shown, all runs at once.

    Each step goes down the gradient by the length `STEP`.
    """
    chosen, rejected, weights = (torch.from_numpy(x) for x in (law.chosen, law.rejected, law.weights))

    def value(theta: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return loss(score(policy, theta, chosen, rejected, w, validate=False))

    theta, shown = torch.zeros(len(weights), policy.dimension, dtype=torch.float64), []
    for step in range(1, steps + 1):
        gradient = vmap(grad(value))(theta, weights)
        theta = theta - STEP * gradient / gradient.norm(dim=1, keepdim=True).clamp(min=1e-300)
        if step in _shown(steps):
            shown.append(vmap(policy.log_probs)(theta).exp().numpy())
    return shown


def _pair_change(first: np.ndarray, second: np.ndarray, truth: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """(N,) change of the authors' code's error on Bradley-Terry pairs of the truth.

    A response is one token here.
    """
    s, i, j = (index.ravel() for index in np.indices((PROMPTS, RESPONSES, RESPONSES)))
    s, i, j = s[i != j], i[i != j], j[i != j]

    def error(policy: np.ndarray, p: np.ndarray) -> float:
        weights = prompts[s] * p[s, i] ** 2 * p[s, j] / (p[s, i] + p[s, j])
        log_chosen, log_rejected, w = (
            torch.from_numpy(x) for x in (np.log(policy[s, i]), np.log(policy[s, j]), weights)
        )
        one = torch.ones_like(log_chosen)
        return pair_error(
            PreferenceLogProbs(
                log_chosen,
                log_rejected,
                log_chosen,
                log_rejected,
                w,
                chosen_tokens=one,
                rejected_tokens=one,
                validate=False,
            )
        )

    return np.array([abs(error(a, p) - error(b, p)) for a, b, p in zip(first, second, truth, strict=True)])


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The bound, what it bounds and how near they come, per divergence, kind of pairs and step. Also how
    often a binned error exceeds the bound.
    """
    rows = rows.assign(
        share=rows.distance / rows.limit,
        vacuous=rows.limit >= EVERYTHING,
        top_over=rows.top_label > rows.limit,
        pairs_over=rows.pairs > rows.limit,
    )
    grouped = rows.groupby(["how", "divergence", "step"], as_index=False)
    return grouped.agg(
        cases=("limit", "size"),
        limit=("limit", "mean"),
        distance=("distance", "mean"),
        change=("change", "mean"),
        top_label=("top_label", "mean"),
        pairs=("pairs", "mean"),
        largest_share=("share", "max"),
        vacuous=("vacuous", "sum"),
        top_label_exceeds=("top_over", "sum"),
        pairs_exceed=("pairs_over", "sum"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Both inequalities everywhere, the sharpness of the second, and no such bound for binned errors."""
    sharp, swap = rows[rows.how == "sharp"], rows[rows.how == "swap"]
    vacuous = rows.limit >= EVERYTHING
    return [
        bound(
            "|CE(1) - CE(2)| <= 2 sqrt(E D_f / (2 f''(1)))",
            rows.change,
            rows.limit,
            slack=ROUNDING,
            vacuous=vacuous,
        ),
        bound(
            "E|pi_1 - pi_2| <= 2 sqrt(E D_f / (2 f''(1)))",
            rows.distance,
            rows.limit,
            slack=ROUNDING,
            vacuous=vacuous,
        ),
        bound("|CE(1) - CE(2)| <= E|pi_1 - pi_2|", rows.change, rows.distance),
        growth("no smaller constant: equality for small balanced moves", sharp.change, sharp.limit, 0.001),
        differs("binned top-label error exceeds the bound", (swap.top_label - swap.limit).clip(lower=0), 0.1),
        differs(
            "binned error of the authors' code exceeds the bound",
            (swap.pairs - swap.limit).clip(lower=0),
            0.01,
        ),
    ]
