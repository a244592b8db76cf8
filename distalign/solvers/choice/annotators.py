"""Rewards from annotators who answered twice: the Bradley-Terry fit without the bias of first order."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import UNIT, checked
from distalign.checks import InputError, reals
from distalign.solvers.choice.certified import checked_win
from distalign.solvers.choice.reward import RewardFit, reward_mle
from distalign.types import Array


@checked(twice=UNIT.of("m m"))
def corrected_win(win: ArrayLike, twice: ArrayLike) -> Array:
    r"""Win probabilities of an annotator of average rewards, to second order in how much annotators differ.

        p - (1 - 2p) q / (2 p (1 - p)),     q = P(x twice) - p^2

    q is the covariance of two answers of one annotator: 0 if all are alike. The anonymous p = E sigma(d) is
    nearer to 1/2 than sigma(E d), by sigma''(D) V/2 for small differences between annotators; and q is
    sigma'(D)^2 V, with sigma'' = sigma' (1 - 2 sigma).

    Args:
        win: (m, m) P(x preferred to y), over all annotators.
        twice: (m, m) probability that one annotator who is asked twice prefers x to y both times.

    Returns:
        (m, m) win matrix, cut to [0, 1]; a pair whose answers are certain stays as it is.

    Raises:
        InputError: not a win matrix, or another shape.

    Source: ours; a first-order correction from paired answers is in the abstract of Shirali et al., arXiv
        2502.16320, whose form was not seen.

    Example:
        >>> corrected_win([[0.5, 0.7], [0.3, 0.5]], [[0.25, 0.53], [0.13, 0.25]]).round(6).tolist()
        [[0.5, 0.738095], [0.261905, 0.5]]
    """
    p = checked_win(win)
    both = reals("twice", twice, "(m, m)", "give a probability for each pair")
    if both.shape != p.shape:
        raise InputError(f"twice must have the shape of win, {p.shape}, got {both.shape}")
    spread = p * (1 - p)
    q = both - p**2
    correction = np.where(spread > 0, (1 - 2 * p) * q / (2 * np.where(spread > 0, spread, 1)), 0.0)
    upper = np.triu(np.clip(p - correction, 0, 1), 1)
    return upper + np.tril(1 - upper.T, -1) + np.eye(len(p)) / 2


@checked(twice=UNIT.of("m m"))
def corrected_reward(win: ArrayLike, twice: ArrayLike, comparison: ArrayLike) -> RewardFit:
    """The Bradley-Terry reward of `corrected_win`.

    It is the implicit reward of the policy that minimises DPO's loss with the corrected probabilities as soft
    labels.

    Args:
        win: (m, m) P(x preferred to y).
        twice: (m, m) probability that one annotator prefers x to y both times.
        comparison: (m,) or (m, m) weights, as in `distalign.solvers.choice.reward.reward_mle`.

    Raises:
        InputError: as `corrected_win` and `reward_mle`.

    Source: as `corrected_win`.

    Example:
        >>> fit = corrected_reward([[0.5, 0.7], [0.3, 0.5]], [[0.25, 0.49], [0.09, 0.25]], [0.5, 0.5])
        >>> bool(abs(fit.reward[0] - fit.reward[1] - np.log(7 / 3)) < 1e-9)
        True
    """
    return reward_mle(corrected_win(win, twice), comparison)
