"""RDRO and DDRO recover the law of preferred responses under cyclic preferences, at n^{-1/2}; DPO stops
short at every beta.

The claim. Consistency for p+ without a preference model is the papers'; exponent, constants and DPO's limit
are derived here. SFT on winners is consistent, too, and must be in the picture. The target is p+ itself,
not a best response.

The run. Preferences are three tiers of rock-paper-scissors, which no Bradley-Terry model has. Pairs of
responses are drawn from the reference, so winners have the law p+ and losers p- with p+ + p- = 2 p_ref. All
replicates of a size are solved at once (`distalign.solvers.density_ratio`). DPO is shown at beta 0.1, 1,
and the beta nearest to p+ on a grid, an oracle's choice.

The two roads. Errors of the exact solutions against the constants of the delta method; on a few replicates
the torch objective must be stationary. DPO's limit over all policies is

    p_ref exp(h / beta),                                                                           (1)

h being its Bradley-Terry fit. Samples use (1); the limit that they are held against is the minimiser of the
torch loss on the exact law, which Newton's method finds.

The checks:

- rates and growth: RDRO, DDRO and SFT fall like n^{-1/2}, from n = 1000 on, with their asymptotic constants,
  from n = 10,000 on;
- an identity: the gradient of the torch objectives vanishes at the exact solutions;
- separations at the largest n: DPO at its best beta and SFT are behind RDRO;
- growth: DPO stops at its limit, at every beta shown.

The planted defects: alpha, the prior or beta is 5 or 10 % too large in an exact solver or in an objective,
responses that meet themselves are dropped from the pairs, or the constants that theory predicts are off by
twice their tolerance.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import ddro, dpo, rdro
from distalign.policies import Tabular
from distalign.populations import Law, Population, consistency_populations
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.fit import Objective, fit
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.studies.density_ratio.estimators import (
    estimates,
    frequencies,
    ties_dropped,
    torch_gradients,
    total_variation,
    total_variation_check,
)
from distalign.simulation.verdict import Check, growth, identity, rate, separation
from distalign.solvers.bradley_terry import bradley_terry_rewards, dpo_policy
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.theory.density_ratio import asymptotics as theory

DEFECTS = (
    Defect("alpha of the RDRO solver 10 % too large", rdro_policy, argument("alpha", lambda x: 1.1 * x)),
    Defect("prior of the DDRO solver 10 % too large", ddro_policy, argument("prior", lambda x: 1.1 * x)),
    Defect(
        "alpha of the RDRO loss 5 % too large",
        rdro,
        argument("alpha", lambda x: 1.05 * x),
        lambda cell: cell["size"] <= 1000,
    ),
    Defect("beta of the DPO policy 10 % too large", dpo_policy, argument("beta", lambda x: 1.1 * x)),
    Defect("pairs of a response with itself dropped", Population.sample_pairs, ties_dropped),
    Defect(
        "predicted constants 5 % too large",
        theory.total_variation_constant,
        result(lambda x: 1.05 * x),
        no_cell,
    ),
)
PRIOR = 0.5
BETAS = np.geomspace(0.05, 100.0, 400)
MIN_SIZE, CONSTANT_SIZE, CLOSE = 1000, 10_000, 0.02
CONSISTENT = ("RDRO", "DDRO", "SFT")
LOSSES: dict[str, Objective] = {"RDRO": partial(rdro, alpha=PRIOR), "DDRO": partial(ddro, prior=PRIOR)}


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per number of pairs; all estimators see the same data."""
    return [{"size": n, "replicates": replicates} for n in sizes]


@cache
def population() -> Population:
    """Three tiers of rock-paper-scissors, nine responses."""
    return consistency_populations()["tiers"]


def dpo_limit(beta: Any) -> np.ndarray:
    """Total variation between p+ and DPO's population limit (1), at each beta."""
    truth = population()
    tilted = dpo_policy(_bradley_terry_fit() / np.asarray(beta)[..., None], truth.reference[0], 1.0)
    return total_variation(tilted, truth.preferred[0])


@cache
def _bradley_terry_fit() -> np.ndarray:
    truth = population()
    return bradley_terry_rewards(truth.pairs().weights.reshape(truth.win.shape[1:])).reward[0]


def dpo_betas() -> dict[str, float]:
    """The betas shown: two usual ones and the one whose limit is nearest to p+, an oracle's choice."""
    return {
        "DPO, beta 0.1": 0.1,
        "DPO, beta 1": 1.0,
        "DPO, best beta": float(BETAS[dpo_limit(BETAS).argmin()]),
    }


