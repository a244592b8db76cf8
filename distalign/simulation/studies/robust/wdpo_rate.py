"""WDPO's estimate approaches the robust population optimum at least as fast as n^{-1/4}; in the end, like
n^{-1/2}.

The claim. Theorem 1 of the WDPO/KLDPO paper bounds the squared error by a multiple of n^{-1/2}, so the
error falls at least like n^{-1/4}, at a fixed radius, towards the ROBUST optimum: the error is ||theta_n -
theta_rob||_2, not the distance to DPO's solution. The n^{-1/2}, its constant, the regime in which both hold
and the exact corner are ours.

The run. One log-linear Bradley-Terry instance and balls of fixed radius, all below the collapse radius. On
R^d (order 2) the dual is smooth. On the finite space it is piecewise, and before n is large enough for the
sample to stay on the population's piece, local slopes wander. One radius is included because a decade of it
shows about -1/4. At another radius the piece is a corner: theta_n equals theta_rob exactly, but for a share
of draws that vanishes exponentially.

The two roads. The solvers give the errors. Theory computes from the population alone how large n must be
(`distalign.theory.robust.rates.transport_limit`), the constant of the sandwich covariance from there on,
and a union bound of the share of draws off the corner.

The checks:

- rates: every ball but the corner's respects the guarantee n^{-1/4}; all of them together, each in its
  regime, fall like n^{-1/2};
- growth: the root-mean-square error is the constant of the sandwich covariance, in the regime;
- the radius that looks like -1/4 has a slope before its regime that differs from -1/2 by more than 0.1;
- a bound: the share of draws off the corner is at most its union bound;
- an identity: the value of every fit is its lower bound.

The defect measures the error to DPO's population optimum instead of the robust one. That distance does not
vanish, so the guarantees fail, and at the corner no draw is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.studies.robust.balls import metric
from distalign.simulation.studies.robust.toy import atoms
from distalign.simulation.verdict import Check, bound, differs, growth, identity, rate
from distalign.solvers.robust import wasserstein_euclidean, wasserstein_replicates
from distalign.solvers.robust.collapse import euclidean_collapse_radius, wasserstein_collapse_radius
from distalign.solvers.robust.wasserstein_fit import WassersteinFit
from distalign.theory.robust import kldpo as robust
from distalign.theory.robust import rates as robust_rates

DEFECT = "the error measured to DPO's population optimum instead of the robust one"
PROMPTS, RESPONSES, DIMENSION, NORM, BETA, INSTANCE = 3, 4, 3, 2.5, 1.0, 0  # as in kldpo_rate
# Least size of the guarantees; standard deviations that a sample may stray from the population's piece in the
# regime; error up to which a fit is at the corner.
MIN_SIZE, DEVIATIONS, AT_CORNER = 3000, 3.0, 1e-6
DELTA_METHOD_DEVIATION = (
    1 / 16
)  # standard deviation of theta from which the delta method should speak, as in kldpo_rate
TRAP, CORNER = "W1 finite, radius 0.24", "W1 finite, radius 0.26"
TRAP_SIZES = (1e3, 1e5)  # two decades below its regime, which starts at 6e5


@dataclass(frozen=True)
class Setting:
    """A ball: of order 1 or 2 on the atoms, or of order 2 on R^d."""

    space: str
    order: int
    radius: float


SETTINGS = {
    "W1 finite, radius 0.11": Setting("finite", 1, 0.11),
    "W2 finite, radius 0.3": Setting("finite", 2, 0.3),
    TRAP: Setting("finite", 1, 0.24),
    CORNER: Setting("finite", 1, 0.26),
    "W2 on R^d, radius 0.15": Setting("R^d", 2, 0.15),
}


@dataclass(frozen=True)
class Limit:
    """What theory says of one setting, from the population alone.

    Attributes:
        theta: (d,) the robust optimum theta_rob.
        variance: the trace of the limit covariance of n^{1/2} (theta_n - theta_rob).
        regime: the sample size from which the limit should hold.
        collapse_radius: the radius from which on theta_rob is the reference.
        piece: the piece of the dual that the population lies on; None on R^d, where the dual is smooth.
    """

    theta: np.ndarray
    variance: float
    regime: float
    collapse_radius: float
    piece: robust_rates.TransportLimit | None


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per ball and sample size."""
    return [{"setting": setting, "size": n, "replicates": replicates} for n in sizes for setting in SETTINGS]


