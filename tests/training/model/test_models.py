"""Models and tokenizers from folders, adapters, digests; a sentence for each thing that cannot be loaded."""

import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaModel, T5Config, T5ForConditionalGeneration

from distalign.checks import InputError
from distalign.training.model.adapters import add_lora
from distalign.training.model.load import load_model, load_tokenizer, weights_digest
from tests.training.tiny import save_tiny, tiny_llama, tiny_tokenizer

TOKENS = torch.arange(3, 19).reshape(2, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def test_a_saved_model_comes_back(folder):
    model, tokenizer = load_model(folder, dtype="float32"), load_tokenizer(folder)
    assert torch.equal(model(TOKENS).logits, tiny_llama()(TOKENS).logits)
    assert tokenizer("the tea")["input_ids"] == tiny_tokenizer()("the tea")["input_ids"]
    assert load_model(folder).dtype == torch.bfloat16
    assert load_model(folder, attn_implementation="eager").config._attn_implementation == "eager"


def test_a_tokenizer_without_padding_pads_with_its_end(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert load_tokenizer(tmp_path).pad_token == tokenizer.eos_token


def test_no_dropout_in_training_mode(tmp_path):
    config = GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=64, attn_pdrop=0.3, resid_pdrop=0.3
    )
    noisy = GPT2LMHeadModel(config).train()
    assert not torch.equal(noisy(TOKENS).logits, noisy(TOKENS).logits)  # so the equality below is not empty
    noisy.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype="float32")
    assert model.training
    assert torch.equal(model(TOKENS).logits, model(TOKENS).logits)
    assert torch.equal(model(TOKENS).logits, model.eval()(TOKENS).logits)


def test_no_dropout_inside_attention(tmp_path):
    noisy = tiny_llama(attention_dropout=0.5).train()  # a number in the config, not a module
    assert not torch.equal(noisy(TOKENS).logits, noisy(TOKENS).logits)
    model = load_model(save_tiny(tmp_path, attention_dropout=0.5), dtype="float32")
    assert model.training
    assert torch.equal(model(TOKENS).logits, model(TOKENS).logits)


# -- what cannot be loaded --


def test_places_without_a_model(tmp_path, folder):
    file = folder / "config.json"
    for name, sentence in (
        (tmp_path, "holds no config.json"),
        (tmp_path / "none", "there is no folder"),
        (file, "is a file"),
        ("a/b/c", "there is no folder"),
        ("./none", "there is no folder"),
        ("", "there is no folder"),
    ):
        for load in (load_model, load_tokenizer):
            with pytest.raises(InputError, match=sentence):
                load(name)
    for load, what in ((load_model, "the model"), (load_tokenizer, "the tokenizer")):
        with pytest.raises(
            InputError, match=f"{what} distalign-tests/none cannot be loaded: .*HF_HUB_OFFLINE"
        ):
            load("distalign-tests/none")
    file = tmp_path / "config.json"
    file.write_text('{"model_type": "unheard-of"}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"cannot be loaded: .*unheard-of"):
        load_model(tmp_path)


def test_models_without_a_head(tmp_path):
    LlamaModel(tiny_llama().config).save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match="was saved as LlamaModel, which has no causal language-model head"):
        load_model(tmp_path / "base")
    small = T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(small).save_pretrained(tmp_path / "t5")
    with pytest.raises(InputError, match="was saved as T5ForConditionalGeneration, which has no causal"):
        load_model(tmp_path / "t5")


def test_incomplete_weights_are_refused(tmp_path):
    folder = save_tiny(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 weights of its model, lm_head.weight among them"):
        load_model(folder)


def test_pickles_are_refused(tmp_path):
    folder = save_tiny(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"holds only pytorch_model.bin, a pickle"):
        load_model(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="holds no weights"):
        load_model(folder)


def test_remote_code_is_not_run_unasked(tmp_path):
    folder = save_tiny(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": classes}))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(InputError, match=r"comes with code of its own.*trust_remote_code"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_bad_options(folder, monkeypatch):
    with pytest.raises(InputError, match=r"dtype must be one of 'bfloat16'"):
        load_model(folder, dtype="int8")
    with pytest.raises(InputError, match=r"cannot be loaded: .*attn"):
        load_model(folder, attn_implementation="nonsense")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)
    )
    with pytest.raises(InputError, match=r"pip install 'distalign\[qlora\]'"):
        load_model(folder, load_in_4bit=True)


