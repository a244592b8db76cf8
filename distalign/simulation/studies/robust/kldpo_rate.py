"""KLDPO's estimate approaches the robust population optimum at least as fast as n^{-1/4}; measured, like n^{-1/2}.

One log-linear Bradley-Terry instance; a ball of fixed radius below the collapse radius, and a fixed temperature. The error is
||theta_n - theta_rob||_2 to the ROBUST optimum, which is what the paper bounds (not to DPO's solution). All replicates of a
size are one batch of Newton iterations (`distalign.solvers.kl_fit`); on a few of them the gradient of the torch objective
`distalign.objectives.kldpo` is checked to vanish. The constant is compared with the sandwich covariance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import kldpo
from distalign.policies import LogLinear, score
from distalign.populations import Law, LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.verdict import Check, growth, identity, rate
from distalign.solvers.collapse import collapse_radius
from distalign.solvers.kl_fit import Fit, fit_ball, fit_temperature
from distalign.theory import robust as theory

DEFECT = "the error measured to DPO's population optimum instead of the robust one"
PROMPTS, RESPONSES, DIMENSION, NORM, BETA, INSTANCE = 3, 4, 3, 2.5, 1.0, 0
RADIUS, TEMPERATURE = 0.05, 1.0
MIN_SIZE, CERTIFIED = 3000, 4
METHODS = ("ball", "temperature")


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per method and sample size."""
    return [{"method": method, "size": n, "replicates": replicates} for method in METHODS for n in sizes]


def run(rng: np.random.Generator, *, method: str, size: int, replicates: int, defect: bool = False) -> dict[str, Any]:
    """Error of each replicate; not finite where the ball has collapsed or no finite optimum exists."""
    instance = log_linear_bradley_terry(np.random.default_rng(INSTANCE), PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA)
    law = instance.population.pairs(distinct=True)
    flat = instance.features.reshape(-1, DIMENSION)
    v = flat[law.chosen] - flat[law.rejected]
    sample = instance.population.sample_pairs(size, rng, replicates=replicates, distinct=True)
    exact, fitted = _fit(method, v, law.weights), _fit(method, v, sample.weights / size)
    tau = float(exact.multiplier[0])
    covariance = theory.ball_covariance if method == "ball" else theory.temperature_covariance
    predicted = np.sqrt(np.trace(covariance(v, law.weights, exact.theta[0], tau, BETA)) / size)
    error = np.linalg.norm(fitted.theta - (instance.theta_star if defect else exact.theta[0]), axis=1)
    # Most favourable reading of the guarantee: coverage at the nominal law, and one multiplier for both of its bounds.
    coverage = np.linalg.eigvalsh(v.T @ (law.weights[:, None] * v))[0]
    guaranteed = theory.squared_error_bound(size, beta=BETA, norm=NORM, coverage=coverage, multiplier_low=tau,
                                            multiplier_high=tau)
    return {"replicate": np.arange(replicates), "error": np.where(fitted.solved & ~fitted.collapsed, error, np.nan),
            "collapsed": fitted.collapsed, "unsolved": ~fitted.solved, "predicted": predicted, "temperature": tau,
            "collapse_radius": collapse_radius(v, law.weights)[0], "guaranteed": np.sqrt(guaranteed),
            "gradient": _gradients(method, instance, sample, fitted.theta)}


def _fit(method: str, v: np.ndarray, laws: np.ndarray) -> Fit:
    if method == "ball":
        return fit_ball(v, laws, radius=RADIUS, beta=BETA)
    return fit_temperature(v, laws, temperature=TEMPERATURE, beta=BETA)


def _gradients(method: str, instance: LogLinearBradleyTerry, sample: Law, theta: np.ndarray) -> np.ndarray:
    """Largest entry of the torch objective's gradient at the first few solutions; NaN for the others."""
    settings: dict[str, Any] = {"radius": RADIUS} if method == "ball" else {"temperature": TEMPERATURE}
    policy = LogLinear(instance.features, instance.population.reference)
    chosen, rejected = torch.from_numpy(sample.chosen), torch.from_numpy(sample.rejected)
    out = np.full(len(theta), np.nan)
    for i in range(min(CERTIFIED, len(theta))):
        at = torch.from_numpy(theta[i].copy()).requires_grad_()
        loss = kldpo(score(policy, at, chosen, rejected, torch.from_numpy(sample.weights[i])), beta=BETA, **settings)
        out[i] = float(torch.autograd.grad(loss, at)[0].abs().max())
    return out


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Root-mean-square error with its interval per method and size, its slope, the two predictions, and what was left out."""
    squared = summarise(rows.assign(squared=rows.error**2), ["method", "size"], "squared")
    squared[["mean", "low", "high"]] **= 0.5
    extra = rows.groupby(["method", "size"], as_index=False).agg(
        predicted=("predicted", "first"), guaranteed=("guaranteed", "first"), temperature=("temperature", "first"),
        collapse_radius=("collapse_radius", "first"), collapsed=("collapsed", "sum"), unsolved=("unsolved", "sum"))
    slopes = [{"method": m, "slope": s.estimate, "slope_low": s.low, "slope_high": s.high}
              for m, mine in rows.loc[rows["size"] >= MIN_SIZE].groupby("method")
              for s in [log_slope(mine["size"].to_numpy(float), mine.error.to_numpy(float), aggregate="rms")]]
    return squared.rename(columns={"mean": "rms"}).merge(extra).merge(pd.DataFrame(slopes))


def checks(rows: pd.DataFrame) -> list[Check]:
    """Guarantee and observed exponent for both methods, then the constant over the sizes of the fit."""
    out = []
    for method, name in (("ball", f"ball of radius {RADIUS:g}"), ("temperature", f"temperature {TEMPERATURE:g}")):
        mine = rows.loc[(rows.method == method) & (rows["size"] >= MIN_SIZE)]
        guarantee, parametric = theory.GUARANTEED_EXPONENT, theory.PARAMETRIC_EXPONENT
        out += [rate(f"{name}: guarantee", mine, guarantee=guarantee, aggregate="rms"),
                rate(f"{name}: observed", mine, matches=parametric, margin=0.03, aggregate="rms"),
                _constant(f"{name}: rms error = sandwich covariance", mine)]
    return [*out, identity("gradient of the torch objective at the exact solutions", rows.gradient.dropna(), 1e-9)]


def _constant(name: str, rows: pd.DataFrame) -> Check:
    """Squared errors relative to their prediction average to 1, with a standard error of at most sqrt(2 / N): four of those."""
    ratio = (rows.error / rows.predicted).dropna() ** 2
    return growth(name, [np.sqrt(ratio.mean())], [1.0], 4 / np.sqrt(2 * len(ratio)))