def run(rng: np.random.Generator, *, size: int, replicates: int) -> dict[str, Any]:
    """Total variation to p+ of every estimator on each replicate; not finite where an exact solution does not
    exist.
    """
    truth = population()
    sample = truth.sample_pairs(size, rng, replicates=replicates)
    tables = [
        pd.DataFrame(
            {
                "estimator": name,
                "replicate": np.arange(replicates),
                "error": np.where(solved, total_variation(policy, truth.preferred[0]), np.nan),
                "gradient": torch_gradients(
                    LOSSES[name], policy, truth.reference[0], sample.unpaired(), largest_ratio=0.999 / PRIOR
                )
                if name in LOSSES
                else np.nan,
            }
        )
        for name, (policy, solved) in _estimates(sample, truth.reference[0]).items()
    ]
    return dict(pd.concat(tables, ignore_index=True))


def _estimates(sample: Law, ref: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(R, K) policy of each estimator and (R,) whether its exact solution exists."""
    unpaired = sample.unpaired()
    chosen_freq, rejected_freq = frequencies(unpaired.weights, np.asarray(unpaired.rejected_weights))
    rewards = bradley_terry_rewards(sample.weights.reshape(-1, len(ref), len(ref)))
    return {
        **estimates(chosen_freq, rejected_freq, ref, PRIOR),
        **{
            name: (dpo_policy(rewards.reward, ref, beta), rewards.solved)
            for name, beta in dpo_betas().items()
        },
    }


def _covariances() -> dict[str, np.ndarray]:
    """Limit covariance of each consistent estimator."""
    joint = population().pairs().weights.reshape(population().win.shape[1:])
    return {
        name: theory.asymptotic_covariance(name.lower(), joint, PRIOR)  # type: ignore[arg-type]
        for name in CONSISTENT
    }


def _newton_limit(beta: float) -> float:
    """Total variation between p+ and the minimiser of the torch loss of DPO on the exact law of pairs."""
    found = fit(Tabular(population().reference), partial(dpo, beta=beta), population().pairs())
    return float(total_variation(found.probs[0], population().preferred[0])) if found.converged else np.nan


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean total variation with its interval per estimator and size, its slope and prediction, and DPO's
    population limits.
    """
    predicted = pd.DataFrame(
        {
            "estimator": CONSISTENT,
            "constant": [theory.total_variation_constant(v) for v in _covariances().values()],
        }
    )
    slopes = [
        {"estimator": name, "slope": s.estimate, "slope_low": s.low, "slope_high": s.high}
        for name, mine in rows.loc[rows["size"] >= MIN_SIZE].groupby("estimator")
        for s in [log_slope(mine["size"].to_numpy(float), mine.error.to_numpy(float))]
    ]
    betas = dpo_betas()
    limits = pd.DataFrame(
        {"estimator": list(betas), "beta": list(betas.values()), "limit": dpo_limit(list(betas.values()))}
    )
    out = summarise(rows, ["estimator", "size"]).merge(predicted, how="left")
    out["predicted"] = out.pop("constant") / np.sqrt(out["size"])
    return out.merge(pd.DataFrame(slopes)).merge(limits, how="left")


def checks(rows: pd.DataFrame) -> list[Check]:
    """Exponents and constants of the consistent estimators, DPO's plateau, and RDRO ahead at the largest
    size.
    """
    at_largest = rows.loc[rows["size"] == rows["size"].max()].pivot(
        index="replicate", columns="estimator", values="error"
    )
    large = {name: rows.loc[(rows["size"] >= MIN_SIZE) & (rows.estimator == name)] for name in CONSISTENT}
    return [
        *(
            rate(f"{name}: total variation to p+", mine, matches=theory.PARAMETRIC_EXPONENT, margin=0.03)
            for name, mine in large.items()
        ),
        *(
            total_variation_check(
                f"{name}: mean error = asymptotic constant",
                late["size"],
                late.error,
                _covariances()[name],
            )
            for name, mine in large.items()
            for late in [mine.loc[mine["size"] >= CONSTANT_SIZE]]
        ),
        identity("gradient of the torch objectives at the exact solutions", rows.gradient.dropna(), 1e-9),
        separation(
            "DPO at its best beta minus RDRO, largest n", at_largest["DPO, best beta"] - at_largest["RDRO"]
        ),
        separation("SFT minus RDRO, largest n", at_largest["SFT"] - at_largest["RDRO"]),
        growth(
            "DPO stops at its population limit",
            [at_largest[name].mean() for name in dpo_betas()],
            [_newton_limit(beta) for beta in dpo_betas().values()],
            CLOSE,
        ),
    ]
