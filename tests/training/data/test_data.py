"""Files to token ids: the boundary rule, both formats, what is cut, what is counted."""

import csv
import gzip
import warnings
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from preference_rows import LABELLED, PAIR, TOKENIZER, answer, load, talk, write
from tokenizers.processors import TemplateProcessing

from distalign.checks import InputError
from distalign.training.data.load import load_preferences
from distalign.training.data.records import read_records
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.data.summary import facts
from tests.training.tiny import tiny_tokenizer

PIECES = [
    "A:",
    " ",
    "yes",
    "no",
    "token",
    "ise",
    "is",
    "\n",
    " the",
    "tea",
    "é",
    "good",
    " good",
    "<|im_end|>",
    "42",
]


def ids(text, **options):
    return tuple(TOKENIZER(text, **options)["input_ids"])


def check_boundary(prompt, sides, alone, wholes):
    """`prompt` and the `sides` put together are the `wholes`, and `prompt` is the longest prefix they share
    with `alone`.
    """
    for side, whole in zip(sides, wholes, strict=True):
        assert (*prompt, *side) == whole
    n = len(prompt)
    assert prompt == alone[:n]
    assert n == len(alone) or any(whole[n : n + 1] != alone[n : n + 1] for whole in wholes)


def test_boundaries_of_random_texts(tmp_path):
    rng = np.random.default_rng(0)
    rows = [["".join(rng.choice(PIECES, size)) for size in rng.integers(1, 6, 3)] for _ in range(400)]
    data = load(
        tmp_path, [dict(zip(("prompt", "chosen", "rejected"), row)) for row in rows], skip_bad_rows=True
    )
    for example in data.examples:
        prompt, *sides = rows[example.line - 1]
        wholes = [ids(prompt + side) for side in sides]
        wholes = [
            whole if whole[-1] == TOKENIZER.eos_token_id else (*whole, TOKENIZER.eos_token_id)
            for whole in wholes
        ]
        check_boundary(example.prompt, (example.chosen, example.rejected), ids(prompt), wholes)
    assert data.report["kept"] > 200
    assert data.report["boundaries_moved"] > 20


def test_the_check_of_boundaries_can_fail():
    prompt, sides = "\ntoken", ("ise", "s")
    wholes = [ids(prompt + side) for side in sides]
    check_boundary(ids("\n"), [whole[1:] for whole in wholes], ids(prompt), wholes)
    with pytest.raises(AssertionError):  # prompt and completion tokenised apart
        check_boundary(ids(prompt), [ids(side) for side in sides], ids(prompt), wholes)
    with pytest.raises(AssertionError):  # a boundary earlier than need be
        check_boundary((), wholes, ids(prompt), wholes)


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "end"),
    [("Say:\ntoken", "ise", "!", "token"), ("Tea? ", "yes", "12", " "), ("Tea? ", "12", "yes", " ")],
)
def test_a_merge_on_either_side_moves_the_shared_boundary(tmp_path, prompt, chosen, rejected, end):
    data = load(tmp_path, [{"prompt": prompt, "chosen": chosen, "rejected": rejected}])
    assert data.examples[0].prompt == ids(prompt.removesuffix(end))
    assert data.report["boundaries_moved"] == 1


def test_plain_completions_end_in_one_end_token(tmp_path):
    rows = [PAIR, PAIR | {"chosen": " yes<|im_end|>"}]
    first, second = load(tmp_path, rows).examples
    assert first.chosen == second.chosen == (*ids(" yes"), TOKENIZER.eos_token_id)


def test_a_text_that_was_cut_when_it_was_written_gets_no_end(tmp_path):
    end = TOKENIZER.eos_token_id
    rows = [PAIR, PAIR | {"chosen_cut": True}, PAIR | {"rejected_cut": "1", "chosen_cut": None}]
    whole, one, other = load(tmp_path, rows).examples
    assert (one.chosen, one.rejected) == (whole.chosen[:-1], whole.rejected)
    assert (other.chosen, other.rejected) == (whole.chosen, whole.rejected[:-1])
    assert whole.chosen[-1] == whole.rejected[-1] == end
    data = load(tmp_path, rows)
    assert "2 of 6 completions were cut when they were written" in " ".join(facts(data))
    one = LABELLED[0]
    labelled = [one | {"completion_cut": True}, one | {"label": False, "completion_cut": False}]
    up, down = load(tmp_path, labelled).examples
    assert down.rejected == (*up.chosen, end)
    with pytest.raises(InputError, match="line 1: chosen_cut must be true or false"):
        load(tmp_path, [PAIR | {"chosen_cut": "perhaps"}])


def test_a_cut_answer_in_a_template_ends_where_it_was_cut(tmp_path):
    row = {"prompt": talk("tea?"), "chosen": answer("yes"), "rejected": answer("no")}
    whole, cut = load(tmp_path, [row, row | {"rejected_cut": True}]).examples
    assert cut.chosen == whole.chosen
    assert cut.rejected == ids("no", add_special_tokens=False)
    with pytest.raises(InputError, match="its end cannot be found"):
        load(tmp_path, [row | {"chosen": answer("yes") + talk("more"), "chosen_cut": True}])


