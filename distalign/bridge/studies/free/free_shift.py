r"""Users who shift, and a model that writes freely: what robust losses buy over the best multiple of DPO.

The claim is ours. Two groups of Bradley-Terry users have rewards r_1 and r_2 = cos(angle) r_1 + sin(angle)
r', r_1 and r' two scores of the tokens. Training sees a share of 0.1 of the second group; the test is any
share, so that the loss of the worse-off group is what counts. Where the groups conflict (120 degrees) KLDPO
and WDPO help that group only by being shorter: a multiple of DPO's log-ratios, no longer than DPO, does as
well, and the best multiple does better. Where they agree in part (75 degrees) a loss that is told the
groups should beat every multiple.

The prediction. An objective of pairs is a convex function of the log-ratios of draws of the reference, so
its minimiser over all policies is found on a table of draws before any training: by the same objective,
with Newton-like steps (L-BFGS), as the sample-average approximation. It gives the length of KLDPO relative
to DPO and the losses of each group. WDPO's ball lies in the space of the model's token embeddings, where no
table is, so it has no prediction but the inequality.

The run. Fresh groups of draws, each once, soft labels: the population problem. WDPO is the first-order form
of arXiv 2502.01930 with the gradient by token embeddings, by double backward over disjoint pairs in both
orders. Losses are means over all pairs of held-out draws. A prompt of a seed is a cluster.

What was found first, after fifty updates. KLDPO's length along DPO is 0.41 where the table says 0.47, and its
losses are those of a DPO as short to a hundredth of a nat. At a temperature of 0.5 instead of 1 it is longer
than predicted and worse than a DPO of its length by 0.07 nats, for its weights enlarge the noise of small
groups. WDPO sees disjoint pairs only, and is the noisiest.
Not shown: that group-robust DPO beats every multiple of DPO where the groups agree in part. The table
predicts 0.05 nats for it; after fifty updates it was 0.01 [-0.05, 0.07], for the writers are still 0.06
nats short of the table. It is in the table of the study, and no check.

The checks:

- separations where the groups conflict: for the worse-off group DPO loses more than KLDPO; KLDPO and WDPO
  lose more than the best multiple of DPO; without a shift KLDPO loses more than DPO;
- an identity: KLDPO's mean losses are those of DPO as short, to 0.05 nats;
- growth: KLDPO's length along DPO is the table's to 20 %;
- an identity: both roads agree for every prompt, 1 being the end of an interval at the level of all cells.

The planted defects: KLDPO that does not weigh the pairs; KLDPO that takes the rejected for the chosen; DPO at
a tenth of its learning rate; the search for the best multiple of DPO ends at its upper end; and fresh texts
that are written by the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit
from torch import Tensor

from distalign.bridge.generation.learning import descend
from distalign.bridge.generation.writer import Texts
from distalign.bridge.studies.free.world import World, world
from distalign.bridge.studies.mistakes import fresh_texts_of_the_reference, sides_exchanged
from distalign.objectives import dpo, group_dpo, kldpo, wdpo
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, no_cell, result, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, growth, identity, separation
from distalign.training.model.scorer import Scorer
from distalign.types import Array

SPREAD, SHARE = (
    3.0,
    0.1,
)  # reward in logits of a score of 1 (they are bounded by tanh); second group in training
CONFLICT, AGREEMENT = 120.0, 75.0
TEMPERATURE, GROUP_TEMPERATURE, RADIUS = 1.0, 0.1, 0.1  # KLDPO's, group-robust DPO's, in nats; WDPO's
LOSSES: dict[str, Callable[[PreferenceLogProbs], Tensor]] = {
    "DPO": partial(dpo, beta=1.0),
    "KLDPO": partial(kldpo, beta=1.0, temperature=TEMPERATURE),
    "group-robust": partial(group_dpo, beta=1.0, temperature=GROUP_TEMPERATURE),
    "WDPO": partial(wdpo, beta=1.0, radius=RADIUS, through="policy"),
}
METHODS = {CONFLICT: ("DPO", "KLDPO", "WDPO"), AGREEMENT: ("DPO", "group-robust")}
PACE, TABLE_DRAWS = 2.5, 96
LOSS_TOLERANCE, LENGTH_TOLERANCE = 0.05, 0.2


def best_multiple(log_rho: Array, wins: Array) -> float:
    """The multiple of log-ratios, 0 to 2, one for all prompts, whose worse-off group loses least.

    Args:
        log_rho: (S, N) of the draws.
        wins: (S, 2, N, N) win matrices of the groups.

    Source: ours.
    """

    def worst(s: float) -> float:
        each = [pair_losses(s * one, win) for one, win in zip(log_rho, wins, strict=True)]
        return float(np.mean(each, axis=0).max())

    return float(minimize_scalar(worst, bounds=(0, 2), method="bounded", options={"xatol": 1e-4}).x)  # type: ignore[union-attr]


def pair_losses(log_rho: Array, wins: Array) -> Array:
    """(2,) DPO's loss of each group over all pairs of draws."""
    n = len(log_rho)
    losses = np.logaddexp(0, log_rho[None, :] - log_rho[:, None])
    off = ~np.eye(n, dtype=bool)
    return (wins * losses)[:, off].sum(1) / (n * (n - 1) / 2)


