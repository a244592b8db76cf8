"""Minimise any objective over a small policy, for all replicates at once, with a certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap

from distalign.checks import InputError, positive
from distalign.policies.score import Policy, score
from distalign.populations.law import Law
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.autograd_newton import Certificates, Problem, autograd_newton

Objective = Callable[[PreferenceLogProbs], Tensor]

_BLOCK = 2**21  # replicates x directions x atoms held at once: about 16 MB for each intermediate value


@dataclass(frozen=True, eq=False)
class Fit:
    """The minimisers of one objective on the replicates of one law; arrays drop the axis R where the law has
    none.

    `converged` is False, whatever the value, in these cases:

    - The loss only falls towards infinity: DPO where a pair was won by one side only, SFT where a response
      was never chosen. Gradients vanish but Newton steps do not shrink. The *policy* may have a limit all the
      same, with probabilities 0, and `settled` says so: the gradient is at most `tolerance`, no curvature is
      below -1e-12, and no probability moved by more than sqrt(tolerance). A rate study that dropped settled
      replicates would select the lucky samples. Where several policies share the infimum (responses never
      compared), the one reached depends on the start.
    - The minimiser sits on a kink (a hinge): no small gradient exists there.
    - A class was drawn empty, so the objective is NaN.

    Where an objective holds a part of itself constant (`detach`, as BCO does) value and gradient disagree:
    the search for a lower value mostly stalls, and a replicate that converges all the same is at an
    equilibrium, not at a minimum.

    A piecewise smooth loss that is not convex (paired AOT, which sorts) has many local minima, each of them
    certified: give several starts and keep the lowest value.

    Attributes:
        theta: (R, d) minimisers, without gauge component.
        value: (R,) objective there.
        gradient_norm: (R,) max-norm of its gradient in theta.
        newton_norm: (R,) max-norm of the next Newton step: the estimated distance to the minimiser.
        policy_step: (R,) largest change of a probability under that step.
        curvature: (R,) smallest eigenvalue of the Hessian over the policy's directions; about 0 where data do
            not determine the policy.
        converged: (R,) whether the certificate of `fit` holds; the other replicates hold the last iterate.
        settled: (R,) whether at least the policy stands still; true wherever `converged` is.
        iterations: Newton iterations of the slowest replicate.
        log_probs: (R, S, K) log-probabilities of the fitted policies.
    """

    theta: NDArray[np.float64]
    value: NDArray[np.float64]
    gradient_norm: NDArray[np.float64]
    newton_norm: NDArray[np.float64]
    policy_step: NDArray[np.float64]
    curvature: NDArray[np.float64]
    converged: NDArray[np.bool_]
    settled: NDArray[np.bool_]
    iterations: int
    log_probs: NDArray[np.float64]

    @property
    def probs(self) -> NDArray[np.float64]:
        """(R, S, K) probabilities of the fitted policies."""
        return np.exp(self.log_probs)


def fit(
    policy: Policy,
    objective: Objective,
    law: Law,
    *,
    start: Any = None,
    tolerance: float = 1e-10,
    max_iterations: int = 200,
) -> Fit:
    r"""argmin_theta objective(policy at theta, weighted by the law), for every replicate of the law together.

    Newton's method on the policy's directions (gauge removed): with H = V diag(l) V^T the step is
    -V (|l| + 1e-3 ||g||)^{-1} V^T g, a descent direction where H is indefinite and Newton's own step in the
    limit, halved until the value decreases (Armijo). A step to a non-finite value is halved like any other.

    `converged` certifies a gradient of at most `tolerance` in max-norm, a next Newton step of at most
    sqrt(tolerance) and no negative curvature: a local minimiser up to that distance, and the global one for a
    loss that is convex in theta. `Fit` says what the certificate does not cover.

    Args:
        policy: `Tabular` or `LogLinear`.
        objective: f(batch) -> scalar, a `functools.partial` of `distalign.objectives`; it must be made of
            operations that `torch.func` can batch and must not read `inputs`.
        law: exact law or counts; its replicate axis is the batch.
        start: (d,) or (R, d) first iterate; None means the reference, theta = 0.
        tolerance: largest gradient of a converged replicate, in units of the objective per unit of theta.
        max_iterations: Newton iterations before a replicate is given up.

    Returns:
        `Fit`. Check `converged`: nothing is raised for a replicate that has no minimiser.

    Raises:
        InputError: the law names responses the policy does not have, or a setting is out of range.

    Example:
        >>> from functools import partial
        >>> from distalign.policies import Tabular
        >>> from distalign.populations import Population
        >>> population = Population(win=[[0.5, 0.8], [0.2, 0.5]], reference=[0.5, 0.5])
        >>> def dpo(batch):
        ...     logits = batch.chosen_ratio - batch.rejected_ratio
        ...     return -(batch.chosen_frequencies * torch.nn.functional.logsigmoid(logits)).sum()
        >>> found = fit(Tabular(population.reference), dpo, population.pairs())
        >>> bool(found.converged), found.probs.round(6).tolist()
        (True, [[0.8, 0.2]])
    """
    positive("tolerance", tolerance, "1e-10 is near the best that float64 allows")
    if max(law.chosen.max(initial=0), law.rejected.max(initial=0)) >= policy.log_reference.numel():
        raise InputError(
            f"the law names responses beyond the {policy.log_reference.numel()} of the policy: response y of "
            "prompt s is numbered s K + y"
        )
    z = _first(policy, start, law.replicates or 1)
    size = max(1, _BLOCK // max(1, z.shape[1] * (law.chosen.size + law.rejected.size)))
    parts = []
    for begin in range(0, z.shape[0], size):
        rows = slice(begin, begin + size)
        parts.append(
            autograd_newton(_problem(policy, objective, law, rows), z[rows], tolerance, max_iterations)
        )
    return _collect(policy, parts, tolerance, law.replicates is None)


def _first(policy: Policy, start: Any, replicates: int) -> Tensor:
    theta = torch.zeros(policy.dimension, dtype=torch.float64)
    if start is not None:
        theta = torch.as_tensor(start, dtype=torch.float64)
    if theta.shape not in ((policy.dimension,), (replicates, policy.dimension)):
        raise InputError(
            f"start must have shape ({policy.dimension},) or ({replicates}, {policy.dimension}), got "
            f"{tuple(theta.shape)}"
        )
    return (theta @ policy.directions).expand(replicates, -1).clone()


def _problem(policy: Policy, objective: Objective, law: Law, rows: slice) -> Problem:
    chosen, rejected = torch.as_tensor(law.chosen), torch.as_tensor(law.rejected)

    def loss(z: Tensor, *weights: Tensor) -> Tensor:
        return objective(score(policy, policy.directions @ z, chosen, rejected, *weights, validate=False))

    tables = [w for w in (law.weights, law.rejected_weights) if w is not None]
    return Problem(loss, tuple(torch.as_tensor(np.atleast_2d(w)[rows]) for w in tables), policy.directions)


def _collect(
    policy: Policy, parts: list[tuple[Tensor, Certificates, int]], tolerance: float, single: bool
) -> Fit:
    z, ends = torch.cat([z for z, _, _ in parts]), Certificates.joined([end for _, end, _ in parts])
    theta, step = z @ policy.directions.T, ends.newton_step @ policy.directions.T
    log_probs = vmap(policy.log_probs)(theta)
    policy_step = (vmap(policy.log_probs)(theta + step).exp() - log_probs.exp()).abs().flatten(1).amax(-1)
    still = (ends.gradient_norm <= tolerance) & (ends.curvature >= -1e-12) & (policy_step <= tolerance**0.5)

    def plain(x: Tensor) -> NDArray:
        return x[0].numpy() if single else x.numpy()

    return Fit(
        theta=plain(theta),
        value=plain(ends.value),
        gradient_norm=plain(ends.gradient_norm),
        newton_norm=plain(step.abs().amax(-1)),
        policy_step=plain(policy_step),
        curvature=plain(ends.curvature),
        converged=plain(ends.converged),
        settled=plain(ends.converged | still),
        iterations=max(count for _, _, count in parts),
        log_probs=plain(log_probs),
    )
