"""Clipped RLHF loses order b B where data and reference differ by B, and order b where they do not.

The claim. Oko, Ulichney, Haghtalab and Bao (arXiv 2609.12651, abstract seen): with a clipped reward the
distortion of RLHF is of order b B up to logarithms, in a representative regime of the KL strength, where B
bounds log(mu/ref), and of order b where mu = ref. Their clip and their families were not seen: clip (that of
`rlhf_clipped`), families and formulas are ours (`distalign.theory.distortion.clipped`), and only the side
from below is tested: how bad it can be, not that it is never worse.

Mismatch: comparisons are with a response that the reference hardly draws, so a budget of tau nats buys a
share tau/B of it, and a response that is k(b) = 0.33 b times better lies below the clip, where nothing tells
it from a worthless one. The distortion is k B / log(k B) to first order. No mismatch: users agree, the clip's
upper end ties the best response with one that is worth 0.17/b, and the distortion is b/0.17 in the limit;
plain RLHF loses nothing there, so this is the price of the clip alone.

The run. Both families over b and B, with b from 3 on, for at 2 the hidden response is not the best one and
the closed form does not hold. They are solved by `clipped_rlhf` and by plain `rlhf`; the references are given
by their logarithms. Distortions are against the best policy of the same ball.

The checks, fixed beforehand: growth laws to 1e-3, where the families' margins are 1e-6 (a response below the
clip) and 1e-4 (one above it); plain RLHF without mismatch to 1e-6; log(mu/ref) is B to 1e-6; and at least
k B / (2 log(k B)) from B = 10 on.

The planted defects: the reward not clipped; the floor 0.2 logits too low; the window 5 % too wide; the KL
budget of either RLHF 5 % too small; and B taken 5 % too large where the reference is made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import BradleyTerryUsers
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.studies.distortion.problems import AlignmentProblem
from distalign.simulation.studies.distortion.rlhf_clipped import _measure
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.clipped_rlhf import clip_floor, clipped_rlhf
from distalign.solvers.choice.reward import rlhf
from distalign.theory.distortion import clipped as theory
from distalign.types import Array

QUANTILE = 0.45
BELOW, ABOVE, RARE = 1e-6, 1e-4, 1e-9  # margins of the families, and what is hardly ever compared
LARGE = 10.0  # from this B on the first order is asked for


def _log_reference(log_ratio: float, log_best: float) -> Array:
    """Mass e^log_best on a, e^-B on c, and the rest on d."""
    return np.array([log_best, -log_ratio, np.log1p(-np.exp(log_best) - np.exp(-log_ratio))])


DEFECTS = (
    Defect(
        "the reward is not clipped", clipped_rlhf, lambda right: lambda *problem, quantile: rlhf(*problem)
    ),
    Defect("the floor of the clip 0.2 logits too low", clip_floor, result(lambda x: x - 0.2)),
    Defect("the window 5 % too wide", clipped_rlhf, argument("window", lambda w: 1.05 * w)),
    Defect(
        "the KL budget of clipped RLHF 5 % too small", clipped_rlhf, argument("kl_budget", lambda x: 0.95 * x)
    ),
    Defect("the KL budget of plain RLHF 5 % too small", rlhf, argument("kl_budget", lambda x: 0.95 * x)),
    Defect(
        "B 5 % too large in the reference",
        _log_reference,
        argument("log_ratio", lambda b: 1.05 * b),
        where(family="mismatch"),
    ),
)


def cells(temperatures: list[float], log_ratios: list[float]) -> list[dict[str, Any]]:
    """One cell per temperature and B; without mismatch one per temperature."""
    return [
        *(
            {"family": "mismatch", "bt_temperature": b, "log_ratio": r}
            for b in temperatures
            for r in log_ratios
        ),
        *({"family": "none", "bt_temperature": b, "log_ratio": 0.0} for b in temperatures),
    ]


def run(rng: np.random.Generator, *, family: str, bt_temperature: float, log_ratio: float) -> dict[str, Any]:
    """Distortion of clipped and of plain RLHF on one family."""
    if family == "mismatch":
        problem = _mismatched(bt_temperature, log_ratio)
        predicted = theory.mismatch_distortion(bt_temperature, log_ratio, QUANTILE)
    else:
        problem, share = _matched(bt_temperature)
        predicted = theory.unmatched_distortion(bt_temperature, share, QUANTILE)
    return {
        "clipped": [_measure(problem, QUANTILE)],
        "plain": [_measure(problem, None)],
        "predicted": [predicted],
        "ratio": [float((np.log(problem.comparison) - problem.log_reference).max())],
    }


def _mismatched(bt_temperature: float, log_ratio: float) -> AlignmentProblem:
    """Responses a, c, d: nearly all comparisons are with c, which has mass e^-B."""
    t, share = theory.hidden_share(bt_temperature, QUANTILE)
    users = BradleyTerryUsers(
        np.array([[1.0, 0.0, 0.0], [0.0, t / bt_temperature, 0.0]]),
        np.array([share * (1 - BELOW), 1 - share * (1 - BELOW)]),
        bt_temperature,
    )
    budget = theory.mismatch_budget(bt_temperature, log_ratio, QUANTILE)
    log_reference = _log_reference(log_ratio, -budget)
    rare = RARE * np.exp(log_reference[[0, 2]])
    comparison = np.array([rare[0], 1 - rare.sum(), rare[1]])
    return AlignmentProblem(users, comparison, log_reference, budget)


def _matched(bt_temperature: float) -> tuple[AlignmentProblem, float]:
    """Responses a, c, d, with comparisons from the reference, which mostly draws d; and the share of a."""
    worth = (1 + ABOVE) * theory.upper_end(QUANTILE) / bt_temperature
    users = BradleyTerryUsers(np.array([[1.0, worth, 0.0]]), np.array([1.0]), bt_temperature)
    share = bt_temperature**-3.0
    reference = np.array([BELOW * share, BELOW * (1 - share), 1 - BELOW])
    log_reference = np.log(reference)
    return AlignmentProblem(users, reference, log_reference, -log_reference[0] * (1 + RARE)), share


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Distortion by family, temperature and B, of clipped and of plain RLHF, with the prediction."""
    return rows[["family", "bt_temperature", "log_ratio", "clipped", "plain", "predicted"]].reset_index(  # pyright: ignore[reportReturnType]
        drop=True
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Both laws, what plain RLHF loses without mismatch, and the size of the mismatch."""
    mismatch, none = rows[rows.family == "mismatch"], rows[rows.family == "none"]
    large = mismatch[mismatch.log_ratio >= LARGE]
    scale = np.array(
        [theory.hidden_ratio(b) * r for b, r in zip(large.bt_temperature, large.log_ratio, strict=True)]
    )
    return [
        growth(
            "clipped RLHF with mismatch B follows its closed form", mismatch.clipped, mismatch.predicted, 1e-3
        ),
        growth("clipped RLHF without mismatch follows its closed form", none.clipped, none.predicted, 1e-3),
        growth("plain RLHF without mismatch loses nothing there", none.plain, np.ones(len(none)), 1e-6),
        bound("from B = 10 on: k B / (2 log(k B)) <= distortion", scale / (2 * np.log(scale)), large.clipped),
        identity("largest log(mu/ref) = B, relative", mismatch.ratio / mismatch.log_ratio - 1, 1e-6),
    ]
