"""What theory predicts for the tractable forms of KLDPO and WDPO, and for the losses they are compared with.

There are four parts: micro-batches of KLDPO; the gradient penalties of WDPO against the worst cases they
stand for; the excess loss of KLDPO on n pairs; and the margin that each robust loss fits to one pair of
responses. Losses are l = log(1 + exp(-t)) of a margin t = beta <theta, v>, theta measured from the reference
policy's parameter. All of it is ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, logsumexp

from distalign.arguments import (
    LAW,
    NONNEGATIVE,
    POSITIVE,
    POSITIVE_OR_INFINITE,
    REAL,
    UNIT,
    OneOf,
    Thing,
    checked,
    moderate_margins,
    quantity,
    spanning,
    whole_number,
)
from distalign.theory.robust.kldpo import anti_shrinkage_factor, shrinkage_factor, temperature_covariance
from distalign.types import Array

_STEP = 0.25  # of the trapezoidal rule in log s: its error is about exp(-pi^2 / step) = 1e-17


def _margins(v: Array, theta_star: Array, beta: float) -> str:
    return moderate_margins(v, theta_star, beta)


def _range(losses: ArrayLike, temperature: float) -> str:
    least = float(np.ptp(np.asarray(losses, float))) / 100_000
    return (
        ""
        if temperature >= least
        else f"temperature must be at least {least:.3g} at these losses, got {temperature}"
    )


@checked(temperature=POSITIVE_OR_INFINITE.elementwise, batch=whole_number())
def batch_temperature(temperature: float, batch: int) -> float:
    """tau B / (B - 1): the temperature of released KLDPO on micro-batches of B, infinite (DPO) for B = 1.

    Its weight exp((l_i - mean l) / tau) is centred on a mean that holds l_i itself, so the exponent is (1 -
    1/B) l_i / tau minus the part of the other pairs. That part is independent of pair i and multiplies every
    pair's expected weight by the same constant. So the expected gradient is exactly that of KLDPO at tau B /
    (B - 1), up to a factor, as long as no weight is clamped.

    Example:
        >>> batch_temperature(1.0, 2), batch_temperature(1.0, 1)
        (2.0, inf)
    """
    return temperature * batch / (batch - 1) if batch > 1 else float("inf")


@checked(temperature=POSITIVE.elementwise, batch=whole_number())
def batch_shrinkage(temperature: float, batch: int) -> float:
    """tau B / (B (1 + tau) - 1): the share of DPO's solution that released KLDPO fits on micro-batches of B.

    The data are Bradley-Terry data that the class fits. It exceeds the exact tau / (1 + tau) by the share 1 /
    (B (1 + tau) - 1) of itself, which is below 10 % from B = 11 / (1 + tau) on.

    Example:
        >>> [round(batch_shrinkage(1.0, b), 3) for b in (1, 2, 4, 16, 64, 256)]
        [1.0, 0.667, 0.571, 0.516, 0.504, 0.501]
    """
    return temperature * batch / (batch * (1 + temperature) - 1)


@checked(losses=REAL.of("m"), p=LAW.of("m"), temperature=POSITIVE_OR_INFINITE, batch=whole_number())
def mean_weight(losses: ArrayLike, p: ArrayLike, temperature: float, batch: int) -> float:
    """The mean weight of released KLDPO before it clamps.

        E exp((1 - 1/B) l / tau) [E exp(-l / (B tau))]^(B-1)

    The weights are not normalised, so this multiplies the learning rate. It is at least 1 (Jensen) and grows
    without bound as tau -> 0.

    Args:
        losses: (m,) losses of the atoms.
        p: (m,) their law.
        temperature: tau.
        batch: B, pairs over whose losses one weight is centred.

    Example:
        >>> round(mean_weight([0.0, 1.0], [0.5, 0.5], 1.0, 1), 12)
        1.0
    """
    scaled, p = np.asarray(losses, float) / temperature, np.asarray(p, float)
    own, others = (float(np.asarray(logsumexp(s * scaled, b=p))) for s in (1 - 1 / batch, -1 / batch))
    return float(np.exp(own + (batch - 1) * others))


@checked(
    losses=REAL.of("m"),
    p=LAW.of("m"),
    temperature=POSITIVE_OR_INFINITE,
    batch=whole_number(most=1_000_000),
    clamp=POSITIVE,
)
def clamped_weights(
    losses: ArrayLike, p: ArrayLike, temperature: float, batch: int, clamp: float = 10.0
) -> Array:
    """Expected clamped weight (m,) of an atom that meets B - 1 others in its batch.

        min(exp((l_i - mean l) / tau), clamp)

    The law of the sum of the others' losses is computed by Fourier transform on a lattice. A loss between two
    points is split so that its mean is kept, which leaves a relative error of at most (width of the lattice /
    tau)^2 / (8 B).

    Args:
        losses: (m,) losses of the atoms.
        p: (m,) their law.
        temperature: tau.
        batch: B.
        clamp: largest weight; 10 in the released code.

    Example: two losses, log 9 apart, batches of two: weights 3 and 1/3 where the losses differ, 3 clamped to
    2.

        >>> clamped_weights([0.0, np.log(9)], [0.5, 0.5], 1.0, 2, clamp=2.0).round(6).tolist()
        [0.666667, 1.5]
    """
    losses, p = np.asarray(losses, float), np.asarray(p, float)
    if batch == 1:
        return np.full(len(p), min(1.0, clamp))
    lowest, cells = losses.min(), int(4096 / np.sqrt(batch)) + 16
    width = (losses.max() - lowest) / cells if losses.max() > lowest else 1.0
    place = (losses - lowest) / width
    low = np.minimum(place.astype(int), cells - 1)
    one = np.bincount(low, p * (1 + low - place), cells + 1) + np.bincount(
        low + 1, p * (place - low), cells + 1
    )
    size = (batch - 1) * cells + 1
    law = np.fft.irfft(np.fft.rfft(one, 2 * size) ** (batch - 1), 2 * size)[:size]
    others = ((batch - 1) * lowest + width * np.arange(size)) / batch
    exponents = ((1 - 1 / batch) * losses[:, None] - others) / temperature
    return np.exp(np.minimum(exponents, np.log(clamp))) @ np.clip(law, 0, None)


@checked(_range, losses=REAL.of("m"), p=LAW.of("m"), temperature=POSITIVE_OR_INFINITE, batch=whole_number())
def softmax_weights(losses: ArrayLike, p: ArrayLike, temperature: float, batch: int) -> Array:
    r"""Expected weight (m,) of an atom whose weights are normalised in its batch, with e = exp(l / tau).

        B E[e_i / (e_i + \sum of B - 1 others)] = B e_i \int exp(-e_i s) [E exp(-e s)]^(B-1) ds

    by writing 1/a as the integral of exp(-a s) over s > 0: one integral for any B. B = 1 gives 1 for every
    atom, which is DPO.

    Args:
        losses: (m,) losses of the atoms.
        p: (m,) their law.
        temperature: tau.
        batch: B.

    Example: two losses, batches of two: a batch of equal losses has weights 1, else e and 1 share 2.
        >>> softmax_weights([0.0, np.log(3)], [0.5, 0.5], 1.0, 2).round(12).tolist()
        [0.75, 1.25]
    """
    scaled, p = np.asarray(losses, float) / temperature, np.asarray(p, float)
    log_e = scaled - scaled.max()
    log_s = np.arange(-42.0, 6.0 - log_e.min(), _STEP)
    decay = -np.exp(log_s[:, None] + log_e)
    rest = (batch - 1) * np.asarray(logsumexp(decay, axis=1, b=p))
    integrand = log_s[:, None] + log_e + decay + rest[:, None]
    return batch * _STEP * np.exp(integrand).sum(0)


@checked(margins=REAL.of("m"), p=LAW.of("m"), norm=NONNEGATIVE)
def root_gap(margins: ArrayLike, p: ArrayLike, norm: float) -> float:
    r"""Worst case in a small Wasserstein ball minus WDPO's root form, in units of the squared radius.

    The worst law moves atom i by rho g_i / sqrt(E g^2), with g the norm of its gradient, and gains \frac12
    h_i times the square of that, with h the curvature along the move. The limit, as the radius -> 0, is

        E[h g^2] / (2 E g^2),   g = sigma(-t) a,   h = sigma(t) sigma(-t) a^2.

    Args:
        margins: (m,) margins t.
        p: (m,) law of the atoms.
        norm: a, the norm of the margin's gradient by what the ball moves: beta ||theta|| for balls around v.

    Example:
        >>> root_gap([0.0], [1.0], norm=2.0)  # sigma'(0) / 2 x 4
        0.5
    """
    t, p = np.asarray(margins, float), np.asarray(p, float)
    squares = p * expit(-t) ** 2
    return float(norm**2 / 2 * (squares @ (expit(t) * expit(-t))) / squares.sum())


@checked(margins=REAL.of("m"), p=LAW.of("m"), norm=NONNEGATIVE)
def squared_gap(margins: ArrayLike, p: ArrayLike, norm: float) -> float:
    """2 E[h g^2]: worst case at the price W_2^2 / (4 rho) minus WDPO's squared form, over rho^2.

    This is the limit as rho -> 0, in which atom i moves by 2 rho g_i. The arguments are those of `root_gap`.

    Example:
        >>> squared_gap([0.0], [1.0], norm=2.0)  # 2 x 1 x 1
        2.0
    """
    t, p = np.asarray(margins, float), np.asarray(p, float)
    return float(2 * norm**4 * (p @ (expit(t) * expit(-t) ** 3)))


@checked(
    spanning,
    _margins,
    v=REAL.of("m d"),
    p=LAW.of("m"),
    theta_star=REAL.of("d"),
    temperature=POSITIVE_OR_INFINITE,
    n=quantity().each,
    beta=POSITIVE,
)
def excess_loss(
    v: Array, p: Array, theta_star: Array, temperature: float, n: ArrayLike, beta: float = 1.0
) -> Array:
    """Expected excess DPO loss of KLDPO on n Bradley-Terry pairs: the costs of shrinkage and of noise.

        L(c theta*) - L(theta*) + tr(H V) / (2 n),   c = tau / (1 + tau)

    with H the Hessian of DPO's loss at c theta* and V the limit covariance; infinite tau is DPO, with d / (2
    n). The result is right to first order in 1/n: terms of order 1/n times the bias are left out.

    Args:
        v: (m, d) features of the chosen minus the rejected response.
        p: (m,) exact law of the atoms.
        theta_star: (d,) DPO's population solution.
        temperature: tau.
        n: sample sizes.
        beta: scale of the margin.

    Example:
        >>> v, p = np.array([[1.0], [-1.0]]), np.array([0.9, 0.1])
        >>> float(excess_loss(v, p, np.array([np.log(9)]), np.inf, 100).round(12))
        0.005
    """
    theta = theta_star if np.isinf(temperature) else shrinkage_factor(temperature) * theta_star
    margins = beta * v @ theta
    hessian = beta**2 * v.T @ ((p * expit(margins) * expit(-margins))[:, None] * v)
    bias = p @ (np.logaddexp(0, -margins) - np.logaddexp(0, -beta * v @ theta_star))
    noise = np.trace(hessian @ temperature_covariance(v, p, theta, temperature, beta)) / 2
    return bias + noise / np.asarray(n, float)


@checked(
    spanning,
    _margins,
    v=REAL.of("m d"),
    p=LAW.of("m"),
    theta_star=REAL.of("d"),
    temperature=POSITIVE_OR_INFINITE,
    beta=POSITIVE,
)
def least_variance_ratio(
    v: Array, p: Array, theta_star: Array, temperature: float, beta: float = 1.0
) -> float:
    """Least ratio of KLDPO's variance to that of c = tau/(1+tau) times DPO's estimate, over directions.

    It is the least eigenvalue of (c^2 V_DPO)^{-1} V_tau. Both estimate c theta* on Bradley-Terry data. DPO is
    maximum likelihood, so c times it is efficient (Cramer-Rao), and the ratio is at least 1 in every
    direction: with a known model, shrinking DPO's estimate is never noisier than KLDPO.

    Args:
        v: (m, d) features of the chosen minus the rejected response.
        p: (m,) exact law of the atoms.
        theta_star: (d,) DPO's population solution.
        temperature: tau; infinity is DPO itself.
        beta: scale of the margin.

    Example: one coin, one parameter: KLDPO is a function of the frequency, so the two are the same estimate.
        >>> v, p = np.array([[1.0], [-1.0]]), np.array([0.9, 0.1])
        >>> round(least_variance_ratio(v, p, np.array([np.log(9)]), 1.0), 9)
        1.0
    """
    c = 1.0 if np.isinf(temperature) else shrinkage_factor(temperature)
    plain = temperature_covariance(v, p, theta_star, np.inf, beta)
    robust = temperature_covariance(v, p, c * theta_star, temperature, beta)
    return float(np.linalg.eigvals(np.linalg.solve(c**2 * plain, robust)).real.min())


@checked(
    method=OneOf(("DPO", "chi-PO", "cDPO", "rDPO", "KLDPO", "Dr. DPO", "IPO")),
    p=UNIT.each,
    setting=Thing("a number that the method takes", lambda value: value is not None),
)
def pair_optimum(method: str, p: ArrayLike, setting: float = float("nan")) -> Array:
    """The best margin (...) t = beta (log-ratio of chosen minus rejected) of a pair won with chance p.

        DPO, chi-PO   logit p                        (chi-PO: of phi = z + log z, for p that its clip allows)
        cDPO          logit((1 - e) p + e (1 - p))   setting e
        rDPO          logit((p - e) / (1 - 2 e))     setting e; infinite for p outside (e, 1 - e)
        KLDPO         tau / (1 + tau) logit p        setting tau
        Dr. DPO       beta' / (beta' - 1) logit p    setting beta' > 1
        IPO           p - 1/2                        beta = 1

    Each holds in a population where every pair may have its own margin.

    Raises:
        InputError: a method without a closed form here, or p outside [0, 1].

    Source: cDPO, rDPO, IPO: their papers, from memory; KLDPO and Dr. DPO: ours.

    Example:
        >>> settings = {"KLDPO": 1.0, "cDPO": 0.1}
        >>> [pair_optimum(method, 0.9, setting).round(4).item() for method, setting in settings.items()]
        [1.0986, 1.5163]
    """
    p = np.asarray(p, float)
    if method in ("KLDPO", "Dr. DPO"):
        return (shrinkage_factor if method == "KLDPO" else anti_shrinkage_factor)(setting) * logit(p)
    likely = {
        "DPO": lambda: p,
        "chi-PO": lambda: p,
        "cDPO": lambda: (1 - setting) * p + setting * (1 - p),
        "rDPO": lambda: np.clip((p - setting) / (1 - 2 * setting), 0, 1),
        "IPO": lambda: expit(p - 0.5),
    }
    return logit(likely[method]())
