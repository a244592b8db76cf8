"""Bad inputs of objectives and metrics: every field of a batch and every option, in both precisions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from distalign.preferences import PreferenceLogProbs
from tests.robustness.spoilt import (
    Good,
    Spoilt,
    choice,
    denormal,
    entry,
    half_unit,
    inf,
    nan,
    nonnegative,
    number,
    optional,
    positive,
    unit,
)
from tests.robustness.verdicts import Case

OPTIONS: dict[str, Good] = {
    "beta": (0.3, positive),
    "penalty": ("logistic", choice),
    "margin": (0.2, optional(nonnegative)),
    "label_smoothing": (0.1, half_unit),
    "flip_rate": (0.1, half_unit),
    "clip": (10.0, positive),
    "prior": (0.4, unit),
    "alpha": (0.4, unit),
    "ratio_loss": ("label_mle", choice),
    "stabiliser": ("floor", choice),
    "epsilon": (0.05, unit),
    "temperature": (0.8, positive),
    "divergence": ("jensen_shannon", choice),
    "radius": (0.1, nonnegative),
    "weights": ("normalised", choice),
    "desirable_weight": (1.0, nonnegative),
    "undesirable_weight": (1.0, nonnegative),
    "kl": (0.1, optional(nonnegative)),
    "form": (None, choice),
    "generator": ("sba", choice),
    "power": (0.5, number),
    "reduction": ("class_mean", choice),
    "through": ("policy", choice),
}  # type: ignore[assignment]
"""Vocabulary of the objectives' options."""
_FORMS = {"rdro": "logistic", "wdpo": "root"}
_LEFT_OUT = {"aot_paired": {"margin"}, "aot_unpaired": {"margin"}, "kldpo": {"radius"}}


def _weights(array: np.ndarray) -> Spoilt:
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("negative", -1.0)):
        yield label, entry(array, value), True
    yield "all zero", array * 0, True
    for label, value in (("denormal", denormal), ("tiny", 1e-300), ("zero", 0.0), ("huge", 1e30)):
        yield label, entry(array, value), False
    for label, scale in (("all tiny", 1e-300), ("all denormal", 5e-324), ("all huge", 1e308)):
        yield label, np.full_like(array, scale), False
    yield "one entry less", array[:-1], True


def _tokens(array: np.ndarray) -> Spoilt:
    for label, value in (("zero", 0), ("negative", -2)):
        out = array.copy()
        out[1] = value
        yield label, out, True
    yield "one entry less", array[:-1], True


def _scores(array: np.ndarray) -> Spoilt:
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf)):
        yield label, entry(array, value), True
    for label, value in (("denormal", -denormal), ("-1e4", -1e4), ("-1e30", -1e30), ("positive", 3.0)):
        yield label, entry(array, value), False
    yield "one entry less", array[:-1], True
    yield "empty", array[:0], True
    yield "table", array[:, None] * np.ones(2), True


N = 10
FIELDS: Good = {
    "chosen": (-np.linspace(1, 9, N), _scores),
    "rejected": (-np.linspace(9, 2, N), _scores),
    "ref_chosen": (-np.linspace(2, 8, N), _scores),
    "ref_rejected": (-np.linspace(8, 3, N), _scores),
    "weights": (np.linspace(1, 2, N), _weights),
    "rejected_weights": (np.linspace(1, 2, N), _weights),
    "groups": (np.arange(N) % 3, lambda array: iter([("one entry less", array[:-1], True)])),
    "chosen_tokens": (np.arange(1, N + 1), _tokens),
    "rejected_tokens": (np.arange(2, N + 2), _tokens),
}


def objective_cases() -> Iterator[Case]:
    """Every objective, one spoilt field of its batch or one spoilt option at a time, in both precisions."""
    from distalign import objectives

    for name in objectives.names():
        loss = getattr(objectives, name)
        needs = objectives.declared(loss).needs
        parameters = inspect.signature(loss).parameters
        taken = [key for key in parameters if key != "batch" and key not in _LEFT_OUT.get(name, ())]
        options = {key: OPTIONS[key][0] for key in taken} | (
            {"form": _FORMS[name]} if "form" in parameters else {}
        )
        for dtype in (torch.float32, torch.float64):
            for key in taken:
                for label, spoilt, invalid in OPTIONS[key][1](OPTIONS[key][0]):
                    yield Case(
                        f"distalign.objectives.{name}",
                        key,
                        f"{label}, {dtype}",
                        _loss(loss, {}, options | {key: spoilt}, dtype),
                        invalid,
                    )
            for field, (value, spoil) in FIELDS.items():
                if field.endswith("tokens") and field not in needs:
                    continue
                for label, spoilt, invalid in spoil(value):
                    unused = objectives.declared(loss).data == "chosen" and "rejected" in field
                    yield Case(
                        f"distalign.objectives.{name}",
                        field,
                        f"{label}, {dtype}",
                        _loss(loss, {field: spoilt}, options, dtype),
                        invalid and not unused,
                    )


def _loss(loss: Callable[..., Any], fields: dict[str, Any], options: dict[str, Any], dtype: torch.dtype):
    def call() -> Any:
        values = {name: good for name, (good, _) in FIELDS.items()} | fields
        batch = {
            name: torch.tensor(v).to(
                dtype if name in ("chosen", "rejected", "ref_chosen", "ref_rejected") else None
            )
            for name, v in values.items()
        }
        features = torch.linspace(-1, 1, 2 * N, dtype=dtype).reshape(N, 2).requires_grad_()
        if batch["chosen"].shape == (N,):
            batch["chosen"] = batch["chosen"] + features.sum(1)
        return loss(PreferenceLogProbs(**batch, inputs=(features,)), **options)

    return call


def metric_cases() -> Iterator[Case]:
    """`distalign.metrics`."""
    from distalign.preferences import metrics

    for label, spoilt, invalid in positive(1.0):
        yield Case(
            "distalign.metrics",
            "beta",
            label,
            _loss(metrics, {}, {"beta": spoilt}, torch.float64),
            invalid or label == "inf",
        )
    for field, (value, spoil) in FIELDS.items():
        if field.endswith("tokens"):
            continue
        for label, spoilt, invalid in spoil(value):
            yield Case(
                "distalign.metrics", field, label, _loss(metrics, {field: spoilt}, {}, torch.float32), invalid
            )
