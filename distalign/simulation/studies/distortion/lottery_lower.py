"""No rule loses less than a factor C(b) in the worst case, and the maximal lottery never loses more.

The paper's Theorem 3 says that with one comparison a user no rule, and with more comparisons no rule that
gives a Condorcet loser at most 1/m, has distortion below C(b) for all m. Its Corollary 4 says that the
maximal lottery has C(b). Both are formalised in Lean. The covariance of two answers, which shows why one
comparison is asked for, is ours.

The universal worst case (F1) runs in two forms. With exact ties every win probability is 1/2, so answers of
users who are asked once have the same law wherever the one alternative worth having lies: every rule gives
it 1/m of its mass on average over the places. With strict margins of order 1/m that alternative is a
Condorcet loser and gets nothing. Two answers of one user do carry information (their covariance), which is
why the first form needs one comparison a user. The closed forms are one road, the solvers and sampled
answers the other.

The checks ask that the maximal lottery's distortion on F1 grows to C(b) with m, falls short of it by no
more than 1/m + (b/m)^2/12 as a share, and is its closed form; that no maximal lottery passes C(b) on any
population; and that a Condorcet loser gets no mass. With exact ties they ask that every win probability is
1/2, that rules which ask each user once give the special alternative 1/m, and that the covariance of two
answers is s(b) s(b eps).

The planted defects: the sign of the margins of the maximal lottery; users who answer at a temperature 1 % too
low; types drawn with a share of the special users 5 % too small; and C(b) 0.4 % too large.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import BradleyTerryUsers, win_matrix
from distalign.populations.worst_cases import universal_worst_case
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.studies.distortion.problems import random_problem
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.games import maximal_lottery
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import borda, reward_mle
from distalign.theory.distortion.constants import minimax_distortion
from distalign.theory.distortion.samples import answer_covariance

SIZES = (3, 10, 30, 100, 300, 1000)
# Of the form with exact ties, in which each user answers once. So many users show a share of the special
# ones that is 5 % off.
TIED_ALTERNATIVES, USERS = 5, 200_000
EPSILON = 0.1
DEFECTS = (
    Defect("the sign of the margins", maximal_lottery, argument("win", np.transpose)),
    Defect(
        "users who answer at a temperature 1 % too low",
        win_matrix,
        argument("bt_temperature", lambda b: 0.99 * b),
    ),
    Defect(
        "types drawn with a share of the first 5 % too small",
        BradleyTerryUsers.sample_wins,
        lambda right: lambda users, *rest: right(_first_rarer(users), *rest),
    ),
    Defect("C(b) 0.4 % too large", minimax_distortion, result(lambda c: 1.004 * c), no_cell),
)


def cells(temperatures: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per Bradley-Terry temperature."""
    return [{"bt_temperature": b, "replicates": replicates} for b in temperatures]


def run(rng: np.random.Generator, *, bt_temperature: float, replicates: int) -> dict[str, Any]:
    """The three parts: strict margins by m, exact ties, and random populations.

    Exact ties are taken by place of the special alternative, in law and in samples.
    """
    rows = [_strict(bt_temperature, m) for m in SIZES]
    rows += _tied(rng, bt_temperature, replicates)
    rows += [_random(rng, bt_temperature) for _ in range(replicates)]
    return pd.DataFrame(rows).to_dict("list")


def _first_rarer(users: BradleyTerryUsers) -> BradleyTerryUsers:
    """The same types, of which the first has a share 5 % smaller."""
    first = 0.95 * users.weights[0]
    rest = users.weights[1:] * (1 - first) / (1 - users.weights[0])
    return BradleyTerryUsers(users.utilities, np.append(first, rest), users.bt_temperature)


def _strict(b: float, m: int) -> dict[str, Any]:
    """The paper's diagonal: margins eps = 1/m."""
    case = universal_worst_case(b, m, 1 / m)
    win = case.users.win
    lottery = maximal_lottery(win).policy
    return {
        "family": "strict",
        "rule": "maximal lottery",
        "alternatives": m,
        "distortion": _distortion_of(case.users, lottery),
        "closed_form": case.distortion,
        "mass": lottery[0],
        "borda_mass": borda(win, case.comparison).policy[0],
    }


def _random(rng: np.random.Generator, b: float) -> dict[str, Any]:
    """The worst of all maximal lotteries of a random population."""
    users = random_problem(rng, universal_worst_case(b)).users
    u = users.average_utility
    lottery = maximal_lottery(users.win, "adversarial", u)
    return {
        "family": "random",
        "rule": "maximal lottery",
        "alternatives": len(u),
        "distortion": _distortion_of(users, lottery.policy) if lottery.certified else np.nan,
    }


