"""Searching for populations worse than the worst cases known: a linear program where there is one, a black
box where not.

For Borda and for maximal lotteries the worst population is a semi-infinite linear program, which also proves
itself optimal. For KL-constrained RLHF no such program is known; whole problems are searched by differential
evolution, from scratch and around the family that is conjectured to be worst.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from distalign.populations import BradleyTerryUsers
from distalign.populations.worst_cases import borda_worst_case
from distalign.populations.worst_cases_kl import unsupported_worst_case
from distalign.simulation.studies.distortion import black_box
from distalign.simulation.studies.distortion.problems import Problem
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.reward import borda_scores
from distalign.solvers.choice.worst_case_search import (
    WorstPopulation,
    borda_worst_population,
    lottery_worst_population,
)
from distalign.theory.distortion.constants import (
    borda_distortion,
    minimax_distortion,
    unsupported_rlhf_distortion,
)

DEFECT = "utilities up to 1.2 (the same as a temperature 1.2 times as high) held against the bounds for utilities up to 1"
POOL = -1e7  # log of the reference's mass on the pool of F3', where the black box starts


def cells(
    temperatures: list[float], others: int, black_box: list[float], generations: int
) -> list[dict[str, Any]]:
    """Programs at every temperature; black-box runs at some, on and off policy, from a known start and from
    scratch.
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
    defect: bool = False,
) -> dict[str, Any]:
    """The worst distortion found and what it is held against."""
    found = bt_temperature * (1.2 if defect else 1)
    if search == "program":
        return _programs(rng, found, bt_temperature, others)
    start = _family(found, on_policy) if known else None
    _, worst = black_box.search(found, rng, generations, on_policy=on_policy, known=start)
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


def _programs(rng: np.random.Generator, b: float, stated: float, others: int) -> dict[str, Any]:
    """Borda and the lottery at their worst comparisons and lottery, and at random ones."""
    s = np.tanh(b / 2) / 2
    ratio = borda_distortion(b) / minimax_distortion(b)
    found = [
        _row(
            "Borda",
            borda_worst_population(b, [0, 1, 0]),
            b,
            np.array([0, 1.0, 0]),
            [1 / s, (ratio - 1) / s, 0],
        ),
        _row("maximal lottery", lottery_worst_population(b, [0, 1]), b, None, [1 / s, 0]),
    ]
    for _ in range(others):
        mu, pi = rng.dirichlet(np.ones(3), size=2)
        found += [
            _row("Borda", borda_worst_population(b, mu), b, mu, None),
            _row("maximal lottery", lottery_worst_population(b, pi), b, None, None),
        ]
    limit = {"Borda": float(borda_distortion(stated)), "maximal lottery": float(minimax_distortion(stated))}
    return {
        **{column: [row[column] for row in found] for column in found[0]},
        "limit": [limit[row["rule"]] for row in found],
    }


def _row(
    rule: str,
    found: WorstPopulation,
    b: float,
    comparison: NDArray[np.float64] | None,
    dual: list[float] | None,
) -> dict[str, Any]:
    """One program's answer; `recomputed` is how far it is from what the population gives under the rule's own
    code.
    """
    users, recomputed = BradleyTerryUsers(found.utilities, found.weights, b), np.nan
    if comparison is not None:
        scores = borda_scores(users.win, comparison)
        lost = max(scores.max() - scores[-1], 0) / users.average_utility.max()
        recomputed = abs(users.average_utility[0] / users.average_utility[-1] / found.distortion - 1) + lost
    error = (
        np.nan if dual is None else float(np.abs(found.multipliers - np.array(dual)).max() / found.distortion)
    )
    return {
        "rule": rule,
        "distortion": found.distortion,
        "worst": dual is not None,
        "violation": found.violation,
        "multipliers": error,
        "recomputed": recomputed,
    }


def _family(b: float, on_policy: bool) -> Problem:
    if on_policy:
        case = borda_worst_case(b, 1e-2)
        return Problem(case.users, case.comparison, np.log(case.comparison), np.inf)
    case = unsupported_worst_case(b, 1e-2, log_excluded=POOL)
    return Problem(case.users, case.comparison, case.log_reference, case.kl_budget)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """What was found by rule, temperature and start, beside the bound or the conjecture."""
    by = ["search", "rule", "worst", "bt_temperature", "limit"]
    out = (
        rows.groupby(by)
        .agg(
            distortion=("distortion", "max"),
            searches=("distortion", "count"),
            violation=("violation", "max"),
            multipliers=("multipliers", "max"),
        )
        .reset_index()
    )
    return out.assign(share=out.distortion / out.limit)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Reached, never passed, proved; and the conjectures, not refuted."""
    program, guess = rows.loc[rows.search == "program"], rows.loc[rows.search == "black box"]
    worst, started = program.loc[program.worst], guess.loc[guess.worst]
    ball, on_policy = guess.loc[guess.rule == "RLHF in a KL ball"], guess.loc[guess.rule == "RLHF on policy"]
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
        growth(
            "the black box comes within 10 % of the conjectured values from a known start",
            started.distortion,
            started.limit,
            0.1,
        ),
    ]
