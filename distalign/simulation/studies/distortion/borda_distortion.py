"""Borda, and RLHF without a KL constraint, lose at most a factor Bd(b), and on one family lose that much.

The lower bound Bd(b) = C(b) sup_g [1 - g + s(bg)/s(b)] (Theorem 12) and the upper bound C(b)^2 (Theorem 2)
are the paper's, and formalised in Lean. The upper bound 2 C(b) is that of arXiv 2602.11152. That Bd is
exact, so that nothing exceeds it, is ours.

Random populations and comparison distributions are held against the curve Bd and against the weaker
published bounds C^2 and 2 C; the worst case (F2) is held to the curve; and on a grid of utilities the dual
inequality is checked that proves the curve exact. RLHF picks Borda's winner whenever pairs are drawn from a
product distribution, so its reward fit is a second road to the same winner.

The checks ask that the worst case lies on Bd, above C, and has its closed form; that nothing lies above Bd,
C^2 or 2 C; that the dual inequality holds on the grid; and that RLHF without KL is Borda, on the problems
whose reward fit converged (all but 1 %).

The planted defects: Borda's comparisons mixed with 5 % of uniform ones; ties of Borda scores up to 0.001
instead of 1e-14; the multiplier w of the dual 0.1 % too small; Bd(b) 0.04 % too large; C(b) 10 % too large or
too small; and rewards in single precision during the fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations.worst_cases import borda_worst_case
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.studies.distortion.duals import borda_violation, grid_margins
from distalign.simulation.studies.distortion.problems import AlignmentProblem, random_problem, unconstrained
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.certified import CertifiedPolicy, normalised
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import borda, borda_scores, newton_step, reward_mle
from distalign.theory.distortion.constants import borda_distortion, borda_multipliers, minimax_distortion

EPSILON = 1e-4
DEFECTS = (
    Defect(
        "Borda's comparisons mixed with 5 % of uniform ones",
        borda,
        argument("comparison", lambda mu: 0.95 * mu + 0.05 / len(mu)),
    ),
    Defect("Borda scores count as tied up to 0.001", borda, lambda right: _loosely_tied),
    Defect(
        "the multiplier w of the dual 0.1 % too small",
        borda_multipliers,
        result(lambda r: (r[0], 0.999 * r[1], r[2])),
    ),
    Defect("Bd(b) 0.04 % too large", borda_distortion, result(lambda x: x * (1 + 4 * EPSILON)), no_cell),
    Defect("C(b) 10 % too large", minimax_distortion, result(lambda x: 1.1 * x), no_cell),
    Defect("C(b) 10 % too small", minimax_distortion, result(lambda x: 0.9 * x), no_cell),
    Defect("rewards in single precision during the fit", newton_step, argument("r", np.float32)),
)


def cells(temperatures: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per Bradley-Terry temperature."""
    return [{"bt_temperature": b, "replicates": replicates} for b in temperatures]


def _loosely_tied(win: Any, comparison: Any) -> CertifiedPolicy:
    """`borda` by a developer who compares scores to three digits."""
    scores = borda_scores(win, comparison)
    return CertifiedPolicy(normalised(np.where(scores >= scores.max() - 1e-3, 0.0, -np.inf)), 0.0, 0.0)


def run(rng: np.random.Generator, *, bt_temperature: float, replicates: int) -> dict[str, Any]:
    """Distortion of Borda and of RLHF on random problems and on the worst case."""
    worst = borda_worst_case(bt_temperature, EPSILON)
    problems = [("random", random_problem(rng, worst)) for _ in range(replicates)] + [
        ("worst case", unconstrained(worst))
    ]
    distortions = [_solve(problem) for _, problem in problems]
    return {
        "family": [name for name, _ in problems],
        "distortion": [d for d, _ in distortions],
        "rlhf_distortion": [d for _, d in distortions],
        "dual": borda_violation(grid_margins(bt_temperature), bt_temperature),
        "alternatives": [len(p.comparison) for _, p in problems],
        "closed_form": np.where([name == "worst case" for name, _ in problems], worst.distortion, np.nan),
    }


def _solve(problem: AlignmentProblem) -> tuple[float, float]:
    """Distortion of Borda and of RLHF over all lotteries.

    That of RLHF is NaN if its reward fit has not converged.
    """
    users, mu = problem.users, problem.comparison
    fit = reward_mle(users.win, mu)
    uniform = np.full(len(mu), -np.log(len(mu)))
    winner = np.eye(len(mu))[fit.reward.argmax()]
    of_borda = distortion(users.average_utility, borda(users.win, mu).policy, uniform, np.inf)
    return of_borda, distortion(users.average_utility, winner, uniform, np.inf) if fit.certified else np.nan


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Smallest, median and largest distortion by temperature and family, beside Bd and C."""
    summary = rows.groupby(["family", "bt_temperature"]).distortion.agg(
        low="min", median="median", high="max", instances="count"
    )
    summary = summary.reset_index()
    return summary.assign(
        bound=borda_distortion(summary.bt_temperature), minimax=minimax_distortion(summary.bt_temperature)
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The worst case on Bd and above C, nothing above the bounds, the dual inequality, RLHF = Borda."""
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
