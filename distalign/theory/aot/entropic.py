r"""Entropic transport of two normal laws: how far its plan is from sorting, and the limit law of its value.

With U ~ N(mean_u, s^2), V ~ N(mean_v, t^2) and least squares (margin - (u - v))^2, the cost plus strength
times KL(plan || product of the laws) is least at a normal plan. Of correlation rho it has the transport cost
a^2 + s^2 + t^2 - 2 s t rho,  a = margin - (mean_u - mean_v),  and the divergence -log(1 - rho^2) / 2, so

    s t rho = sqrt(s^2 t^2 + strength^2 / 16) - strength / 4.                                       (1)

Sorting is rho = 1. The plan's transport cost exceeds that of sorting by 2 s t (1 - rho), which is strength/2
to first order and never more, and 2 s t at most, where the plan is independent. A sorted sample is smoothed
likewise: the mean of V given U = u has slope rho t/s, where the quantile map has t/s.

The logarithm of the plan's density ratio is a sum of the two optimal potentials less the cost, so these are
quadratic: with standard normal x and y,  f = -2 a s x + (s^2 - s t rho) x^2  and  g = 2 a t y + (t^2 - s t
rho) y^2  up to constants. As in `distalign.theory.aot.transport`, the value of n draws of each law has a
central limit with the variance of f(U) + g(V) for independent U and V.

Source: the entropic plan of normal laws is in Janati, Muzellec, Peyre and Cuturi 2020, arXiv 2006.02572
(closed form, for other conventions; derived again here); central limits of the value are known (from memory:
Mena and Niles-Weed 2019, arXiv 1905.11882; del Barrio et al. 2022, arXiv 2207.07427), the constant for normal
laws is ours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distalign.arguments import POSITIVE, REAL, checked
from distalign.checks import positive

_SIZE = replace(POSITIVE, low=1e-40, high=1e40)
_PLACE = replace(REAL, low=-1e40, high=1e40)


def _apart(sd_u: float, sd_v: float, strength: float) -> str:
    """A relation: in double precision rho is not 1, so that 1 - rho has digits."""
    least = 1e-9 * sd_u * sd_v
    return "" if strength >= least else f"strength must be at least {least:g} here, 1e-9 sd_u sd_v: add more"


@checked(sd_u=_SIZE, sd_v=_SIZE, strength=_SIZE)
def entropic_correlation(sd_u: float, sd_v: float, strength: float) -> float:
    """rho of (1), the correlation of the entropic plan of two normal laws.

    Args:
        sd_u, sd_v: standard deviations s and t, above 0.
        strength: of the regularisation, in units of the squared values, above 0.

    Raises:
        InputError: an argument is not positive.

    Example:
        >>> round(entropic_correlation(1.0, 1.5, 1.0), 6), round(entropic_correlation(1.0, 1.5, 1e-6), 6)
        (0.847127, 1.0)
    """
    for name, value in (("sd_u", sd_u), ("sd_v", sd_v), ("strength", strength)):
        positive(name, value, "the closed form is for normal laws that are regularised")
    product = sd_u * sd_v
    return float(product / (np.sqrt(product**2 + strength**2 / 16) + strength / 4))


@checked(_apart, sd_u=_SIZE, sd_v=_SIZE, strength=_SIZE)
def entropic_excess(sd_u: float, sd_v: float, strength: float) -> float:
    """2 s t (1 - rho): the transport cost of the entropic plan less that of sorting.

    Args:
        sd_u, sd_v: standard deviations s and t, above 0.
        strength: of the regularisation, in units of the squared values, above 0.

    Raises:
        InputError: an argument is not positive.

    Example: half of a small strength, and 2 s t at most.
        >>> round(entropic_excess(1.0, 1.5, 0.001), 6), round(entropic_excess(1.0, 1.5, 1e6), 3)
        (0.0005, 3.0)
    """
    return 2 * sd_u * sd_v * (1 - entropic_correlation(sd_u, sd_v, strength))


@checked(_apart, mean_u=_PLACE, sd_u=_SIZE, mean_v=_PLACE, sd_v=_SIZE, margin=_PLACE, strength=_SIZE)
def entropic_value(
    mean_u: float, sd_u: float, mean_v: float, sd_v: float, margin: float, strength: float
) -> float:
    """a^2 + s^2 + t^2 - 2 s t rho - strength log(1 - rho^2) / 2: the regularised cost of two normal laws.

    Args:
        mean_u, sd_u, mean_v, sd_v: of the two laws; the standard deviations are above 0.
        margin: of the least-squares penalty (margin - (u - v))^2.
        strength: of the regularisation, in units of the squared values, above 0.

    Raises:
        InputError: a standard deviation or the strength is not positive.

    Example:
        >>> round(entropic_value(0.4, 1.0, 0.0, 1.5, 0.7, 1.0), 6)
        1.430877
    """
    rho = entropic_correlation(sd_u, sd_v, strength)
    a = margin - (mean_u - mean_v)
    transport = a**2 + sd_u**2 + sd_v**2 - 2 * sd_u * sd_v * rho
    return float(transport - 0.5 * strength * np.log1p(-(rho**2)))


@checked(mean_u=_PLACE, sd_u=_SIZE, mean_v=_PLACE, sd_v=_SIZE, margin=_PLACE, strength=_SIZE)
def entropic_value_sd(
    mean_u: float, sd_u: float, mean_v: float, sd_v: float, margin: float, strength: float
) -> float:
    """sqrt(4 a^2 (s^2 + t^2) + 2 (s^2 - s t rho)^2 + 2 (t^2 - s t rho)^2), the limit of sqrt(n) deviations.

    It is the standard deviation in the central limit of the regularised cost of n draws of each law. At
    strength 0 it is `gaussian_least_squares_sd`.

    Args:
        mean_u, sd_u, mean_v, sd_v: of the two laws; the standard deviations are above 0.
        margin: of the least-squares penalty (margin - (u - v))^2.
        strength: of the regularisation, in units of the squared values, above 0.

    Raises:
        InputError: a standard deviation or the strength is not positive.

    Example:
        >>> round(entropic_value_sd(0.4, 1.0, 0.0, 1.5, 0.7, 1e-9), 3)
        1.672
    """
    joint = sd_u * sd_v * entropic_correlation(sd_u, sd_v, strength)
    a = margin - (mean_u - mean_v)
    variance = 4 * a**2 * (sd_u**2 + sd_v**2) + 2 * (sd_u**2 - joint) ** 2 + 2 * (sd_v**2 - joint) ** 2
    return float(np.sqrt(variance))
