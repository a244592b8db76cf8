"""What a bound on the excess risk says of the error, and what the error does, as the ratio of p+ to p- grows.

Labels with prior 1/2 whose largest ratio p+/p- is set. The bounds are tested on random policies inside their
domain: excess risks are exact, computed by the torch losses. Errors are those of the exact estimators on
    samples. DDRO's constant grows
without limit in the argument that follows p+/p-, but the same loss has a constant free of it by Pinsker's
inequality.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import root_scalar

from distalign.objectives import ddro, rdro
from distalign.populations import Thumbs
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.fit import Objective
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import (
    acceptance,
    blocks,
    estimates,
    frequencies,
    total_variation,
)
from distalign.simulation.verdict import Check, bound, growth, separation
from distalign.solvers.density_ratio import ddro_policy
from distalign.theory.density_ratio.losses import ddro_bound, label_bound, rdro_bound
from distalign.types import Array

DEFECT = "the square root of the excess risk forgotten"
PRIOR, RESPONSES, NEAR = 0.5, 10, 0.12
METHODS = ("SFT", "raw DDRO", "DDRO", "RDRO")
LOSSES: dict[str, Objective] = {
    "RDRO": partial(rdro, alpha=PRIOR),
    "DDRO": partial(ddro, prior=PRIOR, ratio_loss="logistic"),
    "label likelihood": partial(ddro, prior=PRIOR),
}


def cells(sups: list[float], size: int, replicates: int, policies: int) -> list[dict[str, Any]]:
    """One cell per largest ratio."""
    return [{"sup": g, "size": size, "replicates": replicates, "policies": policies} for g in sups]


def truth(sup: float) -> Thumbs:
    """Ten responses whose scores are scaled until max p+/p- = sup; fixed seed."""
    rng = np.random.default_rng(11)
    ref, h = rng.dirichlet(np.full(RESPONSES, 5.0)), rng.normal(size=RESPONSES)

    def excess(scale: float) -> float:
        q = acceptance(scale * h, ref, PRIOR)
        return float(np.log(q / (1 - q)).max() - np.log(sup))

    return Thumbs(
        acceptance(root_scalar(excess, bracket=(0, 20)).root * h, ref, PRIOR)[None], ref[None], np.ones(1)
    )


def run(
    rng: np.random.Generator, *, sup: float, size: int, replicates: int, policies: int, defect: bool = False
) -> dict[str, Any]:
    """Errors of the estimators on samples; and for each loss errors and bounds on random policies."""
    people = truth(sup)
    ref, target = people.reference[0], people.preferred[0]
    sample = people.sample(size, rng, replicates=replicates)
    up, down = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    raw = ddro_policy(up, down, ref, prior=PRIOR, domain="rejected")
    found = {**estimates(up, down, ref, PRIOR), "raw DDRO": (raw.policy, raw.solved)}
    parts = [
        pd.DataFrame(
            {
                "method": name,
                "replicate": np.arange(replicates),
                "missing": (down == 0).any(-1),
                "error": np.where(solved, total_variation(policy, target), np.nan),
            }
        )
        for name, (policy, solved) in found.items()
    ]
    constants = {"RDRO": rdro_bound(PRIOR), "DDRO": ddro_bound(sup), "label likelihood": label_bound(PRIOR)}
    for name, loss in LOSSES.items():
        policy = _policies(rng, people, policies, sup if name == "DDRO" else np.inf)
        excess = _excess(loss, people, policy)
        parts.append(
            pd.DataFrame(
                {
                    "method": f"bound {name}",
                    "replicate": np.arange(policies),
                    "constant": constants[name],
                    "error": total_variation(policy, target),
                    "limit": constants[name] * (excess if defect else np.sqrt(excess)),
                }
            )
        )
    return dict(pd.concat(parts, ignore_index=True))


def _policies(rng: np.random.Generator, people: Thumbs, count: int, sup: float) -> Array:
    """Random laws with p+/p- as they imply it at most `sup` (pi/p_ref at most 1/t), from next to p+ to far
    from it.
    """
    ref, target = people.reference[0], people.preferred[0]
    top = (1 / PRIOR if np.isinf(sup) else sup / (1 - PRIOR + PRIOR * sup)) * (1 - 1e-6)
    rho = rng.dirichlet(np.full(len(ref), 2.0), count) / ref
    rho = 1 + (rho - 1) * np.minimum(1, (top - 1) / (rho.max(-1, keepdims=True) - 1))
    share = 10 ** rng.uniform(-3, 0, (count, 1))
    return share * rho * ref + (1 - share) * (0.999 * target + 0.001 * ref)


def _excess(loss: Objective, people: Thumbs, policies: Array) -> Array:
    """Exact excess risk of each policy over p+."""
    law = people.law()
    weights = [torch.from_numpy(np.asarray(w)) for w in (law.weights, law.rejected_weights)]
    ref = torch.from_numpy(np.log(people.reference[0]))

    def risk(policy: Array) -> float:
        log_probs = torch.from_numpy(np.log(policy))
        return float(
            loss(
                PreferenceLogProbs(
                    log_probs, log_probs, ref, ref, weights=weights[0], rejected_weights=weights[1]
                )
            )
        )

    least = risk(people.preferred[0])
    return np.maximum([risk(policy) - least for policy in policies], 0)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean errors with their intervals by ratio, then for each bound its constant and the largest error /
    bound.
    """
    errors, bounds = (rows.loc[rows.method.str.startswith("bound ") == tested] for tested in (False, True))
    out = summarise(errors, ["method", "sup"])
    out["missing"] = (
        errors.astype({"missing": float}).groupby(["method", "sup"], sort=True).missing.mean().to_numpy()
    )
    told = (
        bounds.assign(used=bounds.error / bounds.limit)
        .groupby(["method", "sup"], as_index=False)
        .agg(constant=("constant", "first"), used=("used", "max"), replicates=("error", "size"))
    )
    return pd.concat([out, told], ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """No bound is violated; the errors of RDRO and of DDRO on its domain fall as the ratio grows, those of
    raw DDRO rise.
    """
    error = blocks(rows, METHODS, "error", by="sup")
    means = {name: np.nanmean(x, axis=1) for name, x in error.items()}
    tested = {name: rows.loc[rows.method == f"bound {name}"] for name in LOSSES}
    return [
        *(
            bound(
                f"{name}: total variation <= constant sqrt(excess risk)",
                x.error,
                x.limit,
                vacuous=x.limit >= 1,
            )
            for name, x in tested.items()
        ),
        *(
            separation(
                f"{name}: error at the smallest ratio minus at the largest", error[name][0] - error[name][-1]
            )
            for name in ("RDRO", "DDRO")
        ),
        separation(
            "raw DDRO: error at the largest ratio minus at the smallest",
            error["raw DDRO"][-1] - error["raw DDRO"][0],
        ),
        separation("raw DDRO minus SFT, largest ratio", error["raw DDRO"][-1] - error["SFT"][-1]),
        separation(
            "RDRO minus DDRO with its domain enforced, largest ratio", error["RDRO"][-1] - error["DDRO"][-1]
        ),
        growth("RDRO / DDRO with its domain enforced, every ratio", means["RDRO"], means["DDRO"], NEAR),
    ]
