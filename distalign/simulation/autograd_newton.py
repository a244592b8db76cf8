"""Damped Newton on a batch of small problems, each with its own line search and certificate."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.func import grad_and_value, jacrev, vmap

_HALVINGS = 50
_DAMPING = 1e-3
_FLAT = 1e-11


@dataclass
class Certificates:
    """What proves, or does not, that each of R replicates is at a minimum.

    Attributes:
        value: (R,) objective; NaN where it never was finite.
        gradient_norm: (R,) max-norm of the gradient.
        newton_step: (R, r) the next Newton step.
        curvature: (R,) smallest eigenvalue of the Hessian.
        converged: (R,) small gradient, small Newton step, no negative curvature.
    """

    value: Tensor
    gradient_norm: Tensor
    newton_step: Tensor
    curvature: Tensor
    converged: Tensor

    @classmethod
    def unknown(cls, size: int, directions: int) -> Certificates:
        """The certificates of `size` replicates that have not been evaluated yet."""

        def nan(*shape: int) -> Tensor:
            return torch.full(shape, torch.nan, dtype=torch.float64)

        return cls(
            nan(size), nan(size), nan(size, directions), nan(size), torch.zeros(size, dtype=torch.bool)
        )

    @classmethod
    def joined(cls, parts: list[Certificates]) -> Certificates:
        """The certificates of several batches, one after the other."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass
class Problem:
    """A loss of z (r,) and of tables of weights (R, ...), one row of each for a replicate.

    Attributes:
        loss: f(z, *one row of each table) -> scalar.
        weights: tables of first dimension R.
        directions: (d, r) orthonormal columns: norms are taken of directions @ z, the user's coordinates.
    """

    loss: Callable[..., Tensor]
    weights: tuple[Tensor, ...]
    directions: Tensor

    def values(self, z: Tensor, rows: Tensor) -> Tensor:
        """(n,) losses of the replicates `rows` at z (n, r)."""
        return vmap(self.loss)(z, *(w[rows] for w in self.weights))

    def derivatives(self, z: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n,) losses, (n, r) gradients and (n, r, r) Hessians; reverse over reverse was faster than forward
        over it.
        """

        def gradient(point: Tensor, *weights: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            g, value = grad_and_value(self.loss)(point, *weights)
            return g, (value, g)

        with warnings.catch_warnings():
            # torch's own batching of log_sigmoid's derivative resizes a buffer and warns; the numbers are
            # right
            warnings.filterwarnings("ignore", message="An output with one or more elements was resized")
            hessian, (value, g) = vmap(jacrev(gradient, has_aux=True))(z, *(w[rows] for w in self.weights))
        return value, g, hessian

    def norms(self, z: Tensor) -> Tensor:
        """(n,) max-norm in the user's coordinates."""
        return (z @ self.directions.T).abs().amax(-1)


def autograd_newton(
    problem: Problem, z: Tensor, tolerance: float, max_iterations: int
) -> tuple[Tensor, Certificates, int]:
    """Newton from z (R, r), changed in place; the certificate is that of `distalign.simulation.fit.fit`.

    A replicate leaves the batch when it has converged, when no step lowers its value, when its value is not
    finite, or when its gradient falls below tolerance / 1000 without the rest of the certificate (a minimum
    at infinity, or a saddle).

    Returns:
        (z, certificates, iterations).
    """
    ends, rows, iteration = Certificates.unknown(*z.shape), torch.arange(z.shape[0]), 0
    while rows.numel():
        value, g, hessian = problem.derivatives(z[rows], rows)
        finite = (
            torch.isfinite(value) & torch.isfinite(g).all(-1) & torch.isfinite(hessian).flatten(1).all(-1)
        )
        rows, value, g, hessian = rows[finite], value[finite], g[finite], hessian[finite]
        step = _record(problem, ends, rows, value, g, hessian, tolerance)
        going = ~ends.converged[rows] & (ends.gradient_norm[rows] > 1e-3 * tolerance)
        rows, value, g, step = rows[going], value[going], g[going], step[going]
        if iteration == max_iterations:
            break
        iteration += int(rows.numel() > 0)
        rows = rows[_descend(problem, z, rows, value, (g * step).sum(-1), step)]
    return z, ends, iteration


def _record(
    problem: Problem,
    ends: Certificates,
    rows: Tensor,
    value: Tensor,
    g: Tensor,
    hessian: Tensor,
    tolerance: float,
) -> Tensor:
    """Write down where the replicates stand and return their next steps, (n, r)."""
    curvature, axes = torch.linalg.eigh(hessian)
    along = torch.einsum("nji,nj->ni", axes, g)

    def newton(damping: Tensor | float) -> Tensor:
        return -torch.einsum("nij,nj->ni", axes, along / (curvature.abs() + damping))

    # relative to the largest curvature: a loss that saturates everywhere must not look flat and settled
    largest = curvature.abs().amax(-1, keepdim=True)
    gradient_norm, full_step = (
        problem.norms(g),
        newton((_FLAT * largest).clamp(min=torch.finfo(torch.float64).tiny)),
    )
    convex = curvature[:, 0] >= -1e-6 * curvature[:, -1].abs().clamp(min=1e-6)
    ends.value[rows] = value
    ends.gradient_norm[rows] = gradient_norm
    ends.newton_step[rows] = full_step
    ends.curvature[rows] = curvature[:, 0]
    ends.converged[rows] = (
        (gradient_norm <= tolerance) & (problem.norms(full_step) <= tolerance**0.5) & convex
    )
    caution = torch.where(curvature[:, :1] < -_FLAT * largest, 1.0, _DAMPING)
    return newton(caution * g.norm(dim=-1, keepdim=True))


def _descend(problem: Problem, z: Tensor, rows: Tensor, value: Tensor, slope: Tensor, step: Tensor) -> Tensor:
    """Halve each step until its value falls; move z in place and return (n,) whether the replicate moved."""
    pending = torch.arange(rows.numel())
    moved = torch.zeros(rows.numel(), dtype=torch.bool)
    rounding = 8 * torch.finfo(torch.float64).eps * value.abs().clamp(min=1)
    for halving in range(_HALVINGS):
        if not pending.numel():
            break
        length = 0.5**halving
        trial = z[rows[pending]] + length * step[pending]
        after = problem.values(trial, rows[pending])
        better = after <= value[pending] + 1e-4 * length * slope[pending] + rounding[pending]
        z[rows[pending[better]]] = trial[better]
        moved[pending[better]] = True
        pending = pending[~better]
    return moved