DEFECTS = (
    Defect(
        "KLDPO does not weigh the pairs, which is DPO",
        kldpo,
        lambda right: lambda batch, *, beta, **_: dpo(batch, beta=beta),
        where(method="KLDPO"),
    ),
    Defect(
        "KLDPO takes the rejected for the chosen",
        kldpo,
        argument("batch", sides_exchanged),
        where(method="KLDPO"),
    ),
    Defect(
        "the search for the best multiple of DPO ends at its upper end, 2",
        best_multiple,
        result(lambda multiple: 2.0),
        no_cell,
    ),
    Defect(
        "DPO at a tenth of its learning rate",
        descend,
        argument("pace", lambda x: x / 10),
        where(method="DPO", angle=CONFLICT),
    ),
    fresh_texts_of_the_reference(where(method="DPO", angle=CONFLICT)),
)


def cells(
    policy: str, seeds: int, steps: int, prompts: int = 4, group: int = 24, draws: int = 256
) -> list[dict[str, Any]]:
    """One cell per seed, angle and method."""
    return [
        {
            "policy": policy,
            "seed": seed,
            "angle": angle,
            "method": method,
            "steps": steps,
            "prompts": prompts,
            "group": group,
            "draws": draws,
        }
        for seed in range(seeds)
        for angle, methods in METHODS.items()
        for method in methods
    ]


def run(
    rng: np.random.Generator,
    *,
    policy: str,
    seed: int,
    angle: float,
    method: str,
    steps: int,
    prompts: int,
    group: int,
    draws: int,
) -> dict[str, Any]:
    """One row per prompt and held-out draw: rewards of both groups, log-ratio as trained and by the table."""
    here = world(policy, seed, prompts, draws)
    rewards = _rewards_of(here, angle)
    own = rewards(here.draws)
    predicted = np.full((prompts, draws), np.nan)
    if method != "WDPO":
        predicted[:, :TABLE_DRAWS] = on_table(LOSSES[method], _wins(own[:, :, :TABLE_DRAWS]))
    train = _train_wdpo if method == "WDPO" else _train
    train(here, LOSSES[method], rewards, rng, steps=steps, group=group)
    found = here.measured(rng)
    every = np.repeat(np.arange(prompts), draws)
    return {
        "prompt": every,
        "first": own[0].ravel(),
        "second": own[1].ravel(),
        "log_rho": found.log_rho.ravel(),
        "predicted": predicted.ravel(),
        "kl": found.kl()[every],
        "roads": found.apart(own[0], rewards(found.texts)[0])[every],
    }


def _rewards_of(here: World, angle: float) -> Callable[[Texts], Array]:
    """(2, S, K) rewards of both groups in logits."""
    one, other, turn = here.score(0), here.score(1), np.deg2rad(angle)

    def rewards(texts: Texts) -> Array:
        first, rest = np.tanh(one(texts)), np.tanh(other(texts))
        return SPREAD * np.stack([first, np.cos(turn) * first + np.sin(turn) * rest])

    return rewards


