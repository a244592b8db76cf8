r"""AdamW with float32 weights, moments and sums of gradients, and its learning rate.

A bfloat16 weight has 8 significant bits. An update below 1/256 of the weight is lost, and so is the gradient
of a micro-batch below 1/256 of the sum so far. So a half-precision parameter has a float32 master copy. As
soon as a backward pass has formed the parameter's gradient, a hook adds it to the master's gradient in
float32 and frees it. The update moves the master, and the parameter is the master rounded. float32 parameters
are their own masters. All of it works on sharded (DTensor) parameters, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from distalign.checks import InputError, one_of
from distalign.training.parallel import local, whole

_HALF = (torch.bfloat16, torch.float16)


class MasterAdamW:
    """AdamW on float32 masters of the parameters that are trained.

    Weight decay is decoupled and spares vectors: biases and norms.

    Args:
        named: (name, parameter); those without requires_grad are passed over.
        betas: decays of the mean gradient and of its mean square.
        eps: added to the root of the mean square.
        weight_decay: as in torch.optim.AdamW.

    Raises:
        InputError: nothing is to be trained.

    Source: Loshchilov & Hutter 2019, arXiv 1711.05101 (torch's implementation); masters: Micikevicius et al.
        2018, arXiv 1710.03740.

    Example: four updates of 0.001, each of which a bfloat16 weight alone would round away and stay at 1.
        >>> weight = torch.nn.Parameter(torch.ones(1, 1, dtype=torch.bfloat16))
        >>> optimiser = MasterAdamW([("w", weight)])
        >>> for _ in range(4):
        ...     weight.grad = None
        ...     (3 * weight).sum().backward()
        ...     optimiser.step(1e-3)
        >>> round(optimiser.tensors()["master.w"].item(), 5), weight.item()
        (0.996, 0.99609375)
    """

    def __init__(
        self,
        named: Iterable[tuple[str, Tensor]],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        """Copy half-precision parameters and begin to collect their gradients."""
        self.parameters = {name: p for name, p in named if p.requires_grad}
        if not self.parameters:
            raise InputError(
                "no parameter requires a gradient: set lora_rank, or train a model that is not frozen"
            )
        self.masters: dict[str, Tensor] = {}
        self._hooks = []
        for name, p in self.parameters.items():
            self.masters[name] = p
            if p.dtype in _HALF:
                master = self.masters[name] = p.detach().float().clone()
                self._hooks.append(p.register_post_accumulate_grad_hook(_into(master)))
        groups = [[m for m in self.masters.values() if (m.dim() > 1) == decays] for decays in (True, False)]
        # Fused on CUDA, where the default keeps temporaries of the size of the gradients.
        self._adamw = torch.optim.AdamW(
            [
                {"params": group, "weight_decay": weight_decay * decays}
                for group, decays in zip(groups, (1, 0))
                if group
            ],
            lr=0.0,
            betas=betas,
            eps=eps,
            fused=all(m.is_cuda for m in self.masters.values()),
        )

    def gradients(self) -> list[Tensor]:
        """float32 gradients so far, zeros where a parameter got none, so every process has the same list."""
        for name, master in self.masters.items():
            p = self.parameters[name]
            if p is not master and p.grad is not None:
                _into(master)(p)  # where sharding calls no hooks the sums are rounded, but none is lost
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        return [local(m.grad) for m in self.masters.values() if m.grad is not None]

    def norm(self) -> Tensor:
        """() Euclidean norm of all gradients, over all shards.

        Summed in float64, so that it is the same whatever the shards. Clipping divides every gradient by it,
        and where its last digit differs some weights are rounded the other way.
        """
        norms = [
            torch.linalg.vector_norm(m.grad, dtype=torch.float64)
            for m in self.masters.values()
            if m.grad is not None
        ]
        return whole(torch.linalg.vector_norm(torch.stack(norms))).float()

    def clip(self, norm: Tensor, largest: float) -> None:
        """Scale gradients of this norm down to `largest`."""
        factor = (largest / (norm + 1e-6)).clamp(max=1.0)
        for gradient in self.gradients():
            gradient.mul_(factor.to(gradient))

    def step(self, rate: float) -> None:
        """Update weights at this learning rate, and forget the gradients."""
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        self.round()

    def round(self) -> None:
        """Set half-precision parameters to their masters, rounded."""
        with torch.no_grad():
            for name, p in self.parameters.items():
                if p is not self.masters[name]:
                    p.copy_(self.masters[name])

    def forget(self) -> None:
        """Drop the gradients."""
        self._adamw.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """This process's part of weights, moments and counts, by name, sharing memory."""
        out = {}
        for name, master in self.masters.items():
            out[f"master.{name}"] = local(master.detach())
            out |= {f"{key}.{name}": local(value) for key, value in self._adamw.state.get(master, {}).items()}
        return out

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave, into the parameters, too.

        Raises:
            InputError: a tensor is missing or has another shape.
        """
        with torch.no_grad():
            for name, master in self.masters.items():
                _copy(local(master.detach()), tensors, f"master.{name}")
                if f"step.{name}" in tensors:
                    moments = {key: torch.zeros_like(master) for key in ("exp_avg", "exp_avg_sq")}
                    state = {"step": torch.zeros(()), **moments}
                    for key, value in state.items():
                        _copy(local(value), tensors, f"{key}.{name}")
                    self._adamw.state[master] = state
        self.round()


def _into(master: Tensor):
    """A hook that moves a parameter's new gradient into its master's, in float32."""

    def move(parameter: Tensor) -> None:
        assert parameter.grad is not None
        if master.grad is None:
            master.grad = parameter.grad.float()
        else:
            master.grad += parameter.grad.float()
        parameter.grad = None

    return move


def _copy(into: Tensor, tensors: dict[str, Tensor], name: str) -> None:
    if name not in tensors or tensors[name].shape != into.shape:
        shape = tuple(tensors[name].shape) if name in tensors else "none"
        raise InputError(
            f"the checkpoint's {name} has shape {shape} but the model's has {tuple(into.shape)}: it was "
            "written by another model, or sharded over another number of processes"
        )
    into.copy_(tensors[name])


def learning_rate(
    step: int, total: int, *, peak: float, kind: str = "cosine", warmup_ratio: float = 0.0
) -> float:
    """The learning rate of update `step` of `total`, a pure function of both.

    Over the first ceil(warmup_ratio total) updates it climbs linearly and reaches the peak at the last of
    them; in transformers, which starts at 0, the first update changes nothing. After that it stays, falls
    linearly or falls as a half cosine; it would be 0 at update `total`, one after the last.

    Example:
        >>> [round(learning_rate(s, 6, peak=1.0, kind="linear", warmup_ratio=0.3), 2) for s in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    one_of("lr_scheduler_type", kind, ("cosine", "linear", "constant"))
    warm = math.ceil(warmup_ratio * total)
    if step < warm:
        return peak * (step + 1) / warm
    if kind == "constant":
        return peak
    done = (step - warm) / max(1, total - warm)
    return peak * (1 - done) if kind == "linear" else peak * (1 + math.cos(math.pi * done)) / 2
