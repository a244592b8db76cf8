r"""f-DPO on a language model that writes freely ends where theory says, but for the noise of its gradient.

A seed is a world: a tiny writer with a few prompts, which are the clusters of all intervals, and a reward, 3
times a utility in [0, 1] of tokens and of pairs of neighbours, whose standard deviation is about 1. Before
anything is trained, held-out draws of the reference predict the gain in reward and the KL of each optimum
argmax E r - beta D_f(pi || pi_ref). f-DPO is then trained on fresh groups of draws with soft labels, each
draw used once, and measured by both roads. `beta` stands for beta f''(1), so that divergences of one beta are
of like strength.

`policy gradient` is RLHF with leave-one-out baselines on as many texts, drawn from the policy as it learns.
`reverse_kl, quarter` is DPO on a quarter of the texts. Where a writer leaves its prediction it has spent KL
that brings no reward. Labels are exact and no draw is seen twice, so neither label noise nor over-fitting
can be the cause: it is the noise of the gradient, which the number of texts buys off.

KL efficiency is the gain over the largest gain at the KL spent, which the optimum of the reverse KL attains.
Those of other divergences lose one to seven hundredths by theory (`predicted_efficiency`), which is no more
than what the noise costs.

The checks, with limits set before the runs: the gain of each f-DPO within 10 % of the prediction and its KL
within 30 %; KL(target || writer) at most 0.1 nats; the policy gradient within 0.1 of the efficiency of DPO on
as many texts, so that neither is nearer to the frontier; DPO on a quarter of the texts farther from its
target; the roads agree; and no writer above the frontier by more than 5 %, which is noise. The link of the
forward KL is flat above the reference, so that its writer is on its way when the others have arrived: it is
in the table and held against the frontier, but not asked to stand at its optimum.

The planted defects: f-DPO takes the link of the Jensen-Shannon divergence for that of the reverse KL; a
prediction with a beta 20 % too large; training that ends after a tenth of the updates; a policy gradient
without baselines; the end-of-text token left out of scores; and the frontier at half the KL.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.bridge.generation import estimates, tilts
from distalign.bridge.generation.learning import descend, leave_one_out, policy_gradient
from distalign.bridge.studies.free.measure import (
    DRAWS,
    GROUP,
    RATE,
    against_target,
    reward_of,
    train_f_dpo,
)
from distalign.bridge.studies.free.world import generator_of, world
from distalign.divergences import divergence
from distalign.objectives import f_dpo
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.training.data.packing import Layout

GRADIENT, QUARTER, DPO = "policy gradient", "reverse_kl, quarter", "reverse_kl"
SLOW = "forward_kl"
GAIN, SPENT, DISTANCE, NEAR, NOISE = 0.1, 0.3, 0.1, 0.1, 1.05
DEFECTS = (
    Defect(
        "f-DPO takes the link of Jensen-Shannon for that of the reverse KL",
        f_dpo,
        argument("divergence", lambda f: "jensen_shannon" if f == "reverse_kl" else f),
        where(method=DPO),
    ),
    Defect(
        "the prediction with a beta 20 % too large",
        tilts.f_dpo,
        argument("beta", lambda x: 1.2 * x),
        where(method=DPO),
    ),
    Defect(
        "training ends after a tenth of the updates",
        descend,
        argument("steps", lambda n: n // 10),
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
        where(method=DPO),
    ),
)


def cells(
    policy: str, seeds: int, methods: list[str], betas: list[float], steps: int, prompts: int = 4
) -> list[dict[str, Any]]:
    """One cell for each seed, method and strength beta f''(1)."""
    return [
        {"policy": policy, "seed": seed, "method": m, "beta": beta, "steps": steps, "prompts": prompts}
        for seed, m, beta in itertools.product(range(seeds), methods, betas)
    ]


def run(
    rng: np.random.Generator, *, policy: str, seed: int, method: str, beta: float, steps: int, prompts: int
) -> dict[str, Any]:
    """What was predicted, and what is measured of the writer, for each prompt."""
    here = world(policy, seed, prompts, DRAWS)
    reward = reward_of(here)
    held = reward(here.draws)
    if method == GRADIENT:
        target = tilts.rlhf(held, beta)
        policy_gradient(
            here.writer,
            reward,
            beta=beta,
            steps=steps,
            group=GROUP,
            generator=generator_of(rng),
            learning_rate=RATE,
        )
    else:
        f = divergence(method.removesuffix(", quarter"))
        target = tilts.f_dpo(held, beta / f.curvature, f)
        updates = steps // 4 if method == QUARTER else steps
        train_f_dpo(here, f, beta / f.curvature, updates=updates, rng=rng)
    model = here.measured(rng)
    found = against_target(target.require(), model, held, reward(model.texts))
    return {"prompt": np.arange(prompts), **found}


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean gain with its interval over prompts and seeds, and the means of all else, per method and beta."""
    by = ["method", "beta"]
    other = [
        c for c in rows.columns if c not in {*by, "policy", "seed", "steps", "prompts", "prompt", "gain"}
    ]
    return summarise(rows, by, "gain").merge(
        pd.DataFrame(rows.groupby(by, as_index=False)[other].mean()), on=by
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Trained writers against predictions made before, and what the noise of the gradient costs."""
    means = pd.DataFrame(rows.groupby(["method", "beta"], as_index=False).mean(numeric_only=True))
    trained = means.loc[~means.method.isin([GRADIENT, QUARTER, SLOW])]
    pivot = partial(rows.pivot, index=["seed", "prompt", "beta"], columns="method")
    distance, efficiency = pivot(values="distance"), means.pivot(index="beta", columns="method")["efficiency"]
    return [
        growth("f-DPO: gain in reward = predicted", trained.gain, trained.predicted, GAIN),
        growth("f-DPO: KL spent = predicted", trained.kl, trained.predicted_kl, SPENT),
        identity("f-DPO: KL(target || writer) in nats", trained.distance, DISTANCE),
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
