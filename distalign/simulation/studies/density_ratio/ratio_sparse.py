"""Few data: raw DDRO is worse than SFT while responses remain that were never rejected; RDRO is about as good
as DDRO can be.

Pairs under five tiers of rock-paper-scissors. Nothing in DDRO's loss keeps pi/p_ref below 1/t at a response
that was never rejected, so mass runs there; the chosen term of RDRO pulls back by itself. DDRO with its
domain enforced everywhere, which only a table allows, is the ideal both are held against.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import Population, rock_paper_scissors
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import blocks, frequencies, total_variation
from distalign.simulation.verdict import Check, growth, identity, separation
from distalign.solvers.density_ratio import ddro_policy, rdro_policy

DEFECT = "raw DDRO with its domain enforced everywhere"
PRIOR, NEAR, SAME = 0.5, 0.06, 1e-9
METHODS = ("SFT", "raw DDRO", "DDRO", "RDRO")


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per number of pairs."""
    return [{"size": n, "replicates": replicates} for n in sizes]


@cache
def population() -> Population:
    """Five tiers of rock-paper-scissors, fifteen responses, reference Dirichlet(3/2) + 0.01; fixed seed."""
    ref = np.random.default_rng(0).dirichlet(np.full(15, 1.5)) + 0.01
    return Population(rock_paper_scissors(5), ref / ref.sum())


def run(rng: np.random.Generator, *, size: int, replicates: int, defect: bool = False) -> dict[str, Any]:
    """Total variation to p+ and largest ratio to the reference of each method, and responses never
    rejected.
    """
    truth = population()
    ref, target = truth.reference[0], truth.preferred[0]
    sample = truth.sample_pairs(size, rng, replicates=replicates).unpaired()
    up, down = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    raw = ddro_policy(up, down, ref, prior=PRIOR, domain="everywhere" if defect else "rejected")
    ideal, relative = ddro_policy(up, down, ref, prior=PRIOR), rdro_policy(up, down, ref, alpha=PRIOR)
    found = {
        "SFT": (up, True),
        "raw DDRO": (raw.policy, raw.solved),
        "DDRO": (ideal.policy, ideal.solved),
        "RDRO": (relative.policy, relative.solved),
    }
    return dict(
        pd.concat(
            [
                pd.DataFrame(
                    {
                        "method": name,
                        "replicate": np.arange(replicates),
                        "error": np.where(solved, total_variation(policy, target), np.nan),
                        "ratio": (policy / ref).max(-1),
                        "missing": (down == 0).sum(-1),
                    }
                )
                for name, (policy, solved) in found.items()
            ],
            ignore_index=True,
        )
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean total variation with its interval, largest ratio, share of replicates with a ratio beyond 1/t,
    responses missing.
    """
    rows = rows.assign(beyond=rows.ratio > 1 / PRIOR + SAME, largest_ratio=rows.ratio)
    out = summarise(rows, ["method", "size"])
    for column, how in {"ratio": "mean", "largest_ratio": "max", "beyond": "mean", "missing": "mean"}.items():
        out[column] = rows.groupby(["method", "size"], sort=True)[column].agg(how).to_numpy()
    return out


def checks(rows: pd.DataFrame) -> list[Check]:
    """Raw DDRO against SFT where on average a response is missing; RDRO against the ideal; raw = ideal where
    none is.
    """
    error, ratio = blocks(rows, METHODS, "error"), blocks(rows, METHODS, "ratio")
    missing, sizes = blocks(rows, METHODS, "missing")["SFT"], np.unique(rows["size"])
    means = {name: np.nanmean(x, axis=1) for name, x in error.items()}
    sparse = np.flatnonzero(missing.mean(1) >= 1)
    return [
        *(
            separation(f"raw DDRO minus SFT, n = {sizes[i]}", error["raw DDRO"][i] - error["SFT"][i])
            for i in sparse
        ),
        separation("SFT minus RDRO, smallest n", error["SFT"][0] - error["RDRO"][0]),
        separation("SFT minus raw DDRO, largest n", error["SFT"][-1] - error["raw DDRO"][-1]),
        growth("RDRO / DDRO with its domain enforced, every n", means["RDRO"], means["DDRO"], NEAR),
        identity(
            "every response rejected: raw DDRO = domain enforced",
            (error["raw DDRO"] - error["DDRO"])[missing == 0],
            SAME,
        ),
        identity("domain enforced: ratio at most 1/t", np.maximum(ratio["DDRO"] * PRIOR - 1, 0), SAME),
        separation("largest ratio of raw DDRO minus 1/t, smallest n", ratio["raw DDRO"][0] - 1 / PRIOR),
    ]
