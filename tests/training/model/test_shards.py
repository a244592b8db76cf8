"""A model read row by row into its shards is the model that was read whole: weights, buffers, adapters, what
the probes find, scores. In one process, whose shards are the whole; two processes are in
tests/training/test_two_processes.py.
"""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import transformers as hf
from safetensors.torch import load_file, save_file

from distalign.training import prepare
from distalign.training.data.rows import TokenRow
from distalign.training.model import shards
from distalign.training.model.digests import known_digest
from distalign.training.model.load import load_model, weights_digest
from distalign.training.parallel import World, shard_rows, whole
from tests.training.data_for_tests import recipe
from tests.training.tiny import save_tiny, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out")  # peft, of GPT-2's layers
ALONE = World(0, 1, torch.device("cpu"))
SIZES = {
    "vocab_size": 320,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": lambda: hf.LlamaConfig(**SIZES),
    "qwen2 tied": lambda: hf.Qwen2Config(**SIZES, tie_word_embeddings=True),
    "mistral": lambda: hf.MistralConfig(**SIZES, sliding_window=40),
    "gemma2": lambda: hf.Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=2.0),
    "granite": lambda: hf.GraniteConfig(**SIZES, logits_scaling=3.0),
    "gpt2": lambda: hf.GPT2Config(vocab_size=320, n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "phi3 longrope": lambda: hf.Phi3Config(
        **SIZES,
        original_max_position_embeddings=16,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [4.0] * 4,
            "original_max_position_embeddings": 16,
        },
    ),
    "bloom": lambda: hf.BloomConfig(vocab_size=320, hidden_size=16, n_layer=2, n_head=2),
    "llama3 rope": lambda: hf.LlamaConfig(
        **SIZES,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
}


@pytest.fixture(scope="module", autouse=True)
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def saved(folder, config, dtype=torch.float32, **options):
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(config).to(dtype)
    for parameter in model.parameters():  # nothing stays at 0 or 1, as biases and norms do
        parameter.data += 0.01 * torch.randn_like(parameter)
    model.save_pretrained(folder, **options)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def both(one):
    """(model, scorer, digest) read whole, and read row by row."""
    said = []
    return (
        prepare.policy_of(replace(one, parallel="ddp"), ALONE, said.append),
        prepare._shared_out(replace(one, reference_cache=one.reference_cache + "2"), ALONE, said.append),
    )


def state(model):
    """Every weight and buffer, those that are not saved, too."""
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    return {name: whole(tensor.detach()) for name, tensor in tensors.items()}


def assert_same(first, second):
    first, second = state(first), state(second)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype or {tensor.dtype, second[name].dtype} == {
            torch.float32,
            torch.bfloat16,
        }
        assert torch.equal(tensor.float(), second[name].float()), name


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_model_as_one_read_whole(tmp_path, family, rank):
    saved(tmp_path / "model", FAMILIES[family]())
    (model, scorer, digest), (sharded, of_shards, its_digest) = both(recipe(tmp_path, lora_rank=rank))
    assert_same(model, sharded)
    assert digest == its_digest
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == [name for name, p in sharded.named_parameters() if p.requires_grad]
    for name in ("share_prompt", "why_apart", "shared_up_to", "logit_map", "classes", "_backbone"):
        assert getattr(scorer, name) == getattr(of_shards, name), name
    head, embeddings = (sharded.get_output_embeddings().weight, sharded.get_input_embeddings().weight)
    assert (head is embeddings) == (family in ("qwen2 tied", "gemma2", "gpt2", "bloom"))
    assert sharded.generation_config.to_dict() == model.generation_config.to_dict()
    assert sharded.config.to_dict() == model.config.to_dict()
    laid = scorer.layout([TokenRow((5, 6, 7), ((8, 9), (10, 11, 12))), TokenRow((3,), ((4, 5),))])
    with torch.no_grad():
        assert torch.equal(scorer(laid), of_shards(laid))


