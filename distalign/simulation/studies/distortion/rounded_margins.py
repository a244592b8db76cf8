"""Rounded margins cost every deterministic rule at least Bd(b); Copeland, which sees only signs, no more.

The claim. Alipour and Goyal (arXiv 2602.11152, abstract; theorems not read): deterministic rules of margins
that are rounded to fixed precision lose at least (5/8 - epsilon) b. What their rounding does near 0 was not
seen, and it decides. Ours, both ways:

Rounded away from 0 to multiples of a step, margins keep their signs. Users who are indifferent shrink all
margins and change no ratio of average utilities, so a crowd can always be thinned until every margin lies
within one step, where only signs are left. On the cycle of three of `copeland_lower` a rule then sees one
matrix for all three rotations; whatever it picks, one of them makes it lose Bd(b) in the limit. Copeland
needs no more than signs and loses at most Bd(b) (`copeland_lower`), so Bd(b) is exactly the least worst case
of the class. It is at least 0.662 b for every b.

Rounded to the nearest multiple, small margins are 0, and of two responses a thinned crowd shows nothing: the
rule picks the one that is worth a share f of the other, for any f.

The run. The chain and the cycle of `copeland_lower`, thinned, with margins rounded away from 0: Copeland on
the chain, and Copeland, Borda, Schulze and ranked pairs, ties to the response of lowest number, on the
rotations of the cycle, with rounded and with exact margins. Random populations for Copeland. Two responses in
both orders for rounding to the nearest.

The checks, fixed beforehand. Growth: Copeland on the chain, and every rule on its worst rotation, are Bd(b)
to ten times the family's epsilon; 1/f to 1e-9. Identities: the rotations look alike, and with exact margins
Borda, Schulze and ranked pairs lose nothing on them, so that it is the rounding that costs. Bounds: 5/8 b <=
distortion on the chain, and Copeland within Bd(b) on random populations.

The planted defects: Copeland, or Schulze, counts defeats; margins are not rounded on the cycle, or rounded
the other way on the chain and on two responses; Bd(b) 1 % too large; and users 5 % noisier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import BradleyTerryUsers, win_matrix
from distalign.populations.worst_cases import copeland_worst_case
from distalign.simulation.defects import Defect, argument, no_cell, result, where
from distalign.simulation.studies.distortion.copeland_lower import CLOSE, epsilon_at
from distalign.simulation.studies.distortion.problems import random_problem
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.certified import CertifiedPolicy
from distalign.solvers.choice.reward import borda
from distalign.solvers.choice.tournaments import ranked_pairs, schulze
from distalign.solvers.choice.voting import copeland
from distalign.theory.distortion.constants import borda_distortion, minimax_distortion
from distalign.types import Array

INDIFFERENT, STEP = 0.9, 0.01  # share of users who thin the crowd; precision of the margins
TIE = 1e-14  # margins below it are rounding, as `copeland` has it
RULES: dict[str, Callable[[Array], CertifiedPolicy]] = {
    "Copeland": lambda win: copeland(win),
    "Borda": lambda win: borda(win, np.full(len(win), 1 / len(win))),
    "Schulze": lambda win: schulze(win),
    "ranked pairs": lambda win: ranked_pairs(win),
}


def rounded_win(win: Array, step: float, *, outward: bool) -> Array:
    """The win matrix of margins P - 1/2 rounded to multiples of a step, away from 0 or to the nearest."""
    margin = (win - win.T) / 2
    margin = np.where(np.abs(margin) > TIE, margin, 0.0)
    size = np.abs(margin) / step
    size = np.ceil(size) if outward else np.round(size)
    return 0.5 + np.sign(margin) * np.minimum(size * step, 0.5)


DEFECTS = (
    Defect(
        "Copeland counts defeats", copeland, argument("win", np.transpose), where(part={"chain", "random"})
    ),
    Defect("Schulze counts defeats", schulze, argument("win", np.transpose), where(part="cycle")),
    Defect(
        "margins are not rounded",
        rounded_win,
        lambda right: lambda win, step, outward: win,
        where(part="cycle"),
    ),
    Defect(
        "margins are rounded the other way",
        rounded_win,
        argument("outward", lambda outward: not outward),
        where(part={"chain", "two"}),
    ),
    Defect("Bd(b) 1 % too large", borda_distortion, result(lambda x: 1.01 * x), no_cell),
    Defect(
        "users 5 % noisier", win_matrix, argument("bt_temperature", lambda b: 0.95 * b), where(part="chain")
    ),
)


def cells(temperatures: list[float], shares: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per temperature and part, and two responses of which one is worth a share f of the other."""
    return [
        *({"part": part, "bt_temperature": b} for b in temperatures for part in ("chain", "cycle")),
        *({"part": "random", "bt_temperature": b, "replicates": replicates} for b in temperatures),
        *({"part": "two", "bt_temperature": b, "share": f} for b in temperatures for f in shares),
    ]


