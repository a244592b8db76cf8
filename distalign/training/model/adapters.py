"""Low-rank adapters: added to a model to be trained, and found again in the folder of a trained one."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from distalign.checks import InputError, positive, suggestion

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def add_lora(model: PreTrainedModel, rank: int, alpha: float, target: str = "all-linear") -> PeftModel:
    """The model with low-rank adapters W + (alpha / rank) B A, B = 0, on its linear layers; only these learn.

    With the adapters switched off the model is the reference policy, so no second model is needed. Adapters
    are float32.

    Args:
        model: is changed in place, and frozen but for the adapters.
        rank: of the adapters, at least 1.
        alpha: scale, divided by the rank.
        target: "all-linear" (all but the head), or names of layers with commas between, such as
            "q_proj,v_proj".

    Raises:
        InputError: rank or alpha out of range, no layer of that name, or an adapter asked for on the
            language-model head or the embeddings: the head is read in chunks past its module, so an adapter
            there would be ignored.

    Source: Hu et al. 2021, LoRA, arXiv 2106.09685, (3), as implemented by peft.
    """
    positive("lora_rank", rank, "16 is a usual choice")
    positive("lora_alpha", alpha, "twice the rank is a usual choice")
    names = target if target == "all-linear" else [part.strip() for part in target.split(",") if part.strip()]
    if names != "all-linear":
        _check_targets(model, names)
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        r=int(rank),
        lora_alpha=alpha,  # type: ignore[arg-type]
        target_modules=names,  # type: ignore[arg-type]
        lora_dropout=0.0,
        bias="none",
        task_type=TaskType.CAUSAL_LM,
    )
    with warnings.catch_warnings():  # peft reads a property that transformers 5.23 has renamed
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        # and looks for patterns that fit only some experts; `experts_without_adapter` says what gets none
        warnings.filterwarnings("ignore", "The following .*_pattern keys did not match", RuntimeWarning)
        return get_peft_model(model, config)  # type: ignore[return-value]


def _check_targets(model: PreTrainedModel, names: list[str] | str) -> None:
    outside_layers = {
        (model.get_output_embeddings(), "the language-model head"),
        (model.get_input_embeddings(), "the embeddings"),
    }
    modules = dict(model.named_modules())
    linear = sorted(
        {path.rsplit(".", 1)[-1] for path, module in modules.items() if hasattr(module, "weight")}
    )
    for name in names:
        matches = [module for path, module in modules.items() if path == name or path.endswith("." + name)]
        if not matches:
            raise InputError(
                f"lora_target: no layer is named {name!r}: {suggestion(name, linear)} 'all-linear' takes all "
                "linear layers but the head"
            )
        for outside, what in outside_layers:
            if any(module is outside for module in matches):
                raise InputError(
                    f"lora_target: {name!r} is {what}, where an adapter would be ignored: leave it out, or "
                    "take 'all-linear'"
                )


def adapter_base(model: str) -> str | None:
    """The base model that an adapter's folder names; None where `model` is no adapter.

    Raises:
        InputError: the adapter names none, or holds a pickle.
    """
    config = Path(model) / "adapter_config.json"
    if not config.is_file():
        return None
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise InputError(f"{config} names no base model: add base_model_name_or_path")
    if not list(Path(model).glob("*.safetensors")):
        raise InputError(f"{model} holds no adapter_model.safetensors: save the adapter with save_pretrained")
    return str(base)
