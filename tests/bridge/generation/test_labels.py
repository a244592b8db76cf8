"""Labels have the frequencies that the users' exact law gives, and rows are those that `train` reads."""

import json
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from distalign import cli
from distalign.bridge.generation import labels, users
from distalign.bridge.generation.labels import label
from distalign.bridge.generation.users import Scale, Users, utilities_of
from distalign.checks import InputError
from distalign.training.data.load import load_preferences
from distalign.training.evaluation.samples import read_samples, write_samples
from tests.bridge.generation.scored import scored
from tests.training.tiny import tiny_tokenizer

A, B = [-1.0, 0.3, 1.2, 2.0], [0.5, -0.5, 1.0, -2.0]
COUNT = 3000
MANY = scored({"a": [A] * COUNT, "b": [B] * COUNT})  # one prompt, so to speak, many times
PEOPLE = Users(({"a": 1.5}, {"a": -1.0, "b": 1.0}), [3, 1], [4.0, 9.0], ("x", "y"))
ONE = scored({"a": [A], "b": [B]})


def law(people=PEOPLE):
    """(K, 4, 4) P_k(text i over text j), and (K, 4) P_k(up), written out from scores alone."""
    z = {name: (np.array(v) - np.mean(v)) / np.std(v) for name, v in (("a", A), ("b", B))}
    u = np.array([1 / (1 + np.exp(-sum(w * z[n] for n, w in m.items()))) for m in people.mixtures])
    b = people.temperatures[:, None]
    up = 1 / (1 + np.exp(-b * (u - 0.5)))
    return 1 / (1 + np.exp(-b[..., None] * (u[:, :, None] - u[:, None, :]))), up


def farthest(seen, of, p):
    """The largest distance of frequencies to probabilities, in standard errors."""
    return np.abs((seen - of * p) / np.sqrt(of * p * (1 - p))).max()


def distance_of_pairs(rows):
    """In standard errors, over all pairs and types of users, and over the shares of the users."""
    exact, seen = law()[0], np.zeros((2, 4, 4))
    for row in rows:
        seen[int(row["user"]) - 1, int(row["chosen"][-1]), int(row["rejected"][-1])] += 1
    i, j = np.triu_indices(4, 1)
    answers = farthest(seen[:, i, j], (seen + seen.transpose(0, 2, 1))[:, i, j], exact[:, i, j])
    return max(answers, farthest(seen[0].sum(), seen.sum(), 0.75))


def test_frequencies_of_pairs_are_the_exact_probabilities():
    found = label(MANY, "pairs", PEOPLE)
    assert len(found.rows) == found.counts["labels"] == 2 * COUNT
    assert distance_of_pairs(found.rows) < 4.5
    assert Counter((row["user"], row["group"]) for row in found.rows).keys() == {("1", "x"), ("2", "y")}


@pytest.mark.parametrize("mistake", ["swapped", "no logistic", "shares", "scale", "temperatures", "coin"])
def test_a_mistake_is_seen_in_the_frequencies(mistake, monkeypatch):
    people, scale = PEOPLE, None
    if mistake == "swapped":
        pair = labels._pair
        monkeypatch.setattr(labels, "_pair", lambda prompt, a, b, **more: pair(prompt, b, a, **more))
    if mistake == "no logistic":
        monkeypatch.setattr(users, "expit", lambda x: x)
    if mistake == "shares":
        people = Users(PEOPLE.mixtures, None, PEOPLE.temperatures, PEOPLE.groups)
    if mistake == "scale":
        scale = Scale.of(scored({"a": [[0.0, 4.0]], "b": [[0.0, 1.0]]}), PEOPLE.scores)
    if mistake == "temperatures":
        people = Users(PEOPLE.mixtures, PEOPLE.shares, 5.0, PEOPLE.groups)
    if mistake == "coin":
        monkeypatch.setattr(labels, "expit", lambda x: 0 * x + 0.5)
    assert distance_of_pairs(label(MANY, "pairs", people, scale=scale).rows) > 6


