"""A judge of texts beside exact values on the enumerable model, its planted mistakes, and bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from distalign.bridge.generation import judgement as module
from distalign.bridge.generation.diversity import self_bleu
from distalign.bridge.generation.implied_calibration import scored_pairs
from distalign.bridge.generation.judge_report import alpaca_eval, as_json, write
from distalign.bridge.generation.judgement import judge
from distalign.bridge.generation.matching import same_prompts
from distalign.calibration import binned_calibration_error
from distalign.checks import InputError
from distalign.intervals import mean_interval, wilson
from distalign.training.evaluation.dictionary import AT_LEAST_0, METRICS
from distalign.training.evaluation.samples import Sample, Samples, read_samples, write_samples
from tests.bridge.generation import enumerable
from tests.bridge.generation.enumerable import END, LONGEST, PROMPTS, RESPONSES, REWARD, sample

TEXTS = tuple("".join("_abc"[t] for t in y if t != END) for y in RESPONSES)
LENGTHS = np.log(np.maximum([len(text) for text in TEXTS], 1))
SETTINGS = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": LONGEST, "prompts": len(PROMPTS)}
COUNT = 400


def laws():
    """(S, K) laws of the reference and of the trained model."""
    tables = (np.exp(table) for table in (enumerable.reference(), enumerable.trained()))
    return tuple(table / table.sum(1, keepdims=True) for table in tables)


def samples(law, other, seed, count=COUNT, **changes):
    """Draws of a law with their log-probabilities under both, and scores."""
    at = sample(np.log(law), count, np.random.default_rng(seed))
    rows = tuple(
        Sample(
            prompt_index=s,
            sample=n,
            prompt_tokens=PROMPTS[s],
            response_tokens=RESPONSES[k],
            response=TEXTS[k],
            finished=RESPONSES[k][-1] == END,
            log_prob=float(np.log(law[s, k])),
            ref_log_prob=float(np.log(other[s, k])),
            prompt=f"prompt {s}",
            scores={"reward": float(REWARD[k])},
        )
        for s, several in enumerate(at)
        for n, k in enumerate(several)
    )
    return Samples(rows, {**SETTINGS, **changes})


def files(count=COUNT):
    """Texts of the trained model, and of the reference scored under it."""
    q, p = laws()
    return samples(p, q, 1, count), samples(q, p, 2, count)


def few(texts, keep):
    return replace(texts, rows=tuple(row for row in texts.rows if keep(row)))


@pytest.fixture(scope="module")
def found():
    ours, theirs = files()
    with pytest.warns(UserWarning, match="were cut at the largest length"):
        return judge(ours, against=theirs, draws=theirs)


def exact():
    """By enumeration, and the regression by scipy's minimiser on the exact law of all pairs."""
    q, p = laws()
    won = np.sign(REWARD[:, None] - REWARD[None, :]) / 2 + 0.5
    both = np.einsum("si,sj->ij", p, q) / len(p)
    gap = LENGTHS[:, None] - LENGTHS[None, :]

    def loss(c):
        z = c[0] + c[1] * gap
        return (both * (np.logaddexp(0, z) - won * z)).sum()

    def slope(c):
        miss = both * (1 / (1 + np.exp(-c[0] - c[1] * gap)) - won)
        return np.array([miss.sum(), (miss * gap).sum()])

    a, _ = minimize(loss, [0.0, 0.0], jac=slope, tol=1e-10).x
    return {
        "win_rate": (both * won).sum(),
        "win_rate_equal_length": 1 / (1 + np.exp(-a)),
        "log_length_ratio": (both * gap).sum(),
        "score": (p @ REWARD).mean(),
        "score_difference": ((p - q) @ REWARD).mean(),
        "score_reweighted": (p @ REWARD).mean(),
        "kl": (p * np.log(p / q)).sum(1).mean(),
        "kl_nonnegative": (p * np.log(p / q)).sum(1).mean(),
        "kl_reweighted": (p * np.log(p / q)).sum(1).mean(),
        "mean_ratio": 1.0,
        "entropy": -(p * np.log(p)).sum(1).mean(),
        "response_tokens": (p @ np.array([len(y) for y in RESPONSES])).mean(),
        "unfinished": (p @ np.array([y[-1] != END for y in RESPONSES])).mean(),
    }


EXACT = exact()


@pytest.mark.parametrize("metric", EXACT)
def test_numbers_are_the_exact_ones(found, metric):
    row = found.table[(found.table.metric == metric) & (found.table.texts != "theirs")].iloc[0]
    assert row.low_99 <= EXACT[metric] <= row.high_99
    assert row.value == pytest.approx(EXACT[metric], abs=0.04 if metric != "kl_reweighted" else 0.1)
    assert row.low_99 <= row.low_95 <= row.value <= row.high_95 <= row.high_99


