"""Preferences that move between training and deployment: another mixture weight, or another reward.

The robust objectives guard against such shifts; a share from 0 to 1 says how far the population has moved.

Source: arXiv 2502.01930 moves a mixture of rewards; the parametrisation by a share is ours.
"""

from __future__ import annotations

import numpy as np

from distalign.arguments import REAL, RNG, UNIT, checked, instance
from distalign.checks import InputError, positive
from distalign.populations._arrays import at_least
from distalign.populations.log_linear import LogLinearBradleyTerry
from distalign.populations.mixture import mixture
from distalign.populations.population import Population
from distalign.types import Array


@checked(
    start=instance(Population),
    end=instance(Population),
    share=UNIT.meaning("0 is the start, 1 the end of the shift"),
)
def mixture_shift(start: Population, end: Population, share: float) -> Population:
    """The population in which a share of the answers, 0 to 1, comes from `end` and the rest from `start`.

    For two Bradley-Terry groups this leaves the Bradley-Terry model strictly inside (0, 1).

    Example:
        >>> a, b = (Population(win=[[0.5, p], [1 - p, 0.5]], reference=[0.5, 0.5]) for p in (0.9, 0.1))
        >>> float(mixture_shift(a, b, 0.25).win[0, 0, 1].round(12))
        0.7
    """
    _share(share)
    return mixture([1 - share, share], [start, end])


@checked(
    start=instance(LogLinearBradleyTerry),
    theta_end=REAL.of("d"),
    share=UNIT.meaning("0 is the start, 1 the end of the shift"),
)
def reward_shift(start: LogLinearBradleyTerry, theta_end: Array, share: float) -> LogLinearBradleyTerry:
    """The population whose reward lies a share, 0 to 1, of the way from `start` to `theta_end`.

        theta = (1 - share) theta_star + share theta_end

    It is still Bradley-Terry, so a log-linear policy stays well specified.

    Example:
        >>> from distalign.populations import log_linear_bradley_terry
        >>> start = log_linear_bradley_terry(np.random.default_rng(0), 1, 3, 2, norm=1.0, beta=1.0)
        >>> reward_shift(start, -start.theta_star, 0.5).theta_star.tolist()
        [0.0, 0.0]
    """
    _share(share)
    end = np.asarray(theta_end, dtype=np.float64)
    if end.shape != start.theta_star.shape:
        raise InputError(
            f"theta_end has shape {end.shape}, expected {start.theta_star.shape} like theta_star"
        )
    return start.with_parameter((1 - share) * start.theta_star + share * end)


@checked(theta=REAL.of("d"), degrees=REAL, rng=RNG)
def at_angle(theta: Array, degrees: float, rng: np.random.Generator) -> Array:
    """A vector (d,) as long as `theta`, at the given angle to it, in a uniformly random plane; d >= 2.

    Example:
        >>> theta = np.array([4.0, 0.0, 0.0])
        >>> v = at_angle(theta, 120.0, np.random.default_rng(0))
        >>> float((v @ theta / 16).round(12)), float(np.linalg.norm(v).round(12))
        (-0.5, 4.0)
    """
    at_least("the dimension of theta", theta.size, 2)
    length = float(np.linalg.norm(theta))
    positive("the norm of theta", length, "a zero vector has no angle")
    unit = theta / length
    other = rng.normal(size=theta.size)
    other -= (other @ unit) * unit
    angle = np.deg2rad(degrees)
    return length * (np.cos(angle) * unit + np.sin(angle) * other / np.linalg.norm(other))


def _share(share: float) -> None:
    if not 0 <= share <= 1:
        raise InputError(f"share must lie in [0, 1], got {share!r}: 0 is the start, 1 the end of the shift")
