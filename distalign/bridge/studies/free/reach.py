r"""The best laws that a small writer can reach: tilts of its reference by sums over tokens and their pairs.

An optimum is a tilt of the reference by some function of the whole text. A network that predicts one token
after the other learns a function that is a sum over tokens and pairs of neighbours within a few hundred
updates. One that saturates in such a sum, as a utility in [0, 1] does, it does not learn, whatever the number
of texts: a text that has enough is pushed on. So a writer ends near

    argmin over theta of  L(l_theta),   l_theta(y) = theta' s(y) - log E_ref exp(theta' s),                (1)

with L the population loss of its method and s one or more scores that are such sums. (1) is computed on draws
of the reference before anything is trained, like every prediction here (`best_sum`). Where the optimum is
such a tilt itself, both predictions agree. They are not bounds of each other: a network learns a little more
than sums.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from distalign.bridge.generation.tilts import Tilt, win_matrix
from distalign.checks import InputError
from distalign.divergences import Divergence
from distalign.types import Array

COMPARED = 192
"""Draws of a prompt whose pairs make a loss of pairs."""


def tilt_by(theta: Array, scores: Array) -> Tilt:
    """The tilt of the reference by exp(theta' s).

    Args:
        theta: (K,) factors.
        scores: (K, S, N) s of the draws.

    Example:
        >>> tilt_by(np.array([np.log(3.0)]), np.array([[[0.0, 1.0]]])).weights.round(9).tolist()
        [[0.25, 0.75]]
    """
    logits = np.tensordot(theta, scores, 1)
    return Tilt("best tilt by a sum", logits - logsumexp(logits, axis=1, keepdims=True))  # type: ignore[operator]


def best_sum(scores: Array, loss: Callable[[Array], float], *, start: float = 0.5) -> Tilt:
    """The tilt of equation (1).

    Args:
        scores: (K, S, N) scores of the draws that are sums over tokens and pairs of neighbours.
        loss: L of (S, N) log-ratios to the reference, smooth.
        start: first guess of the first factor; the others start at 0.

    Raises:
        InputError: the loss has no smallest value that could be found.

    Example: half the squared distance to a log-ratio of log 3.
        >>> s = np.array([[[0.0, 1.0]]])
        >>> found = best_sum(s, lambda l: float((l[0, 1] - l[0, 0] - np.log(3.0)) ** 2))
        >>> found.weights.round(4).tolist()
        [[0.25, 0.75]]
    """
    guess = np.zeros(len(scores))
    guess[0] = start
    found = minimize(
        lambda theta: loss(tilt_by(theta, scores).log_ratio), guess, method="Nelder-Mead", options=_PRECISE
    )
    if not (found.success and np.isfinite(found.fun)):
        raise InputError("the scores carry no tilt with a smallest loss: take a larger beta")
    return tilt_by(found.x, scores)


_PRECISE = {"xatol": 1e-4, "fatol": 1e-10, "maxiter": 2000}


def pair_loss(log_ratio: Array, win: Array, *, beta: float, f: Divergence) -> float:
    """The loss of f-DPO on all pairs of draws, for soft labels.

    Args:
        log_ratio: (S, N) log pi/pi_ref.
        win: (S, N, N) P(y_i preferred to y_j).
        beta: strength.
        f: the divergence.

    Example: equal log-ratios.
        >>> from distalign.divergences import divergence
        >>> win = np.array([[[0.5, 0.8], [0.2, 0.5]]])
        >>> round(pair_loss(np.zeros((1, 2)), win, beta=1.0, f=divergence("reverse_kl")), 6)
        0.693147
    """
    implied = beta * f.link(log_ratio)
    margins = implied[:, :, None] - implied[:, None, :]
    off = ~np.eye(log_ratio.shape[1], dtype=bool)
    return float((2 * win * np.logaddexp(0, -margins))[:, off].mean())


def best_sum_of_pairs(sums: Array, reward: Array, *, beta: float, f: Divergence) -> Tilt:
    """The best tilt by sums for f-DPO on the first COMPARED draws, whose users are Bradley-Terry.

    Args:
        sums: (K, S, N) scores as `best_sum` takes them.
        reward: (S, N) of the users, in logits.
        beta: strength.
        f: the divergence.
    """
    win = win_matrix(reward[None, :, :COMPARED], [1.0], [1.0])
    return best_sum(sums, lambda ratio: pair_loss(ratio[:, :COMPARED], win, beta=beta, f=f))


def regret(log_ratio: Array, reward: Array, *, beta: float) -> float:
    """Minus the objective of RLHF, beta KL(pi || pi_ref) - E_pi r, on draws of the reference.

    Args:
        log_ratio: (S, N) log pi/pi_ref, of mean ratio 1 in each row.
        reward: (S, N) r.
        beta: price of a nat.

    Example: the reference, whose mean reward is 1.
        >>> regret(np.zeros((1, 2)), np.array([[0.0, 2.0]]), beta=1.0)
        -1.0
    """
    weights = np.exp(log_ratio) / log_ratio.shape[1]
    return float((weights * (beta * log_ratio - reward)).sum(1).mean())
