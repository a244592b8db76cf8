r"""Paired AOT of a language model against DPO of the same model, and what AOT's sort batch does.

Bradley-Terry users compare a finite set of responses. The margins log pi(y+) - log pi(y-) of the trained
model should dominate the reference's. A data set is trained on whole, with its loss averaged over sort
batches of b pairs; b = 1 *is* DPO. A seed has a few prompts, which are trained on together; each is a problem
of its own, with its own data, and a cluster of the intervals.

The violation sqrt(\int (Q_V - Q_U)_+^2) is measured under the exact law of comparisons. It is 0 at the
reference and grows with the distance from it, so every policy is set beside a DPO *trained* to its
divergence: twice at the beta where DPO's log-ratios, which go like 1/beta, should have it; what is left to
the divergence is made up by a multiple of its log-ratios, which the table shows (`multiple_left`). Where AOT
goes further than any multiple of DPO's log-ratios (one prompt at root seed 2), there is nothing to compare it
with: that prompt is left out of these differences, and counted as excluded. DPO as trained with
AOT's beta stands beside it. Theory says that sorting never raises a value, and that larger
batches never do, at any policy; so the sorted value of the policy learned should fall with b. That the
violation falls is what simulation shows on a table by the same optimiser; no theorem says it of minimisers,
of which AOT can have several. The two worlds, a language model and a table of log-probabilities
(`simulation`), are the two roads.

The gradient by the model's weights is taken over micro-batches in two passes, and must be that of the whole
batch at once.

The checks ask, in both worlds, that AOT at each sort batch violates less than DPO at the same divergence, in
the mean of the logarithm, for the violation of DPO grows without limit where its log-ratios hardly reach that
divergence; and that the sorted value falls from each sort batch to the next larger one. At one policy the
value in larger batches must be at most that in smaller ones. The gradient by two passes must be that of the
whole batch, and plain accumulation over the same micro-batches must be another one.

The planted defects: AOT that does not sort, which is DPO whatever the sort batch, or sorts one side only; and
micro-batches that are joined in the opposite order.
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
from distalign.bridge.candidates.train import at_prompt, train_policy
from distalign.checks import InputError
from distalign.objectives import aot_paired, dpo
from distalign.policies import Tabular, score
from distalign.populations import Law, Population, win_matrix
from distalign.preferences import PreferenceLogProbs, metrics, quantile_coupling
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, differs, identity, separation
from distalign.step import backward
from distalign.two_pass import joined

# BETA is the slope of the penalty, REWARD_DEVIATION the standard deviation of the rewards in nats. Where the
# rewards are clear DPO dominates, too.
BETA, REWARD_DEVIATION = 2.0, 0.5
TRAININGS = 2  # of DPO on the way to AOT's divergence
MICRO_BATCHES = 4  # micro-batches of the two passes
TABLE_STEPS, TABLE_RATE = 80, 0.3  # of training on the table, which is to end at a minimum
MEASURES = (
    "violation",
    "dpo_violation",
    "saved",
    "share",
    "dpo_share",
    "value",
    "divergence",
    "multiple_left",
)
AOT = partial(aot_paired, beta=BETA)


def _one_sided(u: Tensor, v: Tensor, p: None, q: None, **options: bool) -> Any:
    """`quantile_coupling` of as many numbers on both sides by a developer who sorted the first only."""
    return torch.full_like(u, 1 / len(u)), u.sort().values, v


DEFECTS = (
    Defect(
        "AOT does not sort, which is DPO",
        aot_paired,
        lambda right: lambda batch, *, beta: dpo(batch, beta=beta),
    ),
    Defect("AOT sorts one side only", quantile_coupling, lambda right: _one_sided, where(seed=0)),
    Defect(
        "micro-batches joined in the opposite order",
        joined,
        argument("parts", lambda x: x[::-1]),
        where(seed=0),
    ),
)


def cells(
    policy: str, seeds: int, batches: list[int], pairs: int, steps: int, prompts: int = 4, responses: int = 12
) -> list[dict[str, Any]]:
    """One cell per seed; its rows hold every sort batch and DPO."""
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
) -> dict[str, Any]:
    """One row per prompt, sort batch and world; DPO is the sort batch of 1."""
    model = load(policy, seed, prompts=prompts, responses=responses)
    laws, data = [], []
    for reward in REWARD_DEVIATION * rng.normal(size=(prompts, 1, responses)):
        uniform = np.full((1, responses), 1 / responses)
        law = Population(win_matrix(reward[None], [1.0], 1.0), uniform).pairs(distinct=True)
        drawn = rng.choice(law.weights.size, size=pairs, p=law.weights)
        laws.append(law)
        data.append(Law(law.chosen[drawn], law.rejected[drawn], np.ones(pairs)))
    tables = [Tabular(reference) for reference in model.start.log_reference.exp()]
    rows = []
    worlds = {
        "simulation": (Small(model.start), {"steps": TABLE_STEPS, "learning_rate": TABLE_RATE}),
        "language model": (model, {"steps": steps}),
    }
    for world, (trainable, settings) in worlds.items():

        def trained(
            objectives: list[Any], trainable: Any = trainable, settings: Any = settings
        ) -> np.ndarray:
            numbered = [at_prompt(one, s, responses) for s, one in enumerate(data)]
            return train_policy(trainable, objectives, numbered, **settings).log_probs

        plain = trained([partial(dpo, beta=BETA)] * prompts)
        for size in (1, *batches):
            found = plain if size == 1 else trained([partial(in_batches, size=size)] * prompts)
            strengths, rival = [BETA] * prompts, plain
            for _ in range(TRAININGS if size > 1 else 0):
                multiples = [_multiple(one, rival[[s]], found[[s]]) for s, one in enumerate(tables)]
                strengths = [
                    beta if np.isnan(times) else beta / times
                    for beta, times in zip(strengths, multiples, strict=True)
                ]
                rival = trained([partial(dpo, beta=beta) for beta in strengths])
            for s, one in enumerate(tables):
                values = {f"value_{b}": _value(one, found[[s]], data[s], b) for b in (1, *batches, pairs)}
                rows.append(
                    {
                        "prompt": s,
                        "world": world,
                        "batch": size,
                        "value": values[f"value_{pairs}"],
                        **values,
                        **_compared(one, found[[s]], rival[[s]], laws[s]),
                    }
                )
    gaps = _gradients(model, _first(data[0], 64))
    return dict(pd.DataFrame(rows).assign(**gaps))


def _multiple(one: Tabular, rival: np.ndarray, found: np.ndarray) -> float:
    """What the log-ratios of `rival` are to be multiplied by to have the divergence of the policy `found`;
    NaN where no multiple has it.
    """
    reference = one.log_reference.numpy()
    try:
        return multiple_at(reference, displacement(rival, reference), divergence(found, reference))
    except InputError:
        return float("nan")


def in_batches(batch: PreferenceLogProbs, *, size: int) -> Tensor:
    """AOT's loss averaged over the batch's consecutive sort batches of `size` pairs.

    This is what gradient accumulation trains.
    """
    if size == 1:
        return dpo(batch, beta=BETA)

    def sorted_value(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor) -> Tensor:
        return AOT(PreferenceLogProbs(chosen, rejected, ref_chosen, ref_rejected, validate=False))

    sort_batches = (
        x.reshape(-1, size) for x in (batch.chosen, batch.rejected, batch.ref_chosen, batch.ref_rejected)
    )
    return vmap(sorted_value)(*sort_batches).mean()


def _scored(one: Tabular, log_probs: np.ndarray, law: Law) -> PreferenceLogProbs:
    """The seam of a policy, given by its log-probabilities, on the pairs of a law."""
    theta = torch.from_numpy(log_probs).flatten() - one.log_reference.flatten()
    return score(one, theta, *(torch.as_tensor(x) for x in (law.chosen, law.rejected, law.weights)))


def _value(one: Tabular, log_probs: np.ndarray, data: Law, size: int) -> float:
    """The loss of a policy on the data when it is sorted in batches of `size`."""
    return float(in_batches(_scored(one, log_probs, data), size=size))


def _compared(one: Tabular, log_probs: np.ndarray, rival: np.ndarray, law: Law) -> dict[str, float]:
    """Violation of a policy under the exact law, and of DPO trained to the same divergence."""
    reference, left = one.log_reference.numpy(), _multiple(one, rival, log_probs)
    of_policy = _violation(_scored(one, log_probs, law))
    of_rival = dict.fromkeys(of_policy, np.nan)
    if not np.isnan(left):
        matched = tilted(reference, left * displacement(rival, reference))
        of_rival = _violation(_scored(one, matched, law))
    return {
        "violation": of_policy["dominance_w2"],
        "dpo_violation": of_rival["dominance_w2"],
        "divergence": divergence(log_probs, reference),
        "multiple_left": left,
        "saved": 1 - of_policy["dominance_w2"] / of_rival["dominance_w2"],
        "share": of_policy["violated_quantiles"],
        "dpo_share": of_rival["violated_quantiles"],
    }


def _violation(batch: PreferenceLogProbs) -> dict[str, float]:
    """How far, and on what share of quantiles, the policy's margins fail to dominate the reference's."""
    zero = torch.zeros_like(batch.margin)
    return metrics(PreferenceLogProbs(batch.margin, batch.ref_margin, zero, zero, batch.weights))


def _first(data: Law, count: int) -> Law:
    """The first `count` pairs of a data set."""
    return Law(data.chosen[:count], data.rejected[:count], data.weights[:count])


def _gradients(model: Trainable, data: Law) -> dict[str, float]:
    """How far two gradients by the weights are from that of the whole batch at once, relative to it.

    They are the one by two passes and the one by plain accumulation, where training has ended.
    """
    theta = model.theta().detach()
    whole = score(
        model.start, theta, *(torch.as_tensor(x) for x in (data.chosen, data.rejected, data.weights))
    )
    index = torch.arange(len(whole.chosen))

    def table(rows: Tensor) -> tuple[Tensor, Tensor]:
        log_probs = model.log_probs().flatten()
        return tuple(log_probs[torch.as_tensor(x)[rows]] for x in (data.chosen, data.rejected))  # type: ignore[return-value]

    objective = AOT
    micro_batches = list(index.chunk(MICRO_BATCHES))
    scored_batches = [
        replace(
            whole,
            **{
                name: getattr(whole, name)[rows]
                for name in ("chosen", "rejected", "ref_chosen", "ref_rejected", "weights")
            },
        )
        for rows in micro_batches
    ]

    def by_weights(step: Callable[[], Any]) -> Tensor:
        for parameter in model.parameters:
            parameter.grad = None
        step()
        return torch.cat([p.grad.flatten() for p in model.parameters if p.grad is not None]).double()

    at_once = by_weights(lambda: backward(objective, table, [index], [whole]))
    in_two_passes = by_weights(lambda: backward(objective, table, micro_batches, scored_batches))
    accumulated = by_weights(
        lambda: [
            backward(objective, table, [rows], [part])
            for rows, part in zip(micro_batches, scored_batches, strict=True)
        ]
    )
    return {
        "two_pass": float((in_two_passes - at_once).norm() / at_once.norm()),
        "accumulated": float((accumulated / MICRO_BATCHES - at_once).norm() / at_once.norm()),
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
    """Violations at matched divergence and sorted values, in both worlds.

    Also the bounds of sorting at one policy, and the two passes.
    """
    listed = []
    for world in ("language model", "simulation"):
        of_world = rows.loc[rows.world == world]
        by_batch = {
            q: of_world.pivot(index=["seed", "prompt"], columns="batch", values=q)
            for q in ("violation", "dpo_violation", "value")
        }
        sizes = sorted(by_batch["value"])
        listed += [
            separation(
                f"{world}: log violation, DPO trained to the same divergence minus AOT, sort batch {b}",
                np.log(by_batch["dpo_violation"][b]) - np.log(by_batch["violation"][b]),
            )
            for b in reversed(sizes[1:])
        ]
        listed += [
            separation(
                f"{world}: sorted value, trained with sort batch {a} minus {b}",
                by_batch["value"][a] - by_batch["value"][b],
            )
            for a, b in pairwise(sizes)
        ]
    columns = [
        f"value_{b}" for b in sorted(int(c.removeprefix("value_")) for c in rows if c.startswith("value_"))
    ]
    listed += [
        bound(
            f"at one policy: value in batches of {b.split('_')[1]} at most that of {a.split('_')[1]}",
            rows[b],
            rows[a],
        )
        for a, b in pairwise(columns)
    ]
    return [
        *listed,
        identity(
            f"two passes over {MICRO_BATCHES} micro-batches = whole batch, gradient by the weights, relative",
            rows.two_pass,
            1e-4,
        ),
        differs(
            "accumulation over the same micro-batches is another gradient, relative", rows.accumulated, 1e-2
        ),
    ]
