"""Votes to pairs: majorities, shares, ties, prompts and the split by debate."""

import json

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.training.data.load import load_preferences
from distalign.training.data.votes import VotedPair, pairs_from_votes, prompt_of, split_debates, write_pairs
from distalign.training.demo.data import demo_data
from tests.training.tiny import tiny_tokenizer

TEXTS = [
    ("a", "tea_yes", "tea is good"),
    ("b", "tea_yes", "the tea is hot and good"),
    ("c", "tea_yes", "yes"),
    ("d", "tea_yes", "yes"),
    ("e", "milk_no", "no"),
]
VOTES = [
    ("tea_yes", "a", "b", "w1", "first"),
    ("tea_yes", "b", "a", "w2", "first"),
    ("tea_yes", "b", "a", "w3", "first"),
    ("tea_yes", "a", "b", "w4", "equal"),
    ("tea_yes", "a", "c", "w1", "second"),
    ("tea_yes", "c", "a", "w2", "second"),
    ("tea_yes", "c", "d", "w1", "first"),
    ("tea_yes", "c", "b", "w1", "equal"),
]


@pytest.fixture
def files(tmp_path):
    return written(tmp_path)


def written(folder, votes=VOTES, texts=TEXTS):
    paths = folder / "votes.csv", folder / "arguments.csv"
    paths[0].write_text(
        "".join(",".join(row) + "\n" for row in [("topic", "first", "second", "worker", "vote"), *votes])
    )
    paths[1].write_text("".join(",".join(row) + "\n" for row in [("argument", "topic", "text"), *texts]))
    return paths


def test_majorities_in_either_order(files):
    voted = pairs_from_votes(*files)
    # a against b: 1 + 1/2 of 4 votes for a; a against c: one vote each; c and d read alike; b and c are tied
    assert voted.pairs == (
        VotedPair(prompt_of("tea_yes"), "the tea is hot and good", "tea is good", 0.625, "tea"),
    )
    assert voted.report == {"votes": 8, "preferences": 4, "tied": 2, "alike": 1, "too_long": 0, "kept": 1}


def test_one_pair_per_vote(files):
    voted = pairs_from_votes(*files, per_vote=True)
    assert voted.report == {"votes": 8, "preferences": 8, "tied": 2, "alike": 1, "too_long": 0, "kept": 5}
    assert [(pair.chosen, pair.user) for pair in voted.pairs] == [
        ("tea is good", "w1"),
        ("the tea is hot and good", "w2"),
        ("the tea is hot and good", "w3"),
        ("yes", "w1"),
        ("tea is good", "w2"),
    ]
    assert {pair.weight for pair in voted.pairs} == {1.0}
    assert pairs_from_votes(*files, per_vote=True, max_words=3).report["too_long"] == 3


def test_prompts_put_the_slug_in_words():
    assert prompt_of("tv-is-better-than-books_tv").startswith("Debate: Tv is better than books?\n")
    assert "side: There's more browsers.\n" in prompt_of("firefox-vs-ie_there-s-more-browsers")
    assert "side: No.\n" in prompt_of("pe-_no-")
    assert prompt_of("pe-_no-").startswith("Debate: Pe?")
    assert "side: Tea.\n" in prompt_of("tea")


def test_whole_debates_are_held_out():
    pairs = [VotedPair("?", "x", "y", 1.0, f"debate{i % 7}") for i in range(70)]
    for seed in range(5):
        train, held = split_debates(pairs, 3, seed)
        assert not {pair.group for pair in train} & {pair.group for pair in held}
        assert (len(train), len(held)) == (40, 30)
    assert (
        len({tuple(sorted({pair.group for pair in split_debates(pairs, 3, seed)[1]})) for seed in range(5)})
        > 1
    )
    with pytest.raises(InputError, match=r"no debate is named 'tea'; there are 'debate0'"):
        split_debates(pairs, ["tea"])
    for count in (0, 7, -1):
        with pytest.raises(InputError, match="so 1 to 6 of the 7 debates"):
            split_debates(pairs, count)


