"""Chi-square DPO's estimate approaches its robust optimum like n^{-1/2}, at the constant of the delta method.

The claim. DRO-REBEL (Sahu and Wells, arXiv 2509.19104; abstract seen) states an n^{-1/4} bound for robust
preference losses, chi-square balls among them, and by a localised analysis the parametric n^{-1/2}; its loss
regresses rewards, and the theorems were not read. Tested here is chi-square DPO in a log-linear class at a
fixed radius: it is an M-estimator in (theta, eta), so n times its mean squared error tends to the trace of
its sandwich covariance. The constant is ours. It holds beyond the standard-deviation form as well, where
pairs have lost all weight.

The run. A log-linear Bradley-Terry instance in two and in five dimensions; radii at shares of the collapse
radius. All replicates of a size are one batch of Newton iterations.

The two roads. The fits by `distalign.solvers.robust.chi2_fit`; optimum and constant by
`distalign.theory.robust.chi2`, from the dual, which knows nothing of worst laws. The torch objective's
gradient vanishes at a few of the fits.

The checks, fixed beforehand. Growth: in each dimension and at each radius the root-mean-square error over
all sizes is that of the covariance, up to four standard errors of a Gaussian with it, from the size on at
which the delta method should speak: theta, and theta over the temperature sqrt(Var l / (2 radius)) that the
ball amounts to, have standard deviations of at most 1/16. Rates: the bound n^{-1/4} is respected from
100,000 pairs on; the exponent -1/2 itself follows from constants at all sizes, and is not asked again. An
identity: the gradient of the objective.

Power: at the full preset four standard errors are at most 2 %, where defects are planted 4 %, at the smallest
preset 25 %.

The planted defects: the radius of the fits 5 % too large; the limit covariance 20 % too large; laws mixed
with 2 % of the uniform one before they are fitted, so that errors do not fall; and the radius of the
objective 5 % too large.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives.chi2_dpo import chi2_dpo
from distalign.policies import LogLinear, score
from distalign.populations import Law, LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, growth, identity, rate
from distalign.solvers.robust.chi2_fit import chi2_collapse_radius, fit_chi2_ball
from distalign.theory.robust import chi2 as theory

PROMPTS, RESPONSES, NORM, BETA, INSTANCE = 3, 4, 2.5, 1.0, 0
GUARANTEE, MIN_SIZE = -0.25, 100_000  # exponent of the bound, and the least size that it is asked of
CERTIFIED = 3  # replicates whose torch gradient is computed
DELTA_METHOD_DEVIATION = 1 / 16
DEFECTS = (
    Defect("the radius of the fits 5 % too large", fit_chi2_ball, argument("radius", lambda r: 1.05 * r)),
    Defect("the limit covariance 20 % too large", theory.chi2_covariance, result(lambda v: 1.2 * v)),
    Defect(
        "laws mixed with 2 % of the uniform one before they are fitted",
        fit_chi2_ball,
        argument("p", lambda p: 0.98 * p + 0.02 / np.shape(p)[-1]),
    ),
    Defect(
        "the radius of the objective 5 % too large",
        chi2_dpo,
        argument("radius", lambda r: 1.05 * r),
        where(size=1_000_000),
    ),
)


def cells(
    dimensions: list[int], shares: list[float], sizes: list[int], replicates: int
) -> list[dict[str, Any]]:
    """One cell per dimension, radius as a share of the collapse radius, and sample size."""
    return [
        {"dimension": d, "share": share, "size": n, "replicates": replicates}
        for d in dimensions
        for share in shares
        for n in sizes
    ]


def run(
    rng: np.random.Generator, *, dimension: int, share: float, size: int, replicates: int
) -> dict[str, Any]:
    """Error of each replicate, NaN where a sample has no certified fit or its ball has collapsed."""
    instance = log_linear_bradley_terry(
        np.random.default_rng(INSTANCE), PROMPTS, RESPONSES, dimension, norm=NORM, beta=BETA
    )
    law = instance.population.pairs(distinct=True)
    flat = instance.features.reshape(-1, dimension)
    v = flat[law.chosen] - flat[law.rejected]
    radius = share * float(chi2_collapse_radius(v, law.weights)[0])
    optimum, threshold = theory.chi2_optimum(v, law.weights, instance.theta_star, radius, BETA)
    limit = theory.chi2_covariance(v, law.weights, optimum, threshold, radius, BETA)
    losses = np.logaddexp(0, -BETA * v @ optimum)
    temperature = np.sqrt(law.weights @ (losses - law.weights @ losses) ** 2 / (2 * radius))
    sample = instance.population.sample_pairs(size, rng, replicates=replicates, distinct=True)
    found = fit_chi2_ball(v, sample.weights / size, radius=radius, beta=BETA)
    usable = found.solved & ~found.collapsed
    variance = np.trace(limit)
    return {
        "replicate": np.arange(replicates),
        "error": np.where(usable, np.linalg.norm(found.theta - optimum, axis=1), np.nan),
        "predicted": np.sqrt(variance / size),
        "spread": np.sqrt(2 * np.trace(limit @ limit)) / variance,
        "fitted": size * (DELTA_METHOD_DEVIATION * min(1, temperature)) ** 2 >= variance,
        "dropped": float((losses < threshold).mean()),
        "unsolved": ~usable,
        "gradient": _gradients(instance, sample, found.theta, radius),
    }


def _gradients(instance: LogLinearBradleyTerry, sample: Law, theta: np.ndarray, radius: float) -> np.ndarray:
    """Largest entry of the torch objective's gradient at the first few fits; NaN for the others."""
    policy = LogLinear(instance.features, instance.population.reference)
    chosen, rejected = torch.from_numpy(sample.chosen), torch.from_numpy(sample.rejected)
    out = np.full(len(theta), np.nan)
    for i in range(min(CERTIFIED, len(theta))):
        at = torch.from_numpy(theta[i].copy()).requires_grad_()
        batch = score(policy, at, chosen, rejected, torch.from_numpy(sample.weights[i]))
        loss = partial(chi2_dpo, beta=BETA)(batch, radius=radius)
        out[i] = float(torch.autograd.grad(loss, at)[0].abs().max())
    return out


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Root-mean-square error with its interval beside its law, by dimension, radius and size."""
    keys = ["dimension", "share", "size"]
    squared = summarise(rows.assign(squared=rows.error**2), keys, "squared")
    squared[["mean", "low", "high"]] **= 0.5
    extra = rows.groupby(keys, as_index=False).agg(
        predicted=("predicted", "first"),
        fitted=("fitted", "first"),
        dropped=("dropped", "first"),
        unsolved=("unsolved", "sum"),
    )
    return squared.rename(columns={"mean": "rms"}).merge(extra)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Constants in the range of the delta method, the guarantee, and the objective's gradient."""
    groups = list(rows.groupby(["dimension", "share"]))
    return [
        *(_constant(d, share, cell[cell.fitted.astype(bool)]) for (d, share), cell in groups),  # pyright: ignore[reportArgumentType, reportGeneralTypeIssues]
        *(
            rate(
                f"d = {d}, radius {share:g} of the collapse radius: guarantee",
                cell,
                guarantee=GUARANTEE,
                min_size=MIN_SIZE,
                aggregate="rms",
            )
            for (d, share), cell in groups  # pyright: ignore[reportGeneralTypeIssues]
        ),
        identity("gradient of the objective at the fits", rows.gradient.dropna(), 1e-7),
    ]


def _constant(dimension: int, share: float, cell: pd.DataFrame) -> Check:
    """The mean squared error over its law is 1, up to four standard errors of its root."""
    ratio = ((cell.error / cell.predicted) ** 2).dropna()
    return growth(
        f"d = {dimension}, radius {share:g} of the collapse radius: rms error = limit covariance",
        [np.sqrt(ratio.mean())],
        [1.0],
        2 * cell.spread.max() / np.sqrt(max(len(ratio), 1)),
    )
