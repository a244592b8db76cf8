"""One Bradley-Terry reward orders alternatives as Borda does if pairs are independent; DPO is RLHF.

The paper uses both (Section 2; Proposition 14, which is formalised in Lean): RLHF's reward orders as the
Borda count does when both alternatives of a pair are drawn independently from one mu, whatever mu is, and
DPO is KL-regularised RLHF. That the fitted model has the population's Borda scores is our short proof of
the first. Correlated pairs break it (the setting of Theorem 9).

The roads: the reward by Newton's method on all pairs; Borda scores by one product; DPO by
`distalign.simulation.fit` of the package's own objective, which sees the law of answers only; the tilted
reference pi_ref exp(r/beta)/Z; and the linear maximiser of the KL ball.

The checks ask for product comparisons that no pair is ordered differently by reward and Borda score, and
that the Borda scores of the fitted model are the population's. For correlated pairs they ask that the order
does differ from the winning shares, on random tables and on the chain (F4). They ask that DPO's policy is
the tilted reference and the best policy of the KL it spends (a fit that has not converged fails both); and
that no more than 1 % of the reward fits fail to converge.

The planted defects: the reward fitted to comparisons mixed with 5 % of uniform ones; the reward of a table of
pairs read off the winning shares, which is right for products only; DPO's beta 5 % too large; and rewards in
single precision during the fit.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from distalign.objectives import dpo
from distalign.policies import Tabular
from distalign.populations import BradleyTerryUsers, Population
from distalign.populations.worst_cases import borda_worst_case
from distalign.populations.worst_cases_kl import correlated_worst_case
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.fit import fit
from distalign.simulation.studies.distortion.problems import random_problem
from distalign.simulation.verdict import Check, bound, differs, identity
from distalign.solvers.choice.certified import kl_divergence
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.solvers.choice.reward import RewardFit, borda_scores, newton_step, reward_mle

DEFECTS = (
    Defect(
        "the reward fitted to comparisons mixed with 5 % of uniform ones",
        reward_mle,
        argument("comparison", lambda w: 0.95 * w + 0.05 / np.size(w)),
    ),
    Defect(
        "the reward of a table of pairs read off the winning shares",
        reward_mle,
        lambda right: lambda win, pairs: _by_shares(win, pairs) if np.ndim(pairs) == 2 else right(win, pairs),
    ),
    Defect("DPO's beta 5 % too large", dpo, argument("beta", lambda x: 1.05 * x)),
    Defect(
        "rewards in single precision during the fit",
        newton_step,
        argument("r", np.float32),
        where(bt_temperature=1),
    ),
)
STRENGTHS = (0.1, 1.0)  # DPO's beta, in nats
CHAIN = 12


def cells(temperatures: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per Bradley-Terry temperature."""
    return [{"bt_temperature": b, "replicates": replicates} for b in temperatures]


