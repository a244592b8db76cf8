"""A batch-coupled objective on a few pairs says what it then is; the others, and large batches, are
silent.
"""

import warnings
from functools import partial

import pytest
import torch

from distalign import PreferenceLogProbs
from distalign.objectives import SmallBatchWarning, aot_paired, dpo, kldpo


def batch(n, **options):
    generator = torch.Generator().manual_seed(0)
    return PreferenceLogProbs(*(torch.randn(n, generator=generator) for _ in range(4)), **options)


@pytest.mark.parametrize("loss", [partial(aot_paired, beta=0.1), partial(kldpo, beta=0.1, temperature=1.0)])
def test_small_batches_are_named(loss):
    with pytest.warns(
        SmallBatchWarning, match=r"this one has 3 chosen responses: on one pair it is DPO.*two_pass"
    ):
        loss(batch(3))


@pytest.mark.parametrize(
    ("loss", "given"),
    [
        (partial(aot_paired, beta=0.1), batch(8)),
        (partial(dpo, beta=0.1), batch(1)),
        (partial(aot_paired, beta=0.1), batch(3, validate=False)),
    ],
)
def test_silence(loss, given):
    with warnings.catch_warnings():
        warnings.simplefilter("error", SmallBatchWarning)
        loss(given)


def test_the_warning_is_true():
    one = batch(1)
    assert float(aot_paired(one, beta=0.1)) == float(dpo(one, beta=0.1))
    assert float(kldpo(one, beta=0.1, temperature=1.0)) == pytest.approx(float(dpo(one, beta=0.1)), abs=1e-7)
