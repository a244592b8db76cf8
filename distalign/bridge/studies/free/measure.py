"""f-DPO in the studies of free generation: reward, training, and what is measured against the target."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from distalign.bridge.generation import estimates
from distalign.bridge.generation.learning import train_on_groups
from distalign.bridge.generation.tilts import Tilt, win_matrix
from distalign.bridge.generation.token_scores import utility
from distalign.bridge.generation.writer import Texts
from distalign.bridge.studies.free.world import Measured, World
from distalign.divergences import Divergence
from distalign.objectives import f_dpo
from distalign.types import Array

SPREAD, DRAWS, GROUP, RATE = 3.0, 1024, 12, 4e-3
"""Range of the reward in logits, held-out draws, texts of a prompt in an update, and Adam's first rate."""


def reward_of(here: World) -> Callable[[Texts], Array]:
    """The reward of a world in logits: SPREAD times a utility in [0, 1], of standard deviation about 1."""
    score = here.score(1)
    return lambda texts: SPREAD * utility(score(texts))


def train_f_dpo(here: World, f: Divergence, beta: float, *, updates: int, rng: np.random.Generator) -> None:
    """Train the writer of a world by f-DPO on fresh groups of draws, whose users are Bradley-Terry."""
    texts, reference = here.pool(updates * GROUP, rng)
    rewards = reward_of(here)(texts)
    train_on_groups(
        here.writer,
        partial(f_dpo, beta=beta, divergence=f.name),
        texts,
        reference,
        lambda part: win_matrix(rewards[None, :, part], [1.0], [1.0]),
        group=GROUP,
        learning_rate=RATE,
    )


def against_target(target: Tilt, model: Measured, reward: Array, own: Array) -> dict[str, Array]:
    """(S,) numbers of a trained writer for each prompt, rewards as gains over the reference.

    * `predicted`, `predicted_kl`: the target's gain and KL on the held-out draws.
    * `gain`, `kl`: the writer's by the reweighted road, on the same draws.
    * `fresh`, `fresh_kl`: by the fresh road, on texts of its own.
    * `distance`: KL(target || writer). `slope`: of log rho on the target's log-ratio.
    * `mean_rho`, and `apart`: how far the two roads are apart, 1 where an interval just holds 0.
    * `efficiency`: the gain over the largest gain at the KL spent, both by the reweighted road;
      `predicted_efficiency`: the target's.
    * `distinct`: share of different ones among the pairs of neighbouring tokens of the writer's texts.

    Args:
        target: on the held-out draws of the reference.
        model: the writer by both roads.
        reward: (S, N) of the held-out draws.
        own: (S, M) of the writer's texts.
    """
    start = reward.mean(1)
    far, kl = estimates.distances(target, model.log_rho), model.reweighted.kl()
    gain, predicted = model.reweighted.mean(reward) - start, target.mean(reward) - start
    return {
        "predicted": predicted,
        "predicted_kl": target.kl(),
        "gain": gain,
        "kl": kl,
        "fresh": model.fresh.mean(own) - start,
        "fresh_kl": model.fresh.kl(),
        "distance": far.kl,
        "slope": far.slope,
        "mean_rho": model.reweighted.mean_rho(),
        "apart": model.apart(reward, own),
        "efficiency": gain / (estimates.frontier(reward, kl) - start),
        "predicted_efficiency": predicted / (estimates.frontier(reward, target.kl()) - start),
        "distinct": distinct(model.texts),
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
