"""The shape of a language model, from its config alone, and exact counts of its parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distalign.checks import InputError, suggestion

_SIMPLE = ("llama", "mistral", "qwen2")  # families whose parameters `Geometry` counts by formula


@dataclass(frozen=True)
class Counts:
    """Counts on the modules of a model.

    Attributes:
        parameters: all of them, a tied head once.
        linear: of linear layers but the head.
        sides: parameters of adapters of rank 1 as peft puts them, on linear layers and some experts.
        active: `linear` and the share of the experts' weights that one token meets.
        folded: parameters of experts on which peft puts adapters that it adds to a copy of them.
    """

    parameters: int
    linear: int
    sides: int
    active: int
    folded: int = 0


@dataclass(frozen=True)
class Adapter:
    """What a recipe trains beside the weights of a model, where that is more than low-rank adapters on all
    linear layers.

    Attributes:
        parameters: of adapters, which are float32; norms of DoRA count among them.
        copies: parameters of modules that are trained in full, in the precision of the model.
        rank: of the adapters.
        norms: whether they are DoRA's.
        folded: as in `Counts`.
    """

    parameters: int
    copies: int
    rank: int
    norms: bool
    folded: int


@dataclass(frozen=True)
class Geometry:
    """A decoder of transformer blocks with a gated feed-forward part.

    Attributes:
        layers, hidden, intermediate, vocabulary: sizes.
        heads, kv_heads, head_dim: of attention.
        tied: whether the head shares the embeddings' weight.
        qkv_bias: whether query, key and value have biases (Qwen2).
        counted: what was counted on the real modules, where the family is not one that the formula knows.
        adapter: what a recipe trains, where the formula does not know it.
    """

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool = False
    qkv_bias: bool = False
    counted: Counts | None = None
    adapter: Adapter | None = None

    @property
    def query(self) -> int:
        """Width of all queries."""
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        """Width of all keys, and of all values."""
        return self.kv_heads * self.head_dim

    @property
    def linear(self) -> int:
        """Parameters of all linear layers but the head; the experts of a mixture are none of them."""
        if self.counted is not None:
            return self.counted.linear
        attention = 2 * self.hidden * self.query + 2 * self.hidden * self.key
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def parameters(self) -> int:
        """All parameters, a tied head counted once.

        Example:
            >>> BUILT_IN["meta-llama/Llama-3.1-8B-Instruct"].parameters
            8030261248
        """
        if self.counted is not None:
            return self.counted.parameters
        biases = self.layers * (self.query + 2 * self.key) if self.qkv_bias else 0
        norms = (2 * self.layers + 1) * self.hidden
        return self.linear + biases + norms + self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def active(self) -> int:
        """Parameters of layers and experts by which one token is multiplied, the head left out."""
        return self.linear if self.counted is None else self.counted.active

    def adapters(self, rank: int) -> int:
        """Parameters of the adapters: of this rank on all linear layers but the head, or of `adapter`.

        Example:
            >>> BUILT_IN["meta-llama/Llama-3.1-8B-Instruct"].adapters(16)
            41943040
        """
        if self.adapter is not None:
            return self.adapter.parameters
        if self.counted is not None:
            return rank * self.counted.sides
        h, q, k, m = self.hidden, self.query, self.key, self.intermediate
        return self.layers * rank * ((h + q) + 2 * (h + k) + (q + h) + 3 * (h + m))


_LLAMA_8B = Geometry(32, 4096, 14336, 128256, 32, 8, 128)
_MISTRAL_7B = Geometry(32, 4096, 14336, 32000, 32, 8, 128)
_SMOLLM2 = Geometry(30, 576, 1536, 49152, 9, 3, 64, tied=True)
BUILT_IN = {
    # Sizes of the published config.json files; the parameter counts they give are those of the published
    # weights.
    "meta-llama/Meta-Llama-3-8B-Instruct": _LLAMA_8B,
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_8B,
    "meta-llama/Llama-3.2-1B-Instruct": Geometry(16, 2048, 8192, 128256, 32, 8, 64, tied=True),
    "meta-llama/Llama-3.2-3B-Instruct": Geometry(28, 3072, 8192, 128256, 24, 8, 128, tied=True),
    "Qwen/Qwen2.5-7B-Instruct": Geometry(28, 3584, 18944, 152064, 28, 4, 128, qkv_bias=True),
    "mistralai/Mistral-7B-Instruct-v0.2": _MISTRAL_7B,
    "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOLLM2,
    "SmolLM2-135M-Instruct": _SMOLLM2,
}
"""Shapes that need no network: the models of the shipped recipes."""


def geometry_of(model: str, *, trust_remote_code: bool = False) -> Geometry:
    """The shape of a model: from config.json of a folder, from `BUILT_IN`, or from its config on the Hub. No
    weights are read.

    Raises:
        InputError: no config, or one that does not describe such a decoder.
    """
    if (Path(model) / "config.json").is_file():
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    elif model in BUILT_IN:
        return BUILT_IN[model]
    else:
        config = _from_hub(model, trust_remote_code)
    return of_config(config, model)


def of_config(config: dict[str, Any], model: str = "the model") -> Geometry:
    """The shape that a config, as a mapping, describes.

    Raises:
        InputError: it lacks a size.
    """
    whole, config = config, config.get("text_config") or config
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        family = config.get("model_type", "")
        geometry = Geometry(
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            intermediate=_intermediate(config),
            vocabulary=int(config["vocab_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            tied=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=family == "qwen2",
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"the config of {model} lacks {error}: plan knows decoders with hidden_size, num_hidden_layers, "
            "num_attention_heads, intermediate_size and vocab_size"
        ) from error
    biased = config.get("attention_bias") or config.get("mlp_bias")
    if family in _SIMPLE and not biased:
        return geometry
    experts, chosen = _experts(config)
    return replace(geometry, counted=_counted(whole, model, chosen / experts))


def _experts(config: dict[str, Any]) -> tuple[int, int]:
    """(experts of a layer, those that one token meets); (1, 1) where there is no mixture."""
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    experts = next((int(config[name]) for name in names if config.get(name)), 1)
    chosen = next((int(config[n]) for n in ("num_experts_per_tok", "moe_k", "moe_topk") if config.get(n)), 1)
    return experts, min(chosen, experts)


def _intermediate(config: dict[str, Any]) -> int:
    """Width of all feed-forward parts that one token meets in a layer.

    In a mixture these are its chosen experts and those that all tokens share.
    """
    experts, chosen = _experts(config)
    width = config.get("moe_intermediate_size") or config["intermediate_size"]
    if isinstance(width, list):  # one for each layer
        width = max(width)
    shared = config.get("shared_expert_intermediate_size") or int(width) * int(
        config.get("n_shared_experts") or config.get("num_shared_experts") or 0
    )
    return chosen * int(width) + int(shared) if experts > 1 else int(width)


def _counted(config: dict[str, Any], model: str, chosen: float) -> Counts:
    """Counts on the real modules, made without memory; a token meets the share `chosen` of the experts."""
    import torch

    from distalign.training.model.adapters import add_lora

    made = without_memory(config, model)
    head = made.get_output_embeddings()
    layers = {
        name: module.weight
        for name, module in made.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D") and module is not head
    }
    linear = sum(weight.numel() for weight in layers.values())
    fused = sum(p.numel() for n, p in made.named_parameters() if p.dim() == 3 and "expert" in n)
    single = sum(w.numel() for name, w in layers.items() if ".experts." in name)
    parameters = sum(p.numel() for p in made.parameters())
    with torch.device("meta"):
        adapted = add_lora(made, 1, 1.0)
    return Counts(
        parameters=parameters,
        linear=linear,
        sides=sum(p.numel() for name, p in adapted.named_parameters() if "lora_" in name),
        active=round(linear - single + chosen * (single + fused)),
        folded=folded_in(adapted),
    )


def folded_in(adapted: Any) -> int:
    """Parameters of experts of which an adapted model makes a copy, to which it adds their adapters."""
    return sum(
        getattr(module.get_base_layer(), module.parameter_name).numel()
        for module in adapted.modules()
        if hasattr(module, "parameter_name") and hasattr(module, "lora_A")
    )


def without_memory(config: dict[str, Any], model: str) -> Any:
    """The modules of a config, on torch's device `meta`.

    Raises:
        InputError: transformers does not know the architecture.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                AutoConfig.for_model(
                    config["model_type"], **{k: v for k, v in config.items() if k != "model_type"}
                )
            )
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"transformers does not know the architecture of {model}: {error}") from error


def config_of(model: str, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """The config of a model as a mapping, of those in `BUILT_IN` made from its shape.

    Raises:
        InputError: there is none.
    """
    if (Path(model) / "config.json").is_file():
        return json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    if model not in BUILT_IN:
        return _from_hub(model, trust_remote_code)
    shape = BUILT_IN[model]
    return {
        "model_type": "qwen2" if shape.qkv_bias else "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "tie_word_embeddings": shape.tied,
    }


def _from_hub(model: str, trust_remote_code: bool) -> dict[str, Any]:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code).to_dict()
    except (OSError, ValueError) as error:
        raise InputError(
            f"no config of {model}: give a folder with config.json, a Hub id that can be reached, or a "
            f"built-in name ({suggestion(model, BUILT_IN)})"
        ) from error
