r"""The density ratio of the worst law in a KL ball, and the weight centred at the mean loss that bounds it.

The worst law Q of losses l in the ball KL(Q || P) <= rho has the ratio

    dQ/dP = exp((l - mu - lam) / lam),                                                      (1)

with (mu, lam) from normalisation and KL(Q || P) = rho (arXiv 2502.01930, Theorem 3). KLDPO uses the weight

    w = exp((l - mean l) / lam)                                                             (2)

in its place. Proposition 4: -mu - lam <= -mean l, so w bounds the ratio from above. It is Jensen's
inequality: normalisation says mu + lam = lam log E exp(l / lam), which is at least E l, with equality only
where P has one value of the loss.

How loose it is. The quotient of (2) and (1) is the same for every atom, and its logarithm is a divergence,

    log w - log dQ/dP = (mu + lam - mean l) / lam = -E_P log dQ/dP = KL(P || Q).              (3)

So the weight is the ratio times exp KL(P || Q): the divergence in the other order than the radius. With K the
cumulant generating function of l - mean l, and t = 1 / lam, it is K(t), and the radius is t K'(t) - K(t):

    KL(P || Q) = s^2 t^2 / 2 + k3 t^3 / 6 + e,     |e|  <= (range t)^4 / 192,                 (4)
    rho - KL(P || Q) =         k3 t^3 / 6 + e',    |e'| <= (range t)^4 / 96,                  (5)

s^2 and k3 the variance and the third cumulant. To second order the factor is exp(s^2 / (2 lam^2)), which is
exp(rho). Proof of the remainders: |K''''| is a fourth cumulant of a tilted law, between -range^4 / 8
and range^4 / 12, for a fourth central moment is at most range^4 / 12 and at least the squared variance, which
is at most range^4 / 16. Taylor's formula for K gives (4), and t K' - 2 K, the integral of (t - s) s K'''(s),
gives (5). A fair coin reaches both for t -> 0.

Micro-batches. Centred on the mean of a batch of B, (2) bounds the ratio of the batch's own worst law at the
same price. It is below the ratio of the population's law, for every pair of the batch at once, where the
batch's mean loss exceeds the certainty equivalent lam log E exp(l / lam): a chance of about
Phi(-sqrt(B) s / (2 lam)).

Source: (1), (2) and the inequality are the paper's; (3) to (5) and the micro-batches are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import logsumexp

from distalign.arguments import LAW, POSITIVE, REAL, checked, whole_number
from distalign.checks import InputError
from distalign.types import Array

_LATTICE = 2**16  # points over which the law of a batch's mean loss is spread


@checked(losses=REAL.of("m"), p=LAW.of("m"), radius=POSITIVE)
def worst_multipliers(losses: ArrayLike, p: ArrayLike, radius: float) -> tuple[float, float]:
    """(mu, lam) of Eq. (1): both conditions of Theorem 3 as one equation for 1 / lam, by bisection.

    Args:
        losses: (m,) losses of the atoms.
        p: (m,) their law P, of sum 1.
        radius: rho in nats, below -log P(l = max l), from which on the worst law has no such form.

    Raises:
        InputError: the ball holds the law of the worst atoms alone, or all losses agree.

    Example: a fair coin, and the radius at which the worst law is (1/4, 3/4).
        >>> radius = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
        >>> mu, lam = worst_multipliers([0.0, 1.0], [0.5, 0.5], radius)
        >>> round(float(np.exp(1 / lam)), 9), round(float(np.exp((1 - mu - lam) / lam)), 9)
        (3.0, 1.5)
    """
    l, p = _with_mass(losses, p)
    width = float(np.ptp(l))
    x = (l - l.max()) / width if width > 0 else np.zeros_like(l)
    largest = -float(np.log(p[x == 0].sum()))
    if width == 0 or radius >= largest:
        raise InputError(
            f"radius must lie below -log of the mass of the largest loss, {largest:.3g}, got {radius}: from "
            "there on the worst law is that of the worst atoms"
        )

    def excess(log_t: float) -> float:
        exponents = np.exp(log_t) * x
        log_ratio = exponents - logsumexp(exponents, b=p)
        return float((p * np.exp(log_ratio)) @ log_ratio) - radius

    low = 0.5 * float(np.log(8 * radius))  # KL <= t^2 / 8 (Hoeffding)
    high = low + 1
    while excess(high) < 0:
        high += 1
    log_t: Any = brentq(excess, low - 1e-6, high, xtol=1e-15)
    lam = width / float(np.exp(log_t))
    return float(l.max()) + lam * float(np.asarray(logsumexp(x * width / lam, b=p))) - lam, lam


@checked(losses=REAL.of("m"), p=LAW.of("m"), multiplier=POSITIVE)
def log_looseness(losses: ArrayLike, p: ArrayLike, multiplier: float) -> float:
    """KL(P || Q) of Eq. (3), log E exp((l - mean l) / lam): the log of weight over density ratio, at least 0.

    Args:
        losses: (m,) losses of the atoms.
        p: (m,) their law P, of sum 1.
        multiplier: lam, in units of loss.

    Example: a fair coin.
        >>> round(float(np.exp(log_looseness([0.0, 2.0], [0.5, 0.5], 1.0)) / np.cosh(1.0)), 12)
        1.0
    """
    scaled, p = np.asarray(losses, float) / multiplier, np.asarray(p, float)
    return float(np.asarray(logsumexp(scaled - p @ scaled, b=p)))


@checked(losses=REAL.of("m"), p=LAW.of("m"), multiplier=POSITIVE)
def looseness_series(losses: ArrayLike, p: ArrayLike, multiplier: float) -> tuple[float, float]:
    """(s^2 / (2 lam^2), k3 / (6 lam^3)): the first two terms of Eq. (4), the second also that of Eq. (5).

    Args:
        losses, p, multiplier: as in `log_looseness`.

    Example:
        >>> looseness_series([0.0, 2.0], [0.5, 0.5], 2.0)
        (0.125, 0.0)
    """
    scaled, p = np.asarray(losses, float) / multiplier, np.asarray(p, float)
    centred = scaled - p @ scaled
    return float(p @ centred**2) / 2, float(p @ centred**3) / 6


@checked(losses=REAL.of("m"), p=LAW.of("m"), multiplier=POSITIVE)
def series_remainder(losses: ArrayLike, p: ArrayLike, multiplier: float) -> float:
    """(range / lam)^4 / 192: what Eq. (4) leaves out is no larger, and what Eq. (5) does is within twice it.

    Args:
        losses, p, multiplier: as in `log_looseness`; the range is that of losses with mass.

    Example:
        >>> round(192 * series_remainder([0.0, 2.0], [0.5, 0.5], 2.0), 12)
        1.0
    """
    return float((np.ptp(_with_mass(losses, p)[0]) / multiplier) ** 4 / 192)


@checked(losses=REAL.of("m"), p=LAW.of("m"), temperature=POSITIVE, batch=whole_number(most=100_000))
def batch_failure(losses: ArrayLike, p: ArrayLike, temperature: float, batch: int) -> float:
    """Chance that weights centred on a batch lie below the population's density ratios.

    It is P(mean of B losses > tau log E exp(l / tau)). The law of the sum is computed by Fourier transform on
    a lattice; a loss between two points is split so that its mean is kept.

    Args:
        losses: (m,) losses of the atoms.
        p: (m,) their law, of sum 1.
        temperature: tau, the price of a nat.
        batch: B.

    Example: batches of one are centred on themselves: the weight is 1, and fails where the ratio is above 1.
        >>> round(batch_failure([0.0, 1.0, 2.0], [0.2, 0.5, 0.3], 1.0, 1), 9)
        0.3
    """
    l, p = _with_mass(losses, p)
    width = float(np.ptp(l))
    if width == 0:
        return 0.0
    cells = max(_LATTICE // batch, 16)
    place = (l - l.min()) / width * cells
    low = np.minimum(place.astype(int), cells - 1)
    one = np.bincount(low, p * (1 + low - place), cells + 1) + np.bincount(
        low + 1, p * (place - low), cells + 1
    )
    size = batch * cells + 1
    law = np.fft.irfft(np.fft.rfft(one, 2 * size) ** batch, 2 * size)[:size]
    equivalent = temperature * float(np.asarray(logsumexp((l - l.min()) / temperature, b=p)))
    return float(np.clip(law[np.arange(size) > batch * cells * equivalent / width].sum(), 0, 1))


def _with_mass(losses: ArrayLike, p: ArrayLike) -> tuple[Array, Array]:
    weights = np.asarray(p, float)
    return np.asarray(losses, float)[weights > 0], weights[weights > 0]
