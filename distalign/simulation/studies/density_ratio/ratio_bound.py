"""What a bound on the excess risk says of the error, and what the error does, as the largest ratio of p+ to
p- grows.

The claim is ours; it is one way to read "significantly tighter convergence guarantees than DDRO" in RDRO's
abstract: from excess risk to total variation. Following p+/p- DDRO's constant grows without limit, while
RDRO's is 1.22 at t = 1/2. But DDRO's label likelihood has, by Pinsker's inequality, the constant 0.71,
however large p+/p- is. Each bound is for the excess of its own loss, so the three constants are not on one
scale.

The run. Labels with prior 1/2 whose largest ratio p+/p- is set, one cell per ratio. On samples the exact
estimators give their errors. The bounds are tested on random policies inside their domain, and on those
where they should be tightest: next to p+, in the direction delta of rho that has the largest E |delta| for
its second-order excess E f'' delta^2 / 2. For signs s that is delta = (s + const) / f'' of mean 0; all
patterns of signs are tried.

The two roads. Excess risks are exact, computed by the torch losses on the exact law; the bounds' constants
are formulas of `distalign.theory.density_ratio.losses`. Neither enters the errors.

The checks:

- bounds: for RDRO, DDRO and the label likelihood, total variation is at most the constant times the square
  root of the excess risk; a right-hand side of 1 or more is counted as vacuous, which is most of DDRO's;
- separations: as the ratio grows the errors of RDRO and of DDRO with its domain enforced fall, that of DDRO
  as it stands rises, and at the largest ratio raw DDRO is behind SFT and RDRO behind DDRO with its domain
  enforced;
- growth: RDRO's mean error is within 12 % of that of DDRO with its domain enforced, at every ratio. This is
  measured, not a constant that theory gives: at large ratios n is too small for the limit law.

The planted defects: alpha or the prior 10 % too large in a loss or in an exact solver, which makes the excess
risk negative or too small next to p+; constants of the bounds 10 % too small; and DDRO as it stands with its
domain enforced.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import root_scalar

from distalign.objectives import ddro, rdro
from distalign.populations import Thumbs
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, no_cell, result
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
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.theory.density_ratio.losses import ddro_bound, label_bound, rdro_bound
from distalign.types import Array

DEFECTS = (
    Defect("alpha of the RDRO loss 10 % too large", rdro, argument("alpha", lambda x: 1.1 * x)),
    Defect("prior of the DDRO loss 10 % too large", ddro, argument("prior", lambda x: 1.1 * x)),
    Defect("alpha of the RDRO solver 10 % too large", rdro_policy, argument("alpha", lambda x: 1.1 * x)),
    Defect("prior of the DDRO solver 10 % too large", ddro_policy, argument("prior", lambda x: 1.1 * x)),
    Defect("domain of DDRO as it stands enforced", ddro_policy, argument("domain", lambda _: "everywhere")),
    Defect("constant of RDRO's bound 10 % too small", rdro_bound, result(lambda x: 0.9 * x), no_cell),
    Defect("constant of Pinsker's bound 10 % too small", label_bound, result(lambda x: 0.9 * x), no_cell),
)
PRIOR, RESPONSES, NEAR, ROUNDING = 0.5, 10, 0.12, 1e-15
METHODS = ("SFT", "raw DDRO", "DDRO", "RDRO")
LOSSES: dict[str, Objective] = {
    "RDRO": partial(rdro, alpha=PRIOR),
    "DDRO": partial(ddro, prior=PRIOR, ratio_loss="logistic"),
    "label likelihood": partial(ddro, prior=PRIOR),
}

CURVATURES: dict[str, Callable[[Array], Array]] = {  # second derivative of the excess by rho, at prior 1/2
    "RDRO": lambda rho: 1 / (rho * (1 + rho)),
    "DDRO": lambda rho: 1 / (rho * (1 - rho / 2)),
    "label likelihood": lambda rho: 1 / (rho * (2 - rho)),
}
TIGHT, STEPS = 5, (0.1, 0.01, 0.001)  # patterns of signs kept, and lengths of their steps from p+


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


def run(rng: np.random.Generator, *, sup: float, size: int, replicates: int, policies: int) -> dict[str, Any]:
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
    for name, loss in LOSSES.items():
        largest = sup if name == "DDRO" else np.inf
        policy = np.concatenate(
            [
                _random_policies(rng, population, policies, largest),
                _tight_policies(CURVATURES[name], population, largest),
            ]
        )
        tables.append(
            pd.DataFrame(
                {
                    "method": f"bound {name}",
                    "replicate": np.arange(len(policy)),
                    "error": total_variation(policy, p_plus),
                    "excess": _excess_risk(loss, population, policy),
                }
            )
        )
    return dict(pd.concat(tables, ignore_index=True))


def _random_policies(rng: np.random.Generator, people: Thumbs, count: int, sup: float) -> Array:
    """Random laws inside the bounds' domain, from next to p+ to far from it."""
    ref, target, largest_rho = people.reference[0], people.preferred[0], _largest_rho(sup)
    rho = rng.dirichlet(np.full(len(ref), 2.0), count) / ref
    rho = 1 + (rho - 1) * np.minimum(1, (largest_rho - 1) / (rho.max(-1, keepdims=True) - 1))
    mixing_weight = 10 ** rng.uniform(-3, 0, (count, 1))
    return mixing_weight * rho * ref + (1 - mixing_weight) * (0.999 * target + 0.001 * ref)


