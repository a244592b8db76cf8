"""Log-probabilities of responses under a causal language model of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from distalign.checks import InputError, one_of
from distalign.training.data.packing import Layout, layout
from distalign.training.data.rows import TokenRow
from distalign.training.model.head import log_probs, plain_log_probs
from distalign.training.model.logits import LogitMap
from distalign.training.model.probes import (
    check_causal,
    find_backbone,
    last_states,
    measure_sharing,
    silence_noise,
)
from distalign.training.model.rotary import LengthClasses, length_classes
from distalign.training.model.shared_prompt import Sharing, install, sharing, uninstall


class Scorer(nn.Module):
    """log pi(y | x) of every response of a layout.

    The model's backbone gives hidden states, and a head that never holds the full logits scores them, with
    the scale or soft cap that the model applies to its logits.

    The module that DistributedDataParallel wraps and FSDP2 shards at its root: both must go through
    `forward`, which calls backbone and head itself. What a model does is measured on a few tokens here
    (`distalign.training.model.probes`), and one that would be scored wrongly is refused: whose logits are
    anything else of its hidden states, whose head carries an adapter, whose states are random or depend on
    later tokens. Dropout is set to 0 in the model, for a response must get the same score each time, and
    where prompts are shared its attention is wrapped (`shared_prompt.install`).

    The same rows in the same layout get the same bits with gradients on or off. Gradient checkpointing must
    be non-reentrant.

    Args:
        model: of transformers (`AutoModelForCausalLM`) or a `PeftModel` around one.
        share_prompt: compute a prompt once for all its responses, which `Scorer.layout` does. "auto" does so
            where it was measured to be exact, and copies prompts elsewhere.
        fp32_logits: accumulate and keep the logits of half-precision models in float32.
        chunk_tokens: memory of the head, in full rows of logits.
        head: "chunked", or "plain" for second derivatives at the price of the full logits.

    Attributes:
        share_prompt: whether prompts are shared.
        why_apart: why "auto" does not share them, or an empty text.
        shared_up_to: tokens of a text up to which sharing is known to be exact, or None for any number;
            "auto" copies the prompts of a micro-batch that holds a longer text.
        logit_map: what the model does to its logits.
        classes: how its rotary angles depend on the longest text of a micro-batch, or None.

    Raises:
        InputError: the model is refused, see above, an option is out of range, or `share_prompt` is True and
            the model cannot share prompts.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        share_prompt: bool | Literal["auto"] = "auto",
        fp32_logits: bool = True,
        chunk_tokens: int = 512,
        head: str = "chunked",
    ) -> None:
        """Turn dropout off, and measure what the model does."""
        super().__init__()
        if chunk_tokens < 1:
            raise InputError(
                f"chunk_tokens must be at least 1, got {chunk_tokens}: it is the memory of the head"
            )
        one_of("head", head, ("chunked", "plain"))
        self.model, self.share_prompt = model, bool(share_prompt)
        self.fp32_logits, self.chunk_tokens, self.head = fp32_logits, chunk_tokens, head
        self.why_apart, self.shared_up_to, self._insists = "", None, share_prompt is True
        self.logit_map, self._backbone = LogitMap(), self.causal.base_model_prefix
        self.classes: LengthClasses | None = None
        _check_model(model, self.causal)
        without_dropout(model)
        if any(parameter.is_meta for parameter in model.parameters()):
            if self.share_prompt:
                install(self.causal)
            return
        self._backbone, self.logit_map = find_backbone(self.causal)
        self.classes = length_classes(self.causal)
        silence_noise(self)
        check_causal(self)
        if self.share_prompt:
            self._measure_sharing()

    def _measure_sharing(self) -> None:
        """Share prompts where that is exact; else copy them, or raise where sharing was insisted on."""
        try:
            install(self.causal)
            problem, self.shared_up_to = measure_sharing(self)
        except InputError:
            if self._insists:
                raise
            problem = (
                f"attn_implementation {self.causal.config._attn_implementation} is not known to share them"
            )
        if problem is None:
            return
        if self._insists:
            raise InputError(
                f"{type(self.causal).__name__} cannot share a prompt: {problem}; say share_prompt='auto' or "
                "False"
            )
        uninstall(self.causal)
        self.share_prompt, self.why_apart = False, problem

    @property
    def sharing(self) -> str:
        """A sentence on how prompts are computed."""
        if not self.share_prompt:
            why = (
                f", for {type(self.causal).__name__} cannot share one: {self.why_apart}"
                if self.why_apart
                else ""
            )
            return f"prompts: computed anew for each response{why}"
        limit = "" if self.shared_up_to is None else f" in texts of up to {self.shared_up_to} tokens"
        return f"prompts: computed once for all responses{limit}"

    @property
    def causal(self) -> Any:
        """The model with a head, inside an adapter's wrapper if there is one."""
        inner: Any = getattr(self.model, "get_base_model", None)
        return inner() if inner else self.model

    def layout(self, rows: Sequence[TokenRow]) -> Layout:
        """Rows laid out as this scorer wants them, on the model's device.

        Raises:
            InputError: sharing was insisted on, and a text is longer than it is known to be exact for.
        """
        share, limit = self.share_prompt, self.shared_up_to
        if self.classes is not None:  # a text of the other class takes a pass of its own
            limit = min(limit or self.classes.threshold, self.classes.threshold)
        if share and limit is not None:
            longest = max(len(row.prompt) + max(map(len, row.responses), default=0) for row in rows)
            share = longest <= limit
            if not share and self._insists:
                raise InputError(
                    f"a text has {longest} tokens, and sharing its prompt is known to be exact up to "
                    f"{limit}, the size of a window or block of this model: say share_prompt='auto' or "
                    "False, or lower max_length"
                )
        return layout(rows, share_prompt=share, device=self.causal.get_output_embeddings().weight.device)

    def embed(self, laid: Layout) -> Tensor:
        """(B, L, H) embeddings of the tokens, what `forward` takes in their place.

        Under FSDP2 register it first: torch.distributed.fsdp.register_fsdp_forward_method(scorer, "embed").
        """
        return self.causal.get_input_embeddings()(laid.ids)

    def backbone(self, **inputs: Tensor | None) -> Tensor:
        """(B, L, H) states that the head reads; inputs that are None are not passed on."""
        given = {name: value for name, value in inputs.items() if value is not None}
        return last_states(self.causal.get_submodule(self._backbone)(**given, use_cache=False))

    def run(self, laid: Layout, embeddings: Tensor | None = None) -> tuple[Tensor, Sharing]:
        """((N, H) states that predict the completion tokens, what the model asked for on the way)."""
        inputs = {"input_ids": laid.ids} if embeddings is None else {"inputs_embeds": embeddings}
        with sharing(laid) as now:
            if self.classes is not None and laid.longest_text > self.classes.threshold:
                hidden = self._by_class(laid, inputs, self.classes)
            else:
                mask = None if laid.segments is None else torch.ones_like(laid.ids)
                hidden = self.backbone(**inputs, position_ids=laid.positions, attention_mask=mask)
        states = hidden.flatten(0, 1)[laid.sources]
        return states.to(self.causal.get_output_embeddings().weight.dtype), now

    def _by_class(self, laid: Layout, inputs: dict[str, Tensor], classes: LengthClasses) -> Tensor:
        """(B, L, H) states where texts up to the threshold and longer ones have rotary angles of their own.

        Each class is run by itself, so that a text gets the angles that it has alone.

        Raises:
            InputError: every length has its own angles, or the weights are sharded, where all processes have
                to make the same number of passes.
        """
        n = classes.threshold
        if not classes.two:
            raise InputError(
                f"a text has {laid.longest_text} tokens: above {n} the rotary angles of "
                f"{type(self.causal).__name__} (dynamic scaling) depend on the longest text of the "
                f"micro-batch, so its score would, too; lower max_length to {n}, or set another rope_type "
                "in config.json"
            )
        if laid.segments is not None:
            raise InputError(
                f"a text of {laid.longest_text} tokens has other rotary angles than one of {n}: lay it out "
                "by Scorer.layout, which does not share its prompt"
            )
        if any(hasattr(parameter, "placements") for parameter in self.parameters()):
            raise InputError(
                f"a text has {laid.longest_text} tokens: texts above {n} take a pass of their own "
                f"({type(self.causal).__name__} has other rotary angles there), which parallel fsdp2 cannot "
                f"do: lower max_length to {n}, or say parallel ddp"
            )
        long = laid.text_lengths > n
        ((name, given),) = inputs.items()
        parts = [self.backbone(**{name: given[long]})]
        if bool((~long).any()):
            parts.append(
                nn.functional.pad(self.backbone(**{name: given[~long][:, :n]}), (0, 0, 0, given.shape[1] - n))
            )
        order = torch.cat([long.nonzero()[:, 0], (~long).nonzero()[:, 0]]).argsort()
        return torch.cat(parts)[order]

    def forward(self, laid: Layout, embeddings: Tensor | None = None) -> Tensor:
        """Score every response.

        Args:
            laid: of `Scorer.layout` or `packing.layout`, on the model's device.
            embeddings: (B, L, H) in place of the token embeddings.

        Returns:
            (R,) sums over completion tokens of log p(token | before), rows in order and responses within
            rows; float32 (float64 for a float64 model).
        """
        states, _ = self.run(laid, embeddings)
        head = self.causal.get_output_embeddings()
        if self.head == "plain":
            return laid.sums(
                plain_log_probs(states, head.weight, laid.targets, head.bias, logit_map=self.logit_map)
            )
        return laid.sums(
            log_probs(
                states,
                head.weight,
                laid.targets,
                head.bias,
                logit_map=self.logit_map,
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


def without_dropout(model: nn.Module) -> None:
    """Set every probability of dropping something to 0, in modules and in what they keep as numbers."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


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
