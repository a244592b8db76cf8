"""With few comparisons robust losses act like a larger beta and help; with many they are only biased.

The claim is ours. On one log-linear Bradley-Terry population that does not move, the excess of each
method's population DPO loss over that of the optimum is compared with DPO's, on the same samples. KLDPO is
a regulariser, which pays while pairs are few and costs a bias that stays as they grow.

The run. KLDPO at two temperatures; WDPO in its root form in the features, whose gradient norm is sigma(-t)
||theta||; DPO; and two controls that only shrink: a ridge, and DPO's estimate times tau / (1 + tau). The
latter estimates what KLDPO estimates, and efficiently so (it is maximum likelihood, scaled): its limit
variance is at most KLDPO's in every direction.

The two roads. The estimates come from Newton's method on samples; theory predicts KLDPO's excess to first
order in 1/n from its shrinkage and its sandwich covariance
(`distalign.theory.robust.algorithms.excess_loss`).

The checks:

- separations at n = 100: KLDPO and WDPO lose less than DPO, and so do the shrunk DPO and the ridge;
- separations at n = 25600: KLDPO and WDPO lose more than DPO;
- growth: at n = 25600 the mean excess of DPO and KLDPO is the shrinkage bias plus tr(HV)/2n;
- a bound: the shrunk DPO's limit variance is at most KLDPO's in every direction.

The defect judges each method by the loss of its training sample in place of the population's. DPO minimises
that loss, so nothing can lose less than DPO and the gain on few pairs is gone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from distalign.objectives import dpo
from distalign.populations import log_linear_bradley_terry
from distalign.simulation.rates import summarise
from distalign.simulation.studies.robust import toy
from distalign.simulation.verdict import Check, bound, growth, separation
from distalign.solvers.robust.kl_fit import fit_kl_temperature
from distalign.theory.robust.algorithms import excess_loss, least_variance_ratio
from distalign.theory.robust.kldpo import shrinkage_factor

DEFECT = "the loss of the training sample in place of the population's"
PROMPTS, RESPONSES, DIMENSION, NORM, INSTANCE = 6, 5, 8, 2.5, 0
TEMPERATURES = {"DPO": np.inf, "KLDPO 3": 3.0, "KLDPO 1": 1.0}
RADIUS, RIDGE = 0.05, 0.01
FEW, MANY = 100, 25_600
ROBUST = ("KLDPO 3", "KLDPO 1", "WDPO")
SMOOTH = 1e-12  # under the root of WDPO's penalty, for its kink at the reference


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per sample size."""
    return [{"size": n, "replicates": replicates} for n in sizes]


def run(rng: np.random.Generator, *, size: int, replicates: int, defect: bool = False) -> dict[str, Any]:
    """Excess loss of each method on each sample."""
    instance = log_linear_bradley_terry(
        np.random.default_rng(INSTANCE), PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=1.0
    )
    v, p = toy.atoms(instance)
    sample = instance.population.sample_pairs(size, rng, replicates=replicates, distinct=True).weights / size
    judging_law, least_loss = (sample if defect else p), p @ toy.losses(instance.theta_star, v)
    tables = []
    for method, (theta, solved) in _fits(v, sample).items():
        excess = (judging_law * toy.losses(theta, v[None])).sum(-1) - least_loss
        predicted, ratio = np.nan, np.nan
        if method in TEMPERATURES:
            tau = TEMPERATURES[method]
            predicted = excess_loss(v, p, instance.theta_star, tau, size)
            ratio = least_variance_ratio(v, p, instance.theta_star, tau)
        tables.append(
            pd.DataFrame(
                {
                    "method": method,
                    "replicate": np.arange(replicates),
                    "predicted": predicted,
                    "variance_ratio": ratio,
                    "error": np.where(solved, excess, np.nan),
                    "length": np.linalg.norm(theta, axis=1) / NORM,
                    "unsolved": ~solved,
                }
            )
        )
    return dict(pd.concat(tables, ignore_index=True))


def _fits(v: np.ndarray, sample: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(R, d) estimates, and whether there is one: separable samples have no finite DPO estimate."""
    dpo_fit = fit_kl_temperature(v, sample, temperature=np.inf)
    estimates = {"DPO": (dpo_fit.theta, dpo_fit.solved)}
    for name, tau in list(TEMPERATURES.items())[1:]:
        kldpo_fit = fit_kl_temperature(v, sample, temperature=tau)
        estimates[name] = (kldpo_fit.theta, kldpo_fit.solved)
        estimates[name.replace("KLDPO", "shrunk")] = (shrinkage_factor(tau) * dpo_fit.theta, dpo_fit.solved)
    estimates["WDPO"] = toy.fits(_wdpo_root_loss, v, sample, start=estimates["shrunk 1"][0])
    return {**estimates, "ridge": toy.fits(_ridge_loss, v, sample)}


def _wdpo_root_loss(theta: Tensor, v: Tensor, p: Tensor) -> Tensor:
    """`distalign.objectives.wdpo` of form root for inputs v, with its gradient norm written out."""
    margins = v @ theta
    squares = (p * torch.sigmoid(-margins) ** 2).sum() * (theta @ theta)
    return dpo(toy.batch(margins, p), beta=1.0) + RADIUS * (squares + SMOOTH).sqrt()


def _ridge_loss(theta: Tensor, v: Tensor, p: Tensor) -> Tensor:
    return dpo(toy.batch(v @ theta, p), beta=1.0) + RIDGE / 2 * (theta @ theta)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean excess loss with its interval and prediction, and its difference from DPO's, per method and
    size.
    """
    means = summarise(rows, ["method", "size"], "error")
    excess = rows.pivot(index=["size", "replicate"], columns="method", values="error")
    gain_over_dpo = excess.rsub(excess["DPO"], axis=0).reset_index()
    long = gain_over_dpo.melt(id_vars=["size", "replicate"], value_name="gain", var_name="method")
    gains = summarise(long, ["method", "size"], "gain").rename(
        columns={"mean": "gain", "low": "gain_low", "high": "gain_high"}
    )
    extra = rows.groupby(["method", "size"], as_index=False).agg(
        predicted=("predicted", "first"), length=("length", "median"), unsolved=("unsolved", "sum")
    )
    return means.merge(gains[["method", "size", "gain", "gain_low", "gain_high"]]).merge(extra)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Who gains on few pairs, who loses on many, the controls, and the law of the excess loss."""
    excess = rows.pivot(index=["size", "replicate"], columns="method", values="error")
    few, many = excess.loc[FEW], excess.loc[MANY]
    out = [separation(f"n = {FEW}: DPO's excess loss minus that of {m}", few["DPO"] - few[m]) for m in ROBUST]
    out += [
        separation(f"n = {FEW}: the same for the control {m}", few["DPO"] - few[m])
        for m in ("shrunk 3", "ridge")
    ]
    out += [separation(f"n = {MANY}: excess loss of {m} minus DPO's", many[m] - many["DPO"]) for m in ROBUST]
    late = rows.loc[(rows["size"] == MANY) & rows.predicted.notna()]
    ratio = (late.error / late.predicted).groupby(late.method)
    return [
        *out,
        growth(
            f"n = {MANY}: mean excess loss = bias + tr(HV)/2n",
            np.asarray(ratio.mean()),
            1.0,
            0.05 + 4 * float(np.max(ratio.sem())),
        ),
        bound(
            "limit variance: shrunk DPO's is at most KLDPO's, in every direction",
            1.0,
            late.variance_ratio[late.method != "DPO"],
        ),
    ]
