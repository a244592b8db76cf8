"""KLDPO's estimate approaches the robust population optimum at least as fast as n^{-1/4}; measured, like
n^{-1/2}.

The claim. Theorem 2 of the WDPO/KLDPO paper bounds the squared error by a multiple of n^{-1/2}, so the
error falls at least like n^{-1/4}, at a fixed radius, towards the ROBUST optimum: the error is ||theta_n -
theta_rob||_2, not the distance to DPO's solution. That it falls like n^{-1/2}, as a smooth M-estimator's
does, is known for robust preference losses since arXiv 2509.19104; its constant is ours.

The run. One log-linear Bradley-Terry instance; balls of fixed radius below the collapse radius, fixed
temperatures, and DPO beside them. All replicates of a size are one batch of Newton iterations
(`distalign.solvers.robust.kl_fit`).

The two roads. The fits estimate the robust optimum; theory gives it as a multiple of DPO's population
solution, for a ball at the multiplier that duality gives, and computes the constant of the sandwich
covariance. On a few fits the gradient of the torch objective is computed, too, and must vanish.

The checks:

- rates: every robust estimator respects the guarantee n^{-1/4}, from n = 3000 on; all estimators together
  fall like n^{-1/2}, errors in units of their limit, once n is so large that the delta method should speak;
- growth: the root-mean-square error of each estimator is the constant of its sandwich covariance from there
  on, up to four standard errors of a Gaussian with that covariance;
- an identity: the gradient of the torch objective vanishes at the exact solutions.

The planted defects: the temperature, the radius or, for DPO, beta of the fits 10 % too large, so that they
approach another optimum; the limit covariances 40 % too large, which moves the constants by twice their
tolerance at the small preset; and the temperature of the torch objective 10 % too large.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import dpo, kldpo
from distalign.policies import LogLinear, score
from distalign.populations import Law, LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.verdict import Check, growth, identity, rate
from distalign.solvers.robust.collapse import collapse_radius
from distalign.solvers.robust.kl_fit import KLFit, fit_kl_ball, fit_kl_temperature
from distalign.theory.robust import kldpo as theory

PROMPTS, RESPONSES, DIMENSION, NORM, BETA, INSTANCE = 3, 4, 3, 2.5, 1.0, 0
MIN_SIZE, CERTIFIED = 3000, 4  # least size of the rates; replicates whose torch gradient is computed
METHODS = {
    "DPO": np.inf,
    "temperature 1": 1.0,
    "temperature 0.3": 0.3,
    "temperature 0.1": 0.1,
    "ball 0.01": 0.01,
    "ball 0.05": 0.05,
    "ball 0.15": 0.15,
}  # temperature (infinite for DPO), or radius in nats


DEFECTS = (
    Defect(
        "the temperature of the fits 10 % too large",
        fit_kl_temperature,
        argument("temperature", lambda t: 1.1 * t),
        where(method={"temperature 1", "temperature 0.3", "temperature 0.1"}),
    ),
    Defect(
        "the radius of the fits 10 % too large",
        fit_kl_ball,
        argument("radius", lambda r: 1.1 * r),
        where(method={"ball 0.01", "ball 0.05", "ball 0.15"}),
    ),
    Defect(
        "beta of DPO 10 % too large",
        fit_kl_temperature,
        argument("beta", lambda b: 1.1 * b),
        where(method={"DPO"}),
    ),
    Defect("the limit covariances 40 % too large", theory._sandwich, result(lambda v: 1.4 * v)),
    Defect(
        "the temperature of the torch objective 10 % too large",
        kldpo,
        argument("temperature", lambda t: t and 1.1 * t),
        where(method={"temperature 1"}),
    ),
)
# The delta method should speak once theta and theta / temperature have standard deviations this small.
DELTA_METHOD_DEVIATION = 1 / 16


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per method and sample size."""
    return [{"method": method, "size": n, "replicates": replicates} for n in sizes for method in METHODS]


def run(rng: np.random.Generator, *, method: str, size: int, replicates: int) -> dict[str, Any]:
    """Error of each replicate; not finite where the ball has collapsed or no finite optimum exists."""
    instance = log_linear_bradley_terry(
        np.random.default_rng(INSTANCE), PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA
    )
    law = instance.population.pairs(distinct=True)
    flat = instance.features.reshape(-1, DIMENSION)
    v = flat[law.chosen] - flat[law.rejected]
    sample = instance.population.sample_pairs(size, rng, replicates=replicates, distinct=True)
    fitted = _fit_method(method, v, sample.weights / size)
    optimum, tau = _optimum(method, v, law.weights, instance.theta_star)
    covariance = theory.ball_covariance if _is_ball(method) else theory.temperature_covariance
    limit = covariance(v, law.weights, optimum, tau, BETA)
    variance = np.trace(limit)
    error = np.linalg.norm(fitted.theta - optimum, axis=1)
    # This is the most favourable reading of Theorem 2: coverage at the nominal law, and one multiplier for
    # both of its bounds.
    coverage = np.linalg.eigvalsh(v.T @ (law.weights[:, None] * v))[0]
    guaranteed = (
        np.nan
        if np.isinf(tau)
        else theory.squared_error_bound(
            size, beta=BETA, norm=NORM, coverage=coverage, multiplier_low=tau, multiplier_high=tau
        )
    )
    return {
        "replicate": np.arange(replicates),
        "error": np.where(fitted.solved & ~fitted.collapsed, error, np.nan),
        "collapsed": fitted.collapsed,
        "unsolved": ~fitted.solved,
        "predicted": np.sqrt(variance / size),
        "spread": np.sqrt(2 * np.trace(limit @ limit)) / variance,
        "fitted": size * (DELTA_METHOD_DEVIATION * min(1, tau)) ** 2 >= variance,
        "temperature": tau,
        "collapse_radius": collapse_radius(v, law.weights)[0],
        "guaranteed": np.sqrt(guaranteed),
        "gradient": _gradients(method, instance, sample, fitted.theta),
    }


