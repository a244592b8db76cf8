"""Clipping the reward before KL-constrained RLHF: an exponential loss becomes at most 2, at a price.

The clip comes from a follow-up (Oko, Ulichney, Haghtalab, Bao, arXiv 2609.12651: RLHF with a clipped reward
loses a factor that grows with the mismatch B of data and reference, and O(b) when they are equal). The clip
tested is our reading of theirs (window 3/8, its floor a response that wins 45 % of the comparisons), and so
are the laws it is tested against. The side of plain RLHF is Theorem 6 of the paper.

On the two families where plain RLHF loses D = e^b/(10 b) (F3) and D = cosh^2(b/2) (F3'), clipping ties the
two responses in reach, so the distortion is

    2 D/(1 + D) < 2.    (1)

The worst case of Borda with comparisons drawn from the reference no clip can repair. On random problems
with comparisons from the reference clipping costs utility. Solvers are one road, the closed forms the
other.

The checks ask that clipped RLHF has (1) on F3 and F3' while plain RLHF has D on F3; that no clipped
distortion there is above 2, at three quantiles that agree; that Borda's worst case still has Bd(b); and
that on random problems the clipped policy loses more than the plain one.

The planted defects: the reward not clipped, or clipped at a floor that is 0.2 logits too low or averages over
alternatives instead of comparisons; a reference kept as float64 probabilities by plain RLHF; and Bd(b), or 2
D/(1 + D), off by twice the tolerance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import BradleyTerryUsers
from distalign.populations.worst_cases import borda_worst_case
from distalign.populations.worst_cases_kl import (
    ConstrainedWorstCase,
    exponential_worst_case,
    unsupported_worst_case,
)
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.rates import summarise
from distalign.simulation.studies.distortion.constrained import distortion_in_ball
from distalign.simulation.studies.distortion.problems import AlignmentProblem
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.solvers.choice.clipped_rlhf import clip_floor, clipped_rlhf
from distalign.solvers.choice.reward import rlhf
from distalign.theory.distortion.constants import borda_distortion
from distalign.theory.distortion.rules import tied_distortion

EPSILON = 1e-4
DEFECTS = (
    Defect(
        "the reward is not clipped",
        clipped_rlhf,
        lambda right: lambda *problem, quantile: rlhf(*problem),
    ),
    Defect("the floor of the clip 0.2 logits too low", clip_floor, result(lambda x: x - 0.2)),
    Defect(
        "the floor of the clip averages over alternatives instead of comparisons",
        clip_floor,
        argument("comparison", np.ones_like),
    ),
    Defect(
        "plain RLHF's reference kept as float64 probabilities: no logarithm below -745",
        rlhf,
        argument("log_reference", lambda q: np.maximum(q, -745.0)),
    ),
    Defect("2 D/(1 + D) 0.4 % too large", tied_distortion, result(lambda x: 1.004 * x), no_cell),
    Defect("Bd(b) 0.2 % too large", borda_distortion, result(lambda x: x * (1 + 20 * EPSILON)), no_cell),
)
# Excludes the pool of F3' for the clipped reward too; float64 holds policies tilted from it to 1e-9.
LOG_EXCLUDED = -1e7
QUANTILES = (0.3, 0.45, 0.5)


def cells(temperatures: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per Bradley-Terry temperature."""
    return [{"bt_temperature": b, "replicates": replicates} for b in temperatures]


