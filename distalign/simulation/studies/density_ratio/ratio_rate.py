"""Four distances to the law of preferred responses fall at their parametric rates, for RDRO, for DDRO and
for SFT alike.

The claim. Consistency for p+ is the papers'; the exponents are derived here. RDRO has no better rate than
DDRO and no better constant; SFT on the chosen is consistent too, with a larger one. p+ is a bounded tilt of
the reference, not the optimum of a reward.

The run has two designs: labels of random responses (12 responses, share 0.39 chosen, RDRO and DDRO told
n+/n), and pairs judged by a mixture of two Bradley-Terry groups (10 responses), which no Bradley-Terry
model has. Every p+ is at least 0.01, because smaller masses would need larger n before a divergence shows
its rate. Responses lie on a line of length 1 for the transport distance.

The two roads. Measured distances of exact estimators, against the exponents of theory; and W1 by its
formula on the line against POT's linear program.

The checks, for both designs, from n = 1000 on:

- rates: total variation and W1 fall like n^{-1/2}, squared Hellinger and KL like n^{-1}, for every
  estimator;
- growth: RDRO and DDRO are within 3 % of each other in total variation, at every n;
- a separation: SFT is behind RDRO;
- an identity: W1 is the linear program of POT.

The defect tells RDRO and DDRO that the share of chosen responses is 0.65. They then end elsewhere than p+,
and their distances stop falling.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import ot
import pandas as pd

from distalign.populations import consistency_populations
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import (
    blocks,
    estimates,
    frequencies,
    thumbs,
    total_variation,
)
from distalign.simulation.verdict import Check, growth, identity, rate, separation
from distalign.theory.density_ratio.asymptotics import PARAMETRIC_EXPONENT
from distalign.types import Array

DEFECT = "RDRO and DDRO told the share 0.65 of chosen responses"
# The share told with the defect, the size from which on rates are read, margins of rates and of RDRO / DDRO,
# and the number of replicates whose W1 is computed again by POT.
WRONG_SHARE, MIN_SIZE, MARGIN, EQUAL, TRANSPORTED = 0.65, 1000, 0.03, 0.03, 10
METHODS = ("SFT", "DDRO", "RDRO")
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


def run(
    rng: np.random.Generator, *, design: str, size: int, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Distances of every estimator on each replicate; not finite where an exact solution does not exist."""
    ref, target = _reference_and_target(design)
    if design == "labels":
        sample = thumbs().sample(size, rng, replicates=replicates)
    else:
        sample = consistency_populations()["mixed"].sample_pairs(size, rng, replicates=replicates).unpaired()
    chosen_freq, rejected_freq = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    alpha: Any = (
        np.full(replicates, WRONG_SHARE)
        if defect
        else sample.prior
        if design == "labels"
        else np.full(replicates, 0.5)
    )
    tables = []
    for name, (policy, solved) in estimates(chosen_freq, rejected_freq, ref, alpha).items():
        distances_to_p_plus = {
            key: np.where(solved, value, np.nan) for key, value in distances(policy, target).items()
        }
        gap = np.full(replicates, np.nan)
        gap[:TRANSPORTED] = [
            w - _transport_program(p, target)
            for w, p in zip(distances_to_p_plus["transport"], policy[:TRANSPORTED])
        ]
        tables.append(
            pd.DataFrame(
                {"method": name, "replicate": np.arange(replicates), **distances_to_p_plus, "gap": gap}
            )
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


def _transport_program(p: Array, q: Array) -> float:
    """W1 as a linear program, by POT."""
    place = np.linspace(0, 1, len(q))
    return float(ot.emd2(p / p.sum(), q / q.sum(), np.abs(place[:, None] - place)))  # type: ignore[arg-type]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean distances by design, estimator and size, the interval of total variation, and slopes from n =
    1,000 on.
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
    """Every exponent, RDRO no better than DDRO and both ahead of SFT by a constant, and W1 by two roads."""
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
        error = {name: x.ravel() for name, x in blocks(of_design, METHODS, "tv").items()}
        means = {name: np.nanmean(x, axis=1) for name, x in blocks(of_design, METHODS, "tv").items()}
        out += [
            growth(f"{design}: RDRO / DDRO, total variation, every n", means["RDRO"], means["DDRO"], EQUAL),
            separation(f"{design}: SFT minus RDRO", error["SFT"] - error["RDRO"]),
        ]
    return [*out, identity("W1 = linear program of POT", rows.gap.dropna(), 1e-12)]
