"""Evaluation: each sequence once, no dependence on batches, intervals that cover, length told from
preference.
"""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize

from distalign.checks import InputError
from distalign.intervals import t_interval, wilson
from distalign.objectives import aot_paired, aot_unpaired, chi_po, ddro, dpo, f_dpo, kto, sft, wdpo
from distalign.preferences import PreferenceLogProbs, metrics
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.evaluation.dictionary import METRICS
from distalign.training.evaluation.evaluate import evaluate, evaluation, held_out
from distalign.training.evaluation.intervals import cluster_errors
from distalign.training.evaluation.measures import HeldOut, area, correctness, logistic, statistics
from distalign.training.evaluation.report import write
from distalign.training.model.scorer import Scorer
from distalign.training.model.scoring import score_examples, unique_rows
from tests.training.tiny import tiny_llama

DPO = partial(dpo, beta=0.1)


class CountingScorer:
    """Scores a response by its tokens, and counts what it was asked for."""

    share_prompt = True

    def __init__(self):
        self.asked = []

    def layout(self, rows):
        return rows

    def __call__(self, rows):
        self.asked += [(row.prompt, response) for row in rows for response in row.responses]
        return torch.tensor(
            [-sum(response) / 7 - len(row.prompt) / 3 for row in rows for response in row.responses]
        )


def data_of(n, responses=12, prompts=3, seed=0, groups=False):
    """n pairs over few distinct responses, as real votes have."""
    rng = np.random.default_rng(seed)
    pool = [
        [tuple(rng.integers(3, 300, rng.integers(2, 9)).tolist()) for _ in range(responses)]
        for _ in range(prompts)
    ]
    examples = []
    for i in range(n):
        x = i % prompts
        a, b = rng.choice(responses, 2, replace=False)
        examples.append(
            Example((1, 10 + x, 11), pool[x][a], pool[x][b], group=x if groups else 0, line=i + 1)
        )
    return PreferenceData.of(examples, [f"topic {x}" for x in range(prompts)] if groups else ())


def held(u, v, clusters=None, tokens=None):
    """Scored data with log-ratios u and v, far below probability 1."""
    u, v = (torch.as_tensor(x).double() for x in (u, v))
    n, m = len(u), len(v)
    tokens = tokens or (torch.full((n,), 5), torch.full((m,), 5))
    low = [torch.full_like(x, -5000) for x in (u, v)]
    batch = PreferenceLogProbs(
        low[0] + u, low[1] + v, *low, chosen_tokens=tokens[0], rejected_tokens=tokens[1]
    )
    c = np.arange(n) if clusters is None else clusters
    return HeldOut(batch, n == m, c, c if n == m else np.arange(m))


def test_each_distinct_sequence_is_scored_once():
    data, scorer = data_of(300), CountingScorer()
    chosen, rejected = score_examples(scorer, data.examples, token_budget=64)
    sequences = {(e.prompt, side) for e in data.examples for side in (e.chosen, e.rejected)}
    assert len(scorer.asked) == len(set(scorer.asked)) == len(sequences) <= 36
    assert chosen.tolist() == [pytest.approx(-sum(e.chosen) / 7 - 1) for e in data.examples]
    assert rejected.tolist() == [pytest.approx(-sum(e.rejected) / 7 - 1) for e in data.examples]


def test_rows_stay_within_their_tokens_and_hold_everything():
    examples = data_of(200).examples
    rows, chosen, rejected = unique_rows(examples, 20)
    assert all(len(row.prompt) + sum(map(len, row.responses)) <= 20 for row in rows)
    flat = [(row.prompt, response) for row in rows for response in row.responses]
    assert [flat[i] for i in chosen] == [(e.prompt, e.chosen) for e in examples]
    assert [flat[i] for i in rejected] == [(e.prompt, e.rejected) for e in examples]


