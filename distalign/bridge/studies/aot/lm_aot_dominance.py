r"""Paired AOT of a language model against DPO of the same model, and what its sort batch does.

Comparisons of a finite set of responses by Bradley-Terry users; the margins log pi(y+) - log pi(y-) of the
trained model should dominate the reference's. A data set is trained on whole, its loss averaged over sort
batches of b pairs: b = 1 *is* DPO. Violation, sqrt(\int (Q_V - Q_U)_+^2), is measured under the exact law of
    comparisons. It is 0 at the reference and grows with
the distance from it, so every policy is set beside DPO *at its own divergence*: the DPO policy's log-ratios
times the factor that takes them there, which is DPO of another strength. Theory: sorting never raises a value
and larger batches never do, at any policy; so the sorted value of the policy learned should fall with b. That
the violation falls is what simulation shows on a table by the same optimiser; no theorem says it of
minimisers, of which AOT can have several.

The gradient by the model's weights is taken over micro-batches in two passes, and must be that of the whole
batch at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import vmap

from distalign.bridge.candidates.displacement import displacement, divergence, multiple_at, tilted
from distalign.bridge.candidates.policies import Small, Trainable, load
from distalign.bridge.candidates.train import train_policy
from distalign.objectives import aot_paired, dpo
from distalign.policies import score
from distalign.populations import Law, Population, win_matrix
from distalign.preferences import PreferenceLogProbs, metrics
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, differs, identity, separation
from distalign.step import backward

DEFECT = "AOT without its sort, which is DPO whatever the sort batch"
BETA, SPREAD = (
    2.0,
    0.5,
)  # slope of the penalty; standard deviation of rewards, in nats: where they are clear DPO dominates, too
PARTS = 4  # micro-batches of the two passes
TABLE_STEPS, TABLE_RATE = 80, 0.3  # of training on the table, which is to end at a minimum
MEASURES = ("violation", "dpo_violation", "saved", "share", "dpo_share", "value", "divergence")
AOT = partial(aot_paired, beta=BETA)


def cells(
    policy: str, seeds: int, batches: list[int], pairs: int, steps: int, prompts: int = 1, responses: int = 12
) -> list[dict[str, Any]]:
    """One cell per seed: DPO is in all of its rows."""
    return [
        {
            "policy": policy,
            "seed": i,
            "batches": batches,
            "pairs": pairs,
            "steps": steps,
            "prompts": prompts,
            "responses": responses,
        }
        for i in range(seeds)
    ]


def run(
    rng: np.random.Generator,
    *,
    policy: str,
    seed: int,
    batches: list[int],
    pairs: int,
    steps: int,
    prompts: int,
    responses: int,
    defect: bool = False,
) -> dict[str, Any]:
    """One row per sort batch and world; DPO is the sort batch of 1."""
    model = load(policy, seed, prompts=prompts, responses=responses)
    reward = SPREAD * rng.normal(size=(prompts, responses))
    uniform = np.full((prompts, responses), 1 / responses)
    law = Population(win_matrix(reward[None], [1.0], 1.0), uniform).pairs(distinct=True)
    drawn = rng.choice(law.weights.size, size=pairs, p=law.weights)
    data = Law(law.chosen[drawn], law.rejected[drawn], np.ones(pairs))
    rows = []
    worlds = {
        "simulation": (Small(model.start), {"steps": TABLE_STEPS, "learning_rate": TABLE_RATE}),
        "language model": (model, {"steps": steps}),
    }
    for world, (one, settings) in worlds.items():
        found: dict[int, np.ndarray] = {}
        for size in (1, *batches):
            sort = 1 if defect else size
            if sort not in found:
                found[sort] = train_policy(one, partial(in_batches, size=sort), data, **settings).log_probs
            values = {f"value_{b}": _value(model, found[sort], data, b) for b in (1, *batches, pairs)}
            rows.append(
                {
                    "world": world,
                    "batch": size,
                    "value": values[f"value_{pairs}"],
                    **values,
                    **_compared(model, found[sort], found[1], law),
                }
            )
    gaps = _gradients(model, _first(data, 64), defect)
    return dict(pd.DataFrame(rows).assign(**gaps))


def in_batches(batch: PreferenceLogProbs, *, size: int) -> Tensor:
    """AOT's loss averaged over the batch's consecutive sort batches of `size` pairs: what gradient
    accumulation trains.
    """
    if size == 1:
        return dpo(batch, beta=BETA)

    def sorted_value(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor) -> Tensor:
        return AOT(PreferenceLogProbs(chosen, rejected, ref_chosen, ref_rejected, validate=False))

    parts = (
        x.reshape(-1, size) for x in (batch.chosen, batch.rejected, batch.ref_chosen, batch.ref_rejected)
    )
    return vmap(sorted_value)(*parts).mean()


def _scored(model: Trainable, log_probs: np.ndarray, law: Law) -> PreferenceLogProbs:
    theta = torch.from_numpy(log_probs).flatten() - model.start.log_reference.flatten()
    return score(model.start, theta, *(torch.as_tensor(x) for x in (law.chosen, law.rejected, law.weights)))


def _value(model: Trainable, log_probs: np.ndarray, data: Law, size: int) -> float:
    return float(in_batches(_scored(model, log_probs, data), size=size))


def _compared(model: Trainable, log_probs: np.ndarray, plain: np.ndarray, law: Law) -> dict[str, float]:
    """Violation of a policy under the exact law, and of DPO at the same divergence from the reference."""
    reference = model.start.log_reference.numpy()
    kl = divergence(log_probs, reference)
    moved = displacement(plain, reference)
    rival = tilted(reference, multiple_at(reference, moved, kl) * moved)
    own, other = (_violation(_scored(model, x, law)) for x in (log_probs, rival))
    return {
        "violation": own["dominance_w2"],
        "dpo_violation": other["dominance_w2"],
        "divergence": kl,
        "saved": 1 - own["dominance_w2"] / other["dominance_w2"],
        "share": own["violated_quantiles"],
        "dpo_share": other["violated_quantiles"],
    }


def _violation(batch: PreferenceLogProbs) -> dict[str, float]:
    """How far, and on what share of quantiles, the policy's margins fall short of dominating the
    reference's.
    """
    zero = torch.zeros_like(batch.margin)
    return metrics(PreferenceLogProbs(batch.margin, batch.ref_margin, zero, zero, batch.weights))


def _first(data: Law, count: int) -> Law:
    """The first `count` pairs of a data set."""
    return Law(data.chosen[:count], data.rejected[:count], data.weights[:count])


def _gradients(model: Trainable, data: Law, defect: bool) -> dict[str, float]:
    """Gradients by the weights where training has ended: two passes, and accumulation, against the whole
    batch at once.
    """
    whole = _scored(model, model.log_probs().detach().numpy(), data)
    index = torch.arange(len(whole.chosen))

    def table(rows: Tensor) -> tuple[Tensor, Tensor]:
        log_probs = model.log_probs().flatten()
        return tuple(log_probs[torch.as_tensor(x)[rows]] for x in (data.chosen, data.rejected))  # type: ignore[return-value]

    objective = partial(dpo, beta=BETA) if defect else AOT
    parts = list(index.chunk(PARTS))
    known = [
        replace(
            whole,
            **{
                name: getattr(whole, name)[rows]
                for name in ("chosen", "rejected", "ref_chosen", "ref_rejected", "weights")
            },
        )
        for rows in parts
    ]

    def by_weights(step: Callable[[], Any]) -> Tensor:
        for parameter in model.parameters:
            parameter.grad = None
        step()
        return torch.cat([p.grad.flatten() for p in model.parameters if p.grad is not None]).double()

    once = by_weights(lambda: backward(objective, table, [index], [whole]))
    twice = by_weights(lambda: backward(objective, table, parts, known))
    naive = by_weights(
        lambda: [backward(objective, table, [rows], [part]) for rows, part in zip(parts, known, strict=True)]
    )
    return {
        "two_pass": float((twice - once).norm() / once.norm()),
        "accumulated": float((naive / PARTS - once).norm() / once.norm()),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval over seeds of every measure, per world and sort batch."""
    return pd.concat(
        [
            summarise(rows, ["world", "batch"], q).assign(quantity=q)
            for q in (*MEASURES, "two_pass", "accumulated")
        ],
        ignore_index=True,
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Violations at matched divergence and sorted values, in both worlds; bounds of sorting; the two
    passes.
    """
    out = []
    for world in ("language model", "simulation"):
        mine = rows.loc[rows.world == world]
        wide = {
            q: mine.pivot(index="seed", columns="batch", values=q)
            for q in ("violation", "dpo_violation", "value")
        }
        sizes = sorted(wide["value"])
        out += [
            separation(
                f"{world}: violation, DPO at the same divergence minus AOT, sort batch {b}",
                wide["dpo_violation"][b] - wide["violation"][b],
            )
            for b in reversed(sizes[1:])
        ]
        out += [
            separation(
                f"{world}: sorted value, trained with sort batch {a} minus {b}",
                wide["value"][a] - wide["value"][b],
            )
            for a, b in pairwise(sizes)
        ]
    columns = [
        f"value_{b}" for b in sorted(int(c.removeprefix("value_")) for c in rows if c.startswith("value_"))
    ]
    out += [
        bound(
            f"at one policy: value in batches of {b.split('_')[1]} at most that of {a.split('_')[1]}",
            rows[b],
            rows[a],
        )
        for a, b in pairwise(columns)
    ]
    return [
        *out,
        identity(
            f"two passes over {PARTS} micro-batches = whole batch, gradient by the weights, relative",
            rows.two_pass,
            1e-4,
        ),
        differs(
            "accumulation over the same micro-batches is another gradient, relative", rows.accumulated, 1e-2
        ),
    ]
