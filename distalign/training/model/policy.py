"""A trained policy, ready to score, from the folder of a model or of an adapter."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distalign.checks import InputError
from distalign.training.model.adapters import adapter_base

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from distalign.training.model.scorer import Scorer


def tokenizer_of(model: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a model; of an adapter its own where the folder holds one, else that of its base.

    Raises:
        InputError: there is nothing to load.
    """
    from distalign.training.model.load import load_tokenizer

    base = adapter_base(model)
    if base is None or not (Path(model) / "tokenizer_config.json").is_file():
        return load_tokenizer(base or model, trust_remote_code=trust_remote_code)
    return _beside_adapter(model, trust_remote_code)


def _beside_adapter(folder: str, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """The tokenizer that lies beside an adapter, where no config.json says whose it is."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"the tokenizer in {folder} cannot be loaded: {' '.join(str(error).split())[:300]}; save it "
            "anew, or remove its files to use that of the base"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(
    model: str, *, dtype: str = "bfloat16", attn_implementation: str = "sdpa", trust_remote_code: bool = False
) -> Scorer:
    """A scorer of a model, or of an adapter on the base model that it names, on the device there is.

    Raises:
        InputError: there is nothing to load, or the model is one that `Scorer` refuses.
    """
    import torch

    from distalign.training.model.load import load_model
    from distalign.training.model.scorer import Scorer

    base = adapter_base(model)
    policy: Any = load_model(
        base or model,
        dtype=dtype,
        attn_implementation=attn_implementation,
        trust_remote_code=trust_remote_code,
    )
    if base is not None:
        from peft import PeftModel

        with warnings.catch_warnings():  # peft reads a property that transformers 5.23 has renamed
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            policy = PeftModel.from_pretrained(policy, model)
    policy.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return Scorer(policy)
