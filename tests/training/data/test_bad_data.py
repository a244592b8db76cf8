"""One sentence for each thing that can be wrong with preference data."""

import json

import pytest
from preference_rows import LABELLED, PAIR, TOKENIZER, answer, load, talk, write

from distalign.checks import InputError
from distalign.training.data.load import load_preferences
from distalign.training.data.records import read_records
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.data.sources import BadRow, read_rows
from tests.training.tiny import tiny_tokenizer


@pytest.mark.parametrize(
    ("example", "sentence"),
    [
        (Example((1,), None, None), "an example has no completion or an empty one"),
        (Example((1,), (2,), (), line=7), "line 7 has no completion or an empty one"),
        (Example((1,), (2,), None, weight=-1.0), "weight of an example must be"),
        (Example((1,), (2,), None, weight=float("inf")), "weight of an example must be"),
        (Example((1,), (2,), None, group=1), "group of an example is 1, but 1 groups are named"),
    ],
)
def test_bad_examples(example, sentence):
    with pytest.raises(InputError, match=sentence):
        PreferenceData.of([example], groups=["a"])
    with pytest.raises(InputError, match="the data hold no example"):
        PreferenceData.of([])


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["{oops"], r"line 1: not a line of JSON \(.*skip_bad_rows"),
        ([PAIR, '["prompt"]'], "line 2: JSON, but no object"),
        (
            [{"question": "a", "answer": "b"}],
            "the columns 'question', 'answer'; needed are 'prompt', 'chosen', 'rejected' .*or",
        ),
        ([PAIR, {"prompt": "a", "chosen": "b"}], "line 2: rejected is missing"),
        ([PAIR | {"prompt": None}], "line 1: prompt is missing"),
        ([PAIR | {"chosen": ""}], "line 1: chosen is empty"),
        ([PAIR | {"rejected": None}], "line 1: rejected is empty"),
        ([PAIR | {"chosen": " no"}], "line 1: chosen equals rejected"),
        ([PAIR | {"chosen": 3}], "chosen must be text or a list of messages, got int"),
        ([PAIR | {"chosen": talk("yes")}], "one of chosen and rejected is text"),
        ([PAIR | {"chosen": []}], "chosen is an empty list"),
        ([PAIR | {"chosen": [{"role": "assistant"}]}], "every message of chosen needs a role and a content"),
        (
            [{"chosen": talk("a", " "), "rejected": talk("a", "b")}],
            "chosen has an assistant's message without content",
        ),
        ([PAIR | {"weight": -1}], "weight must be a finite number of at least 0, got -1"),
        ([PAIR | {"weight": float("nan")}], "weight must be .* got nan"),
        ([PAIR | {"weight": "much"}], "weight must be .* got 'much'"),
        ([PAIR | {"weight": True}], "weight must be .* got True"),
        ([PAIR | {"weight": 1}, PAIR], "line 2: weight must be .* got None"),
        ([PAIR | {"weight": 0}], "all weights are 0"),
        ([PAIR | {"group": "a"}, PAIR], "line 2: group is missing"),
        ([LABELLED[0] | {"label": "maybe"}], "label must be true or false .* got 'maybe'"),
        ([LABELLED[0] | {"label": None}], "label must be true or false .* got None"),
        ([{"chosen": "abc", "rejected": "xyz"}], "do not begin alike"),
        ([{"chosen": "abc", "rejected": "abcd"}], "one of them is empty"),
        ([PAIR | {"prompt": "x" * 40}], "line 1: the prompt alone has 40 tokens, .*max_length=32"),
        ([PAIR | {"prompt": "x" * 32}], "line 1: the prompt alone has 32 tokens"),
        ([PAIR | {"prompt": ""}], "line 1: no token of the prompt is left"),
        ([PAIR | {"prompt": "token", "chosen": "ise"}], "line 1: no token of the prompt is left"),
        ([], "holds no rows"),
        (["", " "], "holds no rows"),
    ],
)
def test_bad_rows(tmp_path, rows, sentence):
    with pytest.raises(InputError, match=sentence):
        load(tmp_path, rows, max_length=32)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_length": 1}, "max_length must be at least 2"),
        (
            {"max_length": 8, "max_prompt_length": 8},
            "max_prompt_length must lie between 1 and max_length - 1 = 7",
        ),
        ({"max_prompt_length": 0}, "max_prompt_length must lie between"),
    ],
)
def test_bad_limits(tmp_path, options, sentence):
    with pytest.raises(InputError, match=sentence):
        load(tmp_path, [PAIR], **options)