def _tied(rng: np.random.Generator, b: float, replicates: int) -> list[dict[str, Any]]:
    """Exact ties, with each alternative in turn the special one.

    The rows hold the largest margin, the covariance of two answers, and what sampled rules make of the
    answers.
    """
    case = universal_worst_case(b, TIED_ALTERNATIVES, EPSILON, strict=False)
    users_at = [
        BradleyTerryUsers(np.roll(case.users.utilities, place, 1), case.users.weights, b)
        for place in range(TIED_ALTERNATIVES)
    ]
    largest_margin = float(max(np.abs(users.win - 0.5).max() for users in users_at))
    wins_by_type = [win_matrix(u[None], [1.0], b)[0, 1] for u in case.users.utilities]
    covariance = answer_covariance(wins_by_type, case.users.weights, one_ranking=False)
    mass: dict[str, list[float]] = {"maximal lottery": [], "Borda": [], "RLHF": []}
    for r in range(replicates):
        place = r % TIED_ALTERNATIVES
        wins = (
            users_at[place]
            .sample_wins(USERS, 1, np.full(TIED_ALTERNATIVES, 1 / TIED_ALTERNATIVES), rng)[0]
            .astype(float)
        )
        for rule, policy in _answers(wins).items():
            mass[rule].append(policy[place])
    rows = []
    for rule, values in mass.items():
        mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
        share = float(case.users.weights[0])
        rows.append(
            {
                "family": "tied",
                "rule": rule,
                "alternatives": TIED_ALTERNATIVES,
                "closed_form": case.distortion,
                "mass": mean,
                "error": error,
                "tie": largest_margin,
                "covariance": covariance * 4 / np.tanh(b / 2) / np.tanh(b * EPSILON / 2),
                "distortion": share / (mean * share + (1 - mean) * EPSILON * (1 - share)),
            }
        )
    return rows


def _answers(wins: np.ndarray) -> dict[str, np.ndarray]:
    """What three rules make of counted answers."""
    np.fill_diagonal(wins, 0)
    comparisons = wins + wins.T
    win = np.where(comparisons > 0, wins / np.maximum(comparisons, 1), 0.5)
    share, reward = wins.sum(1) / comparisons.sum(1), reward_mle(win, comparisons).reward
    is_winner = {"Borda": share == share.max(), "RLHF": reward == reward.max()}
    return {
        "maximal lottery": maximal_lottery(win).policy,
        **{rule: winners / winners.sum() for rule, winners in is_winner.items()},
    }


def _distortion_of(users: BradleyTerryUsers, lottery: np.ndarray) -> float:
    """Distortion of a lottery against the best alternative."""
    return distortion(users.average_utility, lottery, np.full(len(lottery), -np.log(len(lottery))), np.inf)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest distortion and mass on the special alternative by temperature, family, rule and m, beside C."""
    keys = ["family", "rule", "bt_temperature", "alternatives"]
    # Random populations of all sizes are one line, so their m is written as 0.
    rows = rows.assign(alternatives=np.where(rows.family == "random", 0, rows.alternatives))
    summary = (
        rows.groupby(keys)
        .agg(
            distortion=("distortion", "max"),
            closed_form=("closed_form", "max"),
            mass=("mass", "max"),
            error=("error", "max"),
            instances=("distortion", "count"),
        )
        .reset_index()
    )
    return summary.assign(bound=minimax_distortion(summary.bt_temperature))


def checks(rows: pd.DataFrame) -> list[Check]:
    """C(b) reached from below as m grows, never passed; no information in single answers."""
    strict, tied = rows[rows.family == "strict"], rows[rows.family == "tied"]
    large, share = rows.query("family == 'strict' and alternatives == @SIZES[-1]"), 1 / strict.alternatives
    limit = minimax_distortion(strict.bt_temperature)
    largest_gap = share + (strict.bt_temperature * share) ** 2 / 12
    not_tied = rows.query("family != 'tied'")
    return [
        growth(
            "distortion of the maximal lottery on F1 at m = 1000 = C(b)",
            large.distortion,
            minimax_distortion(large.bt_temperature),
            2e-3,
        ),
        bound(
            "it falls short of C(b) by a share <= 1/m + (b/m)^2/12",
            1 - strict.distortion / limit,
            largest_gap,
            vacuous=largest_gap >= 1,
        ),
        bound(
            "Corollary 4: distortion of every maximal lottery <= C(b)",
            not_tied.distortion,
            minimax_distortion(not_tied.bt_temperature),
            slack=1e-8,
        ),
        identity("a Condorcet loser gets no mass", strict[["mass", "borda_mass"]], 1e-9),
        identity("distortion on F1 = its closed form", strict.distortion / strict.closed_form - 1, 1e-9),
        identity(
            "exact ties: every win probability is 1/2, wherever the special alternative lies", tied.tie, 1e-14
        ),
        identity(
            "mass that rules asked once give it = 1/m (in standard errors)",
            (tied.mass - 1 / TIED_ALTERNATIVES) / tied.error,
            5,
        ),
        identity("covariance of two answers of one user about it = s(b) s(b eps)", tied.covariance - 1, 1e-9),
    ]
