"""PRISM and Community Alignment: extracts of the documented schema, made by hand, become the votes one would
write down.
"""

import inspect
import json

import pandas as pd
import pytest

from distalign.checks import InputError
from distalign.pluralism import load_votes, read
from distalign.pluralism.sources import adapters

PRISM = [  # user, conversation type, interaction, turn, model, score
    ("user0", "unguided", "int0", 0, "model-a", 80),
    ("user0", "unguided", "int0", 0, "model-b", 20),
    ("user0", "unguided", "int0", 0, "model-c", 20),
    ("user0", "unguided", "int1", 1, "model-a", 50),  # after the first turn one model answers twice
    ("user0", "unguided", "int1", 1, "model-a", 60),
    ("user1", "values guided", "int2", 0, "model-b", 90),
    ("user1", "values guided", "int2", 0, "model-c", 5),
    ("user1", "values guided", "int2", 0, "model-a", None),
]


@pytest.fixture
def prism(tmp_path):
    names = ("user_id", "conversation_type", "interaction_id", "turn", "model_name", "score")
    more = {"conversation_id": "c0", "user_prompt": "hello", "model_response": "hi", "if_chosen": True}
    rows = [{**dict(zip(names, row, strict=True)), **more} for row in PRISM]
    path = tmp_path / "utterances.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def said(votes):
    return {
        (votes.users[u], votes.items[f], votes.items[s], float(v))
        for u, f, s, v in zip(votes.user, votes.first, votes.second, votes.score, strict=True)
    }


def test_ratings_of_a_prompt_become_votes_on_models(prism):
    votes = load_votes(prism)
    assert said(votes) == {
        ("user0", "model-a", "model-b", 1.0),
        ("user0", "model-a", "model-c", 1.0),
        ("user0", "model-b", "model-c", 0.5),
        ("user1", "model-b", "model-c", 1.0),
    }
    assert "7 ratings became 4 votes" in votes.told[0]
    assert "1 pairs of responses of one model were left out" in votes.told[0]
    assert len(load_votes(prism, topic="unguided").users) == 1
    with pytest.raises(InputError, match="did you mean unguided"):
        load_votes(prism, topic="unguide")
    assert read(prism) == {"votes": {"file": str(prism)}}


@pytest.fixture
def choices(tmp_path):
    shown = {f"first_turn_response_{c}": f"answer {c}" for c in "abcd"}
    turned = {f"first_turn_response_{c}": f"answer {d}" for c, d in zip("abcd", "dcba", strict=True)}
    rows = [
        {"annotator_id": 7, **shown, "first_turn_preferred_response": "response_a"},
        {
            "annotator_id": 8,
            **turned,
            "first_turn_preferred_response": "response_a",
        },  # the text is what counts
        {"annotator_id": 9, **shown, "first_turn_preferred_response": None},
    ]
    table = pd.DataFrame(rows).assign(
        first_turn_prompt="What now?", assigned_lang="en", conversation_id=range(3)
    )
    path = tmp_path / "community.csv"
    table.to_csv(path, index=False)
    return path


def test_a_preferred_response_beats_the_others(choices):
    votes = load_votes(choices)
    assert said(votes) == {
        *((("7", "answer a", f"answer {c}", 1.0)) for c in "bcd"),
        *((("8", "answer d", f"answer {c}", 1.0)) for c in "abc"),
    }
    assert "2 choices became 6 votes" in votes.told[0]
    assert read(choices) == {"votes": {"file": str(choices)}}
    table = pd.read_csv(choices)
    pd.concat([table, table.assign(first_turn_prompt="And then?"), table]).to_csv(choices, index=False)
    with pytest.raises(InputError, match=r"holds 2 prompts.*answered most often, by 6: 'What now"):
        load_votes(choices)
    assert len(load_votes(choices, topic="And  then?").score) == 6
    table.assign(first_turn_preferred_response="response_z").to_csv(choices, index=False)
    with pytest.raises(InputError, match="'first_turn_response_z' is none of the responses shown"):
        load_votes(choices)


@pytest.mark.parametrize("adapter", [adapters.prism, adapters.community_alignment])
def test_an_adapter_is_short(adapter):
    assert len(inspect.getsource(adapter).splitlines()) <= 40
