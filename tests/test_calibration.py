"""Calibration errors by hand, and the jump that keeps binned ones from having a bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distalign.calibration import (
    binned_calibration_error,
    calibration_error,
    pair_error,
    top_label_error,
)
from distalign.checks import InputError
from distalign.preferences import PreferenceLogProbs


def test_distance_to_the_truth_is_averaged_over_prompts():
    policy, truth = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.5, 0.5], [0.4, 0.6]])
    assert calibration_error(policy, truth, [0.7, 0.3]) == pytest.approx(0.3 * 1.0)
    assert calibration_error(np.stack([policy, truth]), truth, [0.7, 0.3]).tolist() == pytest.approx(
        [0.3, 0.0]
    )


def test_binned_error_cancels_inside_a_bin_only():
    assert binned_calibration_error([0.62, 0.68], [1, 0], [1, 1]) == pytest.approx(abs(0.65 - 0.5))
    assert binned_calibration_error([0.58, 0.68], [1, 0], [1, 1]) == pytest.approx((0.42 + 0.68) / 2)
    assert binned_calibration_error([1.0, 0.0], [1, 0], [3, 1]) == 0
    assert binned_calibration_error([0.62, 0.68], [1, 0], [3, 1]) == pytest.approx(
        abs(0.75 * (0.62 - 1) + 0.25 * 0.68)
    )


def test_top_label_error_jumps_where_two_labels_swap():
    truth = np.array([[0.4, 0.1, 0.5]])
    before, after = (np.array([[0.4 + e, 0.4 - e, 0.2]]) for e in (1e-9, -1e-9))
    assert calibration_error(before, truth, [1.0]) == pytest.approx(
        calibration_error(after, truth, [1.0]), abs=1e-8
    )
    assert top_label_error(after, truth, [1.0]) - top_label_error(before, truth, [1.0]) == pytest.approx(
        0.3, abs=1e-6
    )


def test_pair_error_is_per_token():
    lp = torch.log(torch.tensor([0.25, 0.09, 0.36, 0.5], dtype=torch.float64))
    tokens = torch.tensor([1, 2])
    batch = PreferenceLogProbs(
        lp[:2], lp[2:], lp[:2], lp[2:], chosen_tokens=tokens, rejected_tokens=tokens.flip(0)
    )
    # confidences 0.25 and 0.3 against 0.6 and 0.5: both wrong, in two bins
    assert pair_error(batch) == pytest.approx((0.25 + 0.3) / 2)


def test_bad_input():
    with pytest.raises(InputError, match=r"confidence must lie in \[0, 1\]"):
        binned_calibration_error([-0.1], [1], [1])
    zero = torch.zeros(1)
    with pytest.raises(InputError, match="chosen_tokens and rejected_tokens"):
        pair_error(PreferenceLogProbs(zero, zero, zero, zero))
