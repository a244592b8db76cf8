"""Last places of rankings: by Plackett-Luce drawn from the top, and by the same law drawn from the bottom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from distalign.arguments import FLAG, Thing, checked, instance
from distalign.checks import InputError
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.types import Array

# Gauss-Legendre nodes for the log of the time at which the last alternative comes.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(400)


_SET = Thing(
    "an array of True and False", lambda value: np.ndim(value) == 1 and np.asarray(value).dtype == bool
)


@checked(users=instance(BradleyTerryUsers), among=_SET, from_the_bottom=FLAG)
def last_choices(
    users: BradleyTerryUsers, among: NDArray[np.bool_], *, from_the_bottom: bool = False
) -> Array:
    """Share (K,) of users who rank each response last among some.

    A Plackett-Luce ranking is the order in which independent exponential clocks of rates a = e^{b u} ring. So
    x is the last of S with probability

        integral_0^inf a_x e^{-a_x t} prod_{y in S, y not x} (1 - e^{-a_y t}) dt,

    computed over log t by Gauss-Legendre quadrature. Drawn from the bottom instead, the last place goes to x
    with probability e^{-b u(x)} / sum_S e^{-b u}. The two laws agree for two responses; for m of them a small
    utility keeps a response from the last place by 1 - b u (H_m - 1) in the first, where H_m = 1 + 1/2 + ...
    + 1/m, and by 1 - b u in the second.

    Args:
        users: types, weights, temperature; one prompt.
        among: (K,) the responses S.
        from_the_bottom: take the second law.

    Returns:
        Shares that sum to 1, and are 0 outside of S.

    Raises:
        InputError: the users answer more than one prompt, or S is empty.

    Source: the clocks are textbook (Luce 1959, Plackett 1975); the sensitivity H_m - 1 is ours, elementary.

    Example:
        >>> users = BradleyTerryUsers([[0.5, 0.0, 0.0]], [1.0], bt_temperature=2 * np.log(2))
        >>> last_choices(users, np.array([True, True, True])).round(6).tolist()
        [0.166667, 0.416667, 0.416667]
    """
    if users.utilities.ndim != 2:
        raise InputError("users answer several prompts: give the utilities of one prompt")
    among = np.asarray(among, bool)
    if not among.any():
        raise InputError("among must hold at least one response")
    rates = users.bt_temperature * users.utilities[:, among]
    last = softmax(-rates, axis=1) if from_the_bottom else np.array([_last(row) for row in rates])
    found = np.zeros(len(among))
    found[among] = users.weights @ last
    return found


def _last(log_rates: Array) -> Array:
    """Probabilities that each clock of these log-rates rings last; equal rates are treated as one."""
    rates, where, count = np.unique(log_rates, return_inverse=True, return_counts=True)
    # The last ring lies within e^{-40} of probability between these times.
    low, high = -40.0 - rates.max(), 4.0 + np.log(np.log(len(log_rates)) + 1) - rates.min()
    log_t = low + (high - low) * (_NODES + 1) / 2
    rung = np.exp(rates[:, None] + log_t)
    log_rung = np.log(-np.expm1(-rung))
    density = rates[:, None] + log_t - rung - log_rung + (count[:, None] * log_rung).sum(0)
    mass = np.exp(logsumexp(density, b=_WEIGHTS * (high - low) / 2, axis=1))  # pyright: ignore[reportCallIssue, reportArgumentType]
    return mass[where] / (mass * count).sum()