def test_all_pairs_and_no_pair_twice():
    found = label(scored({"a": [A] * 50, "b": [B] * 50}), "pairs", PEOPLE, per_prompt=6)
    pairs = Counter((row["prompt"], frozenset((row["chosen"], row["rejected"]))) for row in found.rows)
    assert len(pairs) == 300
    assert set(pairs.values()) == {1}
    disjoint = label(MANY, "pairs", PEOPLE, per_prompt=2).rows
    used = Counter((row["prompt"], text) for row in disjoint for text in (row["chosen"], row["rejected"]))
    assert set(used.values()) == {1}
    which = Counter(frozenset((row["chosen"], row["rejected"])) for row in disjoint)
    assert farthest(np.array([*which.values()]), len(disjoint), 1 / 6) < 4.5
    assert len(which) == 6


def test_soft_labels_are_both_orders_with_the_populations_probabilities():
    rows = label(ONE, "soft", PEOPLE, per_prompt=6).rows
    win = np.einsum("k,kij->ij", [0.75, 0.25], law()[0])
    assert len(rows) == 12
    for row in rows:
        assert row["weight"] == pytest.approx(
            win[int(row["chosen"][-1]), int(row["rejected"][-1])], abs=1e-12
        )
    assert {(r["chosen"], r["rejected"]) for r in rows} == {(r["rejected"], r["chosen"]) for r in rows}
    np.testing.assert_allclose(win, utilities_of(ONE, PEOPLE).win()[0], atol=1e-12)


def test_frequencies_of_thumbs_are_the_exact_probabilities():
    rows, up = label(MANY, "thumbs", PEOPLE).rows, law()[1]
    assert len(rows) == 4 * COUNT
    seen = np.zeros((2, 4, 2))
    for row in rows:
        seen[int(row["user"]) - 1, int(row["completion"][-1]), int(row["label"])] += 1
    assert farthest(seen[:, :, 1], seen.sum(2), up) < 4.5
    assert farthest(seen[0].sum(), seen.sum(), 0.75) < 4.5
    assert farthest(seen[:, :, 0], seen.sum(2), up) > 6  # thumbs turned round
    rate = np.mean([row["label"] for row in rows])
    assert rate == pytest.approx(utilities_of(ONE, PEOPLE).up().mean(), abs=4.5 * 0.5 / np.sqrt(4 * COUNT))


def test_best_and_worst_of_each_group():
    rng = np.random.default_rng(0)
    samples = scored({"a": rng.normal(size=(6, 9)), "b": rng.normal(size=(6, 9))})
    found = label(samples, "best_worst", by="a", best_of=4)
    assert found.counts["labels"] == len(found.rows) == 12
    for row in found.rows:
        assert row["score_chosen"] > row["score_rejected"]
    whole = label(samples, "best_worst", by="a", best_of=9).rows
    a = np.array([[r.scores["a"] for r in samples.rows[9 * s : 9 * s + 9]] for s in range(6)])
    assert [row["chosen"] for row in whole] == [f"text {n}" for n in a.argmax(1)]
    assert [row["rejected"] for row in whole] == [f"text {n}" for n in a.argmin(1)]
    average = utilities_of(samples, PEOPLE).average
    whole = label(samples, "best_worst", PEOPLE, best_of=9).rows
    assert [row["chosen"] for row in whole] == [f"text {n}" for n in average.argmax(1)]
    assert [row["score_rejected"] for row in whole] == pytest.approx(average.min(1).tolist())
    tied = label(scored({"a": [[1.0, 1.0], [1.0, 2.0]]}), "best_worst", by="a", best_of=2)
    assert (tied.counts["ties"], len(tied.rows), tied.counts["prompts_left_out"]) == (1, 1, 1)


