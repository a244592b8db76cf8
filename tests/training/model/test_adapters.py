"""Adapters of every kind: exact gradients, a start as nothing, and going on with one that was saved."""

import json
import shutil
from dataclasses import replace

import peft
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

from distalign.checks import InputError
from distalign.preferences import PreferenceLogProbs
from distalign.progress import Voice
from distalign.training import prepare
from distalign.training.loop import train
from distalign.training.model.adapters import new_adapter, quiet_peft
from distalign.training.model.load import load_model
from distalign.training.model.saved_adapter import put_on, saved_adapter
from distalign.training.parallel import World
from tests.training.data_for_tests import recipe
from tests.training.tiny import tiny_llama, tiny_tokenizer

ALONE = World(0, 1, torch.device("cpu"))
KINDS = {
    "lora": {},
    "dora": {"use_dora": True},
    "copies": {"lora_modules_to_save": "norm, embed_tokens"},
    "dora and copies": {"use_dora": True, "lora_modules_to_save": "input_layernorm"},
    "a weight": {"lora_target": "v_proj", "lora_target_parameters": "q_proj.weight"},
    "experts": {
        "model": "experts",
        "lora_target": "q_proj",
        "lora_target_parameters": "experts.gate_up_proj, experts.down_proj",
    },
    "dora from a folder": {"model": "dora", "adapter_reference": "base", "lora_rank": 0},
    "copies from a folder": {"model": "copies", "adapter_reference": "adapter", "lora_rank": 0},
}
WAYS = {
    "whole": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
    "one by one": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
    "unequal": {"micro_batch_tokens": 96, "max_length": 48},
    "prompts copied": {"share_prompt": False},
    "recomputed": {"gradient_checkpointing": True},
}
LOSSES = {"aot_paired": {"beta": 0.5}, "kldpo": {"beta": 0.5, "temperature": 0.3}}


def save_experts(folder):
    config = hf.MixtralConfig(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=3, num_experts_per_tok=2, initializer_range=0.2,
        tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    hf.MixtralForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, one with experts, and adapters that were trained for three updates."""
    folder = tmp_path_factory.mktemp("adapters")
    recipe(folder)
    save_experts(folder / "experts")
    for kind in ("lora", "dora", "copies"):
        found = train(
            recipe(folder, f"run/{kind}", lora_rank=4, learning_rate=2e-2, **KINDS[kind]), progress=False
        )
        shutil.copytree(found.model, folder / kind)
    return folder


def of_kind(folder, kind, **changes):
    values = {"lora_rank": 4} | KINDS[kind] | changes
    if "model" in values:
        values["model"] = str(folder / values["model"])
    return recipe(folder, **{"reference_cache": str(folder / f"cache {kind}")} | values)


def prepared(recipe):
    return prepare.prepare(recipe, ALONE, Voice(heard=False), False)


def moved(run, by=0.05):
    """The run with all that it trains moved from its start."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in run.optimiser.parameters.values():
            p.add_(by * torch.randn(p.shape, generator=draw))
    return run


def gradient(run):
    result = run.backward(run.training.batches.shares(0)[0])
    flat = torch.cat([g.flatten() for g in run.optimiser.gradients()])
    run.optimiser.forget()
    return result, flat


def by_transformers(run):
    """Loss and gradient of the global batch in one graph, from the logits of peft's own forward pass."""
    data, model = run.training.data, run.model

    def log_prob(prompt, response):
        ids = torch.tensor([*prompt, *response])
        logits = model(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1].float()
        return logits.log_softmax(-1).gather(1, ids[len(prompt) :, None]).sum()

    batch = run.training.batches.global_batch(0)
    pairs = [data.examples[i] for i in batch]
    scores = [torch.stack([log_prob(e.prompt, s) for e in pairs for s in [getattr(e, side)]])
              for side in ("chosen", "rejected")]  # fmt: skip
    table = run.training.reference[list(batch)]
    loss = run.objective(PreferenceLogProbs(*scores, table[:, 0], table[:, 1]))
    loss.backward()
    found = torch.cat([p.grad.flatten() for p in run.optimiser.parameters.values()])
    for p in run.optimiser.parameters.values():
        p.grad = None
    return loss.detach(), found


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_global_batch(folder, kind, name):
    """Whatever the micro-batch, and as autograd of the whole batch through peft's own pass has it."""
    base = of_kind(folder, kind, objective=name, objective_options=LOSSES[name])
    value, exact = by_transformers(moved(prepared(base)))
    assert exact.norm() > 1e-2
    for changes in WAYS.values():
        result, found = gradient(moved(prepared(replace(base, **changes))))
        torch.testing.assert_close(result.loss, value, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found, exact, rtol=2e-4, atol=2e-4 * float(exact.abs().max()))


def test_with_dropout_it_would_not_be(folder, monkeypatch):
    """What the refusal of lora_dropout is for: two passes over the same rows have other scores."""
    monkeypatch.setattr("distalign.training.model.scorer.without_dropout", lambda model: None)
    run = moved(prepared(of_kind(folder, "lora", objective="aot_paired", objective_options={"beta": 0.5})))
    _, exact = by_transformers(run)
    for module in run.model.modules():
        if hasattr(module, "lora_dropout") and hasattr(module, "lora_A"):
            module.lora_dropout["default"] = torch.nn.Dropout(0.1)
    run.model.train()
    first, second = gradient(run)[1], gradient(run)[1]
    assert (first - second).norm() > 1e-2 * exact.norm()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "folder" not in kind])
