"""Means of each class against one mean over all examples: where RDRO ends, and that more data do not help
the second.

The claim is ours. RDRO is consistent with a mean for each class, at every share t of chosen responses. A
trainer that averages the losses of a mixed batch weighs the classes by t and 1 - t; with one mean RDRO ends
at p+ at t = 1/2 only, and elsewhere further from p+ the rarer chosen responses are.

The run. Labels of one reference, share t of them chosen. Size 0 computes the limits of both reductions at
every t; the other cells draw samples at t = 0.45 and 1/2, with alpha = n+/n, as one has it in practice.

The two roads. Limits are certified minimisers that Newton's method finds from the reference on the exact
law, and solutions of the exact solver where it has one: far below t = 1/2 one mean has no solution on the
branch that tends to p+.

The checks:

- a separation: at t = 0.45 and the largest n one mean is behind class means;
- identities: the limit of class means is p+ at every t, that of one mean at t = 1/2; the limits of class
  means are the exact solutions at every t, those of one mean where there are any;
- it differs from p+: the nearest limit of one mean at the other t;
- growth: samples with one mean stop at its limit;
- rates: with class means total variation falls like n^{-1/2} at both t.

The planted defects: alpha 10 % too large in the exact solver (at t = 0.45 that costs class means more than
one mean loses); alpha 5 % too large in the torch loss; one mean that counts the rows of the law in place of
their weights, which makes it class means.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import rdro
from distalign.objectives._classes import pooled_mean
from distalign.policies import Tabular
from distalign.simulation.defects import Defect, argument
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import (
    blocks,
    frequencies,
    mean_over_rows,
    thumbs,
    total_variation,
)
from distalign.simulation.verdict import Check, differs, growth, identity, rate, separation
from distalign.solvers.density_ratio import rdro_policy


def _limits_only(cell: Mapping[str, Any]) -> bool:
    return cell["size"] == 0


DEFECTS = (
    Defect("alpha of the RDRO solver 10 % too large", rdro_policy, argument("alpha", lambda x: 1.1 * x)),
    Defect("alpha of the RDRO loss 5 % too large", rdro, argument("alpha", lambda x: 1.05 * x), _limits_only),
    Defect("a mean over examples counts rows", pooled_mean, mean_over_rows, _limits_only),
)
REDUCTIONS = ("class_mean", "batch_mean")
SAME, APART, MIN_SIZE, PLATEAU = 1e-8, 5e-3, 1000, 300_000
UNBALANCED, BALANCED, CLOSE = 0.45, 0.5, 0.02


def cells(sizes: list[int], replicates: int, priors: list[float]) -> list[dict[str, Any]]:
    """Samples at one unbalanced and at the balanced prior, and limits (size 0) at every prior."""
    samples = [
        {"prior": t, "size": n, "replicates": replicates} for t in (UNBALANCED, BALANCED) for n in sizes
    ]
    return [*samples, *({"prior": t, "size": 0, "replicates": 0} for t in priors)]


def run(rng: np.random.Generator, *, prior: float, size: int, replicates: int) -> dict[str, Any]:
    """Total variation to p+ of both reductions on each replicate, or that of their limits."""
    if size == 0:
        return dict(pd.DataFrame([_limit(prior, reduction) for reduction in REDUCTIONS]))
    truth = thumbs(prior)
    sample = truth.sample(size, rng, replicates=replicates)
    chosen_freq, rejected_freq = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    tables = []
    for reduction in REDUCTIONS:
        solution = rdro_policy(
            chosen_freq,
            rejected_freq,
            truth.reference[0],
            alpha=sample.prior,
            share=_weight_of_chosen(reduction, sample.prior),
        )
        error = np.where(solution.solved, total_variation(solution.policy, truth.preferred[0]), np.nan)
        tables.append(pd.DataFrame({"method": reduction, "replicate": np.arange(replicates), "error": error}))
    return dict(pd.concat(tables, ignore_index=True))


def _weight_of_chosen(reduction: str, prior: Any) -> Any:
    """Weight of the chosen class: 1/2 with class means, its share of the examples with one mean."""
    return prior if reduction == "batch_mean" else 0.5


@cache
def _newton_limit(prior: float, reduction: str) -> np.ndarray:
    """The minimiser of the torch loss on the exact law; not a number without a certificate."""
    truth = thumbs(prior)
    found = fit(Tabular(truth.reference), partial(rdro, alpha=prior, reduction=reduction), truth.law())
    return found.probs[0] if found.converged else np.full(truth.reference.shape[1], np.nan)


def _limit(prior: float, reduction: str) -> dict[str, Any]:
    """Distance to p+ of Newton's minimiser on the exact law, and its gap to the exact solution where there
    is one.
    """
    truth = thumbs(prior)
    solution = rdro_policy(
        truth.preferred[0],
        truth.dispreferred[0],
        truth.reference[0],
        alpha=prior,
        share=_weight_of_chosen(reduction, prior),
    )
    newton = _newton_limit(prior, reduction)
    return {
        "method": reduction,
        "limit": float(total_variation(newton, truth.preferred[0])),
        "newton": float(np.abs(newton - solution.policy).max()) if solution.solved else np.nan,
        "solved": bool(solution.solved),
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
    """Class means reach p+ at every prior; one mean has another limit unless t = 1/2, and samples stop
    there.
    """
    class_limits, one_mean_limits = (rows.loc[(rows["size"] == 0) & (rows.method == r)] for r in REDUCTIONS)
    unbalanced = rows.loc[(rows["size"] > 0) & (rows.prior == UNBALANCED)]
    error = blocks(unbalanced, REDUCTIONS, "error")
    on_plateau = unbalanced.loc[(unbalanced["size"] >= PLATEAU) & (unbalanced.method == "batch_mean")]
    class_means = {
        t: rows.loc[(rows["size"] > 0) & (rows.prior == t) & (rows.method == "class_mean")]
        for t in (UNBALANCED, BALANCED)
    }
    return [
        separation(
            "mean over examples minus class means, t = 0.45, largest n",
            error["batch_mean"][-1] - error["class_mean"][-1],
        ),
        identity("limit of class means is p+ at every prior", class_limits.limit, SAME),
        identity(
            "limit of the mean over examples is p+ at t = 1/2",
            one_mean_limits.loc[one_mean_limits.prior == BALANCED, "limit"],
            SAME,
        ),
        differs(
            "limit of the mean over examples, nearest to p+ of the other priors",
            [one_mean_limits.loc[one_mean_limits.prior != BALANCED, "limit"].to_numpy(float).min()],
            APART,
        ),
        identity("limits of class means = exact solutions at every prior", class_limits.newton, SAME),
        identity(
            "limits of the mean over examples = exact solutions, where there are",
            one_mean_limits.newton.dropna(),
            SAME,
        ),
        growth(
            "the mean over examples stops at its limit",
            [on_plateau.error.mean()],
            [total_variation(_newton_limit(UNBALANCED, "batch_mean"), thumbs(UNBALANCED).preferred[0])],
            CLOSE,
        ),
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
