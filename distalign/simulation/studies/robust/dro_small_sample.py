r"""With few comparisons robust losses act like a larger beta and help; with many they are only biased.

One log-linear Bradley-Terry population without any shift; excess of each method's population DPO loss over
the optimum's, on the same samples. KLDPO on n pairs is predicted by its shrinkage and its sandwich
covariance, to first order in 1/n (`distalign.theory.robust.algorithms.excess_loss`). Two controls only
shrink: a ridge, and DPO's estimate times tau / (1 + tau). The latter estimates what KLDPO estimates, and
    efficiently so (maximum likelihood, scaled): its limit variance is at most
KLDPO's in every direction. WDPO is its root form in the features, whose gradient norm is sigma(-t) ||theta||.
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
    judge, optimum = (sample if defect else p), p @ toy.losses(instance.theta_star, v)
    parts = []
    for method, (theta, solved) in _fits(v, sample).items():
        excess = (judge * toy.losses(theta, v[None])).sum(-1) - optimum
        predicted, ratio = np.nan, np.nan
        if method in TEMPERATURES:
            tau = TEMPERATURES[method]
            predicted = excess_loss(v, p, instance.theta_star, tau, size)
            ratio = least_variance_ratio(v, p, instance.theta_star, tau)
        parts.append(
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
    return dict(pd.concat(parts, ignore_index=True))


def _fits(v: np.ndarray, sample: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(R, d) estimates, and whether there is one: separable samples have no finite DPO estimate."""
    plain = fit_kl_temperature(v, sample, temperature=np.inf)
    found = {"DPO": (plain.theta, plain.solved)}
    for name, tau in list(TEMPERATURES.items())[1:]:
        robust = fit_kl_temperature(v, sample, temperature=tau)
        found[name] = (robust.theta, robust.solved)
        found[name.replace("KLDPO", "shrunk")] = (shrinkage_factor(tau) * plain.theta, plain.solved)
    found["WDPO"] = toy.fits(_root, v, sample, start=found["shrunk 1"][0])
    return {**found, "ridge": toy.fits(_ridge, v, sample)}


def _root(theta: Tensor, v: Tensor, p: Tensor) -> Tensor:
    """`distalign.objectives.wdpo` of form root for inputs v, with its gradient norm written out."""
    margins = v @ theta
    squares = (p * torch.sigmoid(-margins) ** 2).sum() * (theta @ theta)
    return dpo(toy.batch(margins, p), beta=1.0) + RADIUS * (squares + SMOOTH).sqrt()


def _ridge(theta: Tensor, v: Tensor, p: Tensor) -> Tensor:
    return dpo(toy.batch(v @ theta, p), beta=1.0) + RIDGE / 2 * (theta @ theta)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean excess loss with its interval and prediction, and its difference from DPO's, per method and
    size.
    """
    means = summarise(rows, ["method", "size"], "error")
    wide = rows.pivot(index=["size", "replicate"], columns="method", values="error")
    saved = wide.rsub(wide["DPO"], axis=0).reset_index()
    long = saved.melt(id_vars=["size", "replicate"], value_name="gain", var_name="method")
    gains = summarise(long, ["method", "size"], "gain").rename(
        columns={"mean": "gain", "low": "gain_low", "high": "gain_high"}
    )
    extra = rows.groupby(["method", "size"], as_index=False).agg(
        predicted=("predicted", "first"), length=("length", "median"), unsolved=("unsolved", "sum")
    )
    return means.merge(gains[["method", "size", "gain", "gain_low", "gain_high"]]).merge(extra)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Who gains on few pairs, who loses on many, the controls, and the law of the excess loss."""
    wide = rows.pivot(index=["size", "replicate"], columns="method", values="error")
    few, many = wide.loc[FEW], wide.loc[MANY]
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