def _wins(rewards: Array) -> Array:
    """(2, S, K, K) win matrices of the groups."""
    return expit(rewards[..., :, None] - rewards[..., None, :])


def grouped_batch(scores: Tensor, reference: Tensor, wins: Array) -> PreferenceLogProbs:
    """All ordered pairs of each prompt's texts, once for each group of users with its share of the weight.

    Args:
        scores, reference: (S K,) log-probabilities.
        wins: (2, S, K, K) win matrices of the groups.
    """
    _, prompts, size, _ = wins.shape
    first, second = (~torch.eye(size, dtype=torch.bool)).nonzero().T
    base = size * torch.arange(prompts)[:, None]
    chosen, rejected = ((base + side).flatten().repeat(2) for side in (first, second))
    shares = torch.tensor([1 - SHARE, SHARE], dtype=torch.float64)[:, None, None]
    return PreferenceLogProbs(
        scores[chosen],
        scores[rejected],
        reference[chosen],
        reference[rejected],
        weights=(shares * torch.as_tensor(wins)[:, :, first, second]).flatten(),
        groups=torch.arange(2).repeat_interleave(len(chosen) // 2),
    )


def on_table(objective: Callable[[PreferenceLogProbs], Tensor], wins: Array) -> Array:
    """(S, N) log-ratios of draws, up to a constant a prompt, that minimise an objective over all policies."""
    shape = wins.shape[1:3]
    theta = torch.zeros(shape[0] * shape[1], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros_like(theta)
    optimiser = torch.optim.LBFGS([theta], max_iter=60, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = objective(grouped_batch(theta, zero, wins))
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    return theta.detach().numpy().reshape(shape)


def _train(
    here: World, objective: Any, rewards: Any, rng: np.random.Generator, *, steps: int, group: int
) -> None:
    """Train on fresh groups."""
    texts, reference = here.pool(group * steps, rng)

    def loss(i: int) -> Tensor:
        part = slice(i * group, (i + 1) * group)
        scores = here.writer.scores(here.writer.layout(texts[:, part]))
        return objective(
            grouped_batch(
                scores, torch.as_tensor(reference[:, part]).flatten(), _wins(rewards(texts[:, part]))
            )
        )

    descend(here.writer, loss, steps=steps, pace=PACE)


def _train_wdpo(
    here: World, objective: Any, rewards: Any, rng: np.random.Generator, *, steps: int, group: int
) -> None:
    """Train on disjoint pairs in both orders, by a scorer that can be differentiated twice."""
    texts, reference = here.pool(group * steps, rng)
    here.writer.scorer.causal.set_attn_implementation("eager")
    scorer = Scorer(here.writer.scorer.model, share_prompt=False, head="plain")

    def loss(i: int) -> Tensor:
        one, two = (np.arange(i * group + k, (i + 1) * group, 2) for k in (0, 1))
        better, worse = np.concatenate([one, two]), np.concatenate([two, one])
        win = _wins(rewards(texts[:, i * group : (i + 1) * group]))
        chance = ((1 - SHARE) * win[0] + SHARE * win[1])[:, better - i * group, worse - i * group]
        inputs, scores = [], []
        for side in (better, worse):
            laid = here.writer.layout(texts[:, side])
            inputs.append(scorer.embed(laid).requires_grad_())  # beside adapters embeddings are frozen
            scores.append(scorer(laid, inputs[-1]).double())
        given = (torch.as_tensor(reference[:, side]).flatten() for side in (better, worse))
        return objective(
            PreferenceLogProbs(
                *scores, *given, weights=torch.as_tensor(chance).flatten(), inputs=tuple(inputs)
            )
        )

    descend(here.writer, loss, steps=steps, pace=PACE / 2)  # fewer pairs, more noise
    here.writer.scorer.causal.set_attn_implementation("sdpa")


def _judged(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per seed, angle, prompt and policy: losses by group, nominal and of the worse-off; lengths."""
    out = []
    multiples = {
        key: best_multiple(
            np.stack([one.log_rho for _, one in plain.groupby("prompt")]),
            np.stack([_wins(np.stack([one["first"], one["second"]])) for _, one in plain.groupby("prompt")]),
        )
        for key, plain in rows[rows.method == "DPO"].groupby(["seed", "angle"])
    }
    of = ["seed", "angle", "prompt"]
    for _, mine in rows.groupby(of):
        seed, angle, prompt = (mine[c].iloc[0] for c in of)
        by = dict(list(mine.groupby("method")))
        plain = by["DPO"]
        wins = _wins(plain[["first", "second"]].to_numpy().T)
        moved = {method: one.log_rho.to_numpy() for method, one in by.items()}
        if "KLDPO" in moved:
            moved["DPO as short"] = _along(moved["KLDPO"], moved["DPO"]) * moved["DPO"]
        moved["best multiple of DPO"] = multiples[seed, angle] * moved["DPO"]
        known = plain.predicted.notna().to_numpy()
        on_plain = plain.predicted.to_numpy()[known]
        for method, log_rho in moved.items():
            losses, expected, length = pair_losses(log_rho, wins), np.full(2, np.nan), np.nan
            if method in by and by[method].predicted.notna().any():
                predicted = by[method].predicted.to_numpy()[known]
                expected = pair_losses(predicted, wins[:, known][:, :, known])
                length = _along(predicted, on_plain)
            mixed = np.array([1 - SHARE, SHARE])
            out.append(
                {
                    "seed": seed,
                    "angle": angle,
                    "prompt": prompt,
                    "method": method,
                    "first": losses[0],
                    "second": losses[1],
                    "worst": losses.max(),
                    "nominal": mixed @ losses,
                    "length": _along(log_rho, moved["DPO"]),
                    "predicted_worst": expected.max(),
                    "predicted_nominal": mixed @ expected,
                    "predicted_length": length,
                    "kl": by[method].kl.iloc[0] if method in by else np.nan,
                }
            )
    return pd.DataFrame(out)


def _along(moved: Array, plain: Array) -> float:
    """Length of log-ratios along others, relative to those: noise in other directions does not count."""
    direction = plain - plain.mean()
    return float(direction @ moved / (direction @ direction))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval over prompts and seeds of the worse-off group's loss, with the other measures."""
    judged, keys = _judged(rows), ["angle", "method"]
    columns = (
        "first",
        "second",
        "nominal",
        "length",
        "predicted_worst",
        "predicted_nominal",
        "predicted_length",
        "kl",
    )
    return summarise(judged, keys, "worst").merge(
        judged.groupby(keys, as_index=False).agg(**{c: (c, "mean") for c in columns}), on=keys
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """What robust losses buy and cost, what a multiple of DPO buys, and what the table predicted."""
    judged = _judged(rows)
    by = {
        (q, angle): judged[judged.angle == angle].pivot(index=["seed", "prompt"], columns="method", values=q)
        for q in ("worst", "nominal")
        for angle in METHODS
    }
    conflict, nominal = by["worst", CONFLICT], by["nominal", CONFLICT]
    in_conflict = judged[judged.angle == CONFLICT]
    means = pd.DataFrame(in_conflict.groupby("method")[["length", "predicted_length"]].mean())
    multiple = "best multiple of DPO"
    return [
        separation("conflict, worse-off group: DPO's loss minus KLDPO's", conflict.DPO - conflict.KLDPO),
        *(
            separation(
                f"conflict, worse-off group: {method}'s loss minus that of the best multiple of DPO",
                conflict[method] - conflict[multiple],
            )
            for method in ("KLDPO", "WDPO")
        ),
        separation("conflict, no shift: KLDPO's loss minus DPO's", nominal.KLDPO - nominal.DPO),
        identity(
            "mean losses of KLDPO minus those of DPO as short, nats",
            [(x.KLDPO - x["DPO as short"]).mean() for x in (conflict, nominal)],
            LOSS_TOLERANCE,
        ),
        growth(
            "mean length of KLDPO relative to DPO's = table's",
            means.length.KLDPO,
            means.predicted_length.KLDPO,
            LENGTH_TOLERANCE,
        ),
        identity("both roads agree, in lengths of their interval", rows.roads, 1.0),
    ]
