"""What of a model is left out, or cannot be shared, is said before training: whole runs of tiny models."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

with warnings.catch_warnings():  # third-party deprecations at import are not this test's concern
    warnings.simplefilter("ignore")
    import transformers as hf

from distalign.checks import InputError
from distalign.training import loop
from distalign.training.memory.geometry import of_config
from distalign.training.model.adapters import add_lora
from distalign.training.model.experts import check_router, experts_without_adapter
from distalign.training.model.load import weights_digest
from tests.training.data_for_tests import recipe
from tests.training.tiny import tiny_tokenizer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing"
)  # peft asks transformers by an old name
SIZES = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


def saved(folder, config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf.AutoModelForCausalLM.from_config(config).float().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    return folder


def mixture(**changes):
    return hf.Qwen3MoeConfig(**(SIZES | EXPERTS | changes))


def test_a_load_balancing_loss_is_refused(tmp_path):
    saved(tmp_path, mixture(output_router_logits=True))
    with pytest.raises(InputError, match="output_router_logits is set in the config of qwen3_moe"):
        loop.train(recipe(tmp_path), progress=False)
    assert not (tmp_path / "out" / "model").exists()
    check_router(hf.AutoModelForCausalLM.from_config(mixture()))


def test_experts_that_get_no_adapter_are_named(tmp_path, capsys):
    config = hf.GptOssConfig(**SIZES, num_local_experts=6, num_experts_per_tok=2, sliding_window=6)
    saved(tmp_path, config)
    loop.train(recipe(tmp_path, lora_rank=2, max_steps=1))
    line = next(s for s in capsys.readouterr().err.splitlines() if "adapters:" in s)
    assert "4 weights of experts (down_proj, gate_up_proj; " in line
    reached = hf.AutoModelForCausalLM.from_config(mixture())
    digest = weights_digest(reached)
    adapted = add_lora(reached, 2, 4.0)  # peft wraps these experts
    assert experts_without_adapter(adapted) is None
    assert weights_digest(adapted) == digest
    dense = add_lora(hf.AutoModelForCausalLM.from_config(hf.LlamaConfig(**SIZES)), 2, 4.0)
    assert experts_without_adapter(dense) is None


@pytest.mark.parametrize("shared", [0, 32])
def test_the_plan_counts_experts(shared):
    """Qwen2-MoE has a shared expert beside six of which a token meets two; the counts are of its modules."""
    changes = {"shared_expert_intermediate_size": shared} if shared else {}
    kind = hf.Qwen2MoeConfig if shared else hf.Qwen3MoeConfig
    sizes = {k: v for k, v in SIZES.items() if k != "head_dim" or not shared}
    config = kind(**(sizes | EXPERTS | changes))
    with torch.device("meta"):
        model = hf.AutoModelForCausalLM.from_config(config)
    found = of_config(config.to_dict())
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.intermediate == 2 * 16 + shared
    experts = 2 * 6 * 3 * 32 * 16  # layers, experts, three matrices
    attention = 2 * (2 * 32 * 32 + 2 * 32 * 16)
    routers = 2 * 6 * 32
    extra = 2 * (3 * 32 * shared + 32) if shared else 0  # the shared expert and its gate
    wanted = attention + experts // 3 + extra
    assert found.active in (wanted, wanted + routers)  # a router is a linear layer or a bare parameter
    adapted = add_lora(model, 4, 8.0)
    assert found.adapters(4) == sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)


def test_a_model_that_cannot_share_prompts_trains_as_if_told_so(tmp_path, capsys):
    sizes = {"vocab_size": 320, "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}
    saved(tmp_path, hf.BloomConfig(**sizes, bos_token_id=1, eos_token_id=2, pad_token_id=0))
    options = {"max_steps": 2, "micro_batch_tokens": 2048}
    loop.train(recipe(tmp_path, "auto", **options))
    said = capsys.readouterr().err
    assert "prompts: computed anew for each response, for BloomForCausalLM cannot share one: " in said
    loop.train(recipe(tmp_path, "apart", share_prompt=False, **options))
    assert "prompts:" not in capsys.readouterr().err
    auto, apart = (load_file(tmp_path / out / "model" / "model.safetensors") for out in ("auto", "apart"))
    assert all(torch.equal(auto[name], apart[name]) for name in apart)
    with pytest.raises(InputError, match="BloomForCausalLM cannot share a prompt"):
        loop.train(recipe(tmp_path, "shared", share_prompt=True, **options), progress=False)


def test_the_router_loss_is_found_at_any_depth():
    from transformers import LlamaConfig

    inner = LlamaConfig()
    inner.output_router_logits = True
    config = LlamaConfig()
    config.thinker_config = LlamaConfig()
    config.thinker_config.text_config = inner
    with pytest.raises(InputError, match="output_router_logits"):
        check_router(SimpleNamespace(config=config))
