"""Both roads to a trained model beside exact values, the checks on planted defects, and how they cover."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from distalign.bridge import generation as free
from distalign.checks import InputError
from distalign.training.model.scorer import Scorer
from tests.bridge.generation import enumerable
from tests.bridge.generation.enumerable import RESPONSES, REWARD, causal_model, log_table, sample

DRAWS = 1024


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def exact():
    """(reference law, trained law, target) as (S, K) arrays."""
    q, p = np.exp(enumerable.reference()), np.exp(enumerable.trained())
    q, p = q / q.sum(1, keepdims=True), p / p.sum(1, keepdims=True)
    return q, p, np.stack([enumerable.tilted(row, REWARD) for row in q])


def at(table, i):
    return np.take_along_axis(table, i, 1)


def line(weights, x, y):
    """Slope and R^2 of y on x, weighted, by numpy's own fit."""
    slope, intercept = np.polyfit(x, y, 1, w=np.sqrt(weights))
    mean = weights @ y
    return slope, 1 - weights @ (y - slope * x - intercept) ** 2 / (weights @ (y - mean) ** 2)


def truths():
    q, p, target = exact()
    lines = np.array([line(t, np.log(t / a), np.log(b / a)) for t, a, b in zip(target, q, p, strict=True)])
    return {
        "mean rho": 1.0,
        "reward": (p @ REWARD).mean(),
        "kl": (p * np.log(p / q)).sum(1).mean(),
        "kl to the target": (target * np.log(target / p)).sum(1).mean(),
        "slope": lines[:, 0].mean(),
        "r squared": lines[:, 1].mean(),
        "total variation": np.abs(target - p).sum(1).mean() / 2,
        "fresh reward": (p @ REWARD).mean(),
        "fresh kl": (p * np.log(p / q)).sum(1).mean(),
    }


def estimates(rng, count):
    q, p, _ = exact()
    rho = np.log(p / q)
    i, j = sample(np.log(q), count, rng), sample(np.log(p), count, rng)
    model, own = free.Reweighted(at(rho, i)), free.Fresh(at(rho, j))
    far = free.distances(free.rlhf(REWARD[i], 1.0), at(rho, i))
    return {
        "mean rho": model.mean_rho(),
        "reward": model.mean(REWARD[i]),
        "kl": model.kl(),
        "kl to the target": far.kl,
        "slope": far.slope,
        "r squared": far.r_squared,
        "total variation": far.total_variation,
        "fresh reward": own.mean(REWARD[j]),
        "fresh kl": own.kl(),
    }


def test_every_estimator_equals_its_exact_value():
    rng, true = np.random.default_rng(0), truths()
    found = {n: [estimates(rng, n) for _ in range(100)] for n in (128, 2048)}
    for name, truth in true.items():
        few, many = (np.array([e[name].mean() for e in found[n]]) - truth for n in (128, 2048))
        assert abs(many.mean()) < 4 * many.std() / 10 + 3 / 2048, (name, many.mean())
        ratio = np.sqrt((few**2).mean() / (many**2).mean())
        assert 2.6 < ratio < 6, (name, ratio)  # theory: 4


def test_a_model_at_its_target_has_distance_0_and_slope_1():
    q, _, target = exact()
    i = sample(np.log(q), DRAWS, np.random.default_rng(1))
    found = free.distances(free.rlhf(REWARD[i], 1.0), at(np.log(target / q), i))
    np.testing.assert_allclose(found.slope, 1, atol=1e-9)
    np.testing.assert_allclose(found.r_squared, 1, atol=1e-9)
    assert (found.kl >= 0).all()
    assert found.kl.max() < 2e-3
    assert found.total_variation.max() < 0.05


def test_the_frontier_is_the_tilt_of_its_kl():
    q, _, target = exact()
    i = sample(np.log(q), 4096, np.random.default_rng(2))
    spent = (target * np.log(target / q)).sum(1)
    assert abs((free.frontier(REWARD[i], spent) - target @ REWARD).mean()) < 0.01


def test_intervals_over_prompts_cover():
    """Prompts drawn from a population of nine; the truth is the mean over all of them."""
    q, p, _ = exact()
    rng, true, held = np.random.default_rng(3), truths(), []
    for _ in range(300):
        s = rng.integers(len(q), size=8)
        i = np.stack([rng.choice(len(RESPONSES), DRAWS, p=q[k]) for k in s])
        model = free.Reweighted(at(np.log(p / q)[s], i))
        held.append(
            [
                free.over_prompts(model.mean(REWARD[i]), level=0.95).holds(true["reward"]),
                free.over_prompts(model.kl(), level=0.95).holds(true["kl"]),
            ]
        )
    assert (np.mean(held, 0) > 0.91).all(), np.mean(held, 0)


def table(seed_model, **how):
    return log_table(seed_model, **how)


def moved():
    return causal_model(0, towards=1, share=enumerable.SHARE)


