"""An adapter merged into its base: the logits of both together, by plain transformers."""

import errno
import json
import shutil

import peft
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from distalign.checks import InputError
from distalign.training import merge as module
from distalign.training.evaluation.models import evaluate, generate
from distalign.training.loop import train
from distalign.training.merge import merge
from distalign.training.model.adapters import new_adapter, quiet_peft
from distalign.training.model.load import load_model
from tests.training.data_for_tests import recipe, write_pairs
from tests.training.tiny import save_tiny, tiny_tokenizer

IDS = torch.arange(3, 60).reshape(3, 19)
KINDS = {
    "lora": {},
    "dora": {"dora": True},
    "copies": {"modules_to_save": ["norm", "embed_tokens"]},
    "a weight": {"target": "v_proj", "target_parameters": ["q_proj.weight"]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge")
    save_tiny(folder / "base")
    save_tiny(folder / "tied", tie_word_embeddings=True)
    save_tiny(folder / "half", dtype=torch.bfloat16)
    return folder


def moved(model, place):
    """An adapter whose weights are all moved, saved; the logits that it has on its base."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn(p.shape, generator=draw).to(p))
        logits = model.eval()(IDS).logits
    with quiet_peft():
        model.save_pretrained(place, save_embedding_layers=False)
    return logits


def adapter(folder, place, base="base", dtype="float32", **how):
    how = {"target": "all-linear"} | how
    return moved(new_adapter(load_model(folder / base, dtype=dtype), 4, 8.0, how.pop("target"), **how), place)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_the_merged_model(folder, tmp_path, kind):
    logits = adapter(folder, tmp_path / "a", **KINDS[kind])
    found = hf.AutoModelForCausalLM.from_pretrained(merge(tmp_path / "a", tmp_path / "out"))
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    with torch.no_grad():
        assert (found.eval()(IDS).logits - logits).abs().max() < 1e-5
        base = hf.AutoModelForCausalLM.from_pretrained(folder / "base").eval()(IDS).logits
    assert (base - logits).abs().max() > 0.1
    assert hf.AutoTokenizer.from_pretrained(tmp_path / "out").chat_template


@pytest.mark.parametrize("part", ["lm_head", "embed_tokens", "copy of the head", "none"])
def test_head_and_embeddings_are_parted_where_one_of_them_is_trained(folder, tmp_path, part):
    model = load_model(folder / "tied", dtype="float32")
    how = {"target_modules": ["q_proj", part]} if "_" in part else {"target_modules": ["q_proj"]}
    if part == "copy of the head":
        how["modules_to_save"] = ["lm_head"]
    with quiet_peft():
        logits = moved(
            peft.get_peft_model(model, peft.LoraConfig(r=2, task_type="CAUSAL_LM", **how)), tmp_path / "a"
        )
    found = hf.AutoModelForCausalLM.from_pretrained(merge(tmp_path / "a", tmp_path / "out")).eval()
    with torch.no_grad():
        assert (found(IDS).logits - logits).abs().max() < 1e-5
    assert found.config.tie_word_embeddings == (part == "none")


def test_without_parting_them_the_merge_is_refused(folder, tmp_path, monkeypatch):
    model = load_model(folder / "tied", dtype="float32")
    config = peft.LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj", "lm_head"])
    with quiet_peft():
        moved(peft.get_peft_model(model, config), tmp_path / "a")
    monkeypatch.setattr(module, "_part", lambda adapted: None)
    with pytest.raises(InputError, match=r"changes logits by up to .* of their standard deviation"):
        merge(tmp_path / "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_precision_of_the_base_is_kept_and_rounded_once(folder, tmp_path, dtype):
    if dtype == "float16":
        save_tiny(tmp_path / "base", dtype=torch.float16)
    base = tmp_path / "base" if dtype == "float16" else folder / "half"
    adapter(folder, tmp_path / "a", base=base, dtype="float32" if dtype == "float16" else dtype)
    out = load_file(merge(tmp_path / "a", tmp_path / "out") / "model.safetensors")
    weights, low = (
        load_file(base / "model.safetensors"),
        load_file(tmp_path / "a" / "adapter_model.safetensors"),
    )
    assert {t.dtype for t in out.values()} == {getattr(torch, dtype)}
    name = "model.layers.0.mlp.up_proj"
    a, b = (low[f"base_model.model.{name}.lora_{x}.weight"].double() for x in "AB")
    exact = (weights[f"{name}.weight"].double() + 2 * b @ a).to(getattr(torch, dtype))
    assert (
        out[f"{name}.weight"] == exact
    ).float().mean() > 0.999  # a tie of float32 sums may round otherwise


def test_what_is_refused(folder, tmp_path, monkeypatch):
    adapter(folder, tmp_path / "a")
    with pytest.raises(InputError, match=r"holds no adapter_config.json, so it is no adapter"):
        merge(folder / "base", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt and is no merge of this adapter"):
        merge(tmp_path / "a", tmp_path / "full")
    with pytest.raises(InputError, match=r"holds .* and is no merge of this adapter"):
        merge(tmp_path / "a", tmp_path / "a")
    with pytest.raises(InputError, match=r"is a file: name a folder"):
        merge(tmp_path / "a", tmp_path / "full" / "notes.txt")
    with pytest.raises(InputError, match=r"is no folder, or not yours"):
        merge(tmp_path / "a", tmp_path / "full" / "notes.txt" / "out")
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"
    with monkeypatch.context() as patch:
        patch.setattr(module, "load_model", lambda *args, **kwargs: pytest.fail("the model was loaded"))
        for base, words in (
            ("/nowhere/base", "there is no folder '/nowhere/base'"),
            ("some/where", "cannot be found"),
        ):
            path = tmp_path / "a" / "adapter_config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": base}))
            with pytest.raises(InputError, match=f"{words}.*it is the base that .* names"):
                merge(tmp_path / "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_merge_is_made_anew_and_a_full_disk_leaves_it(folder, tmp_path, monkeypatch):
    adapter(folder, tmp_path / "a")
    merge(tmp_path / "a", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name[0] != "."}
    (tmp_path / "out" / "model.safetensors").write_bytes(b"")
    merge(tmp_path / "a", tmp_path / "out")
    after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name[0] != "."}
    assert after == before

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hf.LlamaForCausalLM, "save_pretrained", full)
    with pytest.raises(
        InputError, match=r"cannot be written: the disk is full; .* run the same command again$"
    ):
        merge(tmp_path / "a", tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before["model.safetensors"]


def test_weights_that_are_not_finite(folder, tmp_path):
    adapter(folder, tmp_path / "a")
    file = tmp_path / "a" / "adapter_model.safetensors"
    save_file({name: t * float("nan") for name, t in load_file(file).items()}, file)
    with pytest.raises(InputError, match=r"not finite|cannot be merged"):
        merge(tmp_path / "a", tmp_path / "out")


def test_evaluation_finds_the_reference(folder, tmp_path):
    """The same numbers from the adapter, from the merged model, and from one whose reference is given."""
    made = recipe(tmp_path, "run", lora_rank=4, learning_rate=2e-2)
    write_pairs(tmp_path / "held.jsonl", seed=1)
    adapted = train(made, progress=False).model
    merge(adapted, tmp_path / "merged")

    def of(model, **how):
        found = evaluate(str(model), str(tmp_path / "held.jsonl"), dtype="float32", resamples=2, **how)
        return found.table.set_index("metric").value["rewards/margins"]

    beside, merged = of(adapted), of(tmp_path / "merged")
    assert abs(beside) > 0.01
    torch.testing.assert_close(merged, beside, rtol=1e-3, atol=1e-4)
    assert merged == of(tmp_path / "merged", reference=str(tmp_path / "model"))

    stands = recipe(tmp_path, "on", model=str(adapted), adapter_reference="adapter", learning_rate=1e-2)
    further = train(stands, progress=False).model
    assert of(further) == of(further, reference=str(adapted))
    assert of(further) != of(further, reference=str(tmp_path / "model"))
    (tmp_path / "prompts.csv").write_text("prompt\nis tea good?\n")
    how = {"max_new_tokens": 4, "dtype": "float32"}
    drawn = [
        generate(str(further), tmp_path / "prompts.csv", **how, **given).rows[0]
        for given in ({}, {"reference": str(adapted)}, {"reference": str(tmp_path / "model")})
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    whole = train(recipe(tmp_path, "whole", learning_rate=1e-3), progress=False).model
    assert of(whole) == of(whole, reference=str(tmp_path / "model"))

    shutil.copytree(tmp_path / "model", tmp_path / "kept")
    save_tiny(tmp_path / "model", seed=5)  # the reference is changed under its name
    with pytest.raises(InputError, match=r"has other weights than the reference that the card names"):
        of(whole)
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(InputError, match=r"names the reference .*, which is not there: give --reference"):
        of(whole)
    shutil.move(tmp_path / "kept", tmp_path / "model")
    weights = adapted / "adapter_model.safetensors"
    save_file({name: 1.1 * t for name, t in load_file(weights).items()}, weights)
    with pytest.raises(InputError, match=r"names as its reference, was changed since"):
        of(further)
    (whole / "README.md").write_text("---\nbase_model: some/where\ntags:\n- trl\n---\n")
    with pytest.raises(
        InputError, match=r"holds no card of distalign, so its reference is not known: give --ref"
    ):
        of(whole)


def test_the_command(folder, tmp_path, run):
    adapter(folder, tmp_path / "a")
    found = run("merge", tmp_path / "a", "--out", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    assert "merged into its base" in found.stderr
    assert run("merge", folder / "base", "--out", tmp_path / "other").returncode == 2
    assert tiny_tokenizer().vocab_size == hf.AutoTokenizer.from_pretrained(tmp_path / "out").vocab_size
