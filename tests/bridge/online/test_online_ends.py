"""Where online training of a language model ends: at the law that the theory predicts, by enumeration."""

import numpy as np
import pytest

from distalign.bridge.online import train
from distalign.solvers.choice.games import regularised_nlhf
from tests.bridge.generation.enumerable import (
    PROMPTS,
    REWARD,
    divergence,
    log_table,
    reference,
    tilted,
    win,
)
from tests.bridge.online.small_world import recipe, save

COUNT = 2


def trained(folder, objective, **changes):
    """(S, K) laws of the model after training, from its saved weights."""
    from transformers import AutoModelForCausalLM

    save(folder, prompts=COUNT)
    asked = recipe(
        folder,
        objective,
        max_steps=200,
        learning_rate=3e-3,
        samples_per_prompt=32,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=1,
        max_grad_norm=1e9,
        **changes,
    )
    found = train(asked, progress=False)
    return np.exp(
        log_table(AutoModelForCausalLM.from_pretrained(found.model).double().eval(), PROMPTS[:COUNT])
    )


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["rlhf", "dpo"])
def test_a_reward_is_learnt_up_to_its_tilt(tmp_path, objective):
    """With 200 updates seven eighths of the way are made, in nats; the reward says how far it is."""
    for q, p in zip(np.exp(reference()), trained(tmp_path, objective)):
        target = tilted(q, REWARD)
        assert divergence(target, p) < divergence(target, q) / 4
        assert abs((target - p) @ REWARD) < (target - q) @ REWARD / 8


@pytest.mark.slow
def test_self_play_ends_near_the_solvers_equilibrium(tmp_path):
    """Whether the opponent is the policy or the reference is told by the tests of the gradient, not here: the
    two ends are nearer to each other (0.04 nats) than 200 updates come.
    """
    margins, strength = win() - win().T, 0.1
    for q, p in zip(np.exp(reference()), trained(tmp_path, "nlhf", objective_options={"strength": strength})):
        solved = regularised_nlhf(win(), np.log(q), strength)
        assert solved.certified
        gain, first = (strength * divergence(x, tilted(q, margins @ x / strength)) for x in (p, q))
        assert gain < first / 4  # what the best reply gains on the model, and on the reference
        assert divergence(solved.policy, p) < divergence(solved.policy, q) / 4