def hot(model, temperature):
    """The model whose logits are divided by the temperature."""
    with torch.no_grad():
        model.get_output_embeddings().weight.div_(temperature)
    return model


def without_end(log_law):
    """(S, K) what a scorer finds that leaves out the end-of-text token."""
    out = log_law.copy()
    for k, y in enumerate(RESPONSES):
        if y[-1] == enumerable.END:
            begins = [n for n, other in enumerate(RESPONSES) if other[: len(y) - 1] == y[:-1]]
            out[:, k] = logsumexp(log_law[:, begins], axis=1)
    return out


def checks(reference, policy, *, drawn=None, seed=4):
    """(normalisation, overlap) passed, for texts drawn of the true models and scored by these tables."""
    rng = np.random.default_rng(seed)
    i = sample(enumerable.reference() if drawn is None else drawn, DRAWS, rng)
    j = sample(enumerable.trained(), DRAWS, rng)
    model, own = free.Reweighted(at(policy - reference, i)), free.Fresh(at(policy - reference, j))
    return model.normalisation().passed, free.overlap(model.log_rho, own.log_ratio).passed


def test_the_checks_pass_where_nothing_is_wrong():
    held = [checks(enumerable.reference(), enumerable.trained(), seed=s) for s in range(100)]
    normalised, overlapping = np.mean(held, 0)
    assert overlapping >= 0.95  # nominal 0.99
    assert normalised >= 0.9  # rho has a heavy right tail


def test_another_temperature_fails():
    hot_policy, hot_reference = table(hot(moved(), 0.7)), table(hot(causal_model(0), 0.7))
    # A model scored at another temperature is still a law, so only the fresh texts tell.
    assert checks(enumerable.reference(), hot_policy) == (True, False)
    assert checks(hot_reference, hot_policy) == (False, False)
    assert checks(enumerable.reference(), enumerable.trained(), drawn=hot_reference) == (False, False)


def test_end_of_text_left_out_fails():
    assert checks(without_end(enumerable.reference()), without_end(enumerable.trained())) == (False, False)


def test_positions_that_do_not_restart_fail(monkeypatch):
    """With prompts shared by five responses; the right layout gives the copied prompts' numbers."""
    few = {"share_prompt": True, "group": 5}
    np.testing.assert_allclose(table(causal_model(0), **few), enumerable.reference(), atol=1e-5)
    right = Scorer.layout

    def counting_on(self, rows):
        laid = right(self, rows)
        assert laid.positions is not None
        return replace(laid, positions=torch.arange(laid.ids.shape[1]).expand_as(laid.ids).contiguous())

    monkeypatch.setattr(Scorer, "layout", counting_on)
    reference, policy = table(causal_model(0), **few), table(moved(), **few)
    assert np.abs(np.exp(reference).sum(1) - 1).max() > 0.01
    assert checks(reference, policy) == (False, False)


def test_a_model_that_memorised_its_draws_is_refused():
    """On training draws the mean of rho is far above 1."""
    q, _, _ = exact()
    i = sample(np.log(q), DRAWS, np.random.default_rng(5))
    memory = np.zeros(i.shape)
    memory[:, :512] = np.log(2.5)
    refused = free.Reweighted(memory).refusals()
    assert len(refused) == 1
    assert "was trained on them" in refused[0]


def test_a_model_that_left_the_draws_is_refused():
    gone = np.full((2, DRAWS), -5.0)
    gone[:, :10] = np.log(50.0)
    assert "has left them, use fresh texts" in free.Reweighted(gone).refusals()[0]


def test_unmoved_models_pass_exactly():
    same = np.zeros((3, 40))
    assert free.Reweighted(same).refusals() == ()
    assert free.overlap(same, same[:, :20]).passed
    assert not free.overlap(same, same[:, :20] + 0.1).passed


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: free.over_prompts([1.0]), "one prompt"),
        (lambda: free.over_prompts([1.0, np.inf]), "values must be finite"),
        (lambda: free.Reweighted(np.array([[np.nan]])), "log_rho must be finite"),
        (lambda: free.Fresh(np.array([np.inf])), "log_ratio must be"),
        (lambda: free.Fresh(np.zeros((2, 3))).mean(np.zeros((2, 4))), "values must be"),
        (lambda: free.roads(np.zeros((2, 3)), np.zeros((3, 3))), "2 and 3 prompts"),
        (lambda: free.roads(np.zeros((2, 1)), np.zeros((2, 3))), "at least two texts"),
        (lambda: free.frontier([[0.0, 1.0]], [0.1, 0.2]), "kl has 2 entries for 1 prompts"),
        (lambda: free.distances(free.Tilt("", np.log(np.full((1, 4), 0.25))), np.zeros((1, 4))), "target is"),
        (lambda: free.distances(free.rlhf([[0.0, 1.0]], 1.0), np.zeros((1, 3))), "log_rho must be"),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(InputError, match=words):
        call()
