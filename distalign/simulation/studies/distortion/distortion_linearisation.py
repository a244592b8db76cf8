"""Margins of a Bradley-Terry population lie between two lines in the average utilities (Lemma 1).

With average utilities u, L = 1/4 and l = s(b)/b the paper's Lemma 1, formalised in Lean, is

    b (l u_x - L u_y) <= p(x over y) - 1/2 <= b (L u_x - l u_y).    (1)

Borda's bound 2 C(b) rests on an inequality of the same kind over single users,

    a + [s(b(c-y)) - s(b(a-y)) + s(b(c-y))]/s(b) <= 2 C(b) c,    (2)

whose mean over users proves it. The bound itself is that of arXiv 2602.11152; the three-line proof is ours.

(1) is computed for every pair of alternatives of random populations and of the universal worst case (F1),
where its lower line is reached, and for single users on a grid of utilities; (2) on the same grid. The win
matrix is one road, the lines in the average utilities are the other.

The checks ask that no margin lies outside the lines, for populations and for single users; that on F1 the
lower line is reached to (b eps)^2; and that (2) holds on the grid.

The planted defects: users who answer at a temperature 5 % too high for the lines, or 5 % too low.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import BradleyTerryUsers, win_matrix
from distalign.populations.worst_cases import universal_worst_case
from distalign.simulation.defects import Defect, argument
from distalign.simulation.studies.distortion.duals import borda_violation, grid_margins
from distalign.simulation.studies.distortion.problems import random_problem
from distalign.simulation.verdict import Check, bound
from distalign.theory.distortion.constants import linearised_margin

DEFECTS = (
    Defect(
        "users who answer at a temperature 5 % too high",
        win_matrix,
        argument("bt_temperature", lambda b: 1.05 * b),
    ),
    Defect(
        "users who answer at a temperature 5 % too low",
        win_matrix,
        argument("bt_temperature", lambda b: 0.95 * b),
    ),
)
EPSILON = 1e-4


def cells(temperatures: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per Bradley-Terry temperature."""
    return [{"bt_temperature": b, "replicates": replicates} for b in temperatures]


def run(rng: np.random.Generator, *, bt_temperature: float, replicates: int) -> dict[str, Any]:
    """Largest violation of a line and distance to the lower one, by population.

    Also the violations of both inequalities on the grid.
    """
    worst = universal_worst_case(bt_temperature, epsilon=EPSILON)
    users = [random_problem(rng, worst).users for _ in range(replicates)] + [worst.users]
    distances = [_distances(u) for u in users]
    single_user_margins = grid_margins(bt_temperature)
    return {
        "family": ["random"] * replicates + ["universal"],
        "violation": [v for v, _ in distances],
        "distance": [n for _, n in distances],
        "single": _single(single_user_margins, bt_temperature),
        "dual": borda_violation(single_user_margins, bt_temperature, equal=True),
    }


def _distances(users: BradleyTerryUsers) -> tuple[float, float]:
    """How far the worst margin lies outside the lines, and how far F1's from the lower one.

    The second is the distance of the first alternative's margins to their lower line, as a share of its
    term.
    """
    u, b = users.average_utility, users.bt_temperature
    margin = win_matrix(users.utilities, users.weights, b) - 0.5
    low, high = linearised_margin(b, u[:, None], u)
    # The first alternative's own term of the lower line, b l u_0: the natural unit of the distance to it.
    lower_term = float(linearised_margin(b, u[0], 0.0)[0]) or np.nan
    return float(np.maximum(low - margin, margin - high).max()), float(
        np.abs(margin - low)[0, 1:].max()
    ) / lower_term


def _single(margin: np.ndarray, bt_temperature: float) -> float:
    """Largest violation by one user whose utilities are a grid of levels."""
    u = np.linspace(0, 1, len(margin))
    low, high = linearised_margin(bt_temperature, u[:, None], u)
    return float(np.maximum(low - margin, margin - high).max())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest violation and least distance to the lower line by temperature and family."""
    return (
        rows.groupby(["family", "bt_temperature"])
        .agg(
            violation=("violation", "max"),
            distance=("distance", "min"),
            single=("single", "max"),
            dual=("dual", "max"),
            instances=("violation", "count"),
        )
        .reset_index()
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """No margin outside the lines, the lower one reached on F1, and the inequality on the grid."""
    worst = rows[rows.family == "universal"]
    return [
        bound(
            "Lemma 1: 1/2 + distance of a margin outside the lines <= 1/2",
            0.5 + rows.violation,
            0.5,
            slack=1e-13,
        ),
        bound("the same for single users on a grid", 0.5 + rows.single, 0.5, slack=1e-13),
        bound(
            "distance to the lower line on F1, as a share of its term, <= (b eps)^2 + 1e-9",
            worst.distance,
            (worst.bt_temperature * EPSILON) ** 2 + 1e-9,
        ),
        bound(
            "a + [s(b(c-y)) - s(b(a-y)) + s(b(c-y))]/s(b) <= 2 C(b) c on a grid",
            1 + rows.dual,
            1.0,
            slack=1e-12,
        ),
    ]
