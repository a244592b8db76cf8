r"""Unpaired AOT of a language model at BCO's divergence, and what BCO of a smaller beta does there.

Half of the prompts have liked responses only, the other half disliked ones only, and in another number, so
nothing is paired. The rewards of a prompt spread by 0.2 to 2 nats, another number for each: a prompt with
clear rewards has low log-ratios among its liked responses too, lower than a disliked one of a prompt where
all are nearly alike. So the law U of the log-ratios of the chosen need not dominate the law V of the
rejected ones, and AOT asks for just that, sqrt(\int (Q_V - Q_U)_+^2) = 0. BCO is a logistic regression of the
label, with the log-ratio as its logit.

All train from the reference by one optimiser. Of AOT's path that step is taken at which it has gone as far in
KL(pi || pi_ref) as BCO has at the end of its training; what is left to that divergence is made up by a
multiple of its log-ratios, which the table shows (`multiple_left`). But AOT is on its way there, and BCO at
the end of its own: so BCO at a fifth of beta is taken at that divergence in the same manner (`on_its_way`).
On the table it does not get as far, and its log-ratios are stretched, by 4 on average (`on_its_way_left`).
There it violates dominance as little as AOT: what AOT wins is no merit of its sort. On the model it wins
less than AOT (the table of numbers has both); other controls were not tried.

Violations are those of the exact laws, as fresh answers would have them. A seed has one model and one data
set over all its prompts, and is a cluster of the intervals. The two worlds, a language model and a table of
log-probabilities (`simulation`), are the two roads.

AOT sorts, so that the order of the rejected says nothing: the gradient by the model's weights must be the
same whatever their permutation, where DPO's is another one, and must be that of the whole batch when it is
taken over micro-batches in two passes. A training step reads counts; its value must be that of the list.

The checks ask, in both worlds, that AOT violates dominance less than BCO at the end, and on the table that
BCO at a fifth of beta does; and, early in training, the statements on gradients and counts, each beside one
that must fail: DPO's gradient in another order, and AOT's accumulated over the micro-batches. No theorem says
that the violation of what was trained is smaller.

The planted defects: AOT of a developer who compares either class with 0, or takes the classes for each
other; who sorts one side only, or the rejected without their weights; BCO that takes the classes for each
other; DPO that compares each with each; and micro-batches joined in the opposite order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.bridge.candidates.displacement import displacement, divergence, multiple_at, tilted
from distalign.bridge.candidates.policies import Small, Trainable, load, reference_law
from distalign.bridge.candidates.train import train_policy
from distalign.checks import InputError
from distalign.objectives import aot_unpaired, bco, dpo
from distalign.policies import Tabular, score
from distalign.populations import Law
from distalign.populations._arrays import Integers
from distalign.preferences import PreferenceLogProbs, metrics, quantile_coupling
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.rates import summarise
from distalign.simulation.studies.aot.mistakes import rejected_unsorted
from distalign.simulation.verdict import Check, differs, identity, separation
from distalign.step import backward
from distalign.two_pass import joined
from distalign.types import Array

BETA, SPREADS = 1.0, (0.2, 2.0)  # slope of every loss; standard deviations of a prompt's rewards, in nats
REJECTED_SHARE = 0.6  # rejected responses for each chosen one
TABLE_STEPS, TABLE_RATE = 80, 0.1  # of training on the table
LISTED, MICRO_BATCHES = 40, 4  # chosen responses of the gradients, and micro-batches of the two passes
BEGUN = 5  # steps of training before the gradients, for at the reference all log-ratios are equal
AOT = partial(aot_unpaired, beta=BETA)
RIVAL, ON_ITS_WAY, DPO = partial(bco, beta=BETA), partial(bco, beta=BETA / 5), partial(dpo, beta=BETA)
MEASURES = (
    "violation",
    "aot_violation",
    "on_its_way_violation",
    "divergence",
    "multiple_left",
    "on_its_way_left",
)
GRADIENTS = ("permuted", "dpo_permuted", "two_pass", "accumulated", "counts")


def _classes_exchanged(batch: PreferenceLogProbs, *, beta: float) -> Tensor:
    """Unpaired AOT by a developer who takes the rejected responses for the chosen ones."""
    p, q = batch.chosen_frequencies, batch.rejected_frequencies
    widths, v, u = quantile_coupling(batch.chosen_ratio, batch.rejected_ratio, p, q)
    return -(widths * logsigmoid(beta * (u - v))).sum()


def _weights_unsorted(right: Callable[..., Any]) -> Callable[..., Any]:
    """`quantile_coupling` by a developer who sorts the rejected without their weights."""

    def wrong(u: Tensor, v: Tensor, p: Any = None, q: Any = None, **options: bool) -> Any:
        return right(u, v.sort().values, p, q, **options)

    return wrong


def _liked_exchanged(right: Callable[..., Any]) -> Callable[..., Any]:
    """`bco` by a developer who takes the rejected responses for the chosen ones."""

    def wrong(batch: PreferenceLogProbs, *, beta: float) -> Tensor:
        swapped = batch.rejected, batch.chosen, batch.ref_rejected, batch.ref_chosen
        frequencies = batch.rejected_frequencies, batch.chosen_frequencies
        return right(PreferenceLogProbs(*swapped, *frequencies), beta=beta)

    return wrong


def _against_zero(batch: PreferenceLogProbs, *, beta: float) -> Tensor:
    """Unpaired AOT by a developer who compares either class with 0, and not with the other."""
    chosen, rejected = logsigmoid(beta * batch.chosen_ratio), logsigmoid(-beta * batch.rejected_ratio)
    return -(batch.chosen_frequencies @ chosen) - batch.rejected_frequencies @ rejected


def _each_with_each(batch: PreferenceLogProbs, *, beta: float) -> Tensor:
    """DPO by a developer who compares every chosen response with every rejected one."""
    gaps = batch.chosen_ratio[:, None] - batch.rejected_ratio
    return -(batch.chosen_frequencies @ logsigmoid(beta * gaps) @ batch.rejected_frequencies)


DEFECTS = (
    Defect(
        "AOT compares either class with 0",
        aot_unpaired,
        lambda right: _against_zero,
        where(part="gradients"),
    ),
    Defect(
        "AOT takes the rejected responses for the chosen",
        aot_unpaired,
        lambda right: _classes_exchanged,
        where(part="training", seed={0, 1}),
    ),
    Defect(
        "BCO takes the rejected responses for the chosen, where beta is a fifth",
        bco,
        lambda right: (
            lambda batch, *, beta: (right if beta == BETA else _liked_exchanged(right))(batch, beta=beta)
        ),
        where(part="training", seed={0, 1}),
    ),
    Defect("AOT sorts one side only", quantile_coupling, rejected_unsorted, where(part="gradients")),
    Defect(
        "weights left in the order of the data",
        quantile_coupling,
        _weights_unsorted,
        where(part="gradients"),
    ),
    Defect("DPO compares each with each", dpo, lambda right: _each_with_each, where(part="gradients")),
    Defect(
        "micro-batches joined in the opposite order",
        joined,
        argument("parts", lambda parts: parts[::-1]),
        where(part="gradients"),
    ),
)


def cells(
    policy: str, seeds: int, chosen: int, steps: int, slower: float, prompts: int = 16, responses: int = 6
) -> list[dict[str, Any]]:
    """One cell per seed, and one of gradients.

    Args:
        policy: of the language model.
        seeds: models, each with its data.
        chosen: liked responses of a data set.
        steps: of training the language model.
        slower: times than its own learning rate, for AOT is soon as far as its rivals.
        prompts: half of them with liked responses.
        responses: candidates of a prompt.
    """
    shared = {"policy": policy, "chosen": chosen, "prompts": prompts, "responses": responses}
    return [
        *({"part": "training", **shared, "steps": steps, "slower": slower, "seed": i} for i in range(seeds)),
        {"part": "gradients", **shared, "steps": BEGUN, "slower": slower, "seed": seeds},
    ]


def run(
    rng: np.random.Generator,
    *,
    part: str,
    policy: str,
    seed: int,
    chosen: int,
    steps: int,
    slower: float,
    prompts: int,
    responses: int,
) -> dict[str, Any]:
    """One row per world, or one of gradients."""
    model = load(policy, seed, prompts=prompts, responses=responses)
    exact = _answers(rng, reference_law(model))
    assert exact.rejected_weights is not None
    rejected = round(REJECTED_SHARE * chosen)
    drawn = (rng.multinomial(n, p) for n, p in ((chosen, exact.weights), (rejected, exact.rejected_weights)))
    counts = Law(exact.chosen, exact.rejected, *(x.astype(float) for x in drawn))
    if part == "gradients":
        train_policy(model, AOT, counts, steps=steps)
        return {name: [value] for name, value in _gradients(rng, model, counts).items()}
    worlds = {
        "simulation": (Small(model.start), {"steps": TABLE_STEPS, "learning_rate": TABLE_RATE}),
        "language model": (model, {"steps": steps, "learning_rate": model.learning_rate / slower}),
    }
    rows = []
    for world, (trainable, settings) in worlds.items():
        end, aot, on_its_way = (
            train_policy(trainable, loss, counts, **settings) for loss in (RIVAL, AOT, ON_ITS_WAY)
        )
        asked = divergence(end.log_probs, trainable.start.log_reference.numpy())
        found, left = _at_divergence(trainable.start, aot.path, asked, exact)
        also, also_left = _at_divergence(trainable.start, on_its_way.path, asked, exact)
        rows.append(
            {
                "world": world,
                "violation": _violation(trainable.start, end.log_probs, exact),
                "aot_violation": found,
                "on_its_way_violation": also,
                "divergence": asked,
                "multiple_left": left,
                "on_its_way_left": also_left,
            }
        )
    return dict(pd.DataFrame(rows))


def _answers(rng: np.random.Generator, reference: Array) -> Law:
    """The exact law of liked responses of the first half of the prompts, and of disliked ones of the others.

    A response of reward r is liked with probability sigma(r - log E exp r).
    """
    prompts, responses = reference.shape
    rewards = rng.normal(size=reference.shape)
    rewards -= rewards.mean(1, keepdims=True)
    low, high = np.log(SPREADS)
    spread = np.exp(rng.uniform(low, high, prompts))
    rewards *= (spread / rewards.std(1))[:, None]
    liked = expit(rewards - np.log((reference * np.exp(rewards)).sum(1, keepdims=True)))
    half = prompts // 2
    up, down = (reference * liked)[:half], (reference * (1 - liked))[half:]
    numbers = np.arange(prompts * responses)
    up, down = (x / x.sum(1, keepdims=True) / len(x) for x in (up, down))
    return Law(numbers[: half * responses], numbers[half * responses :], up.ravel(), down.ravel())


def _listed(counts: Law) -> tuple[Integers, Integers]:
    """Chosen and rejected responses one by one."""
    assert counts.rejected_weights is not None
    return (
        np.repeat(counts.chosen, counts.weights.astype(int)),
        np.repeat(counts.rejected, counts.rejected_weights.astype(int)),
    )


def _at_divergence(one: Tabular, path: Array, asked: float, exact: Law) -> tuple[float, float]:
    """Violation where a path has gone as far, or of its end; and the multiple of log-ratios that is left."""
    reference = one.log_reference.numpy()
    reached = np.flatnonzero([divergence(step, reference) >= asked for step in path])
    moved = displacement(path[reached[0] if len(reached) else -1], reference)
    try:
        left = multiple_at(reference, moved, asked)
    except InputError:
        return np.nan, np.nan
    return _violation(one, tilted(reference, left * moved), exact), left


def _violation(one: Tabular, log_probs: Array, law: Law) -> float:
    """How far the chosen fail to dominate the rejected, in nats."""
    theta = torch.from_numpy(log_probs).flatten() - one.log_reference.flatten()
    return metrics(_scored(one, theta, law))["dominance_w2"]


def _scored(one: Tabular, theta: Tensor, law: Law) -> PreferenceLogProbs:
    """The seam of a policy on a law, or on a list without weights."""
    weights = (None if w is None else torch.as_tensor(w) for w in (law.weights, law.rejected_weights))
    return score(one, theta, torch.as_tensor(law.chosen), torch.as_tensor(law.rejected), *weights)


def _gradients(rng: np.random.Generator, model: Trainable, counts: Law) -> dict[str, float]:
    """Distances of gradients by the weights, relative, where training has ended; and of counts to their list.

    The gradients are those of some chosen and fewer rejected responses.
    """
    chosen, rejected = (torch.as_tensor(rng.permutation(x)) for x in _listed(counts))
    theta = model.theta().detach()
    listed = float(AOT(score(model.start, theta, chosen, rejected)))
    c, r = chosen[:LISTED], rejected[: round(REJECTED_SHARE * LISTED)]
    order = torch.as_tensor(rng.permutation(len(r)))
    parts = list(zip(c.chunk(MICRO_BATCHES), r.chunk(MICRO_BATCHES), strict=True))

    def live(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        log_probs = model.log_probs().flatten()
        return log_probs[part[0]], log_probs[part[1]]

    def known(part: tuple[Tensor, Tensor]) -> PreferenceLogProbs:
        return score(model.start, theta, *part)

    def by_weights(step: Callable[[], object]) -> Tensor:
        for parameter in model.parameters:
            parameter.grad = None
        step()
        return torch.cat([p.grad.flatten() for p in model.parameters if p.grad is not None]).double()

    def at_once(objective: Callable[..., Tensor], *part: Tensor) -> Tensor:
        def step() -> None:
            scores = dict(zip(("chosen", "rejected"), live(part), strict=True))  # pyright: ignore[reportArgumentType]
            objective(replace(known(part), **scores)).backward()  # pyright: ignore[reportArgumentType]

        return by_weights(step)

    def off(found: Tensor, right: Tensor) -> float:
        return float((found - right).norm() / right.norm())

    whole, pairs = at_once(AOT, c, r), at_once(DPO, c[: len(r)], r)
    two_passes = by_weights(lambda: backward(AOT, live, parts, [known(part) for part in parts]))
    alone = by_weights(lambda: [backward(AOT, live, [part], [known(part)]) for part in parts])
    return {
        "permuted": off(at_once(AOT, c, r[order]), whole),
        "dpo_permuted": off(at_once(DPO, c[: len(r)], r[order]), pairs),
        "two_pass": off(two_passes, whole),
        "accumulated": off(alone / MICRO_BATCHES, whole),
        "counts": abs(float(AOT(_scored(model.start, theta, counts))) / listed - 1),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval over seeds of every measure, per world, and the distances of gradients."""
    trained, gradients = (rows.loc[rows.part == part] for part in ("training", "gradients"))
    frames = [summarise(trained, ["world"], q).assign(quantity=q) for q in MEASURES]
    frames += [summarise(gradients, ["part"], q).drop(columns="part").assign(quantity=q) for q in GRADIENTS]
    return pd.concat(frames, ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Violations at the same divergence, in both worlds; and what sorting makes of orders, parts, counts."""
    gradients = rows.loc[rows.part == "gradients"]
    separations = [
        separation(
            f"{world}: violation of dominance, BCO minus {name} at its divergence",
            mine.violation - mine[f"{column}_violation"],
        )
        for world, name, column in (
            ("language model", "AOT", "aot"),
            ("simulation", "AOT", "aot"),
            ("simulation", "BCO at a fifth of beta", "on_its_way"),
        )
        for mine in [rows.loc[rows.world == world]]
    ]
    return [
        *separations,
        identity("gradient with the rejected in another order, relative", gradients.permuted, 1e-9),
        differs("DPO: gradient with the rejected in another order, relative", gradients.dpo_permuted, 1e-2),
        identity(
            f"two passes over {MICRO_BATCHES} micro-batches = whole batch, gradient, relative",
            gradients.two_pass,
            1e-4,
        ),
        differs("accumulation over the same micro-batches is another gradient", gradients.accumulated, 1e-2),
        identity("value of counts = value of the list, relative", gradients.counts, 1e-12),
    ]
