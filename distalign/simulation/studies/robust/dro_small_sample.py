"""With few comparisons robust losses act like a larger beta and help; with many they are only biased.

The claim is ours. On one log-linear Bradley-Terry population that does not move, the excess of each
method's population DPO loss over that of the optimum is compared with DPO's, on the same samples. KLDPO is
a regulariser, which pays while pairs are few and costs a bias that stays as they grow.

The run. KLDPO at two temperatures; WDPO in its root form in the features, whose gradient norm is sigma(-t)
||theta||; DPO; and two controls that only shrink: a ridge, which is shown and not checked for no code of the
package is in it, and DPO's estimate times tau / (1 + tau). The latter estimates what KLDPO estimates, and
efficiently so (it is maximum likelihood, scaled): its limit variance is at most KLDPO's in every direction.

The two roads. The estimates come from Newton's method on samples; at the first of them the torch objectives
`kldpo` and `wdpo` must be stationary. Theory predicts KLDPO's excess to first order in 1/n from its shrinkage
and its sandwich covariance (`distalign.theory.robust.algorithms.excess_loss`). The measured excess has its
expansion to second order in the mean influence of the draws as a control variate, whose mean is known.

The checks:

- separations at n = 100: KLDPO and WDPO lose less than DPO, and so does the shrunk DPO;
- separations at n = 25600: KLDPO and WDPO lose more than DPO;
- growth: at n = 25600 the mean excess of DPO and KLDPO is the shrinkage bias plus tr(HV)/2n, up to 2 %;
- a bound: the shrunk DPO's limit variance is at most KLDPO's in every direction;
- identities: the gradients of the torch objectives vanish at the estimates.

The planted defects: the temperature of the fits 10 % too large, inverted, or not passed on; the penalty of
WDPO's fit left out, or its sign turned; the factor of the shrunk DPO inverted; WDPO's radius 5 % too large in
the torch objective; and the limit covariance of KLDPO 2 % too small.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor

from distalign.objectives import dpo, kldpo, wdpo
from distalign.populations import log_linear_bradley_terry
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, result
from distalign.simulation.rates import summarise
from distalign.simulation.studies.robust import toy
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.solvers.robust.kl_fit import fit_kl_temperature
from distalign.theory.robust.algorithms import excess_loss, least_variance_ratio
from distalign.theory.robust.kldpo import shrinkage_factor, temperature_covariance, temperature_influence


def _smaller(right: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Limit covariances 2 % too small at finite temperatures."""
    return lambda v, p, theta, temperature, beta=1.0: (
        right(v, p, theta, temperature, beta) * (1.0 if np.isinf(temperature) else 0.98)
    )