@cache
def fixed_instance() -> tuple[LogLinearBradleyTerry, np.ndarray, np.ndarray, np.ndarray]:
    """The instance, v (m, d), the law (m,), and (m, m) distances of (chosen, rejected) features; labels do
    not flip.
    """
    drawn = log_linear_bradley_terry(
        np.random.default_rng(INSTANCE), PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA
    )
    return drawn, *atoms(drawn), metric(drawn, flip_cost=np.inf)


def fit_setting(setting: Setting, laws: np.ndarray) -> WassersteinFit:
    """Robust fits of the laws (R, m) over one ball."""
    _, v, _, distance = fixed_instance()
    if setting.space == "R^d":
        return wasserstein_euclidean.fit_euclidean(v, laws, radius=setting.radius, beta=BETA)
    return wasserstein_replicates.fit_replicates(
        v, laws, distance**setting.order, radius=setting.radius, order=setting.order, beta=BETA
    )


@cache
def limit(setting: Setting) -> Limit:
    """The limit of one setting, computed from the population alone."""
    _, v, p, distance = fixed_instance()
    exact, cost = fit_setting(setting, p), distance**setting.order
    theta, eta = exact.theta[0], float(exact.multiplier[0])
    if setting.space == "R^d":
        covariance = robust_rates.euclidean_covariance(v, p, theta, eta, radius=setting.radius, beta=BETA)
        variance = np.trace(covariance)
        return Limit(
            theta,
            variance,
            variance / DELTA_METHOD_DEVIATION**2,
            euclidean_collapse_radius(v, p, order=2)[0],
            None,
        )
    piece = robust_rates.transport_limit(
        v, p, cost, theta, eta, radius=setting.radius, order=setting.order, beta=BETA
    )
    variance = float(np.trace(piece.covariance))
    return Limit(
        theta,
        variance,
        max(variance / DELTA_METHOD_DEVIATION**2, piece.regime(DEVIATIONS)),
        float(wasserstein_collapse_radius(v, p, cost, order=setting.order)[0]),
        piece,
    )