def test_messages_go_through_the_template(tmp_path):
    row = {"prompt": talk("hi", "ho", "tea?"), "chosen": answer("yes"), "rejected": answer("no")}
    example = load(tmp_path, [row]).examples[0]
    start = (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n"
        "<|im_start|>user\ntea?<|im_end|>\n"
    )
    assert example.prompt == ids(start + "<|im_start|>assistant\n")
    assert TOKENIZER.decode(example.chosen) == "yes<|im_end|>\n"
    plain = {"prompt": "hi", "chosen": "yes", "rejected": "no"}
    wrapped = load(tmp_path, [plain], chat_template=True).examples[0]
    assert wrapped.prompt == ids("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert wrapped.rejected == example.rejected


def test_a_first_token_comes_before_plain_text_only(tmp_path):
    eager = tiny_tokenizer()
    start = ("<|endoftext|>", 0)
    eager.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[start]
    )
    messages = {"prompt": talk("tea?"), "chosen": answer("yes"), "rejected": answer("no")}
    plain, empty, through = load_preferences(
        write(tmp_path, [PAIR, PAIR | {"prompt": ""}, messages]), eager
    ).examples
    assert plain.prompt == (0, *ids(PAIR["prompt"]))
    assert empty.prompt == (0,)  # an empty prompt will do where a token precedes the completion
    assert through == load(tmp_path, ["", "", messages]).examples[0]  # a template writes its own


def test_implicit_prompts(tmp_path):
    rows = [{"chosen": talk("tea?", "yes"), "rejected": talk("tea?", "no")}]
    explicit = [{"prompt": talk("tea?"), "chosen": answer("yes"), "rejected": answer("no")}]
    assert load(tmp_path, rows).digest == load(tmp_path, explicit).digest
    rows = [{"chosen": "the tea: yes", "rejected": "the tea: no"}]
    assert (
        read_records(write(tmp_path, rows))[0].prompt == "the tea:"
    )  # the space goes with the word after it
    explicit = [{"prompt": "the tea:", "chosen": " yes", "rejected": " no"}]
    assert load(tmp_path, rows).digest == load(tmp_path, explicit).digest


def test_unpaired_counts_may_differ(tmp_path):
    data = load(tmp_path, LABELLED)
    assert not data.paired
    assert [example.chosen is not None for example in data.examples] == [True, False, True]
    assert [len(example.row().responses) for example in data.examples] == [1, 1, 1]
    assert data.examples[1].rejected == (*ids(" no"), TOKENIZER.eos_token_id)
    words = [row | {"label": str(row["label"])} for row in LABELLED]
    assert load(tmp_path, words).digest == data.digest


