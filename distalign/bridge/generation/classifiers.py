"""Sequence-classification models of transformers as scores: reward models and classifiers of any kind.

The score is the logits, one number for each output of the model. A text is the conversation, rendered by the
tokenizer's chat template where it has one, and otherwise prompt and response joined as they are.

Source: ours; the models are those of `transformers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distalign.checks import InputError, one_of
from distalign.files import folder_digest
from distalign.training.data.sources import BadRow
from distalign.training.data.texts import Text
from distalign.training.data.tokenising import Renderer
from distalign.training.model.policy import tokenizer_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16")


class Classifier:
    """A sequence-classification model: prompts and responses to logits. It is loaded when it is first called.

    Texts of a batch are padded on the right. Models that read their score off the last token find it as the
    token before the padding, so a model whose config names no padding token is given one that occurs in no
    text of the batch: the end of a text is never taken for padding that the model's makers did not mean.

    Args:
        model: folder or Hub id.
        dtype: float32 or bfloat16, in which numbers have three digits and often tie.
        chat_template: None uses the tokenizer's template where it has one; True demands it, False leaves it.
        trust_remote_code: run code that comes with the model.

    Raises:
        InputError: there is no such model, it is no sequence-classification model, or it has no template.
    """

    def __init__(
        self,
        model: str,
        dtype: str = "float32",
        chat_template: bool | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        """Read tokenizer and config, and check them."""
        one_of("dtype", dtype, DTYPES)
        self.model, self.dtype, self.trust = model, dtype, trust_remote_code
        self.tokenizer: PreTrainedTokenizerBase = tokenizer_of(model, trust_remote_code=trust_remote_code)
        self.config = self._config()
        if chat_template and not self.tokenizer.chat_template:
            raise InputError(
                f"chat_template is True, but the tokenizer of {model} has no chat template: leave it unset, "
                "and prompt and response are joined as they are"
            )
        self.template = bool(self.tokenizer.chat_template) if chat_template is None else chat_template

    def identity(self) -> str:
        """What it computes: the content of its folder, or the revision of a Hub model; and how."""
        folder = Path(self.model)
        revision = folder_digest(folder) if folder.is_dir() else getattr(self.config, "_commit_hash", None)
        return f"{self.model} {revision} {self.dtype}, chat template {self.template}"

    def labels(self) -> tuple[str, ...]:
        """Names of its outputs, as the config has them; () where it does not name them."""
        named = [str(name) for _, name in sorted((self.config.id2label or {}).items())]
        return () if any(name.startswith("LABEL_") for name in named) else tuple(named)

    def __call__(self, prompts: Sequence[Text], responses: Sequence[str]) -> Any:
        """(n, outputs) logits.

        Raises:
            InputError: a text has more tokens than the model reads, or the template refuses a prompt.
        """
        import torch

        rows = [self.tokens(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
        width, pad = max(map(len, rows)), self._padding(rows)
        if pad is None and len(rows) > 1:
            half = len(rows) // 2
            parts = [slice(half), slice(half, None)]
            return np.concatenate([self(prompts[part], responses[part]) for part in parts])
        device = next(self._loaded.parameters()).device
        ids = torch.tensor([row + [pad or 0] * (width - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        with torch.inference_mode():
            return self._loaded(input_ids=ids, attention_mask=mask).logits.float().cpu().numpy()

    def tokens(self, prompt: Text, response: str) -> list[int]:
        """Token ids of a prompt and its response.

        Raises:
            InputError: there are more than the model reads, or the template refuses the prompt.
        """
        ids = self._encoded(prompt, response)
        most = min(
            int(getattr(self.config.get_text_config(), "max_position_embeddings", 0) or 1 << 40),
            int(self.tokenizer.model_max_length or 1 << 40),
        )
        if len(ids) > most:
            raise InputError(
                f"score {self.model} reads {most} tokens, but a prompt with its response has {len(ids)} "
                f"({response[:40]!r}): draw shorter texts (--max-new-tokens), or leave that prompt out"
            )
        return ids

    def _encoded(self, prompt: Text, response: str) -> list[int]:
        if not self.template:
            if not isinstance(prompt, str):
                raise InputError(
                    f"prompts are messages, but the tokenizer of {self.model} has no chat template, or it "
                    "was switched off: take a model with one, or draw from prompts that are text"
                )
            return list(self.tokenizer(prompt + response)["input_ids"])  # type: ignore[arg-type]
        asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        try:
            text = Renderer(self.tokenizer).text([*asked, {"role": "assistant", "content": response}], {})
        except BadRow as error:
            raise InputError(f"score {self.model} cannot read a prompt: {error}") from error
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[arg-type]

    def _padding(self, rows: Sequence[Sequence[int]]) -> int | None:
        """The config's padding token, or one that occurs in no text, which the model is then told; None where
        there is none.
        """
        named = self.config.get_text_config().pad_token_id
        if named is not None and named >= 0:
            return int(named)
        config = self._loaded.config.get_text_config()
        used = {token for row in rows for token in row}
        free = (token for token in range(config.vocab_size) if token not in used)
        config.pad_token_id = next(free, None)
        return config.pad_token_id

    def _config(self) -> PreTrainedConfig:
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(self.model, trust_remote_code=self.trust)
        except (OSError, ValueError, ImportError, KeyError) as error:
            raise self._unloadable(error) from error
        saved, own = config.architectures or [], getattr(config, "auto_map", None) or {}
        if "AutoModelForSequenceClassification" not in own and not any(
            name.endswith("ForSequenceClassification") for name in saved
        ):
            raise InputError(
                f"{self.model} was saved as {', '.join(saved) or config.model_type}, which gives no scores: "
                "name a ...ForSequenceClassification model, or a function of your own as module:function"
            )
        return config

    def _unloadable(self, error: Exception) -> InputError:
        why = " ".join(str(error).split())
        if "trust_remote_code" in why:
            return InputError(
                f"the model {self.model} comes with code of its own: read it, then say --trust-remote-code"
            )
        return InputError(f"the model {self.model} cannot be loaded: {why[:300]}; check its folder or Hub id")

    def release(self) -> None:
        """Let the weights go, so that two models are never held at once."""
        import torch

        self.__dict__.pop("_loaded", None)
        torch.cuda.empty_cache()

    @cached_property
    def _loaded(self) -> Any:
        import torch
        from transformers import AutoModelForSequenceClassification

        try:
            model, info = AutoModelForSequenceClassification.from_pretrained(
                self.model,
                dtype=getattr(torch, self.dtype),
                trust_remote_code=self.trust,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, ImportError, KeyError) as error:
            raise self._unloadable(error) from error
        if info["missing_keys"]:
            raise InputError(
                f"{self.model} lacks {sorted(info['missing_keys'])[0]}, which would be random: name a "
                "complete sequence-classification model"
            )
        return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