def test_sides_that_are_swapped_would_be_seen():
    """The planted mistake: a and b exchanged. The exact win rate lies outside its interval."""
    q, _ = laws()
    target = np.stack([enumerable.tilted(row, 2 * REWARD) for row in q])
    ours, theirs = samples(target, q, 3, 50), samples(q, target, 4, 50)
    rates = [
        judge(a, against=b).table.set_index("metric").loc["win_rate"]
        for a, b in ((ours, theirs), (theirs, ours))
    ]
    won = np.sign(REWARD[:, None] - REWARD[None, :]) / 2 + 0.5
    truth = np.mean([a @ won @ b for a, b in zip(target, q, strict=True)])
    assert [bool(row.low_99 <= truth <= row.high_99) for row in rates] == [True, False]
    assert rates[0].value + rates[1].value == pytest.approx(1, abs=0.02)


def test_a_verdict_file_gives_the_same_numbers_as_the_scores_it_was_made_of(found):
    ours, theirs = files(30)
    by_score = judge(ours, against=theirs).values()
    rows = [
        {"prompt_index": a.prompt_index, "sample_a": a.sample, "sample_b": b.sample, "winner": winner(a, b)}
        for a in ours.rows
        for b in theirs.rows
        if a.prompt_index == b.prompt_index
    ]
    by_file = judge(ours, against=theirs, verdicts=rows).values()
    for name in ("win_rate", "win_rate_equal_length", "log_length_ratio"):
        assert by_file[name] == pytest.approx(by_score[name], abs=1e-12)
    kth = [{"prompt_index": str(s), "winner": " A "} for s in range(len(PROMPTS)) for _ in range(2)]
    assert judge(ours, against=theirs, verdicts=kth).values()["win_rate"] == 1


def winner(a, b):
    gap = a.scores["reward"] - b.scores["reward"]
    return "a" if gap > 0 else "b" if gap < 0 else "tie"


def test_calibration_errors_are_those_of_all_pairs(found):
    ours, _ = files()
    held = scored_pairs(same_prompts("x", ours, ours), "reward")
    first = [row for row in ours.rows if row.sample < 16]
    pairs = [
        (a, b)
        for a in first
        for b in first
        if a.prompt_index == b.prompt_index and a.scores["reward"] > b.scores["reward"]
    ]
    assert len(held.batch.chosen) == len(pairs)
    margin = np.array([0.1 * (a.log_prob - a.ref_log_prob - b.log_prob + b.ref_log_prob) for a, b in pairs])
    right = (margin > 0) + 0.5 * (margin == 0)
    error = binned_calibration_error(1 / (1 + np.exp(-np.abs(margin))), right, np.ones(len(pairs)))
    got = found.table.set_index("metric").loc[["accuracy", "calibration_preference"]].value
    assert got.tolist() == pytest.approx([right.mean(), float(error)], abs=1e-12)


@pytest.mark.filterwarnings("ignore:.*were cut")
def test_draws_scored_in_another_way_are_refused_and_the_fresh_road_stands():
    ours, theirs = files()

    def changed(**how):
        rows = [replace(row, **{k: f(row) for k, f in how.items()}) for row in theirs.rows]
        return judge(ours, draws=replace(theirs, rows=tuple(rows)), score="reward")

    for wrong in (
        changed(ref_log_prob=lambda row: row.ref_log_prob - 0.5),  # an end-of-text token too many
        changed(ref_log_prob=lambda row: 0.6 * row.ref_log_prob),
        changed(log_prob=lambda row: row.ref_log_prob, ref_log_prob=lambda row: row.log_prob),
    ):
        assert "kl_reweighted" not in wrong.values()
        assert {"mean_ratio", "kl"} <= set(wrong.values())
        assert any("kl_reweighted is refused and the fresh kl stands" in note for note in wrong.notes)
    assert "kl_reweighted" in changed(prompt=lambda row: row.prompt).values()


def test_files_hold_what_was_found(found, tmp_path):
    write(found, tmp_path, asked={"ours": "a.jsonl"})
    read = json.loads((tmp_path / "judge.json").read_text())
    assert read == as_json(found, {"ours": "a.jsonl"})
    assert [row["value"] for row in read["metrics"]] == pytest.approx(found.table.value.tolist(), abs=1e-12)
    assert set(found.table.metric) <= set(METRICS)
    assert {"judge.csv", "judge_dictionary.csv", "judge.json", "notes.txt"} == {
        p.name for p in tmp_path.iterdir()
    }


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_alpaca_eval_gets_the_first_text_of_each_prompt(tmp_path, suffix):
    ours, _ = files(3)
    messages = [{"role": "user", "content": "say a"}]
    ours = replace(ours, rows=tuple(replace(row, prompt=messages) for row in ours.rows))
    write_samples(ours, tmp_path / f"x.{suffix}")
    rows = alpaca_eval(read_samples(tmp_path / f"x.{suffix}"), "mine")
    assert rows[1] == {"instruction": "say a", "output": ours.rows[3].response, "generator": "mine"}
    assert len(rows) == len(PROMPTS)
    for prompt in (None, messages * 2):
        with pytest.raises(InputError, match="AlpacaEval needs an instruction"):
            alpaca_eval(replace(ours, rows=tuple(replace(row, prompt=prompt) for row in ours.rows)), "mine")


