"""Win rates against regressions and jackknives written another way, and how their intervals cover."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from distalign.bridge.generation import comparisons as code
from distalign.bridge.generation.comparisons import (
    Comparisons,
    by_score,
    equal_length_win_rate,
    win_rate,
)
from distalign.bridge.generation.diversity import self_bleu
from distalign.checks import InputError
from distalign.intervals import wilson


def drawn(rng, prompts=40, each=3, level=0.4, slope=1.0, spread=0.5):
    """Comparisons whose win depends on length, and on the prompt."""
    prompt = np.repeat(np.arange(prompts), each)
    gap = rng.normal(0.3, 1, len(prompt))
    effect = rng.normal(0, spread, prompts)[prompt]
    return Comparisons(prompt, (rng.random(len(prompt)) < expit(level + slope * gap + effect)) * 1.0, gap)


def regression(found, kept=None):
    """The intercept of equation (1) by scipy's minimiser, without a ridge worth naming."""
    keep = np.ones(len(found.win), bool) if kept is None else kept
    w, y, d = found.weights[keep], found.win[keep], found.log_length_ratio[keep]

    def loss(c):
        z = c[0] + c[1] * d
        return (w * (np.logaddexp(0, z) - y * z)).sum() + 0.005 * c[1] ** 2 * scale

    scale = (found.weights @ found.log_length_ratio**2) / found.weights.sum()
    return minimize(loss, [0.0, 0.0], tol=1e-12).x[0]


def test_the_win_rate_at_equal_length_is_the_intercept():
    found = drawn(np.random.default_rng(0))
    rate = equal_length_win_rate(found)
    assert rate.value == pytest.approx(expit(regression(found)), abs=1e-6)
    assert abs(rate.value - win_rate(found).value) > 0.02  # length does count here


def test_its_terms_are_those_of_the_jackknife():
    found = drawn(np.random.default_rng(1), prompts=25)
    whole, s = regression(found), found.prompts
    left = np.array([regression(found, found.prompt != k) for k in range(s)])
    pseudo = s * whole - (s - 1) * left
    terms = equal_length_win_rate(found).terms
    assert terms.std(ddof=1) == pytest.approx(pseudo.std(ddof=1), rel=0.05)
    assert np.corrcoef(terms, pseudo)[0, 1] > 0.995


def test_intervals_cover():
    """Of the regression's intercept in the population, which prompts of many kinds pull towards 1/2."""
    rng = np.random.default_rng(2)
    truth = equal_length_win_rate(drawn(rng, prompts=100_000, each=1)).value
    plain = drawn(rng, prompts=100_000, each=1).win.mean()
    inside = []
    for _ in range(200):
        found = drawn(rng)
        ends = (equal_length_win_rate(found).interval(0.95), win_rate(found).interval(0.95))
        inside.append([low <= x <= high for (low, high), x in zip(ends, (truth, plain), strict=True)])
    shares = np.mean(inside, 0)
    assert (shares >= 0.91).all(), shares
    assert (shares <= 0.99).all(), shares


def test_pairs_taken_for_independent_would_not_cover():
    """The planted mistake: each comparison its own prompt."""
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(200):
        found = drawn(rng, each=8, spread=1.5, slope=0.0, level=0.0)
        wrong = Comparisons(np.arange(len(found.win)), found.win, found.log_length_ratio)
        inside.append(
            [low <= 0.5 <= high for low, high in (win_rate(x).interval(0.95) for x in (found, wrong))]
        )
    right, wrong = np.mean(inside, 0)
    assert right >= 0.91
    assert wrong < 0.8


def test_a_side_that_wins_everything_has_an_interval():
    found = by_score([(np.ones(2), ["a", "b"])] * 5, [(np.zeros(2), ["c", "dd"])] * 5)
    for rate in (win_rate(found), equal_length_win_rate(found)):
        assert rate.value == 1
        low, high = rate.interval(0.95)
        assert 0.4 < low < 0.7
        assert high == 1


def test_prompts_that_are_all_alike_are_no_certainty():
    """Three prompts, three wins of four in each: [3/4, 3/4] would be as of countless prompts."""
    found = Comparisons(np.repeat(np.arange(3), 4), np.tile([1.0, 1.0, 1.0, 0.0], 3), np.zeros(12))
    for rate in (win_rate(found), equal_length_win_rate(found)):
        assert rate.value == pytest.approx(0.75, abs=1e-6)
        assert rate.interval(0.95) == pytest.approx(wilson(0.75, 3, 0.95), abs=1e-5)


def test_length_alone_is_told_from_quality():
    """The longer text wins four times in five, and ours is mostly longer: no merit at equal length."""
    gap = np.repeat([1.0, -1.0], [30, 10])
    won = np.concatenate([np.arange(30) % 5 > 0, np.arange(10) % 5 == 0])
    found = Comparisons(np.arange(40), won * 1.0, gap)
    assert win_rate(found).value == pytest.approx(0.65)
    assert abs(logit(equal_length_win_rate(found).value)) < 0.01
    with pytest.raises(InputError, match="length decides every comparison"):
        equal_length_win_rate(Comparisons(np.arange(40), (gap > 0) * 1.0, gap))


def test_the_design_compares_each_text_as_often_as_any_other(monkeypatch):
    monkeypatch.setattr(code, "PAIRS", 12)
    for n, m in ((6, 4), (4, 6), (3, 3), (1, 20)):
        i, j = code._design(n, m)
        assert len(set(zip(i.tolist(), j.tolist(), strict=True))) == len(i) >= min(12, n * m)
        for side, size in ((i, n), (j, m)):
            counts = np.bincount(side, minlength=size)
            assert counts.max() - counts.min() <= 1


def test_one_prompt_and_scores_that_are_not_finite_are_refused():
    one = [(np.array([1.0]), ["a"])]
    with pytest.raises(InputError, match="one prompt, which has no interval"):
        by_score(one, one)
    with pytest.raises(InputError, match="prompt 1 has a score that is not finite"):
        by_score([*one, (np.array([np.nan]), ["a"])], one * 2)


def test_self_bleu_is_high_where_texts_repeat():
    same, some, none = self_bleu(
        [["the tea is good"] * 3, ["the tea is good", "the tea is bad", "tea"], ["a b c", "d e f", "g h i"]]
    )
    assert same == pytest.approx(1)
    assert none < 0.01 < some < 1
    assert self_bleu([["", ""], ["", "a b"]]).tolist() == [1, 0]
    assert self_bleu([["x y z w"] * 16 + ["other words here now"] * 50]).item() == pytest.approx(1)
    with pytest.raises(InputError, match="at least two a prompt"):
        self_bleu([["a"]])


def test_self_bleu_by_hand():
    """n-grams counted on paper: a match is one of any other text; none of n is 1 / (2 x their number)."""
    three = ["a b c d e", "a b c d f", "a x c d e"]
    first = (5 / 5 * 4 / 4 * 3 / 3 * 1 / 2) ** (1 / 4)  # abcd is there, bcde is not
    second = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    third = (4 / 5 * 2 / 4 * 1 / 3 * 1 / (2 * 2)) ** (1 / 4)  # neither of two 4-grams
    short = np.exp(1 - 4 / 2)  # "a b" is all there, and half as long as the other text
    long = (2 / 4 * 1 / 3 * 1 / (2 * 2) * 1 / (4 * 1)) ** (1 / 4)  # the second such order halves again
    expected = [(first + second + third) / 3, (short + long) / 2]
    assert self_bleu([three, ["a b", "a b c d"]]) == pytest.approx(expected, abs=1e-12)
