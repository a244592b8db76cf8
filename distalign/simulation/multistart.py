"""Losses with many local minima, one for each row of some tables: values at many points, and the lowest
certified minimum.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from distalign.simulation.autograd_newton import Problem, autograd_newton

Loss = Callable[..., Tensor]

_BLOCK = 2**18  # numbers of a table held at once for all points: about 2 MB for each intermediate value


@dataclass(frozen=True, eq=False)
class Found:
    """The lowest minimum of each replicate.

    Attributes:
        theta: (R, d) where it lies.
        value: (R,) loss there.
        converged: (R,) whether any run ended with the certificate of `distalign.simulation.fit.fit`; other
            rows mean nothing.
    """

    theta: Tensor
    value: Tensor
    converged: Tensor


def values(loss: Loss, tables: Sequence[Tensor], points: Tensor) -> Tensor:
    """(R, G) losses f(point, *row of each table) -> scalar at points (R, G, d), or (G, d) for the same points
    everywhere.

    Args:
        loss: made of operations that `torch.func` can batch.
        tables: tensors of first dimension R, float64 or integer.
        points: parameters.

    Example:
        >>> squares = lambda z, a: ((z - a) ** 2).sum()
        >>> values(squares, [torch.tensor([[0.0], [2.0]])], torch.tensor([[0.0], [1.0]])).tolist()
        [[0.0, 1.0], [4.0, 1.0]]
    """
    at_points = vmap(loss, (0, *[None] * len(tables)))
    size = max(1, _BLOCK // (points.shape[-2] * max(t[0].numel() for t in tables)))
    own = 0 if points.dim() == 3 else None
    with warnings.catch_warnings():
        # torch's own batching hands an expanded tensor to searchsorted and warns of the copy; the numbers are
        # right
        warnings.filterwarnings("ignore", message=".*searchsorted.*non-contiguous")
        return vmap(at_points, (own, *[0] * len(tables)), chunk_size=size)(points, *tables)


def lowest(
    loss: Loss, tables: Sequence[Tensor], candidates: Tensor, *, keep: int = 4, tolerance: float = 1e-10
) -> Found:
    """The lowest minimum that Newton's method reaches from the `keep` best candidates, for every replicate at
    once.

    This is a search and not a proof: a minimum narrower than the spacing of the candidates can be missed.
    Every entry of theta must change the loss (no gauge).

    Args:
        loss, tables: as in `values`.
        candidates: (R, G, d), or (G, d) for the same everywhere; for instance a grid. G >= keep.
        keep: starts of each replicate.
        tolerance: largest gradient of a converged run.

    Example: two valleys, the deeper one on the right.
        >>> wells = lambda z, tilt: ((z**2 - 1) ** 2 - tilt * z).sum()
        >>> starts = torch.linspace(-2, 2, 9).double()[:, None]
        >>> found = lowest(wells, [torch.tensor([[0.3]]).double()], starts)
        >>> found.theta.round(decimals=3).tolist(), found.converged.tolist()
        ([[1.036]], [True])
    """
    order = values(loss, tables, candidates).argsort(1)[:, :keep]
    dimension = candidates.shape[-1]
    everywhere = candidates if candidates.dim() == 3 else candidates.expand(len(order), -1, -1)
    starts = everywhere.gather(1, order[..., None].expand(-1, -1, dimension)).flatten(0, 1).clone()
    eye = torch.eye(dimension, dtype=torch.float64)
    problem = Problem(loss, tuple(t.repeat_interleave(keep, 0) for t in tables), eye)
    z, ends, _ = autograd_newton(problem, starts, tolerance, max_iterations=100)
    best = ends.value.where(ends.converged, torch.inf).reshape(-1, keep).argmin(1)
    rows = best + keep * torch.arange(len(best))
    return Found(z[rows], ends.value[rows], ends.converged[rows])
