"""Sorting as fast as the machine allows, with a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def ascending(values: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) values in ascending order and their places, like `torch.sort`; equal values stand in no promised order.

    On a CPU numpy's vectorised sort is five times faster than torch's; elsewhere, and for replicates under
    `torch.func.vmap`, torch's is used. The gradient holds the order fixed, as that of `torch.sort` does.

    Example:
        >>> ascending(torch.tensor([3.0, 1.0, 2.0]))[0].tolist()
        [1.0, 2.0, 3.0]
    """
    return _Ascending.apply(values)  # type: ignore[return-value]


class _Ascending(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor) -> tuple[Tensor, Tensor]:
        if values.device.type != "cpu":
            return torch.sort(values)
        order = torch.from_numpy(np.argsort(values.detach().numpy()))
        return values.index_select(0, order), order

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> Tensor:
        (order,) = ctx.saved_tensors
        return torch.zeros_like(gradient).index_copy(0, order, gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> tuple[Tensor, None]:
        return tangent.index_select(0, ctx.saved_tensors[0]), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], values: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        return tuple(torch.sort(values.movedim(in_dims[0], 0))), (0, 0)  # type: ignore[return-value]