@pytest.mark.parametrize("share", [True, False])
def test_numbers_do_not_depend_on_the_scoring_batch(share):
    """A coupled objective of the whole set: the same at any budget. The mean over parts, what peers log, is
    not.
    """
    data, policy, reference = (
        data_of(48),
        Scorer(tiny_llama(1), share_prompt=share),
        Scorer(tiny_llama(2), share_prompt=True),
    )
    objective = partial(aot_paired, beta=0.5)
    ref = score_examples(reference, data.examples)
    tables = [
        evaluate(policy, data, ref, objective, token_budget=budget, resamples=0).table
        for budget in (16, 100, 4096)
    ]
    for table in tables[1:]:
        np.testing.assert_allclose(table.value, tables[0].value, rtol=2e-4, atol=2e-5)
    scores = score_examples(policy, data.examples)
    parts = [
        objective(PreferenceLogProbs(*(x[i : i + 12] for x in (*scores, *ref)))) for i in range(0, 48, 12)
    ]
    assert abs(float(sum(parts)) / 4 - tables[0].value[0]) > 1e-2


def test_scores_equal_those_of_single_responses():
    data, scorer = data_of(6), Scorer(tiny_llama())
    chosen, rejected = score_examples(scorer, data.examples)
    for e, c, r in zip(data.examples, chosen, rejected, strict=True):
        logits = scorer.model(torch.tensor([e.prompt + e.chosen])).logits[0].log_softmax(-1)
        alone = sum(logits[len(e.prompt) + i - 1, token] for i, token in enumerate(e.chosen))
        assert float(alone.detach()) == pytest.approx(float(c), abs=1e-4)
        assert float(r) < 0


def test_metrics_are_those_of_the_seam():
    data, scorer = data_of(60), CountingScorer()
    policy = score_examples(scorer, data.examples)
    reference = tuple(0.9 * x for x in policy)
    found = evaluate(scorer, data, reference, DPO, resamples=0).values()
    plain = metrics(PreferenceLogProbs(*policy, *reference), beta=0.1)
    for name in plain:
        assert found[name] == pytest.approx(plain[name], rel=1e-6), name
    assert found["loss"] == pytest.approx(float(dpo(PreferenceLogProbs(*policy, *reference), beta=0.1)))


def test_unpaired_data_have_an_area_and_no_accuracy_even_at_equal_counts():
    examples = [
        Example((1,), (5, 6), None),
        Example((1,), None, (10,)),
        Example((2,), (8,), None),
        Example((2,), None, (30,)),
    ]
    data, scorer = PreferenceData.of(examples), CountingScorer()
    zero = (torch.zeros(2), torch.zeros(2))
    found = evaluate(scorer, data, zero, partial(aot_unpaired, beta=0.1), resamples=20)
    assert found.values()["auc"] == 0.75  # sums 11 and 8 against 10 and 30, the smaller the better
    assert not {"accuracy", "rewards/margins", "longer_wins"} & set(found.table.metric)
    with pytest.raises(InputError, match="compares pairs"):
        evaluate(scorer, data, zero, DPO)


def test_chosen_responses_alone_are_measured(tmp_path):
    """SFT may have no others: what needs both classes is left out, not made up."""
    u = torch.tensor([0.5, 1.5])
    batch = PreferenceLogProbs(
        u - 3,
        torch.zeros(0),
        torch.full((2,), -3.0),
        torch.zeros(0),
        torch.ones(2),
        chosen_tokens=torch.tensor([2, 3]),
        rejected_tokens=torch.zeros(0, dtype=torch.int64),
    )
    found = evaluation(HeldOut(batch, False, np.array([0, 1]), np.array([], int)), partial(sft))
    assert found.values()["rewards/chosen"] == found.values()["displacement"] == 1.0
    assert not {"auc", "accuracy", "dominance_w1"} & set(found.values())
    write(found, tmp_path)
    assert not (tmp_path / "figures").exists()
    for name, sentence in (("dominance", "chosen and rejected"), ("length", "pairs"), ("other", "one of")):
        with pytest.raises(InputError, match=sentence):
            found.plot(name)


