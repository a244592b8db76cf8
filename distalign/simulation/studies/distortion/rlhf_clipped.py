"""Clipping the reward before KL-constrained RLHF: the exponential loss becomes a factor of at most 2, and
what that costs.

Two families on which plain RLHF loses e^b/(10 b) (F3) and cosh^2(b/2) (F3'), the worst case of Borda with
comparisons drawn from the reference, which no clip can repair, and random problems with comparisons from the
reference, where it costs utility.
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
from distalign.simulation.rates import summarise
from distalign.simulation.studies.distortion.problems import Problem
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.solvers.choice.clipped_rlhf import clipped_rlhf
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import rlhf
from distalign.theory.distortion.constants import borda_distortion
from distalign.theory.distortion.rules import tied_distortion

DEFECT = "the reward is not clipped"
EPSILON = 1e-4
LOG_EXCLUDED = (
    -1e7
)  # excludes the pool of F3' for the clipped reward; float64 holds policies tilted from it to 1e-9
QUANTILES = (0.3, 0.45, 0.5)


def cells(temperatures: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per Bradley-Terry temperature."""
    return [{"bt_temperature": b, "replicates": replicates} for b in temperatures]


def run(
    rng: np.random.Generator, *, bt_temperature: float, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Distortion of plain and of clipped RLHF, at three quantiles, on the families and on random problems."""
    exponential = exponential_worst_case(bt_temperature)
    unsupported = unsupported_worst_case(bt_temperature, 100 * EPSILON, log_excluded=LOG_EXCLUDED)
    borda = borda_worst_case(bt_temperature, EPSILON)
    named = [
        ("F3", _problem(exponential), exponential.distortion),
        ("F3'", _problem(unsupported), unsupported.distortion),
        (
            "on policy, worst",
            Problem(borda.users, borda.comparison, np.log(borda.comparison), np.inf),
            borda.distortion,
        ),
    ]
    named += [("on policy, random", _random(rng, bt_temperature), np.nan) for _ in range(replicates)]
    found = [
        {
            "family": name,
            "closed_form": exact,
            "plain": _measure(p, None),
            **{f"clipped_{q}": _measure(p, None if defect else q) for q in QUANTILES},
        }
        for name, p, exact in named
    ]
    return {column: [row[column] for row in found] for column in found[0]}


def _problem(case: ConstrainedWorstCase) -> Problem:
    return Problem(case.users, case.comparison, case.log_reference, case.kl_budget)


def _random(rng: np.random.Generator, bt_temperature: float) -> Problem:
    """Five types, six responses, uniform utilities; comparisons from the reference; a budget of 0.05 to 2
    nats.
    """
    reference = rng.dirichlet(np.ones(6)) + 1e-6
    users = BradleyTerryUsers(rng.random((5, 6)), rng.dirichlet(np.ones(5)), bt_temperature)
    budget = float(np.exp(rng.uniform(np.log(0.05), np.log(2))))
    return Problem(users, reference / reference.sum(), np.log(reference / reference.sum()), budget)


def _measure(problem: Problem, quantile: float | None) -> float:
    """Distortion of RLHF, clipped at a quantile or plain; NaN without a certificate."""
    arguments = problem.users.win, problem.comparison, problem.log_reference, problem.kl_budget
    found = rlhf(*arguments) if quantile is None else clipped_rlhf(*arguments, quantile=quantile)
    if not found.certified:
        return np.nan
    return distortion(problem.users.average_utility, found.policy, problem.log_reference, problem.kl_budget)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean distortion, plain and clipped, by family and temperature; intervals for the random problems."""
    columns = ["plain", *(f"clipped_{q}" for q in QUANTILES)]
    out = [summarise(rows, ["family", "bt_temperature"], column).assign(reward=column) for column in columns]
    return pd.concat(out, ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Two on the families instead of an exponential; nothing gained on Borda's worst case; a price on random
    problems.
    """
    of = {name: rows[rows.family == name] for name in rows.family.unique()}
    f3, sharp, worst, random = (of[name] for name in ("F3", "F3'", "on policy, worst", "on policy, random"))
    both = pd.concat([f3, sharp])
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
        growth("distortion of plain RLHF on F3 = D", f3.plain, f3.closed_form, 0.02),
        bound("clipped RLHF on F3 and F3' <= 2", [both[f"clipped_{q}"] for q in QUANTILES], 2.0),
        identity(
            "the quantiles 0.3, 0.45 and 0.5 agree on F3 and F3'",
            [both[f"clipped_{q}"] - both["clipped_0.45"] for q in QUANTILES],
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