def test_all_file_types_agree(tmp_path):
    rows = [
        PAIR | {"weight": 0.5, "group": "a", "user": "u"},
        PAIR | {"prompt": 'line\n"two"', "weight": 2.0, "group": "b", "user": "v"},
    ]
    path = write(tmp_path, rows)
    with open(tmp_path / "data.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for name in ("data.jsonl", "data.csv"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    first = load_preferences(path, TOKENIZER)
    for name in ("data.csv", "data.parquet", "data.jsonl.gz", "data.csv.gz"):
        other = load_preferences(tmp_path / name, TOKENIZER)
        assert other.digest == first.digest
        assert [example.user for example in other.examples] == ["u", "v"]
    assert (first.groups, first.has_groups, first.has_weights) == (("a", "b"), True, True)
    assert [(example.weight, example.group, example.line) for example in first.examples] == [
        (0.5, 0, 1),
        (2.0, 1, 2),
    ]


def test_a_hub_data_set(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: asked.append((name, split)) or [PAIR])
    assert load_preferences("someone/pairs:test", TOKENIZER).digest == load(tmp_path, [PAIR]).digest
    load_preferences("someone/pairs", TOKENIZER)
    assert asked == [("someone/pairs", "test"), ("someone/pairs", "train")]


# -- cuts and counts --


def test_what_is_cut_and_counted(tmp_path):
    row = {"prompt": "abcdefgh", "chosen": "12345", "rejected": "98"}
    whole = load(tmp_path, [row]).examples[0]
    assert (len(whole.prompt), len(whole.chosen), len(whole.rejected)) == (8, 6, 3)
    data = load(tmp_path, [row], max_length=8, max_prompt_length=4, max_cut_share=0.5)
    cut = data.examples[0]
    assert cut.prompt == whole.prompt[-4:]  # the end of the prompt
    assert cut.chosen == whole.chosen[:4]  # the start of the completion
    assert cut.rejected == whole.rejected
    assert {
        name: data.report[name] for name in ("prompts_truncated", "chosen_truncated", "rejected_truncated")
    } == {"prompts_truncated": 1, "chosen_truncated": 1, "rejected_truncated": 0}
    assert load(tmp_path, [row], max_length=14).report["chosen_truncated"] == 0
    assert load(tmp_path, [row], max_length=13, max_cut_share=1).report["chosen_truncated"] == 1


def test_pairs_alike_after_the_cut_are_left_out(tmp_path):
    rows = [
        {"prompt": "ab", "chosen": "123", "rejected": "124"},
        {"prompt": "ab", "chosen": "5", "rejected": "6"},
    ]
    data = load(tmp_path, rows, max_length=4, max_cut_share=0.5)
    assert [example.line for example in data.examples] == [2]
    assert data.report["dropped_identical_tokens"] == 1


def test_bad_rows_are_counted_by_reason(tmp_path):
    rows = [
        PAIR,
        "{not json",
        PAIR | {"chosen": " "},
        PAIR | {"rejected": " yes"},
        "",
        PAIR | {"prompt": "x" * 50},
        {"prompt": "a", "chosen": "b"},
        [1],
        PAIR | {"prompt": ""},
    ]
    data = load(tmp_path, rows, skip_bad_rows=True, max_length=40)
    assert [example.line for example in data.examples] == [1]
    assert data.report == {
        "read": 8,
        "kept": 1,
        "columns_ignored": 0,
        "boundaries_moved": 0,
        "prompts_truncated": 0,
        "chosen_truncated": 0,
        "rejected_truncated": 0,
        "completions": 2,
        "dropped_empty_completion": 1,
        "dropped_empty_prompt": 1,
        "dropped_identical": 1,
        "dropped_malformed": 2,
        "dropped_missing_field": 1,
        "dropped_prompt_too_long": 1,
    }


def test_the_digest_changes_if_and_only_if_the_content_does(tmp_path):
    rows = [
        PAIR | {"weight": 1.0, "group": "a"},
        {"prompt": "x", "chosen": "y", "rejected": "z", "weight": 2.0, "group": "b"},
    ]
    digest = load(tmp_path, rows).digest
    assert load(tmp_path, ["", *(row | {"user": "someone", "note": 3} for row in rows)]).digest == digest
    changed = [
        rows[::-1],
        rows[:1],
        [rows[0] | {"prompt": "Is tea bad?"}, rows[1]],
        [rows[0] | {"chosen": " Yes"}, rows[1]],
        [rows[0] | {"weight": 1.5}, rows[1]],
        [rows[0] | {"group": "b"}, rows[1]],
        [rows[0] | {"group": "c"}, rows[1]],
        [rows[0] | {"chosen": " no", "rejected": " yes"}, rows[1]],
    ]
    digests = [load(tmp_path, other).digest for other in changed]
    assert len({digest, *digests}) == 1 + len(changed)


def test_the_digest_knows_where_each_part_ends():
    examples = [
        Example((1,), (2, 3), (4,)),
        Example((1, 2), (3,), (4,)),
        Example((1,), (2,), (3, 4)),
        Example((1, 2, 3), (4,), None),
        Example((1, 2, 3), None, (4,)),
    ]
    assert len({PreferenceData.of([example]).digest for example in examples}) == len(examples)
    assert (
        PreferenceData.of([Example((1,), (2,), (3,), line=4, user="u")]).digest
        == PreferenceData.of([Example((1,), (2,), (3,))]).digest
    )


# -- TRL --


def trl_rows(rows):
    """TRL's token ids of `rows`: (prompt, chosen, rejected) each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever TRL and what it imports deprecate
        trl = pytest.importorskip("trl")
        datasets = pytest.importorskip("datasets")
        trainer = SimpleNamespace(_tokenizer=TOKENIZER)
        settings = SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode="keep_start")
        found = trl.DPOTrainer._prepare_dataset(
            trainer, datasets.Dataset.from_list(rows), TOKENIZER, settings, "train"
        )
        return [
            tuple(tuple(row[f"{name}_ids"]) for name in ("prompt", "chosen", "rejected")) for row in found
        ]


@pytest.mark.parametrize(
    "rows",
    [
        [
            PAIR,
            {"prompt": "Tea? ", "chosen": "yes", "rejected": "12"},
            {"prompt": "x\ntoken", "chosen": "ise", "rejected": "<|im_end|>"},
        ],
        [{"prompt": talk("tea?"), "chosen": answer("yes"), "rejected": answer("no")}],
        [{"chosen": talk("a", "b", "c", "d"), "rejected": talk("a", "b", "c", "e")}],
        [{"chosen": "the tea: yes", "rejected": "the tea: no"}],
    ],
    ids=["plain", "messages", "implicit-messages", "implicit-plain"],
)
def test_token_ids_are_those_of_trl(tmp_path, rows):
    ours = [(example.prompt, example.chosen, example.rejected) for example in load(tmp_path, rows).examples]
    assert ours == trl_rows(rows)
