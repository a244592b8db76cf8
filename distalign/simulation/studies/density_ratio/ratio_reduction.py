"""Means of each class against one mean over all examples: where RDRO ends, and that more data do not help the
second.

Labels of one reference, share t of them chosen. A trainer that averages the losses of a mixed batch weighs
the classes by t and 1 - t; RDRO with class means is consistent at every t, with one mean at t = 1/2 only.
Limits are certified minimisers Newton's method finds from the reference on the exact law, and solutions of
the exact solver where it has one: far below t = 1/2 one mean has no solution on the branch that tends to p+.
Samples use alpha = n+/n, as one has it in practice.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import rdro
from distalign.policies import Tabular
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import blocks, frequencies, thumbs, total_variation
from distalign.simulation.verdict import Check, differs, growth, identity, rate, separation
from distalign.solvers.density_ratio import rdro_policy

DEFECT = "the mean over examples in place of class means"
REDUCTIONS = ("class_mean", "batch_mean")
SAME, APART, MIN_SIZE, PLATEAU = 1e-8, 5e-3, 1000, 30_000
UNBALANCED, BALANCED = 0.39, 0.5


def cells(sizes: list[int], replicates: int, priors: list[float]) -> list[dict[str, Any]]:
    """Samples at one unbalanced and at the balanced prior, and limits (size 0) at every prior."""
    samples = [
        {"prior": t, "size": n, "replicates": replicates} for t in (UNBALANCED, BALANCED) for n in sizes
    ]
    return [*samples, *({"prior": t, "size": 0, "replicates": 0} for t in priors)]


def run(
    rng: np.random.Generator, *, prior: float, size: int, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Total variation to p+ of both reductions on each replicate, or that of their limits."""
    if size == 0:
        return dict(pd.DataFrame([_limit(prior, reduction, defect) for reduction in REDUCTIONS]))
    truth = thumbs(prior)
    sample = truth.sample(size, rng, replicates=replicates)
    up, down = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    parts = []
    for reduction in REDUCTIONS:
        found = rdro_policy(
            up, down, truth.reference[0], alpha=sample.prior, share=_share(reduction, sample.prior, defect)
        )
        error = np.where(found.solved, total_variation(found.policy, truth.preferred[0]), np.nan)
        limit = _limit(prior, reduction, defect=False)["limit"]
        parts.append(
            pd.DataFrame(
                {"method": reduction, "replicate": np.arange(replicates), "error": error, "limit": limit}
            )
        )
    return dict(pd.concat(parts, ignore_index=True))


def _share(reduction: str, prior: Any, defect: bool) -> Any:
    """Weight of the chosen class."""
    return prior if defect or reduction == "batch_mean" else 0.5


def _limit(prior: float, reduction: str, defect: bool) -> dict[str, Any]:
    """Distance to p+ of Newton's minimiser on the exact law, and between it and the exact solution where
    there is one.
    """
    truth = thumbs(prior)
    found = rdro_policy(
        truth.preferred[0],
        truth.dispreferred[0],
        truth.reference[0],
        alpha=prior,
        share=_share(reduction, prior, defect),
    )
    taken = "batch_mean" if defect else reduction
    slow = fit(Tabular(truth.reference), partial(rdro, alpha=prior, reduction=taken), truth.law())
    limit = total_variation(slow.probs[0], truth.preferred[0]) if slow.converged else np.nan
    agreed = np.abs(slow.probs[0] - found.policy).max() if found.solved else np.nan
    return {
        "method": reduction,
        "limit": float(limit),
        "newton": float(agreed),
        "solved": bool(found.solved),
        "reference": float(total_variation(truth.reference[0], truth.preferred[0])),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error with its interval by prior, reduction and size; then the limits (size 0)."""
    drawn = summarise(rows.loc[rows["size"] > 0], ["prior", "method", "size"])
    limits = rows.loc[
        rows["size"] == 0, ["prior", "method", "size", "limit", "newton", "solved", "reference"]
    ]
    return pd.concat([drawn, limits], ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Class means: p+ and n^{-1/2} at every prior. One mean: its limit is elsewhere unless t = 1/2, and
    samples stop there.
    """
    mean, batch = (rows.loc[(rows["size"] == 0) & (rows.method == r)] for r in REDUCTIONS)
    newton = np.concatenate([x.newton.to_numpy(float) for x in (mean, batch)])
    uneven = rows.loc[(rows["size"] > 0) & (rows.prior == UNBALANCED)]
    error = blocks(uneven, REDUCTIONS, "error")
    last = uneven.loc[(uneven["size"] >= PLATEAU) & (uneven.method == "batch_mean")]
    class_means = {
        t: rows.loc[(rows["size"] > 0) & (rows.prior == t) & (rows.method == "class_mean")]
        for t in (UNBALANCED, BALANCED)
    }
    return [
        separation(
            "mean over examples minus class means, t = 0.39, largest n",
            error["batch_mean"][-1] - error["class_mean"][-1],
        ),
        identity("limit of class means is p+ at every prior", mean.limit, SAME),
        identity(
            "limit of the mean over examples is p+ at t = 1/2",
            batch.loc[batch.prior == BALANCED, "limit"],
            SAME,
        ),
        differs(
            "limit of the mean over examples, nearest to p+ of the other priors",
            [batch.loc[batch.prior != BALANCED, "limit"].to_numpy(float).min()],
            APART,
        ),
        identity("limits = exact solutions, where there are", newton[~np.isnan(newton)], SAME),
        identity("class means have an exact solution at every prior", 1 - mean.solved.to_numpy(float), 0),
        growth("the mean over examples stops at its limit", [last.error.mean()], [last.limit.mean()], 0.03),
        *(
            rate(
                f"class means, t = {t}: total variation to p+",
                mine,
                matches=-0.5,
                margin=0.03,
                min_size=MIN_SIZE,
            )
            for t, mine in class_means.items()
        ),
    ]
