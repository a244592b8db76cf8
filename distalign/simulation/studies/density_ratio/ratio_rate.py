"""Four distances to the law of preferred responses fall at their parametric rates, for RDRO, for DDRO and
for SFT alike.

The claim. Consistency for p+ is the papers'; the exponents are derived here. RDRO has no better rate than
DDRO and no better constant; SFT on the chosen is consistent too, with a larger one. p+ is a bounded tilt of
the reference, not the optimum of a reward.

The run has two designs: labels of random responses (12 responses, share 0.39 chosen, RDRO and DDRO told
n+/n), and pairs judged by a mixture of two Bradley-Terry groups (10 responses), which no Bradley-Terry
model has. Every p+ is at least 0.01, because smaller masses would need larger n before a divergence shows
its rate. Responses lie on a line of length 1 for the transport distance.

The two roads. Measured distances of exact estimators, against the exponents of theory; and for pairs the
torch objectives, which must be stationary at the exact estimators.

The checks, for both designs:

- rates: total variation and W1 fall like n^{-1/2}, squared Hellinger and KL like n^{-1}, for every
  estimator, from n = 4000 on (at 1000 a divergence is 5 % above its limit);
- growth: RDRO and DDRO are within 1 % of each other in total variation, at every n from 8000 on. This is
  measured; for labels, where both are told n+/n, no constant is derived here;
- a separation: SFT is behind RDRO at the largest n;
- an identity: the gradient of the torch objectives vanishes at the exact estimators.

The planted defects: alpha or the prior 10 % too large in an exact solver, 5 % in a loss; labels smoothed by
0.05; responses that meet themselves dropped from the pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import ddro, rdro
from distalign.populations import Population, Thumbs, consistency_populations
from distalign.simulation.defects import Defect, argument
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import (
    blocks,
    estimates,
    frequencies,
    labels_smoothed,
    thumbs,
    ties_dropped,
    torch_gradients,
    total_variation,
)
from distalign.simulation.verdict import Check, growth, identity, rate, separation
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.theory.density_ratio.asymptotics import PARAMETRIC_EXPONENT
from distalign.types import Array


def _of_labels(cell: Mapping[str, Any]) -> bool:
    return cell["design"] == "labels"


def _of_pairs(cell: Mapping[str, Any]) -> bool:
    return cell["design"] == "pairs"


DEFECTS = (
    Defect("alpha of the RDRO solver 10 % too large", rdro_policy, argument("alpha", lambda x: 1.1 * x)),
    Defect("prior of the DDRO solver 10 % too large", ddro_policy, argument("prior", lambda x: 1.1 * x)),
    Defect(
        "alpha of the RDRO loss 5 % too large",
        rdro,
        argument("alpha", lambda x: 1.05 * x),
        lambda cell: _of_pairs(cell) and cell["size"] < 10_000,
    ),
    Defect("labels smoothed by 0.05", Thumbs.sample, labels_smoothed, _of_labels),
    Defect("pairs of a response with itself dropped", Population.sample_pairs, ties_dropped, _of_pairs),
)
# The size from which on rates are read, and from which on RDRO / DDRO, and margins of both.
MIN_SIZE, LARGE, MARGIN, EQUAL = 4000, 8000, 0.03, 0.01
METHODS = ("RDRO", "DDRO", "SFT")
LOSSES = {"RDRO": partial(rdro, alpha=0.5), "DDRO": partial(ddro, prior=0.5)}
DISTANCES = {  # column: its words, its exponent in n
    "tv": ("total variation", PARAMETRIC_EXPONENT),
    "hellinger": ("squared Hellinger", 2 * PARAMETRIC_EXPONENT),
    "kl": ("KL(pi || p+)", 2 * PARAMETRIC_EXPONENT),
    "transport": ("W1", PARAMETRIC_EXPONENT),
}


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per design and size."""
    return [{"design": d, "size": n, "replicates": replicates} for d in ("labels", "pairs") for n in sizes]


@cache
def _reference_and_target(design: str) -> tuple[Array, Array]:
    """Reference and p+."""
    truth = thumbs() if design == "labels" else consistency_populations()["mixed"]
    return truth.reference[0], truth.preferred[0]


