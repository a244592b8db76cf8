"""Language models under AOT, KLDPO and a shift: the pieces the studies add."""

from functools import partial

import numpy as np
import pytest
import torch
from study_kit import study

from distalign.bridge.candidates.displacement import along, displacement, divergence, multiple_at, tilted
from distalign.bridge.candidates.policies import load
from distalign.bridge.candidates.train import train_policy
from distalign.checks import InputError
from distalign.objectives import aot_paired, dpo
from distalign.populations import Population, win_matrix
from distalign.preferences import PreferenceLogProbs


def test_a_multiple_of_dpo_is_dpo_of_another_strength():
    policy, reward = load("tabular", 1, responses=4), np.array([[0.3, -1.0, 0.8, 0.2]])
    law = Population(win_matrix(reward[None], [1.0], 1.0), np.full((1, 4), 0.25)).pairs(distinct=True)
    reference = policy.start.log_reference.numpy()
    strong, weak = (train_policy(policy, partial(dpo, beta=b), law, steps=400).log_probs for b in (2.0, 1.0))
    moved = displacement(strong, reference)
    assert np.allclose(
        tilted(reference, multiple_at(reference, moved, divergence(weak, reference)) * moved), weak, atol=1e-4
    )
    assert along(displacement(weak, reference), moved) == pytest.approx((2.0, 1.0), abs=1e-3)
    with pytest.raises(InputError, match="ask for less"):
        multiple_at(reference, moved, 50.0)


def test_sort_batches_of_one_are_dpo_and_of_all_pairs_aot():
    module, rng = study("lm_aot_dominance"), np.random.default_rng(0)
    batch = PreferenceLogProbs(*(torch.from_numpy(rng.normal(size=8)) for _ in range(4)))
    whole = aot_paired(batch, beta=module.BETA)
    halves = [
        aot_paired(
            PreferenceLogProbs(
                *(
                    getattr(batch, name)[part]
                    for name in ("chosen", "rejected", "ref_chosen", "ref_rejected")
                ),
                validate=False,
            ),
            beta=module.BETA,
        )
        for part in (slice(0, 4), slice(4, 8))
    ]
    values = {size: module.in_batches(batch, size=size) for size in (1, 4, 8)}
    assert torch.allclose(values[1], dpo(batch, beta=module.BETA))
    assert torch.allclose(values[4], torch.stack(halves).mean())
    assert torch.allclose(values[8], whole)
    assert values[1] > values[4] > values[8]
