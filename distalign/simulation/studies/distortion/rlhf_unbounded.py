"""When only neighbours are compared RLHF loses more the more alternatives there are; NLHF stays within C(b).

The paper's Lemma 15 and Theorem 9 say that with correlated pair sampling the distortion of RLHF is
unbounded for every temperature; both are formalised in Lean. The rate b sqrt(m)/(3 sqrt 6) is ours.

The chain of Lemma 15 (F4) has three users. Each alternative is preferred to the one before by a majority of
answers, while the average utility falls; the reward adds up the steps. The same users compared in
independent pairs do RLHF no harm. The solvers are one road, the closed form and the lemma's own
inequalities the other.

The checks ask that the distortion of RLHF has the rate from m = 1000 on, where the first steps of the chain
no longer count, and is AvgUtil(first)/AvgUtil(last), since RLHF takes the last alternative; that each step
has the two properties of Lemma 15; that NLHF stays within C(b), with a certificate; and that with independent
pairs the distortion of RLHF is 1.

The planted defects: RLHF mixes its pairs with 5 % of uniform ones, or has a KL budget 5 % too small; what
users gain at a step of the chain is 2 % too small or too large; the sign of the game's margins in NLHF; and
the rate 2 % too large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from distalign.populations.worst_cases_kl import chain_gain, correlated_worst_case
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.studies.distortion.constrained import nlhf_distortion, rlhf_distortion
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.games import kl_nlhf
from distalign.solvers.choice.reward import rlhf
from distalign.theory.distortion.constants import correlated_rlhf_distortion, minimax_distortion

ASYMPTOTIC = 1000  # smallest m of the growth law


def _short(arguments: Mapping[str, Any]) -> bool:
    """Whether the chain of a cell is short, and the cell fast."""
    return arguments["alternatives"] < ASYMPTOTIC


DEFECTS = (
    Defect(
        "RLHF's pairs mixed with 5 % of uniform ones",
        rlhf,
        argument("comparison", lambda w: 0.95 * w + 0.05 / w.size),
    ),
    Defect("RLHF's KL budget 5 % too small", rlhf, argument("kl_budget", lambda x: 0.95 * x)),
    Defect("what users gain at a step 2 % too small", chain_gain, result(lambda x: 0.98 * x), _short),
    Defect("what users gain at a step 2 % too large", chain_gain, result(lambda x: 1.02 * x), _short),
    Defect("the sign of the margins in NLHF", kl_nlhf, argument("win", np.transpose), _short),
    Defect("the rate 2 % too large", correlated_rlhf_distortion, result(lambda x: 1.02 * x), no_cell),
)


def cells(temperatures: list[float], alternatives: list[int]) -> list[dict[str, Any]]:
    """One cell per number of alternatives and temperature, small first."""
    return [{"bt_temperature": b, "alternatives": m} for m in alternatives for b in temperatures]


def run(rng: np.random.Generator, *, bt_temperature: float, alternatives: int) -> dict[str, Any]:
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
        "rlhf": [rlhf_distortion(case)],
        "independent": rlhf_distortion(independent),
        "nlhf": loss,
        "gain": gain,
        "closed_form": case.distortion,
        "step": float(np.diagonal(case.users.win, -1).min()),
        "utility_excess": float((utility[1:] - (utility_before - fall)).max()),
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
            0.01,
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
        bound(
            "distortion of NLHF on the same instances <= C(b)",
            rows.nlhf,
            minimax_distortion(rows.bt_temperature),
            slack=1e-8,
        ),
        identity("no opponent gains on NLHF (share of the largest margin)", np.maximum(rows.gain, 0), 1e-8),
        identity("independent pairs: distortion of RLHF is 1", rows.independent - 1, 1e-9),
    ]
