"""Mistakes in the code of AOT that several of its studies plant.

Each function takes the right function and returns a wrong one, as `distalign.simulation.defects.Defect` asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from distalign.preferences import PreferenceLogProbs

Function = Callable[..., Any]


def rejected_unsorted(right: Function) -> Function:
    """`quantile_coupling` by a developer who sorted the first class only."""

    def wrong(u: Tensor, v: Tensor, *weights: Tensor | None, validate: bool = True) -> Any:
        places = torch.arange(len(v), dtype=v.dtype)  # already sorted, so it is left as it is
        widths, a, place = right(u, places, *weights, validate=validate)
        return widths, a, v[place.long()]

    return wrong


def pair_by_pair(right: Function) -> Function:
    """`aot_paired` without its sort: the objective of each pair alone, averaged."""

    def wrong(batch: PreferenceLogProbs, **options: Any) -> Tensor:
        def alone(u: Tensor, v: Tensor) -> Tensor:
            zero = torch.zeros_like(u)
            return right(PreferenceLogProbs(u, zero, v, zero, validate=False), **options)

        single = vmap(alone)(batch.margin[:, None], batch.ref_margin[:, None])
        return (batch.chosen_frequencies * single).sum()

    return wrong


def weights_in_order_of_data(right: Function) -> Function:
    """`distalign.sorting._cumulative` by a developer who did not sort the weights with their values."""

    def wrong(weights: Tensor | None, order: Tensor, like: Tensor) -> Tensor:
        return right(weights, torch.arange(len(order), device=order.device), like)

    return wrong
