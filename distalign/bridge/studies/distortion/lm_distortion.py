"""A language model trained by DPO on a divided population loses more than C(b); by self-play it does not.

A seed has a few prompts, which are trained on together. Each is a problem of its own, and a cluster of the
intervals: six candidate responses that the model finds likely, and a seventh that it hardly ever gives (e^-30
or less) although people judged it. Users have utilities in [0, 1] and answer by Bradley-Terry at temperature
b. There are two populations:

* *loud minority*: most users would like the seventh best and half of the others (a) a little; a few like
  the other half (b). Comparisons were collected elsewhere, nearly all against the seventh. There the
  minority's b loses less often than the majority's a, so one Bradley-Terry reward ranks b first, and DPO
  follows it. Yet people agree that a beats b.
* *diverse*: twenty users with independent utilities, and comparisons drawn from the model's own law.

All policies are judged in one ball, KL(pi || pi_ref) <= 0.5 nats: a policy's distortion is the best average
utility of any law in that ball divided by its own, so that a policy gains nothing by staying at home. DPO's
beta and the penalty of NLHF are those at which theory's policies spend 0.45 nats of it; the rest is room for
training that ends beside its goal, and a trained model that ends outside the ball fails. DPO is trained on
the exact law of the comparisons, NLHF by self-play with the exact gradient of the regularised game. Theorem 7
of the paper predicts that NLHF loses at most C(b) in the ball that it spends. The second road (`simulated`)
is the exact policies of RLHF and NLHF in the ball of 0.45 nats.

The checks ask, in both worlds, that NLHF stays within C(b), and that with the loud minority DPO exceeds C(b)
and NLHF. Each trained model must be within 0.1 of total variation of its method's exact policy, and in the
ball of 0.5 nats.

The planted defects: self-play with the sign of the margins exchanged, or with a penalty 20 % too small; DPO
with the sign of its logits exchanged; and, of the exact policies, NLHF with the sign of the margins exchanged
and RLHF with comparisons mixed with 10 % of uniform ones.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq
from torch import Tensor

from distalign.bridge.candidates.displacement import multiple_at
from distalign.bridge.candidates.policies import load
from distalign.bridge.candidates.train import at_prompt, train_policy
from distalign.objectives import dpo
from distalign.objectives.dpo import pair_logits
from distalign.populations import BradleyTerryUsers, Law, Population
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.rates import summarise
from distalign.simulation.studies.distortion.constrained import distortion_in_ball
from distalign.simulation.verdict import Check, bound, identity, separation
from distalign.solvers.choice.certified import CertifiedPolicy
from distalign.solvers.choice.games import kl_nlhf, regularised_nlhf
from distalign.solvers.choice.reward import reward_mle, rlhf
from distalign.theory.distortion.constants import minimax_distortion

BT_TEMPERATURE, RESPONSES = 5.0, 6
KL_BUDGET, AIM = (
    0.5,
    0.45,
)  # nats: the ball in which every policy is judged, and what the methods mean to spend
# Times the policy's learning rate: DPO has to raise the seventh by 20 nats before the others settle.
DPO_RATE = 2.0
SEVENTH = 0.91  # of every comparison's two responses, where the minority is loud
MINORITY, NOISE = 0.13, 0.05
TOLERANCE = 0.1  # total variation between the trained model and its method's exact policy in the same ball


def cells(
    policy: str, seeds: int, populations: list[str], steps: int, prompts: int = 4
) -> list[dict[str, Any]]:
    """One cell per seed and population."""
    return [
        {"policy": policy, "seed": seed, "population": name, "steps": steps, "prompts": prompts}
        for name in populations
        for seed in range(seeds)
    ]


def run(
    rng: np.random.Generator, *, policy: str, seed: int, population: str, steps: int, prompts: int
) -> dict[str, Any]:
    """Utility, KL and distortion of DPO and NLHF for each prompt.

    Both are trained, and both are exact in the ball that training aims at.
    """
    model = load(policy, seed, prompts=prompts, responses=RESPONSES, unlikely=True)
    references = model.start.log_reference.numpy()
    size = references.shape[1]
    draw = _loud_minority if population == "loud minority" else _diverse
    problems = [draw(rng, np.exp(q)) for q in references]
    objectives: dict[str, list[Any]] = {"DPO": [], "NLHF": []}
    laws: dict[str, list[Law]] = {"DPO": [], "NLHF": []}
    for s, ((users, comparison), q) in enumerate(zip(problems, references, strict=True)):
        beta, strength = _strengths(users.win, comparison, q)
        margins = torch.as_tensor(2 * users.win - 1)
        objectives["DPO"].append(partial(dpo, beta=beta))
        objectives["NLHF"].append(partial(self_play, margins=margins, strength=strength))
        laws["DPO"].append(at_prompt(Population(users.win, comparison).pairs(), s, size))
        laws["NLHF"].append(at_prompt(_every_response(size), s, size))
    rows = []
    for method, rate in (("DPO", DPO_RATE), ("NLHF", 1.0)):
        trained = train_policy(
            model, objectives[method], laws[method], steps=steps, learning_rate=rate * model.learning_rate
        ).log_probs
        for s, ((users, comparison), q) in enumerate(zip(problems, references, strict=True)):
            exact = rlhf(users.win, comparison, q, AIM) if method == "DPO" else kl_nlhf(users.win, q, AIM)
            for world, log_policy in (("language model", trained[s]), ("simulated", exact.log_policy)):
                solved = CertifiedPolicy(log_policy, 0.0, 0.0)
                rows.append(
                    {
                        "prompt": s,
                        "method": method,
                        "world": world,
                        "kl": solved.kl(q),
                        "utility": float(users.average_utility @ solved.policy),
                        "distortion": distortion_in_ball(users, solved, q, KL_BUDGET),
                        "distance": 0.5 * np.abs(solved.policy - exact.policy).sum(),
                    }
                )
    return dict(pd.DataFrame(rows))


def _strengths(win: np.ndarray, comparison: np.ndarray, q: np.ndarray) -> tuple[float, float]:
    """DPO's beta and the penalty lambda of NLHF at which their exact policies spend AIM nats."""
    reward = reward_mle(win, comparison).reward[None]

    def excess(log_strength: float) -> float:
        return regularised_nlhf(win, q, float(np.exp(log_strength))).kl(q) - AIM

    return 1 / multiple_at(q[None], reward, AIM), float(np.exp(brentq(excess, -9.0, 3.0)))  # type: ignore[arg-type]


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