@pytest.mark.parametrize("rank", [0, 4])
def test_in_half_precision_and_in_several_files(tmp_path, rank):
    """Trained weights are float32 shards of the same values, and score the same bits."""
    saved(tmp_path / "model", FAMILIES["qwen2 tied"](), max_shard_size="20KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) == 2
    one = recipe(tmp_path, dtype="bfloat16", lora_rank=rank)
    (model, scorer, digest), (sharded, of_shards, its_digest) = both(one)
    assert_same(model, sharded)
    kinds = {p.dtype for p in sharded.parameters() if p.requires_grad}
    assert kinds == {torch.float32}
    assert digest == its_digest
    laid = scorer.layout([TokenRow((5, 6, 7), ((8, 9), (10, 11, 12)))])
    with torch.no_grad():
        assert torch.equal(scorer(laid), of_shards(laid))


def test_a_wrong_row_is_seen(tmp_path, monkeypatch):
    """The planted defect: rows are read one too low."""
    saved(tmp_path / "model", FAMILIES["llama"]())
    rows = shards.Stored.rows
    monkeypatch.setattr(
        shards.Stored, "rows", lambda self, name, a=0, b=None: rows(self, name, a, b).roll(1, 0)
    )
    (model, _, digest), (sharded, _, its_digest) = both(recipe(tmp_path))
    assert digest != its_digest
    with pytest.raises(AssertionError):
        assert_same(model, sharded)


def test_adapters_drawn_on_meta_would_be_lost(tmp_path, monkeypatch):
    """The planted defect: adapters are added to parameters of `meta`."""
    monkeypatch.setattr("distalign.training.prepare.weightless", lambda model: prepare.nullcontext())
    with pytest.raises((AssertionError, KeyError)):
        test_the_same_model_as_one_read_whole(tmp_path, "llama", 4)


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def reshape(folder):
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"][:-1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def rename(folder):
    weights = load_file(folder / "model.safetensors")
    weights["norm.weight"] = weights.pop("model.norm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def tie(folder):
    weights = load_file(folder / "model.safetensors")
    save_file(
        weights | {"lm_head.weight": weights["model.embed_tokens.weight"] + 1}, folder / "model.safetensors"
    )


def to_bin(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("family", "spoil", "why"),
    [
        (
            "llama",
            lambda f: change_config(f, quantization_config={"quant_method": "bitsandbytes"}),
            "quantised",
        ),
        ("llama", to_bin, "no model.safetensors"),
        ("llama", rename, "not among the saved"),
        ("llama", reshape, r"norm.weight has shape \[15\] there, \[16\]"),
        ("qwen2 tied", tie, "tied, are both saved"),
        ("llama", lambda f: (f / "model.safetensors").write_bytes(b"123"), "cannot be read"),
        ("llama", lambda f: change_config(f, num_attention_heads=0), "cannot be built"),
    ],
)
def test_what_cannot_be_read_row_by_row_is_said(tmp_path, family, spoil, why):
    spoil(saved(tmp_path / "model", FAMILIES[family]()))
    with pytest.raises(shards.Whole, match=why):
        shards.empty_model(tmp_path / "model", dtype="float32", attn_implementation="sdpa")


def test_converted_weights_are_read_whole(tmp_path):
    sizes = SIZES | {"num_local_experts": 2}
    saved(tmp_path / "model", hf.MixtralConfig(**sizes))
    with pytest.raises(shards.Whole, match="converts the weights"):
        shards.empty_model(tmp_path / "model", dtype="float32", attn_implementation="sdpa")


def test_a_model_without_sdpa_is_read_whole(tmp_path):
    saved(tmp_path / "model", hf.BloomConfig(vocab_size=320, hidden_size=16, n_layer=2, n_head=2))
    with pytest.raises(shards.Whole, match="cannot be built"):
        shards.empty_model(tmp_path / "model", dtype="float32", attn_implementation="nonsense")


def test_rows_of_every_process_make_the_whole():
    for n in range(12):
        for size in range(1, 6):
            parts = torch.arange(n).chunk(size) if n else ()
            wanted = [part.tolist() for part in parts] + [[]] * (size - len(parts))
            assert [list(range(*shard_rows(n, rank, size))) for rank in range(size)] == wanted


# -- the digest --


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_digest_of_files_is_that_of_the_model(tmp_path, monkeypatch, dtype, tied):
    monkeypatch.setattr(shards, "_BLOCK", 100)  # several blocks a weight
    folder = save_tiny(tmp_path / "model", tie_word_embeddings=tied)
    model, stored = shards.empty_model(folder, dtype=dtype, attn_implementation="sdpa")
    assert shards.stored_digest(model, stored) == weights_digest(load_model(folder, dtype=dtype))


def test_a_digest_is_computed_once_for_each_state_of_the_files(tmp_path):
    folder, asked = save_tiny(tmp_path / "model"), []

    def digest(dtype="float32", name=folder):
        def compute():
            asked.append(dtype)
            return weights_digest(load_model(name, dtype=dtype))

        return known_digest(tmp_path / "reference", name, {"dtype": dtype}, compute, ALONE)

    first = digest()
    assert digest() == first == weights_digest(load_model(folder, dtype="float32"))
    assert len(asked) == 1
    assert digest("bfloat16") != first
    assert digest() == first
    assert len(asked) == 2
    os.utime(folder / "model.safetensors", ns=(1, 1))  # another time of change: it is looked at again
    assert digest() == first
    assert len(asked) == 3
    save_tiny(folder, seed=1)
    assert digest() != first
    shutil.copytree(folder, tmp_path / "copy")
    digest(name=tmp_path / "copy")
    assert len(asked) == 5
    (tmp_path / "reference/weights.json").write_text("{")  # damaged: made anew
    digest()
    assert len(asked) == 6
    assert digest() != first
    assert len(asked) == 6
