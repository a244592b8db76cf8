"""Tokenizers and causal language models from a directory or the Hub, and a digest of their weights."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from distalign.checks import InputError, one_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
_UNREADABLE = (
    OSError,
    ValueError,
    ImportError,
    KeyError,
    TypeError,  # the last four: files that are whole and no model's, or cut in the middle
    AttributeError,
    RecursionError,
    SafetensorError,
)
"""What reading a damaged folder raises."""


def load_tokenizer(name: str | Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a model directory or Hub id.

    Where it has no padding token, its end-of-text token pads.

    Raises:
        InputError: no such directory, nothing there to load, or the Hub cannot be reached.
    """
    _check_place(name)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except _UNREADABLE as error:
        raise _unloadable("the tokenizer", name, error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    name: str | Path,
    *,
    dtype: str = "bfloat16",
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
    load_in_4bit: bool = False,
) -> PreTrainedModel:
    """A causal language model from a directory or Hub id, every dropout 0, weights from safetensors only.

    Dropout is off because two passes over the same rows have to agree, here as in TRL; the saved config says
    so. The model comes in training mode, where gradient checkpointing works: without dropout the modes agree.
    Leave a 4-bit model in it, for bitsandbytes repacks its weights on a CPU when it first runs in evaluation
    mode.

    Args:
        name: the directory or Hub id.
        dtype: of the weights: bfloat16, float32 or float64.
        attn_implementation: as in transformers: sdpa, eager, flash_attention_2, flex_attention, ... A model
            that has no sdpa gets eager, which computes the same.
        trust_remote_code: run code that comes with the model.
        load_in_4bit: NF4 with double quantisation by bitsandbytes (extra `qlora`); to be trained through
            adapters only.

    Raises:
        InputError: no such model, a model without a causal language-model head, weights that are missing or
            pickled, an attention that is not there, or no bitsandbytes.
    """
    one_of("dtype", dtype, list(DTYPES))
    if load_in_4bit and importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("load_in_4bit needs bitsandbytes: pip install 'distalign[qlora]', or leave it out")
    _check_place(name)
    _check_safetensors(name)
    from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if load_in_4bit:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=DTYPES[dtype],
        )
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        check_head(config, name)
        drop_nothing(config)
        model, info = cast(
            "tuple[PreTrainedModel, dict]",
            AutoModelForCausalLM.from_pretrained(
                name,
                config=config,
                dtype=DTYPES[dtype],
                attn_implementation=attn_implementation,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            ),
        )
    except InputError:
        raise
    except _UNREADABLE as error:
        if attn_implementation == "sdpa" and "scaled_dot_product_attention" in str(error):
            return load_model(
                name,
                dtype=dtype,
                attn_implementation="eager",
                trust_remote_code=trust_remote_code,
                load_in_4bit=load_in_4bit,
            )
        raise _unloadable("the model", name, error) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise InputError(
            f"{name} lacks {len(missing)} weights of its model, {missing[0]} among them, which would be "
            "random: name a complete causal language model"
        )
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train()


def _check_place(name: str | Path) -> None:
    """Raise unless `name` is a directory with a config, or reads like a Hub id."""
    path, text = Path(name), str(name)
    if text and path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(
                f"the folder {name} holds no config.json: name a folder written by save_pretrained"
            )
    elif text and path.exists():
        raise InputError(f"{name} is a file: name the folder that holds config.json and model.safetensors")
    elif path.is_absolute() or text.count("/") > 1 or text.startswith((".", "~")) or not text:
        raise InputError(f"there is no folder {text!r}: check the path, or give a Hub id such as owner/name")


def _check_safetensors(name: str | Path) -> None:
    path = Path(name)
    if path.is_dir() and not list(path.glob("*.safetensors")):
        pickled = [
            file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in path.glob(pattern)
        ]
        why = f"only {pickled[0]}, a pickle, which can run code when read" if pickled else "no weights"
        raise InputError(
            f"{name} holds {why}: give weights as model.safetensors, for instance by "
            "model.save_pretrained(folder) where they are trusted"
        )


def check_head(config: PreTrainedConfig, name: str | Path) -> None:
    """Raise unless a config is of a causal language model with a head."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    causal, custom = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()), getattr(config, "auto_map", None) or {}
    saved = config.architectures or []
    if (
        saved and not causal & set(saved) and "AutoModelForCausalLM" not in custom
    ) or config.is_encoder_decoder:
        raise InputError(
            f"{name} was saved as {', '.join(saved) or config.model_type}, which has no causal "
            "language-model head: name a ...ForCausalLM model"
        )


def drop_nothing(config: PreTrainedConfig) -> None:
    """Set every dropout of a config to 0, of the configs nested in it, too."""
    for key, value in list(vars(config).items()):
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)
        elif hasattr(value, "to_diff_dict"):
            drop_nothing(value)


def _unloadable(what: str, name: str | Path, error: Exception) -> InputError:
    why = " ".join(str(error).split()) or type(error).__name__
    if "trust_remote_code" in why:
        return InputError(f"{what} {name} comes with code of its own: read it, then pass trust_remote_code")
    remedy = (
        ""
        if Path(name).is_dir()
        else "; if it is a Hub id, check its spelling, the network and HF_HUB_OFFLINE"
    )
    return InputError(f"{what} {name} cannot be loaded: {why[:300]}{remedy}")


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of all weights and saved buffers; adapters do not count.

    A model and the same model with adapters have one digest, for the adapters leave its own weights alone:
    what a cache of reference log-probabilities is keyed by. Call it before parameters are sharded.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> before = weights_digest(layer)
        >>> with torch.no_grad():
        ...     _ = layer.weight[0, 0].add_(1.0)
        >>> len(before), before == weights_digest(layer)
        (64, False)
    """
    digest, seen = hashlib.sha256(), set()
    for name, tensor in model.state_dict().items():
        if "lora_" in name or not isinstance(tensor, Tensor) or (tensor.numel() and _place(tensor) in seen):
            continue  # of tied weights the first counts
        seen.add(_place(tensor))
        name = re.sub(r"(\.base_layer)+\.", ".", name.removeprefix("base_model.model."))
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(content)  # type: ignore[arg-type]
    return digest.hexdigest()


def _place(tensor: Tensor) -> tuple[int, tuple[int, ...]]:
    return tensor.data_ptr(), tuple(tensor.shape)