def test_it_starts_as_nothing(folder, kind, dtype):
    run = prepared(of_kind(folder, kind, dtype=dtype, reference_cache=str(folder / f"{kind} {dtype}")))
    result, _ = gradient(run)
    assert torch.equal(result.batch.chosen, result.batch.ref_chosen)
    assert torch.equal(result.batch.rejected, result.batch.ref_rejected)


def test_norms_of_half_precision_would_start_elsewhere(folder, monkeypatch):
    monkeypatch.setattr("distalign.training.model.adapters._set_norms", lambda adapted: None)
    run = prepared(of_kind(folder, "dora", dtype="bfloat16", reference_cache=str(folder / "rounded")))
    result, _ = gradient(run)
    assert not torch.equal(result.batch.chosen, result.batch.ref_chosen)


# -- going on --


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["lora", "dora", "copies"])
def test_a_saved_adapter_is_put_on_to_the_bit(folder, kind, dtype):
    adapter = saved_adapter(folder / kind)
    model = put_on(load_model(adapter.base, dtype=dtype), adapter, trained=True)
    state, file = (
        peft.get_peft_model_state_dict(model),
        load_file(folder / kind / "adapter_model.safetensors"),
    )
    assert state.keys() == file.keys()
    for name, tensor in file.items():
        assert torch.equal(state[name], tensor.to(state[name].dtype)), name
        assert state[name].dtype == (torch.float32 if "lora_" in name else getattr(torch, dtype))
    learning = sorted(name for name, p in model.named_parameters() if p.requires_grad)
    assert len(learning) == len(file)


def test_which_reference_it_is(folder):
    """base: log-ratios of the trained adapter to its base; adapter: all of them 0 at first."""
    before = prepared(of_kind(folder, "lora"))  # untrained: the base
    base = prepared(of_kind(folder, "lora", model="lora", adapter_reference="base", lora_rank=0))
    stands = prepared(of_kind(folder, "lora", model="lora", adapter_reference="adapter", lora_rank=0))
    torch.testing.assert_close(base.training.reference, before.training.reference, rtol=0, atol=1e-5)
    assert (stands.training.reference - before.training.reference).abs().max() > 0.1
    at_base, at_itself = gradient(base)[0].batch, gradient(stands)[0].batch
    assert torch.equal(at_itself.chosen, at_itself.ref_chosen)
    assert (at_base.chosen - at_base.ref_chosen).abs().max() > 0.1
    torch.testing.assert_close(at_base.chosen, at_itself.chosen)
    assert base.weights == stands.weights != before.weights


