"""Families of users: utilities in range, shares, and the structure their names promise."""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations.crowds import common_second, ideal_points, two_camps, unstructured, worst_off


@pytest.mark.parametrize("family", [unstructured, two_camps, ideal_points])
def test_utilities_are_in_range_and_reproducible(family):
    for seed in range(20):
        users, again = (family(np.random.default_rng(seed), 4.0) for _ in range(2))
        assert users.utilities.min() >= 0
        assert users.utilities.max() <= 1
        assert users.weights.sum() == pytest.approx(1)
        np.testing.assert_array_equal(users.utilities, again.utilities)
    with pytest.raises(InputError, match="types must be a number from 2"):
        family(np.random.default_rng(0), 4.0, 1)
    with pytest.raises(InputError, match="alternatives must be a number from 3"):
        family(np.random.default_rng(0), 4.0, 4, 2)


def test_camps_like_their_own_and_accept_the_compromise():
    for seed in range(20):
        users = two_camps(np.random.default_rng(seed), 4.0)
        majority = users.weights[:4].sum()
        assert 0.55 <= majority <= 0.8
        assert users.utilities[:4, :3].min() > users.utilities[:4, -1].max() > users.utilities[:4, 3:6].max()
        assert users.utilities[4:, 3:6].min() > users.utilities[4:, -1].max() > users.utilities[4:, :3].max()


def test_utility_falls_with_distance():
    users = ideal_points(np.random.default_rng(0), 4.0, types=2, alternatives=300)
    difference = np.abs(
        users.utilities[0] - users.utilities[1]
    )  # by the triangle inequality at most the users' distance
    assert difference.max() <= 1
    assert users.utilities.max() > 0.9


def test_worst_off_is_the_least_served_type():
    users = common_second(5.0, 4)
    assert worst_off(users, np.array([1.0, 0, 0, 0])) == 0.5
    assert worst_off(users, np.array([0.0, 0.6, 0.4, 0])) == 0