def run(rng: np.random.Generator, *, design: str, size: int, replicates: int) -> dict[str, Any]:
    """Distances of every estimator on each replicate; not finite where an exact solution does not exist."""
    ref, target = _reference_and_target(design)
    if design == "labels":
        sample = thumbs().sample(size, rng, replicates=replicates)
    else:
        sample = consistency_populations()["mixed"].sample_pairs(size, rng, replicates=replicates).unpaired()
    chosen_freq, rejected_freq = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    alpha: Any = sample.prior if design == "labels" else np.full(replicates, 0.5)
    tables = []
    for name, (policy, solved) in estimates(chosen_freq, rejected_freq, ref, alpha).items():
        found = {key: np.where(solved, value, np.nan) for key, value in distances(policy, target).items()}
        gradient: Any = np.nan
        if design == "pairs" and name in LOSSES:
            gradient = torch_gradients(LOSSES[name], policy, ref, sample, largest_ratio=1.998)
        tables.append(
            pd.DataFrame({"method": name, "replicate": np.arange(replicates), **found, "gradient": gradient})
        )
    return dict(pd.concat(tables, ignore_index=True))


def distances(policy: Array, target: Array) -> dict[str, Array]:
    """(...) distances of policies (..., K) to the target.

    They are total variation, H^2 = (1/2) sum (sqrt p - sqrt q)^2, KL(pi || p+), and W1 on the line.
    """
    logs = np.log(np.where(policy > 0, policy, 1)) - np.log(target)
    return {
        "tv": total_variation(policy, target),
        "hellinger": 0.5 * ((np.sqrt(policy) - np.sqrt(target)) ** 2).sum(-1),
        "kl": (policy * logs).sum(-1),
        "transport": np.abs(np.cumsum(policy - target, -1)[..., :-1]).sum(-1) / (len(target) - 1),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean distances by design, estimator and size, the interval of total variation, and slopes from n =
    4,000 on.
    """
    by = ["design", "method", "size"]
    means = rows.groupby(by, as_index=False).agg(**{d: (d, "mean") for d in DISTANCES})
    slopes = []
    for design in ("labels", "pairs"):
        for name in METHODS:
            mine = means.loc[(means.design == design) & (means.method == name) & (means["size"] >= MIN_SIZE)]
            x = np.log(mine["size"].to_numpy(float))
            fitted = {f"slope_{d}": np.polyfit(x, np.log(mine[d].to_numpy(float)), 1)[0] for d in DISTANCES}
            slopes.append({"design": design, "method": name, **fitted})
    interval = summarise(rows, by, "tv").drop(columns="mean")
    means["root_n_tv"] = np.sqrt(means["size"]) * means.tv
    return means.merge(interval, on=by).merge(pd.DataFrame(slopes), on=["design", "method"])


def checks(rows: pd.DataFrame) -> list[Check]:
    """Every exponent, RDRO no better than DDRO and both ahead of SFT by a constant."""
    out = []
    for design in ("labels", "pairs"):
        of_design = rows.loc[(rows.design == design) & (rows["size"] >= MIN_SIZE)]
        for key, (words, exponent) in DISTANCES.items():
            scale = exponent / PARAMETRIC_EXPONENT
            out += [
                rate(
                    f"{design}, {name}: {words}",
                    of_design.loc[of_design.method == name],
                    matches=exponent,
                    margin=scale * MARGIN,
                    error=key,
                )
                for name in METHODS
            ]
        large = blocks(of_design.loc[of_design["size"] >= LARGE], METHODS, "tv")
        means = {name: np.nanmean(x, axis=1) for name, x in large.items()}
        out += [
            growth(f"{design}: RDRO / DDRO, total variation", means["RDRO"], means["DDRO"], EQUAL),
            separation(f"{design}: SFT minus RDRO, largest n", large["SFT"][-1] - large["RDRO"][-1]),
        ]
    name = "gradient of the torch objectives at the exact solutions"
    return [*out, identity(name, rows.gradient.dropna(), 1e-9)]
