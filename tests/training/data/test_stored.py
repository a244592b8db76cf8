"""Data of a file of tokens are the data that were tokenised, and a file that is not whole is made anew."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from distalign.checks import InputError
from distalign.training import loop, splits
from distalign.training.data import stored
from distalign.training.data.batches import Batches
from distalign.training.data.load import load_preferences
from distalign.training.data.records import Records
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.data.stored import Packer, key_of
from distalign.training.parallel import World
from distalign.training.splits import _stored_or_made, split_held_out
from tests.training.data_for_tests import recipe, write_pairs, write_unpaired
from tests.training.tiny import tiny_tokenizer

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(splits, "_SMALLEST", 1)


def data_of(folder, kind):
    if kind == "by hand":  # sides that lack, tokens that are not scored, users, groups
        return PreferenceData.of(
            [
                Example((1, 2), (3, -4), None, 0.5, 1, "ann", 7),
                Example((), (5,), (6, 7, 8), 0.0, 0, None, 8),
                Example((9,), None, (2**31 - 1, 3), 2.0, 1, "bob", 9),
                Example((9,), None, (4,), 1.0, 0, "ann", 10),
            ],
            ("a", "b"),
            {"read": 5, "kept": 4},
        )
    path = folder / f"{kind}.jsonl"
    if kind == "pairs":
        write_pairs(path, group=lambda i: "xy"[i % 2], weight=lambda i: 0.5 + i % 3)
    else:
        write_unpaired(path)
    return load_preferences(path, tiny_tokenizer())


@pytest.mark.parametrize("kind", ["by hand", "pairs", "unpaired"])
def test_the_same_data(tmp_path, kind):
    data, asked = data_of(tmp_path, kind), []

    def make():
        asked.append(kind)
        return [data, *split_held_out(data, 0.3)]

    for _ in range(2):
        found = _stored_or_made(tmp_path, "key", make, ALONE, print)
        for one, wanted in zip(found, make(), strict=True):
            assert list(one.examples) == list(wanted.examples)
            assert one.examples[1:3] == list(wanted.examples[1:3])
            assert one.examples[-1] == wanted.examples[-1]
            for name in ("paired", "groups", "digest", "has_weights", "has_groups", "names", "report"):
                assert getattr(one, name) == getattr(wanted, name), name
            assert [*one.kinds()] == [*wanted.kinds()]
    assert len(asked) == 3  # once to be stored, and twice for the comparison
    with pytest.raises(IndexError):
        found[0].examples[len(data.examples)]
    first, second = (Batches(d, 3, seed=5, needs=()) for d in (found[0], data))
    assert [first.shares(i) for i in range(9)] == [second.shares(i) for i in range(9)]


@pytest.mark.parametrize("spoil", ["cut", "changed", "empty"])
def test_a_damaged_file_is_made_anew_with_a_line(tmp_path, spoil):
    data, said = data_of(tmp_path, "pairs"), []
    _stored_or_made(tmp_path, "key", lambda: [data], ALONE, said.append)
    path = tmp_path / "key.tokens"
    whole = path.read_bytes()
    tokens = bytearray(whole)
    tokens[-40] ^= 1
    path.write_bytes({"cut": whole[:-9], "changed": bytes(tokens), "empty": b""}[spoil])
    assert not said
    (found,) = _stored_or_made(tmp_path, "key", lambda: [data], ALONE, said.append)
    assert list(found.examples) == list(data.examples)
    assert len(said) == 1
    assert "key.tokens is damaged" in said[0]
    assert "tokenising anew" in said[0]
    assert path.read_bytes() == whole


def test_the_key_is_of_all_that_examples_depend_on(tmp_path):
    path, settings = write_pairs(tmp_path / "a.jsonl"), {"max_length": 64}
    key = key_of(str(path), tiny_tokenizer(), settings)
    assert key == key_of(str(path), tiny_tokenizer(), dict(settings))
    other = tiny_tokenizer()
    other.add_tokens(["qqq"])
    keys = {
        key,
        key_of(str(path), tiny_tokenizer(), {"max_length": 65}),
        key_of(str(path), tiny_tokenizer("{{ messages }}"), settings),
        key_of(str(path), other, settings),
    }
    mixture = tmp_path / "mix.yaml"
    mixture.write_text("sources: {a.jsonl: 1}")
    mixed = key_of(str(mixture), tiny_tokenizer(), settings)
    path.write_text(path.read_text().replace("tea", "tee", 1))
    keys |= {key_of(str(path), tiny_tokenizer(), settings), mixed}
    assert mixed != key_of(str(mixture), tiny_tokenizer(), settings)
    assert len(keys) == 6
    assert None not in keys
    assert key_of("owner/name", tiny_tokenizer(), settings) is None
    assert key_of(str(path), tiny_tokenizer("{{ strftime_now('%d') }}"), settings) is None


def test_a_run_of_stored_data_is_the_run_of_data_that_were_read(tmp_path, monkeypatch):
    """And the second start tokenises nothing."""
    for out in ("stored", "again", "read"):
        if out == "read":
            monkeypatch.setattr(splits, "_SMALLEST", 10**9)
        if out == "again":
            monkeypatch.setattr("distalign.training.splits.load_preferences", None)
        cache = tmp_path / ("read_cache" if out == "read" else "cache")
        asked = recipe(tmp_path, out, eval_fraction=0.3, reference_cache=str(cache))
        with monkeypatch.context() as patch:
            patch.setattr("distalign.training.run.write_results", lambda *args: {})
            if out == "read":
                patch.setattr("distalign.training.splits.load_preferences", load_preferences)
            loop.train(replace(asked, max_steps=2), progress=False)
    weights = [
        (tmp_path / out / "model/model.safetensors").read_bytes() for out in ("stored", "again", "read")
    ]
    assert weights[0] == weights[1] == weights[2]
    assert len(list((tmp_path / "cache").glob("*.tokens"))) == 1
    assert not list((tmp_path / "read_cache").glob("*.tokens"))


@pytest.mark.parametrize("kind", ["by hand", "pairs", "unpaired"])
@pytest.mark.parametrize("spilled", [False, True])
def test_packed_examples_are_the_data_of_a_list(tmp_path, monkeypatch, kind, spilled):
    """Field by field, whether they come as a tuple or as arrays, and whether tokens went to a file."""
    data = data_of(tmp_path, kind)
    monkeypatch.setattr(stored, "_IN_MEMORY", 5 if spilled else 2**20)
    for smallest in (1, 1000):
        monkeypatch.setattr(stored, "SMALLEST", smallest)
        packer = Packer(data.groups)
        packer.extend(data.examples)
        found, wanted = packer.data(data.report), PreferenceData.of(data.examples, data.groups, data.report)
        assert isinstance(found.examples, tuple) == (smallest == 1000)
        assert list(found.examples) == list(wanted.examples)
        for name in ("paired", "groups", "report", "digest", "has_weights", "has_groups", "names"):
            assert getattr(found, name) == getattr(wanted, name), name
    assert isinstance(packer.examples().arrays["tokens"], np.memmap) == spilled


def test_a_bad_example_is_not_packed():
    with pytest.raises(InputError, match="line 7 has no completion"):
        Packer().extend([Example((1,), (), None, line=7)])


def test_memory_does_not_grow_with_the_texts(tmp_path, monkeypatch):
    """4,000 lines of 1,500 characters (6 MB) are read, and 4,000 x 300 tokens (4.8 MB) packed."""
    monkeypatch.setattr(stored, "_IN_MEMORY", 2**14)
    path = tmp_path / "long.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(4000):
            line = {"prompt": f"{i} " + "p" * 500, "chosen": "c" * 500, "rejected": "r" * 500}
            file.write(json.dumps(line) + "\n")
    tracemalloc.start()
    try:
        records = Records(path)
        assert sum(len(str(record.chosen)) for record in records) == 4000 * 500
        assert len(records) == 4000
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.reset_peak()
        packer = Packer()
        packer.extend(Example((i,) * 100, (2,) * 100, (3,) * 100, line=i) for i in range(4000))
        assert tracemalloc.get_traced_memory()[1] < 1.5e6
    finally:
        tracemalloc.stop()