def _largest_rho(sup: float) -> float:
    """The largest pi/p_ref of a policy that implies a ratio p+/p- of at most `sup`: at most 1/t."""
    return (1 / PRIOR if np.isinf(sup) else sup / (1 - PRIOR + PRIOR * sup)) * (1 - 1e-6)


def _tight_policies(curvature: Callable[[Array], Array], people: Thumbs, sup: float) -> Array:
    """Policies next to p+ with the most total variation for their excess risk, to second order.

    Steps are shares of the longest one that keeps pi/p_ref in the domain.
    """
    ref, target = people.reference[0], people.preferred[0]
    flatness, largest_rho = 1 / curvature(target / ref), _largest_rho(sup)
    signs = np.array(list(product((1.0, -1.0), repeat=len(ref))))[1:-1]
    weight = ref * flatness
    moves = (signs - (signs @ weight / weight.sum())[:, None]) * flatness
    used = (np.abs(moves) @ ref) ** 2 / ((moves**2 / flatness) @ ref)
    room = (np.where(moves > 0, largest_rho - target / ref, target / ref) / np.abs(moves)).min(-1)
    kept = np.argsort(np.where(room > 1e-4, -used, 0))[:TIGHT]  # where DDRO's domain leaves room to move
    return np.concatenate([target + step * room[kept, None] * moves[kept] * ref for step in STEPS])


def _excess_risk(loss: Objective, people: Thumbs, policies: Array) -> Array:
    """Exact excess risk of each policy over that of p+, at least the rounding of a loss."""
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
    excess = np.array([risk(policy) - least for policy in policies])
    return np.where(np.isfinite(excess), excess, 0).clip(min=ROUNDING)  # infinite: outside the domain


def _constant(method: str, sup: float) -> float:
    """The constant of a bound, by the name of its rows."""
    constants = {"RDRO": rdro_bound(PRIOR), "DDRO": ddro_bound(sup), "label likelihood": label_bound(PRIOR)}
    return constants[method.removeprefix("bound ")]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean errors with their intervals by ratio, then for each bound its constant and the largest error /
    bound.
    """
    errors, bounds = (rows.loc[rows.method.str.startswith("bound ") == tested] for tested in (False, True))
    out = summarise(errors, ["method", "sup"])
    out["missing"] = (
        errors.astype({"missing": float}).groupby(["method", "sup"], sort=True).missing.mean().to_numpy()
    )
    bounds = bounds.assign(constant=[_constant(m, g) for m, g in zip(bounds.method, bounds["sup"])])
    limit = bounds.constant * np.sqrt(bounds.excess)
    of_bounds = (
        bounds.assign(used=bounds.error / limit, empty=limit >= 1)
        .groupby(["method", "sup"], as_index=False)
        .agg(
            constant=("constant", "first"),
            used=("used", "max"),
            vacuous=("empty", "mean"),
            replicates=("error", "size"),
        )
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
                limit,
                vacuous=limit >= 1,
            )
            for name, x in bound_rows.items()
            for limit in [
                np.sqrt(x.excess.to_numpy(float)) * [_constant(m, g) for m, g in zip(x.method, x["sup"])]
            ]
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
