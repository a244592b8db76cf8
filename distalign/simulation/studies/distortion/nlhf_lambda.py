"""From a KL penalty lambda to a KL budget and back, for NLHF and RLHF, and the unit of lambda.

The paper's Propositions 13 and 14 say that a policy with penalty lambda solves the problem with the KL
budget it spends, and that every constrained policy has its lambda, for NLHF and for RLHF. Its Corollary 8
bounds the distortion of the penalised policy. That the KL does not increase with lambda, and that lambda is
twice the weight of Nash-MD (Munos et al.), is ours.

The regularised policy is solved, its KL is given as a budget to the constrained solver, and lambda is read
off that policy. With M = 2P - 1 an equilibrium of NLHF has

    log pi/pi_ref = M pi/lambda + constant,    (1)

and the policy of RLHF has r/lambda + constant on the right. Iterates of Nash mirror descent are a third
road.

The checks ask, for both methods, that lambda comes back; that the penalised and the constrained policy are
one; and that the KL does not increase with lambda. They ask that no opponent gains on the penalised policy,
that its distortion is at most C(b) (Corollary 8), and that mirror descent with weight lambda/2 comes to the
same policy, in 300 steps or, below half of the largest margin, in more in proportion to 1/lambda. Policies
so near pi_ref or a pure one that their KL does not determine lambda in float64 are left out of the first two
checks; they may be no more than 0.3 of all.

The planted defects: the penalty of NLHF or of RLHF 5 % too large; the KL budget of the constrained problem 5
% too small, or given in per cent; a reference that is mixed with 1 % of the uniform one, or the sign of the
margins, in penalised NLHF; and lambda taken for its inverse in either method.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from distalign.populations import BradleyTerryUsers
from distalign.simulation.defects import Defect, argument
from distalign.simulation.rates import summarise
from distalign.simulation.studies.distortion.constrained import distortion_in_ball
from distalign.simulation.verdict import Check, bound, identity
from distalign.solvers.bradley_terry import dpo_policy
from distalign.solvers.choice.certified import kl_divergence
from distalign.solvers.choice.games import exploitability, kl_nlhf, regularised_nlhf
from distalign.solvers.choice.nash_md import nash_md
from distalign.solvers.choice.reward import reward_mle, rlhf
from distalign.theory.distortion.constants import minimax_distortion
from distalign.types import Array

DEFECTS = (
    Defect("NLHF's penalty 5 % too large", regularised_nlhf, argument("strength", lambda x: 1.05 * x)),
    Defect("RLHF's penalty 5 % too large", dpo_policy, argument("beta", lambda x: 1.05 * x)),
    Defect("NLHF's KL budget 5 % too small", kl_nlhf, argument("kl_budget", lambda x: 0.95 * x)),
    Defect("RLHF's KL budget 5 % too small", rlhf, argument("kl_budget", lambda x: 0.95 * x)),
    Defect("NLHF's KL budget given in per cent", kl_nlhf, argument("kl_budget", lambda x: x / 100)),
    Defect(
        "NLHF's reference mixed with 1 % of the uniform one",
        regularised_nlhf,
        argument("log_reference", lambda q: np.logaddexp(np.log(0.99) + q, np.log(0.01 / len(q)))),
    ),
    Defect("the sign of the margins in penalised NLHF", regularised_nlhf, argument("win", np.transpose)),
    Defect("NLHF's lambda taken for its inverse", regularised_nlhf, argument("strength", lambda x: 1 / x)),
    Defect("RLHF's lambda taken for its inverse", dpo_policy, argument("beta", lambda x: 1 / x)),
)
# Variance of log pi/pi_ref below which (near pi_ref or a pure policy) a KL in float64 does not determine
# lambda.
LEAST_VARIANCE = 1e-4
STEPS = 300
"""Of mirror descent at lambda >= `EASY` of the largest margin; below it, more in proportion to 1/lambda."""
EASY = 0.5


def cells(temperatures: list[float], strengths: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per Bradley-Terry temperature; strengths are shares of the largest margin."""
    return [{"bt_temperature": b, "strengths": strengths, "replicates": replicates} for b in temperatures]


def run(
    rng: np.random.Generator,
    *,
    bt_temperature: float,
    strengths: list[float],
    replicates: int,
) -> dict[str, Any]:
    """Every strength on every random problem, from weak to strong."""
    round_trips = []
    for i in range(replicates):
        users, mu, q = _problem(rng, bt_temperature)
        win, reward = users.win, reward_mle(users.win, mu)
        scale, reward_range = float(np.abs(2 * win - 1).max()), float(np.ptp(reward.reward))
        for share in sorted(strengths):
            round_trips.append(
                {
                    "replicate": i,
                    "strength": share,
                    **_nlhf(users, q, share * scale, int(STEPS * max(1.0, EASY / share))),
                    **_rlhf(win, mu, reward.reward, q, share * reward_range),
                }
            )
    return {column: [row[column] for row in round_trips] for column in round_trips[0]}


def _problem(rng: np.random.Generator, b: float) -> tuple[BradleyTerryUsers, Array, Array]:
    """One to eight types of users, two to twelve responses, comparisons and a reference.

    The reference goes from uniform to log-probabilities of a few times ten.
    """
    shape = (int(rng.integers(1, 9)), int(rng.integers(2, 13)))
    log_reference = rng.choice([0.0, 1.0, 10.0]) * rng.standard_normal(shape[1])
    users = BradleyTerryUsers(rng.random(shape), rng.dirichlet(np.ones(shape[0])), b)
    return (
        users,
        rng.dirichlet(np.ones(shape[1])) * 0.9 + 0.1 / shape[1],
        log_reference - logsumexp(log_reference),
    )


