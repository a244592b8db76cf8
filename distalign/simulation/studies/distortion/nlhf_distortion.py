"""KL-constrained Nash learning from human feedback (NLHF) loses at most C(b), and on one family loses that.

The paper's Theorem 7 says that NLHF's distortion is at most C(b) = (b/2) coth(b/2) for every population,
reference and KL budget; the family is that of its Theorem 3.

Random populations, references and budgets are solved by `distalign.solvers.choice.games.kl_nlhf`, and the
best policy of the same ball is the benchmark. Beside them stand the universal worst case (F1), where C is
reached, and the worst case of Borda and RLHF (F2). The second road is the certificate: no opponent in the
ball gains against the policy.

The checks ask that no distortion is above C(b); that the universal worst case has C(b), up to its epsilon,
and its closed form; and that the exploitability is 0.

The planted defects: the equilibrium of a ball that is 10 % too small, which loses more than C(b) where b is
small; users who answer at a temperature 5 % too low, to whom the alternative that loses by a little wins; and
C(b) 0.04 % too large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations.bradley_terry import win_matrix
from distalign.populations.worst_cases import borda_worst_case, universal_worst_case
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.studies.distortion.problems import AlignmentProblem, random_problem, unconstrained
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.games import exploitability, kl_nlhf
from distalign.solvers.choice.kl_linear import distortion
from distalign.theory.distortion.constants import minimax_distortion

EPSILON = 1e-4
DEFECTS = (
    Defect("the KL budget 10 % too small", kl_nlhf, argument("kl_budget", lambda x: 0.9 * x)),
    Defect(
        "users who answer at a temperature 5 % too low",
        win_matrix,
        argument("bt_temperature", lambda b: 0.95 * b),
    ),
    Defect("C(b) 0.04 % too large", minimax_distortion, result(lambda c: c * (1 + 4 * EPSILON)), no_cell),
)


def cells(temperatures: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per Bradley-Terry temperature."""
    return [{"bt_temperature": b, "replicates": replicates} for b in temperatures]


def run(rng: np.random.Generator, *, bt_temperature: float, replicates: int) -> dict[str, Any]:
    """Distortion and exploitability on random problems and on the two worst cases."""
    universal = universal_worst_case(bt_temperature, epsilon=EPSILON)
    problems = [("random", random_problem(rng, universal)) for _ in range(replicates)]
    problems += [
        ("universal", unconstrained(universal)),
        ("Borda's", unconstrained(borda_worst_case(bt_temperature, EPSILON))),
    ]
    solved = [_solve(problem) for _, problem in problems]
    return {
        "family": [name for name, _ in problems],
        "distortion": [d for d, _ in solved],
        "gain": [g for _, g in solved],
        "alternatives": [len(p.comparison) for _, p in problems],
        "kl_budget": [p.kl_budget for _, p in problems],
        "closed_form": np.where([name == "universal" for name, _ in problems], universal.distortion, np.nan),
    }


def _solve(problem: AlignmentProblem) -> tuple[float, float]:
    """Distortion, and exploitability as a share of the largest margin.

    The distortion is NaN if the policy lies outside of the ball.
    """
    win, q, budget = problem.users.win, problem.log_reference, problem.kl_budget
    solved = kl_nlhf(win, q, budget)
    gain = exploitability(win, solved.log_policy, q, budget) / max(np.abs(2 * win - 1).max(), 1e-300)
    if not np.isfinite(gain):
        return np.nan, gain
    return distortion(problem.users.average_utility, solved.policy, q, budget), gain


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Smallest, median and largest distortion by temperature and family, beside the bound."""
    summary = rows.groupby(["family", "bt_temperature"]).distortion.agg(
        low="min", median="median", high="max", instances="count"
    )
    summary = summary.reset_index()
    return summary.assign(bound=minimax_distortion(summary.bt_temperature))


def checks(rows: pd.DataFrame) -> list[Check]:
    """Never above C(b), C(b) reached on the universal worst case, and every policy an equilibrium."""
    worst = rows[rows.family == "universal"]
    return [
        bound(
            "distortion of NLHF <= C(b)", rows.distortion, minimax_distortion(rows.bt_temperature), slack=1e-8
        ),
        growth(
            "distortion on the universal worst case = C(b)",
            worst.distortion,
            minimax_distortion(worst.bt_temperature),
            2 * EPSILON,
        ),
        identity(
            "distortion on the universal worst case = its closed form",
            worst.distortion / worst.closed_form - 1,
            1e-6,
        ),
        identity(
            "no opponent in the ball gains (share of the largest margin)", np.maximum(rows.gain, 0), 1e-8
        ),
    ]
