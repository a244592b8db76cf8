"""TRL's own `_compute_loss` on hand-made sequence log-probabilities: no model, no tokenizer, no download.

TRL writes its losses inside the trainers' methods, so a trainer is made without its constructor and given the
attributes that method reads, and a "model" that answers with the log-probabilities we choose.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

os.environ.setdefault("HF_HUB_OFFLINE", "1")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from trl import DPOTrainer, KTOTrainer

LENGTH = 4


def _spread(scores: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Per-token log-probabilities that sum to the scores over the last `tokens` of four positions, and the
    mask of these.
    """
    mask = torch.arange(LENGTH) >= LENGTH - tokens[:, None]
    return (scores / tokens)[:, None] * mask, mask


def _model(scores: Tensor, tokens: Tensor) -> tuple[Any, dict[str, Tensor]]:
    per_token, mask = _spread(scores, tokens)
    zeros = torch.zeros_like(per_token)
    outputs = SimpleNamespace(
        log_probs=per_token, entropy=zeros, mean_logits=zeros, is_top1=mask, log_sum_sq_probs=zeros
    )
    ids = torch.ones(len(scores), LENGTH + 1, dtype=torch.long)
    inputs = {
        "input_ids": ids,
        "attention_mask": ids,
        "completion_mask": torch.nn.functional.pad(mask.long(), (1, 0)),
    }
    return lambda **_: outputs, inputs


def _trainer(kind: type, **attributes: Any) -> Any:
    trainer = kind.__new__(kind)
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
    )
    common = {
        "accelerator": accelerator,
        "model": SimpleNamespace(training=True),
        "aux_loss_enabled": False,
        "precompute_ref_logps": True,
        "_metrics": defaultdict(lambda: defaultdict(list)),
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    for name, value in {**common, **attributes}.items():
        setattr(trainer, name, value)
    return trainer


def trl_dpo(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    loss_type: str = "sigmoid",
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    divergence: str = "reverse_kl",
    coefficient: float = 0.5,
    tokens: Tensor | None = None,
) -> Tensor:
    """TRL's DPO loss of this type; `tokens` (2n,) are lengths, chosen first."""
    trainer = _trainer(
        DPOTrainer,
        ld_alpha=None,
        f_divergence_type=divergence,
        f_alpha_divergence_coef=coefficient,
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=label_smoothing,
        use_weighting=False,
    )
    tokens = torch.full((2 * len(chosen),), LENGTH) if tokens is None else tokens
    model, inputs = _model(torch.cat([chosen, rejected]), tokens)
    inputs |= {"ref_chosen_logps": ref_chosen, "ref_rejected_logps": ref_rejected}
    return trainer._compute_loss(model, inputs, False)


def trl_kto(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    kl: Tensor,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """TRL's KTO loss; `kl` are the log-ratios of its separate mismatched batch."""
    trainer = _trainer(
        KTOTrainer,
        loss_type="kto",
        beta=beta,
        desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
        calculate_KL=True,
        _compute_kl_logps=lambda *_: kl,
    )
    scores = torch.cat([chosen, rejected])
    model, inputs = _model(scores, torch.full((len(scores),), LENGTH))
    label = torch.arange(len(scores)) < len(chosen)
    inputs |= {
        "label": label,
        "ref_logps": torch.cat([ref_chosen, ref_rejected]),
        "ref_KL_logps": torch.zeros_like(kl),
    }
    return trainer._compute_loss(model, inputs, False)