def test_weights_and_groups_reach_the_objective():
    data = data_of(30, groups=True)
    weighted = PreferenceData.of(
        [
            Example(e.prompt, e.chosen, e.rejected, weight=float(i < 10), group=e.group)
            for i, e in enumerate(data.examples)
        ],
        data.groups,
    )
    first = PreferenceData.of(data.examples[:10], data.groups)
    scorer = CountingScorer()
    a, b = (
        evaluate(
            scorer, d, tuple(x * 0 for x in score_examples(scorer, d.examples)), DPO, resamples=0
        ).values()
        for d in (weighted, first)
    )
    assert a == pytest.approx(b)


def test_rewards_are_those_of_the_divergence():
    u, v = torch.tensor([0.3, -1.0]), torch.tensor([-0.5, 0.2])
    links = {
        "alpha:0.3": lambda x: (1 - torch.exp(-0.3 * x)) / 0.3,
        "forward_kl": lambda x: 1 - torch.exp(-x),
    }
    for name, link in links.items():
        found = statistics(held(u, v), partial(f_dpo, beta=2.0, divergence=name))
        assert found["rewards/margins"] == pytest.approx(float((2 * (link(u) - link(v))).mean()), rel=1e-5)
    found = statistics(held(u, v), partial(chi_po, beta=1.0, clip=9.0))
    assert found["rewards/chosen"] == pytest.approx(float((u.exp() - 1 + u).mean()), rel=1e-5)
    assert found["displacement"] == pytest.approx(-0.35)


def test_intervals_cover_when_pairs_of_a_topic_depend_on_each_other():
    """8 topics of 30 pairs, topic effects of 0.8 logits: resampling topics covers, taking pairs for
    independent does not.
    """
    rng, covered, naive, true = np.random.default_rng(0), 0, 0, 0.6225
    clusters = np.repeat(np.arange(8), 30)

    def share(h):
        return {
            "accuracy": float(
                h.batch.chosen_frequencies.double().numpy() @ correctness(h.batch.margin.numpy())
            )
        }

    runs, effects = 120, rng.normal(0.55, 0.8, (200000,))
    true = float((1 / (1 + np.exp(-effects))).mean())
    for i in range(runs):
        p = 1 / (1 + np.exp(-rng.normal(0.55, 0.8, 8)))[clusters]
        h = held(np.where(rng.random(240) < p, 1.0, -1.0), np.zeros(240), clusters)
        value = share(h)["accuracy"]
        low, high = t_interval(value, cluster_errors(h, share, 60, i)["accuracy"], 8, 0.95)
        covered += low <= true <= high
        naive += wilson(value, 240, 0.95)[0] <= true <= wilson(value, 240, 0.95)[1]
    assert covered / runs > 0.88
    assert naive / runs < 0.8


def test_a_share_without_spread_over_clusters_has_an_interval():
    """Every pair of every cluster is right: the spread over clusters is 0, and [1, 1] would be too sure."""
    clusters = np.repeat(np.arange(8), 5)
    row = evaluation(held(np.ones(40), np.zeros(40), clusters), DPO, resamples=40).table.set_index("metric")
    assert row.value["accuracy"] == 1
    assert row.interval["accuracy"] == "Wilson on clusters"
    assert (row.low_95["accuracy"], row.high_95["accuracy"]) == pytest.approx(wilson(1.0, 8, 0.95))
    assert row.low_95["accuracy"] < 0.7


