"""When only neighbours are compared RLHF loses more the more alternatives there are; NLHF stays within C(b).

The paper's Lemma 15 and Theorem 9 say that with correlated pair sampling the distortion of RLHF is
unbounded for every temperature; both are formalised in Lean. The rate b sqrt(m)/(3 sqrt 6) is ours.

The chain of Lemma 15 (F4) has three users. Each alternative is preferred to the one before by a majority of
answers, while the average utility falls; the reward adds up the steps. The same users compared in
independent pairs do RLHF no harm. The solvers are one road, the closed form and the lemma's own
inequalities the other.

The checks ask that the distortion of RLHF has the rate from m = 300 on and is AvgUtil(first)/AvgUtil(last),
since RLHF takes the last alternative; that each step has the two properties of Lemma 15 and every average
utility is above 0; that NLHF stays within C(b), with a certificate; and that with independent pairs the
distortion of RLHF is 1.

The planted defect draws both alternatives of a pair independently, so that there is no correlation. RLHF
then takes the first alternative, so the rate and the closed form must fail.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from distalign.populations.worst_cases_kl import correlated_worst_case
from distalign.simulation.studies.distortion.constrained import nlhf_distortion, rlhf_distortion
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.theory.distortion.constants import correlated_rlhf_distortion, minimax_distortion

DEFECT = "both alternatives of a pair drawn independently (no correlation)"
ASYMPTOTIC = 300  # smallest m of the growth law


def cells(temperatures: list[float], alternatives: list[int]) -> list[dict[str, Any]]:
    """One cell per number of alternatives and temperature, small first."""
    return [{"bt_temperature": b, "alternatives": m} for m in alternatives for b in temperatures]


def run(
    rng: np.random.Generator, *, bt_temperature: float, alternatives: int, defect: bool = False
) -> dict[str, Any]:
    """RLHF on the chain and under independent pairs, and NLHF.

    Also the two properties that the lemma gives every step.
    """
    del rng  # nothing here is random
    case = correlated_worst_case(bt_temperature, alternatives)
    independent = replace(case, comparison=np.full(alternatives, 1 / alternatives))
    utility = case.users.average_utility
    utility_before = utility[:-1]
    fall = 2 / (3 * bt_temperature) * np.log1p(np.tanh(bt_temperature / 4 * utility_before) ** 3)
    loss, gain = nlhf_distortion(case)
    return {
        "rlhf": [rlhf_distortion(independent if defect else case)],
        "independent": rlhf_distortion(independent),
        "nlhf": loss,
        "gain": gain,
        "closed_form": case.distortion,
        "step": float(np.diagonal(case.users.win, -1).min()),
        "utility_excess": float((utility[1:] - (utility_before - fall)).max()),
        "least_utility": float(utility.min()),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Distortion by temperature and m, beside the asymptote and C."""
    groups = rows.groupby(["bt_temperature", "alternatives"])  # one row each
    columns = ("rlhf", "independent", "nlhf", "closed_form", "step")
    summary = groups.agg(**{c: (c, "max") for c in columns}).reset_index()
    return summary.assign(
        law=correlated_rlhf_distortion(summary.bt_temperature, summary.alternatives),
        bound=minimax_distortion(summary.bt_temperature),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The growth law, the closed form, the lemma's steps, and who is not harmed: NLHF, independent pairs."""
    large = rows[rows.alternatives >= ASYMPTOTIC]
    return [
        growth(
            f"distortion of RLHF = b sqrt(m) / (3 sqrt 6) from m = {ASYMPTOTIC}",
            large.rlhf,
            correlated_rlhf_distortion(large.bt_temperature, large.alternatives),
            0.03,
        ),
        identity(
            "RLHF takes the last alternative: distortion = AvgUtil(first)/AvgUtil(last)",
            rows.rlhf / rows.closed_form - 1,
            1e-9,
        ),
        bound("Lemma 15: each alternative is preferred to the one before (1/2 < p)", 0.5, rows.step, slack=0),
        bound(
            "Lemma 15: average utility A falls by at least (2/3b) log(1 + tanh^3(b A/4))",
            1 + rows.utility_excess,
            1.0,
            slack=1e-15,
        ),
        bound("0 < average utility of every alternative", 0.0, rows.least_utility),
        bound(
            "distortion of NLHF on the same instances <= C(b)",
            rows.nlhf,
            minimax_distortion(rows.bt_temperature),
            slack=1e-8,
        ),
        identity("no opponent gains on NLHF (share of the largest margin)", np.maximum(rows.gain, 0), 1e-8),
        identity("independent pairs: distortion of RLHF is 1", rows.independent - 1, 1e-9),
    ]
