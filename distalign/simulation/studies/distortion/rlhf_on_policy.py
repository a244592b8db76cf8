"""RLHF whose comparisons are drawn from the reference itself shows no blow-up, whatever the KL budget.

That its worst case is Borda's curve Bd(b), for every population and budget, is a conjecture of ours. It is
only searched, and from above proved by nothing; a follow-up (arXiv 2609.12651) shows O(b) for a clipped
RLHF. That Bd(b) is reached without a budget is Theorem 12 of the paper (F2).

A violation is looked for by random problems, by the users of the exponential families (F3, F3') with
comparisons drawn from the reference, and by an evolution strategy that starts from F2 and changes users,
reference and budget at once.

The checks ask that no distortion is above Bd(b); that F2 without a budget has Bd(b); that the searches come
within two per cent of it, which shows that they can find bad problems; and that no more than 1 % of the
reward fits fail to converge.

The planted defects: a KL budget 5 % too small, which loses more than Bd(b) where b is small; comparisons that
are drawn from the reference for 95 % and uniformly for 5 %; rewards in single precision during the fit; and
Bd(b) 3 % too large.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import BradleyTerryUsers
from distalign.populations.worst_cases import borda_worst_case
from distalign.populations.worst_cases_kl import exponential_worst_case, unsupported_worst_case
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.studies.distortion.constrained import distortion_in_ball
from distalign.simulation.studies.distortion.problems import AlignmentProblem, random_problem
from distalign.simulation.verdict import Check, bound, growth
from distalign.solvers.choice.reward import newton_step, rlhf
from distalign.theory.distortion.constants import borda_distortion, unsupported_rlhf_distortion

EPSILON = 1e-4
LEAST = -30.0  # log-probabilities of the reference that comparisons can still be drawn from
STARTS = 20  # a search begins at the best of these
MASSES = (-0.5, -2.0, -5.0, -10.0, -20.0)  # of the pool in the exponential families, log


def _without_search(arguments: Mapping[str, Any]) -> bool:
    """Whether a cell holds no searches, which are slow."""
    return not arguments["searches"]


DEFECTS = (
    Defect("the KL budget 5 % too small", rlhf, argument("kl_budget", lambda x: 0.95 * x), _without_search),
    Defect(
        "comparisons drawn from the reference for 95 % and uniformly for 5 %",
        rlhf,
        argument("comparison", lambda mu: 0.95 * mu + 0.05 / len(mu)),
        _without_search,
    ),
    Defect(
        "rewards in single precision during the fit",
        newton_step,
        argument("r", np.float32),
        _without_search,
    ),
    Defect("Bd(b) 3 % too large", borda_distortion, result(lambda x: 1.03 * x), no_cell),
)


def cells(
    temperatures: list[float], replicates: int, searches: int, evaluations: int
) -> list[dict[str, Any]]:
    """Two cells per Bradley-Terry temperature: the problems and the searches."""
    parts = ({"replicates": replicates, "searches": 0}, {"replicates": 0, "searches": searches})
    return [{"bt_temperature": b, **part, "evaluations": evaluations} for part in parts for b in temperatures]


def run(
    rng: np.random.Generator,
    *,
    bt_temperature: float,
    replicates: int,
    searches: int,
    evaluations: int,
) -> dict[str, Any]:
    """Distortion of RLHF on each problem, or the best of each search."""
    b = bt_temperature
    if searches:
        found = [_search(rng, b, evaluations) for _ in range(searches)]
        return {"family": "search", "distortion": found, "evaluations": evaluations}
    rows = [("F2", _distortion_of(_f2(b, EPSILON, np.inf)), 1)]
    for name, family in (("F3", exponential_worst_case), ("F3'", unsupported_worst_case)):
        for mass in MASSES:
            case = family(b, log_excluded=mass)
            problem = AlignmentProblem(case.users, case.comparison, case.log_reference, case.kl_budget)
            rows.append((name, _distortion_of(_on_policy(problem)), 1))
    near = borda_worst_case(b, 1e-2)
    rows += [("random", _distortion_of(_on_policy(random_problem(rng, near))), 1) for _ in range(replicates)]
    names, distortions, counts = zip(*rows, strict=True)
    return {"family": names, "distortion": distortions, "evaluations": counts}


def _distortion_of(problem: AlignmentProblem) -> float:
    """Distortion of RLHF in the ball; NaN if the reward fit is not certified."""
    solved = rlhf(problem.users.win, problem.comparison, problem.log_reference, problem.kl_budget)
    return distortion_in_ball(problem.users, solved, problem.log_reference, problem.kl_budget)


def _on_policy(problem: AlignmentProblem) -> AlignmentProblem:
    """The same users and budget, with comparisons drawn from the reference.

    The reference gives nothing less than e^LEAST.
    """
    q = np.maximum(problem.log_reference, LEAST)
    q = q - np.logaddexp.reduce(q)
    return AlignmentProblem(problem.users, np.exp(q), q, problem.kl_budget)


def _f2(b: float, epsilon: float, budget: float) -> AlignmentProblem:
    """The worst case of Borda with comparisons from the reference and this budget."""
    case = borda_worst_case(b, epsilon)
    return AlignmentProblem(case.users, case.comparison, np.log(case.comparison), budget)


def _search(rng: np.random.Generator, b: float, evaluations: int) -> float:
    """The largest distortion that an evolution strategy finds.

    It has one parent, and its step follows the rule of one success in five.
    """
    starts = [_start(rng, b) for _ in range(STARTS)]
    distortions = np.nan_to_num([_distortion_of(s) for s in starts], nan=0.0)
    parent, best, step_size = starts[int(distortions.argmax())], float(distortions.max()), 0.1
    for _ in range(evaluations - STARTS):
        child = _on_policy(_disturbed(rng, parent, step_size))
        distortion_of_child = np.nan_to_num(_distortion_of(child), nan=0.0)
        # One success and four failures leave the step nearly as it is: 1.5 * 0.9^4 = 0.98.
        step_size *= 1.5 if distortion_of_child > best else 0.9
        if distortion_of_child >= best:
            parent, best = child, distortion_of_child
        # A step this small has found a local maximum to rounding: the search begins to look farther again.
        if step_size < 1e-7:
            step_size = 0.3
    return float(best)


def _start(rng: np.random.Generator, b: float) -> AlignmentProblem:
    """F2 with a random epsilon and budget, and a rare type of users more.

    Half of the time there is also an alternative more.
    """
    epsilon = 10 ** rng.uniform(-3, -1)
    problem, rare = _f2(b, epsilon, float(np.exp(rng.uniform(np.log(0.3), np.log(40))))), epsilon**3
    users, q = problem.users, problem.log_reference
    u, w = users.utilities, users.weights
    if rng.random() < 0.5:
        u, q = np.column_stack([u, u[:, 1]]), np.append(q, q[1] - np.log(2))
        q[1] -= np.log(2)
    u, w = np.vstack([u, rng.random(u.shape[1])]), np.append(w * (1 - rare), rare)
    return _on_policy(
        AlignmentProblem(BradleyTerryUsers(u, w, users.bt_temperature), np.exp(q), q, problem.kl_budget)
    )


def _disturbed(rng: np.random.Generator, problem: AlignmentProblem, step: float) -> AlignmentProblem:
    """Multiplicative noise on utilities, shares, reference and budget.

    Each of the four is left alone half of the time.
    """
    users = problem.users

    def noise(shape: Any) -> np.ndarray:
        return step * rng.standard_normal(shape) * (rng.random() < 0.5)

    u = np.minimum(users.utilities * np.exp(noise(users.utilities.shape)), 1)
    w = users.weights * np.exp(noise(users.weights.shape))
    q = problem.log_reference * np.exp(noise(problem.log_reference.shape))
    budget = problem.kl_budget * float(np.exp(noise(())))
    return AlignmentProblem(
        BradleyTerryUsers(u, w / w.sum(), users.bt_temperature), np.exp(q), q - np.logaddexp.reduce(q), budget
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Median and largest distortion by family and temperature. Beside them stand Bd and what comparisons
    off policy can cost.
    """
    summary = (
        rows.groupby(["family", "bt_temperature"])
        .agg(median=("distortion", "median"), high=("distortion", "max"), evaluations=("evaluations", "sum"))
        .reset_index()
    )
    return summary.assign(
        bound=borda_distortion(summary.bt_temperature),
        off_policy=unsupported_rlhf_distortion(summary.bt_temperature),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """No distortion above Bd, F2 on it, and the searches near it."""
    solved, worst = rows[rows.distortion.notna()], rows[rows.family == "F2"]
    best_found = rows[rows.family == "search"].groupby("bt_temperature").distortion.max()
    return [
        bound(
            "distortion of RLHF with mu = reference <= Bd(b) (conjecture)",
            solved.distortion,
            borda_distortion(solved.bt_temperature),
            slack=1e-8,
        ),
        growth(
            "without a budget, distortion on F2 = Bd(b)",
            worst.distortion,
            borda_distortion(worst.bt_temperature),
            2 * EPSILON,
        ),
        bound(
            "the search was no straw man: 0.98 Bd(b) <= best found",
            0.98 * borda_distortion(best_found.index),
            best_found,
        ),
        bound(
            "share of problems whose reward fit did not converge <= 1 %", [1 - len(solved) / len(rows)], 0.01
        ),
    ]
