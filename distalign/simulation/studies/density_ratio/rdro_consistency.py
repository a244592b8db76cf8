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

h being its Bradley-Terry fit.

The checks:

- rates and growth: RDRO, DDRO and SFT fall like n^{-1/2} with their asymptotic constants, from n = 1000 on;
- an identity: the gradient of the torch objectives vanishes at the exact solutions;
- separations at the largest n: DPO at its best beta and SFT are behind RDRO;
- growth: DPO stops at its limit (1);
- it differs from 0: the distance of the nearest limit (1) over all betas from p+.

The defect puts DPO at its best beta in place of RDRO. It stops at a limit, so RDRO's rate and constant
fail, and DPO is not behind it.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import ddro, rdro
from distalign.policies import Tabular, score
from distalign.populations import Law, Population, consistency_populations
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.verdict import Check, differs, growth, identity, rate, separation
from distalign.solvers.bradley_terry import bradley_terry_rewards, dpo_policy
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.theory.density_ratio import asymptotics as theory

DEFECT = "DPO at its best beta in place of RDRO"
PRIOR = 0.5
BETAS = np.geomspace(0.05, 100.0, 400)
MIN_SIZE, CERTIFIED = 1000, 4
CONSISTENT = ("RDRO", "DDRO", "SFT")
LOSSES = {"RDRO": partial(rdro, alpha=PRIOR), "DDRO": partial(ddro, prior=PRIOR)}


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
    return _total_variation(tilted, truth.preferred[0])


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


def run(rng: np.random.Generator, *, size: int, replicates: int, defect: bool = False) -> dict[str, Any]:
    """Total variation to p+ of every estimator on each replicate; not finite where an exact solution does not
    exist.
    """
    truth = population()
    sample = truth.sample_pairs(size, rng, replicates=replicates)
    policies = _estimates(sample, truth.reference[0])
    if defect:
        policies["RDRO"] = policies["DPO, best beta"]
    constants = _limit_constants()
    tables = []
    for name, (policy, solved) in policies.items():
        error = np.where(solved, _total_variation(policy, truth.preferred[0]), np.nan)
        tables.append(
            pd.DataFrame(
                {
                    "estimator": name,
                    "replicate": np.arange(replicates),
                    "error": error,
                    "predicted": constants.get(name, np.nan) / np.sqrt(size),
                    "gradient": _torch_gradients(name, policy, sample, truth.reference[0]),
                }
            )
        )
    return dict(pd.concat(tables, ignore_index=True))


def _estimates(sample: Law, ref: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(R, K) policy of each estimator and (R,) whether its exact solution exists."""
    unpaired = sample.unpaired()
    assert unpaired.rejected_weights is not None
    chosen_freq, rejected_freq = (
        w / w.sum(1, keepdims=True) for w in (unpaired.weights, unpaired.rejected_weights)
    )
    rdro_solution, ddro_solution = (
        rdro_policy(chosen_freq, rejected_freq, ref, alpha=PRIOR),
        ddro_policy(chosen_freq, rejected_freq, ref, prior=PRIOR),
    )
    rewards = bradley_terry_rewards(sample.weights.reshape(-1, len(ref), len(ref)))
    return {
        "SFT": (chosen_freq, np.ones(len(chosen_freq), bool)),
        "DDRO": (ddro_solution.policy, ddro_solution.solved),
        "RDRO": (rdro_solution.policy, rdro_solution.solved),
        **{
            name: (dpo_policy(rewards.reward, ref, beta), rewards.solved)
            for name, beta in dpo_betas().items()
        },
    }


def _limit_constants() -> dict[str, float]:
    """Limit of sqrt(n) E TV of the consistent estimators."""
    joint = population().pairs().weights.reshape(population().win.shape[1:])
    return {
        name: theory.total_variation_constant(theory.asymptotic_covariance(name.lower(), joint, PRIOR))  # type: ignore[arg-type]
        for name in CONSISTENT
    }


def _torch_gradients(name: str, policy: np.ndarray, sample: Law, ref: np.ndarray) -> np.ndarray:
    """The largest entry of the torch objective's gradient at the first few policies; NaN elsewhere.

    Only policies that lie inside the domain of DDRO's loss are taken.
    """
    out = np.full(len(policy), np.nan)
    if name not in LOSSES:
        return out
    inside = (policy > 0).all(1) & ((policy / ref).max(1) < 0.999 / PRIOR)
    tabular, law = Tabular(ref), sample.unpaired()
    for i in np.flatnonzero(inside)[:CERTIFIED]:
        theta = torch.from_numpy(np.log(policy[i] / ref)).requires_grad_()
        replicate = law.replicate(i)
        weights = (
            torch.from_numpy(replicate.weights),
            torch.from_numpy(np.asarray(replicate.rejected_weights)),
        )
        loss = LOSSES[name](
            score(
                tabular,
                theta,
                torch.from_numpy(replicate.chosen),
                torch.from_numpy(replicate.rejected),
                *weights,
            )
        )
        out[i] = float(torch.autograd.grad(loss, theta)[0].abs().max())
    return out


def _total_variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return 0.5 * np.abs(p - q).sum(-1)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean total variation with its interval per estimator and size, its slope and prediction, and DPO's
    population limits.
    """
    first = rows.groupby(["estimator", "size"], as_index=False).agg(predicted=("predicted", "first"))
    slopes = [
        {"estimator": name, "slope": s.estimate, "slope_low": s.low, "slope_high": s.high}
        for name, mine in rows.loc[rows["size"] >= MIN_SIZE].groupby("estimator")
        for s in [log_slope(mine["size"].to_numpy(float), mine.error.to_numpy(float))]
    ]
    betas = dpo_betas()
    limits = pd.DataFrame(
        {"estimator": list(betas), "beta": list(betas.values()), "limit": dpo_limit(list(betas.values()))}
    )
    out = summarise(rows, ["estimator", "size"]).merge(first).merge(pd.DataFrame(slopes))
    return out.merge(limits, how="left")


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
            growth(
                f"{name}: mean error = asymptotic constant",
                [(mine.error / mine.predicted).mean()],
                [1.0],
                0.05,
            )
            for name, mine in large.items()
        ),
        identity("gradient of the torch objectives at the exact solutions", rows.gradient.dropna(), 1e-9),
        separation(
            "DPO at its best beta minus RDRO, largest n", at_largest["DPO, best beta"] - at_largest["RDRO"]
        ),
        separation("SFT minus RDRO, largest n", at_largest["SFT"] - at_largest["RDRO"]),
        growth(
            "DPO stops at its population limit",
            [at_largest[name].mean() for name in dpo_betas()],
            dpo_limit(list(dpo_betas().values())),
            0.05,
        ),
        differs("no beta's limit is p+: distance of the nearest", [dpo_limit(BETAS).min()], 0.01),
    ]
