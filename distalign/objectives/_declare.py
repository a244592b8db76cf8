"""What an objective declares of itself.

`objective` says which data a loss reads and how far its terms depend on each other, and checks each batch.
`described` adds facts that other parts of distalign read: the paper, usual hyper-parameters, and the reward
that the loss implies.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.preferences import PreferenceLogProbs

P = ParamSpec("P")
Loss = TypeVar("Loss", bound=Callable[..., Tensor])
Reward = Callable[[Tensor, Tensor | None, Mapping[str, Any]], Tensor]
"""(n,) log pi/pi_ref, (n,) completion lengths or None, options of the objective -> (n,) rewards."""

Data = Literal["pairs", "classes", "chosen"]
Coupling = Literal["pair", "class", "batch"]

_SMALL = 8
_REMEDIES = {
    "inputs": "compute the log-probabilities from tensors that require gradients and pass those as "
    "inputs=(...)",
    "groups": "give the integer group of each pair as groups=",
    "chosen_tokens": "give the completion lengths as chosen_tokens= and rejected_tokens=",
    "rejected_tokens": "give the completion lengths as chosen_tokens= and rejected_tokens=",
}


@dataclass(frozen=True)
class Declared:
    """What an objective reads and how far it couples.

    Attributes:
        data: `pairs` (n == m, aligned), `classes` (n chosen and m rejected, unpaired) or `chosen` (rejected
            ignored).
        coupling: `pair` (a weighted mean of one term per pair), `class` (a weighted mean over the chosen plus
            one over the rejected) or `batch` (every term depends on all the others: gradient accumulation
            changes the objective, so use `distalign.two_pass`). The first two need the total weights of the
            global batch and nothing else.
        needs: optional fields of `PreferenceLogProbs` that must be given.
        alone: what the objective is on one pair, where it couples the batch.
    """

    data: Data
    coupling: Coupling
    needs: tuple[str, ...] = ()
    alone: str = ""


class SmallBatchWarning(UserWarning):
    """A batch-coupled objective was given fewer responses than its coupling needs to mean anything."""


def objective(
    data: Data, coupling: Coupling, *, needs: tuple[str, ...] = (), alone: str = "", infinite: bool = False
) -> Callable[
    [Callable[Concatenate[PreferenceLogProbs, P], Tensor]],
    Callable[Concatenate[PreferenceLogProbs, P], Tensor],
]:
    """Declare a loss f(batch, *, hyperparameters) -> scalar; check its batch before and its value after.

    Args:
        data, coupling, needs, alone: as `Declared` has them.
        infinite: whether the loss may be infinite at finite log-probabilities, outside its domain.
    """

    def declare(f: Callable[Concatenate[PreferenceLogProbs, P], Tensor]):
        @functools.wraps(f)
        def checked(batch: PreferenceLogProbs, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
            _check(f.__name__, batch, data, needs)
            if alone and batch.validate and batch.chosen.shape[0] < _SMALL:
                _warn(f.__name__, batch.chosen.shape[0], alone)
            value = f(batch, *args, **kwargs)
            if batch.validate and kwargs:
                _check_value(f.__name__, value.detach(), infinite, kwargs)
            return value

        checked.declared = Declared(data, coupling, needs, alone)  # type: ignore[attr-defined]
        return checked

    return declare


def declared(loss: Callable[..., Tensor]) -> Declared:
    """What `loss`, or the loss inside a `functools.partial`, declares of itself.

    Example:
        >>> from functools import partial
        >>> from distalign.objectives import aot_unpaired, dpo
        >>> declared(dpo).coupling, declared(partial(aot_unpaired, beta=0.1)).coupling
        ('pair', 'batch')
    """
    while isinstance(loss, functools.partial):
        loss = loss.func
    found: Any = getattr(loss, "declared", None)
    if found is None:
        raise InputError(
            f"{getattr(loss, '__name__', loss)} declares neither its data nor its coupling: put "
            "@distalign.objectives.objective(data=..., coupling=...) above it"
        )
    return found


def scaled_log_ratio(log_ratio: Tensor, tokens: Tensor | None, options: Mapping[str, Any]) -> Tensor:
    """The reward of DPO, beta log pi/pi_ref; without a beta among the options, log pi/pi_ref itself.

    Args:
        log_ratio: (n,) log pi/pi_ref of n responses, in nats.
        tokens: (n,) completion lengths, which this reward does not read.
        options: hyper-parameters of the objective.

    Returns:
        (n,) rewards.
    """
    return (options.get("beta") or 1.0) * log_ratio


@dataclass(frozen=True)
class Description:
    """Facts about an objective that do not change its value.

    Attributes:
        paper: short name of its paper in `distalign.bibliography`, which a model card then cites; empty where
            the bibliography does not have it.
        defaults: hyper-parameters without a default in the signature, at the values that a comparison of
            methods takes where the user gives none.
        reward: the reward that the objective implies for a response, which an evaluation reports.
    """

    paper: str = ""
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reward: Reward = scaled_log_ratio


def described(
    *, paper: str = "", defaults: Mapping[str, Any] | None = None, reward: Reward = scaled_log_ratio
) -> Callable[[Loss], Loss]:
    """Attach a `Description` to a loss and return that very loss; the arguments are its attributes.

    It may stand above or below `@objective(...)`.

    Example:
        >>> @described(paper="aot", defaults={"margin": 1.0})
        ... @objective(data="pairs", coupling="pair")
        ... def loss(batch: PreferenceLogProbs, *, margin: float) -> Tensor: ...
        >>> description_of(loss).paper, dict(description_of(functools.partial(loss, margin=2.0)).defaults)
        ('aot', {'margin': 1.0})
    """

    def describe(loss: Loss) -> Loss:
        loss.description = Description(paper, dict(defaults or {}), reward)  # type: ignore[attr-defined]
        return loss

    return describe


def description_of(loss: Callable[..., Tensor]) -> Description:
    """The description of `loss`, or of the loss inside a `functools.partial`; without one, an empty one."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    return getattr(loss, "description", Description())


