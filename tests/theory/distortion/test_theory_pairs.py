"""The detour's utility as a root of the fitted reward, found without the closed form."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit

from distalign.theory.distortion.pairs import detour_distortion, detour_utility


def lead(x, b, f):
    """r(b) - r(a) on the path a, c, d, b."""

    def won(winner, loser):
        return expit(b * (winner - loser)) / 2 + 0.25

    return logit(won(0.5, x)) + logit(won(1.0, 0.5)) + logit(won(f, 1.0))


@pytest.mark.parametrize("b", [0.3, 1.0, 5.0, 20.0])
@pytest.mark.parametrize("f", [0.0, 1e-3])
def test_the_lead_of_the_worse_response_ends_at_the_utility(b, f):
    root = brentq(lead, 0.0, 1.0, args=(b, f), xtol=1e-14)
    assert detour_utility(b, f) == pytest.approx(root, abs=1e-10)
    assert lead(0.9 * root, b, f) > 0 > lead(1.1 * root, b, f)


def test_the_distortion_is_the_ratio_of_average_utilities():
    assert detour_distortion(0.3, 0.01) == pytest.approx(np.mean([0.3, 0.01]) / 0.01)