# -- adapters and digests --


def test_adapters_start_as_nothing_and_leave_the_head_alone(folder):
    model = load_model(folder, dtype="float32")
    before = model(TOKENS).logits
    adapted = add_lora(model, 4, 8.0)
    assert torch.equal(adapted(TOKENS).logits, before)
    learning = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert len(learning) == 2 * 2 * 7  # A and B, layers, linear layers in each
    assert all("lora_" in name and "lm_head" not in name for name in learning)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("lm_head", "'lm_head' is the language-model head"),
        ("q_proj, lm_head", "'lm_head' is the language-model head"),
        ("embed_tokens", "'embed_tokens' is the embeddings"),
        ("model.embed_tokens", "'model.embed_tokens' is the embeddings"),
        ("q_prj", "no layer is named 'q_prj': did you mean q_proj"),
    ],
)
def test_bad_adapter_targets(target, sentence):
    with pytest.raises(InputError, match=sentence):
        add_lora(tiny_llama(), 4, 8.0, target)


def test_bad_adapter_sizes():
    for rank, alpha, name in ((0, 8.0, "lora_rank"), (4, 0.0, "lora_alpha")):
        with pytest.raises(InputError, match=name):
            add_lora(tiny_llama(), rank, alpha)
    assert add_lora(tiny_llama(), 2, 4.0, "q_proj,v_proj").peft_config["default"].r == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [False, True])
def test_the_digest_is_that_of_the_weights(dtype, tied):
    model = tiny_llama(dtype=dtype, tie_word_embeddings=tied)
    digest = weights_digest(model)
    assert weights_digest(tiny_llama(dtype=dtype, tie_word_embeddings=tied)) == digest
    assert weights_digest(tiny_llama(seed=1, dtype=dtype, tie_word_embeddings=tied)) != digest
    assert weights_digest(tiny_llama(dtype=torch.float64, tie_word_embeddings=tied)) != digest
    adapted = add_lora(model, 2, 4.0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(1.0)
    assert weights_digest(adapted) == digest
    with torch.no_grad():
        next(parameter for name, parameter in adapted.named_parameters() if "lora_" not in name).view(-1)[
            7
        ] += 1.0
    assert weights_digest(adapted) != digest


def test_the_digest_names_its_tensors():
    one, two = ({"a": torch.zeros(2, 3)}, {"a": torch.zeros(3, 2)})
    modules = [torch.nn.ParameterDict(tensors) for tensors in (one, two, {"b": torch.zeros(2, 3)})]
    assert len({weights_digest(module) for module in modules}) == 3


def test_four_bits_by_bitsandbytes(tmp_path):
    pytest.importorskip("bitsandbytes")
    folder = save_tiny(tmp_path, hidden_size=64, intermediate_size=128)
    model = add_lora(load_model(folder, load_in_4bit=True), 4, 8.0)
    digest = weights_digest(model)
    scores = model(TOKENS).logits
    assert torch.isfinite(scores).all()
    scores.float().square().mean().backward()
    assert (
        sum(parameter.grad.abs().sum() for name, parameter in model.named_parameters() if "lora_B" in name)
        > 0
    )
    assert weights_digest(model) == digest  # running it has not repacked the weights
    with torch.no_grad():
        assert torch.equal(model(TOKENS).logits, scores)
    loose, exact = (
        load_model(folder, dtype="float32", load_in_4bit=four)(TOKENS).logits for four in (True, False)
    )
    assert 0 < (loose - exact).std() < exact.std()
