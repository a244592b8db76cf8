"""Few data: DDRO as it stands is worse than SFT while some response was never rejected; RDRO is about as
good as DDRO can be.

The claim. RDRO's abstract says that the ratio p+/p- is unstable and can diverge while p+ over the mixture
is bounded; it is shown here as what DDRO's loss leaves open. Nothing in that loss holds pi/p_ref below 1/t
at a response that was never rejected, so mass runs there; the chosen term of RDRO pulls back by itself. The
comparison with SFT and with DDRO on its domain is ours: DDRO with its domain enforced everywhere, which
only a table allows, is the ideal that both are held against.

The run. Pairs under five tiers of rock-paper-scissors, one cell per number of pairs; exact estimators on
the same counts.

The two roads. Raw DDRO and DDRO with its domain enforced are two solvers, and both must be Newton's
minimiser of the torch loss once every response was rejected; the errors are exact total variation to p+.

The checks:

- separations: raw DDRO is behind SFT at the largest n at which on average a response was never rejected, and
  ahead of it at the largest of all; raw DDRO's largest ratio exceeds 1/t at the smallest n;
- a bound: RDRO's mean error is at most SFT's, at every n;
- growth: RDRO's mean error is within 6 % of that of DDRO with its domain enforced, at every n. This is
  measured: where responses are missing there is no limit law that would give a constant;
- identities: where every response was rejected both solutions of DDRO are Newton's; with the domain enforced
  the ratio is at most 1/t.

The planted defects: DDRO as it stands with its domain enforced everywhere; the prior 10 % too small in the
DDRO solver, alpha in the RDRO solver; the prior 5 % too large in the torch loss.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import ddro
from distalign.policies import Tabular
from distalign.populations import Law, Population, rock_paper_scissors
from distalign.simulation.defects import Defect, argument
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import blocks, frequencies, total_variation
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.types import Array

DEFECTS = (
    Defect("domain of DDRO as it stands enforced", ddro_policy, argument("domain", lambda _: "everywhere")),
    Defect("prior of the DDRO solver 10 % too small", ddro_policy, argument("prior", lambda x: 0.9 * x)),
    Defect("alpha of the RDRO solver 10 % too small", rdro_policy, argument("alpha", lambda x: 0.9 * x)),
    Defect(
        "prior of the DDRO loss 5 % too large",
        ddro,
        argument("prior", lambda x: 1.05 * x),
        lambda cell: cell["size"] > 1000,
    ),
)
PRIOR, NEAR, SAME, FITS = 0.5, 0.06, 1e-8, 8
METHODS = ("SFT", "raw DDRO", "DDRO", "RDRO")


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per number of pairs."""
    return [{"size": n, "replicates": replicates} for n in sizes]


@cache
def population() -> Population:
    """Five tiers of rock-paper-scissors, fifteen responses, reference Dirichlet(3/2) + 0.01; fixed seed."""
    ref = np.random.default_rng(0).dirichlet(np.full(15, 1.5)) + 0.01
    return Population(rock_paper_scissors(5), ref / ref.sum())


def run(rng: np.random.Generator, *, size: int, replicates: int) -> dict[str, Any]:
    """Total variation to p+ and largest ratio to the reference of each method, and responses never
    rejected; for DDRO the largest difference to Newton's minimiser on the first few replicates.
    """
    truth = population()
    ref, p_plus = truth.reference[0], truth.preferred[0]
    sample = truth.sample_pairs(size, rng, replicates=replicates).unpaired()
    chosen_freq, rejected_freq = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    raw_ddro = ddro_policy(chosen_freq, rejected_freq, ref, prior=PRIOR, domain="rejected")
    ideal, rdro = (
        ddro_policy(chosen_freq, rejected_freq, ref, prior=PRIOR),
        rdro_policy(chosen_freq, rejected_freq, ref, alpha=PRIOR),
    )
    newton = _newton(sample, ref, FITS)
    estimators = {
        "SFT": (chosen_freq, True),
        "raw DDRO": (raw_ddro.policy, raw_ddro.solved),
        "DDRO": (ideal.policy, ideal.solved),
        "RDRO": (rdro.policy, rdro.solved),
    }
    return dict(
        pd.concat(
            [
                pd.DataFrame(
                    {
                        "method": name,
                        "replicate": np.arange(replicates),
                        "error": np.where(solved, total_variation(policy, p_plus), np.nan),
                        "ratio": (policy / ref).max(-1),
                        "missing": (rejected_freq == 0).sum(-1),
                        "newton": _gap(policy, newton) if "DDRO" in name else np.nan,
                    }
                )
                for name, (policy, solved) in estimators.items()
            ],
            ignore_index=True,
        )
    )


def _newton(sample: Law, ref: Array, count: int) -> Array:
    """(count, K) minimisers of DDRO's torch loss; NaN where Newton's method has no certificate, and
    everywhere if some response was never rejected in one of them.
    """
    weights, rejected = sample.weights[:count], np.asarray(sample.rejected_weights)[:count]
    if not (rejected > 0).all():
        return np.full(weights.shape, np.nan)
    found = fit(
        Tabular(ref), partial(ddro, prior=PRIOR), Law(sample.chosen, sample.rejected, weights, rejected)
    )
    return np.where(found.converged[:, None], found.probs[:, 0], np.nan)


def _gap(policy: Array, newton: Array) -> Array:
    gap = np.full(len(policy), np.nan)
    gap[: len(newton)] = np.abs(policy[: len(newton)] - newton).max(-1)
    return gap


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
    """Raw DDRO against SFT where a response is missing on average, RDRO against the ideal, raw DDRO where
    none is.
    """
    error, ratio = blocks(rows, METHODS, "error"), blocks(rows, METHODS, "ratio")
    missing, sizes = blocks(rows, METHODS, "missing")["SFT"], np.unique(rows["size"])
    means = {name: np.nanmean(x, axis=1) for name, x in error.items()}
    last = np.flatnonzero(missing.mean(1) >= 1)[-1]
    return [
        separation(
            "raw DDRO minus SFT, largest n at which a response is missing",
            error["raw DDRO"][last] - error["SFT"][last],
        ),
        separation("SFT minus raw DDRO, largest n", error["SFT"][-1] - error["raw DDRO"][-1]),
        bound("RDRO's mean error is at most SFT's, every n", means["RDRO"], means["SFT"]),
        growth("RDRO / DDRO with its domain enforced, every n", means["RDRO"], means["DDRO"], NEAR),
        identity(
            "every response rejected: both DDROs = Newton's method on the torch loss",
            rows.loc[rows["size"] == sizes[-1], "newton"].dropna(),
            SAME,
        ),
        identity("domain enforced: ratio at most 1/t", np.maximum(ratio["DDRO"] * PRIOR - 1, 0), SAME),
        separation("largest ratio of raw DDRO minus 1/t, smallest n", ratio["raw DDRO"][0] - 1 / PRIOR),
    ]