def run(
    rng: np.random.Generator, *, setting: str, size: int, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Error of each replicate; not finite where the ball has collapsed or no solution is certified."""
    chosen_setting, instance = SETTINGS[setting], fixed_instance()[0]
    population_limit = limit(chosen_setting)
    sample = instance.population.sample_pairs(size, rng, replicates=replicates, distinct=True)
    fitted = fit_setting(chosen_setting, sample.weights / size)
    error = np.linalg.norm(fitted.theta - (instance.theta_star if defect else population_limit.theta), axis=1)
    usable = fitted.solved & ~fitted.collapsed
    return {
        "replicate": np.arange(replicates),
        "error": np.where(usable, error, np.nan),
        "gap": fitted.gap,
        "collapsed": fitted.collapsed,
        "failed": ~fitted.solved,
        "free": usable & (fitted.multiplier < 1e-9),
        "predicted": np.sqrt(population_limit.variance / size),
        "regime": population_limit.regime,
        "fitted": size >= population_limit.regime,
        "collapse_radius": population_limit.collapse_radius,
        "ties": population_limit.piece.ties if population_limit.piece else 0,
        "off_bound": population_limit.piece.off_piece(size) if population_limit.piece else np.nan,
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Root-mean-square error by setting and size beside its prediction, local slopes, both fits, and what was
    left out.
    """
    by = ["setting", "size"]
    out = summarise(rows.assign(squared=rows.error**2), by, "squared").rename(columns={"mean": "rms"})
    out[["rms", "low", "high"]] **= 0.5
    constant_columns = ["predicted", "regime", "fitted", "collapse_radius", "ties", "off_bound"]
    aggregates = (
        rows.assign(off=rows.error > AT_CORNER)
        .groupby(by, as_index=False)
        .agg(
            {
                **dict.fromkeys(constant_columns, "first"),
                **dict.fromkeys(("collapsed", "failed", "free"), "sum"),
                "off": "mean",
            }
        )
    )
    out = out.merge(pd.DataFrame(aggregates), on=by)
    for setting, of_this_setting in out.groupby("setting"):
        out.loc[of_this_setting.index[1:], "local"] = np.diff(np.log(of_this_setting.rms)) / np.diff(
            np.log(of_this_setting["size"])
        )
        for name, least in (("slope", MIN_SIZE), ("late_slope", of_this_setting.regime.iloc[0])):
            out.loc[of_this_setting.index, [name, f"{name}_low", f"{name}_high"]] = _slope(
                _of_setting(rows, str(setting)), least
            )
    return out


def _of_setting(rows: pd.DataFrame, setting: str) -> pd.DataFrame:
    return rows.loc[rows.setting == setting]


def _slope(rows: pd.DataFrame, least: float, most: float = np.inf) -> tuple[float, float, float]:
    """The slope over sizes between two, with its interval; NaN where there are fewer than three sizes."""
    in_range = rows.loc[rows["size"].between(least, most)]
    if in_range["size"].nunique() < 3:
        return np.nan, np.nan, np.nan
    s = log_slope(in_range["size"].to_numpy(float), in_range.error.to_numpy(float), aggregate="rms")
    return s.estimate, s.low, s.high


def checks(rows: pd.DataFrame) -> list[Check]:
    """Guarantee and constant of each ball, the exponent of all, the slope before the regime, and the
    corner.
    """
    regular = [s for s in SETTINGS if s != CORNER]
    out = [
        rate(
            f"{s}: guarantee",
            _of_setting(rows, s),
            guarantee=robust.GUARANTEED_EXPONENT,
            min_size=MIN_SIZE,
            aggregate="rms",
        )
        for s in regular
    ]
    in_regime = rows.loc[rows.fitted & rows.setting.isin(regular)]
    in_regime = in_regime.assign(squared=(in_regime.error / in_regime.predicted) ** 2)
    pooled = in_regime.groupby(["size", "replicate"], as_index=False).agg(squared=("squared", "mean"))
    pooled = pooled.assign(error=np.sqrt(pooled.squared / pooled["size"]))
    out.append(
        rate(
            "all balls, each in its regime: observed",
            pooled,
            matches=robust.PARAMETRIC_EXPONENT,
            margin=0.03,
            aggregate="rms",
        )
    )
    out += [
        _constant_check(f"{s}: rms error = sandwich covariance", _of_setting(in_regime, s).squared.dropna())
        for s in regular
    ]
    early_difference = _slope(_of_setting(rows, TRAP), *TRAP_SIZES)[0] - robust.PARAMETRIC_EXPONENT
    out.append(differs(f"{TRAP}: slope before its regime less the exponent", [early_difference], 0.1))
    return [
        *out,
        _corner_check(_of_setting(rows, CORNER)),
        identity("value less lower bound of every fit", rows.gap[~rows.failed], 1e-9),
    ]


def _constant_check(name: str, ratio: pd.Series) -> Check:
    """The mean squared error over its prediction is 1.

    The variance of that ratio is at most 2, when all of it lies in one direction; the tolerance is four
    standard errors.
    """
    return growth(name, [np.sqrt(ratio.mean())], [1.0], 4 / np.sqrt(2 * len(ratio)))


def _corner_check(rows: pd.DataFrame) -> Check:
    """The share of draws off the corner against its union bound, plus four standard errors of such a
    share.
    """
    by_size = (
        rows.assign(off=rows.error > AT_CORNER)
        .dropna(subset="error")
        .groupby("size")
        .agg(off=("off", "mean"), limit=("off_bound", "first"), n=("off", "size"))
    )
    limit = by_size.limit.clip(upper=1)
    allowance = 4 * np.sqrt(limit * (1 - limit) / by_size.n) + 1e-12
    return bound(
        f"{CORNER}: share of draws off the corner", by_size.off, limit + allowance, vacuous=by_size.limit >= 1
    )
