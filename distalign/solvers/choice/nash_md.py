"""Nash mirror descent, the usual iterative method for regularised NLHF, with the certificate of its last
policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import ArrayLike

from distalign.checks import moderate, positive, whole
from distalign.solvers.choice.certified import CertifiedPolicy, checked_log_reference, checked_win, normalised
from distalign.solvers.choice.games import regularised_gain
from distalign.types import Array


def nash_md(win: ArrayLike, log_reference: ArrayLike, strength: float, steps: int = 1000) -> CertifiedPolicy:
    r"""The policy of Nash mirror descent after a number of steps.

    It approaches the policy that `regularised_nlhf` computes.

    Args:
        win: (m, m) P(x preferred to y).
        log_reference: (m,) log pi_ref, full support.
        strength: lambda = 2 tau, as in `nash_md_iterates`.
        steps: at least 1.

    Returns:
        The last policy; its certificate is what the best reply gains in the regularised game. A few hundred
        steps seldom certify it to 1e-9 of the largest margin, because the method converges slowly.

    Raises:
        InputError: not a win matrix, reference not normalised, a strength that is not positive, no steps.

    Source: see `nash_md_iterates`.

    Example:
        >>> q = np.log([0.5, 0.5])
        >>> found = nash_md([[0.5, 0.75], [0.25, 0.5]], q, 1.0)
        >>> bool(abs(found.log_policy[0] - found.log_policy[1] - 0.5) < 1e-3)
        True
    """
    whole("steps", steps, 1, "the first iterate is the reference")
    last = next(islice(nash_md_iterates(win, log_reference, strength), steps, None))
    scale = float(np.abs(2 * np.asarray(win, float) - 1).max())
    return CertifiedPolicy(last, regularised_gain(win, last, log_reference, strength), 1e-9 * scale)


def nash_md_iterates(win: ArrayLike, log_reference: ArrayLike, strength: float) -> Iterator[Array]:
    r"""The log-policies of Nash mirror descent, an endless iterator that starts at pi_ref.

    With payoffs P and weight tau of the KL:  pi_mix proportional to  pi_t^(1 - eta tau) pi_ref^(eta tau),
    pi_{t+1} proportional to  pi_mix exp(eta P pi_mix),  eta = 2 / (tau (t + 2)).  A policy plays against its
    mixture with the reference, never against itself. The limit is the equilibrium of `regularised_nlhf` at
    lambda = 2 tau, because M = 2P - 1.

    Args:
        win: (m, m) P(x preferred to y).
        log_reference: (m,) log pi_ref, full support.
        strength: lambda = 2 tau, above 0, in units of M.

    Source: Munos et al., arXiv 2312.00886 (Nash-MD, with the decreasing steps of its convergence in KL).

    Example:
        >>> q = np.log([0.5, 0.5])
        >>> first, second = islice(nash_md_iterates([[0.5, 0.75], [0.25, 0.5]], q, 1.0), 2)
        >>> np.exp(first).tolist(), float(round(second[0] - second[1], 9))
        ([0.5, 0.5], 0.5)
    """
    p = checked_win(win)
    q = checked_log_reference(log_reference, len(p))
    positive("strength", strength, "lambda is twice the weight tau of the KL in units of win probabilities")
    moderate("strength", strength, "lambda is twice the weight tau of the KL in units of win probabilities")
    return _iterates(p, q, strength / 2)


def _iterates(p: Array, q: Array, tau: float) -> Iterator[Array]:
    """`nash_md_iterates` for checked arguments."""
    policy, t = q, 0
    while True:
        yield policy
        pull = 2 / (t + 2)  # eta tau
        mixture = normalised((1 - pull) * policy + pull * q)
        policy, t = normalised(mixture + pull / tau * (p @ np.exp(mixture))), t + 1
