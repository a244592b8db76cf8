"""Searches for populations worse than the known worst cases, by a linear program where there is one.

Corollary 4 of the paper says that no maximal lottery loses more than C(b); ours is that Borda loses exactly
Bd(b). For both the worst population is a semi-infinite linear program, which also proves itself optimal by
its dual. For KL-constrained RLHF no such program is known. Whole problems are searched by differential
evolution, from scratch and around the family that is conjectured to be worst. Those two conjectures are
ours and no theorems: with independent pairs RLHF in a KL ball loses at most cosh^2(b/2), and at most Bd(b)
when the comparisons come from the reference. A search can refute them and not prove them.

The checks ask of the program that it reaches C(b) and Bd(b) to 99.9 % and never passes them, that no type
of user violates its dual, that its multipliers are those of the proof, 1/s(b) and (Bd/C - 1)/s(b), and that
the rule's own code gives the same distortion on the population found. They ask of the black box that it
does not pass the two conjectured values, and that it comes within 2 % of them from a known start, which shows
that it can find bad problems.

The planted defects: users of a temperature 2 % too high in either program, who are worse than the bound;
multipliers of Borda's program 1 % too large; Borda scores of comparisons mixed with 5 % of uniform ones; and
the conjectured values 4 % too small or too large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from distalign.populations import BradleyTerryUsers
from distalign.populations.worst_cases import borda_worst_case
from distalign.populations.worst_cases_kl import unsupported_worst_case
from distalign.simulation.defects import Defect, argument, result
from distalign.simulation.studies.distortion import black_box
from distalign.simulation.studies.distortion.problems import AlignmentProblem
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.reward import borda_scores
from distalign.solvers.choice.worst_case_search import (
    WorstPopulation,
    borda_worst_population,
    lottery_worst_population,
    type_grid,
)
from distalign.theory.distortion.constants import (
    borda_distortion,
    minimax_distortion,
    unsupported_rlhf_distortion,
)

LEVELS, SMALLEST = 31, 2e-5  # of the grid of types on which the duals are checked once more
POOL = -1e7  # log of the reference's mass on the pool of F3', where the black box starts


def _program(arguments: Mapping[str, Any]) -> bool:
    """Whether a cell solves the program, at a temperature below 5."""
    return arguments["search"] == "program" and arguments["bt_temperature"] < 5


def _black_box(arguments: Mapping[str, Any]) -> bool:
    """Whether a cell searches by differential evolution."""
    return arguments["search"] == "black box"


DEFECTS = (
    Defect(
        "users of a temperature 2 % too high in Borda's program",
        borda_worst_population,
        argument("bt_temperature", lambda b: 1.02 * b),
        _program,
    ),
    Defect(
        "users of a temperature 2 % too high in the lottery's program",
        lottery_worst_population,
        argument("bt_temperature", lambda b: 1.02 * b),
        _program,
    ),
    Defect(
        "multipliers of Borda's program 1 % too large",
        borda_worst_population,
        result(lambda found: replace(found, multipliers=1.01 * found.multipliers)),
        _program,
    ),
    Defect(
        "Borda scores of comparisons mixed with 5 % of uniform ones",
        borda_scores,
        argument("comparison", lambda mu: 0.95 * mu + 0.05 / len(mu)),
        _program,
    ),
    Defect("cosh^2(b/2) 4 % too small", unsupported_rlhf_distortion, result(lambda x: 0.96 * x), _black_box),
    Defect("Bd(b) 4 % too small", borda_distortion, result(lambda x: 0.96 * x), _black_box),
    Defect("cosh^2(b/2) 4 % too large", unsupported_rlhf_distortion, result(lambda x: 1.04 * x), _black_box),
)


def cells(
    temperatures: list[float], others: int, black_box: list[float], generations: int
) -> list[dict[str, Any]]:
    """Programs at every temperature, and black-box runs at some.

    The black box runs on and off policy, from a known start and from scratch.
    """
    programs = [{"search": "program", "bt_temperature": b, "others": others} for b in temperatures]
    return programs + [
        {
            "search": "black box",
            "bt_temperature": b,
            "generations": generations,
            "on_policy": on,
            "known": known,
        }
        for b in black_box
        for on in (False, True)
        for known in (True, False)
    ]


def run(
    rng: np.random.Generator,
    *,
    search: str,
    bt_temperature: float,
    others: int = 0,
    generations: int = 0,
    on_policy: bool = False,
    known: bool = False,
) -> dict[str, Any]:
    """The worst distortion found, and what it is held against."""
    if search == "program":
        return _programs(rng, bt_temperature, others)
    start = _family(bt_temperature, on_policy) if known else None
    _, worst = black_box.search(bt_temperature, rng, generations, on_policy=on_policy, known=start)
    limit = borda_distortion(bt_temperature) if on_policy else unsupported_rlhf_distortion(bt_temperature)
    return {
        "rule": ["RLHF on policy" if on_policy else "RLHF in a KL ball"],
        "distortion": [worst],
        "limit": [float(limit)],
        "worst": [known],
        "violation": [np.nan],
        "multipliers": [np.nan],
        "recomputed": [np.nan],
    }


def _programs(rng: np.random.Generator, b: float, others: int) -> dict[str, Any]:
    """Borda and the lottery at their worst comparisons and lottery, and at random ones."""
    s = np.tanh(b / 2) / 2
    ratio = borda_distortion(b) / minimax_distortion(b)
    programs = [
        _row(
            "Borda",
            borda_worst_population(b, [0, 1, 0]),
            b,
            np.array([0, 1.0, 0]),
            [1 / s, (ratio - 1) / s, 0],
        ),
        _row("maximal lottery", lottery_worst_population(b, [0, 1]), b, np.array([0, 1.0]), [1 / s, 0]),
    ]
    for _ in range(others):
        mu, pi = rng.dirichlet(np.ones(3), size=2)
        programs += [
            _row("Borda", borda_worst_population(b, mu), b, mu, None),
            _row("maximal lottery", lottery_worst_population(b, pi), b, pi, None),
        ]
    limit = {"Borda": float(borda_distortion(b)), "maximal lottery": float(minimax_distortion(b))}
    return {
        **{column: [row[column] for row in programs] for column in programs[0]},
        "limit": [limit[row["rule"]] for row in programs],
    }


def _row(
    rule: str,
    found: WorstPopulation,
    b: float,
    law: NDArray[np.float64],
    dual: list[float] | None,
) -> dict[str, Any]:
    """The answer of one program, of the comparisons or the lottery `law`.

    `recomputed` is how far it is from what the population gives under the rule's own code.
    """
    users, recomputed = BradleyTerryUsers(found.utilities, found.weights, b), np.nan
    if rule == "Borda":
        scores = borda_scores(users.win, law)
        missed_score = max(scores.max() - scores[-1], 0) / users.average_utility.max()
        recomputed = (
            abs(users.average_utility[0] / users.average_utility[-1] / found.distortion - 1) + missed_score
        )
    error = (
        np.nan if dual is None else float(np.abs(found.multipliers - np.array(dual)).max() / found.distortion)
    )
    return {
        "rule": rule,
        "distortion": found.distortion,
        "worst": dual is not None,
        "violation": max(found.violation, _violation(rule, found, b, law)),
        "multipliers": error,
        "recomputed": recomputed,
    }


def _violation(rule: str, found: WorstPopulation, b: float, law: NDArray[np.float64]) -> float:
    """How far the dual of a program is violated, as a share of max u, by the worst type of a grid of our own.

    A type u violates it by  u(best) + sum_x lambda_x g_x(u) - t u . policy,  as `worst_case_search` has it.
    """
    u = type_grid(len(law), LEVELS, SMALLEST)
    margins = np.tanh(b / 2 * (u[:, :, None] - u[:, None, :])) / 2
    if rule == "Borda":
        scores = margins @ law
        kept, achieved = scores[:, [-1]] - scores, u[:, -1]
    else:
        kept, achieved = np.einsum("x,nxy->ny", law, margins), u @ law
    return float(((u[:, 0] + kept @ found.multipliers - found.distortion * achieved) / u.max(1)).max())


def _family(b: float, on_policy: bool) -> AlignmentProblem:
    """The family that is conjectured to be worst for RLHF, on policy or in a KL ball."""
    if on_policy:
        case = borda_worst_case(b, 1e-2)
        return AlignmentProblem(case.users, case.comparison, np.log(case.comparison), np.inf)
    case = unsupported_worst_case(b, 1e-2, log_excluded=POOL)
    return AlignmentProblem(case.users, case.comparison, case.log_reference, case.kl_budget)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """What was found by rule, temperature and start, beside the bound or the conjecture."""
    by = ["search", "rule", "worst", "bt_temperature", "limit"]
    summary = (
        rows.groupby(by)
        .agg(
            distortion=("distortion", "max"),
            searches=("distortion", "count"),
            violation=("violation", "max"),
            multipliers=("multipliers", "max"),
        )
        .reset_index()
    )
    return summary.assign(share=summary.distortion / summary.limit)


def checks(rows: pd.DataFrame) -> list[Check]:
    """The bounds reached, never passed and proved; and the conjectures, not refuted."""
    program, searches = rows.loc[rows.search == "program"], rows.loc[rows.search == "black box"]
    worst, started = program.loc[program.worst], searches.loc[searches.worst]
    ball, on_policy = (
        searches.loc[searches.rule == "RLHF in a KL ball"],
        searches.loc[searches.rule == "RLHF on policy"],
    )
    return [
        growth(
            "worst population found for Borda and for the maximal lottery reaches 99.9 % of Bd(b) and C(b)",
            worst.distortion,
            worst.limit,
            1e-3,
        ),
        bound(
            "no population found is worse than Bd(b) for Borda or C(b) for a maximal lottery",
            program.distortion,
            program.limit,
            slack=1e-8,
        ),
        identity(
            "the dual proves it: violation over all types looked at", np.maximum(program.violation, 0), 1e-7
        ),
        identity(
            "dual multipliers = those of the proof (1/s(b), and (Bd/C - 1)/s(b))", worst.multipliers, 1e-3
        ),
        identity(
            "Borda on the population found: elects the winner, with the distortion found",
            program.recomputed[program.recomputed.notna()],
            1e-6,
        ),
        bound(
            "conjecture: RLHF in a KL ball, independent pairs: distortion <= cosh^2(b/2)",
            ball.distortion,
            ball.limit,
            slack=1e-6,
        ),
        bound(
            "conjecture: RLHF with comparisons from the reference: distortion <= Bd(b)",
            on_policy.distortion,
            on_policy.limit,
            slack=1e-6,
        ),
        bound(
            "the black box is no straw man: from a known start 0.98 of the conjectured value <= found",
            0.98 * started.limit,
            started.distortion,
        ),
    ]