DEFECTS = (
    Defect(
        "the temperature of the fits inverted",
        fit_kl_temperature,
        argument("temperature", lambda t: t if np.isinf(t) else 1 / t),
    ),
    Defect(
        "the temperature of the fits 10 % too large",
        fit_kl_temperature,
        argument("temperature", lambda t: 1.1 * t),
    ),
    Defect("the temperature not passed on", fit_kl_temperature, argument("temperature", lambda _: np.inf)),
    Defect("the penalty left out of WDPO's fit", toy.wdpo_root, argument("radius", lambda _: 0.0)),
    Defect("the sign of WDPO's penalty turned", toy.wdpo_root, argument("radius", lambda r: -r)),
    Defect("the factor of the shrunk DPO inverted", shrinkage_factor, result(lambda c: 1 / c)),
    Defect("WDPO's radius 5 % too large", wdpo, argument("radius", lambda r: 1.05 * r)),
    Defect("the limit covariance of KLDPO 2 % too small", temperature_covariance, _smaller),
)
PROMPTS, RESPONSES, DIMENSION, NORM, INSTANCE = 6, 5, 8, 2.5, 0
TEMPERATURES = {"DPO": np.inf, "KLDPO 3": 3.0, "KLDPO 1": 1.0}
RADIUS, RIDGE = 0.05, 0.01
FEW, MANY = 100, 25_600
ROBUST = ("KLDPO 3", "KLDPO 1", "WDPO")
CERTIFIED, LAW = 3, 0.02  # estimates at which torch gradients are computed; tolerance of the law


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per sample size."""
    return [{"size": n, "replicates": replicates} for n in sizes]


def run(rng: np.random.Generator, *, size: int, replicates: int) -> dict[str, Any]:
    """Excess loss of each method on each sample."""
    instance = log_linear_bradley_terry(
        np.random.default_rng(INSTANCE), PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=1.0
    )
    v, p = toy.atoms(instance)
    sample = instance.population.sample_pairs(size, rng, replicates=replicates, distinct=True).weights / size
    least_loss = p @ toy.losses(instance.theta_star, v)
    tables = []
    for method, (theta, solved) in _fits(v, sample).items():
        excess = (p * toy.losses(theta, v[None])).sum(-1) - least_loss
        predicted, ratio, expansion = np.nan, np.nan, np.nan
        if method in TEMPERATURES:
            tau = TEMPERATURES[method]
            predicted = excess_loss(v, p, instance.theta_star, tau, size)
            ratio = least_variance_ratio(v, p, instance.theta_star, tau)
            expansion = _expansion(v, p, instance.theta_star, tau, sample, size)
        tables.append(
            pd.DataFrame(
                {
                    "method": method,
                    "replicate": np.arange(replicates),
                    "predicted": predicted,
                    "variance_ratio": ratio,
                    "error": np.where(solved, excess, np.nan),
                    "controlled": np.where(solved, excess, np.nan) - expansion,
                    "gradient": _gradients(method, theta, v, sample, solved),
                    "length": np.linalg.norm(theta, axis=1) / NORM,
                    "unsolved": ~solved,
                }
            )
        )
    return dict(pd.concat(tables, ignore_index=True))


def _expansion(
    v: np.ndarray, p: np.ndarray, star: np.ndarray, tau: float, sample: np.ndarray, size: int
) -> np.ndarray:
    """(R,) the excess loss to second order in the mean influence of the draws, less its mean."""
    theta = star if np.isinf(tau) else shrinkage_factor(tau) * star
    influence, margins = temperature_influence(v, p, theta, tau), v @ theta
    gradient = -(p * expit(-margins)) @ v
    hessian = v.T @ ((p * expit(margins) * expit(-margins))[:, None] * v)
    shift = sample @ influence
    mean_square = np.einsum("m,mi,ij,mj->", p, influence, hessian, influence) / size
    return shift @ gradient + (np.einsum("ri,ij,rj->r", shift, hessian, shift) - mean_square) / 2


def _gradients(
    method: str, theta: np.ndarray, v: np.ndarray, sample: np.ndarray, solved: np.ndarray
) -> np.ndarray:
    """Largest entry of the torch objective's gradient at the first estimates; NaN for the others and for
    methods without an objective here.
    """
    out = np.full(len(theta), np.nan)
    for i in np.flatnonzero(solved[:CERTIFIED]):
        at, inputs = torch.from_numpy(theta[i].copy()).requires_grad_(), torch.from_numpy(v).requires_grad_()
        zero, weights = torch.zeros(len(v), dtype=torch.float64), torch.from_numpy(sample[i].copy())
        batch = PreferenceLogProbs(inputs @ at, zero, zero, zero, weights=weights, inputs=(inputs,))
        if method.startswith("KLDPO"):
            loss = kldpo(batch, beta=1.0, temperature=TEMPERATURES[method])
        elif method == "WDPO":
            loss = wdpo(batch, beta=1.0, radius=RADIUS, through="policy")
        else:
            continue
        out[i] = float(torch.autograd.grad(loss, at)[0].abs().max())
    return out


def _fits(v: np.ndarray, sample: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(R, d) estimates, and whether there is one: separable samples have no finite DPO estimate."""
    dpo_fit = fit_kl_temperature(v, sample, temperature=np.inf)
    estimates = {"DPO": (dpo_fit.theta, dpo_fit.solved)}
    for name, tau in list(TEMPERATURES.items())[1:]:
        kldpo_fit = fit_kl_temperature(v, sample, temperature=tau)
        estimates[name] = (kldpo_fit.theta, kldpo_fit.solved)
        estimates[name.replace("KLDPO", "shrunk")] = (shrinkage_factor(tau) * dpo_fit.theta, dpo_fit.solved)
    estimates["WDPO"] = toy.fits(
        partial(toy.wdpo_root, radius=RADIUS), v, sample, start=estimates["shrunk 1"][0]
    )
    return {**estimates, "ridge": toy.fits(_ridge_loss, v, sample)}


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
    out.append(separation(f"n = {FEW}: the same for the control shrunk 3", few["DPO"] - few["shrunk 3"]))
    out += [separation(f"n = {MANY}: excess loss of {m} minus DPO's", many[m] - many["DPO"]) for m in ROBUST]
    late = rows.loc[(rows["size"] == MANY) & rows.predicted.notna()]
    ratio = (late.controlled / late.predicted).groupby(late.method)
    return [
        *out,
        growth(
            f"n = {MANY}: mean excess loss = bias + tr(HV)/2n",
            np.asarray(ratio.mean()),
            1.0,
            LAW,
        ),
        bound(
            "limit variance: shrunk DPO's is at most KLDPO's, in every direction",
            1.0,
            late.variance_ratio[late.method != "DPO"],
        ),
        *(
            identity(
                f"gradient of the torch objective at the estimates: {name}",
                rows.gradient[rows.method.str.startswith(name)].dropna(),
                1e-8,
            )
            for name in ("KLDPO", "WDPO")
        ),
    ]
