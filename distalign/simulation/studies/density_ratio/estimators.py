"""What the density-ratio studies share: a population of labelled responses, and exact estimators on
counts.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from distalign.populations import Thumbs
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.types import Array


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
