"""Fast sorting with a gradient, and the coupling of two samples by their quantiles.

The quantile coupling is what AOT and the dominance metrics are made of: for a convex cost it is the optimal
transport plan between two laws on the line.

Source: textbook; sorting solves one-dimensional transport with a convex cost (arXiv 2406.05882).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distalign.checks import InputError

_FEW = 2000  # below, numpy's own argsort is as fast


def ascending(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values (n,) in ascending order and their places, like `torch.sort`; equal values in any order.

    On a CPU keys and places are sorted as one integer, which takes half of the time of `torch.sort` and
    `numpy.argsort`; elsewhere torch sorts. The gradient holds the order fixed, as that of `torch.sort` does.

    Example:
        >>> ascending(torch.tensor([3.0, 1.0, 2.0]))[0].tolist()
        [1.0, 2.0, 3.0]
    """
    return _Ascending.apply(values)  # type: ignore[return-value]


def quantile_coupling(
    u: Tensor, v: Tensor, p: Tensor | None = None, q: Tensor | None = None, *, validate: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The comonotone coupling of two weighted samples, optimal for every convex cost h(u - v).

    (0, 1] is split at the cumulative weights of both sorted samples. On the k-th interval, of width w_k, the
    quantile functions are constant, so

        \int_0^1 h(Q_U(t) - Q_V(t)) dt = sum_k w_k h(a_k - b_k).                            (1)

    The result is differentiable in u and v (the ordering is held fixed), not in the weights. Equal counts
    without weights need one sort each and nothing else.

    Args:
        u: (n,) values.
        v: (m,) values.
        p: (n,) weights of sum 1, or None for 1/n each.
        q: (m,) weights of sum 1, or None for 1/m each.
        validate: check the weights; off only inside `torch.func` transforms, where values cannot be looked
            at.

    Raises:
        InputError: weights that are negative or do not sum to 1.

    Returns:
        (w, a, b): widths of sum 1 and the values of Q_U and Q_V on the intervals, each of shape (n + m,), or
        (n,) for equal counts without weights. Repeated breakpoints give intervals of width 0.

    Source: Santambrogio, Optimal Transport for Applied Mathematicians, Thm 2.9 and Prop. 2.17.

    Example:
        >>> w, a, b = quantile_coupling(torch.tensor([3.0, 1.0]), torch.tensor([2.0]))
        >>> [round(x, 3) for x in (w * (a - b)).tolist()]
        [-0.5, 0.5, 0.0]
    """
    for name, weights in (("p", p), ("q", q)) if validate else ():
        if weights is not None and not (
            bool((weights >= 0).all()) and abs(float(weights.double().sum()) - 1) < 1e-4
        ):
            raise InputError(f"{name} must be non-negative weights of sum 1: divide them by their sum")
    if p is None and q is None and u.shape == v.shape:
        return torch.full_like(u, 1 / max(u.shape[0], 1)), ascending(u)[0], ascending(v)[0]
    u, iu = ascending(u)
    v, iv = ascending(v)
    with torch.no_grad():
        cu = _cumulative(p, iu, u)
        cv = _cumulative(q, iv, v)
        k = torch.arange(len(cu) + len(cv), device=u.device)
        is_v = torch.zeros_like(k).scatter(0, torch.searchsorted(cu, cv, right=True) + k[: len(cv)], 1)
        kv = is_v.cumsum(0) - is_v
        ku, kv = (k - kv).clamp(max=len(cu) - 1), kv.clamp(max=len(cv) - 1)
        ends = torch.where(is_v > 0, cv[kv], cu[ku])
        widths = torch.diff(ends, prepend=ends.new_zeros(1))
    return widths.to(u.dtype), u[ku], v[kv]


def _sorted(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Values (..., n) in ascending order along the last axis, NaN last, and their places; ties in any order.

    A float is a sign and a magnitude, so its bits are an integer of the same order once those of negative
    numbers are turned round. The low bits make room for the place, and one sort of integers carries both:
    numpy's vectorised sort of values is twice as fast as that of places. Of a float64 the last bits, 20 for a
    million values, are lost; values that agree in all others are put in order afterwards.

    Source: packing a key and its place into one word is textbook.
    """
    n = values.shape[-1]
    bits = max(n - 1, 1).bit_length()
    if values.dtype not in (np.float32, np.float64) or n < _FEW or bits > 31:
        return _by_argsort(values)
    values = np.ascontiguousarray(values)
    if values.dtype == np.float32:
        keys = values.view(np.int32).astype(np.int64)
        keys ^= (keys >> 63) & 0x7FFFFFFF
        keys <<= 32
    else:
        keys = values.view(np.int64) & (-1 << bits)
        turned = keys >> 63
        turned &= 0x7FFFFFFFFFFFFFFF & (-1 << bits)
        keys ^= turned
    keys |= np.arange(n)
    keys.sort(axis=-1)
    order = keys & ((1 << bits) - 1)
    found = np.take_along_axis(values, order, -1) if values.ndim > 1 else values[order]
    if np.isnan(found[..., [0, -1]]).any():
        return _by_argsort(values)
    unsorted = (found[..., 1:] < found[..., :-1]).any(-1)
    for row in np.argwhere(unsorted):
        at = tuple(row)
        _order_ties(values[at], keys[at] >> bits, found[at], order[at])
    return found, order


def _by_argsort(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    order = np.argsort(values, axis=-1)
    return np.take_along_axis(values, order, -1), order


def _order_ties(
    row: NDArray[Any], prefix: NDArray[np.int64], found: NDArray[Any], places: NDArray[np.int64]
) -> None:
    """Put values with the same prefix, and their places, in order; in place."""
    tied = prefix[1:] == prefix[:-1]
    at = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
    some = places[at]
    places[at] = some[np.lexsort((row[some], prefix[at]))]
    found[at] = row[places[at]]


def _cumulative(weights: Tensor | None, order: Tensor, like: Tensor) -> Tensor:
    """Cumulative weights in sorted order, in float64 and ending at exactly 1."""
    n = like.shape[0]
    if weights is None:
        return torch.arange(1, n + 1, dtype=torch.float64, device=like.device) / n
    c = weights[order].double().cumsum(0)
    return c / c[-1:]


class _Ascending(torch.autograd.Function):
    """Sorting as an autograd function with its own gradient.

    It sorts the last axis, so that a replicate axis put in front needs no rule of its own.
    """

    @staticmethod
    def forward(values: Tensor) -> tuple[Tensor, Tensor]:
        if values.device.type != "cpu":
            return torch.sort(values)
        found, order = _sorted(values.detach().numpy())
        return torch.from_numpy(found), torch.from_numpy(order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> Tensor:  # type: ignore[override]
        return torch.zeros_like(gradient).scatter(-1, ctx.saved_tensors[0], gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _taken(tangent, ctx.saved_tensors[0]), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], values: Tensor) -> Any:  # type: ignore[override]
        return _Ascending.apply(values.movedim(in_dims[0], 0)), (0, 0)


def _taken(values: Tensor, order: Tensor) -> Tensor:
    return values.index_select(0, order) if values.dim() == 1 else values.gather(-1, order)
