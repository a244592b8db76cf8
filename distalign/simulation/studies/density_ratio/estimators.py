"""What the density-ratio studies share: a population of labelled responses, exact estimators on counts with
their certificate, and the check of an asymptotic constant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from torch import Tensor

from distalign.objectives._classes import class_means
from distalign.policies import Tabular, score
from distalign.populations import Law, Thumbs
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.fit import Objective
from distalign.simulation.verdict import Check, growth
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.theory.density_ratio import asymptotics
from distalign.types import Array

STANDARD_ERRORS = 4.0  # that a mean may be off its predicted constant; a correct one is in 1 of 16,000 checks


def acceptance(h: Array, ref: Array, prior: float) -> Array:
    """(..., K) probabilities q = sigma(h + shift) of being chosen, with the shift that makes sum_y p_ref q
    the given prior.

    The mean of q grows with the shift, so bisection finds it.
    """
    low, high = np.full((*h.shape[:-1], 1), -30.0), np.full((*h.shape[:-1], 1), 30.0)
    for _ in range(100):
        shift = (low + high) / 2
        below_prior = expit(h + shift) @ ref < prior
        low, high = (
            np.where(below_prior[..., None], shift, low),
            np.where(below_prior[..., None], high, shift),
        )
    return expit(h + (low + high) / 2)


@cache
def thumbs(prior: float = 0.39, responses: int = 12, spread: float = 1.0) -> Thumbs:
    """One prompt whose responses carry labels: the share `prior` of them is chosen, and scores are h ~ N(0,
    spread^2).

    The reference is drawn from Dirichlet(5). The seed is fixed.
    """
    rng = np.random.default_rng(39)
    ref, h = rng.dirichlet(np.full(responses, 5.0)), spread * rng.normal(size=responses)
    return Thumbs(acceptance(h[None], ref, prior), ref[None], np.ones(1))


def frequencies(chosen: Array, rejected: Array) -> tuple[Array, Array]:
    """Counts of the chosen and of the rejected responses, each divided by their total."""
    return chosen / chosen.sum(-1, keepdims=True), rejected / rejected.sum(-1, keepdims=True)


def estimates(up: Array, down: Array, ref: Array, alpha: float) -> dict[str, tuple[Array, NDArray[np.bool_]]]:
    """The policy of each exact estimator, and whether it is the minimiser.

    The estimators are SFT on the chosen, DDRO with its domain t pi/p_ref < 1 enforced at every response,
    and RDRO.
    """
    direct, relative = ddro_policy(up, down, ref, prior=alpha), rdro_policy(up, down, ref, alpha=alpha)
    return {
        "SFT": (up, np.ones(up.shape[:-1], bool)),
        "DDRO": (direct.policy, direct.solved),
        "RDRO": (relative.policy, relative.solved),
    }


def total_variation(p: Array, q: Array) -> Array:
    """Half the sum of absolute differences over the last axis."""
    return 0.5 * np.abs(p - q).sum(-1)


def blocks(rows: pd.DataFrame, names: tuple[str, ...], column: str, by: str = "size") -> dict[str, Array]:
    """(cells, replicates) values of a column for each of the methods named, cells in the order of their
    `by`.
    """
    selected = rows.loc[rows.method.isin(names)].sort_values([by, "replicate"], kind="stable")
    cells = selected[by].nunique()
    return {
        name: selected.loc[selected.method == name, column].to_numpy(float).reshape(cells, -1)
        for name in names
    }


def torch_gradients(
    loss: Objective,
    policies: Array,
    ref: Array,
    sample: Law,
    *,
    largest_ratio: float = np.inf,
    count: int = 4,
) -> Array:
    """(R,) largest entry of the torch objective's gradient at the first few replicates' exact solutions.

    Only `count` policies are taken that give mass to every response and have pi/p_ref below `largest_ratio`;
    the others are NaN.
    """
    out, tabular = np.full(len(policies), np.nan), Tabular(ref)
    inside = (policies > 0).all(-1) & ((policies / ref).max(-1) < largest_ratio)
    for i in np.flatnonzero(inside)[:count]:
        law, theta = sample.replicate(i), torch.from_numpy(np.log(policies[i] / ref)).requires_grad_()
        weights = (torch.from_numpy(w) for w in (law.weights, law.rejected_weights) if w is not None)
        atoms = torch.from_numpy(law.chosen), torch.from_numpy(law.rejected)
        value = loss(score(tabular, theta, *atoms, *weights))
        out[i] = float(torch.autograd.grad(value, theta)[0].abs().max())
    return out


def labels_smoothed(right: Callable[..., Law]) -> Callable[..., Law]:
    """`Thumbs.sample` by a developer who left a label smoothing of 0.05 in the acceptance."""

    def wrong(self: Thumbs, *args: Any, **options: Any) -> Law:
        return right(Thumbs(0.95 * self.acceptance + 0.025, self.reference, self.prompts), *args, **options)

    return wrong


def ties_dropped(right: Callable[..., Law]) -> Callable[..., Law]:
    """`Population.sample_pairs` by a developer who throws away responses that meet themselves."""

    def wrong(*args: Any, **options: Any) -> Law:
        law = right(*args, **options)
        return Law(law.chosen, law.rejected, np.where(law.chosen == law.rejected, 0, law.weights))

    return wrong


def mean_over_rows(_: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`pooled_mean` by a developer who weighs the classes by their rows in place of their weights: by halves,
    on a law.
    """

    def wrong(batch: PreferenceLogProbs, chosen: Tensor, rejected: Tensor) -> Tensor:
        n, m = len(batch.chosen), len(batch.rejected)
        of_chosen, of_rejected = class_means(batch, chosen, rejected)
        return (n * of_chosen + m * of_rejected) / (n + m)

    return wrong


def total_variation_check(name: str, sizes: ArrayLike, errors: ArrayLike, covariance: Array) -> Check:
    """Check that sqrt(n) times the mean total variation is the constant of the limit, to four of the standard
    errors that the limit gives that mean.
    """
    return _constant_check(
        name,
        np.sqrt(np.asarray(sizes)) * np.asarray(errors),
        asymptotics.total_variation_constant(covariance),
        asymptotics.total_variation_deviation(covariance),
    )


def divergence_check(
    name: str, sizes: ArrayLike, errors: ArrayLike, covariance: Array, target: Array
) -> Check:
    """Check that n times the mean KL(p+ || pi), or four times squared Hellinger, is its constant.

    The tolerance is that of `total_variation_check`.
    """
    return _constant_check(
        name,
        np.asarray(sizes) * np.asarray(errors),
        asymptotics.divergence_constant(covariance, target),
        asymptotics.divergence_deviation(covariance, target),
    )


def _constant_check(name: str, scaled: Array, mean: float, deviation: float) -> Check:
    tolerance = STANDARD_ERRORS * deviation / mean / np.sqrt(scaled.size)
    return growth(name, [scaled.mean()], [mean], round(tolerance, 5))
