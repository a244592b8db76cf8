"""Log-linear fits of many populations at once, for losses that depend on the margin of a comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distalign.objectives import dpo
from distalign.populations import LogLinearBradleyTerry, Population
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.autograd_newton import Problem, autograd_newton
from distalign.types import Array

MarginLoss = Callable[..., Tensor]

_TOLERANCE, _ROUNDS = 1e-10, 200


def atoms(instance: LogLinearBradleyTerry) -> tuple[Array, Array]:
    """(m, d) features of the chosen minus those of the rejected response, and (m,) the law of comparisons."""
    law, psi = (
        instance.population.pairs(distinct=True),
        instance.features.reshape(-1, instance.features.shape[-1]),
    )
    return psi[law.chosen] - psi[law.rejected], law.weights


def flipped(instance: LogLinearBradleyTerry) -> Array:
    """(m,) the law of the same comparisons with every label flipped."""
    population = instance.population
    return (
        Population(population.win.transpose(0, 2, 1), population.reference, population.prompts)
        .pairs(distinct=True)
        .weights
    )


def batch(margins: Tensor, p: Tensor, **fields: Any) -> PreferenceLogProbs:
    """The seam to the torch objectives: pairs of log-ratio `margins`, weighted by p."""
    zero = torch.zeros_like(margins)
    return PreferenceLogProbs(margins, zero, zero, zero, weights=p, validate=False, **fields)


def fits(
    loss: MarginLoss, v: Array, *tables: Array, start: Array | None = None
) -> tuple[Array, NDArray[np.bool_]]:
    """Minimise loss(theta, v, *rows) for R problems at once.

    Args:
        loss: f(theta (d,), v (m, d), *one row of each table) -> scalar.
        v: (R, m, d) features, or (m, d) for all problems.
        tables: (R, ...) what else differs between problems.
        start: (R, d) first iterates; None means the reference.

    Returns:
        (R, d) minimisers and (R,) whether they are certified (gradient, Newton step, curvature).
    """
    features, tables_per_problem, d = (
        torch.from_numpy(v),
        tuple(torch.from_numpy(t) for t in tables),
        v.shape[-1],
    )
    first = (
        torch.zeros(len(tables[0]), d, dtype=torch.float64)
        if start is None
        else torch.from_numpy(start.copy())
    )
    axes = torch.eye(d, dtype=torch.float64)
    if v.ndim == 2:
        problem = Problem(lambda theta, *rows: loss(theta, features, *rows), tables_per_problem, axes)
    else:
        problem = Problem(loss, (features, *tables_per_problem), axes)
    minimisers, certificates, _ = autograd_newton(problem, first, _TOLERANCE, _ROUNDS)
    return minimisers.numpy(), certificates.converged.numpy()


def wdpo_root(theta: Tensor, v: Tensor, p: Tensor, *, radius: float) -> Tensor:
    """`distalign.objectives.wdpo` of form root, through the policy, for inputs v of a policy linear in them.

    Its gradient's norm sigma(-t) ||theta|| is written out, so that replicates may be batched; 1e-12 under the
    root makes its kink at the reference smooth.
    """
    margins = v @ theta
    squares = (p * torch.sigmoid(-margins) ** 2).sum() * (theta @ theta)
    return dpo(batch(margins, p), beta=1.0) + radius * (squares + 1e-12).sqrt()


def losses(theta: Array, v: Array) -> Array:
    """(..., m) DPO losses at theta (..., d)."""
    return np.logaddexp(0, -np.einsum("...md,...d->...m", v, theta))


def cosine(a: Array, b: Array) -> Array:
    """(...) cosines of the last axes."""
    return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
