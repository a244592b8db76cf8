"""Seven rules side by side: average and worst-off utility, and how far from the best possible that is.

Theorem 7 and Corollary 4 (NLHF and maximal lotteries lose at most C(b)) are the paper's. That Borda loses
at most Bd(b), and the closed forms for plurality and random dictator, are ours. Copeland's bound 2 C(b),
and the orders min(e^b, m) of plurality and m of random dictator, are from a follow-up (Alipour and Goyal,
arXiv 2602.11152), which is about rankings, that is uniform comparisons.

The populations are random ones of three kinds (unstructured, two camps, ideal points), the universal worst
case, Borda's, and a family on which first choices mislead. Rules without a KL constraint are held against
the best alternative, RLHF and NLHF against the best policy in the same ball around a random reference.

The checks ask that the maximal lottery and NLHF stay within C(b), Borda within Bd(b) and Copeland within 2
C(b); that plurality and random dictator follow their closed forms where first choices mislead; and, on
these random populations and no more than that, that Borda serves the average user better than random
dictator does, and random dictator the worst-off user of two camps better than Borda does.

Copeland's bound is not tight here: no population tried reaches more than half of it.

The planted defects: NLHF's KL budget 5 % too small, which loses more than C(b) where b is small; Copeland
counts defeats, or Borda does; first choices are made at a temperature 1 % too high; plurality takes shares
for tied up to 0.01; and the random dictator is the most frequent one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import BradleyTerryUsers
from distalign.populations.crowds import common_second, ideal_points, two_camps, unstructured, worst_off
from distalign.populations.plackett_luce import first_choices
from distalign.populations.worst_cases import borda_worst_case, universal_worst_case
from distalign.simulation.defects import Defect, argument
from distalign.simulation.rates import summarise
from distalign.simulation.studies.distortion.constrained import distortion_in_ball
from distalign.simulation.verdict import Check, bound, growth, separation
from distalign.solvers.choice.certified import CertifiedPolicy, normalised
from distalign.solvers.choice.games import kl_nlhf, maximal_lottery
from distalign.solvers.choice.reward import borda, rlhf
from distalign.solvers.choice.voting import copeland, plurality, random_dictator
from distalign.theory.distortion.constants import borda_distortion, minimax_distortion
from distalign.theory.distortion.rules import dictator_distortion, plurality_distortion

CROWDS = {"unstructured": unstructured, "two camps": two_camps, "ideal points": ideal_points}
KL_BUDGET, EPSILON = 0.5, 1e-4
SECOND = "common second, m = "
DEFECTS = (
    Defect("NLHF's KL budget 5 % too small", kl_nlhf, argument("kl_budget", lambda x: 0.95 * x)),
    Defect("Copeland counts defeats", copeland, argument("win", np.transpose)),
    Defect("Borda counts defeats", borda, argument("win", np.transpose)),
    Defect(
        "first choices made at a temperature 1 % too high",
        first_choices,
        argument("users", lambda u: BradleyTerryUsers(u.utilities, u.weights, 1.01 * u.bt_temperature)),
    ),
    Defect("plurality takes shares for tied up to 0.01", plurality, lambda right: _uniform_over_nearly_best),
    Defect("the random dictator is the most frequent one", random_dictator, lambda right: plurality),
)


def cells(temperatures: list[float], sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per temperature and kind of population; the named families together are one kind."""
    return [
        {
            "bt_temperature": b,
            "crowd": crowd,
            "replicates": replicates if crowd in CROWDS else 1,
            "sizes": sizes if crowd == "families" else [],
        }
        for b in temperatures
        for crowd in (*CROWDS, "families")
    ]


def run(
    rng: np.random.Generator,
    *,
    bt_temperature: float,
    crowd: str,
    replicates: int,
    sizes: list[int],
) -> dict[str, Any]:
    """Average utility, worst-off utility and distortion of every rule on every population of the cell."""
    if crowd in CROWDS:
        populations = [(crowd, CROWDS[crowd](rng, bt_temperature), None) for _ in range(replicates)]
    else:
        universal, of_borda = (
            universal_worst_case(bt_temperature, epsilon=EPSILON),
            borda_worst_case(bt_temperature, EPSILON),
        )
        populations = [
            ("F1", universal.users, universal.comparison),
            ("F2", of_borda.users, of_borda.comparison),
        ]
        populations += [(f"{SECOND}{m}", common_second(bt_temperature, m), None) for m in sizes]
    measured = [
        row | {"population": name, "replicate": i}
        for i, (name, users, mu) in enumerate(populations)
        for row in _measure(users, mu, rng.dirichlet(np.full(users.utilities.shape[1], 5.0)))
    ]
    return {column: [row[column] for row in measured] for column in measured[0]}


