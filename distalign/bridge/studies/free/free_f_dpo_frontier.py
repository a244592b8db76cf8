r"""f-DPO on a language model that writes freely ends where theory says, within what the network can reach.

A seed is a world: a tiny writer with a few prompts and a score s of tokens and of pairs of neighbours. Before
anything is trained, held-out draws of the reference predict the gain in reward and the KL of each optimum
argmax E r - beta D_f(pi || pi_ref). f-DPO is then trained on fresh groups of draws with soft labels, each
draw used once, and measured by both roads. `beta` stands for beta f''(1), so that divergences of one beta are
of like strength.

Two rewards tell what theory claims from what a network can do. Of a method with `, sum` behind its name the
reward is the one whose optimum is a tilt of the reference by exp(a s), which the writer reaches. The others
have the saturating reward, 3 times a utility in [0, 1] of s. Their optimum is no such tilt; labels are exact
and no draw is seen twice, and yet DPO has spent nearly half more KL than its optimum after 400 updates. It is
nearer to the best tilt by s (`reach`), which draws predict as well: DPO pushes a text on that has enough. At
beta 0.7 one of six worlds had spent the KL of that tilt, and five less; with four times the updates writers
come nearer to their optimum, slowly (runs are on the page on models that write freely). A policy gradient
spends less than its optimum instead, for it minimises the other KL to it.

`policy gradient` is RLHF with leave-one-out baselines on as many texts, drawn from the policy as it learns.
`reverse_kl, quarter` is DPO on a quarter of the texts: what the noise of the gradient costs. KL efficiency is
the gain over the largest gain at the KL spent, which the optimum of the reverse KL attains. Those of other
divergences lose one to seven hundredths by theory (`predicted_efficiency`).

The checks: where the optimum is a tilt by a sum, the gain and the KL of the writer's own texts are the
predicted ones within four standard errors of these texts and of the draws, for each divergence and beta, and
KL(target || writer) is at most 0.1 nats. For the saturating reward DPO is nearer to the best tilt by a sum
than to its optimum. The policy gradient is within 0.1 of the efficiency of DPO on as many texts, so that
neither is nearer to the frontier; DPO on a quarter of the texts is farther from its target; the roads agree;
no writer is above the frontier by more than 5 %, which is noise. The link of the forward KL is flat above the
reference, and 400 updates bring its writer to nine tenths of the log-ratios of its optimum: it is in the
table and not asked to stand there.

The planted defects: f-DPO takes the link of the Jensen-Shannon divergence for that of the reverse KL; a
prediction with a beta 20 % too large; training that ends after a tenth of the updates; the best tilt by a sum
for half of the strength; a policy gradient without baselines; the end-of-text token left out of scores; and
the frontier at half the KL.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.bridge.generation import estimates, tilts
from distalign.bridge.generation.learning import descend, leave_one_out, policy_gradient
from distalign.bridge.studies.free import reach
from distalign.bridge.studies.free.measure import (
    DRAWS,
    GROUP,
    PACE,
    against_target,
    in_errors,
    of_a_sum,
    saturating,
    train_f_dpo,
)
from distalign.bridge.studies.free.world import generator_of, world
from distalign.divergences import divergence
from distalign.objectives import f_dpo
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, identity, separation
from distalign.training.data.packing import Layout

GRADIENT, QUARTER, DPO = "policy gradient", "reverse_kl, quarter", "reverse_kl"
OF_A_SUM = ", sum"
SLOW = "forward_kl, sum"
ERRORS, DISTANCE, NEAR, NOISE = 4.0, 0.1, 0.1, 1.05
DEFECTS = (
    Defect(
        "f-DPO takes the link of Jensen-Shannon for that of the reverse KL",
        f_dpo,
        argument("divergence", lambda f: "jensen_shannon" if f == "reverse_kl" else f),
        where(method=DPO + OF_A_SUM),
    ),
    Defect(
        "the prediction with a beta 20 % too large",
        tilts.f_dpo,
        argument("beta", lambda x: 1.2 * x),
        where(method=DPO + OF_A_SUM),
    ),
    Defect(
        "training ends after a tenth of the updates",
        descend,
        argument("steps", lambda n: n // 10),
        where(method={DPO, DPO + OF_A_SUM}),
    ),
    Defect(
        "the best tilt by a sum for half of the strength",
        reach.best_sum_of_pairs,
        argument("beta", lambda x: x / 2),
        where(method=DPO),
    ),
    Defect(
        "a policy gradient without baselines",
        leave_one_out,
        lambda right: lambda value: value,
        where(method=GRADIENT),
    ),
    Defect(
        "the end-of-text token left out of scores",
        Layout.sums,
        lambda right: lambda self, values: right(self, values * (self.targets != 0)),
        where(method=QUARTER),
    ),
    Defect(
        "the frontier at half the KL",
        estimates.frontier,
        argument("kl", lambda x: x / 2),
        where(method=QUARTER),
    ),
)


def cells(
    policy: str, methods: dict[str, int], betas: list[float], steps: int, prompts: int = 4
) -> list[dict[str, Any]]:
    """One cell for each method, each of its seeds and each strength beta f''(1)."""
    return [
        {"policy": policy, "seed": seed, "method": m, "beta": beta, "steps": steps, "prompts": prompts}
        for m, seeds in methods.items()
        for seed, beta in itertools.product(range(seeds), betas)
    ]


def run(
    rng: np.random.Generator, *, policy: str, seed: int, method: str, beta: float, steps: int, prompts: int
) -> dict[str, Any]:
    """What was predicted, and what is measured of the writer, for each prompt."""
    here, name = world(policy, seed, prompts, DRAWS), method.partition(",")[0]
    f = divergence("reverse_kl" if method == GRADIENT else name)
    strength = beta / f.curvature
    reward = of_a_sum(here, f, strength) if method.endswith(OF_A_SUM) else saturating(here)
    held, sums = reward(here.draws), here.score(1)(here.draws)[None]
    target = tilts.f_dpo(held, strength, f).require()
    if method == GRADIENT:
        nearest = reach.best_sum(sums, partial(reach.regret, reward=held, beta=beta))
        policy_gradient(
            here.writer,
            reward,
            beta=beta,
            steps=steps,
            group=GROUP,
            generator=generator_of(rng),
            pace=PACE,
        )
    else:
        nearest = reach.best_sum_of_pairs(sums, held, beta=strength, f=f)
        updates = steps // 4 if method == QUARTER else steps
        train_f_dpo(here, reward, f, strength, updates=updates, rng=rng)
    model = here.measured(rng)
    found = against_target(target, nearest, model, held, reward(model.texts))
    return {"prompt": np.arange(prompts), **found}


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean gain with its interval and the means of all else in the first world, where every method is
    trained; and, over all worlds of a method, its distances from the optimum and from the best tilt by a sum.
    """
    by, first = ["method", "beta"], rows.loc[rows.seed == 0]
    other = [
        c for c in rows.columns if c not in {*by, "policy", "seed", "steps", "prompts", "prompt", "gain"}
    ]
    all_worlds = rows.groupby(by, as_index=False).agg(
        worlds=("seed", "nunique"),
        worlds_distance=("distance", "mean"),
        worlds_from_reach=("from_reach", "mean"),
    )
    return (
        summarise(first, by, "gain")
        .merge(pd.DataFrame(first.groupby(by, as_index=False)[other].mean()), on=by)
        .merge(all_worlds, on=by)
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Trained writers against predictions made before, and what the noise of the gradient costs."""
    first = rows.loc[rows.seed == 0]
    carried = rows.loc[rows.method.str.endswith(OF_A_SUM) & (rows.method != SLOW)]
    by, texts = ["method", "beta"], (("gain", "fresh", "fresh_error"), ("KL", "fresh_kl", "fresh_kl_error"))
    distance, from_reach = (
        rows.pivot_table(index=["seed", "prompt"], columns="method", values=q)
        for q in ("distance", "from_reach")
    )
    efficiency = first.pivot_table(index="beta", columns="method", values="efficiency")
    return [
        *(
            identity(
                f"optimum a tilt by a sum: {word} of the texts minus predicted, in standard errors",
                in_errors(carried, found, expected, error, by),
                ERRORS,
            )
            for (word, found, error), expected in zip(texts, ("predicted", "predicted_kl"), strict=True)
        ),
        identity(
            "optimum a tilt by a sum: KL(target || writer) in nats",
            carried.groupby(by).distance.mean(),
            DISTANCE,
        ),
        separation(
            "saturating reward, DPO: KL(optimum || writer) minus KL(best tilt by a sum || writer)",
            distance[DPO] - from_reach[DPO],
        ),
        identity(
            "policy gradient on as many texts: KL efficiency minus DPO's",
            efficiency[GRADIENT] - efficiency[DPO],
            NEAR,
        ),
        separation(
            "DPO on a quarter of the texts: KL(target || writer) minus that on all",
            distance[QUARTER] - distance[DPO],
        ),
        bound("both roads agree: difference over the reach of its interval", rows.apart, 1.0),
        bound("no writer above the frontier at its KL", rows.efficiency, NOISE),
    ]
