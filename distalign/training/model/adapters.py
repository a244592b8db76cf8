"""Low-rank adapters: added to a model to be trained, and found again in the folder of a trained one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distalign.checks import InputError, names_in, positive, suggestion

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


def new_adapter(
    model: PreTrainedModel,
    rank: int,
    alpha: float,
    target: str = "all-linear",
    *,
    dora: bool = False,
    modules_to_save: Sequence[str] = (),
    target_parameters: Sequence[str] = (),
) -> PeftModel:
    """`add_lora`, with more of what peft can train; it starts as nothing, and gradients are exact.

    Args:
        model: is changed in place, and frozen but for what is added.
        rank: as in `add_lora`.
        alpha: as in `add_lora`.
        target: as in `add_lora`.
        dora: train the norm m of each row of an adapted weight as well: m (W + s B A) / |W + s B A|, m = |W|
            at first. The norm below is taken for a constant when differentiating, as in the paper, so what is
            exact is that gradient: the sum over micro-batches is that of the global batch.
        modules_to_save: names of modules of which a copy is trained in full.
        target_parameters: ends of the names of parameters with two or three axes, such as
            "mlp.experts.down_proj".

    Raises:
        InputError: as `add_lora`; a name that fits nothing, or something whose adapter or copy would be
            ignored; dora on what is no linear layer; a copy of quantised weights or of an adapted layer.

    Source: Liu et al. 2024, DoRA, arXiv 2402.09353, (5) and 4.3, as implemented by peft.
    """
    if not (dora or modules_to_save or target_parameters):
        return add_lora(model, rank, alpha, target)
    positive("lora_rank", rank, "16 is a usual choice")
    positive("lora_alpha", alpha, "twice the rank is a usual choice")
    names = target if target == "all-linear" else names_in(target)
    if names != "all-linear":
        _check_targets(model, names)
    _check_copies(model, modules_to_save)
    _check_parameters(model, target_parameters)
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        r=int(rank),
        lora_alpha=alpha,  # type: ignore[arg-type]
        target_modules=names,  # type: ignore[arg-type]
        lora_dropout=0.0,
        bias="none",
        task_type=TaskType.CAUSAL_LM,
        use_dora=dora,
        modules_to_save=list(modules_to_save) or None,
        target_parameters=list(target_parameters) or None,
    )
    with quiet_peft():
        try:
            adapted: Any = get_peft_model(model, config)
        except ValueError as error:
            raise InputError(
                f"peft cannot make this adapter: {' '.join(str(error).split())[:300]}; leave out use_dora or "
                "what it names, or give lora_target layers that are linear"
            ) from error
    _check_nested(adapted)
    _set_norms(adapted)
    return adapted


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Within, peft does not warn of what is looked at here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        warnings.filterwarnings("ignore", "The following .*_pattern keys did not match", RuntimeWarning)
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
        warnings.filterwarnings("ignore", "Model (has|with) `tie_word_embeddings=True`", UserWarning)
        yield


def _ends(path: str, name: str) -> bool:
    return path == name or path.endswith("." + name)


def _check_copies(model: PreTrainedModel, names: Sequence[str]) -> None:
    modules = dict(model.named_modules())
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    tied = getattr(head, "weight", None) is getattr(embeddings, "weight", 0)
    for name in names:
        found = [module for path, module in modules.items() if path and _ends(path, name)]
        if not found:
            near = suggestion(name, sorted({path.rsplit(".", 1)[-1] for path in modules if path}))
            raise InputError(f"lora_modules_to_save: no module is named {name!r}: {near}")
        if any(module is head for module in found):
            raise InputError(
                f"lora_modules_to_save: {name!r} is the language-model head, which is read in chunks past "
                "its module, so a trained copy would be ignored: leave it out"
            )
        if tied and any(module is embeddings for module in found):
            raise InputError(
                f"lora_modules_to_save: {name!r} are the embeddings, whose weight is that of the head, too, "
                "and a trained copy would part them: leave it out, or train a model whose "
                "tie_word_embeddings is false"
            )
        for module in found:
            if not all(parameter.is_floating_point() for parameter in module.parameters()):
                raise InputError(
                    f"lora_modules_to_save: {name!r} holds quantised weights, which cannot be trained: leave "
                    "it out, or load_in_4bit"
                )
            if not list(module.parameters()):
                raise InputError(f"lora_modules_to_save: {name!r} has no weights to train: leave it out")


def _check_parameters(model: PreTrainedModel, names: Sequence[str]) -> None:
    outside = {id(m.weight) for m in (model.get_output_embeddings(), model.get_input_embeddings()) if m}
    parameters = dict(model.named_parameters())
    for name in names:
        found = [p for path, p in parameters.items() if _ends(path, name)]
        if not found:
            wide = sorted({".".join(path.split(".")[-3:]) for path, p in parameters.items() if p.dim() == 3})
            raise InputError(
                f"lora_target_parameters: no parameter's name ends in {name!r}: "
                + (suggestion(name, wide) if wide else "this model has linear layers only, see lora_target")
            )
        if any(id(p) in outside for p in found):
            raise InputError(
                f"lora_target_parameters: {name!r} is the weight of the head or of the embeddings, where an "
                "adapter would be ignored: leave it out"
            )
        if any(p.dim() not in (2, 3) for p in found):
            raise InputError(
                f"lora_target_parameters: {name!r} has {found[0].dim()} axes, and a low-rank adapter needs 2 "
                "or 3: train a copy of its module with lora_modules_to_save"
            )


def _set_norms(adapted: Any) -> None:
    """Set DoRA's norms to those of the weights in float32.

    peft takes them in the precision of the base, and from half precision the model would not start as itself.
    """
    from peft.utils.integrations import dequantize_module_weight

    for module in adapted.modules():
        for norms in getattr(module, "lora_magnitude_vector", {}).values():
            weight = dequantize_module_weight(module.get_base_layer()).float()
            norms.weight.data = norms.get_weight_norm(weight, 0.0, 1.0).detach()


def _check_nested(adapted: Any) -> None:
    """Raise where a trained copy holds an adapted layer, of which only one would be used."""
    for path, module in adapted.named_modules():
        if "modules_to_save" in path.split(".") and hasattr(module, "lora_A"):
            raise InputError(
                "lora_modules_to_save names a module whose weights have adapters, too: name it in one of "
                "lora_target_parameters and lora_modules_to_save"
            )


def adapter_base(model: str) -> str | None:
    """The base model that an adapter's folder names; None where `model` is no adapter.

    Raises:
        InputError: the adapter names none, or holds a pickle.
    """
    config = Path(model) / "adapter_config.json"
    if not config.is_file():
        return None
    try:
        base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError, RecursionError, OSError) as error:
        raise InputError(f"{config} cannot be read ({error}): save the adapter anew") from error
    if not base or not isinstance(base, str):
        raise InputError(f"{config} names no base model: add base_model_name_or_path")
    if not list(Path(model).glob("*.safetensors")):
        raise InputError(f"{model} holds no adapter_model.safetensors: save the adapter with save_pretrained")
    return base
