"""Borda, and RLHF without a KL constraint, lose at most a factor Bd(b), and on one family they lose that
much.

Random populations and comparison distributions against the curve and against the weaker published bounds C^2
and 2 C, the worst case (F2) on the curve, and on a grid the dual inequality that proves the curve exact. The
lower bound and C^2 are the paper's; that Bd is exact is ours. RLHF picks Borda's winner whenever pairs are
drawn from a product distribution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations.worst_cases import borda_worst_case
from distalign.simulation.studies.distortion.duals import borda_violation, grid_margins
from distalign.simulation.studies.distortion.problems import Problem, random_problem, unconstrained
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import borda, reward_mle
from distalign.theory.distortion.constants import borda_distortion, minimax_distortion

DEFECT = "wins credited to the loser (the win matrix transposed)"
EPSILON = 1e-4


def cells(temperatures: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per Bradley-Terry temperature."""
    return [{"bt_temperature": b, "replicates": replicates} for b in temperatures]


def run(
    rng: np.random.Generator, *, bt_temperature: float, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Distortion of Borda and of RLHF on random problems and on the worst case."""
    worst = borda_worst_case(bt_temperature, EPSILON)
    named = [("random", random_problem(rng, worst)) for _ in range(replicates)] + [
        ("worst case", unconstrained(worst))
    ]
    found = [_solve(problem, defect) for _, problem in named]
    return {
        "family": [name for name, _ in named],
        "distortion": [d for d, _ in found],
        "rlhf_distortion": [d for _, d in found],
        "dual": borda_violation(
            grid_margins(bt_temperature).T if defect else grid_margins(bt_temperature), bt_temperature
        ),
        "alternatives": [len(p.comparison) for _, p in named],
        "closed_form": np.where([name == "worst case" for name, _ in named], worst.distortion, np.nan),
    }


def _solve(problem: Problem, defect: bool) -> tuple[float, float]:
    """Distortion of Borda and of RLHF over all lotteries; NaN for RLHF if the reward fit has not
    converged.
    """
    users, mu = problem.users, problem.comparison
    fit = reward_mle(users.win, mu)
    uniform = np.full(len(mu), -np.log(len(mu)))
    winner = np.eye(len(mu))[fit.reward.argmax()]
    of_borda = distortion(
        users.average_utility, borda(users.win.T if defect else users.win, mu).policy, uniform, np.inf
    )
    return of_borda, distortion(users.average_utility, winner, uniform, np.inf) if fit.certified else np.nan


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Smallest, median and largest distortion by temperature and family, beside Bd and C."""
    out = rows.groupby(["family", "bt_temperature"]).distortion.agg(
        low="min", median="median", high="max", instances="count"
    )
    out = out.reset_index()
    return out.assign(
        bound=borda_distortion(out.bt_temperature), minimax=minimax_distortion(out.bt_temperature)
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The worst case lies on Bd, above C; nothing lies above Bd, C^2 or 2 C; the dual inequality; RLHF is
    Borda.
    """
    worst, fitted = rows[rows.family == "worst case"], rows[rows.rlhf_distortion.notna()]
    minimax = minimax_distortion(rows.bt_temperature)
    return [
        growth(
            "distortion of Borda on its worst case = Bd(b)",
            worst.distortion,
            borda_distortion(worst.bt_temperature),
            2 * EPSILON,
        ),
        bound(
            "distortion of Borda <= Bd(b)", rows.distortion, borda_distortion(rows.bt_temperature), slack=1e-8
        ),
        bound("Theorem 2: distortion of Borda <= C(b)^2", rows.distortion, minimax**2, slack=1e-8),
        bound("distortion of Borda <= 2 C(b)", rows.distortion, 2 * minimax),
        bound(
            "the dual inequality that proves Bd, on a grid (1 + violation <= 1)",
            1 + rows.dual,
            1.0,
            slack=1e-12,
        ),
        bound(
            "C(b) <= distortion of Borda on its worst case",
            minimax_distortion(worst.bt_temperature),
            worst.distortion,
        ),
        identity(
            "distortion on the worst case = its closed form", worst.distortion / worst.closed_form - 1, 1e-9
        ),
        identity("RLHF without KL = Borda", fitted.rlhf_distortion / fitted.distortion - 1, 1e-9),
        bound("share of reward fits that did not converge <= 1 %", [1 - len(fitted) / len(rows)], 0.01),
    ]
