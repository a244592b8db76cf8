"""Copeland loses exactly Bd(b), as Borda does, and no deterministic rule that sees only victories loses less.

The claim. Alipour and Goyal (arXiv 2602.11152, abstract; theorems and proofs not read): under Bradley-Terry
users Copeland loses at most b (1 + e^-b)/(1 - e^-b) = 2 C(b) and at least (1 - epsilon) b, and deterministic
rules of rounded margins at least (5/8 - epsilon) b. The exact constant is ours. A Copeland winner x beats, or
ties with, some z that beats or ties with y, for each y that beats x. With s(t) = tanh(t/2)/2, g of
`worst_gamma`, h = s(b g)/s(b) - g and utilities x, y, z of one user in [0, 1],

    s(b) y + s(b (z - y)) + (1 + h) s(b (x - z)) <= (1 + h) (b/4) x.                                  (1)

(The last term on the left is at most (1 + h) (b x/4 - s(b z)), so the first two must not exceed (1 + h) s(b
z). If y > z they are at most s(b) z <= s(b z), as s is concave. If y <= z they are at most s(b z) where z <=
g, and s(b) (z + h) beyond, whose ratio to s(b z) rises to 1 + h at z = 1.)
Averaged over users, both victories leave y <= (1 + h) b/(4 s(b)) x, and that factor is Bd(b). A chain of two
narrow victories attains it: equality holds in (1) at the types of Borda's worst case. On a cycle of three
every choice has such a chain before it, so whatever a deterministic rule that sees only who beats whom picks
there, some population with that cycle makes it lose Bd(b).

The run. The family with two clones in the middle; the cycle in its three rotations; a linear program over
types on a grid for the largest ratio that a chain allows; and random populations, some of them near the
family.

The checks, fixed beforehand. Growth: the family and the cycle to ten times the family's epsilon, the program,
whose grid holds the extreme types, to 1e-6, and the expansion b - (1 + log 2b)/2 to 1 % from b = 10 on. An
identity: the rotations have one majority graph. A bound on every random population.

The planted defects: Copeland counts defeats; answers 5 % noisier; Bd(b) 1 % too large; and users of tiny
utilities who answer twice as decisively in the program.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linprog

from distalign.populations import BradleyTerryUsers, win_matrix
from distalign.populations.crowds import unstructured
from distalign.populations.worst_cases import copeland_worst_case
from distalign.simulation.defects import Defect, argument, no_cell, result, where
from distalign.simulation.studies.distortion.problems import random_problem
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.voting import copeland
from distalign.theory.distortion.constants import borda_distortion, minimax_distortion, worst_gamma
from distalign.types import Array

CLOSE, LARGE = 10.0, 10.0  # tolerance in units of the family's epsilon; where the expansion is asked for


def epsilon_at(bt_temperature: float) -> float:
    """The family's epsilon: b epsilon is to be small, and the victories well above rounding."""
    return min(1e-4, 1e-3 / bt_temperature)


def _slope_of_indifference(bt_temperature: float) -> float:
    """d/du of a user's win probability at u = 0, which is how users of tiny utilities answer."""
    return bt_temperature / 4


DEFECTS = (
    Defect(
        "Copeland counts defeats", copeland, argument("win", np.transpose), where(part={"family", "random"})
    ),
    Defect(
        "answers 5 % noisier than the utilities say",
        win_matrix,
        argument("bt_temperature", lambda b: 0.95 * b),
    ),
    Defect("Bd(b) 1 % too large", borda_distortion, result(lambda x: 1.01 * x), no_cell),
    Defect(
        "users of tiny utilities answer twice as decisively",
        _slope_of_indifference,
        result(lambda x: 2 * x),
        where(part="program"),
    ),
)


def cells(temperatures: list[float], steps: int, replicates: int) -> list[dict[str, Any]]:
    """One cell per temperature and part."""
    parts = (
        {"part": "family"},
        {"part": "program", "steps": steps},
        {"part": "random", "replicates": replicates},
    )
    return [{"bt_temperature": b, **part} for b in temperatures for part in parts]


def run(
    rng: np.random.Generator, *, bt_temperature: float, part: str, steps: int = 0, replicates: int = 0
) -> dict[str, Any]:
    """Distortions of the family and of the cycle, of the program, or of random populations."""
    if part == "program":
        return {"distortion": [_program(bt_temperature, steps)]}
    if part == "random":
        return {"distortion": [_random(rng, bt_temperature) for _ in range(replicates)]}
    case = copeland_worst_case(bt_temperature, epsilon_at(bt_temperature))
    cycle, graphs = _cycle(bt_temperature)
    return {"distortion": [_of_copeland(case.users)], "cycle": [cycle], "graphs": [graphs]}