DEFECTS = (
    Defect(
        "self-play with the sign of the margins exchanged",
        self_play,
        argument("margins", lambda m: -m),
        where(seed=0, population="loud minority"),
    ),
    Defect(
        "self-play with a penalty 20 % too small",
        self_play,
        argument("strength", lambda x: 0.8 * x),
        where(seed=0, population="loud minority"),
    ),
    Defect(
        "the sign of DPO's logits exchanged",
        pair_logits,
        result(lambda x: -x),
        where(seed=0, population="loud minority"),
    ),
    Defect(
        "exact NLHF with the sign of the margins exchanged",
        kl_nlhf,
        argument("win", np.transpose),
        where(seed=0, population="loud minority"),
    ),
    Defect(
        "exact RLHF with comparisons mixed with 10 % of uniform ones",
        rlhf,
        argument("comparison", lambda mu: 0.9 * mu + 0.1 / len(mu)),
        where(seed=0, population="loud minority"),
    ),
)


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
    """Twenty users with independent utilities; comparisons from the reference.

    They are drawn again where the reference writes the response of the largest reward so often that no
    multiple of DPO's log-ratios spends AIM nats.
    """
    while True:
        users = BradleyTerryUsers(rng.random((20, len(ref))), np.full(20, 1 / 20), BT_TEMPERATURE)
        if -np.log(ref[reward_mle(users.win, ref).reward.argmax()]) > AIM:
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
    trained = rows.loc[rows.world == "language model"]
    for world in ("language model", "simulated"):
        of_world = rows.loc[rows.world == world]
        by_method = of_world.loc[of_world.population == "loud minority"].pivot(
            index=["seed", "prompt"], columns="method", values="distortion"
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
            f"language model = exact policy of its method in a ball of {AIM:g} nats (total variation)",
            trained.distance,
            TOLERANCE,
        ),
        bound(f"the trained models spend at most {KL_BUDGET:g} nats", trained.kl, KL_BUDGET),
    ]
