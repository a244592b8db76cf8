"""What the studies of free generation measure of a trained writer: both roads, its target, and its texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from distalign.bridge.generation import estimates
from distalign.bridge.generation.tilts import Tilt
from distalign.bridge.generation.writer import Texts, Writer
from distalign.types import Array


@dataclass(frozen=True, eq=False)
class Held:
    """Held-out draws of the reference, on which no writer is trained.

    Attributes:
        texts: (S, N).
        log_prob: (S, N) log-probabilities under the reference.
        reward: (S, N).
    """

    texts: Texts
    log_prob: Array
    reward: Array


def hold(writer: Writer, count: int, generator: torch.Generator, reward: Callable[[Texts], Array]) -> Held:
    """Held-out draws of a writer that stands at its reference."""
    texts = writer.draw(count, generator)
    return Held(texts, writer.log_prob(texts), reward(texts))


def measured(
    writer: Writer,
    target: Tilt,
    held: Held,
    reward: Callable[[Texts], Array],
    generator: torch.Generator,
    count: int,
) -> dict[str, Array]:
    """(S,) numbers of a trained writer for each prompt, rewards as gains over the reference.

    * `predicted`, `predicted_kl`: the target's gain and KL on the held-out draws.
    * `gain`, `kl`: the writer's by the reweighted road, on the same draws.
    * `fresh`, `fresh_kl`: by the fresh road, on `count` texts of its own.
    * `distance`: KL(target || writer). `slope`: of log rho on the target's log-ratio.
    * `mean_rho`, and whether `agree`: all texts and their scores belong together (`estimates.overlap`).
    * `efficiency`: the gain over the largest gain at the KL spent, both by the reweighted road.
    * `entropy`: of the writer's texts in nats; `distinct`: share of different ones among all pairs of
      neighbouring tokens of its texts.
    """
    start = held.reward.mean(1)
    model = estimates.Reweighted(writer.log_prob(held.texts) - held.log_prob)
    own = writer.draw(count, generator)
    own_log_prob = writer.log_prob(own)
    with writer.reference():
        fresh = estimates.Fresh(own_log_prob - writer.log_prob(own))
    far, kl = estimates.distances(target, model.log_rho), model.kl()
    gain = model.mean(held.reward) - start
    return {
        "predicted": target.mean(held.reward) - start,
        "predicted_kl": target.kl(),
        "gain": gain,
        "kl": kl,
        "fresh": fresh.mean(reward(own)) - start,
        "fresh_kl": fresh.kl(),
        "distance": far.kl,
        "slope": far.slope,
        "mean_rho": model.mean_rho(),
        "agree": np.full(len(kl), float(estimates.overlap(model.log_rho, fresh.log_ratio).passed)),
        "efficiency": gain / (estimates.frontier(held.reward, kl) - start),
        "entropy": -own_log_prob.mean(1),
        "distinct": distinct(own),
    }


def distinct(texts: Texts) -> Array:
    """(S,) share of different ones among all pairs of neighbouring tokens of the texts to each prompt.

    Example:
        >>> distinct(Texts(np.array([[[5, 6, -1], [5, 6, 7]]]))).round(3).tolist()
        [0.667]
    """
    shares = []
    for tokens in texts.tokens:
        pairs = np.stack([tokens[:, :-1].ravel(), tokens[:, 1:].ravel()], 1)
        pairs = pairs[pairs[:, 1] >= 0]
        shares.append(len(np.unique(pairs, axis=0)) / len(pairs))
    return np.array(shares)