def test_independent_pairs_get_wilsons_interval_and_one_cluster_gets_none():
    rng = np.random.default_rng(0)
    u, v = rng.normal(0.3, 1, 80), rng.normal(0, 1, 80)
    rows = evaluation(held(u, v), DPO, resamples=40).table.set_index("metric")
    share = rows.value["accuracy"]
    assert (rows.interval["accuracy"], rows.low_95["accuracy"]) == (
        "Wilson",
        pytest.approx(wilson(share, 80, 0.95)[0]),
    )
    assert (
        rows.low_99["accuracy"]
        < rows.low_95["accuracy"]
        < share
        < rows.high_95["accuracy"]
        < rows.high_99["accuracy"]
    )
    assert rows.interval["rewards/margins"] == "t on clusters"
    assert rows.standard_error["rewards/margins"] == pytest.approx(
        0.1 * np.std(u - v) / math.sqrt(80), rel=0.35
    )
    one = evaluation(held(u, v, np.zeros(80, int)), DPO, resamples=40)
    assert set(one.table.interval) == {"none"}
    assert any("no interval" in note for note in one.notes)


def test_reward_that_is_length_has_no_accuracy_at_equal_length():
    """People prefer the longer response with logit 1.5 times the log ratio of lengths, and know nothing
    else.
    """
    rng, n = np.random.default_rng(1), 1500
    first, second = rng.integers(20, 200, (2, n))
    longer = rng.random(n) < 1 / (1 + np.exp(-1.5 * np.abs(np.log(first / second))))
    lengths = [
        torch.from_numpy(np.where(longer, f(first, second), g(first, second)).copy())
        for f, g in ((np.maximum, np.minimum), (np.minimum, np.maximum))
    ]
    tokens = (lengths[0], lengths[1])
    by_length = statistics(held(lengths[0].float(), lengths[1].float(), tokens=tokens), DPO)
    assert by_length["accuracy"] == pytest.approx(by_length["longer_wins"])
    assert by_length["accuracy"] > 0.68
    assert by_length["accuracy_equal_length"] == pytest.approx(0.5, abs=0.06)
    signal = torch.from_numpy(rng.normal(1.0, 1.5, n))
    by_merit = statistics(held(signal, torch.zeros(n).double(), tokens=tokens), DPO)
    assert by_merit["accuracy_equal_length"] == pytest.approx(by_merit["accuracy"], abs=0.03)
    assert by_merit["accuracy_matched_length"] == pytest.approx(by_merit["accuracy"], abs=0.08)
    assert by_merit["slope_margin"] > 0.8


def test_logistic_regression_by_another_road():
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(60, 2)), rng.random(60)
    y = (rng.random(60) < 1 / (1 + np.exp(-x @ [1.0, -2.0]))).astype(float)
    ridge = np.array([1e-6, 0.01])

    def loss(c):
        return w @ np.logaddexp(0, x @ c) - w @ (y * (x @ c)) + ridge @ c**2 / 2

    np.testing.assert_allclose(logistic(x, y, w, free=1), minimize(loss, np.zeros(2), tol=1e-10).x, atol=1e-4)


def test_area_by_counting():
    rng = np.random.default_rng(3)
    u, v = rng.integers(0, 6, 9).astype(float), rng.integers(0, 6, 7).astype(float)
    p, q = rng.dirichlet(np.ones(9)), rng.dirichlet(np.ones(7))
    gap = u[:, None] - v
    assert area(u, v, p, q) == pytest.approx(p @ ((gap > 0) + 0.5 * (gap == 0)) @ q)


def test_calibration_of_preferences_tells_confident_from_right():
    rng, n = np.random.default_rng(4), 20000
    margin = rng.normal(0, 1.5, n)
    flipped = np.where(rng.random(n) < 1 / (1 + np.exp(-margin)), margin, -margin)
    one = partial(dpo, beta=1.0)
    assert statistics(held(flipped, np.zeros(n)), one)["calibration_preference"] < 0.02
    assert statistics(held(5 * flipped, np.zeros(n)), one)["calibration_preference"] > 0.15


