"""Plurality veto loses b log m, and with many favourites a factor of m: last places are mostly noise.

The claim. Alipour and Goyal (arXiv 2602.11152, abstract; theorems and proofs not read): under Plackett-Luce
users plurality veto loses at least of order b log m, so vetoes do not repair what first choices leave out.
Families, thresholds and constants here are ours (`distalign.theory.distortion.vetoes`, with the proof): the
last of m places amplifies small utilities by log m, so a response that most users like a little runs
out of points later than one that a few like much. Two things are ours besides. While m is below about
e^{b/2}, plurality veto loses a factor of order m, as plurality does. And the log m belongs to rankings that
are drawn from the top: drawn from the bottom, as `simulate` draws vetoes, they lose b times a constant on
the same family.

The run. Noise: the family of `veto_share` for blocks of all sizes, 2 % below and above the share at which the
winner changes, with either law of last places. Favourites: the family of `favourites_distortion`. All are
infinite electorates, solved by `plurality_veto` with exact first and last places; a tie of all responses that
end together is shared, and there are none below and above the threshold but among the blocks. Borda and
Copeland are run on the noise family.

The checks, fixed beforehand. Growth: the distortion below the threshold, for either law, and that of
favourites, to 0.5 %. An identity: above the threshold b is not elected. Bounds: b (ln m)/4 <= distortion for
rankings from the top, and Borda and Copeland within 2 C(b).

The planted defects: all responses start with equal points; last places drawn by the other law, for either;
the threshold 5 % too large or too small; and Copeland counts defeats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import BradleyTerryUsers
from distalign.populations.last_choices import last_choices
from distalign.populations.plackett_luce import first_choices
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.reward import borda
from distalign.solvers.choice.veto import plurality_veto
from distalign.solvers.choice.voting import copeland
from distalign.theory.distortion.constants import minimax_distortion
from distalign.theory.distortion.vetoes import favourites_distortion, veto_share
from distalign.types import Array

BLOCKS, MIDDLE, MARGIN = 4, 0.5, 0.02
FEW = 1e-3  # share of users who like anything, among favourites
CLOSE = 5e-3


def epsilon_at(bt_temperature: float) -> float:
    """The little that most users like b by: b epsilon log m is to be small beside the margin."""
    return 1e-4 / bt_temperature


DEFECTS = (
    Defect(
        "all responses start with equal points",
        plurality_veto,
        argument("first_choices", lambda shares: np.full(len(shares), 1 / len(shares))),
    ),
    Defect(
        "last places drawn by the other law",
        last_choices,
        argument("from_the_bottom", lambda bottom: not bottom),
        where(part="noise"),
    ),
    Defect("the threshold 5 % too large", veto_share, result(lambda x: 1.05 * x), where(part="noise")),
    Defect("the threshold 5 % too small", veto_share, result(lambda x: 0.95 * x), where(part="noise")),
    Defect("Copeland counts defeats", copeland, argument("win", np.transpose), where(part="noise")),
)


def cells(temperatures: list[float], per_block: list[int], favourites: list[int]) -> list[dict[str, Any]]:
    """One cell per temperature, size and law of last places; favourites have as many idle responses."""
    return [
        *(
            {"part": "noise", "bt_temperature": b, "count": k, "from_the_bottom": bottom}
            for b in temperatures
            for k in per_block
            for bottom in (False, True)
        ),
        *({"part": "favourites", "bt_temperature": b, "count": n} for b in temperatures for n in favourites),
    ]


def run(
    rng: np.random.Generator, *, part: str, bt_temperature: float, count: int, from_the_bottom: bool = False
) -> dict[str, Any]:
    """Distortion of plurality veto; on noise also of Borda and Copeland, and the share above it."""
    del rng  # nothing here is random
    b = bt_temperature
    if part == "favourites":
        users = _favourites(b, count)
        return {
            "responses": [users.utilities.shape[1]],
            "distortion": [_distortion(users, _veto(users, False))],
            "predicted": [favourites_distortion(b, count, count, MIDDLE)],
        }
    share = veto_share(b, BLOCKS, count, MIDDLE, from_the_bottom=from_the_bottom) * epsilon_at(b)
    below, above = (_noise(b, count, (1 + sign * MARGIN) * share) for sign in (-1, 1))
    uniform = np.full(below.utilities.shape[1], 1 / below.utilities.shape[1])
    return {
        "responses": [len(uniform)],
        "distortion": [_distortion(below, _veto(below, from_the_bottom))],
        "predicted": [(1 - MARGIN) * MIDDLE * share / (epsilon_at(b) * (1 - share))],
        "above": [float(_veto(above, from_the_bottom)[1])],
        "borda": [_distortion(below, borda(below.win, uniform).policy)],
        "copeland": [_distortion(below, copeland(below.win).policy)],
    }


def _noise(b: float, per_block: int, share: float) -> BradleyTerryUsers:
    """Responses a, b and the blocks; types: the many, and one for each block."""
    utilities = np.zeros((1 + BLOCKS, 2 + BLOCKS * per_block))
    utilities[0, 1] = epsilon_at(b)
    utilities[1:, 0] = MIDDLE
    utilities[1:, 2:] = np.repeat(np.eye(BLOCKS), per_block, axis=1)
    return BradleyTerryUsers(utilities, np.array([1 - share, *[share / BLOCKS] * BLOCKS]), b)


def _favourites(b: float, count: int) -> BradleyTerryUsers:
    """Responses a, the favourites and as many idle ones; types: the many, and one for each favourite."""
    utilities = np.zeros((1 + count, 1 + 2 * count))
    utilities[1:, 0] = MIDDLE
    utilities[1:, 1 : 1 + count] = np.eye(count)
    return BradleyTerryUsers(utilities, np.array([1 - FEW, *[FEW / count] * count]), b)


def _veto(users: BradleyTerryUsers, from_the_bottom: bool) -> Array:
    """The policy of plurality veto."""
    return plurality_veto(
        first_choices(users), lambda alive: last_choices(users, alive, from_the_bottom=from_the_bottom)
    ).policy


def _distortion(users: BradleyTerryUsers, policy: Array) -> float:
    return float(users.average_utility.max() / (users.average_utility @ policy))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Distortion of plurality veto by family, law, temperature and m, beside Borda, Copeland and C(b)."""
    wanted = ["part", "from_the_bottom", "bt_temperature", "responses", "distortion", "predicted"]
    out = rows[[*wanted, "borda", "copeland"]].reset_index(drop=True)
    return out.assign(minimax=minimax_distortion(out.bt_temperature))


