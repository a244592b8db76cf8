"""Standard errors of statistics of dependent pairs, by resampling whole clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from distalign.checks import InputError
from distalign.training.evaluation.measures import HeldOut

MOST_RESAMPLES = 100_000


def check_resamples(resamples: int) -> None:
    """Raise before any work unless so many resamples end in a reasonable time."""
    if not 0 <= resamples <= MOST_RESAMPLES:
        raise InputError(f"resamples must be from 0 (no intervals) to {MOST_RESAMPLES:,}, got {resamples}")


def cluster_errors(
    held: HeldOut, statistics: Callable[[HeldOut], dict[str, float]], resamples: int, seed: int
) -> dict[str, float]:
    """Standard errors of all statistics by resampling whole clusters.

    Responses of one prompt or topic depend on each other; resampling single pairs would call them
    independent. With G clusters the bootstrap's variance is multiplied by G / (G - 1).

    Args:
        held: scored data with its clusters.
        statistics: names to values; must read the weights.
        resamples: how many; those in which a class has no weight are left out.
        seed: of the resampling.

    Returns:
        Standard errors by name; empty for a single cluster or fewer than two resamples.
    """
    clusters = (held.chosen_clusters, held.rejected_clusters)
    count = 1 + max(int(part.max()) for part in clusters if len(part))
    if count < 2 or resamples < 2:
        return {}
    batch = held.batch
    given = (
        batch.weights,
        batch.weights if batch.rejected_weights is None and batch.is_paired else batch.rejected_weights,
    )
    bases = [
        torch.ones(len(part), dtype=torch.float64) if w is None else w.double()
        for w, part in zip(given, clusters, strict=True)
    ]
    rng, found = np.random.default_rng(seed), []
    for _ in range(resamples):
        draws = np.bincount(rng.integers(count, size=count), minlength=count)
        w, r = (base * torch.from_numpy(draws[part]) for base, part in zip(bases, clusters, strict=True))
        if float(w.sum()) > 0 and (not len(r) or float(r.sum()) > 0):
            found.append(statistics(replace(held, batch=replace(batch, weights=w, rejected_weights=r))))
    scale = float(np.sqrt(count / (count - 1)))
    return {name: scale * float(np.nanstd([f[name] for f in found], ddof=1)) for name in found[0]}