def run(rng: np.random.Generator, *, bt_temperature: float, replicates: int) -> dict[str, Any]:
    """Orders on random problems and on the correlated worst case; DPO on small problems, one in ten."""
    near = borda_worst_case(bt_temperature)
    rows = [_order(rng, random_problem(rng, near)) for _ in range(replicates)]
    rows.append(_correlated(bt_temperature))
    rows += [_tilt(rng, bt_temperature, s) for s in STRENGTHS for _ in range(max(2, replicates // 10))]
    return pd.DataFrame(rows).to_dict("list")


def _by_shares(win: np.ndarray, pairs: np.ndarray) -> RewardFit:
    """The reward whose winning probability against a stranger of reward 0 is the share of comparisons won."""
    reward = logit((pairs * win).sum(1) / pairs.sum(1))
    return RewardFit(reward - reward.mean(), 0.0)


def _order(rng: np.random.Generator, problem: Any) -> dict[str, Any]:
    """Share of pairs ordered differently by reward and Borda score, for a product law.

    Also the share ordered differently by reward and winning share, for a correlated table.
    """
    win, mu = problem.users.win, problem.comparison
    fitted = reward_mle(win, mu)
    scores = borda_scores(win, mu)
    # Borda scores of the fitted Bradley-Terry model: equal to the population's, which proves the same order.
    model_scores = expit(fitted.reward[:, None] - fitted.reward) @ mu
    pair_weights = np.outer(mu, mu) * np.exp(2 * rng.standard_normal((len(mu), len(mu))))
    pair_weights = pair_weights + pair_weights.T
    table = reward_mle(win, pair_weights)
    winning_shares = (pair_weights * win).sum(1) / pair_weights.sum(1)
    return {
        "family": "random",
        "certified": fitted.certified,
        "discordant": _discordant(fitted.reward, scores),
        "model": float(np.abs(model_scores - scores).max()) if fitted.certified else np.nan,
        "table_discordant": _discordant(table.reward, winning_shares) if table.certified else np.nan,
    }


def _discordant(reward: np.ndarray, scores: np.ndarray) -> float:
    """Share of pairs that are ordered one way by the reward and the other way by the scores, ties aside."""
    pairs = np.triu_indices(len(reward), 1)
    d, s = (np.subtract.outer(x, x)[pairs] for x in (reward, scores))
    # float64 holds scores to 1e-16 and rewards to 1e-8 here: smaller differences have no sign.
    distinct = (np.abs(s) > 1e-11) & (np.abs(d) > 1e-7)
    return float((d * s < 0)[distinct].mean()) if distinct.any() else 0.0


def _correlated(b: float) -> dict[str, Any]:
    """The chain on which the reward rises as the average utility falls.

    It is held against Borda under uniform comparisons.
    """
    case = correlated_worst_case(b, CHAIN)
    win, uniform = case.users.win, np.full(CHAIN, 1 / CHAIN)
    fitted = reward_mle(win, case.comparison)
    return {
        "family": "correlated",
        "certified": fitted.certified,
        "table_discordant": _discordant(fitted.reward, borda_scores(win, uniform)),
        "discordant": _discordant(reward_mle(win, uniform).reward, borda_scores(win, uniform)),
    }


def _tilt(rng: np.random.Generator, b: float, strength: float) -> dict[str, Any]:
    """Tabular DPO against the reference tilted by the reward, and against the best policy of that KL."""
    size = 5
    users = BradleyTerryUsers(rng.random((4, size)), rng.dirichlet(np.ones(4)), b)
    mu, ref = (0.8 * rng.dirichlet(np.ones(size)) + 0.2 / size for _ in range(2))
    reward = reward_mle(users.win, mu).reward
    fitted = fit(
        Tabular(ref), partial(dpo, beta=strength), Population(users.win, mu).pairs(), tolerance=1e-13
    )
    log_policy = fitted.log_probs[0]
    tilted = np.log(ref) + reward / strength
    tilted = np.exp(tilted - np.logaddexp.reduce(tilted))
    best = kl_linear_maximisation(reward, np.log(ref), kl_divergence(log_policy, np.log(ref))).policy
    policy = np.exp(log_policy) if fitted.converged else np.full(size, np.nan)
    return {
        "family": "DPO",
        "strength": strength,
        "tilt": float(np.abs(policy - tilted).max()),
        "ball": float(np.abs(policy - best).max()),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviations by temperature and family."""
    columns = ("discordant", "model", "table_discordant", "tilt", "ball")
    groups = rows.assign(instances=1).groupby(["family", "bt_temperature"])
    return groups.agg(**{c: (c, "max") for c in columns}, instances=("instances", "sum")).reset_index()


def checks(rows: pd.DataFrame) -> list[Check]:
    """One order for a product law and another for correlated pairs; DPO's policy by two other roads."""
    random, tilted = rows[rows.family == "random"], rows[rows.family == "DPO"]
    fitted, chain = random.query("certified == True"), rows[rows.family == "correlated"]
    return [
        identity(
            "product comparisons: no pair ordered differently by reward and Borda score",
            [*fitted.discordant, *chain.discordant],
            0.0,
        ),
        identity("Borda scores of the fitted model = those of the population", fitted.model, 1e-9),
        differs(
            "correlated pairs: mean share of pairs ordered differently from the winning shares, random "
            "tables",
            [random.table_discordant.mean()],
            0.02,
        ),
        differs(
            "correlated pairs: least share ordered differently on the chain (F4)",
            [chain.table_discordant.min()],
            0.95,
        ),
        identity("DPO = reference tilted by the reward, pi_ref exp(r/beta)/Z", tilted.tilt, 1e-6),
        identity("DPO = KL-constrained RLHF of the KL it spends (Proposition 14)", tilted.ball, 1e-6),
        bound("share of reward fits that did not converge <= 1 %", [1 - len(fitted) / len(random)], 0.01),
    ]
