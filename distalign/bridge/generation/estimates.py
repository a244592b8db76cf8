r"""A trained language model that writes freely, measured by two roads.

Reweighted: the draws y_i of the reference that the prediction rests on are scored under the trained model pi
as well. With rho_i = pi(y_i | x) / pi_ref(y_i | x),

    E_pi g  ~  \sum_i rho_i g_i / \sum_i rho_i.                                                            (1)

No text is generated, and common random numbers make the difference to the prediction far more precise than
either. The normaliser of pi is known, so a KL is estimated by terms that are never negative and whose mean is
exact, with E_ref rho = 1 as a control variate:

    KL(pi || pi_ref)  ~  1/N \sum_i (rho_i log rho_i - rho_i + 1).                                         (2)

The ratio of sums, \sum_i rho_i log rho_i / \sum_i rho_i, is biased downwards instead: on the enumerable
model of the tests by 0.06 of 0.65 nats with 256 draws. For every prompt the mean of rho must be 1: far from
1, pi has left the texts that the draws cover, or was scored wrongly (`Reweighted.normalisation`). Draws on
which a model was trained show its memory, not its fit: never use them.

Fresh: texts are drawn from pi itself, and E_pi g is their mean. The two roads must agree for every prompt
(`roads`, and `overlap`, which no heavy tail spoils); where they do not, the fresh one stands.

Each estimator gives one number a prompt, and two kinds of uncertainty must be kept apart. What a model does
on prompts in general is a mean over prompts, which are clusters: `over_prompts` gives Student's interval,
widened where the numbers are skewed, as ratios make them. What must hold for each prompt by itself is checked
with the spread of the draws inside each (`Check`): defects move some prompts up and others down, so a mean
over prompts hardly sees them.

Source: ours; importance weighting is textbook.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logsumexp

from distalign.bridge.generation.tilts import SMALLEST_SIZE, Tilt, kl_ball
from distalign.checks import InputError, inside_unit, reals
from distalign.intervals import LEVEL, interval, mean_interval, moments_of_mean
from distalign.types import Array

ROUNDING = 1e-4
"""Of a mean of rho: log-probabilities in single precision are no better."""


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its interval.

    Attributes:
        value: the mean.
        low, high: ends of the interval.
        prompts: number of prompts, which are the clusters.
    """

    value: float
    low: float
    high: float
    prompts: int

    def holds(self, truth: float) -> bool:
        """Whether the interval holds a number."""
        return self.low <= truth <= self.high


def over_prompts(values: ArrayLike, *, level: float = LEVEL) -> Estimate:
    """Mean over prompts with its interval, prompts as clusters.

    The interval is `distalign.intervals.mean_interval`: Student's t, widened where the numbers are skewed.

    Args:
        values: (S,) one number a prompt, at least two prompts.
        level: nominal coverage of the mean over the population that the prompts were drawn from; for the
            prompts at hand alone it is larger.

    Raises:
        InputError: fewer than two prompts, or values that are not finite.

    Example:
        >>> found = over_prompts([1.0, 2.0, 3.0], level=0.95)
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
        (2.0, -1.258, 5.258)
    """
    x = reals("values", values, "(S,)", "give one finite number for each prompt")
    inside_unit("level", level, "it is the coverage, for instance 0.95")
    if len(x) < 2:
        raise InputError("values come from one prompt, which has no interval: give at least two prompts")
    return Estimate(*mean_interval(x, level=level), len(x))


