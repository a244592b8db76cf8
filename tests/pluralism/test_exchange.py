"""Votes as preference pairs and back: the same people, the same counts, the same loss."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from distalign.bridge.generation.subcommands import label
from distalign.checks import InputError
from distalign.objectives import dpo
from distalign.pluralism.exchange import preference_rows, write_preferences
from distalign.pluralism.sources.votes import load_votes
from distalign.preferences import PreferenceLogProbs

TEXTS = {"beer": "A cold beer.", "milk": "Warm milk.", "tea": "Green tea."}
VOTES = [
    ("ann", "tea", "milk", "first", 2),
    ("ann", "tea", "beer", "equal", 1),
    ("bob", "milk", "tea", "second", 1),
    ("cy", "beer", "milk", "second", 3),
]


@pytest.fixture
def files(tmp_path):
    pd.DataFrame(VOTES, columns=["user", "first", "second", "vote", "count"]).to_csv(
        tmp_path / "votes.csv", index=False
    )
    pd.DataFrame(TEXTS.items(), columns=["item", "text"]).to_csv(tmp_path / "texts.csv", index=False)
    return tmp_path


def counts(votes, name):
    """{(user, winner, loser): votes}, an "equal" half to each."""
    found = Counter()
    weights = np.ones(len(votes.score)) if votes.weight is None else votes.weight
    for u, a, b, s, w in zip(votes.user, votes.first, votes.second, votes.score, weights, strict=True):
        found[votes.users[u], name(votes.items[a]), name(votes.items[b])] += w * s
        found[votes.users[u], name(votes.items[b]), name(votes.items[a])] += w * (1 - s)
    return {key: value for key, value in found.items() if value}


def test_votes_come_back_from_the_pairs_that_they_became(files):
    told = write_preferences(files / "votes.csv", files / "texts.csv", "A drink?", files / "pairs.jsonl")
    assert told[-1].startswith("7 votes of 3 people on 3 texts became 5 weighted pairs")
    back = load_votes(files / "pairs.jsonl")
    assert counts(back, str) == counts(load_votes(files / "votes.csv"), TEXTS.get)


def test_the_loss_over_the_pairs_is_that_over_the_votes(files):
    votes = load_votes(files / "votes.csv")
    rows = preference_rows(votes, list(TEXTS.values()), "A drink?")
    log_probs = dict(zip(TEXTS.values(), torch.tensor([-1.0, -2.0, -4.0], dtype=torch.float64), strict=True))
    u, v = (torch.stack([log_probs[row[side]] for row in rows]) for side in ("chosen", "rejected"))
    weights = torch.tensor([row["weight"] for row in rows], dtype=torch.float64)
    zero = torch.zeros_like(u)
    found = float(dpo(PreferenceLogProbs(u, v, zero, zero, weights), beta=0.5))
    x = {name: float(log_probs[text]) for name, text in TEXTS.items()}
    wanted = total = 0.0
    for _, a, b, vote, w in VOTES:
        s = {"first": 1.0, "second": 0.0, "equal": 0.5}[vote]
        margin = 0.5 * (x[a] - x[b])
        wanted += w * (s * np.logaddexp(0, -margin) + (1 - s) * np.logaddexp(0, margin))
        total += w
    assert found == pytest.approx(wanted / total, rel=1e-12)


def test_several_prompts_need_a_topic_and_messages_are_refused(files):
    pairs = files / "pairs.jsonl"
    write_preferences(files / "votes.csv", files / "texts.csv", "A drink?", pairs)
    lines = pairs.read_text().splitlines()
    other = [json.dumps({**json.loads(line), "prompt": "Another?"}) for line in lines[:3]]
    pairs.write_text("\n".join(lines + other))
    with pytest.raises(InputError, match=r"2 prompts: choose one with topic"):
        load_votes(pairs)
    assert len(load_votes(pairs, "A drink?").score) == 5
    talk = {"prompt": "?", "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b", "user": "ann"}
    pairs.write_text(json.dumps(talk))
    with pytest.raises(InputError, match="not lists of messages"):
        load_votes(pairs)


def test_bad_input_names_the_remedy(files):
    votes, texts, out = files / "votes.csv", files / "texts.csv", files / "pairs.jsonl"
    with pytest.raises(InputError, match="prompt is empty"):
        write_preferences(votes, texts, " ", out)
    with pytest.raises(InputError, match=r"must end in \.jsonl"):
        write_preferences(votes, texts, "A drink?", files / "pairs.csv")
    with pytest.raises(InputError, match="texts must hold 3 texts"):
        preference_rows(load_votes(votes), ["one"], "A drink?")


def test_a_column_of_counts_counts_and_two_users_are_refused(files):
    rows = [{"chosen": "a", "rejected": "b", "rater": "ann", "count": 3}]
    (files / "pairs.jsonl").write_text(json.dumps(rows[0]))
    assert load_votes(files / "pairs.jsonl").weight.tolist() == [3.0]
    (files / "pairs.jsonl").write_text(json.dumps(rows[0] | {"judge": "bob"}))
    with pytest.raises(InputError, match="could each be the user"):
        load_votes(files / "pairs.jsonl")


def test_flags_that_votes_have_no_use_for_are_refused(files):
    votes, how = files / "votes.csv", {"texts": files / "texts.csv", "prompt": "A drink?"}
    for name, value in (("population", "readers"), ("kind", "soft"), ("best_of", 4)):
        with pytest.raises(InputError, match=f"--{name.replace('_', '-')} would be ignored"):
            label(votes, out=files / "p.jsonl", **how, **{name: value})
    assert label(votes, out=files / "p.jsonl", **how) == 0
