"""A full model made of an adapter and its base: `distalign merge`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distalign.checks import InputError
from distalign.files import disk_trouble, held, write_text
from distalign.training.checkpoint import replace_folder
from distalign.training.evaluation.merged_card import merged_card
from distalign.training.evaluation.read_card import ADAPTER, read_card
from distalign.training.model.adapters import quiet_peft
from distalign.training.model.load import DTYPES, load_model, weights_digest
from distalign.training.model.policy import tokenizer_of
from distalign.training.model.saved_adapter import SavedAdapter, put_on, saved_adapter
from distalign.training.parallel import World

_LARGEST = 1e-3
"""Largest difference of a logit that merging may make in float32, in standard deviations of the logits."""


def merge(adapter: str | Path, out: str | Path, *, trust_remote_code: bool = False) -> Path:
    """Write the full model that an adapter and its base make, in the precision of the base.

    A weight with a low-rank adapter becomes W + (alpha / rank) B A, summed in float32 and rounded once, and
    modules that were trained in full replace those of the base. Where the head and the embeddings share a
    weight and only one of them was trained, they are parted. What was written is loaded by transformers
    alone. On a few tokens the merged model is compared with adapter and base before anything is written.

    Args:
        adapter: folder of a LoRA adapter.
        out: folder to write, which is not there, empty, or a merge of the same adapter.
        trust_remote_code: run code that comes with the base.

    Returns:
        The folder.

    Raises:
        InputError: the folder holds no adapter or one that is not understood, `out` has other contents or
            cannot be written, the base cannot be found or does not fit, or the two models differ.
    """
    saved, place = saved_adapter(adapter), Path(out)
    if saved is None:
        raise InputError(
            f"{adapter} holds no adapter_config.json, so it is no adapter: name the folder that training "
            "saved an adapter in"
        )
    _check_place(place, saved)
    try:
        dtype = _dtype_of(saved.base, trust_remote_code)
        tokenizer = tokenizer_of(str(adapter), trust_remote_code=trust_remote_code)
        loaded = str(dtype).removeprefix("torch.")
        model: Any = load_model(
            saved.base,
            dtype=loaded if loaded in DTYPES else "float32",
            trust_remote_code=trust_remote_code,
        )
    except InputError as error:
        raise InputError(
            f"{error} (it is the base that {saved.folder / 'adapter_config.json'} names)"
        ) from error
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        raise InputError(
            f"the tokenizer of {adapter} has more tokens than {saved.base} has embeddings: name the base "
            "with resized embeddings as base_model_name_or_path in adapter_config.json"
        )
    weights = weights_digest(model)
    whole = merged(model if dtype == torch.float64 else model.float(), saved).to(dtype)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {place} cannot be written: {_why(error)}; choose another --out") from error

    def write(folder: Path) -> None:
        whole.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_text(folder / "README.md", merged_card(saved, weights, str(dtype).removeprefix("torch.")))

    with held(place, "--out"):
        replace_folder(
            place, write, World(0, 1, torch.device("cpu")), again="then run the same command again"
        )
    return place


def merged(model: Any, adapter: SavedAdapter) -> Any:
    """The model with the adapter in its weights, in evaluation mode.

    Args:
        model: the base, in float32 or more; changed in place. From half precision peft would round twice.
        adapter: what is merged.

    Raises:
        InputError: the adapter does not fit, has weights that are not finite, or peft merges it into another
            model than it is.
    """
    adapted: Any = put_on(model, adapter, trained=False).eval()
    _part(adapted)
    before = _logits(adapted)
    try:
        with quiet_peft():
            whole = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise InputError(f"{adapter.folder} cannot be merged: {error}") from error
    if not torch.isfinite(before).all():
        raise InputError(f"{adapter.folder} on {adapter.base} has logits that are not finite: train it anew")
    off = float((_logits(whole) - before).abs().max() / before.std())
    if not off <= _LARGEST:
        raise InputError(
            f"merging {adapter.folder} into {adapter.base} changes logits by up to {off:.2g} of their "
            f"standard deviation, and rounding explains {_LARGEST:g}: use the adapter beside its base"
        )
    return whole.requires_grad_(True)


def _part(adapted: Any) -> None:
    """Give head and embeddings weights of their own where they share one and only one of them is changed."""
    causal = adapted.get_base_model()
    head, embeddings = causal.get_output_embeddings(), causal.get_input_embeddings()
    if head is None or _own(head).weight is not _own(embeddings).weight:
        return
    if any(hasattr(module, name) for module in (head, embeddings) for name in ("lora_A", "modules_to_save")):
        _own(head).weight = nn.Parameter(_own(head).weight.detach().clone(), requires_grad=False)
        causal.config.tie_word_embeddings = False


def _own(module: Any) -> Any:
    """The module of the base inside what peft puts around it."""
    for name in ("original_module", "base_layer"):
        module = getattr(module, name, module)
    return module


@torch.no_grad()
def _logits(model: Any) -> Tensor:
    """(2, 16, V) logits of some tokens."""
    size = model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(0, size, (2, 16), generator=torch.Generator().manual_seed(0))
    return model(input_ids=ids).logits.float()


def _dtype_of(base: str, trust_remote_code: bool) -> torch.dtype:
    """The precision of the weights of a model: what its config says, else of its first file."""
    from safetensors import safe_open
    from transformers import AutoConfig

    folder = Path(base)
    if folder.is_absolute() and not folder.is_dir():
        raise InputError(f"there is no folder {base!r}: move it back, or change base_model_name_or_path")
    try:
        said = AutoConfig.from_pretrained(base, trust_remote_code=trust_remote_code).dtype
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = " ".join(str(error).split())[:300]
        raise InputError(f"the model {base} cannot be found: {why}") from error
    if isinstance(said, torch.dtype):
        return said
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            name = next(iter(file.keys()))
            return file.get_tensor(name).dtype
    return torch.float32


def _check_place(out: Path, adapter: SavedAdapter) -> None:
    """Raise unless a folder may be written there."""
    if out.is_file():
        raise InputError(f"--out {out} is a file: name a folder")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(
            f"--out {out} cannot be written: {parent} is no folder, or not yours; choose another"
        )
    try:
        there = sorted(file.name for file in out.iterdir()) if out.is_dir() else []
    except OSError as error:
        raise InputError(f"--out {out} cannot be read: {_why(error)}; choose another") from error
    seen = [name for name in there if not name.startswith(".distalign")]
    if seen and not _is_merge_of(adapter, out):
        raise InputError(
            f"--out {out} holds {seen[0]} and is no merge of this adapter: choose a folder that is not "
            "there, or move it away"
        )


def _is_merge_of(adapter: SavedAdapter, folder: Path) -> bool:
    card = read_card(folder)
    return card is not None and card.rows.get(ADAPTER) == adapter.digest()


def _why(error: OSError) -> str:
    return (disk_trouble(error) or (str(error),))[0]
