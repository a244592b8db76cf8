"""Families of users to try voting rules on: chance, two camps, ideal points, a common second choice.

Each family makes another difficulty for a rule: chance, a minority, geometry, or a compromise that nobody
ranks first. `worst_off` reads how well a lottery serves the type of user it serves worst.
"""

from __future__ import annotations

import numpy as np

from distalign.arguments import INSIDE_UNIT, LAW, POSITIVE, RNG, checked, instance, whole_number
from distalign.checks import InputError, inside_unit
from distalign.populations._arrays import at_least
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.types import Array


def _many(types: int, alternatives: int) -> str:
    fits = types * alternatives <= 1e8
    return (
        ""
        if fits
        else f"types times alternatives must be at most 1e8, got {types} and {alternatives}: take fewer"
    )


def _shape(users: BradleyTerryUsers, policy: Array) -> str:
    responses, given = users.utilities.shape[-1], len(policy)
    return (
        ""
        if responses == given
        else f"policy must hold {responses} probabilities, one a response, got {given}"
    )


@checked(_many, rng=RNG, bt_temperature=POSITIVE, types=whole_number(2), alternatives=whole_number(3))
def unstructured(
    rng: np.random.Generator, bt_temperature: float, types: int = 8, alternatives: int = 6
) -> BradleyTerryUsers:
    """Users whose utilities are independent and uniform on [0, 1], with shares uniform on the simplex.

    Source: ours.

    Example:
        >>> unstructured(np.random.default_rng(0), 5.0).utilities.shape
        (8, 6)
    """
    _sizes(types, alternatives)
    return BradleyTerryUsers(rng.random((types, alternatives)), rng.dirichlet(np.ones(types)), bt_temperature)


@checked(_many, rng=RNG, bt_temperature=POSITIVE, types=whole_number(2), alternatives=whole_number(3))
def two_camps(
    rng: np.random.Generator, bt_temperature: float, types: int = 8, alternatives: int = 7
) -> BradleyTerryUsers:
    """A majority of 55 to 80 percent and a minority, with one compromise alternative.

    Each camp likes its own alternatives and not the other camp's. Half of the types are in either camp.
    Utilities: own alternatives uniform on [0.6, 1], the other camp's on [0, 0.2], the last alternative, the
    compromise, on [0.4, 0.6].

    Source: ours.

    Example:
        >>> users = two_camps(np.random.default_rng(0), 5.0)
        >>> bool(users.weights[:4].sum() > 0.55), bool(users.utilities[0, 0] > users.utilities[4, 0])
        (True, True)
    """
    _sizes(types, alternatives)
    camp, side = np.arange(types) < types // 2, np.arange(alternatives - 1) < (alternatives - 1) // 2
    own = camp[:, None] == side
    utilities = np.where(own, rng.uniform(0.6, 1, own.shape), rng.uniform(0, 0.2, own.shape))
    majority, shares = rng.uniform(0.55, 0.8), rng.dirichlet(np.ones(types))
    shares = np.where(
        camp, majority * shares / shares[camp].sum(), (1 - majority) * shares / shares[~camp].sum()
    )
    return BradleyTerryUsers(
        np.column_stack([utilities, rng.uniform(0.4, 0.6, types)]), shares, bt_temperature
    )


@checked(_many, rng=RNG, bt_temperature=POSITIVE, types=whole_number(2), alternatives=whole_number(3))
def ideal_points(
    rng: np.random.Generator, bt_temperature: float, types: int = 12, alternatives: int = 8
) -> BradleyTerryUsers:
    """Users and alternatives are uniform points of the unit square, and users like what is near them.

    Utility is 1 - distance / sqrt 2; all types have equal shares.

    Source: ours.

    Example:
        >>> bool(ideal_points(np.random.default_rng(0), 5.0).utilities.min() >= 0)
        True
    """
    _sizes(types, alternatives)
    distance = np.linalg.norm(rng.random((types, 1, 2)) - rng.random((alternatives, 2)), axis=2)
    return BradleyTerryUsers(1 - distance / np.sqrt(2), np.full(types, 1 / types), bt_temperature)


@checked(bt_temperature=POSITIVE, alternatives=whole_number(3, 10_000), utility=INSIDE_UNIT)
def common_second(bt_temperature: float, alternatives: int, utility: float = 0.5) -> BradleyTerryUsers:
    """Every user has a favourite of their own, and alternative 0 is everybody's second choice.

    The favourite has utility 1, alternative 0 has `utility`, the other alternatives have 0. Rules that look
    at first choices miss alternative 0, whose average utility is `utility` against 1/(m - 1) for a favourite.

    Args:
        bt_temperature: b, above 0.
        alternatives: m, at least 3: one common second and m - 1 favourites, of equally many users each.
        utility: of the common second, in (0, 1).

    Source: ours; the phenomenon is that of Alipour and Goyal, arXiv 2602.11152.

    Example:
        >>> common_second(10.0, 5).average_utility.tolist()
        [0.5, 0.25, 0.25, 0.25, 0.25]
    """
    at_least("alternatives", alternatives, 3)
    inside_unit(
        "utility", utility, "it is everybody's second choice, between the favourite's 1 and the others' 0"
    )
    favourites = alternatives - 1
    utilities = np.column_stack([np.full(favourites, utility), np.eye(favourites)])
    return BradleyTerryUsers(utilities, np.full(favourites, 1 / favourites), bt_temperature)


@checked(_shape, users=instance(BradleyTerryUsers), policy=LAW.of("K"))
def worst_off(users: BradleyTerryUsers, policy: Array) -> float:
    """Utility that a lottery gives to the type of user it serves worst, however few such users there are.

    Source: ours.

    Example:
        >>> worst_off(common_second(10.0, 3), np.array([0.0, 0.75, 0.25]))
        0.25
    """
    return float((users.utilities @ policy).min())


def _sizes(types: int, alternatives: int) -> None:
    if types < 2 or alternatives < 3:
        raise InputError(
            f"types must be at least 2 and alternatives at least 3, got {types} and {alternatives}"
        )
