"""Every causal architecture of the installed transformers, tiny: random weights, windows and chunks of a few
tokens.
"""

import re
from typing import Any

import torch

VOCABULARY = 97
WINDOW = 6

# Names of sizes in configs, tried in order, and their value in a tiny model.
SIZES: tuple[tuple[str, Any], ...] = (
    (r"type_vocab_size|task_type_vocab_size", 2),
    (r".*vocab_size.*|.*vocab_size", VOCABULARY),
    (r"hidden_size|n_embd|d_model|emb_dim|embedding_size|embedding_dim|word_embed_proj_dim", 32),
    (r"input_embedding_size|output_embedding_size|backbone_hidden_size|dim_model_base", 32),
    (r"(encoder|decoder)_ffn_dim|ffn_dim|dim_ff|ffn_hidden_size|d_inner|n_inner|mlp_hidden_size", 64),
    (r"(?!.*multiple).*intermediate_size.*|feed_forward_size|expert_ffn_hidden_size", 48),
    (r"attention_hidden_size", 32),
    (r"num_hidden_layers|n_layers?|num_layers|(encoder|decoder)_layers|num_(en|de)coder_layers", 4),
    (r"num_nextn_predict_layers", 0),
    (r"num_attention_heads|n_heads?|attention_heads|(en|de)coder_attention_heads|num_heads", 4),
    (r"num_(en|de)coder_attention_heads|swa_num_attention_heads", 4),
    (r"num_key_value_heads|num_kv_heads|swa_num_key_value_heads|num_global_key_value_heads", 2),
    (r"head_dim|d_head|dim_head|v_head_dim|attention_head_dim|swa_head_dim|global_head_dim|d_kv", 8),
    (r"qk_rope_head_dim|qk_nope_head_dim|rotary_dim|attention_head_size", 4),
    (r"linear_num_(key_|value_)?heads", 4),
    (r"linear_(key_|value_)?head_dim", 8),
    (r"kv_lora_rank|q_lora_rank|o_lora_rank|.*_rank", 8),
    (r"index_n_heads|index_head_dim", 4),
    (r"num_experts|num_local_experts|n_routed_experts|moe_num_experts", 4),
    (r"num_experts_per_tok(en)?|moe_topk|moe_k|n_shared_experts|num_shared_experts", 2),
    (r"zero_expert_num", 2),
    (r"n_group|num_expert_group|topk_group", 1),
    (r"sliding_window|sliding_window_size|window_size|attention_window_size|keep_window_size", WINDOW),
    (r"local_attention_window_len|attention_chunk_size", WINDOW),
    (r"mamba_chunk_size|chunk_size", 8),
    (r"max_position_embeddings|n_positions|n_ctx|max_source_positions|max_target_positions", 128),
    (r"initializer_range|init_std", 0.2),
    (r"final_logit_softcapping|logits_soft_cap|logits_scaling", 3.0),
    (r".*drop.*|.*jitter.*", None),  # left alone: what the loader makes of it is part of what is compared
)
# What the table above cannot know: constraints among sizes of one architecture.
SPECIAL: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 8},
    "cohere_compass_text": {
        "layer_types": ["full_attention", "sliding_attention"] * 2,
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0}
            for kind in ("full_attention", "sliding_attention")
        },
    },
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {"mamba_n_heads": 8, "mamba_d_head": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 2},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "reformer": {"is_decoder": True},
    "xmod": {"default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
    "zamba2": {
        "layer_types": ["mamba", "hybrid", "mamba", "hybrid"],
        "num_key_value_heads": 4,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "mamba_headdim": 8,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "dots3_note_text": {"num_key_value_heads": 4},
}


def sized(defaults: dict[str, Any]) -> dict[str, Any]:
    """The entries of a config that are sizes, made small."""
    out = {}
    for name, value in defaults.items():
        if name.endswith("token_id") and isinstance(value, int):
            out[name] = min(value, 2)
        for pattern, size in SIZES:
            if re.fullmatch(pattern, name):
                number = isinstance(value, int | float) and not isinstance(value, bool)
                if size is not None and number and not (name.endswith("_layers") and value == 0):
                    out[name] = size
                break
    return out


def tiny_config(model_type: str, **changes: Any) -> Any:
    """The config of an architecture with every size small, nested configs too."""
    from transformers import AutoConfig

    kind = type(AutoConfig.for_model(model_type)) if model_type not in UNSHRUNK else None
    if kind is None:
        from transformers import CONFIG_MAPPING

        kind = CONFIG_MAPPING[model_type]
    return kind(**(_tiny(kind, model_type) | changes))


UNSHRUNK: set[str] = {"gemma4_assistant"}


def _tiny(kind: Any, model_type: str) -> dict[str, Any]:
    try:
        defaults = vars(kind())
    except Exception:
        defaults = {n: f.default for n, f in getattr(kind, "__dataclass_fields__", {}).items()}
    out = sized(defaults)
    for name, sub in (getattr(kind, "sub_configs", None) or {}).items():
        if isinstance(sub, type) and sub.__name__ not in ("AutoConfig", "PreTrainedConfig"):
            out[name] = _tiny(sub, getattr(sub, "model_type", ""))
        elif defaults.get(name) is not None:
            out[name] = {"model_type": defaults[name].model_type} | _tiny(type(defaults[name]), "")
    if "kv_lora_rank" in out:  # latent attention has as many keys as queries
        out["num_key_value_heads"] = 4
        if defaults.get("head_dim") == defaults.get("qk_rope_head_dim"):
            out["head_dim"] = 4
    return out | SPECIAL.get(model_type, {})


def tiny_model(config: Any, attention: str = "sdpa") -> Any:
    """A model of random weights; what is initialised to 0 gets a value, so that leaving it out would show."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.is_floating_point() and not parameter.any():
                    parameter.normal_(0, 0.1)
    return model.float()


_LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 12,
}
_DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3, longrope": ("phi3", {"rope_parameters": _LONG, "original_max_position_embeddings": 12}),
    "llama, dynamic NTK": ("llama", {"rope_parameters": _DYNAMIC, "max_position_embeddings": 12}),
    "mixtral, router logits": ("mixtral", {"output_router_logits": True}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2, sliding window": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2},
    ),
}
"""Options of configs that change what a model computes: name -> (model type, changes)."""