def other_prompts(texts):
    return replace(texts, rows=tuple(replace(row, prompt=f"other {row.prompt_index}") for row in texts.rows))


@pytest.mark.filterwarnings("ignore:.*were cut")
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (lambda a, b: {"against": other_prompts(b)}, "to other prompts .*prompt 0 is another"),
        (lambda a, b: {"draws": other_prompts(b)}, "--draws: these texts are to other prompts"),
        (
            lambda a, b: {"against": Samples(b.rows, {**SETTINGS, "temperature": 0.7})},
            "at temperature 0.7, and those",
        ),
        (
            lambda a, b: {"against": Samples(b.rows, {**SETTINGS, "max_new_tokens": 5})},
            "at max_new_tokens 5, and",
        ),
        (lambda a, b: {"against": b, "score": "rewrad"}, "score must be one of 'reward'"),
        (
            lambda a, b: {"against": b, "verdicts": [{"prompt_index": 99, "winner": "a"}]},
            "prompt_index 99, which",
        ),
        (lambda a, b: {"against": b, "verdicts": [{"prompt_index": 0, "winner": "A+"}]}, "write a, b or tie"),
        (
            lambda a, b: {"against": b, "verdicts": [{"prompt_index": 0, "winner": "a"}]},
            "8 of 9 prompts have no",
        ),
        (
            lambda a, b: {"against": b, "verdicts": [{"prompt_index": 0, "winner": "a", "sample_b": 7}]},
            "on text 7 of prompt 0",
        ),
        (lambda a, b: {"verdicts": [{"prompt_index": 0, "winner": "a"}]}, "give these by --against"),
        (
            lambda a, b: {"draws": replace(b, rows=tuple(replace(r, ref_log_prob=None) for r in b.rows))},
            "--reference",
        ),
        (lambda a, b: {"beta": 0.0}, "beta must be a finite number above 0"),
    ],
)
def test_bad_input_is_a_sentence(how, sentence):
    ours, theirs = files(2)
    with pytest.raises(InputError, match=sentence):
        judge(ours, **how(ours, theirs))


def test_one_prompt_and_texts_without_scores():
    ours, theirs = files(2)
    one = Samples(few(ours, lambda row: row.prompt_index == 0).rows, {**SETTINGS, "prompts": 1})
    with pytest.raises(InputError, match="to one prompt, which has no interval"):
        judge(one)
    bare = [replace(x, rows=tuple(replace(row, scores={}) for row in x.rows)) for x in (ours, theirs)]
    assert "win_rate" not in judge(bare[0], against=bare[1]).values()
    with pytest.raises(InputError, match="not all texts have one"):
        judge(ours, against=bare[1], score="reward")
    two = [
        replace(x, rows=tuple(replace(r, scores={"u": 1.0, "v": 2.0}) for r in x.rows))
        for x in (ours, theirs)
    ]
    with pytest.raises(InputError, match="score must be named"):
        judge(two[0], against=two[1])
    flat = judge(two[0], against=two[1], score="u")
    assert flat.values()["win_rate"] == 0.5
    assert any("calibration is left out" in note for note in flat.notes)


def test_an_accuracy_of_one_and_a_small_divergence_have_intervals_of_their_range():
    """Three prompts on which the implied reward orders all texts as their scores do."""
    ours, _ = files(4)
    ours = Samples(few(ours, lambda row: row.prompt_index < 3).rows, {**SETTINGS, "prompts": 3})
    right = [replace(row, scores={"reward": row.log_prob - row.ref_log_prob}) for row in ours.rows]
    table = judge(replace(ours, rows=tuple(right))).table.set_index("metric")
    row = table.loc["accuracy"]
    assert row.value == pytest.approx(1)
    assert [row.low_95, row.high_95] == pytest.approx(wilson(1.0, 3, 0.95))
    assert (table.loc[[name for name in AT_LEAST_0 if name in table.index], ["low_95", "low_99"]] >= 0).all(
        axis=None
    )
    assert table.loc["kl_nonnegative", "low_99"] == 0  # Student's would be negative


def test_self_bleu_is_the_mean_over_prompts():
    ours, _ = files(3)
    texts = [[row.response for row in ours.rows if row.prompt_index == s] for s in ours.prompts]
    by_prompt = self_bleu(texts)
    row = judge(ours).table.set_index("metric").loc["self_bleu"]
    assert row.value == pytest.approx(by_prompt.mean())
    assert [row.low_99, row.high_99] == pytest.approx(np.clip(mean_interval(by_prompt)[1:], 0, 1))


def test_a_missing_package_leaves_out_self_bleu_only(monkeypatch):
    def missing(texts):
        raise InputError("self-BLEU needs sacrebleu")

    ours, _ = files(3)
    assert "self_bleu" in judge(ours).values()
    monkeypatch.setattr(module, "self_bleu", missing)
    found = judge(ours)
    assert "self_bleu" not in found.values()
    assert any("needs sacrebleu" in note for note in found.notes)
