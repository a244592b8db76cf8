"""The f-regularised optimum of a given expected reward.

Divergences are compared fairly at equal expected reward, not at equal beta.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distalign.checks import InputError, laws, moderate, reals, together
from distalign.divergences import Divergence
from distalign.solvers.kkt import RegularisedOptimum, regularised_policy
from distalign.types import Array

_HALVINGS = 60
_DECADES = 7.0  # beta is sought within this many decades of the range of the reward


def policy_at_reward(
    reward: ArrayLike, ref: ArrayLike, target: ArrayLike, f: str | Divergence
) -> tuple[Array, RegularisedOptimum]:
    r"""The beta at which argmax r.p - beta D_f(p || ref) has r.p = target, and that policy, for every row.

    The expected reward falls as beta grows, from max r to E_ref r, so beta is found by bisection of its
    logarithm. Among all policies of that reward the optimum is the one nearest to the reference in D_f.

    Args:
        reward: (..., K) rewards.
        ref: (..., K) reference probabilities, above 0, of sum 1.
        target: (...) expected reward asked for, strictly between E_ref r and max r.
        f: a divergence of `distalign.divergences` or its name.

    Returns:
        beta (...), and the optima, whose multipliers and stationarity are in units of beta.

    Raises:
        InputError: a target is out of reach, or whatever `regularised_policy` refuses.

    Source: ours (Lagrangian duality).

    Example:
        >>> beta, best = policy_at_reward([1.0, 0.0], [0.5, 0.5], 0.75, "reverse_kl")
        >>> best.policy.round(9).tolist(), float((1 / beta).round(6)), round(float(np.log(3)), 6)
        ([0.75, 0.25], 1.098612, 1.098612)
    """
    r, q = together(
        reward=reals("reward", reward, "(..., K)", "give one finite number for each response"),
        ref=laws("ref", ref, "(..., K)", "a response it never gives has no ratio"),
    )
    moderate("reward", r, "take other units")
    goal = reals("target", target, "(...)", "it lies between E_ref r and max r")
    base, top = (q * r).sum(-1), r.max(-1)
    if not ((goal > base) & (goal < top)).all():
        raise InputError(
            "target must lie strictly between the reference's expected reward and the highest reward, "
            f"[{base.min():.6g}, {top.max():.6g}] over all rows: no regularised optimum reaches another one"
        )
    log_range = np.log10(top - r.min(-1))
    low, high = log_range - _DECADES, log_range + _DECADES
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        reached = (regularised_policy(r / 10 ** middle[..., None], q, 1.0, f).policy * r).sum(-1)
        low, high = np.where(reached > goal, middle, low), np.where(reached > goal, high, middle)
    beta = 10 ** ((low + high) / 2)
    return beta, regularised_policy(r / beta[..., None], q, 1.0, f)