def _is_ball(method: str) -> bool:
    return method.startswith("ball")


def _optimum(method: str, v: np.ndarray, p: np.ndarray, star: np.ndarray) -> tuple[np.ndarray, float]:
    """The robust optimum and its temperature, infinite for DPO, by theory from DPO's population solution."""
    if method == "DPO":
        return star, np.inf
    tau = METHODS[method]
    if _is_ball(method):
        tau = theory.ball_temperature(v, p, star, METHODS[method], BETA)
    return theory.shrinkage_factor(tau) * star, tau


def _fit_method(method: str, v: np.ndarray, laws: np.ndarray) -> KLFit:
    if _is_ball(method):
        return fit_kl_ball(v, laws, radius=METHODS[method], beta=BETA)
    return fit_kl_temperature(v, laws, temperature=METHODS[method], beta=BETA)


def _gradients(method: str, instance: LogLinearBradleyTerry, sample: Law, theta: np.ndarray) -> np.ndarray:
    """Largest entry of the torch objective's gradient at the first few solutions; NaN for the others."""
    if method == "DPO":
        objective = partial(dpo, beta=BETA)
    else:
        objective = partial(
            kldpo, beta=BETA, **{"radius" if _is_ball(method) else "temperature": METHODS[method]}
        )
    policy = LogLinear(instance.features, instance.population.reference)
    chosen, rejected = torch.from_numpy(sample.chosen), torch.from_numpy(sample.rejected)
    out = np.full(len(theta), np.nan)
    for i in range(min(CERTIFIED, len(theta))):
        at = torch.from_numpy(theta[i].copy()).requires_grad_()
        loss = objective(score(policy, at, chosen, rejected, torch.from_numpy(sample.weights[i])))
        out[i] = float(torch.autograd.grad(loss, at)[0].abs().max())
    return out


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Root-mean-square error with its interval by method and size, local slopes and fit, predictions, and
    what was left out.
    """
    squared = summarise(rows.assign(squared=rows.error**2), ["method", "size"], "squared")
    squared[["mean", "low", "high"]] **= 0.5
    extra = rows.groupby(["method", "size"], as_index=False).agg(
        predicted=("predicted", "first"),
        fitted=("fitted", "first"),
        guaranteed=("guaranteed", "first"),
        temperature=("temperature", "first"),
        collapse_radius=("collapse_radius", "first"),
        collapsed=("collapsed", "sum"),
        unsolved=("unsolved", "sum"),
    )
    out = squared.rename(columns={"mean": "rms"}).merge(extra)
    for method, of_method in out.groupby("method"):
        out.loc[of_method.index[1:], "local"] = np.diff(np.log(of_method.rms)) / np.diff(
            np.log(of_method["size"])
        )
        large = rows.loc[(rows.method == method) & (rows["size"] >= MIN_SIZE)]
        s = log_slope(large["size"].to_numpy(float), large.error.to_numpy(float), aggregate="rms")
        out.loc[of_method.index, ["slope", "slope_low", "slope_high"]] = s.estimate, s.low, s.high
    return out


def checks(rows: pd.DataFrame) -> list[Check]:
    """Guarantee of each robust estimator, exponent of all, constants, and stationarity of the torch
    objective.
    """
    out = [
        rate(
            f"{method}: guarantee",
            rows.loc[rows.method == method],
            guarantee=theory.GUARANTEED_EXPONENT,
            min_size=MIN_SIZE,
            aggregate="rms",
        )
        for method in METHODS
        if method != "DPO"
    ]
    in_regime = rows.loc[rows.fitted].assign(squared=lambda r: (r.error / r.predicted) ** 2)
    pooled = in_regime.groupby(["size", "replicate"], as_index=False).agg(squared=("squared", "mean"))
    pooled = pooled.assign(error=np.sqrt(pooled.squared / pooled["size"]))
    out.append(
        rate(
            "all estimators: observed",
            pooled,
            matches=theory.PARAMETRIC_EXPONENT,
            margin=0.03,
            aggregate="rms",
        )
    )
    out += [
        _constant_check(
            f"{method}: rms error = sandwich covariance", in_regime.loc[in_regime.method == method]
        )
        for method in METHODS
    ]
    return [
        *out,
        identity("gradient of the torch objective at the exact solutions", rows.gradient.dropna(), 1e-9),
    ]


def _constant_check(name: str, rows: pd.DataFrame) -> Check:
    """The mean squared error over its prediction is 1.

    The tolerance is four standard errors of its root: the standard deviation of the squared length of a
    Gaussian with this covariance over its mean, `spread`, over 2 N^{1/2}.
    """
    ratio = rows.squared.dropna()
    return growth(name, [np.sqrt(ratio.mean())], [1.0], 2 * rows.spread.max() / np.sqrt(len(ratio)))
