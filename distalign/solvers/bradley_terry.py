"""Bradley-Terry fits of many win tables at once, and the DPO policies they give at every beta."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_softmax

from distalign.checks import InputError, laws, moderate, positive, reals, together
from distalign.solvers.batched_newton import batched_newton
from distalign.solvers.comparison_graph import require_connected
from distalign.types import Array


@dataclass(frozen=True)
class Rewards:
    """Maximum-likelihood Bradley-Terry rewards of many tables of wins.

    Attributes:
        reward: (R, K) rewards of mean 0, in logits.
        solved: (R,) every response can be reached from every other along wins (Ford's condition) and Newton's
            method has converged; elsewhere no finite maximum exists.
    """

    reward: Array
    solved: NDArray[np.bool_]


def bradley_terry_rewards(wins: ArrayLike) -> Rewards:
    r"""argmax over h of  sum_ij W_ij log sigma(h_i - h_j)  for many tables W of wins.

    A table may hold counts, or the exact law of winner and loser. DPO over all policies is this fit: whatever
    beta is, its optimum is p_ref exp(h / beta), see `dpo_policy`. For one table of infinitely many
    comparisons `distalign.solvers.choice.reward.reward_mle` has a certificate.

    Args:
        wins: (R, K, K) or (K, K) non-negative; W_ij counts the wins of i over j. The diagonal is ignored.

    Raises:
        InputError: the tables are not square, hold a negative number, or one of them is empty; or the only
            table (K, K) has no finite maximum, and then the message names the responses in the way. Of many
            tables such a one is flagged.

    Source: Ford, "Solution of a ranking problem from binary comparisons", 1957, for existence.

    Example:
        >>> fit = bradley_terry_rewards([[0, 3], [1, 0]])
        >>> bool(abs(fit.reward[0, 0] - fit.reward[0, 1] - np.log(3)) < 1e-9), fit.solved.tolist()
        (True, [True])
    """
    sentence = "wins must be non-negative of shape (R, K, K) or (K, K): count how often row beat column"
    w = reals("wins", wins, "(..., K, K)", "", sentence=sentence)
    w = w[None] if w.ndim == 2 else w
    if w.ndim != 3 or w.shape[1] != w.shape[2] or not (w >= 0).all():
        raise InputError(f"wins must be non-negative of shape (R, K, K) or (K, K), got {w.shape}")
    moderate("wins", w, "divide the counts by their total")
    w = w * (1 - np.eye(w.shape[1]))
    total = w.sum((1, 2), keepdims=True)
    if not (total > 0).all():
        raise InputError("wins must hold at least one comparison of two different responses in every table")
    if np.ndim(wins) == 2:
        require_connected(w[0])
    w = w / total
    minima = batched_newton(
        lambda h, rows: _negative_log_likelihood(h, w[rows]), np.zeros((len(w), w.shape[1] - 1))
    )
    h = np.pad(minima.x, ((0, 0), (0, 1)))
    return Rewards(h - h.mean(1, keepdims=True), _strongly_connected(w > 0) & minima.solved)


def dpo_policy(reward: ArrayLike, ref: ArrayLike, beta: float) -> Array:
    """The DPO optimum p_ref exp(h / beta), normalised, for Bradley-Terry rewards h.

    Args:
        reward: (..., K) rewards in logits.
        ref: (K,) reference probabilities, above 0.
        beta: KL strength of DPO, above 0.

    Returns:
        (..., K) probabilities.

    Raises:
        InputError: rewards are not finite, ref is no positive law, the shapes differ, or beta is not above 0.

    Source: arXiv 2305.18290, the inverse of its reward parametrisation.

    Example:
        >>> dpo_policy([np.log(3), 0.0], [0.5, 0.5], beta=1.0).round(12).tolist()
        [0.75, 0.25]
    """
    positive("beta", beta, "it is the KL strength of DPO")
    r = reals("reward", reward, "(..., K)", "give one logit for each response")
    q = laws("ref", ref, "(..., K)")
    if not (q > 0).all() or r.shape[-1] != q.shape[-1]:
        raise InputError(
            f"ref must be positive and hold one probability for each reward, got {q.shape} and {r.shape}"
        )
    r, q = together(reward=r, ref=q)
    with np.errstate(over="ignore"):
        tilt = r / beta
    if not np.isfinite(tilt).all():
        raise InputError(f"beta must not be so small that reward / beta overflows, got {beta!r}")
    return np.exp(log_softmax(np.log(q) + tilt, -1))


def _negative_log_likelihood(free: Array, w: Array) -> tuple[Array, Array, Array]:
    """Value, gradient and Hessian in all rewards but the last, which is 0."""
    h = np.pad(free, ((0, 0), (0, 1)))
    gaps = h[:, :, None] - h[:, None, :]
    lost = w * expit(-gaps)
    curvature = (w + w.transpose(0, 2, 1)) * expit(gaps) * expit(-gaps)
    laplacian = curvature.sum(2)[:, :, None] * np.eye(h.shape[1]) - curvature
    return (
        (w * np.logaddexp(0, -gaps)).sum((1, 2)),
        (lost.sum(1) - lost.sum(2))[:, :-1],
        laplacian[:, :-1, :-1],
    )


def _strongly_connected(edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether every response reaches every other along the edges, (R,), by repeated squaring."""
    reach = edges | np.eye(edges.shape[-1], dtype=bool)
    for _ in range(int(np.ceil(np.log2(edges.shape[-1]))) + 1):
        reach = (reach.astype(np.float32) @ reach.astype(np.float32)) > 0
    return np.asarray(reach.all((1, 2)))