@dataclass(frozen=True)
class Check:
    """A number that must be 0 for every prompt, with intervals that hold 0 together.

    Attributes:
        difference: (S,) what was found.
        low, high: (S,) ends of its intervals from the draws inside each prompt; each has the level
            1 - (1 - level) / S, so that all hold together (Bonferroni).
    """

    difference: Array
    low: Array
    high: Array

    @property
    def passed(self) -> bool:
        """Whether all intervals hold 0, or what was found is rounding."""
        return bool((self._inside() | (np.abs(self.difference) <= ROUNDING)).all())

    @property
    def worst(self) -> int:
        """The prompt whose interval misses 0 by most, relative to its length."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return int(np.argmax(np.abs(middle) / np.maximum(half, 1e-300)))

    def _inside(self) -> NDArray[np.bool_]:
        return (self.low <= 0) & (self.high >= 0)


@dataclass(frozen=True)
class Reweighted:
    """The trained model on draws of the reference.

    Attributes:
        log_rho: (S, N) log pi - log pi_ref of each draw, in nats.

    Raises:
        InputError: log_rho is not finite.

    Example:
        >>> model = Reweighted(np.log([[0.5, 1.5]]))
        >>> model.mean_rho().round(9).tolist(), model.mean([[0.0, 1.0]]).round(9).tolist()
        ([1.0], [0.75])
    """

    log_rho: Array

    def __post_init__(self) -> None:
        """Check the log-ratios."""
        object.__setattr__(self, "log_rho", _scores("log_rho", self.log_rho))

    @property
    def weights(self) -> Array:
        """(S, N) rho normalised over the draws of each prompt."""
        return np.exp(self.log_rho - logsumexp(self.log_rho, axis=1, keepdims=True))

    def mean_rho(self) -> Array:
        """(S,) mean of rho over the draws, which estimates 1."""
        return np.exp(self.log_rho).mean(1)

    def mean(self, values: ArrayLike) -> Array:
        """(S,) E_pi g by equation (1), for (S, N) values g of the draws."""
        return (self.weights * _scores("values", values, self.log_rho.shape)).sum(1)

    def terms(self, values: ArrayLike) -> Array:
        """(S, N) terms whose mean over the draws is `mean`, and whose spread is its error (delta method)."""
        g = _scores("values", values, self.log_rho.shape)
        mean = self.mean(g)[:, None]
        return mean + self.log_rho.shape[1] * self.weights * (g - mean)

    def kl(self) -> Array:
        """(S,) KL(pi || pi_ref) in nats by equation (2), unbiased and at least 0."""
        return self.kl_terms().mean(1)

    def kl_terms(self) -> Array:
        """(S, N) the terms of equation (2), each at least 0."""
        rho = np.exp(self.log_rho)
        return rho * self.log_rho - rho + 1

    def normalisation(self, *, level: float = LEVEL) -> Check:
        """Whether the mean of rho is 1 for every prompt."""
        return _check(np.exp(self.log_rho) - 1, None, level)

    def effective_size(self) -> Array:
        """(S,) (sum rho)^2 / sum rho^2: how many equally weighted draws would carry as much."""
        return 1 / (self.weights**2).sum(1)

    def refusals(self, *, level: float = LEVEL) -> tuple[str, ...]:
        """Why this road is out of range, a sentence each; empty if it is not."""
        found, size = [], self.effective_size()
        if size.min() < SMALLEST_SIZE:
            found.append(
                f"the trained model leaves an effective sample size of {size.min():.1f} below "
                f"{SMALLEST_SIZE:g} on the draws of prompt {size.argmin()}: it has left them, use fresh texts"
            )
        one = self.normalisation(level=level)
        if not one.passed:
            s = one.worst
            found.append(
                f"mean pi/pi_ref over the draws of prompt {s} is {1 + one.difference[s]:.3f} "
                f"[{1 + one.low[s]:.3f}, {1 + one.high[s]:.3f}] and must be 1: the model has left the draws "
                "or was trained on them, or texts were scored in another way than they were drawn "
                "(temperature, end-of-text token, positions)"
            )
        return tuple(found)


@dataclass(frozen=True)
class Fresh:
    """The trained model on texts of its own.

    Attributes:
        log_ratio: (S, M) log pi - log pi_ref of texts drawn from pi, in nats.

    Raises:
        InputError: log_ratio is not finite.

    Example:
        >>> Fresh(np.array([[0.5, -0.1]])).kl().tolist()
        [0.2]
    """

    log_ratio: Array

    def __post_init__(self) -> None:
        """Check the log-ratios."""
        object.__setattr__(self, "log_ratio", _scores("log_ratio", self.log_ratio))

    def mean(self, values: ArrayLike) -> Array:
        """(S,) E_pi g as a plain mean, for (S, M) values g of the fresh texts."""
        return _scores("values", values, self.log_ratio.shape).mean(1)

    def kl(self) -> Array:
        """(S,) KL(pi || pi_ref) in nats, the mean log-ratio."""
        return self.log_ratio.mean(1)


def roads(reweighted: ArrayLike, fresh: ArrayLike, *, level: float = LEVEL) -> Check:
    """What the fresh road finds minus what the reweighted one finds, for every prompt.

    Args:
        reweighted: (S, N) `Reweighted.terms` or `Reweighted.kl_terms`.
        fresh: (S, M) the scores, or `Fresh.log_ratio`, of fresh texts to the same prompts in the same order.
        level: nominal coverage of all intervals together.

    Raises:
        InputError: different numbers of prompts, or fewer than two texts of a prompt.

    Example:
        >>> roads([[0.9, 1.1, 1.0]], [[1.2, 0.8, 1.0]]).passed
        True
    """
    one, other = _scores("reweighted", reweighted), _scores("fresh", fresh)
    if len(one) != len(other):
        raise InputError(
            f"reweighted and fresh have {len(one)} and {len(other)} prompts: give both the same prompts"
        )
    return _check(other, one, level)


def overlap(log_rho: ArrayLike, fresh: ArrayLike, *, level: float = LEVEL) -> Check:
    r"""Whether draws of both models and their scores belong together, for every prompt.

        E_ref[rho / (1 + rho)] = E_pi[1 / (1 + rho)] = \sum_y pi_ref pi / (pi_ref + pi)

    Both sides are means of numbers in [0, 1], so no heavy tail of rho spoils the intervals, as it does those
    of `roads` for a KL, and the check stays sharp where pi is far away.

    Args:
        log_rho: (S, N) log pi - log pi_ref of draws of the reference.
        fresh: (S, M) the same of texts drawn from pi, prompts in the same order.
        level: nominal coverage of all intervals together.

    Raises:
        InputError: as `roads`.

    Source: the identity is Bennett's, J. Comput. Phys. 22 (1976), 245-268; its use is ours.

    Example: equal models.
        >>> overlap([[0.0, 0.0]], [[0.0, 0.0, 0.0]]).passed
        True
    """
    one, other = _scores("log_rho", log_rho), _scores("fresh", fresh)
    return roads(expit(one), expit(-other), level=level)


@dataclass(frozen=True)
class Distances:
    """How far a trained model is from its predicted target, one number a prompt.

    Attributes:
        kl: (S,) KL(target || pi) in nats.
        slope: (S,) of log rho on the target's log-ratio, weighted by the target; 1 is the theorem.
        r_squared: (S,) share of the weighted variance of log rho that this line explains.
        total_variation: (S,) between target and pi.
    """

    kl: Array
    slope: Array
    r_squared: Array
    total_variation: Array


def distances(target: Tilt, log_rho: ArrayLike) -> Distances:
    r"""Distances of the trained model to its target, without enumeration.

        KL(target || pi) = \sum_i [w_i (log(N w_i) - log rho_i) - w_i + rho_i / N]
        total variation = 1/2 mean_i |N w_i - rho_i|

    The last two terms of the KL have mean 0. With them it is never negative, and for pi near the target the
    noise of the estimated normaliser cancels, which would hide a few hundredths of a nat.

    Args:
        target: weights on the draws.
        log_rho: (S, N) log pi - log pi_ref of the same draws.

    Raises:
        InputError: shapes differ, log_rho is not finite, or the target is the reference, to which no line can
            be fitted.

    Example:
        >>> from distalign.bridge.generation.tilts import rlhf
        >>> target = rlhf([[0.0, 1.0, 3.0]], beta=1.0)
        >>> found = distances(target, target.log_ratio)
        >>> [float(x.round(9)[0]) + 0 for x in (found.kl, found.slope, found.r_squared)]
        [0.0, 1.0, 1.0]
    """
    rho = _scores("log_rho", log_rho, target.log_weights.shape)
    w, given = target.weights, _finite_log_ratio(target)
    if not (np.ptp(given, axis=1) > 0).all():
        raise InputError(
            "target is the reference for a prompt, so no line through its log-ratios exists: leave the "
            "prompt out"
        )
    x = given - (w * given).sum(1, keepdims=True)
    y = rho - (w * rho).sum(1, keepdims=True)
    xx, xy, yy = ((w * a).sum(1) for a in (x * x, x * y, y * y))
    return Distances(
        kl=(w * (given - rho) - w + np.exp(rho) / w.shape[1]).sum(1),
        slope=xy / xx,
        r_squared=np.divide(xy**2, xx * yy, out=np.zeros_like(xy), where=yy > 0),
        total_variation=np.abs(w.shape[1] * w - np.exp(rho)).mean(1) / 2,
    )


def frontier(reward: ArrayLike, kl: ArrayLike) -> Array:
    """(S,) the largest expected reward at a KL to the reference, for each prompt.

    A trained model's KL efficiency is the reward it gained over what the frontier gains at the KL it spent.

    Args:
        reward: (S, N) rewards of draws of the reference.
        kl: (S,) nats spent, at least 0; estimates below 0 count as 0.

    Raises:
        InputError: rewards are the same for all draws of a prompt, or shapes do not fit.

    Example:
        >>> frontier([[1.0, 0.0]], [0.1]).round(6).tolist()
        [0.719795]
    """
    r, spent = _scores("reward", reward), reals("kl", kl, "(S,)", "give the nats spent on each prompt")
    if len(spent) != len(r):
        raise InputError(f"kl has {len(spent)} entries for {len(r)} prompts: give one each")
    rows = zip(r, np.maximum(spent, 0), strict=True)
    return np.array([float(kl_ball(row[None], float(tau)).mean(row[None])[0]) for row, tau in rows])


def _finite_log_ratio(target: Tilt) -> Array:
    """(S, N) log(N w) with a harmless number where w is 0, which no weighted sum sees."""
    given = target.log_ratio
    return np.where(given > -np.inf, given, given.max(1, keepdims=True))


def _scores(name: str, values: ArrayLike, shape: tuple[int, ...] | None = None) -> Array:
    x = reals(name, values, "(S, N)", "give one finite number for each text of each prompt")
    if shape is not None and x.shape != shape:
        raise InputError(f"{name} must be {shape}, one for each text, got shape {x.shape}")
    return x


def _check(first: Array, second: Array | None, level: float) -> Check:
    """Mean of the first minus mean of the second, prompt by prompt, from independent draws."""
    inside_unit("level", level, "it is the coverage, for instance 0.95")
    sides = [first] if second is None else [first, second]
    if min(side.shape[1] for side in sides) < 2:
        raise InputError("a prompt has one text, whose spread nobody knows: draw at least two texts a prompt")
    each, found = 1 - (1 - level) / len(first), []
    for rows in zip(*sides, strict=True):
        moments = np.array([moments_of_mean(row) for row in rows]) * np.array([[1], [-1]])[: len(rows)]
        mean, third = moments[:, 0].sum(), moments[:, 2].sum()
        variance = float(np.abs(moments[:, 1]).sum())
        skewness = float(third / variance**1.5) if variance > 0 else 0.0
        degrees = min(map(len, rows)) - 1
        found.append((mean, *interval(float(mean), variance, skewness, degrees, level=each)))
    return Check(*np.array(found).T)