def _warn(name: str, n: int, alone: str) -> None:
    warnings.warn(
        f"{name} couples its batch, and this one has {n} chosen response{'s' * (n > 1)}: on one pair it is "
        f"{alone}, below {_SMALL} little else; give it the global batch, with distalign.two_pass where "
        "memory holds micro-batches only",
        SmallBatchWarning,
        stacklevel=4,
    )


def _check_value(name: str, value: Tensor, infinite: bool, options: Mapping[str, Any]) -> None:
    if bool(value.isnan() if infinite else ~value.isfinite()):
        given = ", ".join(f"{key}={option!r}" for key, option in options.items() if option is not None)
        raise InputError(
            f"{name} is {float(value)} at these finite log-probabilities, with {given}: an "
            f"option or a log-ratio is beyond the range of {str(value.dtype).removeprefix('torch.')}"
        )


def _check(name: str, batch: PreferenceLogProbs, data: Data, needs: tuple[str, ...]) -> None:
    n, m = batch.chosen.shape[0], batch.rejected.shape[0]
    if n == 0:
        raise InputError(f"{name}: chosen is empty: the global batch must hold at least one chosen response")
    if data != "chosen" and m == 0:
        raise InputError(
            f"{name}: rejected is empty: the global batch must hold at least one rejected response"
        )
    if data == "pairs" and n != m:
        raise InputError(
            f"{name} compares pairs but got {n} chosen and {m} rejected responses: pair them, or use an "
            "objective for unpaired data (aot_unpaired, kto, bco, ddro, rdro, sft)"
        )
    for field in needs:
        given = getattr(batch, field)
        if given is None or (isinstance(given, tuple) and not given):
            raise InputError(f"{name} reads {field}, which the batch does not have: {_REMEDIES[field]}")
        if not batch.validate or not field.endswith("_tokens") or not isinstance(given, Tensor):
            continue
        if not bool(torch.ge(given, 1).all()):
            raise InputError(
                f"{name} divides by {field}, which must be at least 1 everywhere: count the end-of-text token"
            )
