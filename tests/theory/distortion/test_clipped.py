"""Clipped RLHF on the two families: the best hidden response by search, and orders of growth."""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.theory.distortion.clipped import (
    hidden_ratio,
    hidden_share,
    mismatch_distortion,
    unmatched_distortion,
    upper_end,
)


@pytest.mark.parametrize("b", [2.0, 10.0])
@pytest.mark.parametrize("quantile", [0.3, 0.45])
def test_no_other_little_utility_hides_a_better_response(b, quantile):
    """(b/t)(s(t) - d)/(s(b) + d) at all t."""
    t = np.linspace(1e-3, b, 20_001)
    d = 0.5 - quantile
    ratios = b / t * (np.tanh(t / 2) / 2 - d) / (np.tanh(b / 2) / 2 + d)
    try:
        found = hidden_ratio(b, quantile)
    except InputError:  # the best t is beyond b
        assert ratios.argmax() == len(t) - 1
        return
    assert found == pytest.approx(ratios.max(), rel=1e-6)


def test_the_hidden_response_loses_by_exactly_the_quantile():
    t, share = hidden_share(10.0)
    wins = share / (1 + np.exp(-10.0)) + (1 - share) / (1 + np.exp(t))
    assert wins == pytest.approx(0.45, abs=1e-12)


def test_growth_is_linear_up_to_a_logarithm():
    for b in (5.0, 50.0):
        scale = hidden_ratio(b) * 1e6
        assert mismatch_distortion(b, 1e6) == pytest.approx(scale / np.log(scale), rel=0.1)


def test_without_mismatch_it_is_linear_in_b():
    assert unmatched_distortion(1e4, 1e-12) == pytest.approx(1e4 / upper_end(), rel=1e-6)


def test_what_the_formulas_cannot_say_is_refused():
    for call in (
        lambda: hidden_share(1.0),
        lambda: hidden_share(10.0, 0.5),
        lambda: upper_end(0.3, 0.1),
        lambda: unmatched_distortion(0.1, 0.5),
        lambda: mismatch_distortion(10.0, 0.0),
    ):
        with pytest.raises(InputError):
            call()
