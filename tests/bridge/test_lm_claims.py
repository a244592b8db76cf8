"""Training on several prompts, the self-play objective, and `verify --policy`."""

from functools import partial

import numpy as np
import pytest
import torch

from distalign.bridge.candidates.policies import load
from distalign.bridge.candidates.train import at_prompt, train_policy
from distalign.bridge.studies.aot import lm_aot_dominance
from distalign.bridge.studies.distortion.lm_distortion import _every_response, self_play
from distalign.bridge.studies.f_dpo import lm_f_dpo_frontier
from distalign.checks import InputError
from distalign.claims import claims
from distalign.claims.policy import with_policy
from distalign.objectives import dpo
from distalign.policies import Tabular, score
from distalign.populations import Law, Population, win_matrix
from distalign.solvers.choice.games import kl_nlhf
from distalign.solvers.choice.regularised_games import spend_budget


def test_self_play_has_its_one_equilibrium_where_the_game_has():
    """The gradient vanishes at softmax(log pi_ref + M pi / lambda), found by another road, and nowhere near
    it.
    """
    rng = np.random.default_rng(0)
    policy = load("tabular", 0, responses=5)
    noise = rng.normal(size=(5, 5))
    margins = torch.as_tensor(np.tanh(noise - noise.T))
    log_p = torch.as_tensor(
        spend_budget((margins / margins.abs().max()).numpy(), policy.start.log_reference.numpy()[0], 0.3)
    )
    ratio = log_p - policy.start.log_reference[0]
    payoff = margins @ log_p.exp()
    strength = float(
        ((payoff - payoff.mean()) @ (ratio - ratio.mean())) / (ratio - ratio.mean()).square().sum()
    )
    law = _every_response(5)
    for shift, least, most in ((0.0, 0.0, 1e-9), (0.1, 1e-4, 1.0)):
        theta = (ratio + shift * torch.arange(5)).clone().requires_grad_()
        batch = score(policy.start, theta, torch.as_tensor(law.chosen), torch.as_tensor(law.rejected))
        self_play(batch, margins=margins, strength=strength).backward()
        assert least <= float(theta.grad.abs().max()) <= most


def test_self_play_trains_to_the_certified_equilibrium():
    rng = np.random.default_rng(1)
    policy = load("tabular", 1, responses=5)
    noise = rng.normal(size=(5, 5))
    win = 1 / (1 + np.exp(noise.T - noise))
    found_law = train_policy(
        policy,
        lambda b: self_play(b, margins=torch.as_tensor(2 * win - 1), strength=0.5),
        _every_response(5),
        steps=400,
    )
    q = policy.start.log_reference.numpy()[0]
    spent = float(found_law.probs[0] @ (found_law.log_probs[0] - q))
    assert np.abs(kl_nlhf(win, q, spent).policy - found_law.probs[0]).max() < 1e-3
    assert np.abs(np.exp(q) - found_law.probs[0]).max() > 0.02


def test_prompts_trained_together_end_where_each_ends_alone():
    """Adam forgets the factor 1/S, so a table's prompts do not notice each other."""
    rng, policy = np.random.default_rng(0), load("tabular", 0, prompts=2, responses=3)
    laws = [Law([0, 1, 1, 2], [1, 0, 2, 1], rng.uniform(1, 3, 4)) for _ in range(2)]
    objectives = [partial(dpo, beta=beta) for beta in (0.5, 1.0)]
    together = train_policy(policy, objectives, [at_prompt(law, s, 3) for s, law in enumerate(laws)])
    for s in range(2):
        alone = train_policy(policy, objectives[s], at_prompt(laws[s], s, 3))
        np.testing.assert_allclose(together.log_probs[s], alone.log_probs[s], atol=1e-6)
        assert np.abs(alone.log_ratios[1 - s]).max() < 1e-12
        assert np.abs(alone.log_ratios[s]).max() > 0.05
    with pytest.raises(InputError, match="2 laws for 1 objectives"):
        train_policy(policy, objectives[0], laws)


def test_policy_replaces_that_of_every_preset_and_only_of_claims_on_language_models():
    (claim,) = with_policy(claims(("lm_distortion",)), "loglinear")
    policies = {name: preset["policy"] for name, preset in claim.presets.items()}
    assert policies.pop("control") == "tabular"  # where defects are planted
    assert set(policies.values()) == {"loglinear"}
    assert with_policy(claims(("lm_distortion",)), "") == claims(("lm_distortion",))
    with pytest.raises(InputError, match="aot_rate has no language model"):
        with_policy(claims(("lm_distortion", "aot_rate")), "tiny")
    with pytest.raises(InputError, match="policy must be one of"):
        with_policy(claims(("lm_distortion",)), "gpt")


def test_below_the_reference_reward_the_frontier_is_the_reference():
    reward, ref = np.array([0.0, 1.0, 2.0]), np.array([0.3, 0.4, 0.3])
    for pi in (ref, np.array([0.5, 0.3, 0.2])):
        found = lm_f_dpo_frontier._measures(pi, reward, ref)
        assert found["least"] == 0
        assert found["excess"] == found["kl"]
    better = lm_f_dpo_frontier._measures(np.array([0.2, 0.3, 0.5]), reward, ref)
    assert 0 < better["least"] < better["kl"]


@pytest.mark.parametrize("name", ["tabular", "loglinear", "tiny"])
def test_the_unlikely_response_is_unlikely_and_the_others_are_what_they_were(name):
    plain, with_one = load(name, 2, responses=5), load(name, 2, responses=5, unlikely=True)
    assert with_one.start.log_reference.shape == (1, 6)
    assert with_one.start.log_reference[0, -1] < -25
    assert (with_one.start.log_reference[0, :-1] - plain.start.log_reference[0]).abs().max() < 1e-9


def test_a_policy_beyond_every_multiple_of_its_rival_is_left_out():
    """The rival likes a response that the reference gives nine times of ten: no multiple is 2 nats away."""
    one = Tabular([[0.9, 0.05, 0.05]])
    rival = np.log([[0.95, 0.025, 0.025]])
    far, near = np.log([[0.01, 0.01, 0.98]]), np.log([[0.93, 0.02, 0.05]])
    win = win_matrix([[[1.0, 0.0, 0.5]]], [1.0], 1.0)
    law = Population(win, one.log_reference.exp().numpy()).pairs(distinct=True)
    found = {
        name: lm_aot_dominance._compared(one, x, rival, law) for name, x in (("far", far), ("near", near))
    }
    assert np.isnan(found["far"]["dpo_violation"])
    assert np.isnan(found["far"]["multiple_left"])
    assert np.isfinite([found["far"]["violation"], *found["near"].values()]).all()
