"""Excesses of places against all rankings, and the growth of the threshold with the number of responses."""

import numpy as np
import pytest

from distalign.populations import BradleyTerryUsers
from distalign.populations.plackett_luce import ranking_law
from distalign.theory.distortion.vetoes import _excess, favourites_distortion, veto_share


@pytest.mark.parametrize("b", [1.0, 4.0])
def test_excess_against_all_rankings(b):
    utilities, counts = np.array([0.5, 0.0, 1.0, 0.2]), np.array([1, 1, 2, 2])
    users = BradleyTerryUsers(np.repeat(utilities, counts)[None], [1.0], b)
    rankings, law = ranking_law(users)
    first = np.bincount(rankings[:, 0], law, 6)
    last = np.bincount(rankings[:, -1], law, 6)
    found = np.repeat(_excess(b, utilities, counts, False), counts)
    np.testing.assert_allclose(found, 6 * (first - last), atol=1e-9)


def test_the_threshold_grows_with_the_logarithm_of_m_or_not_at_all():
    top = [veto_share(15.0, 4, k, 0.5) for k in (100, 10_000)]
    assert (top[1] - top[0]) / np.log(100) == pytest.approx(15.0 * 3 / 4, rel=0.02)
    bottom = [veto_share(15.0, 4, k, 0.5, from_the_bottom=True) for k in (100, 10_000)]
    assert bottom[1] == pytest.approx(bottom[0], rel=0.02)


def test_favourites_win_up_to_a_number_that_grows_with_the_temperature():
    assert [favourites_distortion(b, 64, 64, 0.5) for b in (5.0, 10.0)] == [1.0, 32.0]
