"""Last places against the law of all rankings, and against the closed form for one response among equals."""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations import BradleyTerryUsers
from distalign.populations.last_choices import last_choices
from distalign.populations.plackett_luce import ranking_law


@pytest.mark.parametrize("bt_temperature", [0.5, 3.0, 30.0])
@pytest.mark.parametrize("among", [[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 0, 0]])
def test_against_all_rankings(bt_temperature, among):
    rng, some = np.random.default_rng(0), np.array(among, bool)
    users = BradleyTerryUsers(rng.random((3, 6)), rng.dirichlet(np.ones(3)), bt_temperature)
    expected = np.zeros(6)
    for ranking, share in zip(*ranking_law(users), strict=True):
        expected[[x for x in ranking if some[x]][-1]] += share
    np.testing.assert_allclose(last_choices(users, some), expected, atol=1e-14)


@pytest.mark.parametrize("size", [10, 1000])
def test_one_among_equals_has_the_product_of_k_over_k_plus_a(size):
    rate, k = 1.5, np.arange(1, size)
    users = BradleyTerryUsers(np.append(np.log(rate), np.zeros(size - 1))[None], [1.0], 1.0)
    found = last_choices(users, np.ones(size, bool))[0]
    np.testing.assert_allclose(found, np.prod(k / (k + rate)), rtol=1e-6)


def test_from_the_bottom_two_agree_and_three_do_not():
    users = BradleyTerryUsers([[1.0, 0.3, 0.0]], [1.0], 2.0)
    two, three = np.array([True, False, True]), np.ones(3, bool)
    np.testing.assert_allclose(last_choices(users, two), last_choices(users, two, from_the_bottom=True))
    bottom = np.exp(-2.0 * np.array([1.0, 0.3, 0.0]))
    np.testing.assert_allclose(last_choices(users, three, from_the_bottom=True), bottom / bottom.sum())
    assert abs(last_choices(users, three) - bottom / bottom.sum()).max() > 0.01


def test_what_it_refuses():
    users = BradleyTerryUsers([[1.0, 0.0]], [1.0], 1.0)
    with pytest.raises(InputError, match="at least one"):
        last_choices(users, np.zeros(2, bool))
