"""The language model's study: its population, its limit by a second road."""

from functools import partial

import numpy as np
import pytest
import torch
from study_kit import study

from distalign.objectives import rdro
from distalign.policies import Tabular
from distalign.populations import Thumbs
from distalign.simulation.fit import fit

MODULE = study("ratio_language_model")


def test_labels_have_the_prior_told_and_p_plus_is_a_law():
    y, label = MODULE.labelled_reference(0).draw(20_000, torch.Generator().manual_seed(2))
    assert label.float().mean().item() == pytest.approx(MODULE.PRIOR, abs=0.015)
    assert (MODULE.labelled_reference(0).chosen(y) / MODULE.PRIOR).mean().item() == pytest.approx(
        1, abs=0.02
    )  # E_{p_ref} p+/p_ref


def test_the_limit_of_one_mean_is_newtons():
    truth = MODULE.labelled_reference(1)
    q = truth.chosen(truth.draw(4096, torch.Generator().manual_seed(3))[0]).numpy().astype(float)
    limit = MODULE.limit_of_one_mean(q)
    bins = np.sort(q).reshape(MODULE.BINS, -1).mean(1)
    law = Thumbs(bins[None], np.full((1, MODULE.BINS), 1 / MODULE.BINS), np.ones(1))
    ends = {
        name: fit(Tabular(law.reference), partial(rdro, alpha=law.prior, reduction=name), law.law()).probs[0]
        for name in ("batch_mean", "class_mean")
    }
    assert ends["batch_mean"] @ bins == pytest.approx(limit["rate"], abs=1e-9)
    assert law.preferred[0] @ np.log(law.preferred[0] / ends["batch_mean"]) == pytest.approx(
        limit["kl"], abs=1e-9
    )
    assert ends["class_mean"] @ bins < limit["rate"] - 0.02  # the helper can tell the two apart


def test_same_seeds_same_numbers():
    again = [MODULE.run(np.random.default_rng(0), size=256, epochs=1, seed=0) for _ in range(2)]
    assert again[0]["kl"].equals(again[1]["kl"])
