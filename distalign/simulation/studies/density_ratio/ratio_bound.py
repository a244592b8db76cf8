"""What a bound on the excess risk says of the error, and what the error does, as the largest ratio of p+ to
p- grows.

The claim is ours; it is one way to read "significantly tighter convergence guarantees than DDRO" in RDRO's
abstract: from excess risk to total variation. Following p+/p- DDRO's constant grows without limit, while
RDRO's is 1.73 at t = 1/2. But DDRO's label likelihood has, by Pinsker's inequality, the constant 0.71,
however large p+/p- is. Each bound is for the excess of its own loss, so the three constants are not on one
scale.

The run. Labels with prior 1/2 whose largest ratio p+/p- is set, one cell per ratio. On samples the exact
estimators give their errors. The bounds are tested on random policies inside their domain.

The two roads. Excess risks are exact, computed by the torch losses on the exact law; the bounds' constants
are formulas of `distalign.theory.density_ratio.losses`. Neither enters the errors.

The checks:

- bounds: for RDRO, DDRO and the label likelihood, total variation is at most the constant times the square
  root of the excess risk; a right-hand side of 1 or more is counted as vacuous;
- separations: as the ratio grows the errors of RDRO and of DDRO with its domain enforced fall, that of DDRO
  as it stands rises, and at the largest ratio raw DDRO is behind SFT and RDRO behind DDRO with its domain
  enforced;
- growth: RDRO's mean error is within 12 % of that of DDRO with its domain enforced, at every ratio.

The defect forgets the square root of the excess risk. Since small excesses are much larger under the root,
bounds are violated next to p+.
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
    population = truth(sup)
    ref, p_plus = population.reference[0], population.preferred[0]
    sample = population.sample(size, rng, replicates=replicates)
    chosen_freq, rejected_freq = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    raw_ddro = ddro_policy(chosen_freq, rejected_freq, ref, prior=PRIOR, domain="rejected")
    estimators = {
        **estimates(chosen_freq, rejected_freq, ref, PRIOR),
        "raw DDRO": (raw_ddro.policy, raw_ddro.solved),
    }
    tables = [
        pd.DataFrame(
            {
                "method": name,
                "replicate": np.arange(replicates),
                "missing": (rejected_freq == 0).any(-1),
                "error": np.where(solved, total_variation(policy, p_plus), np.nan),
            }
        )
        for name, (policy, solved) in estimators.items()
    ]
    constants = {"RDRO": rdro_bound(PRIOR), "DDRO": ddro_bound(sup), "label likelihood": label_bound(PRIOR)}
    for name, loss in LOSSES.items():
        policy = _random_policies(rng, population, policies, sup if name == "DDRO" else np.inf)
        excess = _excess_risk(loss, population, policy)
        tables.append(
            pd.DataFrame(
                {
                    "method": f"bound {name}",
                    "replicate": np.arange(policies),
                    "constant": constants[name],
                    "error": total_variation(policy, p_plus),
                    "limit": constants[name] * (excess if defect else np.sqrt(excess)),
                }
            )
        )
    return dict(pd.concat(tables, ignore_index=True))


def _random_policies(rng: np.random.Generator, people: Thumbs, count: int, sup: float) -> Array:
    """Random laws inside the bounds' domain, from next to p+ to far from it.

    Each implies a ratio p+/p- of at most `sup`, and pi/p_ref of at most 1/t.
    """
    ref, target = people.reference[0], people.preferred[0]
    largest_rho = (1 / PRIOR if np.isinf(sup) else sup / (1 - PRIOR + PRIOR * sup)) * (1 - 1e-6)
    rho = rng.dirichlet(np.full(len(ref), 2.0), count) / ref
    rho = 1 + (rho - 1) * np.minimum(1, (largest_rho - 1) / (rho.max(-1, keepdims=True) - 1))
    mixing_weight = 10 ** rng.uniform(-3, 0, (count, 1))
    return mixing_weight * rho * ref + (1 - mixing_weight) * (0.999 * target + 0.001 * ref)


def _excess_risk(loss: Objective, people: Thumbs, policies: Array) -> Array:
    """Exact excess risk of each policy over that of p+."""
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
    of_bounds = (
        bounds.assign(used=bounds.error / bounds.limit)
        .groupby(["method", "sup"], as_index=False)
        .agg(constant=("constant", "first"), used=("used", "max"), replicates=("error", "size"))
    )
    return pd.concat([out, of_bounds], ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """The bounds, and the errors of RDRO, DDRO on its domain and raw DDRO as the ratio grows."""
    error = blocks(rows, METHODS, "error", by="sup")
    means = {name: np.nanmean(x, axis=1) for name, x in error.items()}
    bound_rows = {name: rows.loc[rows.method == f"bound {name}"] for name in LOSSES}
    return [
        *(
            bound(
                f"{name}: total variation <= constant sqrt(excess risk)",
                x.error,
                x.limit,
                vacuous=x.limit >= 1,
            )
            for name, x in bound_rows.items()
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