def _nlhf(users: BradleyTerryUsers, q: Array, strength: float, steps: int) -> dict[str, float]:
    """lambda -> policy -> KL -> policy of that budget -> lambda, as ratios and distances.

    NaN where a solve has no certificate.
    """
    win = users.win
    penalised = regularised_nlhf(win, q, strength)
    spent = penalised.kl(q)
    constrained = kl_nlhf(win, q, spent)
    iterated = nash_md(win, q, strength, steps)
    if not (penalised.certified and constrained.certified):
        return dict.fromkeys(
            ("kl", "recovered", "spread", "difference", "gain", "distortion", "iterated"), np.nan
        )
    recovered, variance = _slope(constrained.policy, (2 * win - 1) @ constrained.policy, q)
    return {
        "kl": spent,
        "recovered": recovered / strength,
        "spread": variance,
        "difference": float(np.abs(penalised.policy - constrained.policy).max()),
        "gain": exploitability(win, penalised.log_policy, q, spent) / np.abs(2 * win - 1).max(),
        "distortion": distortion_in_ball(users, penalised, q, spent),
        "iterated": kl_divergence(penalised.log_policy, iterated.log_policy),
    }


def _rlhf(win: Array, mu: Array, reward: Array, q: Array, strength: float) -> dict[str, float]:
    """The same for RLHF, whose penalised policy is  pi_ref e^{r/lambda}."""
    penalised = np.log(dpo_policy(reward, np.exp(q), strength))
    spent = kl_divergence(penalised, q)
    constrained = rlhf(win, mu, q, spent)
    if not constrained.certified:
        return dict.fromkeys(("rlhf_kl", "rlhf_recovered", "rlhf_spread", "rlhf_difference"), np.nan)
    recovered, variance = _slope(constrained.policy, reward, q)
    return {
        "rlhf_kl": spent,
        "rlhf_recovered": recovered / strength,
        "rlhf_spread": variance,
        "rlhf_difference": float(np.abs(np.exp(penalised) - constrained.policy).max()),
    }


def _slope(policy: Array, score: Array, q: Array) -> tuple[float, float]:
    """lambda from (1), and the variance of log policy/reference.

    The fit is by least squares weighted by the policy, over the responses that it gives.
    """
    given = policy > 0
    p, tilt, score = policy[given], np.log(policy[given]) - q[given], score[given]
    # Centred under the policy, (1) has no constant any more: score = lambda tilt.
    tilt, score = tilt - p @ tilt, score - p @ score
    return float(p @ (score * score) / max(p @ (tilt * score), 1e-300)), float(p @ (tilt * tilt))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """KL spent and lambda recovered by strength, for both methods, with intervals over problems."""
    summaries = [
        summarise(rows, ["bt_temperature", "strength"], column).assign(measure=column)
        for column in ("kl", "rlhf_kl", "iterated")
    ]
    for column, variance in (("recovered", "spread"), ("rlhf_recovered", "rlhf_spread")):
        determined = rows.loc[rows[variance] >= LEAST_VARIANCE]
        summaries.append(summarise(determined, ["bt_temperature", "strength"], column).assign(measure=column))
    return pd.concat(summaries, ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """The round trip for both methods, one policy on the way, monotone KL, Corollary 8, and the unit."""
    nlhf, rlhf_ = rows.loc[~(rows.spread < LEAST_VARIANCE)], rows.loc[~(rows.rlhf_spread < LEAST_VARIANCE)]
    return [
        identity("NLHF: lambda -> KL -> constrained policy -> lambda", nlhf.recovered - 1, 1e-4),
        identity("RLHF: lambda -> KL -> constrained policy -> lambda", rlhf_.rlhf_recovered - 1, 1e-4),
        identity("NLHF: penalised policy = constrained policy", rows.difference, 1e-6),
        identity("RLHF: penalised policy = constrained policy", rows.rlhf_difference, 1e-6),
        identity(
            "no opponent in the ball gains on the penalised policy (share of the largest margin)",
            np.maximum(rows.gain, 0),
            1e-8,
        ),
        *(
            bound(f"{name}: KL at a larger lambda <= KL at a smaller", *_neighbours(rows, column))
            for name, column in (("NLHF", "kl"), ("RLHF", "rlhf_kl"))
        ),
        bound(
            "Corollary 8: distortion of penalised NLHF in the ball it spends <= C(b)",
            rows.distortion,
            minimax_distortion(rows.bt_temperature),
            slack=1e-8,
        ),
        identity(
            "Nash mirror descent with weight lambda/2 comes to the same policy (KL)",
            rows.iterated,
            1e-3,
        ),
        bound(
            "share of policies so near pi_ref or a pure one that their KL does not determine lambda <= 0.3",
            [1 - len(nlhf) / len(rows), 1 - len(rlhf_) / len(rows)],
            0.3,
        ),
    ]


def _neighbours(rows: pd.DataFrame, column: str) -> tuple[Array, Array]:
    """KL at each strength but the smallest, and at the one before it, up to 1e-12 nats."""
    by_strength = rows.pivot(
        index=["bt_temperature", "replicate"], columns="strength", values=column
    ).to_numpy()
    return by_strength[:, 1:].ravel(), by_strength[:, :-1].ravel() + 1e-12
