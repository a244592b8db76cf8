r"""A trained language model that writes freely, measured by two roads.

Reweighted: the draws y_i of the reference that the prediction rests on are scored under the trained model pi
as well. With rho_i = pi(y_i | x) / pi_ref(y_i | x),

    E_pi g  ~  \sum_i rho_i g_i / \sum_i rho_i.                                                            (1)

No text is generated, and common random numbers make the difference to the prediction far more precise than
either. The mean of rho must be 1 within its interval: far from 1, pi has left the texts that the draws cover,
or was scored wrongly. Draws on which a model was trained show its memory, not its fit: never use them.

Fresh: texts are drawn from pi itself, and E_pi g is their mean. The two roads must agree within their
intervals (`roads`); where they do not, the fresh one stands.

Each estimator gives one number a prompt. Prompts are clusters: `over_prompts` gives the mean over them with
Student's interval.

Source: ours; importance weighting is textbook.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from distalign.bridge.generation.tilts import SMALLEST_SIZE, Tilt, kl_ball
from distalign.checks import InputError, inside_unit, reals
from distalign.intervals import LEVEL, t_interval
from distalign.types import Array


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
    """Mean over prompts with Student's interval, prompts as clusters.

    Args:
        values: (S,) one number a prompt, at least two prompts.
        level: nominal coverage of the mean over the population that the prompts were drawn from; for the
            prompts at hand alone it is larger.

    Raises:
        InputError: fewer than two prompts, or values that are not finite.

    Example:
        >>> found = over_prompts([1.0, 2.0, 3.0], level=0.95)
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
        (2.0, -0.484, 4.484)
    """
    x = reals("values", values, "(S,)", "give one finite number for each prompt")
    inside_unit("level", level, "it is the coverage, for instance 0.95")
    if len(x) < 2:
        raise InputError("values come from one prompt, which has no interval: give at least two prompts")
    mean, error = float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))
    return Estimate(mean, *t_interval(mean, error, len(x), level), len(x))


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
        return np.exp(logsumexp(self.log_rho, axis=1) - np.log(self.log_rho.shape[1]))

    def mean(self, values: ArrayLike) -> Array:
        """(S,) E_pi g by equation (1), for (S, N) values g of the draws."""
        return (self.weights * _scores("values", values, self.log_rho.shape)).sum(1)

    def kl(self) -> Array:
        """(S,) KL(pi || pi_ref) in nats:  sum_i rho_i log rho_i / sum_i rho_i."""
        return self.mean(self.log_rho)

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
        mean = over_prompts(self.mean_rho(), level=level)
        if not mean.holds(1):
            found.append(
                f"mean pi/pi_ref over the draws is {mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}] and "
                "must be 1: the model has left the draws or was trained on them, or texts were scored in "
                "another way than they were drawn (temperature, end-of-text token, positions)"
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


def roads(reweighted: ArrayLike, fresh: ArrayLike, *, level: float = LEVEL) -> Estimate:
    """What the fresh road finds minus what the reweighted one finds, prompt by prompt.

    The two agree where this interval holds 0.

    Args:
        reweighted: (S,) numbers of `Reweighted`.
        fresh: (S,) the same of `Fresh`, prompts in the same order.
        level: nominal coverage.

    Raises:
        InputError: different numbers of prompts, or fewer than two.

    Example:
        >>> roads([1.0, 2.0], [1.5, 1.5]).holds(0)
        True
    """
    one = reals("reweighted", reweighted, "(S,)", "give one number for each prompt")
    other = reals("fresh", fresh, "(S,)", "give one number for each prompt")
    if one.shape != other.shape:
        raise InputError(
            f"reweighted and fresh have {len(one)} and {len(other)} prompts: give both the same prompts"
        )
    return over_prompts(other - one, level=level)


@dataclass(frozen=True)
class Distances:
    """How far a trained model is from its predicted target, one number a prompt.

    Attributes:
        kl: (S,) KL(target || pi) in nats; an estimate may be slightly below 0.
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

        KL(target || pi) = \sum_i w_i (log(N w_i) - log rho_i)
        total variation = 1/2 mean_i |N w_i - rho_i|

    They are in honest units, for the normaliser of pi is known.

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
        kl=(w * (given - rho)).sum(1),
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
