"""Objectives keep their values over number types and scales (`scales` has 78,336 calls)."""

import random
from dataclasses import replace

import pytest
import torch

from distalign.objectives import declared
from tests.robustness import scales


def faults(change=None, count=400, seed=0):
    """Faults of a sample of the calls, with the loss of each case changed."""
    drawn = random.Random(seed).sample(list(scales.calls()), count)
    found = []
    for case, *at in drawn:
        changed = case
        if change is not None:
            loss = change(case.loss)
            loss.declared = declared(case.loss)
            changed = replace(case, loss=loss)
        if change is None or not (case.frozen or case.reads_inputs):
            found.append(scales.fault(changed, *at))
    return {fault for fault in found if fault}


def test_a_sample_of_the_calls_is_right():
    assert faults() == set()


def rounded(loss):
    """Log-ratios in half precision, as in a model that returns them so."""

    def wrong(b):
        half = {name: getattr(b, name).to(torch.bfloat16).to(b.chosen.dtype) for name in scales.SCORES}
        return loss(b if b.chosen.dtype == torch.float64 else replace(b, **half))

    return wrong


def overflowing(loss):
    return lambda b: loss(b) + 0 * (b.chosen - b.ref_chosen).exp().sum()


def without_slope(loss):
    """One tenth of the chosen scores detached."""
    return lambda b: loss(replace(b, chosen=0.9 * b.chosen + 0.1 * b.chosen.detach()))


@pytest.mark.parametrize(
    ("change", "fault"), [(rounded, "value"), (overflowing, "not finite"), (without_slope, "gradient")]
)
def test_a_careless_loss_is_seen(change, fault):
    assert fault in faults(change)
