"""What the study of dominance measures: violations, laws of one KL, prompts that are held out."""

import numpy as np
import pytest

from distalign.bridge.studies.free import free_dominance as study
from distalign.bridge.studies.free.world import world


@pytest.fixture(scope="module")
def here():
    return world("tiny", 3, prompts=4, draws=24)


def wins(here, scale=1.0):
    reward = scale * here.score(0)(here.draws)
    return reward, 1 / (1 + np.exp(reward[:, None, :] - reward[:, :, None]))


def by_quantiles(here, log_rho, win, s):
    """The violation of prompt s on a fine grid of quantiles, written down again."""
    i, j = np.nonzero(~np.eye(win.shape[1], dtype=bool))
    weight = win[s][i, j] / win[s][i, j].sum()
    policy = here.reference[s] + log_rho[s]
    levels = (np.arange(200_000) + 0.5) / 200_000

    def quantiles(values):
        order = np.argsort(values)
        return values[order][np.searchsorted(np.cumsum(weight[order]), levels).clip(max=len(values) - 1)]

    gap = quantiles(here.reference[s][i] - here.reference[s][j]) - quantiles(policy[i] - policy[j])
    return float(np.sqrt((np.maximum(gap, 0) ** 2).mean()))


def test_the_violation_is_that_of_quantiles_and_0_at_the_reference(here):
    reward, win = wins(here)
    assert study._margins(here, 0 * reward, win).tolist() == [0.0] * 4
    log_rho = 2 * np.random.default_rng(0).normal(size=reward.shape)
    found = study._margins(here, log_rho, win)
    assert found == pytest.approx([by_quantiles(here, log_rho, win, s) for s in range(4)], rel=1e-3)
    assert found.min() > 0.1


def test_a_law_that_rises_with_the_reward_orders_the_classes(here):
    reward, win = wins(here)
    assert study._classes(here, reward, win).max() < 1e-12
    assert study._classes(here, -reward, win).min() > 0.1


def test_a_multiple_has_the_kl_that_is_asked_for_and_none_has_too_much(here):
    moved = wins(here)[0][0]
    found, left = study._matched(moved, 0.3)
    assert study._spent(found[None])[0] == pytest.approx(0.3, abs=1e-9)
    assert np.allclose(found, left * moved)
    assert np.isnan(study._matched(moved, 50.0)[1])


@pytest.mark.parametrize("size", [0, 8])
def test_training_reads_no_prompt_that_is_held_out(here, size):
    how = {"prompts": 2, "size": size, "group": 4, "steps": 3}
    data = study._data(here, lambda texts: wins_of(here, texts), np.random.default_rng(1), **how)
    assert data.learner.prompts == here.writer.prompts[:2]
    assert not set(data.learner.prompts) & set(here.writer.prompts[2:])
    assert data.learner.learning_rate == here.writer.learning_rate == 2e-3
    batch = data.batch(0)
    assert len(batch.chosen) == (2 * 8 if size else 2 * 4 * 3)
    assert batch.chosen.requires_grad
    assert float((batch.margin.detach() - batch.ref_margin).abs().max()) < 1e-4  # it begins at the reference


def wins_of(here, texts):
    reward = here.score(0)(texts)
    return 1 / (1 + np.exp(reward[:, None, :] - reward[:, :, None]))
