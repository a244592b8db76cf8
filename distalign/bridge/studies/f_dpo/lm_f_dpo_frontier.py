"""At equal reward a language model trained with the reverse KL has moved least; other divergences pay more.

A seed has a few prompts, which are trained on together. Each is a problem of its own, and a cluster of the
intervals, with its candidate responses and Bradley-Terry users whose reward is normal with standard deviation
1. For every divergence f the strength beta is the one whose optimum argmax E[r] - beta D_f(pi || pi_ref)
reaches a set share of the attainable gain in reward. f-DPO at that beta is then trained on the population's
law of pairs. A trained model does not hit the reward exactly, so each is held against the frontier at its own
reward: the least KL(pi || pi_ref) of any law with that reward, which the Gibbs law attains. `excess` is the
model's KL above it, in nats; it is 0 for the reverse KL's optimum and above 0 for the others'.

For a uniform reference the KL is log K minus the entropy, and the excess is lost diversity. A model's own
law is not uniform; there the same holds of diversity relative to the reference, while plain entropy can
order the other way (both are shown). The forward KL's link f'(t) = -1/t is flat above the reference, so its
model may be on its way when the others have arrived. It is held against the frontier at the reward it has
reached like the others, but not asked to stand at its optimum.

Three worlds are compared: `predicted`, the optima of the convex problem; `simulated`, the exact fits of a
table by the objective that trains the model; and the language model.

The checks ask that each divergence pays more KL than the reverse KL, in the model and on the table; that
the model stands at the optimum within 0.1 of total variation and has missed at most 0.05 of the gain in
reward (all but the forward KL); that the table is the optimum; and that no law is below the frontier.

The planted defects: the divergence of f-DPO is not passed on, which leaves the reverse KL; training ends
after a tenth of the steps; and the Gibbs law of the frontier has a beta 5 % too small.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.bridge.candidates.policies import load, reference_law
from distalign.bridge.candidates.train import at_prompt, train_policy
from distalign.objectives import f_dpo
from distalign.policies import Tabular
from distalign.populations import BradleyTerryUsers
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, identity, separation
from distalign.solvers.matched_reward import policy_at_reward
from distalign.theory.f_dpo.closed_forms import reverse_kl_optimum

DIVERGENCES = ("reverse_kl", "forward_kl", "jensen_shannon", "alpha:0.3")
OTHERS = DIVERGENCES[1:]
RESPONSES = 6
# Largest total variation between the trained model and the optimum, and largest share of the gain missed.
TOLERANCE, MISSED = 0.1, 0.05
DEFECTS = (
    Defect(
        "the divergence of f-DPO not passed on, which leaves the reverse KL",
        f_dpo,
        argument("divergence", lambda f: "reverse_kl"),
    ),
    Defect(
        "training ends after a tenth of the steps",
        train_policy,
        argument("steps", lambda n: n // 10),
        where(seed=0),
    ),
    Defect(
        "the Gibbs law of the frontier with a beta 5 % too small",
        reverse_kl_optimum,
        argument("beta", lambda x: 0.95 * x),
        where(seed=0),
    ),
)


def cells(
    policy: str, seeds: int, shares: list[float], steps: int, rate: float = 1.0, prompts: int = 4
) -> list[dict[str, Any]]:
    """One cell per seed and share of the attainable gain in reward.

    `rate` multiplies the policy's learning rate.
    """
    return [
        {"policy": policy, "seed": seed, "share": x, "steps": steps, "rate": rate, "prompts": prompts}
        for x in shares
        for seed in range(seeds)
    ]


def run(
    rng: np.random.Generator, *, policy: str, seed: int, share: float, steps: int, rate: float, prompts: int
) -> dict[str, Any]:
    """Reward, KL, entropy and excess over the frontier, per prompt, divergence and world."""
    model = load(policy, seed, prompts=prompts, responses=RESPONSES)
    references, rewards = reference_law(model), rng.normal(size=(prompts, RESPONSES))
    start = (references * rewards).sum(1)
    targets = start + share * (rewards.max(1) - start)
    laws = [
        BradleyTerryUsers(reward[None], np.ones(1), 1.0).population(ref).pairs()
        for reward, ref in zip(rewards, references, strict=True)
    ]
    rows = []
    for f in DIVERGENCES:
        optima = [policy_at_reward(*problem, f) for problem in zip(rewards, references, targets, strict=True)]
        objectives = [_objective(f, beta) for beta, _ in optima]
        trained = train_policy(
            model,
            objectives,
            [at_prompt(law, s, RESPONSES) for s, law in enumerate(laws)],
            steps=steps,
            learning_rate=rate * model.learning_rate,
        ).probs
        for s, (beta, best) in enumerate(optima):
            worlds = {
                "predicted": best.policy,
                "simulated": fit(Tabular(references[s]), objectives[s], laws[s]).probs[0],
                "language model": trained[s],
            }
            rows += [
                {
                    "prompt": s,
                    "divergence": f,
                    "world": world,
                    "beta": float(beta),
                    "distance": 0.5 * np.abs(pi - best.policy).sum(),
                    **_measures(pi, rewards[s], references[s]),
                }
                for world, pi in worlds.items()
            ]
    return dict(pd.DataFrame(rows))


def _objective(f: str, beta: Any) -> Any:
    """f-DPO with this divergence and strength."""
    return partial(f_dpo, beta=float(beta), divergence=f)


def _measures(pi: np.ndarray, reward: np.ndarray, ref: np.ndarray) -> dict[str, float]:
    """Share of the attainable gain, KL to the reference, entropy, and KL above the least for that reward."""
    reference_reward, reached = float(ref @ reward), float(pi @ reward)
    least = 0.0  # the reference itself has that reward or more
    if reached > reference_reward:
        beta, _ = policy_at_reward(reward, ref, reached, "reverse_kl")
        least = _kl(reverse_kl_optimum(reward, ref, float(beta)), ref)
    return {
        "reached": (reached - reference_reward) / (float(reward.max()) - reference_reward),
        "kl": _kl(pi, ref),
        "least": least,
        "excess": _kl(pi, ref) - least,
        "entropy": float(-(pi * np.log(pi)).sum()),
    }


def _kl(pi: np.ndarray, ref: np.ndarray) -> float:
    """KL(pi || ref) in nats."""
    return float((pi * np.log(pi / ref)).sum())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean excess with its interval, reward reached, KL and entropy per share, divergence and world."""
    by = ["share", "divergence", "world"]
    return summarise(rows, by, "excess").merge(
        rows.groupby(by, as_index=False).agg(
            reached=("reached", "mean"),
            kl=("kl", "mean"),
            entropy=("entropy", "mean"),
            distance=("distance", "mean"),
            beta=("beta", "mean"),
            policy=("policy", "first"),
        ),
        on=by,
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """What each divergence pays above the reverse KL in the model, and that the worlds agree."""
    measured = rows.loc[rows.world == "language model"]
    arrived = measured.loc[measured.divergence != "forward_kl"]
    by_divergence = measured.pivot(index=["share", "seed", "prompt"], columns="divergence", values="excess")
    simulated = rows.loc[rows.world == "simulated"].pivot(
        index=["share", "seed", "prompt"], columns="divergence", values="excess"
    )
    return [
        *(
            separation(
                f"language model, equal reward: KL of {f} minus that of the reverse KL",
                by_divergence[f] - by_divergence.reverse_kl,
            )
            for f in OTHERS
        ),
        *(
            separation(
                f"table, equal reward: KL of {f} minus that of the reverse KL",
                simulated[f] - simulated.reverse_kl,
            )
            for f in OTHERS
        ),
        identity(
            "language model = optimum of the convex problem (total variation; all but forward KL)",
            arrived.distance,
            TOLERANCE,
        ),
        identity("table = optimum of the convex problem", rows.loc[rows.world == "simulated"].distance, 1e-6),
        identity(
            "language model: share of the gain in reward minus the share asked for (all but forward KL)",
            arrived.reached - arrived.share,
            MISSED,
        ),
        bound("no law below the frontier at its own reward", rows.least, rows.kl, slack=1e-6),
    ]
