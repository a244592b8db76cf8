"""Populations on which RLHF fails more than it can without a KL constraint or with independent pairs.

s(t) = tanh(t/2)/2 and b is the Bradley-Terry temperature. In two families comparisons against alternatives
that the reference excludes put the two alternatives that it allows in a wrong order; the third draws
neighbouring pairs only. The first two need references that are exponentially small in e^b, far below float64,
so they are given by their logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from distalign.arguments import (
    FLAG,
    INSIDE_UNIT,
    NONNEGATIVE,
    POSITIVE,
    REAL,
    SMALLEST,
    checked,
    whole_number,
)
from distalign.checks import InputError, inside_unit, positive
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.types import Array

_LOG_MASS = replace(REAL, words="below 0", remedy="it is the logarithm of a mass", high=-SMALLEST)


@dataclass(frozen=True)
class ConstrainedWorstCase:
    """An alignment problem with a KL budget, and the distortion it forces on RLHF.

    Attributes:
        users: its types.
        comparison: (m,) distribution mu of either member of a pair, or (m, m) symmetric weights of pairs
            (zero diagonal).
        log_reference: (m,) log pi_ref.
        kl_budget: tau in nats.
        distortion: of RLHF, in closed form (in the limit of an excluded pool where there is one).
    """

    users: BradleyTerryUsers
    comparison: Array
    log_reference: Array
    kl_budget: float
    distortion: float


@checked(
    bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice"),
    merged=FLAG,
    clones=whole_number(1, 1e7).or_none,
    log_excluded=_LOG_MASS.or_none,
)
def exponential_worst_case(
    bt_temperature: float,
    *,
    merged: bool = True,
    clones: int | None = None,
    log_excluded: float | None = None,
) -> ConstrainedWorstCase:
    """A population on which RLHF with a KL budget of one nat loses a factor e^b/(10 b) (family F3).

    There are alternatives a, b and n clones of c. With d = 10/(10 + e^b), a share d of the users gives 1 to b
    and 0 to the rest, and the others give 1/b to a, 0 to b and 1 to the clones. Comparisons are uniform; the
    reference puts e on the clones together and (1 - e)/2 on either of a and b. The few users who like b
    answer more decisively against the clones than all users who like a, so b gets the higher reward although
    a is better by (1 - d)/(b d). As e -> 0 RLHF can only choose between a and b, and picks b.

    Clones tie with each other, so their rewards are equal and their KL adds up: the problem with one
    alternative c of comparison weight n/(n + 2) is exactly the same (`merged`).

    Args:
        bt_temperature: b, above 0; the family is bad from about 4.
        merged: all clones as one alternative (m = 3) instead of one by one (m = n + 2).
        clones: n; None means 2 / (d (1/3 - e/10)), e = 2.718..., which is enough.
        log_excluded: log of the reference's mass on the clones; None means -100 b e^b. From -b e^b on the
            distortion is within a percent of its limit.

    Returns:
        The problem; the closed form is the limit max(e^b/(10 b), 1).

    Raises:
        InputError: an argument is out of range.

    Source: arXiv 2505.23749, Appendix F.2 (Theorem 6); the number of clones as corrected by the Lean
        formalisation of the paper; merging the clones and the limit are ours.

    Example:
        >>> case = exponential_worst_case(10.0)
        >>> round(case.distortion, 3), case.users.average_utility.round(6).tolist()
        (220.265, [0.099955, 0.000454, 0.999546])
    """
    positive("bt_temperature", bt_temperature, "it is the slope of the Bradley-Terry choice")
    b = float(bt_temperature)
    rare = 10 / (10 + np.exp(b))
    n = int(np.ceil(2 / (rare * (1 / 3 - np.e / 10)))) if clones is None else clones
    if n < 1:
        raise InputError(f"clones must be at least 1, got {n}")
    log_mass = _log_mass(-100 * b * np.exp(b) if log_excluded is None else log_excluded)
    size = 1 if merged else n
    utilities = np.zeros((2, 2 + size))
    utilities[0, 1], utilities[1, 0], utilities[1, 2:] = 1, min(1 / b, 1), 1
    comparison = np.array([1, 1, *[n / size] * size]) / (n + 2)
    users = BradleyTerryUsers(utilities, np.array([rare, 1 - rare]), b)
    average = users.average_utility
    return ConstrainedWorstCase(
        users, comparison, _reference(log_mass, size), 1.0, float(max(average[0] / average[1], 1.0))
    )


@checked(
    bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice"),
    epsilon=INSIDE_UNIT.meaning("the family reaches its limit as epsilon goes to 0; 1e-3 is a good start"),
    log_excluded=_LOG_MASS.or_none,
)
def unsupported_worst_case(
    bt_temperature: float, epsilon: float = 1e-3, log_excluded: float | None = None
) -> ConstrainedWorstCase:
    """A population on which KL-constrained RLHF loses a factor cosh^2(b/2) in the limit (family F3').

    There are alternatives (a, b, c), and nearly all comparisons are against c, which the reference excludes.
    With z = eps/b, A = s(b z) and B = s(b) - s(b (1 - z)), a share w = k B/(A + k B) of the users has
    utilities (0, z, 0) and the rest (z, 0, 1). At k = 1 the Borda scores of a and b tie; k = 1 + eps gives b
    the higher reward. The distortion is

        (1 - w)/w = A/(k B) -> cosh^2(b/2).

    The budget log 2 is just enough for a pure b.

    Args:
        bt_temperature: b, above 0.
        epsilon: in (0, 1); the distortion differs from cosh^2(b/2) by a share of about 3 epsilon / 2.
        log_excluded: log of the reference's mass on c; None means -(b + 60)^2/(eps/4)^2: the rewards of a and
            b differ by about eps^2/3 only, and this is what it takes for RLHF to tell them apart.

    Raises:
        InputError: an argument is out of range.

    Source: ours.

    Example:
        >>> case = unsupported_worst_case(5.0, 1e-4)
        >>> round(case.distortion, 2), bool(np.diff(case.users.win[:2, 2])[0] > 0)
        (37.6, True)
    """
    positive("bt_temperature", bt_temperature, "it is the slope of the Bradley-Terry choice")
    inside_unit("epsilon", epsilon, "the family reaches its limit as epsilon goes to 0; 1e-3 is a good start")
    b, z = float(bt_temperature), epsilon / bt_temperature
    near = np.tanh(b * z / 2)  # 2 A
    far = near * (
        1 - np.tanh(b / 2) * np.tanh(b * (1 - z) / 2)
    )  # 2 B = tanh x - tanh y = tanh(x - y) (1 - tanh x tanh y)
    share = (1 + epsilon) * far / (near + (1 + epsilon) * far)
    users = BradleyTerryUsers(np.array([[0, z, 0], [z, 0, 1]]), np.array([share, 1 - share]), b)
    rare = (
        epsilon**2 * np.exp(-b) / 1000
    )  # comparisons of a with b must not outweigh a margin of eps^2 e^{-b} against c
    log_mass = _log_mass(-16 * (b + 60) ** 2 / epsilon**2 if log_excluded is None else log_excluded)
    comparison = np.array([rare, rare, 1 - 2 * rare])
    return ConstrainedWorstCase(
        users, comparison, _reference(log_mass, 1), float(np.log(2)), float((1 - share) / share)
    )


@checked(
    bt_temperature=POSITIVE.meaning("it is the slope of the Bradley-Terry choice"),
    alternatives=whole_number(2, 10_000),
    spare=INSIDE_UNIT.or_none,
)
def correlated_worst_case(
    bt_temperature: float, alternatives: int = 100, spare: float | None = None
) -> ConstrainedWorstCase:
    """A population on which RLHF of neighbouring pairs loses a factor of about b sqrt(m)/(3 sqrt 6) (F4).

    Three equally likely users all have utility 1/3 for alternative 0. From one alternative to the next the
    user A who liked it best drops to 0, and the other two gain

        D' = D/2 - log(1 + tanh^3(D/4)) logits each,   D = b u_A.

    So a majority of answers prefers each alternative to the one before, although the average utility falls.
    All comparisons except a mass of `spare` are between neighbours, so the reward rises along the chain, and
    RLHF, free to choose, takes the last and worst alternative.

    Args:
        bt_temperature: b, above 0.
        alternatives: m, at least 2.
        spare: mass of all pairs that are not neighbours, in (0, 1); None means m^-3, which is small enough.

    Returns:
        The problem, with a uniform reference and tau = log m (no constraint); closed form
        AvgUtil(0)/AvgUtil(m - 1).

    Raises:
        InputError: an argument is out of range.

    Source: arXiv 2505.23749, Appendix G (Lemma 15, Theorem 9).

    Example:
        >>> case = correlated_worst_case(10.0, 6)
        >>> case.users.average_utility.round(8).tolist()
        [0.33333333, 0.31494689, 0.28499347, 0.24563538, 0.21626279, 0.18712416]
    """
    positive("bt_temperature", bt_temperature, "it is the slope of the Bradley-Terry choice")
    m, b = alternatives, float(bt_temperature)
    if m < 2:
        raise InputError(f"alternatives must be at least 2, got {m}")
    mass = float(m) ** -3 if spare is None else spare
    inside_unit("spare", mass, "it is the mass of pairs that are not neighbours; m^-3 is small enough")
    utilities = np.full((3, m), 1 / 3)
    for t in range(1, m):
        before = utilities[:, t - 1]
        top = int(before.argmax())
        gap = b * before[top]
        utilities[:, t] = before + chain_gain(gap) / b
        utilities[top, t] = 0
    users = BradleyTerryUsers(utilities, np.full(3, 1 / 3), b)
    others = m * (m - 1) / 2 - (m - 1)
    weights = np.full((m, m), mass / others / 2 if others else 0.0)
    chain = np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
    weights[chain == 1] = (1 - (mass if others else 0)) / (m - 1) / 2
    weights[chain == 0] = 0
    average = users.average_utility
    return ConstrainedWorstCase(
        users, weights, np.full(m, -np.log(m)), float(np.log(m)), float(average[0] / average[-1])
    )


@checked(gap=NONNEGATIVE)
def chain_gain(gap: float) -> float:
    """What two users of `correlated_worst_case` gain where the third drops by D = `gap`, all in logits.

        D' = D/2 - log(1 + tanh^3(D/4))

    This is more than the D'' of 2 s(D'') = s(D), with which the answers would tie, and less than D/2, with
    which the average utility would stay.

    Args:
        gap: D, at least 0.

    Source: arXiv 2505.23749, Appendix G (Lemma 15).

    Example:
        >>> round(chain_gain(4.0), 6)
        1.634146
    """
    return float(gap / 2 - np.log1p(np.tanh(gap / 4) ** 3))


def _log_mass(log_excluded: float) -> float:
    if not -np.inf < log_excluded < 0:
        raise InputError(
            f"log_excluded must be finite and below 0, got {log_excluded!r}: it is the logarithm of a mass"
        )
    return float(log_excluded)


def _reference(log_mass: float, size: int) -> Array:
    """log pi_ref: half of what is left for each of the first two, the mass divided among the other `size`."""
    allowed = np.log1p(-np.exp(log_mass)) - np.log(2)
    return np.array([allowed, allowed, *[log_mass - np.log(size)] * size])