def test_ratio_diagnostics_on_an_exact_law():
    """Weights of the reference: E pi/pi_ref = 1, effective share = 1 / (1 + chi^2), and the wall counts what
    is above it.
    """
    ref, policy = (
        torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
        torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64),
    )
    ones = torch.ones(3, dtype=torch.long)
    batch = PreferenceLogProbs(
        policy.log(),
        policy.log(),
        ref.log(),
        ref.log(),
        weights=ref,
        rejected_weights=ref,
        chosen_tokens=ones,
        rejected_tokens=ones,
    )
    found = statistics(
        HeldOut(batch, False, np.arange(3), np.arange(3)), partial(ddro, prior=0.4, stabiliser="squash")
    )
    assert found["log_mean_ratio"] == pytest.approx(0, abs=1e-12)
    assert found["effective_share"] == pytest.approx(1 / float((policy**2 / ref).sum()))
    assert found["beyond_wall"] == pytest.approx(0.2)  # 3 > 1 / 0.4 only for the third response


def test_ratios_of_any_size_stay_finite():
    u = np.array([800.0, -900.0, 3.0, 0.0])
    found = statistics(held(u, -u), partial(kto, beta=0.1))
    assert all(math.isfinite(value) for name, value in found.items() if name != "accuracy_matched_length"), (
        found
    )


def test_wdpo_reports_the_loss_of_dpo_and_says_so():
    u, v = np.random.default_rng(0).normal(size=(2, 20))
    found = evaluation(held(u, v), partial(wdpo, beta=0.1, radius=0.01), resamples=0)
    assert found.values()["loss"] == pytest.approx(evaluation(held(u, v), DPO, resamples=0).values()["loss"])
    assert any("penalty of wdpo" in note for note in found.notes)


def test_scores_of_other_data_are_refused():
    data, scorer = data_of(10), CountingScorer()
    with pytest.raises(InputError, match="score these very data"):
        held_out(data, score_examples(scorer, data.examples), (torch.zeros(9), torch.zeros(10)), DPO)


def test_files_hold_what_the_figures_show(tmp_path):
    rng, n = np.random.default_rng(5), 120
    tokens = tuple(torch.from_numpy(rng.integers(5, 60, n)) for _ in range(2))
    found = evaluation(
        held(rng.normal(0.4, 1, n), rng.normal(0, 1, n), np.arange(n) % 6, tokens), DPO, resamples=10
    )
    write(found, tmp_path)
    table, words = (
        pd.read_csv(tmp_path / "evaluation.csv"),
        pd.read_csv(tmp_path / "evaluation_dictionary.csv"),
    )
    assert set(table.metric) == set(words.metric) <= set(METRICS)
    assert table.value.tolist() == found.table.value.tolist()
    for name in ("dominance", "calibration", "length"):
        assert (tmp_path / "figures" / f"{name}.pdf").read_bytes()[:4] == b"%PDF"
        assert len(pd.read_csv(tmp_path / "figures" / f"{name}.csv"))
        assert found.plot(name).get_xlabel()
    lengths = pd.read_csv(tmp_path / "figures" / "length.csv")
    assert lengths.n.sum() == n
    assert lengths.frequency @ lengths.share_right == pytest.approx(found.values()["accuracy"])
    quantiles = pd.read_csv(tmp_path / "figures" / "dominance.csv")
    assert quantiles.chosen.is_monotonic_increasing


def test_few_clusters_get_the_factor_of_their_number():
    """With G equal clusters the error of a mean is that of G numbers: sd / sqrt(G), with G - 1 in the sd."""
    clusters, values = np.repeat(np.arange(3), 20), np.repeat([0.0, 1.0, 5.0], 20)

    def share(h):
        return {"mean": float((h.batch.weights * h.batch.chosen_ratio).sum() / h.batch.weights.sum())}

    found = cluster_errors(held(values, np.zeros(60), clusters), share, 4000, 0)["mean"]
    assert found == pytest.approx(np.std([0.0, 1.0, 5.0], ddof=1) / np.sqrt(3), rel=0.04)
