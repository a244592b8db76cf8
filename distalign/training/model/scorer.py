"""Log-probabilities of responses under a causal language model of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from distalign.checks import InputError, one_of
from distalign.training.data.packing import Layout, layout
from distalign.training.data.rows import TokenRow
from distalign.training.model.head import log_probs, plain_log_probs
from distalign.training.model.shared_prompt import install, mask


class Scorer(nn.Module):
    """log pi(y | x) of every response of a layout.

    The model's backbone gives hidden states, and a head that never holds the full logits scores them.

    The module that DistributedDataParallel wraps and FSDP2 shards at its root: both must go through
    `forward`, which calls backbone and head itself. A model whose forward is more than head(backbone(x))
    (soft-capped or scaled logits), whose head carries an adapter, or that cannot score a shared prompt
    (state-space layers, positions not taken from `position_ids`) is refused here, by comparing a few tokens,
    rather than scored wrongly. Dropout is set to 0 in the model, for a response must get the same score each
    time, and with `share_prompt` its attention is wrapped (`shared_prompt.install`).

    The same rows in the same layout get the same bits with gradients on or off. Gradient checkpointing must
    be non-reentrant.

    Args:
        model: of transformers (`AutoModelForCausalLM`) or a `PeftModel` around one.
        share_prompt: compute a prompt once for all its responses; what `Scorer.layout` does.
        fp32_logits: accumulate and keep the logits of half-precision models in float32.
        chunk_tokens: memory of the head, in full rows of logits.
        head: "chunked", or "plain" for second derivatives at the price of the full logits.

    Raises:
        InputError: the model is refused, see above, or an option is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        share_prompt: bool = True,
        fp32_logits: bool = True,
        chunk_tokens: int = 512,
        head: str = "chunked",
    ) -> None:
        """Turn dropout off and check the model.

        Scores are compared with the model's own logits, and those of a shared prompt with those of a copied
        one.
        """
        super().__init__()
        if chunk_tokens < 1:
            raise InputError(
                f"chunk_tokens must be at least 1, got {chunk_tokens}: it is the memory of the head"
            )
        one_of("head", head, ("chunked", "plain"))
        self.model, self.share_prompt = model, share_prompt
        self.fp32_logits, self.chunk_tokens, self.head = fp32_logits, chunk_tokens, head
        _check_model(model, self._causal)
        _without_dropout(model)
        if share_prompt:
            install(self._causal)
        if not any(parameter.is_meta for parameter in model.parameters()):
            _check_logits(self)
            _check_sharing(self)

    @property
    def _causal(self) -> Any:
        """The model with a head, inside an adapter's wrapper if there is one."""
        inner: Any = getattr(self.model, "get_base_model", None)
        return inner() if inner else self.model

    def layout(self, rows: Sequence[TokenRow]) -> Layout:
        """Rows laid out as this scorer wants them, on the model's device."""
        return layout(
            rows, share_prompt=self.share_prompt, device=self._causal.get_output_embeddings().weight.device
        )

    def embed(self, laid: Layout) -> Tensor:
        """(B, L, H) embeddings of the tokens, what `forward` takes in their place.

        Under FSDP2 register it first: torch.distributed.fsdp.register_fsdp_forward_method(scorer, "embed").
        """
        return self._causal.get_input_embeddings()(laid.ids)

    def forward(self, laid: Layout, embeddings: Tensor | None = None) -> Tensor:
        """Score every response.

        Args:
            laid: of `packing.layout`, on the model's device.
            embeddings: (B, L, H) in place of the token embeddings.

        Returns:
            (R,) sums over completion tokens of log p(token | before), rows in order and responses within
            rows; float32 (float64 for a float64 model).
        """
        inputs = {"input_ids": laid.ids} if embeddings is None else {"inputs_embeds": embeddings}
        hidden = self._causal.base_model(
            **inputs, position_ids=laid.positions, attention_mask=mask(self._causal, laid), use_cache=False
        ).last_hidden_state
        head = self._causal.get_output_embeddings()
        states = hidden.flatten(0, 1)[laid.sources]
        if self.head == "plain":
            return laid.sums(plain_log_probs(states, head.weight, laid.targets, head.bias))
        return laid.sums(
            log_probs(
                states,
                head.weight,
                laid.targets,
                head.bias,
                fp32_logits=self.fp32_logits,
                chunk_tokens=self.chunk_tokens,
            )
        )

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Within, the adapter is off: what is scored is the reference policy.

        Raises:
            InputError: the model has no adapter.
        """
        if not hasattr(self.model, "disable_adapter"):
            raise InputError(
                "reference() switches an adapter off, but the model has none: score the reference before the "
                "first step, or train an adapter"
            )
        with self.model.disable_adapter():  # type: ignore[operator]
            yield


def _without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]


def _check_model(model: nn.Module, causal: Any) -> None:
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise InputError(
            "the adapter is made of virtual tokens, which scoring does not prepend: use LoRA, or one that "
            "changes layers"
        )
    head = getattr(causal, "get_output_embeddings", lambda: None)()
    if head is None:
        raise InputError(
            f"{type(causal).__name__} has no language-model head: load it with AutoModelForCausalLM"
        )
    if not isinstance(head, nn.Linear):
        raise InputError(
            f"the language-model head is a {type(head).__name__}, not a plain linear layer: keep adapters "
            "off it (target 'all-linear' does)"
        )


def _check_logits(scorer: Scorer) -> None:
    causal = scorer._causal
    ids = torch.arange(4, device=causal.get_output_embeddings().weight.device)[None]
    with torch.no_grad():
        hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
        logits = causal(input_ids=ids, use_cache=False).logits
        same = causal.get_output_embeddings()(hidden).to(logits.dtype)
    if not torch.equal(logits, same):
        raise InputError(
            f"{type(causal).__name__} does more to its logits than apply a linear head (a soft cap or a "
            "scale), which the chunked head would leave out: this model is not supported"
        )


def _check_sharing(scorer: Scorer) -> None:
    if not scorer.share_prompt:
        return
    row = TokenRow((1, 2, 3), ((4, 5, 6), (7, 5), (4, 2, 3)))
    device = scorer._causal.get_output_embeddings().weight.device
    name = type(scorer._causal).__name__
    try:
        with torch.no_grad():
            shared, apart = (
                scorer(layout([row], share_prompt=share, device=device)) for share in (True, False)
            )
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{name} fails on a shared prompt ({error}): say share_prompt=False") from error
    half = scorer._causal.get_output_embeddings().weight.dtype in (torch.bfloat16, torch.float16)
    if not torch.allclose(shared, apart, rtol=2e-2 if half else 1e-4, atol=1e-2 if half else 1e-4):
        raise InputError(
            f"{name} scores a response differently behind a shared prompt (state-space layers, or positions "
            "not taken from position_ids): say share_prompt=False"
        )
