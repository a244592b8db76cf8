"""A language model trained by DPO on a divided population loses more than C(b); by self-play it does not.

One seed is one prompt with six candidate responses that the model finds likely, and a seventh that it
hardly ever gives (e^-30 or less) although people judged it. Users have utilities in [0, 1] and answer by
Bradley-Terry at temperature b. There are two populations:

* *loud minority*: most users would like the seventh best and half of the others (a) a little; a few like
  the other half (b). Comparisons were collected elsewhere, nearly all against the seventh. There the
  minority's b loses less often than the majority's a, so one Bradley-Terry reward ranks b first, and DPO
  follows it. Yet people agree that a beats b.
* *diverse*: twenty users with independent utilities, and comparisons drawn from the model's own law.

DPO is trained on the exact law of the comparisons, NLHF by self-play with the exact gradient of the
regularised game. A policy's distortion is the best average utility of any law in the ball KL(pi || pi_ref)
<= what the policy itself spends, divided by its own. Theorem 7 of the paper predicts that NLHF's is at most
C(b). The second road (`simulated`) is the exact policies of RLHF and NLHF in the ball that the model
spends.

The checks ask, in both worlds, that NLHF stays within C(b), and that with the loud minority DPO exceeds
C(b) and NLHF. Each trained model must be within 0.1 of total variation of its method's exact policy.

The planted defect trains DPO in place of NLHF. The model under NLHF's name then loses what DPO loses and is
far from NLHF's exact policy, so the bound, the comparison of the two and the distance must fail.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from distalign.bridge.candidates.policies import load
from distalign.bridge.candidates.train import train_policy
from distalign.objectives import dpo
from distalign.populations import BradleyTerryUsers, Law, Population
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, identity, separation
from distalign.solvers.choice.certified import kl_divergence
from distalign.solvers.choice.games import kl_nlhf
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import rlhf
from distalign.theory.distortion.constants import minimax_distortion

DEFECT = "DPO trained in place of NLHF"
BT_TEMPERATURE, RESPONSES, BETA, STRENGTH = 5.0, 6, 0.1, 0.1
# Times the policy's learning rate: DPO has to raise the seventh by 25 nats before the others settle.
DPO_RATE = 2.0
SEVENTH = 0.91  # of every comparison's two responses, where the minority is loud
MINORITY, NOISE = 0.13, 0.05
TOLERANCE = 0.1  # total variation between the trained model and its method's exact policy in the same ball


def cells(policy: str, seeds: int, populations: list[str], steps: int) -> list[dict[str, Any]]:
    """One cell per seed and population."""
    return [
        {"policy": policy, "seed": seed, "population": name, "steps": steps}
        for name in populations
        for seed in range(seeds)
    ]


def run(
    rng: np.random.Generator, *, policy: str, seed: int, population: str, steps: int, defect: bool = False
) -> dict[str, Any]:
    """Utility, KL and distortion of DPO and NLHF.

    Both are trained, and both are exact in the ball that the trained model spends.
    """
    model = load(policy, seed, responses=RESPONSES, unlikely=True)
    q = model.start.log_reference.numpy()[0]
    users, comparison = (
        _loud_minority(rng, np.exp(q)) if population == "loud minority" else _diverse(rng, np.exp(q))
    )
    data = Population(users.win, comparison).pairs()
    trained = {
        "DPO": train_policy(
            model, partial(dpo, beta=BETA), data, steps=steps, learning_rate=DPO_RATE * model.learning_rate
        ).log_probs[0]
    }
    margins = torch.as_tensor(2 * users.win - 1)
    trained["NLHF"] = (
        trained["DPO"]
        if defect
        else train_policy(
            model,
            partial(self_play, margins=margins, strength=STRENGTH),
            _every_response(len(q)),
            steps=steps,
        ).log_probs[0]
    )
    rows = []
    for method, log_policy in trained.items():
        spent = kl_divergence(log_policy, q)
        exact = rlhf(users.win, comparison, q, spent) if method == "DPO" else kl_nlhf(users.win, q, spent)
        worlds = {"language model": np.exp(log_policy), "simulated": exact.policy}
        rows += [
            {
                "method": method,
                "world": world,
                "kl": spent,
                "utility": float(users.average_utility @ pi),
                "distortion": distortion(users.average_utility, pi, q, spent),
                "distance": 0.5 * np.abs(pi - exact.policy).sum(),
            }
            for world, pi in worlds.items()
        ]
    return dict(pd.DataFrame(rows))


def self_play(batch: PreferenceLogProbs, *, margins: Tensor, strength: float) -> Tensor:
    r"""The negative pay-off of a policy against itself held fixed, in the regularised game of one prompt.

        L = -\sum_y pi(y) [(M pi')(y) - lambda log(pi/pi_ref)(y)],   pi' = pi without gradient,   M = 2 P - 1

    Its gradient vanishes at the one symmetric equilibrium, pi = softmax(log pi_ref + M pi / lambda).

    Args:
        batch: every response of the prompt once, as chosen.
        margins: (K, K) M.
        strength: lambda, above 0; payoffs P in place of M take half of it.

    Source: the game is that of Gölz et al., arXiv 2505.23749, Section 2 and Proposition 13; this form is
        ours.
    """
    pi = batch.chosen.exp()
    return -(pi * (margins @ pi.detach() - strength * batch.chosen_ratio)).sum()


def _every_response(size: int) -> Law:
    """Every response once, as chosen and as rejected one."""
    return Law(np.arange(size), np.arange(size), np.ones(size))


def _loud_minority(rng: np.random.Generator, ref: np.ndarray) -> tuple[BradleyTerryUsers, np.ndarray]:
    """Users and the law of a compared response.

    The halves a and b share the reference as evenly as the responses allow.
    """
    inside = range(RESPONSES)
    responses_of_b = min(
        (c for r in (2, 3, 4) for c in combinations(inside, r)), key=lambda c: abs(ref[list(c)].sum() - 0.5)
    )
    of_b = np.isin(np.arange(RESPONSES + 1), responses_of_b)
    majority, minority = np.where(of_b, 0.0, 0.285), np.where(of_b, 0.47, 0.0)
    majority[-1], minority[-1] = 1.0, 0.285
    utilities = np.repeat([majority, minority], 10, axis=0) * np.exp(
        NOISE * rng.normal(size=(20, RESPONSES + 1))
    )
    weights = np.repeat([1 - MINORITY, MINORITY], 10) / 10
    comparison = np.append(np.full(RESPONSES, (1 - SEVENTH) / RESPONSES), SEVENTH)
    return BradleyTerryUsers(np.minimum(utilities, 1), weights, BT_TEMPERATURE), comparison


def _diverse(rng: np.random.Generator, ref: np.ndarray) -> tuple[BradleyTerryUsers, np.ndarray]:
    """Twenty users with independent utilities; comparisons from the reference."""
    users = BradleyTerryUsers(rng.random((20, len(ref))), np.full(20, 1 / 20), BT_TEMPERATURE)
    return users, ref


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean distortion with its interval, utility, KL and distance of the worlds, beside the bound."""
    by = ["population", "method", "world"]
    out = summarise(rows, by, "distortion").merge(
        rows.groupby(by, as_index=False).agg(
            utility=("utility", "mean"),
            kl=("kl", "mean"),
            distance=("distance", "mean"),
            policy=("policy", "first"),
        ),
        on=by,
    )
    return out.assign(bound=float(minimax_distortion(BT_TEMPERATURE)))


def checks(rows: pd.DataFrame) -> list[Check]:
    """NLHF within C(b), and DPO above it where the minority is loud, in both worlds.

    Also that each model stands at its method's policy.
    """
    limit, listed = float(minimax_distortion(BT_TEMPERATURE)), []
    for world in ("language model", "simulated"):
        of_world = rows.loc[rows.world == world]
        by_method = of_world.loc[of_world.population == "loud minority"].pivot(
            index="seed", columns="method", values="distortion"
        )
        listed += [
            bound(
                f"{world}: distortion of NLHF <= C(b)",
                of_world.loc[of_world.method == "NLHF"].distortion,
                limit,
                slack=1e-8,
            ),
            separation(f"{world}, loud minority: distortion of DPO minus C(b)", by_method.DPO - limit),
            separation(
                f"{world}, loud minority: distortion of DPO minus NLHF", by_method.DPO - by_method.NLHF
            ),
        ]
    return [
        *listed,
        identity(
            "language model = exact policy of its method in the ball it spends (total variation)",
            rows.loc[rows.world == "language model"].distance,
            TOLERANCE,
        ),
    ]
