r"""How far a population must move before a trained policy is no better than the reference.

The reference has the loss log 2 under every law. The break-even radius of a policy, in a divergence or
distance D from the law P of training, is

    r(theta) = min { D(Q, P) : E_Q l(theta) >= log 2 },   l = log(1 + exp(-t)),   t = beta <theta, v>.     (1)

For KL it is an information projection, with a dual in one variable (Cramer's rate function of the losses),

    r = max over s >= 0 of  s log 2 - log E_P exp(s l).                                     (2)

Shrinking helps, in every D. For each law E_Q l(c theta) is convex in c and log 2 at c = 0, so once it has
come back to log 2 it stays above: the laws that undo c theta also undo every larger multiple, and r(c
theta) does not increase in c > 0.

The limit. On Bradley-Terry data that the class fits, with t* the margins of DPO's solution theta*,

    r(c theta*) -> -log E_P exp(-t* / 2) = -log E sech(t* / 2)   for c -> 0, in KL.         (3)

For small c the law must have E_Q t* <= 0, and E_P exp(-s t*) is symmetric about s = 1/2, where it is
least, because a pair is won with odds e^{t*}. Under the worst law Q \propto P exp(-t* / 2) every label is
a fair coin. That is the collapse radius, beyond which the robust optimum is the reference itself; no
policy has a larger break-even radius. So in KL shrinking alone reaches the most there is.

Weak preferences. To leading order in t*, the mean of log 2 - l at c theta* is c (2 - c) s / 8 and its
variance c^2 s / 4, with s = E t*^2, so that r(c theta*) = (2 - c)^2 s / 32 in KL and chi-square: KLDPO, c
= tau / (1 + tau), withstands ((2 + tau) / (1 + tau))^2 times the shift that DPO does, and at most four
times.

Source: (2) is Cramer's and Csiszar's; what is made of it is ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import logsumexp

from distalign.arguments import COST, LAW, ORDER, REAL, UNIT, checked
from distalign.types import Array

LEVEL = float(np.log(2))
_HALVINGS = 200


@checked(losses=REAL.of("m"), p=LAW.of("m"))
def kl_break_even(losses: ArrayLike, p: ArrayLike) -> float:
    """The break-even radius (1) in nats, by the dual (2).

    It is 0 where the mean loss is log 2 already, and infinite where no loss exceeds log 2.

    Args:
        losses: (m,) losses of the policy on the atoms.
        p: (m,) law of training, of sum 1.

    Example: one pair, won with chance 0.9, and DPO's solution: the label must lose with chance 0.2714.
        >>> round(kl_break_even([-np.log(0.9), -np.log(0.1)], [0.9, 0.1]), 4)
        0.1124
    """
    x, p = _above_level(losses, p)
    if p @ x >= 0:
        return 0.0
    if x.max() <= 0:
        return float("inf")

    def mean(s: float) -> float:
        exponents = s * x
        return float((p * np.exp(exponents - exponents.max())) @ x)

    high = 1.0
    while mean(high) < 0:
        high *= 2
    s: Any = brentq(mean, 0.0, high, xtol=1e-14)
    return -float(np.asarray(logsumexp(s * x, b=p)))


@checked(losses=REAL.of("m"), p=LAW.of("m"))
def chi2_break_even(losses: ArrayLike, p: ArrayLike) -> float:
    """The break-even radius (1) in the divergence E_P (dQ/dP - 1)^2 / 2.

    It is (log 2 - mean)^2 / (2 variance) while the nearest law, whose ratio is a line in the loss, is
    nowhere negative; otherwise the ratio is the positive part of a line.

    Args:
        losses, p: as in `kl_break_even`.

    Example:
        >>> round(chi2_break_even([0.0, 1.0], [0.5, 0.5]), 6)  # (log 2 - 1/2)^2 / (2 / 4)
        0.074612
    """
    x, p = _above_level(losses, p)
    mean = float(p @ x)
    if mean >= 0:
        return 0.0
    if x.max() <= 0:
        return float("inf")
    variance = float(p @ (x - mean) ** 2)
    if variance + mean * (mean - x.min()) >= 0:
        return mean**2 / (2 * variance)
    eta: Any = brentq(lambda e: float((p * np.maximum(x - e, 0)) @ x), x.min(), 0.0, xtol=1e-15)
    excess = np.maximum(x - eta, 0)
    return float((p @ excess**2) / (p @ excess) ** 2 - 1) / 2


@checked(losses=REAL.of("m"), p=LAW.of("m"), cost=COST.of("m m"), order=ORDER)
def transport_break_even(losses: ArrayLike, p: ArrayLike, cost: ArrayLike, order: float = 1.0) -> float:
    r"""The break-even radius (1) in the Wasserstein distance of an order, for laws on the same atoms.

        r^order = max over s >= 0 of  s log 2 + \sum_i p_i min_j (c_ij - s l_j)

    Args:
        losses, p: as in `kl_break_even`.
        cost: (m, m) distance between atoms to the power of the order.
        order: order of the distance.

    Example: the mass 0.2 must move by 2.
        >>> losses = [0.0, 2 * np.log(2)]
        >>> round(transport_break_even(losses, [0.7, 0.3], [[0.0, 2.0], [2.0, 0.0]]), 9)
        0.4
    """
    x, p, cost = np.asarray(losses, float) - LEVEL, np.asarray(p, float), np.asarray(cost, float)
    if p @ x >= 0:
        return 0.0
    if x.max() <= 0:
        return float("inf")

    def dual(s: float) -> tuple[float, float]:
        scores = cost - s * x
        to = scores.argmin(1)
        return float(p @ scores[np.arange(len(p)), to]), float(p @ x[to])

    low, high = 0.0, 1.0
    while dual(high)[1] < 0:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if dual(middle)[1] < 0 else (low, middle)
    return max(dual(low)[0], dual(high)[0]) ** (1 / order)


@checked(margins=REAL.of("m"), p=LAW.of("m"))
def largest_break_even(margins: ArrayLike, p: ArrayLike) -> float:
    """-log E exp(-t* / 2): the limit (3) of KL break-even radii, which no policy exceeds.

    Args:
        margins: (m,) t*, margins of DPO's solution, on Bradley-Terry data that the class fits.
        p: (m,) law of training, of sum 1.

    Example: one pair, won with chance 0.9: the divergence of a fair coin from it.
        >>> round(largest_break_even([np.log(9), -np.log(9)], [0.9, 0.1]), 4)
        0.5108
    """
    return -float(np.asarray(logsumexp(-np.asarray(margins, float) / 2, b=np.asarray(p, float))))


@checked(factor=UNIT.elementwise)
def weak_gain(factor: float) -> float:
    """(2 - c)^2: break-even radius of c times DPO's solution over DPO's own, where preferences are weak.

    Args:
        factor: c, from 0 to 1; tau / (1 + tau) for KLDPO.

    Example:
        >>> weak_gain(0.5), weak_gain(0.0)
        (2.25, 4.0)
    """
    return (2 - factor) ** 2


def _above_level(losses: ArrayLike, p: ArrayLike) -> tuple[Array, Array]:
    weights = np.asarray(p, float)
    return np.asarray(losses, float)[weights > 0] - LEVEL, weights[weights > 0]
