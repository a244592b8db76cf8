"""Mixtures of experts: what training them here leaves out, said before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distalign.checks import InputError


def check_router(model: Any) -> None:
    """Raise where the model's own training loss holds a term that no objective here has.

    With `output_router_logits` transformers adds a load-balancing loss to the language-model loss. Scores do
    not depend on it, so evaluation is not affected.

    Raises:
        InputError: the config asks for that loss.
    """
    if any(getattr(config, "output_router_logits", False) for config in _nested(model.config)):
        raise InputError(
            f"output_router_logits is set in the config of {model.config.model_type}, which asks for a "
            "load-balancing loss on its router that the objectives do not add: set output_router_logits: "
            "false in config.json to train without it"
        )


def _nested(config: Any) -> Iterator[Any]:
    """A config of transformers and every config inside it, at any depth."""
    yield config
    for value in vars(config).values():
        if hasattr(value, "to_diff_dict"):
            yield from _nested(value)


def experts_without_adapter(model: Any) -> str | None:
    """A sentence on the weights of experts that adapters do not reach, or None where there are none.

    Most mixtures keep the weights of all experts of a layer in one tensor of three axes, which is no linear
    layer. For some of them (Mixtral, Qwen3-MoE) peft puts adapters on such tensors, for others (gpt-oss) not.
    """
    reached = {
        id(getattr(module.get_base_layer(), module.parameter_name))
        for module in model.modules()
        if hasattr(module, "parameter_name") and hasattr(module, "lora_A")
    }
    parameters = list(model.named_parameters())
    experts = [
        (name, parameter)
        for name, parameter in parameters
        if parameter.dim() == 3 and "expert" in name and "lora_" not in name and id(parameter) not in reached
    ]
    if not experts:
        return None
    kinds = ", ".join(sorted({name.rsplit(".", 1)[-1] for name, _ in experts}))
    share = sum(p.numel() for _, p in experts) / sum(p.numel() for _, p in parameters)
    return (
        f"adapters: {len(experts)} weights of experts ({kinds}; {share:.0%} of all parameters) are no linear "
        "layers, so they get none and stay as they are"
    )