def test_a_run_goes_on_to_the_same_bits(folder, monkeypatch):
    """Killed after two of four updates, and started again."""
    how = {"model": str(folder / "dora"), "adapter_reference": "adapter", "save_steps": 1, "max_steps": 4}
    whole = train(recipe(folder, "whole", learning_rate=1e-2, **how), progress=False)
    from distalign.training import loop

    update, made = loop._update, []

    def killed(run):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(1)
        return update(run)

    monkeypatch.setattr(loop, "_update", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(folder, "killed", learning_rate=1e-2, **how), progress=False)
    monkeypatch.setattr(loop, "_update", update)
    again = train(recipe(folder, "killed", learning_rate=1e-2, **how), progress=False)
    assert again.resumed == 2
    for name in ("model/adapter_model.safetensors", "metrics.csv"):
        assert (whole.output_dir / name).read_bytes() == (again.output_dir / name).read_bytes()
    config = json.loads((whole.model / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(folder / "model")
    with pytest.raises(
        InputError, match="belongs to another run: adapter_reference was 'adapter', now 'base'"
    ):
        train(recipe(folder, "killed", learning_rate=1e-2, **how | {"adapter_reference": "base"}))
    with pytest.raises(InputError, match="belongs to another run: the model has other weights"):
        train(recipe(folder, "killed", learning_rate=1e-2, **how | {"model": str(folder / "copies")}))


def test_an_earlier_checkpoint_without_the_keys_is_resumed(folder):
    made = train(recipe(folder, "earlier", save_steps=1, max_steps=2), progress=False)
    for path in made.output_dir.glob("checkpoint-*"):
        state = json.loads((path / "state.json").read_text())
        for name in ("lora_dropout", "use_dora", "lora_modules_to_save", "adapter_reference"):
            del state["recipe"][name]
        from distalign.training.checkpoint import _manifest, _write_json

        _write_json(path / "state.json", state)
        _write_json(path / "manifest.json", _manifest(path))
    assert train(recipe(folder, "earlier", save_steps=1, max_steps=2), progress=False).resumed == 2


# -- what is refused --


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "lora"}, "is an adapter on .*say adapter_reference: base for .* or adapter_ref"),
        ({"model": "lora", "lora_rank": 4}, "has a rank of its own: leave lora_rank out"),
        ({"adapter_reference": "base"}, "holds no adapter_config.json: leave it out"),
        ({"lora_rank": 4, "adapter_reference": "base"}, "leave lora_rank out to go on with it"),
        ({"lora_rank": 4, "lora_dropout": 0.1}, "lora_dropout 0.1 cannot be: .* two passes"),
        ({"use_dora": True}, "use_dora says what a new adapter is like, and none is made"),
        ({"lora_modules_to_save": "norm"}, "set lora_rank, or leave it out"),
        ({"lora_rank": 4, "lora_modules_to_save": " , "}, "names nothing"),
        ({"lora_rank": 4, "lora_modules_to_save": "lm_head"}, "would miss the trained copy"),
        ({"lora_rank": 4, "lora_modules_to_save": "nrm"}, "no module is named 'nrm': did you mean norm"),
        ({"lora_rank": 4, "lora_target_parameters": "q_prj.weight"}, "no parameter's name ends in"),
        ({"lora_rank": 4, "lora_target_parameters": "embed_tokens.weight"}, "weight of the head or of the"),
        ({"lora_rank": 4, "lora_target_parameters": "norm.weight"}, "has 1 axes"),
        (
            {
                "lora_rank": 4,
                "lora_modules_to_save": "self_attn",
                "lora_target": "up_proj",
                "lora_target_parameters": "q_proj.weight",
            },
            "weights have adapters, too",
        ),
        ({"lora_rank": 4, "use_dora": True, "lora_target_parameters": "q_proj.weight"}, "linear layers only"),
        ({"lora_rank": 4, "use_dora": True, "model": "experts"}, "peft cannot make this adapter"),
        ({"model": "model", "output_dir": "."}, "would write its own model to"),
        (
            {
                "model": "lora",
                "adapter_reference": "adapter",
                "objective": "wdpo",
                "objective_options": {"beta": 0.1, "radius": 0.1},
            },
            "say adapter_reference: base, or through: policy",
        ),
    ],
)  # fmt: skip
def test_refused(folder, changes, sentence):
    places = {name: str(folder / changes[name]) for name in ("model", "output_dir") if name in changes}
    with pytest.raises(InputError, match=sentence):
        prepared(recipe(folder, **changes | places))


def test_embeddings_that_are_the_head_are_not_copied():
    tied = tiny_llama(tie_word_embeddings=True)
    with pytest.raises(InputError, match="whose weight is that of the head, too"):
        new_adapter(tied, 4, 8.0, modules_to_save=["embed_tokens"])


