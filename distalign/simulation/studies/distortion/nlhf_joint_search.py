"""Users, reference, budget and pairs searched at once: NLHF keeps within C(b), RLHF has no bound.

The claim. Theorem 7 of the paper bounds the distortion of NLHF by C(b) = (b/2) coth(b/2) for every
population, reference, KL budget and distribution of comparison pairs; Theorem 9 has populations on which RLHF
with correlated pairs loses ever more as responses are added. Here an adversary chooses everything at once, by
gradient ascent (`distalign.simulation.studies.distortion.ascent`). In the population NLHF is a function of
win probabilities alone, so the pairs cannot matter to it by its definition: its distortion has no derivative
with respect to them. They decide how many answers a win probability takes (`distortion_samples`).

Ours: C(b) is reached at every KL budget, however small, not only without one; and RLHF in a KL ball needs no
growing number of responses to have no bound, four are enough (`distalign.theory.distortion.pairs`).

The run. Ascents for NLHF, for RLHF with independent pairs, and for RLHF with any pairs, users having
utilities of at least f in the last. The detour of four responses, over b and f. The universal worst case of
Theorem 3 beside a worthless response that has nearly all of the reference, over b and the budget: the little
mass that a budget can move goes to one of two responses, which win the same answers from the worthless one,
and one is C(b) times better. Every problem is solved by `kl_nlhf` and `rlhf`, and NLHF's policy is held
against the best reply of the ball.

The checks; how near ascents come was set after a pilot. A bound on every problem of the claim; the ascents
reach 0.95 C(b) for NLHF, and for RLHF 0.85 cosh^2(b/2) with independent pairs, where more is not expected (a
conjecture of `distortion_search`), and with any pairs and four responses at least the detour. The detour
follows its closed form to 1e-6 and the universal case in a ball C(b) to 0.5 %; no opponent gains on NLHF; and
the ascent's distortion is that of the solvers.

The planted defects: the sign of the margins in NLHF; C(b) 4 % too small or 10 % too large; the KL budget of
either rule 5 % too small; 5 % of RLHF's pairs uniform; independent pairs searched for any pairs; cosh^2(b/2)
20 % too large or too small; and the detour's distortion 2 % too large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import BradleyTerryUsers
from distalign.simulation.defects import Defect, argument, no_cell, result, where
from distalign.simulation.studies.distortion.ascent import ANY, INDEPENDENT, NLHF, ascend
from distalign.simulation.studies.distortion.constrained import distortion_in_ball
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.games import exploitability, kl_nlhf
from distalign.solvers.choice.reward import rlhf
from distalign.theory.distortion.constants import minimax_distortion, unsupported_rlhf_distortion
from distalign.theory.distortion.pairs import detour_distortion, detour_utility
from distalign.types import Array

REACHED, NEAR = 0.95, 0.85  # shares of C(b) and of cosh^2(b/2) that ascents are asked for
SHARE = 0.9  # of the utility up to which the detour misleads
EXCLUDED, RARE = -1e7, 1e-9  # log-mass of what the reference excludes; weight of what is hardly compared
# Of the universal case: epsilon, xi - 1, and the log-mass of its two. A budget tau moves tau 1e-5 of mass,
# which is to be well above the solver's tolerance.
SMALL, AHEAD, WORTHLESS = 1e-4, 1e-3, -1e5

DEFECTS = (
    Defect("the sign of the margins in NLHF", kl_nlhf, argument("win", np.transpose), where(part="detour")),
    Defect("C(b) 4 % too small", minimax_distortion, result(lambda x: 0.96 * x), no_cell),
    Defect("C(b) 10 % too large", minimax_distortion, result(lambda x: 1.1 * x), no_cell),
    Defect(
        "NLHF's KL budget 5 % too small",
        kl_nlhf,
        argument("kl_budget", lambda x: 0.95 * x),
        where(part={"detour", "ball"}),
    ),
    Defect(
        "RLHF's KL budget 5 % too small",
        rlhf,
        argument("kl_budget", lambda x: 0.95 * x),
        where(rule=INDEPENDENT),
    ),
    Defect(
        "RLHF's pairs mixed with 5 % of uniform ones",
        rlhf,
        argument("comparison", lambda w: 0.95 * w + 0.05 / w.size * w.sum()),
        where(part="detour"),
    ),
    Defect(
        "independent pairs searched for any pairs",
        ascend,
        argument("rule", lambda rule: INDEPENDENT),
        where(rule=ANY),
    ),
    Defect("cosh^2(b/2) 20 % too large", unsupported_rlhf_distortion, result(lambda x: 1.2 * x), no_cell),
    Defect("cosh^2(b/2) 20 % too small", unsupported_rlhf_distortion, result(lambda x: 0.8 * x), no_cell),
    Defect("the detour's distortion 2 % too large", detour_distortion, result(lambda x: 1.02 * x), no_cell),
)


def cells(
    temperatures: list[float],
    searched: list[float],
    sizes: list[int],
    least: list[float],
    budgets: list[float],
    ascent: dict[str, int],
) -> list[dict[str, Any]]:
    """Ascents at the `searched` temperatures; the two families at all of them.

    Args:
        temperatures: b of the families.
        searched: b of the ascents.
        sizes: numbers of responses for NLHF's ascents; those of RLHF have 3 with independent pairs and 4 with
            any pairs.
        least: f, smallest utilities, of the detour and of the ascents with any pairs.
        budgets: tau of the universal case.
        ascent: `starts`, `steps` and `evaluations` of `ascend`, and how many `ascents` a problem has.
    """
    problems = [
        *((NLHF, m, 0.0) for m in sizes),
        (INDEPENDENT, 3, 0.0),
        *((ANY, 4, f) for f in least),
    ]
    return [
        *(
            {"part": "search", "bt_temperature": b, "rule": rule, "size": m, "least": f, **ascent}
            for rule, m, f in problems
            for b in searched
        ),
        *({"part": "detour", "bt_temperature": b, "least": f} for b in temperatures for f in least),
        *({"part": "ball", "bt_temperature": b, "budget": tau} for b in temperatures for tau in budgets),
    ]


def run(
    rng: np.random.Generator,
    *,
    part: str,
    bt_temperature: float,
    rule: str = "",
    size: int = 0,
    least: float = 0.0,
    budget: float = 0.0,
    ascents: int = 1,
    starts: int = 0,
    steps: int = 0,
    evaluations: int = 0,
) -> dict[str, Any]:
    """Distortion of both rules on one problem, in a search the worst of those where ascents ended."""
    b = bt_temperature
    if part == "ball":
        return _measure(*_universal_in_ball(b, budget))
    if part == "detour":
        x = SHARE * float(detour_utility(b, least))
        return {**_measure(*_detour(b, x, least)), "utility": [x]}
    ends = [
        ascend(rng, rule, b, size, least=least, starts=starts, steps=steps, evaluations=evaluations)
        for _ in range(ascents)
    ]
    found = max(ends, key=lambda end: end.distortion)
    measured = _measure(found.users, found.pairs, found.log_reference, found.kl_budget)
    return {**measured, "ascent": [found.distortion], "spent": [found.kl_budget]}


def _measure(
    users: BradleyTerryUsers, pairs: Array, log_reference: Array, kl_budget: float
) -> dict[str, Any]:
    """Distortion of both rules, and what the best reply of the ball gains on NLHF, as a share of margins."""
    with np.errstate(over="ignore", invalid="ignore"):  # in steps of the solver that it then rejects
        nash = kl_nlhf(users.win, log_reference, kl_budget)
    reward = rlhf(users.win, pairs, log_reference, kl_budget)
    gain = exploitability(users.win, nash.log_policy, log_reference, kl_budget)
    return {
        "nlhf": [distortion_in_ball(users, nash, log_reference, kl_budget)],
        "rlhf": [distortion_in_ball(users, reward, log_reference, kl_budget)],
        "gain": [gain / np.abs(2 * users.win - 1).max()],
    }


def _detour(b: float, utility: float, least: float) -> tuple[BradleyTerryUsers, Array, Array, float]:
    """Responses a, b, c, d as in `distalign.theory.distortion.pairs`."""
    users = BradleyTerryUsers(np.array([[utility, least, 0.5, 1.0], [least] * 4]), np.array([0.5, 0.5]), b)
    pairs = np.full((4, 4), RARE)
    for x, y in ((0, 2), (2, 3), (3, 1)):
        pairs[x, y] = pairs[y, x] = 1.0
    np.fill_diagonal(pairs, 0.0)
    return users, pairs, np.array([-np.log(2), -np.log(2), EXCLUDED, EXCLUDED]), float(np.log(2))


def _universal_in_ball(b: float, budget: float) -> tuple[BradleyTerryUsers, Array, Array, float]:
    """A worthless response with nearly all of the reference, and the two of the universal worst case."""
    special, ordinary = np.tanh(b * SMALL / 2), np.tanh(b / 2)
    weights = np.array([special, ordinary]) / (special + ordinary)
    users = BradleyTerryUsers(np.array([[0, 1.0, 0], [0, 0, (1 + AHEAD) * SMALL]]), weights, b)
    return users, np.ones((3, 3)) - np.eye(3), np.array([0.0, WORTHLESS, WORTHLESS]), budget


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Distortion of both rules on each problem, beside C(b), cosh^2(b/2) and the detour's closed form."""
    wanted = ["part", "rule", "size", "bt_temperature", "least", "budget", "nlhf", "rlhf", "spent"]
    out = rows[wanted].reset_index(drop=True)
    b = out.bt_temperature
    detour = detour_distortion(rows.utility.clip(lower=0).fillna(0), rows.least.where(rows.least > 0, 0.25))
    return out.assign(
        minimax=minimax_distortion(b),
        independent=unsupported_rlhf_distortion(b),
        detour=np.where(rows.part == "detour", detour, np.nan),
        share=rows.nlhf / minimax_distortion(b),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """NLHF's bound on everything, how near the ascents come, and the two families."""
    search, detour, ball = (rows.loc[rows.part == part] for part in ("search", "detour", "ball"))
    nash, independent, any_pairs = (search.loc[search.rule == rule] for rule in (NLHF, INDEPENDENT, ANY))
    cosh2 = unsupported_rlhf_distortion(independent.bt_temperature)
    largest = detour_distortion(
        np.maximum(detour_utility(any_pairs.bt_temperature, any_pairs.least), any_pairs.least),
        any_pairs.least,
    )
    own = np.where(search.rule == NLHF, search.nlhf, search.rlhf)
    return [
        bound(
            "distortion of NLHF on every problem found or made <= C(b)",
            rows.nlhf,
            minimax_distortion(rows.bt_temperature),
            slack=1e-6,
        ),
        bound(
            "0.95 C(b) <= worst distortion of NLHF found",
            REACHED * minimax_distortion(nash.bt_temperature),
            nash.nlhf,
        ),
        growth(
            "universal worst case beside a worthless response, in a ball of any size: NLHF = C(b)",
            ball.nlhf,
            minimax_distortion(ball.bt_temperature),
            5e-3,
        ),
        identity("no opponent of the ball gains on NLHF (share of the largest margin)", rows.gain, 1e-8),
        bound(
            "0.85 cosh^2(b/2) <= worst distortion of RLHF found, independent pairs",
            NEAR * cosh2,
            independent.rlhf,
        ),
        bound("conjecture: RLHF with independent pairs <= cosh^2(b/2)", independent.rlhf, cosh2, slack=1e-6),
        growth(
            "RLHF on the detour of four responses = (x + f)/(2 f), without bound as f falls",
            detour.rlhf,
            detour_distortion(detour.utility, detour.least),
            1e-6,
        ),
        bound("worst of the detour <= worst distortion of RLHF found, any pairs", largest, any_pairs.rlhf),
        identity("distortion by the ascent = by the solvers, relative", search.ascent / own - 1, 1e-4),
    ]
