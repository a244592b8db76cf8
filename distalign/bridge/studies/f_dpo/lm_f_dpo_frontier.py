"""At equal reward a language model trained with the reverse KL has moved least; other divergences pay more.

One seed is one prompt with its candidate responses and Bradley-Terry users whose reward is normal with
standard deviation 1. For every divergence f the strength beta is the one whose optimum argmax E[r] - beta
D_f(pi || pi_ref) reaches a set share of the attainable gain in reward. f-DPO at that beta is then trained
on the population's law of pairs. A trained model does not hit the reward exactly, so each is held against
the frontier at its own reward: the least KL(pi || pi_ref) of any law with that reward, which the Gibbs law
attains. `excess` is the model's KL above it, in nats; it is 0 for the reverse KL's optimum and above 0 for
the others'.

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

The planted defect trains the forward KL in place of the reverse KL. The model under the reverse KL's name
then pays as much as the forward KL does, so the three separations of the model must fail.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.bridge.candidates.policies import load, reference_law
from distalign.bridge.candidates.train import train_policy
from distalign.objectives import f_dpo
from distalign.populations import BradleyTerryUsers
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, identity, separation
from distalign.solvers.matched_reward import policy_at_reward
from distalign.theory.f_dpo.closed_forms import reverse_kl_optimum

DEFECT = "the forward KL trained in place of the reverse KL"
DIVERGENCES = ("reverse_kl", "forward_kl", "jensen_shannon", "alpha:0.3")
OTHERS = DIVERGENCES[1:]
RESPONSES = 6
# Largest total variation between the trained model and the optimum, and largest share of the gain missed.
TOLERANCE, MISSED = 0.1, 0.05


def cells(
    policy: str, seeds: int, shares: list[float], steps: int, rate: float = 1.0
) -> list[dict[str, Any]]:
    """One cell per seed and share of the attainable gain in reward.

    `rate` multiplies the policy's learning rate.
    """
    return [
        {"policy": policy, "seed": seed, "share": x, "steps": steps, "rate": rate}
        for x in shares
        for seed in range(seeds)
    ]


def run(
    rng: np.random.Generator,
    *,
    policy: str,
    seed: int,
    share: float,
    steps: int,
    rate: float,
    defect: bool = False,
) -> dict[str, Any]:
    """Reward, KL, entropy and excess over the frontier, per divergence and world.

    With the planted defect only the forward KL is trained. Its model stands in the reverse KL's place
    too, and the table's fits stand in the place of the other models.
    """
    model = load(policy, seed, responses=RESPONSES)
    ref, reward = reference_law(model)[0], rng.normal(size=RESPONSES)
    reference_reward = float(ref @ reward)
    target = reference_reward + share * (float(reward.max()) - reference_reward)
    law = BradleyTerryUsers(reward[None], np.ones(1), 1.0).population(ref).pairs()
    rows = []
    for f in DIVERGENCES:
        beta, best = policy_at_reward(reward, ref, target, f)
        worlds = {"predicted": best.policy, "simulated": fit(model.start, _objective(f, beta), law).probs[0]}
        if not defect or f == "forward_kl":
            worlds["language model"] = train_policy(
                model, _objective(f, beta), law, steps=steps, learning_rate=rate * model.learning_rate
            ).probs[0]
        rows += [
            {
                "divergence": f,
                "world": world,
                "beta": float(beta),
                "distance": 0.5 * np.abs(pi - best.policy).sum(),
                **_measures(pi, reward, ref),
            }
            for world, pi in worlds.items()
        ]
    return dict(_planted(pd.DataFrame(rows)) if defect else pd.DataFrame(rows))


def _objective(f: str, beta: Any) -> Any:
    """f-DPO with this divergence and strength."""
    return partial(f_dpo, beta=float(beta), divergence=f)


def _planted(rows: pd.DataFrame) -> pd.DataFrame:
    """The trained forward KL once more, as the reverse KL's model.

    The table's fits take the place of the other models.
    """
    trained = rows[rows.world == "language model"].assign(divergence="reverse_kl")
    others = rows[(rows.world == "simulated") & rows.divergence.isin(("jensen_shannon", "alpha:0.3"))]
    return pd.concat([rows, trained, others.assign(world="language model")], ignore_index=True)


def _measures(pi: np.ndarray, reward: np.ndarray, ref: np.ndarray) -> dict[str, float]:
    """Share of the attainable gain, KL to the reference, entropy, and KL above the least for that reward."""
    reference_reward, reached = float(ref @ reward), float(pi @ reward)
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
    by_divergence = measured.pivot(index=["share", "seed"], columns="divergence", values="excess")
    simulated = rows.loc[rows.world == "simulated"].pivot(
        index=["share", "seed"], columns="divergence", values="excess"
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