def test_blank_and_equal_texts_are_left_out_and_counted():
    texts = [["good", "good", "", " \n"], ["good", "bad", "tea", "no"]]
    samples = scored({"a": [A, A], "b": [B, B]}, texts)
    found = label(samples, "pairs", PEOPLE, per_prompt=6)
    assert found.counts == {
        "labels": 6, "ties": 0, "equal_texts": 1, "blank_texts": 2, "prompts": 1, "prompts_left_out": 1
    }  # fmt: skip
    assert "6 pairs of 1 prompts, 1 prompts without any; 0 ties" in found.line()
    assert len(label(samples, "thumbs", PEOPLE).rows) == 6
    with pytest.raises(InputError, match=r"nothing can be labelled .* draw more or longer texts"):
        label(scored({"a": [A, B], "b": [B, A]}, [["x"] * 4] * 2), "pairs", PEOPLE)
    with pytest.raises(InputError, match=r"2 ties; .* label by a score that varies within a prompt"):
        label(scored({"a": [[1.0, 1.0]] * 2}), "best_worst", by="a", best_of=2)


def test_ties_are_counted():
    even = scored({"a": [[1.0, 1.0], [0.0, 2.0]]})
    for kind in ("pairs", "soft"):
        assert label(even, kind, Users(({"a": 1.0},))).counts["ties"] == 1