def checks(rows: pd.DataFrame) -> list[Check]:
    """Both families and both laws, where the winner changes, and what Borda and Copeland lose there."""
    noise, favourites = (rows.loc[rows.part == part] for part in ("noise", "favourites"))
    bottom = noise.from_the_bottom.astype(bool)
    top, bottom = noise.loc[~bottom], noise.loc[bottom]
    others = np.maximum(noise.borda, noise.copeland)
    return [
        growth(
            "plurality veto, rankings from the top: distortion of the noise family",
            top.distortion,
            top.predicted,
            CLOSE,
        ),
        growth(
            "plurality veto, rankings from the bottom: the same without log m",
            bottom.distortion,
            bottom.predicted,
            CLOSE,
        ),
        identity("2 % above the threshold: share of the response that is liked a little", noise.above, 1e-9),
        bound(
            "rankings from the top: b (ln m)/4 <= distortion",
            top.bt_temperature * np.log(top.responses) / 4,
            top.distortion,
        ),
        growth(
            "plurality veto with favourites: distortion m/4, or 1",
            favourites.distortion,
            favourites.predicted,
            CLOSE,
        ),
        bound(
            "Borda and Copeland on the noise family <= 2 C(b)",
            others,
            2 * minimax_distortion(noise.bt_temperature),
        ),
    ]
