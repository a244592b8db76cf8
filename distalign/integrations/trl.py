r"""Exact global objectives inside TRL's DPOTrainer: change one import, keep the recipe.

TRL 1.16 computes its loss inside each micro-batch of each process and averages. For an objective that couples
its batch (AOT sorts, KLDPO re-weights) that is another objective, at one pair for each device plain DPO.
`GlobalDPOTrainer` scores all micro-batches of a step without gradients, gathers the scores of all processes,
differentiates the objective of the whole by them, and lets TRL back-propagate \sum_i (d L / d s_i) s_i: the
gradient of the global batch, see `distalign.two_pass`. The price is one forward pass for each micro-batch;
the reference is asked once.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.objectives import declared
from distalign.preferences import PreferenceLogProbs, metrics
from distalign.two_pass import gather_global, joined, score_gradients

_VERSIONS = "1.16"

try:
    _installed = importlib.metadata.version("trl")
except importlib.metadata.PackageNotFoundError:
    raise InputError(
        f"distalign.integrations.trl needs TRL: pip install 'trl=={_VERSIONS}.*', or train with "
        "`distalign train`, which needs none"
    ) from None
if not _installed.startswith(f"{_VERSIONS}."):
    raise InputError(
        f"distalign.integrations.trl overrides methods of TRL {_VERSIONS} that change between versions, and "
        f"{_installed} is installed: pip install 'trl=={_VERSIONS}.*', or train with `distalign train`"
    )

from trl.trainer.dpo_trainer import DPOTrainer  # noqa: E402  (only once the version is known to fit)

_REFUSED = {"ld_alpha": None, "use_weighting": False, "aux_loss_enabled": False}


class GlobalDPOTrainer(DPOTrainer):
    """TRL's DPOTrainer with an objective of `distalign.objectives` over the global batch.

    The global batch is per_device_train_batch_size x gradient_accumulation_steps x processes, and the
    gradient is that of the objective on it, whatever the split. `eval_loss` is the objective over the whole
    evaluation set, whatever per_device_eval_batch_size. Everything else (data, models, schedules, saving,
    logging) is TRL's; `loss_type`, `beta`, `label_smoothing` and `f_divergence_type` of DPOConfig are not
    read, except that `beta` scales the logged rewards.

    Args:
        *args, **kwargs: as for `trl.DPOTrainer`.
        objective: f(PreferenceLogProbs) -> scalar on pairs, usually a `functools.partial` of
            `distalign.objectives`.

    Raises:
        InputError: the objective reads inputs or groups (which TRL's batches do not carry), or the
            configuration asks for an option that re-weights tokens or adds another loss (ld_alpha,
            use_weighting, a router loss).

    Example:
        >>> from functools import partial
        >>> from distalign.objectives import aot_paired
        >>> objective = partial(aot_paired, beta=0.1)
        >>> # GlobalDPOTrainer(model, args=DPOConfig(...), train_dataset=pairs, objective=objective).train()
    """

    def __init__(self, *args: Any, objective: Callable[[PreferenceLogProbs], Tensor], **kwargs: Any) -> None:
        """Check the objective before a model is loaded, then construct as TRL does."""
        unmet = {"inputs", "groups"} & set(declared(objective).needs)
        if unmet:
            raise InputError(
                f"objective reads {', '.join(sorted(unmet))}, which TRL's batches do not carry: train with "
                "`distalign train`"
            )
        super().__init__(*args, **kwargs)
        for name, plain in _REFUSED.items():
            if getattr(self, name) != plain:
                raise InputError(
                    f"{name} changes what is scored or adds another loss, so the objective would no longer "
                    "be the one you gave: leave it at its default"
                )
        self._objective = objective
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._loss = torch.zeros(())
        self._evaluated: list[PreferenceLogProbs] = []

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list, Any]:
        """The micro-batches of one step.

        Their scores, and the objective's derivatives by the scores, are computed here.
        """
        samples, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not samples:
            return samples, items
        policy: Any = self.model_wrapped
        policy.train()
        with torch.no_grad():
            parts = [self._scored(policy, self._prepare_inputs(inputs)).detached() for inputs in samples]
        batch, of_chosen, of_rejected = self._gathered(joined(parts))
        self._loss, by_chosen, by_rejected = score_gradients(self._objective, batch)
        # Trainer divides by the number of micro-batches, and data parallelism averages over processes.
        scale = len(samples) * self.accelerator.num_processes
        sizes = [len(part.chosen) for part in parts]
        self._pending = list(
            zip((scale * by_chosen[of_chosen]).split(sizes), (scale * by_rejected[of_rejected]).split(sizes))
        )
        for name, value in metrics(batch, beta=self.beta).items():
            self._metrics["train"][name].append(value)
        return samples, items

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """The surrogate whose gradient is this micro-batch's part of the global one.

        Its value is the global loss.
        """
        if return_outputs:
            raise InputError("compute_metrics needs full logits, which are never built here: leave it out")
        if not model.training:
            scores = self._scored(model, inputs)
            self._evaluated.append(scores.detached())
            return scores.chosen.new_zeros(())  # replaced by the objective over all batches
        by_chosen, by_rejected = self._pending.pop(0)
        chosen, rejected = self._policy_scores(model, inputs)
        surrogate = (by_chosen * chosen).sum() + (by_rejected * rejected).sum()
        return surrogate - surrogate.detach() + self._loss

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """TRL's loop, then the objective over all that it scored.

        With several processes accelerate repeats a few rows to fill the last batch; those count twice.
        """
        self._evaluated = []
        output: Any = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        whole, _, _ = self._gathered(joined(self._evaluated))
        self._evaluated = []
        output.metrics[f"{metric_key_prefix}_loss"] = float(self._objective(whole))
        output.metrics.update(
            {f"{metric_key_prefix}_{k}": value for k, value in metrics(whole, beta=self.beta).items()}
        )
        return output

    def _gathered(self, local: PreferenceLogProbs) -> tuple[PreferenceLogProbs, slice, slice]:
        return (
            gather_global(local) if self.accelerator.num_processes > 1 else (local, slice(None), slice(None))
        )

    def _scored(self, model: Any, inputs: dict[str, Any]) -> PreferenceLogProbs:
        """Both sides of a micro-batch under policy and reference, with completion lengths."""
        chosen, rejected = self._policy_scores(model, inputs)
        if self.precompute_ref_logps:
            ref_chosen, ref_rejected = inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]
        else:
            ref_chosen, ref_rejected = self.compute_ref_log_probs(self.ref_model or model, inputs)
        tokens = inputs["completion_mask"][:, 1:].sum(1)
        return PreferenceLogProbs(
            chosen,
            rejected,
            ref_chosen,
            ref_rejected,
            chosen_tokens=tokens[: len(chosen)],
            rejected_tokens=tokens[len(chosen) :],
        )

    def _policy_scores(self, model: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """log pi of the chosen and of the rejected completions of a micro-batch, in nats."""
        mask = inputs["completion_mask"]
        given = {
            k: v
            for k, v in inputs.items()
            if k not in ("completion_mask", "ref_chosen_logps", "ref_rejected_logps")
        }
        with contextlib.ExitStack() as stack:
            if not torch.is_grad_enabled():
                stack.enter_context(self.compute_loss_context_manager())
            outputs = model(
                **given,
                labels=given["input_ids"].masked_fill(mask == 0, -100),
                use_cache=False,
                fused_lm_head=True,
            )
        chosen, rejected = outputs.log_probs[:, -(mask.shape[1] - 1) :].sum(1).chunk(2)
        return chosen, rejected