def _uniform_over_nearly_best(first_choices: Any) -> CertifiedPolicy:
    """`plurality` by a developer who compares shares to two digits."""
    shares = np.asarray(first_choices)
    return CertifiedPolicy(normalised(np.where(shares >= shares.max() - 0.01, 0.0, -np.inf)), 0.0, 0.0)


def _measure(users: BradleyTerryUsers, comparison: Any, reference: Any) -> list[dict[str, Any]]:
    """One row a rule; NaN where its solve has no certificate."""
    size, measured = users.utilities.shape[1], []
    mu = np.full(size, 1 / size) if comparison is None else comparison
    for rule, (chosen, budget) in rules(users, mu, np.log(reference)).items():
        row = {"rule": rule, "average_utility": np.nan, "worst_off": np.nan, "distortion": np.nan}
        if chosen.certified:
            row |= {
                "average_utility": float(users.average_utility @ chosen.policy),
                "worst_off": worst_off(users, chosen.policy),
                "distortion": distortion_in_ball(users, chosen, np.log(reference), budget),
            }
        measured.append(row)
    return measured


def rules(
    users: BradleyTerryUsers, comparison: Any, log_reference: Any
) -> dict[str, tuple[CertifiedPolicy, float]]:
    """Every rule's policy and the KL budget it is held to."""
    win, first = users.win, first_choices(users)
    return {
        "Borda": (borda(win, comparison), np.inf),
        "Copeland": (copeland(win), np.inf),
        "plurality": (plurality(first), np.inf),
        "random dictator": (random_dictator(first), np.inf),
        "maximal lottery": (maximal_lottery(win), np.inf),
        "RLHF": (rlhf(win, comparison, log_reference, KL_BUDGET), KL_BUDGET),
        "NLHF": (kl_nlhf(win, log_reference, KL_BUDGET), KL_BUDGET),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means with intervals by population, temperature and rule, one row a measure. Beside them stands the
    largest distortion.
    """
    by = ["population", "bt_temperature", "rule"]
    summaries = [
        summarise(rows, by, column).assign(measure=column)
        for column in ("average_utility", "worst_off", "distortion")
    ]
    largest = rows.groupby(by).distortion.max().rename("largest_distortion").reset_index()
    return pd.concat(summaries, ignore_index=True).merge(largest, on=by)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Bounds where a rule has one, laws where first choices mislead, and two modest comparisons."""
    by_rule = {rule: rows.loc[rows.rule == rule] for rule in rows.rule.unique()}
    within_minimax = pd.concat([by_rule["maximal lottery"], by_rule["NLHF"]])
    misled = {
        rule: by_rule[rule].loc[by_rule[rule].population.str.startswith(SECOND)]
        for rule in ("plurality", "random dictator")
    }
    sizes = {rule: part.population.str.removeprefix(SECOND).astype(int) for rule, part in misled.items()}
    return [
        bound(
            "maximal lottery and NLHF: distortion <= C(b)",
            within_minimax.distortion,
            minimax_distortion(within_minimax.bt_temperature),
            slack=1e-8,
        ),
        bound(
            "Borda: distortion <= Bd(b) (ours)",
            by_rule["Borda"].distortion,
            borda_distortion(by_rule["Borda"].bt_temperature),
            slack=1e-8,
        ),
        bound(
            "Copeland: distortion <= 2 C(b) (follow-up, by its abstract)",
            by_rule["Copeland"].distortion,
            2 * minimax_distortion(by_rule["Copeland"].bt_temperature),
            slack=1e-8,
        ),
        growth(
            "plurality where first choices mislead follows c (m - 1)",
            misled["plurality"].distortion,
            plurality_distortion(misled["plurality"].bt_temperature, sizes["plurality"]),
            1e-6,
        ),
        growth(
            "random dictator there follows its closed form",
            misled["random dictator"].distortion,
            dictator_distortion(misled["random dictator"].bt_temperature, sizes["random dictator"]),
            1e-6,
        ),
        separation(
            "unstructured populations: Borda's average utility above random dictator's",
            _paired(rows, "unstructured", "average_utility", "Borda", "random dictator"),
        ),
        separation(
            "two camps: the worst-off get more from random dictator than from Borda",
            _paired(rows, "two camps", "worst_off", "random dictator", "Borda"),
        ),
    ]


def _paired(rows: pd.DataFrame, population: str, measure: str, more: str, less: str) -> pd.Series:
    """A measure under one rule minus the same under another, by population."""
    by_rule = rows.loc[rows.population == population].pivot(
        index=["bt_temperature", "replicate"], columns="rule", values=measure
    )
    return by_rule[more] - by_rule[less]
