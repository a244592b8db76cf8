"""KL-constrained Nash learning from human feedback loses at most a factor C(b), and on one family it loses
that much.

Random populations, references and budgets, the solver `distalign.solvers.choice.games.kl_nlhf`, and the
benchmark in the same ball; beside them the universal worst case (F1), where C is reached, and the worst case
of Borda and RLHF (F2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations.worst_cases import borda_worst_case, universal_worst_case
from distalign.simulation.studies.distortion.problems import Problem, random_problem, unconstrained
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.games import exploitability, kl_nlhf
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import rlhf
from distalign.theory.distortion.constants import minimax_distortion

DEFECT = "the KL-constrained policy of a Bradley-Terry reward (RLHF) instead of the Nash equilibrium"
EPSILON = 1e-4


def cells(temperatures: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per Bradley-Terry temperature."""
    return [{"bt_temperature": b, "replicates": replicates} for b in temperatures]


def run(
    rng: np.random.Generator, *, bt_temperature: float, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Distortion and exploitability on random problems and on the two worst cases."""
    universal = universal_worst_case(bt_temperature, epsilon=EPSILON)
    named = [("random", random_problem(rng, universal)) for _ in range(replicates)]
    named += [
        ("universal", unconstrained(universal)),
        ("Borda's", unconstrained(borda_worst_case(bt_temperature, EPSILON))),
    ]
    found = [_solve(problem, defect) for _, problem in named]
    return {
        "family": [name for name, _ in named],
        "distortion": [d for d, _ in found],
        "gain": [g for _, g in found],
        "alternatives": [len(p.comparison) for _, p in named],
        "kl_budget": [p.kl_budget for _, p in named],
        "closed_form": np.where([name == "universal" for name, _ in named], universal.distortion, np.nan),
    }


def _solve(problem: Problem, defect: bool) -> tuple[float, float]:
    """Distortion, and exploitability as a share of the largest margin; no distortion outside the ball."""
    win, q, budget = problem.users.win, problem.log_reference, problem.kl_budget
    found = rlhf(win, problem.comparison, q, budget) if defect else kl_nlhf(win, q, budget)
    gain = exploitability(win, found.log_policy, q, budget) / max(np.abs(2 * win - 1).max(), 1e-300)
    if not np.isfinite(gain):
        return np.nan, gain
    return distortion(problem.users.average_utility, found.policy, q, budget), gain


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Smallest, median and largest distortion by temperature and family, beside the bound."""
    out = rows.groupby(["family", "bt_temperature"]).distortion.agg(
        low="min", median="median", high="max", instances="count"
    )
    out = out.reset_index()
    return out.assign(bound=minimax_distortion(out.bt_temperature))


def checks(rows: pd.DataFrame) -> list[Check]:
    """Never above C; C reached on the universal worst case; every policy an equilibrium of its ball."""
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