def run(rng: np.random.Generator, *, bt_temperature: float, replicates: int) -> dict[str, Any]:
    """Distortion of plain and of clipped RLHF, at three quantiles, on the families and on random problems."""
    exponential = exponential_worst_case(bt_temperature)
    unsupported = unsupported_worst_case(bt_temperature, 100 * EPSILON, log_excluded=LOG_EXCLUDED)
    borda = borda_worst_case(bt_temperature, EPSILON)
    problems = [
        ("F3", _problem(exponential), exponential.distortion),
        ("F3'", _problem(unsupported), unsupported.distortion),
        (
            "on policy, worst",
            AlignmentProblem(borda.users, borda.comparison, np.log(borda.comparison), np.inf),
            borda.distortion,
        ),
    ]
    problems += [("on policy, random", _random(rng, bt_temperature), np.nan) for _ in range(replicates)]
    measured = [
        {
            "family": name,
            "closed_form": exact,
            "plain": _measure(p, None),
            **{f"clipped_{q}": _measure(p, q) for q in QUANTILES},
        }
        for name, p, exact in problems
    ]
    return {column: [row[column] for row in measured] for column in measured[0]}


def _problem(case: ConstrainedWorstCase) -> AlignmentProblem:
    """A constrained worst case as an alignment problem."""
    return AlignmentProblem(case.users, case.comparison, case.log_reference, case.kl_budget)


def _random(rng: np.random.Generator, bt_temperature: float) -> AlignmentProblem:
    """Five types, six responses, uniform utilities, and comparisons drawn from the reference.

    The budget is 0.05 to 2 nats.
    """
    reference = rng.dirichlet(np.ones(6)) + 1e-6
    users = BradleyTerryUsers(rng.random((5, 6)), rng.dirichlet(np.ones(5)), bt_temperature)
    budget = float(np.exp(rng.uniform(np.log(0.05), np.log(2))))
    return AlignmentProblem(users, reference / reference.sum(), np.log(reference / reference.sum()), budget)


def _measure(problem: AlignmentProblem, quantile: float | None) -> float:
    """Distortion of RLHF, clipped at a quantile or plain; NaN without a certificate."""
    arguments = problem.users.win, problem.comparison, problem.log_reference, problem.kl_budget
    solved = rlhf(*arguments) if quantile is None else clipped_rlhf(*arguments, quantile=quantile)
    return distortion_in_ball(problem.users, solved, problem.log_reference, problem.kl_budget)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean distortion, plain and clipped, by family and temperature; intervals for the random problems."""
    columns = ["plain", *(f"clipped_{q}" for q in QUANTILES)]
    summaries = [
        summarise(rows, ["family", "bt_temperature"], column).assign(reward=column) for column in columns
    ]
    return pd.concat(summaries, ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Two instead of an exponential, nothing gained on Borda's worst case, a price on random problems."""
    by_family = {name: rows[rows.family == name] for name in rows.family.unique()}
    f3, sharp, worst, random = (
        by_family[name] for name in ("F3", "F3'", "on policy, worst", "on policy, random")
    )
    families = pd.concat([f3, sharp])
    return [
        growth(
            "distortion of clipped RLHF on F3 = 2 D/(1 + D), D = e^b/(10 b)",
            f3["clipped_0.45"],
            tied_distortion(f3.closed_form),
            2e-3,
        ),
        growth(
            "distortion of clipped RLHF on F3' = 2 D/(1 + D), D near cosh^2(b/2)",
            sharp["clipped_0.45"],
            tied_distortion(sharp.closed_form),
            2e-3,
        ),
        growth("distortion of plain RLHF on F3 = D", f3.plain, f3.closed_form, 1e-3),
        bound("clipped RLHF on F3 and F3' <= 2", [families[f"clipped_{q}"] for q in QUANTILES], 2.0),
        identity(
            "the quantiles 0.3, 0.45 and 0.5 agree on F3 and F3'",
            [families[f"clipped_{q}"] - families["clipped_0.45"] for q in QUANTILES],
            1e-6,
        ),
        growth(
            "comparisons from the reference: clipped RLHF still has Bd(b)",
            worst["clipped_0.45"],
            borda_distortion(worst.bt_temperature),
            10 * EPSILON,
        ),
        separation(
            "clipping costs utility on random problems with comparisons from the reference",
            random["clipped_0.45"] - random.plain,
        ),
    ]