def test_written_pairs_read_back(tmp_path, files):
    voted = pairs_from_votes(*files, per_vote=True)
    path = write_pairs(tmp_path / "sub" / "pairs.jsonl", voted.pairs)
    assert set(json.loads(path.read_text().splitlines()[0])) == {
        "prompt",
        "chosen",
        "rejected",
        "weight",
        "group",
        "user",
    }
    majority = write_pairs(tmp_path / "majority.jsonl", pairs_from_votes(*files).pairs)
    assert "user" not in majority.read_text()
    data = load_preferences(path, tiny_tokenizer())
    assert [example.user for example in data.examples] == [pair.user for pair in voted.pairs]
    assert data.groups == ("tea",)
    assert load_preferences(majority, tiny_tokenizer()).examples[0].weight == 0.625


@pytest.mark.parametrize(
    ("votes", "texts", "sentence"),
    [
        (
            [("tea_yes", "a", "b", "w", "third")],
            TEXTS,
            "vote must be first, second or equal, got 'third' in line 2",
        ),
        ([("tea_yes", "a", "a", "w", "first")], TEXTS, "argument 'a' is compared with itself in line 2"),
        ([("tea_yes", "a", "z", "w", "first")], TEXTS, "no text of argument 'z' in topic 'tea_yes'"),
        ([("tea_yes", "a", "e", "w", "first")], TEXTS, "no text of argument 'e' in topic 'tea_yes'"),
        ([("tea_yes", "a", "", "w", "first")], TEXTS, "column 'second' is empty in line 2"),
        (VOTES, [("a", "tea_yes", "")], "column 'text' is empty"),
        ([("tea_yes", "a", "b", "w", "equal")], TEXTS, "none of 1 pairs is left"),
        ([], TEXTS, "holds no rows"),
    ],
)
def test_bad_votes(tmp_path, votes, texts, sentence):
    with pytest.raises(InputError, match=sentence):
        pairs_from_votes(*written(tmp_path, votes, texts))


def test_the_real_votes(data_folder):
    """Counts found by a group-by of pandas as a second road."""
    import pandas as pd

    folder = data_folder / "ukp_convarg1"
    voted = pairs_from_votes(folder / "votes.csv.gz", folder / "arguments.csv.gz")
    table = pd.read_csv(folder / "votes.csv.gz", dtype=str)
    score = table["vote"].map({"first": 1.0, "equal": 0.5, "second": 0.0})
    turned = table["first"] > table["second"]
    share = (
        score.where(~turned, 1 - score)
        .groupby(
            [table["topic"], table[["first", "second"]].min(axis=1), table[["first", "second"]].max(axis=1)]
        )
        .mean()
    )
    assert voted.report["preferences"] == len(share)
    assert voted.report["tied"] == (share == 0.5).sum()
    assert voted.report["kept"] == len(share) - voted.report["tied"] - voted.report["alike"]
    weight = np.maximum(share, 1 - share)[share != 0.5]
    assert (
        abs(sum(pair.weight for pair in voted.pairs) / weight.sum() - 1) < 1e-3
    )  # the alike are in one sum only


def test_data_of_the_demo_are_the_votes_split_by_debate(tmp_path):
    more = [("f", "milk_no", "milk is bad")]
    written(tmp_path, [*VOTES, ("milk_no", "f", "e", "w1", "first")], [*TEXTS, *more])
    found = demo_data(tmp_path, tmp_path / "out", held_out=1, min_held_out=1)
    whole = pairs_from_votes(tmp_path / "votes.csv", tmp_path / "arguments.csv", max_words=60)
    kept, held = split_debates(whole.pairs, 1, 0)
    for path, name, pairs in ((found.train, "train", kept), (found.held_out, "held_out", held)):
        assert path == tmp_path / "out" / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["chosen"] for row in rows] == [pair.chosen for pair in pairs]
        assert len(rows) == 1
    counted = {"train_pairs": 1, "train_debates": 1, "held_out_pairs": 1, "held_out_debates": 1}
    assert found.report == whole.report | counted
    with pytest.raises(InputError, match="held_out=1 debates have 1 pairs, fewer than 2"):
        demo_data(tmp_path, tmp_path / "out", held_out=1, min_held_out=2)