def test_the_seed_says_all_and_a_prompt_does_not_depend_on_others():
    first = label(MANY, "pairs", PEOPLE).rows
    assert label(MANY, "pairs", PEOPLE).rows == first
    assert label(MANY, "pairs", PEOPLE, seed=1).rows != first
    half = replace(MANY, rows=MANY.rows[len(MANY.rows) // 2 :])
    assert label(half, "pairs", PEOPLE).rows == first[len(first) // 2 :]


def test_only_the_asked_draws_are_labelled():
    rows = label(MANY, "thumbs", PEOPLE, draws=slice(1, 3)).rows
    assert {row["completion"] for row in rows} == {"text 1", "text 2"}
    assert utilities_of(MANY, PEOPLE).values.shape == (2, COUNT, 4)


@pytest.mark.parametrize("kind", labels.KINDS)
def test_every_kind_is_read_by_train(kind, tmp_path):
    texts = [[" yes", " no no", " a good tea", " bad"]] * 3
    samples = scored({"a": [A] * 3, "b": [B] * 3}, texts)
    asked = [{"role": "user", "content": "tea?"}]
    samples = replace(samples, rows=tuple(replace(row, prompt=asked) for row in samples.rows))
    path = tmp_path / "data.jsonl"
    for more in (samples, scored({"a": [A] * 3, "b": [B] * 3}, texts)):
        found = label(more, kind, PEOPLE, best_of=2)
        path.write_text("".join(json.dumps(row) + "\n" for row in found.rows))
        data = load_preferences(path, tiny_tokenizer())
        assert len(data.examples) == len(found.rows) == data.report["kept"]
        assert data.report["columns_ignored"] == 0
        assert data.has_weights == (kind == "soft")
        assert data.groups == (
            () if kind in ("soft", "best_worst") else tuple(sorted({r["group"] for r in found.rows}))
        )
        assert data.paired == (kind != "thumbs")


# -- the command line --


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    def called(*words):
        monkeypatch.setattr(sys, "argv", ["distalign", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code, capsys.readouterr().err

    return called


def test_score_and_label_as_commands(run, tmp_path):
    texts = [["a great day", "sad", "awful and bad", "good"], ["x", "happy", "terrible thing", "so sad"]]
    write_samples(scored({"old": np.zeros((2, 4))}, texts), tmp_path / "draws.jsonl")
    code, said = run("score", "draws.jsonl", "--score", "length", "sentiment", "--out", "scored.parquet")
    assert code == 0, said
    assert "length: mean 2.5, standard deviation 1.118" in said
    assert "warning: score" not in said
    assert (tmp_path / "scored.parquet.cache").is_file()
    whole = ("label", "scored.parquet", "--population", "readers", "--out", "pairs.jsonl")
    code, said = run(*whole)
    assert code == 0, said
    assert "4 pairs of 2 prompts; 0 ties" in said
    assert "4 lines in pairs.jsonl" in said
    found = label(read_samples(tmp_path / "scored.parquet"), "pairs", users.read_users("readers")).rows
    assert [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()] == found
    assert run(*whole, "--draws", "1:3")[0] == 0
    assert {json.loads(line)["chosen"] for line in (tmp_path / "pairs.jsonl").read_text().splitlines()} <= {
        text for row in texts for text in row[1:3]
    }


def test_the_scale_is_that_of_the_reference_file(run, tmp_path):
    write_samples(scored({"a": [[0.0, 1.0, 2.0]]}), tmp_path / "scored.jsonl")
    write_samples(scored({"a": [[0.0, 100.0, -100.0]]}), tmp_path / "ref.jsonl")
    (tmp_path / "p.yaml").write_text("users: [{mixture: {a: 1}}]")
    weights = []
    for more in ((), ("--reference", "ref.jsonl")):
        asked = ("--population", "p.yaml", "--kind", "soft", *more, "--out", "o.jsonl")
        code, _ = run("label", "scored.jsonl", *asked)
        assert code == 0
        weights.append(
            max(json.loads(line)["weight"] for line in (tmp_path / "o.jsonl").read_text().splitlines())
        )
    assert weights[0] > 0.8
    assert weights[1] < 0.52


def test_what_may_not_be_meant_is_said(run, tmp_path):
    samples = scored({"a": [A]}, temperature=0.7)
    cut = tuple(replace(row, finished=row.sample > 1) for row in samples.rows)
    write_samples(replace(samples, rows=cut), tmp_path / "scored.jsonl")
    code, said = run(
        "label", "scored.jsonl", "--kind", "best_worst", "--by", "a", "--best-of", 4, "--out", "o.jsonl"
    )
    assert code == 0
    assert "50% of the texts were cut" in said
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    finished = {row.response: row.finished for row in cut}
    for row in rows:
        for side in ("chosen", "rejected"):
            assert row.get(f"{side}_cut", False) is not finished[row[side]]
    assert "temperature 0.7 and top_p 1: fine to train on" in said
    assert "single prompt" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("label s.jsonl", "pairs by users needs a population"),
        ("label s.jsonl --population readers", "cares for 'sentiment', 'length'"),
        ("label s.jsonl --population p.yaml --out o.csv", "--out must end in .jsonl"),
        ("label s.jsonl --population p.yaml --draws x", "--draws must be"),
        ("label s.jsonl --population p.yaml --draws 3:2", "holds no draw"),
        ("label s.jsonl --population p.yaml --per-prompt 7", "at most 6 labels"),
        ("label s.jsonl --population p.yaml --by a", "which only best_worst reads"),
        ("label s.jsonl --kind best_worst --by a --reference s.jsonl", "--reference standardises"),
        ("label s.jsonl --kind best_worst --by a", "with best_of 10"),
        ("label s.jsonl --kind best_worst --by c", "samples lack score 'c'"),
        ("label cut.jsonl --population p.yaml", "cut.jsonl is damaged"),
        ("label part.jsonl --population p.yaml", "texts for 1 of 5 prompts"),
        ("score part.jsonl --score length", "texts for 1 of 5 prompts"),
        ("score none.jsonl --score length", "no samples in none.jsonl"),
        ("score empty.jsonl --score length", "does not hold samples"),
        ("score s.jsonl --score", "--score names no score"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(words, sentence, run, tmp_path):
    samples = scored({"a": [A], "b": [B]})
    write_samples(samples, tmp_path / "s.jsonl")
    write_samples(replace(samples, settings={**samples.settings, "prompts": 5}), tmp_path / "part.jsonl")
    (tmp_path / "cut.jsonl").write_text((tmp_path / "s.jsonl").read_text()[:-40])
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "p.yaml").write_text("users: [{mixture: {a: 1}}]")
    out = () if "--out" in words else ("--out", "o.jsonl")
    code, said = run(*words.split(), *out)
    assert code == 2
    assert sentence in said
    assert "Traceback" not in said
    assert not (tmp_path / "o.jsonl").exists()
