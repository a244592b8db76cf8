"""A win matrix from n users has an error of n^{-1/2}; more questions to the same users soon stop helping.

Lemmas 10 and 11 and the finite-sample half of Theorem 7 (the paper's) bound the errors by the order (n
min{1, d mu_min^2})^{-1/2} with n users and d questions each. Only the exponents are tested, because the
paper's constants are 45 to 125 times too large for more. That the order is reached is ours, with the law

    n times the variance of a win probability = p(1-p)/(d q) + (1 - 1/d) rho    (1)

where q is the chance that a question is about the pair and rho the covariance of two answers of one user.

Users answer afresh given their type, or all their questions from one Plackett-Luce ranking. Measured are the
largest error of a win probability, the average utility that KL-constrained NLHF loses or gains when it is run
on the empirical matrix, and the error of the rarest pair as d grows. Samples are one road, (1) is the other;
the population's policy is that of the penalty lambda that spends the budget, which is another solver.

The checks ask for the exponent -1/2 in n of the first two, for both kinds of answers; and that the error of
the rarest pair is (1), for each d and for each q. How many questions a user make it saturate, p(1-p)/(q rho)
- 1, of order 1/mu_min^2, follows from (1); the table shows it beside a fit. Set after a pilot: the smallest
number of users from which the utility is fitted, because below 10^4 the equilibrium is not yet linear in p_n.

The planted defects: NLHF's KL budget 5 % too small; users of either kind who answer at a temperature 2 % too
high; and a law (1) for a tenth of the users less.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from distalign.populations import BradleyTerryUsers
from distalign.populations.plackett_luce import sample_wins
from distalign.simulation.defects import Defect, argument
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, growth, rate
from distalign.solvers.choice.games import kl_nlhf, regularised_nlhf
from distalign.theory.distortion.samples import answer_covariance, saturation, win_error

Array = NDArray[Any]
ANSWERS = ("independent", "one ranking")
USERS, KL_BUDGET = 30_000, 0.3
# Smallest numbers of users fitted, from a pilot: below 10^4 the equilibrium is not yet linear in p_n.
SMALLEST = {"utility_error": 10_000, "largest_error": 1000}


def _hotter(users: BradleyTerryUsers) -> BradleyTerryUsers:
    """The same users at a temperature 2 % higher."""
    return BradleyTerryUsers(users.utilities, users.weights, 1.02 * users.bt_temperature)


DEFECTS = (
    Defect(
        "NLHF's KL budget 5 % too small",
        kl_nlhf,
        argument("kl_budget", lambda x: 0.95 * x),
        lambda arguments: arguments["play"],
    ),
    Defect(
        "users who answer afresh at a temperature 2 % too high",
        BradleyTerryUsers.sample_wins,
        argument("self", _hotter),
        lambda arguments: arguments["answers"] == "independent" and arguments["comparisons"] == 1,
    ),
    Defect(
        "users who rank at a temperature 2 % too high",
        sample_wins,
        argument("users", _hotter),
        lambda arguments: arguments["answers"] == "one ranking" and arguments["comparisons"] == 1,
    ),
    Defect(
        "the law for a tenth of the users less",
        win_error,
        argument("users", lambda n: 0.9 * n),
        lambda arguments: not arguments["play"],
    ),
)


def population() -> BradleyTerryUsers:
    """Five types, four responses, temperature 6: any fixed population would do."""
    rng = np.random.default_rng(0)
    return BradleyTerryUsers(rng.random((5, 4)), rng.dirichlet(np.ones(5)), 6.0)


def cells(
    sizes: list[int], comparisons: list[int], rarest: list[float], replicates: int, samples: int
) -> list[dict[str, Any]]:
    """One cell for each kind of answers and number of users.

    And one for each kind of answers, number of questions and smallest comparison share mu_min (`rarest`).
    """
    grow = [
        {"answers": a, "users": n, "comparisons": 1, "rarest": 0.25, "replicates": replicates, "play": True}
        for a in ANSWERS
        for n in sizes
    ]
    return grow + [
        {"answers": a, "users": USERS, "comparisons": d, "rarest": s, "replicates": samples, "play": False}
        for a in ANSWERS
        for s in rarest
        for d in comparisons
    ]


def run(
    rng: np.random.Generator,
    *,
    answers: str,
    users: int,
    comparisons: int,
    rarest: float,
    replicates: int,
    play: bool,
) -> dict[str, Any]:
    """Errors of `replicates` empirical win matrices.

    Alternatives 0 and 1 have the smallest comparison share.
    """
    crowd, mu = population(), np.array([rarest, rarest, 0.5 - rarest, 0.5 - rarest])
    if answers == "independent":
        wins = crowd.sample_wins(users, comparisons, mu, rng, replicates=replicates)
    else:
        wins = sample_wins(crowd, users, comparisons, mu, rng, replicates=replicates)
    empirical = shares(wins)
    pair_share, win = 2 * rarest**2, crowd.win[0, 1]
    rho = answer_covariance(
        expit(crowd.bt_temperature * (crowd.utilities[:, 0] - crowd.utilities[:, 1])),
        crowd.weights,
        one_ranking=answers == "one ranking",
    )
    return {
        "largest_error": np.abs(empirical - crowd.win).max((1, 2)),
        "pair_error": empirical[:, 0, 1] - win,
        "utility_error": _utility_errors(crowd, empirical) if play else np.full(replicates, np.nan),
        "predicted": float(win_error(users, comparisons, pair_share, win, rho)),
        "saturation": saturation(pair_share, win, rho),
    }


def shares(wins: Array) -> Array:
    """(R, m, m) empirical win matrices.

    A pair that nobody was asked about is a tie (margin 0), as in the formal proof.
    """
    answers = wins + wins.swapaxes(1, 2)
    return np.where(answers > 0, wins / np.maximum(answers, 1), 0.5)


def _utility_errors(crowd: BradleyTerryUsers, empirical: Array) -> Array:
    """|AvgUtil of NLHF on the empirical matrix - on the population's|.

    NaN where a solve is not certified.
    """
    reference = np.full(4, -np.log(4))
    exact_utility = crowd.average_utility @ _penalised(crowd.win, reference)
    solved = [kl_nlhf(p, reference, KL_BUDGET) for p in empirical]
    return np.array(
        [abs(crowd.average_utility @ f.policy - exact_utility) if f.certified else np.nan for f in solved]
    )


def _penalised(win: Array, reference: Array) -> Array:
    """The policy of regularised NLHF whose penalty spends the KL budget (Proposition 13)."""

    def excess(log_strength: float) -> float:
        return regularised_nlhf(win, reference, np.exp(log_strength)).kl(reference) - KL_BUDGET

    strength = np.exp(brentq(excess, -6.0, 3.0, xtol=1e-14))  # type: ignore[arg-type]
    return regularised_nlhf(win, reference, float(strength)).policy


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Errors against n, and the rarest pair's root mean square error against d beside its law."""
    by_users = rows.loc[rows.play]
    summaries = [
        summarise(by_users, ["answers", "users"], column).assign(measured=column)
        for column in ("largest_error", "utility_error")
    ]
    questions = rows.loc[~rows.play].assign(square=lambda r: r.pair_error**2)
    squares = summarise(questions, ["answers", "rarest", "comparisons", "predicted", "saturation"], "square")
    roots = squares.assign(measured="pair_error", **{c: np.sqrt(squares[c]) for c in ("mean", "low", "high")})
    return pd.concat(
        [*summaries, roots.merge(fitted_saturation(rows), on=["answers", "rarest"])], ignore_index=True
    )


