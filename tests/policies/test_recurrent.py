"""The recurrent model is a law over sequences, and samples from it."""

import itertools

import numpy as np
import pytest
import torch

from distalign.checks import InputError
from distalign.policies.recurrent import Recurrent


def distance(model, drawn):
    """Total variation between the law of a model over 3^4 sequences and the frequencies of draws."""
    with torch.no_grad():
        law = model.log_probs(torch.tensor(list(itertools.product(range(3), repeat=4)))).exp().numpy()
    assert law.sum() == pytest.approx(1, abs=1e-5)
    counts = np.bincount((drawn @ torch.tensor([27, 9, 3, 1])).numpy(), minlength=81)
    return 0.5 * np.abs(counts / counts.sum() - law).sum()


def test_samples_follow_the_law_and_no_other_order_of_tokens_does():
    torch.manual_seed(0)
    model = Recurrent(vocabulary=3, length=4, hidden=8, sharpness=5.0)
    drawn = model.sample(20_000, torch.Generator().manual_seed(1))
    assert distance(model, drawn) < 0.03
    assert distance(model, drawn.flip(1)) > 0.1


@pytest.mark.parametrize("sizes", [{"vocabulary": 1}, {"length": 0}, {"hidden": 0}])
def test_sizes_that_make_no_model(sizes):
    with pytest.raises(InputError, match="vocabulary must be at least 2"):
        Recurrent(**sizes)