def _of_copeland(users: BradleyTerryUsers) -> float:
    """Distortion of Copeland: 1 where nobody likes anything, infinite where it elects what nobody likes."""
    best, found = users.average_utility.max(), copeland(users.win).policy @ users.average_utility
    if found == 0:
        return 1.0 if best == 0 else np.inf
    return float(best / found)


def _random(rng: np.random.Generator, bt_temperature: float) -> float:
    """A random problem near the family or far from it, or an unstructured crowd."""
    if rng.random() < 0.2:
        return _of_copeland(unstructured(rng, bt_temperature))
    near = copeland_worst_case(bt_temperature, float(np.exp(rng.uniform(np.log(1e-3), np.log(0.3)))))
    return _of_copeland(random_problem(rng, near).users)


def _cycle(bt_temperature: float) -> tuple[float, int]:
    """What the best of the three deterministic choices loses on the worst rotation of a cycle of three.

    Also the number of different majority graphs among the rotations, which a rule that sees only victories
    cannot tell apart if it is 1.
    """
    users = copeland_worst_case(bt_temperature, epsilon_at(bt_temperature), clones=1).users
    rotated = [
        BradleyTerryUsers(np.roll(users.utilities, k, axis=1), users.weights, bt_temperature)
        for k in range(3)
    ]
    lost = np.array([u.average_utility.max() / u.average_utility for u in rotated])
    graphs = {(u.win > 0.5).tobytes() for u in rotated}
    return float(lost.max(0).min()), len(graphs)


def _program(bt_temperature: float, steps: int) -> float:
    """The largest E y / E x of users with  E s(b (x - z)) >= 0  and  E s(b (z - y)) >= 0.

    Masses of types on a grid, which holds 1 - g, and of three infinitesimal ones; their sum is free, because
    users without utilities change nothing.
    """
    b = bt_temperature
    grid = np.union1d(np.linspace(0, 1, steps), 1 - worst_gamma(b))
    x, y, z = (axis.ravel() for axis in np.meshgrid(grid, grid, grid, indexing="ij"))
    x, y, z = (np.append(u, tiny) for u, tiny in zip((x, y, z), np.eye(3), strict=True))
    finite = np.arange(len(x)) < len(grid) ** 3

    def s(t: Array) -> Array:
        return np.where(finite, np.tanh(b * t / 2) / 2, _slope_of_indifference(b) * t)

    solved = linprog(
        -y,
        A_ub=-np.array([s(x - z), s(z - y)]),
        b_ub=[0.0, 0.0],
        A_eq=x[None],
        b_eq=[1.0],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    return -float(solved.fun) if solved.success else float("nan")


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Copeland's distortion by part and temperature, its largest over random populations, and the curves."""
    out = rows.groupby(["part", "bt_temperature"], as_index=False, sort=True).agg(
        mean=("distortion", "mean"),
        low=("distortion", "min"),
        high=("distortion", "max"),
        cycle=("cycle", "max"),
        instances=("distortion", "size"),
    )
    b = out.bt_temperature
    return out.assign(
        predicted=borda_distortion(b), minimax=minimax_distortion(b), paper=2 * minimax_distortion(b)
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The family, the program and the cycle reach Bd(b); no population passes it."""
    family, program, random = (rows[rows.part == part] for part in ("family", "program", "random"))
    b, large = family.bt_temperature, family[family.bt_temperature >= LARGE]
    close = CLOSE * max(epsilon_at(t) for t in b)
    expansion = large.bt_temperature - (1 + np.log(2 * large.bt_temperature)) / 2
    return [
        growth(
            "Copeland on a chain of two narrow victories = Bd(b)",
            family.distortion,
            borda_distortion(b),
            close,
        ),
        growth(
            "largest ratio that a chain of two victories allows, by linear program = Bd(b)",
            program.distortion,
            borda_distortion(program.bt_temperature),
            1e-6,
        ),
        growth(
            "best deterministic choice on a cycle of three, worst rotation = Bd(b)",
            family.cycle,
            borda_distortion(b),
            close,
        ),
        identity("majority graphs that rotations of the cycle have, beyond one", family.graphs - 1, 0.0),
        growth("Copeland on the chain = b - (1 + log 2b)/2, b >= 10", large.distortion, expansion, 0.01),
        bound(
            "Copeland on random populations <= Bd(b)",
            random.distortion,
            borda_distortion(random.bt_temperature),
            slack=1e-8,
        ),
    ]