def fitted_saturation(rows: pd.DataFrame) -> pd.DataFrame:
    """Where the mean squared error of the rarest pair saturates, A/B of a fit A/d + B.

    The fit is by least squares in relative error.
    """
    fits = []
    for answers in ANSWERS:
        for rarest, group in rows.loc[~rows.play & (rows.answers == answers)].groupby("rarest"):
            squares = group.assign(square=group.pair_error**2).groupby("comparisons").square.mean()
            design = (
                np.stack([1 / squares.index.to_numpy(float), np.ones(len(squares))], axis=1)
                / squares.to_numpy()[:, None]
            )
            per_question, per_user = np.linalg.lstsq(design, np.ones(len(squares)))[0]
            fits.append({"answers": answers, "rarest": rarest, "fitted_saturation": per_question / per_user})
    return pd.DataFrame(fits)


def checks(rows: pd.DataFrame) -> list[Check]:
    """The exponents in n, and the law in d and q."""
    questions = rows.loc[~rows.play]
    share = questions.assign(share=(questions.pair_error / questions.predicted) ** 2)
    quantities = {
        "largest_error": ("largest error of a win probability", 0.05),
        "utility_error": ("average utility of NLHF on the sample, less the population's,", 0.1),
    }
    return [
        *(
            rate(
                f"{quantities[column][0]} falls as n^-1/2, {answers}",
                rows.query("play and answers == @answers"),
                matches=-0.5,
                min_size=least,
                size="users",
                error=column,
                margin=quantities[column][1],
            )
            for column, least in SMALLEST.items()
            for answers in ANSWERS
        ),
        *(
            _law(f"error of the rarest pair = sqrt((p(1-p)/(d q) + (1-1/d) rho)/n), {name}", share, column)
            for name, column in (("for each d", "comparisons"), ("for each q", "rarest"))
        ),
    ]


def _law(name: str, rows: pd.DataFrame, column: str) -> Check:
    """Root mean squares of error over law, for each kind of answers and value of a column, are 1.

    The root mean square of R Gaussian draws is known to 1 / sqrt(2 R): four of those is the tolerance.
    """
    by = rows.groupby(["answers", column]).share
    observed = np.sqrt(by.mean())
    return growth(name, observed, np.ones(len(observed)), float(4 / np.sqrt(2 * by.size().min())))