def test_nothing_left(tmp_path):
    with pytest.raises(
        InputError, match=r"none of its 2 lines can be used \(1 dropped_identical, 1 dropped_malformed\)"
    ):
        load(tmp_path, [PAIR | {"chosen": " no"}, "?"], skip_bad_rows=True)


def test_bad_tokenizers(tmp_path):
    messages = write(
        tmp_path, [PAIR, {"prompt": talk("a"), "chosen": answer("b"), "rejected": answer("c")}], "talk.jsonl"
    )
    plain = write(tmp_path, [PAIR])
    bare = tiny_tokenizer(template=None)
    with pytest.raises(
        InputError, match=r"talk.jsonl, line 2 holds messages, but the tokenizer has no chat template"
    ):
        load_preferences(messages, bare)
    with pytest.raises(InputError, match="chat_template is True, but the tokenizer has no chat template"):
        load_preferences(plain, bare, chat_template=True)
    with pytest.raises(InputError, match="line 2 holds messages, but chat_template is False"):
        load_preferences(messages, TOKENIZER, chat_template=False)
    with pytest.raises(
        InputError, match="line 2: the tokenizer's chat template refuses the messages \\(only users"
    ):
        load_preferences(messages, tiny_tokenizer(template="{{ raise_exception('only users') }}"))
    bare.eos_token = None
    with pytest.raises(InputError, match="no end-of-text token"):
        load_preferences(plain, bare)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "x", "unknown suffix"),
        ("a.parquet", "x", "cannot be read"),
        ("a.jsonl.gz", "x", "cannot be read"),
        ("a.csv", "", "holds no rows"),
        ("a.csv", "prompt,chosen,rejected\n", "holds no rows"),
        ("a.csv", "prompt,chosen,rejected\na,b\n", "line 2: 2 cells under 3 columns"),
        ("a.csv", 'prompt,chosen,rejected\na,b,c\na,"b"x,c\n', "line 3: not CSV from here on"),
        ("a.csv", "prompt,chosen,rejected\na,,c\n", "line 2: chosen is empty"),
    ],
)
def test_bad_files(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=sentence):
        read_records(tmp_path / name)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(json.dumps(PAIR).encode() + b'\n{"prompt": "\xff"}\n')
    with pytest.raises(InputError, match="line 2: not a line of JSON"):
        read_records(tmp_path / "a.jsonl")
    (tmp_path / "a.csv").write_bytes(b"prompt,chosen,rejected\n\xff,b,c\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_records(tmp_path / "a.csv")


def test_sources_that_are_not_there(tmp_path):
    absent = "does not exist"
    for source, sentence in ((tmp_path, "is a folder"), (tmp_path / "none.jsonl", absent), ("a/b/c", absent)):
        with pytest.raises(InputError, match=sentence):
            read_records(source)
    with pytest.raises(
        InputError, match=r"is no file, and as a Hub data set it cannot be loaded .*HF_HUB_OFFLINE"
    ):
        read_records("distalign-tests/no-such-data")


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_half_a_character_is_found_in_lines_and_in_an_array(tmp_path, suffix):
    rows = [PAIR, PAIR | {"chosen": "\ud800"}, PAIR | {"chosen": "\U0001f375"}]
    texts = [json.dumps(row) for row in rows]  # escaped: the last is two halves that belong together
    path = tmp_path / f"data.{suffix}"
    path.write_text("\n".join(texts) if suffix == "jsonl" else "[" + ",\n".join(texts) + "]")
    found = [row for _, row in read_rows(path)]
    assert [isinstance(row, BadRow) for row in found] == [False, True, False]
    assert found[1].reason == "lone_surrogate"
    assert found[2] == rows[2]