def spoilt(folder, tmp_path, **says):
    """The saved adapter with other words in its config."""
    place = tmp_path / "spoilt"
    shutil.copytree(folder / "lora", place)
    config = json.loads((place / "adapter_config.json").read_text())
    (place / "adapter_config.json").write_text(json.dumps(config | says))
    return place


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        ({"bias": "all"}, "sets bias to 'all': it trains biases of the base model, which stay"),
        ({"alora_invocation_tokens": [1, 2]}, "sets alora_invocation_tokens"),
        ({"trainable_token_indices": [1]}, "rows of the embeddings"),
        ({"layer_replication": [[0, 2], [0, 2]]}, "repeats layers"),
        ({"use_qalora": True}, "sets use_qalora to 'True': which is not known here"),
        ({"a_key_of_tomorrow": 3}, "sets a_key_of_tomorrow to '3'"),
        ({"init_lora_weights": "pissa"}, "takes its part out of the weights of the base"),
        ({"peft_type": "IA3"}, "is a IA3: LoRA adapters are known"),
        ({"r": None}, "has no rank r"),
        ({"base_model_name_or_path": None}, "names no base model"),
        ({"base_model_name_or_path": "some/where", "revision": "abc"}, "is of revision abc of some/where"),
        ({"base_model_name_or_path": "/nowhere/at/all"}, "there is no folder '/nowhere/at/all'"),
        ({"target_modules": ["q_proj"]}, "does not fit .*24 weights are not of its config and base"),
        ({"use_dora": True}, "does not fit .*14 weights are not in its file"),
        ({"r": 8}, "does not fit .*size mismatch"),
        ({"target_modules": ["x_proj"]}, "does not fit"),
    ],
)
def test_an_adapter_that_is_not_understood(folder, tmp_path, says, sentence):
    with pytest.raises(InputError, match=sentence):
        prepared(recipe(folder, model=str(spoilt(folder, tmp_path, **says)), adapter_reference="base"))


def test_damaged_files_of_an_adapter(folder, tmp_path):
    for content in ("{", "[1]", "null", ""):
        place = spoilt(folder, tmp_path / str(len(content)))
        (place / "adapter_config.json").write_text(content)
        with pytest.raises(InputError, match="cannot be read"):
            saved_adapter(place)
    place = spoilt(folder, tmp_path / "weights")
    file = place / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        prepared(recipe(folder, model=str(place), adapter_reference="base"))
    file.unlink()
    with pytest.raises(InputError, match=r"holds no adapter_model\.safetensors"):
        saved_adapter(place)


def test_an_adapter_on_head_or_embeddings(folder, tmp_path):
    for name, sentence in (
        ("lm_head", "changes the language-model head"),
        ("embed_tokens", "changes the emb"),
    ):
        config = peft.LoraConfig(r=2, target_modules=[name], task_type="CAUSAL_LM")
        place = tmp_path / name
        model = load_model(folder / "model", dtype="float32")
        with quiet_peft():
            peft.get_peft_model(model, config).save_pretrained(place, save_embedding_layers=False)
        with pytest.raises(InputError, match=sentence):
            prepared(recipe(folder, model=str(place), adapter_reference="base"))


def test_dropout_of_a_saved_adapter_is_off_and_said(folder, tmp_path, caplog):
    place = spoilt(folder, tmp_path, lora_dropout=0.05)
    with caplog.at_level("INFO", "distalign"):
        found = train(recipe(folder, "quiet", model=str(place), adapter_reference="base"), progress=False)
    assert "its lora_dropout 0.05 is off here and in what is saved" in caplog.text
    assert json.loads((found.model / "adapter_config.json").read_text())["lora_dropout"] == 0.0


def test_the_tokenizer_beside_an_adapter_is_the_one_it_was_trained_with(folder, tmp_path):
    from distalign.training.model.policy import tokenizer_of

    place = spoilt(folder, tmp_path)
    own = tiny_tokenizer("{{ messages }} and no more")
    own.save_pretrained(place)
    assert tokenizer_of(str(place)).chat_template == own.chat_template
    own.add_tokens(["<one more>"] * 1)
    own.add_tokens([f"<{i}>" for i in range(40)])
    own.save_pretrained(place)
    with pytest.raises(InputError, match=r"tokens and the model embeddings of 320: tokens were added"):
        prepared(recipe(folder, model=str(place), adapter_reference="base"))
