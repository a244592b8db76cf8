"""A reference that is not the pooled law: where RDRO and DDRO then end, to first order and exactly, and what
helps.

Labels of one mixture; the estimators are told (1 - e) mixture + e noise. SFT on the chosen never asks. A
reference refitted to other, unlabelled responses of the mixture repairs the limit; refitted to the very
responses with labels it makes RDRO over all policies the same as SFT, so nothing is gained from rejected
ones.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import ddro, rdro
from distalign.policies import Tabular
from distalign.populations import Law
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import (
    blocks,
    estimates,
    frequencies,
    thumbs,
    total_variation,
)
from distalign.simulation.verdict import Check, growth, identity, rate, separation
from distalign.solvers.density_ratio import rdro_policy
from distalign.theory.density_ratio.stress import first_order_limit
from distalign.types import Array

DEFECT = "the estimators told the mixture itself"
WRONG, REFIT, SAME_DATA = "RDRO", "RDRO, reference refitted", "RDRO, reference from the same data"
SAMPLED, SMALL, MIN_SIZE, PLATEAU, UNLABELLED, SAME, FEW = 0.1, 0.02, 1000, 100_000, 4, 1e-8, 10
ESTIMATORS = {"RDRO": lambda t: partial(rdro, alpha=t), "DDRO": lambda t: partial(ddro, prior=t)}


def cells(
    sizes: list[int], replicates: int, refits: int, shares: list[float], references: int
) -> list[dict[str, Any]]:
    """Samples at one contamination, and limits (size 0) of several references at every contamination."""
    return [
        *({"noise": SAMPLED, "size": n, "replicates": replicates, "refits": refits} for n in sizes),
        *({"noise": e, "size": 0, "replicates": references, "refits": 0} for e in shares),
    ]


def told(noise: Array, share: float, mixture: Array) -> Array:
    """The reference the estimators are told."""
    return (1 - share) * mixture + share * noise


def run(
    rng: np.random.Generator, *, noise: float, size: int, replicates: int, refits: int, defect: bool = False
) -> dict[str, Any]:
    """Total variation to p+ on each replicate, the first `refits` with a reference of their own; or of the
    limits, one for each of `replicates` references."""
    truth = thumbs()
    if size == 0:
        others = rng.dirichlet(np.ones(truth.reference.shape[1]), size=replicates)
        return dict(
            pd.concat(
                [_limits(told(z, noise, truth.reference[0]), i, defect) for i, z in enumerate(others)],
                ignore_index=True,
            )
        )
    fixed = np.random.default_rng(7).dirichlet(np.ones(truth.reference.shape[1]))
    ref = truth.reference[0] if defect else told(fixed, noise, truth.reference[0])
    sample = truth.sample(size, rng, replicates=replicates)
    up, down = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    pool = rng.multinomial(UNLABELLED * size, truth.reference[0], size=replicates) + 1.0
    refitted, own = (
        pool / pool.sum(-1, keepdims=True),
        (sample.weights + np.asarray(sample.rejected_weights)) / size,
    )
    found = {
        **estimates(up, down, ref, truth.prior),
        REFIT: _one_by_one(up[:refits], down, refitted, sample.prior),
        SAME_DATA: _one_by_one(up[:FEW], down, own, sample.prior),
    }
    limits = _limits(ref, 0, defect=False).set_index("method").error
    return dict(
        pd.concat(
            [
                pd.DataFrame(
                    {
                        "method": name,
                        "replicate": np.arange(len(policy)),
                        "limit": limits.get(name, 0.0),
                        "error": np.where(solved, total_variation(policy, truth.preferred[0]), np.nan),
                        "from_sft": np.where(solved, np.abs(policy - up[: len(policy)]).max(-1), np.nan),
                    }
                )
                for name, (policy, solved) in found.items()
            ],
            ignore_index=True,
        )
    )


def _one_by_one(up: Array, down: Array, refs: Array, alphas: Any) -> tuple[Array, Any]:
    """RDRO with a reference for each of the first replicates, those of `up`; a response in neither reference
    nor data keeps probability 0."""
    policy, solved = np.zeros_like(up), np.zeros(len(up), bool)
    for i, (ref, alpha) in enumerate(zip(refs[: len(up)], np.asarray(alphas)[: len(up)], strict=True)):
        seen = ref > 0
        found = rdro_policy(up[i, seen], down[i, seen], ref[seen], alpha=alpha)
        policy[i, seen], solved[i] = found.policy, found.solved
    return policy, solved


def _limits(ref: Array, index: int, defect: bool) -> pd.DataFrame:
    """Exact limits under one reference, Newton's on the torch losses, and the prediction to first order."""
    truth = thumbs()
    mixture, target, other = truth.reference[0], truth.preferred[0], truth.dispreferred[0]
    given = mixture if defect else ref
    exact = estimates(target, other, given, truth.prior)
    law = Law(np.arange(len(ref)), np.arange(len(ref)), target, other)
    rows = []
    for name, (policy, solved) in exact.items():
        row = {
            "method": name,
            "replicate": index,
            "shift": total_variation(ref, mixture),
            "newton": np.nan,
            "predicted": 0.0,
            "error": float(total_variation(policy, target)) if solved else np.nan,
        }
        if name in ESTIMATORS:
            row["predicted"] = (
                0.5
                * np.abs(
                    first_order_limit(name.lower(), target, other, truth.prior, target * (ref / mixture - 1))
                ).sum()
            )
            slow = fit(Tabular(given), ESTIMATORS[name](truth.prior), law)
            inside = slow.converged and (policy / given).max() < 0.98 / truth.prior
            row["newton"] = np.abs(slow.probs[0] - policy).max() if inside else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error with its interval by contamination, method and size; limits (size 0) beside shift and
    prediction.
    """
    out = summarise(rows, ["noise", "method", "size"])
    more = rows.groupby(["noise", "method", "size"], as_index=False).agg(
        shift=("shift", "mean"),
        predicted=("predicted", "mean"),
        limit=("limit", "first"),
        newton=("newton", "max"),
    )
    return out.merge(more)


def checks(rows: pd.DataFrame) -> list[Check]:
    """RDRO and DDRO stop at the limit of the wrong reference, near its first order; SFT and a refitted
    reference do not.
    """
    drawn, limits = rows.loc[rows["size"] > 0], rows.loc[rows["size"] == 0]
    last = blocks(drawn.loc[drawn["size"] == drawn["size"].max()], ("SFT", WRONG, REFIT, SAME_DATA), "error")
    late = (
        drawn.loc[(drawn["size"] >= PLATEAU) & drawn.method.isin([*ESTIMATORS])]
        .groupby("method")[["error", "limit"]]
        .mean()
    )
    small = (
        limits.loc[(limits.noise <= SMALL) & (limits.method != "SFT")]
        .groupby("method")[["error", "predicted"]]
        .mean()
    )
    return [
        separation("RDRO with the wrong reference minus SFT, largest n", last[WRONG][0] - last["SFT"][0]),
        separation(
            "SFT minus RDRO with a reference refitted to other responses, largest n",
            last["SFT"][0][: last[REFIT].shape[1]] - last[REFIT][0],
        ),
        growth("RDRO and DDRO stop at their limits", late.error, late.limit, 0.05),
        growth("limits = first order, little contamination", small.error, small.predicted, 0.05),
        identity("limit of SFT is p+", limits.loc[limits.method == "SFT", "error"], SAME),
        identity("limits = Newton's method on the torch losses", limits.newton.dropna(), SAME),
        identity(
            "reference from the same data: RDRO is SFT",
            drawn.loc[drawn.method == SAME_DATA, "from_sft"],
            SAME,
        ),
        *(
            rate(
                f"{name}: total variation to p+",
                drawn.loc[drawn.method == name],
                matches=-0.5,
                margin=0.04,
                min_size=MIN_SIZE,
            )
            for name in ("SFT", REFIT)
        ),
    ]