def run(
    rng: np.random.Generator, *, part: str, bt_temperature: float, share: float = 0.0, replicates: int = 0
) -> dict[str, Any]:
    """Distortions of one part."""
    b = bt_temperature
    if part == "random":
        near = copeland_worst_case(b, 0.05)
        crowds = [random_problem(rng, near).users for _ in range(replicates)]
        return {"rule": "Copeland", "distortion": [_lost(u, "Copeland", outward=True) for u in crowds]}
    if part == "two":
        users = _thinned(BradleyTerryUsers(np.array([[1.0, share]]), np.array([1.0]), b), 1 - STEP / 10)
        lost = [max(_lost(u, rule, outward=False) for u in _rotations(users)) for rule in RULES]
        return {"rule": list(RULES), "distortion": lost}
    users = _thinned(copeland_worst_case(b, epsilon_at(b), clones=2 if part == "chain" else 1).users)
    if part == "chain":
        return {"rule": "Copeland", "distortion": [_lost(users, "Copeland", outward=True)]}
    turns = _rotations(users)
    seen = np.array([rounded_win(u.win, STEP, outward=True) for u in turns])
    return {
        "rule": list(RULES),
        "distortion": [max(_lost(u, rule, outward=True) for u in turns) for rule in RULES],
        "exact": [max(_lost(u, rule, outward=None) for u in turns) for rule in RULES],
        "different": [float(np.ptp(seen, axis=0).max())] * len(RULES),
    }


def _thinned(users: BradleyTerryUsers, indifferent: float = INDIFFERENT) -> BradleyTerryUsers:
    """The same users among others who like nothing."""
    utilities = np.vstack([users.utilities, np.zeros(users.utilities.shape[1])])
    return BradleyTerryUsers(
        utilities, np.append((1 - indifferent) * users.weights, indifferent), users.bt_temperature
    )


def _rotations(users: BradleyTerryUsers) -> list[BradleyTerryUsers]:
    """The same users, with the responses renumbered in turn."""
    return [
        BradleyTerryUsers(np.roll(users.utilities, k, axis=1), users.weights, users.bt_temperature)
        for k in range(users.utilities.shape[1])
    ]


def _lost(users: BradleyTerryUsers, rule: str, *, outward: bool | None) -> float:
    """Distortion of a rule with ties to the lowest number; `outward` None leaves the margins exact."""
    win = users.win if outward is None else rounded_win(users.win, STEP, outward=outward)
    utility = users.average_utility
    found = utility[int(RULES[rule](win).policy.argmax())]
    if found == 0:
        return 1.0 if utility.max() == 0 else np.inf
    return float(utility.max() / found)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest distortion by part, rule, temperature and f, with exact margins beside it, and the curves."""
    by = ["part", "rule", "bt_temperature", "share"]
    out = (
        rows.assign(share=rows.share.fillna(0.0))
        .groupby(by, as_index=False, sort=True)
        .agg(distortion=("distortion", "max"), exact=("exact", "max"), instances=("distortion", "size"))
    )
    b = out.bt_temperature
    return out.assign(predicted=borda_distortion(b), minimax=minimax_distortion(b), paper=5 / 8 * b)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Bd(b) for Copeland and every rule, that rounding is what costs, and that the nearest has no bound."""
    chain, cycle, random, two = (rows.loc[rows.part == part] for part in ("chain", "cycle", "random", "two"))
    close = CLOSE * max(epsilon_at(b) for b in chain.bt_temperature)
    signed = cycle.loc[cycle.rule != "Copeland"]
    return [
        growth(
            "Copeland on the chain, margins rounded away from 0 = Bd(b)",
            chain.distortion,
            borda_distortion(chain.bt_temperature),
            close,
        ),
        growth(
            "every rule on its worst rotation of the cycle, margins rounded away from 0 = Bd(b)",
            cycle.distortion,
            borda_distortion(cycle.bt_temperature),
            close,
        ),
        identity("rounded margins of the rotations, largest difference", cycle.different, 0.0),
        identity("exact margins: what Borda, Schulze and ranked pairs lose there", signed.exact - 1, 1e-9),
        bound("(5/8) b <= Copeland on the chain", 5 / 8 * chain.bt_temperature, chain.distortion),
        bound(
            "Copeland on random populations, margins rounded away from 0 <= Bd(b)",
            random.distortion,
            borda_distortion(random.bt_temperature),
            slack=1e-8,
        ),
        growth(
            "two responses, margins rounded to the nearest: every rule loses 1/f in one order",
            two.distortion,
            1 / two.share,
            1e-9,
        ),
    ]
