"""When a CVaR or total-variation ball only takes mass from the pairs of least loss: linear forms and edges.

As long as a ball takes no more mass than the atoms of least loss have, its robust loss is

    CVaR_level(l) = E l + (1 - level)/level (E l - min l)   and   E l + rho (max l - min l),            (1)

linear in what the ball takes, (1 - level) or rho, where chi-square and KL balls begin like a square root.

Source: textbook, elementary.
"""

from __future__ import annotations

from distalign.arguments import INSIDE_UNIT, LAW, POSITIVE_LAW, REAL, checked
from distalign.types import Array


@checked(losses=REAL.of("m"), p=POSITIVE_LAW.of("m"))
def least_mass(losses: Array, p: Array) -> float:
    """P(l = min l), the largest 1 - level or radius for which (1) holds.

    Args:
        losses: (m,) losses; those within 1e-12 of the least count as equal to it.
        p: (m,) law of the atoms, all positive.

    Example:
        >>> import numpy as np
        >>> least_mass(np.array([0.0, 1.0, 0.0]), np.array([0.25, 0.5, 0.25]))
        0.5
    """
    return float(p[losses <= losses.min() + 1e-12].sum())


@checked(losses=REAL.of("m"), p=LAW.of("m"), level=INSIDE_UNIT)
def cvar_form(losses: Array, p: Array, level: float) -> float:
    """The first form of (1), an upper bound on CVaR beyond its edge.

    Args:
        losses: (m,) losses.
        p: (m,) law of the atoms.
        level: in (0, 1).

    Example:
        >>> import numpy as np
        >>> cvar_form(np.array([0.0, 1.0]), np.array([0.5, 0.5]), 0.5)
        1.0
    """
    mean = p @ losses
    return float(mean + (1 - level) / level * (mean - losses.min()))


@checked(losses=REAL.of("m"), p=LAW.of("m"), radius=INSIDE_UNIT)
def total_variation_form(losses: Array, p: Array, radius: float) -> float:
    """The second form of (1), an upper bound on the robust loss beyond its edge.

    Args:
        losses: (m,) losses.
        p: (m,) law of the atoms.
        radius: in (0, 1).

    Example:
        >>> import numpy as np
        >>> total_variation_form(np.array([0.0, 1.0]), np.array([0.5, 0.5]), 0.25)
        0.75
    """
    return float(p @ losses + radius * (losses.max() - losses.min()))
