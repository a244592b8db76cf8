"""f-DPO in the studies of free generation: rewards, training, and what is measured against the target.

There are two rewards. `saturating` is a utility in [0, 1] of a sum over tokens and pairs of neighbours, as
users have it. Its optimum is no tilt by such a sum, and a small writer does not reach it
(`distalign.bridge.studies.free.reach`). `of_a_sum` is the reward whose optimum is such a tilt: there the
theorem can be asked of the trained writer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from distalign.bridge.generation import estimates
from distalign.bridge.generation.learning import train_on_groups
from distalign.bridge.generation.tilts import Tilt, win_matrix
from distalign.bridge.generation.token_scores import utility
from distalign.bridge.generation.writer import Texts
from distalign.bridge.studies.free.world import Measured, World
from distalign.divergences import Divergence
from distalign.objectives import f_dpo
from distalign.types import Array

SPREAD, SUM, DRAWS, GROUP, PACE = 3.0, 0.85, 1024, 12, 2.0
"""Range of the saturating reward in logits, that of a sum for a score of 1, held-out draws, texts of a prompt
in an update, and Adam's first rate.
"""


def saturating(here: World) -> Callable[[Texts], Array]:
    """The reward of a world in logits: SPREAD times a utility in [0, 1], of standard deviation about 1."""
    score = here.score(1)
    return lambda texts: SPREAD * utility(score(texts))


def of_a_sum(here: World, f: Divergence, beta: float) -> Callable[[Texts], Array]:
    r"""The reward beta f'(w), w \propto exp(a s), whose optimum under D_f is w: a tilt by the sum s.

    s is the score of the world, and a = SUM / (beta f''(1)). With the reverse KL the reward is SUM s plus a
    number for each prompt; with other divergences the optimum is the same and the reward is another. The
    normaliser of w is that of the held-out draws.
    """
    score, strength = here.score(1), SUM / (beta * f.curvature)
    tilted = strength * score(here.draws)
    total = logsumexp(tilted, axis=1, keepdims=True) - np.log(tilted.shape[1])
    return lambda texts: beta * f.link(strength * score(texts) - total)


def train_f_dpo(
    here: World,
    reward: Callable[[Texts], Array],
    f: Divergence,
    beta: float,
    *,
    updates: int,
    rng: np.random.Generator,
) -> None:
    """Train the writer of a world by f-DPO on fresh groups of draws, whose users are Bradley-Terry."""
    texts, reference = here.pool(updates * GROUP, rng)
    rewards = reward(texts)
    train_on_groups(
        here.writer,
        partial(f_dpo, beta=beta, divergence=f.name),
        texts,
        reference,
        lambda part: win_matrix(rewards[None, :, part], [1.0], [1.0]),
        group=GROUP,
        pace=PACE,
    )


def against_target(target: Tilt, reach: Tilt, model: Measured, reward: Array, own: Array) -> dict[str, Array]:
    """(S,) numbers of a trained writer for each prompt, rewards as gains over the reference.

    * `predicted`, `predicted_kl`: the target's gain and KL on the held-out draws.
    * `reach`, `reach_kl`: the same of the best tilt by a sum; `reach_distance`: KL(target || it).
    * `gain`, `kl`: the writer's by the reweighted road, on the same draws.
    * `fresh`, `fresh_kl`: by the fresh road, on texts of its own; `fresh_error`, `fresh_kl_error`: standard
      errors of these minus the predicted ones, from the texts of both.
    * `distance`: KL(target || writer), and `from_reach` KL(best tilt by a sum || writer).
    * `slope`: of log rho on the target's log-ratio.
    * `mean_rho`, and `apart`: how far the two roads are apart, 1 where an interval just holds 0.
    * `efficiency`: the gain over the largest gain at the KL spent, both by the reweighted road;
      `predicted_efficiency`: the target's.
    * `distinct`: share of different ones among the pairs of neighbouring tokens of the writer's texts.

    Args:
        target: on the held-out draws of the reference.
        reach: the best tilt by a sum on them.
        model: the writer by both roads.
        reward: (S, N) of the held-out draws.
        own: (S, M) of the writer's texts.
    """
    start = reward.mean(1)
    far, kl = estimates.distances(target, model.log_rho), model.reweighted.kl()
    carried = estimates.Reweighted(target.log_ratio)
    gain, predicted = model.reweighted.mean(reward) - start, target.mean(reward) - start
    return {
        "predicted": predicted,
        "predicted_kl": target.kl(),
        "reach": reach.mean(reward) - start,
        "reach_kl": reach.kl(),
        "reach_distance": estimates.distances(target, reach.log_ratio).kl,
        "gain": gain,
        "kl": kl,
        "fresh": model.fresh.mean(own) - start,
        "fresh_kl": model.fresh.kl(),
        "fresh_error": _error(carried.terms(reward), own),
        "fresh_kl_error": _error(carried.kl_terms(), model.fresh.log_ratio),
        "distance": far.kl,
        "from_reach": estimates.distances(reach, model.log_rho).kl,
        "slope": far.slope,
        "mean_rho": model.reweighted.mean_rho(),
        "apart": model.apart(reward, own),
        "efficiency": gain / (estimates.frontier(reward, kl) - start),
        "predicted_efficiency": predicted / (estimates.frontier(reward, target.kl()) - start),
        "distinct": distinct(model.texts),
    }


def _error(terms: Array, own: Array) -> Array:
    """(S,) standard errors of the difference of two independent means."""
    return np.sqrt(terms.var(1) / terms.shape[1] + own.var(1) / own.shape[1])


def in_errors(rows: pd.DataFrame, found: str, predicted: str, error: str, by: list[str]) -> Array:
    """Mean difference of two columns in standard errors, for each group of independent rows.

    Example:
        >>> rows = pd.DataFrame({"m": ["a", "a"], "x": [1.0, 3.0], "p": [1.0, 1.0], "e": [0.5, 0.5]})
        >>> in_errors(rows, "x", "p", "e", ["m"]).round(6).tolist()
        [2.828427]
    """
    squares = rows.assign(difference=rows[found] - rows[predicted], square=rows[error] ** 2)
    groups = squares.groupby(by)
    return (groups.difference.sum() / np.sqrt(groups.square.sum())).to_numpy()


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
