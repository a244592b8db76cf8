"""The adapter of a folder: what it is, whether it can be trained on exactly, and its weights put on its base.

Adapters come from peft itself, TRL, LLaMA-Factory, axolotl or a run of distalign. What their config says is
compared with a list of what is understood: whatever else it sets is refused, for it could change what the
model computes, or what it is with the adapter switched off.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distalign.checks import InputError
from distalign.training.model.adapters import adapter_base, quiet_peft

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

WEIGHTS = "adapter_model.safetensors"

_UNDERSTOOD = {
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "target_parameters",
    "task_type",
    "use_dora",
    "use_rslora",
}
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
_WHY = {
    "bias": "it trains biases of the base model, which stay when the adapter is switched off",
    "alora_invocation_tokens": "it acts after some tokens only, which scoring does not pass on",
    "trainable_token_indices": "it trains rows of the embeddings, which the head does not see",
    "layer_replication": "it repeats layers of its base, which is then another model",
    "monteclora_config": "it is random, and two passes over the same rows have to agree",
}
_NOT_WEIGHTS = {"auto_mapping", "base_model_name_or_path", "inference_mode", "lora_dropout", "peft_version"}


@dataclass(frozen=True)
class SavedAdapter:
    """A LoRA adapter in a folder, its config checked.

    Attributes:
        folder: where it lies.
        base: the model that it is an adapter of.
        config: what adapter_config.json says.
    """

    folder: Path
    base: str
    config: dict[str, Any]

    @property
    def rank(self) -> int:
        """The largest rank of a layer."""
        return max([int(self.config["r"]), *map(int, (self.config.get("rank_pattern") or {}).values())])

    @property
    def dropout(self) -> float:
        """What it was trained with, which is set to 0 here."""
        return float(self.config.get("lora_dropout") or 0.0)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name to shape of its weights, from the header of the file."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.folder / WEIGHTS, "pt") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(f"{self.folder / WEIGHTS} cannot be read: {error}: save it anew") from error

    def digest(self) -> str:
        """SHA-256 of its weights and of what its config says of them."""
        says = {name: value for name, value in self.config.items() if name not in _NOT_WEIGHTS and value}
        digest = hashlib.sha256(json.dumps(says, sort_keys=True).encode())
        try:
            with (self.folder / WEIGHTS).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InputError(f"{self.folder / WEIGHTS} cannot be read: {error}") from error
        return digest.hexdigest()


def saved_adapter(folder: str | Path) -> SavedAdapter | None:
    """The adapter in a folder, or None where there is none.

    Raises:
        InputError: it is no LoRA, or its config sets something that is not understood here.
    """
    base = adapter_base(str(folder))
    if base is None:
        return None
    place = Path(folder)
    if not (place / WEIGHTS).is_file():
        raise InputError(f"{folder} holds no {WEIGHTS}: save the adapter with save_pretrained")
    config = json.loads((place / "adapter_config.json").read_text(encoding="utf-8"))
    from peft import LoraConfig

    if config.get("peft_type") != "LORA":
        raise InputError(
            f"the adapter in {folder} is a {config.get('peft_type')}: LoRA adapters are known, DoRA too"
        )
    usual = LoraConfig().to_dict()
    for name, value in sorted(config.items()):
        if name not in _UNDERSTOOD and value and value != usual.get(name):
            why = _WHY.get(name, "which is not known here, and could change what the model computes")
            raise InputError(
                f"the adapter in {folder} sets {name} to {str(value)[:60]!r}: {why}; merge it into its base "
                "with peft, and train the merged model"
            )
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise InputError(
            f"the adapter in {folder} began with init_lora_weights {str(start)[:40]!r}, which takes its part "
            "out of the weights of the base, so without it there is no base: convert it with peft's "
            "save_pretrained(path_initial_model_for_weight_conversion=...) first"
        )
    if not isinstance(config.get("r"), int) or config["r"] < 1:
        raise InputError(f"the adapter in {folder} has no rank r in adapter_config.json: save it anew")
    if config.get("revision") and not Path(base).is_dir():
        raise InputError(
            f"the adapter in {folder} is of revision {config['revision']} of {base}: save that revision in a "
            "folder, and name the folder as base_model_name_or_path in adapter_config.json"
        )
    return SavedAdapter(place, base, config)


def adapter_to_train(model: str, rank: int, reference: str | None) -> SavedAdapter | None:
    """The adapter that training goes on with, or None where the model is none.

    Args:
        model: of the recipe.
        rank: its lora_rank.
        reference: its adapter_reference.

    Raises:
        InputError: the model is an adapter that cannot be trained on, or it is not said what its reference
            is, or it is where there is no adapter.
    """
    adapter = saved_adapter(model)
    if adapter is None and reference is not None:
        raise InputError(
            f"adapter_reference is for a model that is an adapter, and {model} holds no "
            "adapter_config.json: leave it out, and the model itself is the reference"
        )
    if adapter is not None and rank:
        raise InputError(
            f"{model} is an adapter, which has a rank of its own: leave lora_rank out and say "
            "adapter_reference, or merge it into its base (`distalign merge`) to train a new adapter on that"
        )
    if adapter is not None and reference is None:
        raise InputError(
            f"{model} is an adapter on {adapter.base}, and the objective compares the policy with a "
            f"reference: say adapter_reference: base for {adapter.base} without the adapter, or "
            "adapter_reference: adapter for the adapter as it stands"
        )
    return adapter


def put_on(model: PreTrainedModel, adapter: SavedAdapter, *, trained: bool) -> PeftModel:
    """The model with the adapter of a folder on it, its dropout 0; its weights are float32.

    Args:
        model: its base; changed in place, and frozen.
        adapter: what to put on it.
        trained: whether it is to learn.

    Raises:
        InputError: the weights do not fit the base or the config.
    """
    from peft import LoraConfig, PeftModel, get_peft_model_state_dict

    config: Any = LoraConfig.from_pretrained(str(adapter.folder))
    config.lora_dropout, config.inference_mode = 0.0, not trained
    given = adapter.shapes()
    with quiet_peft():
        try:
            adapted: Any = PeftModel.from_pretrained(
                model, str(adapter.folder), is_trainable=trained, config=config
            )
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"the adapter in {adapter.folder} does not fit {adapter.base}: "
                f"{' '.join(str(error).split())[:300]}; name the base it was trained on as "
                "base_model_name_or_path in adapter_config.json"
            ) from error
    wanted = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    if other := sorted(set(wanted) ^ set(given)):
        where = "not in its file" if other[0] in wanted else "not of its config and base"
        raise InputError(
            f"the adapter in {adapter.folder} does not fit {adapter.base}: {len(other)} weights are {where}, "
            f"{other[0]} among them; name the base it was trained on as base_model_name_or_path in "
            "adapter_config.json"
        )
    return adapted


def check_scored(adapted: Any, adapter: SavedAdapter) -> None:
    """Raise where an adapter, or a trained copy, lies on the head or the embeddings.

    Raises:
        InputError: it does, and scores would not be those of the model.
    """
    causal = adapted.get_base_model()
    head, embeddings = causal.get_output_embeddings(), causal.get_input_embeddings()
    for module, what in ((head, "the language-model head"), (embeddings, "the embeddings")):
        if hasattr(module, "lora_A") or (module is head and hasattr(module, "modules_to_save")):
            raise InputError(
                f"the adapter in {adapter.folder} changes {what}, and the head is read in chunks past its "
                "module, so that would be ignored: merge it into its base (`distalign merge`), and train the "
                "merged model"
            )
    if hasattr(embeddings, "modules_to_save") and embeddings.original_module.weight is head.weight:
        raise InputError(
            f"the adapter in {adapter.folder} has trained embeddings apart from the head, whose weight they "
            "share in its base: merge it into its base (`distalign merge`), and train the merged model"
        )
