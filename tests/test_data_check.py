"""The checker of labelled data: silent where the assumptions hold, and heard on every planted defect."""

import math

import numpy as np
import pytest
import torch

from distalign.checks import InputError
from distalign.data_check import check_labels, counts_by_prompt, ratio_domain
from distalign.preferences import PreferenceLogProbs


def labels(rng, prompts, each, prior=0.5, sd=0.0):
    t = np.clip(prior + sd * rng.normal(size=prompts), 0.02, 0.98)
    up = rng.binomial(each, t)
    return up, each - up


def about(found, word):
    return any(word in warning for warning in found.warnings)


def test_nothing_to_say_where_the_assumptions_hold():
    found = check_labels(
        *labels(np.random.default_rng(0), 3000, 4), log_ratios=np.full(100, -0.01), micro_batch=64
    )
    assert found.warnings == ()
    assert found.low < 0.5 < found.high
    assert found.chosen + found.rejected == 12_000


@pytest.mark.parametrize(("prompts", "each", "prior"), [(2000, 2, 0.4), (300, 5, 0.4), (50, 30, 0.1)])
def test_one_prior_rarely_raises_the_alarm(prompts, each, prior):
    rng = np.random.default_rng(1)
    found = [check_labels(*labels(rng, prompts, each, prior)) for _ in range(600)]
    assert np.mean([about(f, "varies") for f in found]) < 0.03
    spread = np.array([f.spread for f in found])
    assert abs(spread.mean()) < 0.2
    assert spread.std() == pytest.approx(1, abs=0.12)
    assert np.mean([f.low <= prior <= f.high for f in found]) > 0.97


@pytest.mark.parametrize("sd", [0.1, 0.2])
def test_a_prior_that_varies_is_seen_and_measured(sd):
    rng = np.random.default_rng(2)
    found = [check_labels(*labels(rng, 1500, 4, sd=sd)) for _ in range(20)]
    assert all(about(f, "varies") for f in found)
    assert np.mean([f.prior_sd for f in found]) == pytest.approx(sd, rel=0.1)


def test_pairs_have_one_prior():
    found = check_labels(np.ones(50), np.ones(50))
    assert found.prior_sd == 0
    assert found.spread < -5
    assert found.warnings == ()


def test_one_response_a_prompt_cannot_be_tested():
    found = check_labels([1, 0] * 40, [0, 1] * 40)
    assert math.isnan(found.spread)
    assert math.isnan(found.evidence)
    assert about(found, "cannot be tested")


def table_evidence(rng, truth, ref, n=1000):
    """One half of the pooled responses fits a law, the other half tests the reference."""
    first, second = rng.multinomial(n, truth, 2)
    fitted = (first + 0.5) / (first + 0.5).sum()
    return np.repeat(np.log(fitted / ref), second)


def test_the_reference_of_a_table():
    rng = np.random.default_rng(3)
    ref = rng.dirichlet(np.full(12, 3.0))
    noisy = 0.7 * ref + 0.3 * rng.dirichlet(np.full(12, 1.0))
    alarms = {
        name: np.mean(
            [
                about(check_labels([200], [200], log_ratios=table_evidence(rng, truth, ref)), "pooled law")
                for _ in range(400)
            ]
        )
        for name, truth in (("right", ref), ("contaminated", noisy))
    }
    assert alarms["right"] <= 0.01
    assert alarms["contaminated"] > 0.9


def test_unbalanced_classes_and_empty_micro_batches():
    found = check_labels([39], [61], micro_batch=4)
    assert about(found, "not balanced")
    assert found.batch_mean_weight == pytest.approx(61 / 39)
    assert found.empty_class == pytest.approx(0.39**4 + 0.61**4)
    assert about(found, "lacks a class")
    assert not about(check_labels([50], [50], micro_batch=64), "lacks")


def test_rows_become_counts():
    rng = np.random.default_rng(4)
    prompts, preferred = rng.integers(7, size=200), rng.uniform(size=200) < 0.4
    chosen, rejected = counts_by_prompt(prompts, preferred)
    for x in range(7):
        assert (chosen[x], rejected[x]) == (
            (preferred & (prompts == x)).sum(),
            (~preferred & (prompts == x)).sum(),
        )


def test_responses_beyond_the_wall_are_counted():
    far = torch.tensor([1000.0, -1000.0, 0.0], dtype=torch.float64)
    found = ratio_domain(PreferenceLogProbs(far, far[:2], torch.zeros(3), torch.zeros(2)), prior=0.3)
    assert found == {
        "chosen_outside": 1,
        "rejected_outside": 1,
        "chosen_outside_share": 1 / 3,
        "rejected_outside_share": 1 / 2,
    }
    empty = ratio_domain(PreferenceLogProbs(far, far[:0], torch.zeros(3), torch.zeros(0)), prior=0.3)
    assert empty["rejected_outside_share"] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_labels([0, 0], [1, 2]), "chosen is empty in the whole data"),
        (lambda: check_labels([1, 0], [0, 0]), "rejected is empty in the whole data"),
        (lambda: check_labels([1.5], [1]), "whole non-negative"),
        (lambda: check_labels([-1], [1]), "whole non-negative"),
        (lambda: check_labels([1, 2], [1]), "one count for each prompt"),
        (lambda: check_labels([1], [1], log_ratios=[math.inf]), "log_ratios must be"),
        (lambda: check_labels([1], [1], micro_batch=0), "micro_batch must be"),
        (lambda: check_labels([1], [1], level=1.0), "level must lie"),
        (lambda: counts_by_prompt(["a"], [True, False]), "alike"),
        (lambda: ratio_domain(PreferenceLogProbs(*torch.zeros(4, 1)), prior=1.0), "prior must lie"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
