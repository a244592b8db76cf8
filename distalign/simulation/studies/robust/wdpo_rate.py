"""WDPO's estimate approaches the robust population optimum at least as fast as n^{-1/4}; in the end, like
n^{-1/2}.

The claim. Theorem 1 of the WDPO/KLDPO paper bounds the squared error by a multiple of n^{-1/2}, so the
error falls at least like n^{-1/4}, at a fixed radius, towards the ROBUST optimum: the error is ||theta_n -
theta_rob||_2, not the distance to DPO's solution. The n^{-1/2} is known for robust preference losses since
arXiv 2509.19104; its constant, the regime in which both hold and the exact corner are ours.

The run. One log-linear Bradley-Terry instance and balls of fixed radius, all below the collapse radius. On
R^d (order 2) the dual is smooth. On the finite space it is piecewise, and before n is large enough for the
sample to stay on the population's piece, local slopes wander. One radius is included because a decade of it
shows about -1/4. At another radius the piece is a corner: theta_n equals theta_rob exactly, but for a share
of draws that vanishes exponentially.

The two roads. `fit_replicates` and, on R^d, `fit_euclidean` give the estimates. The robust optimum that they
should approach is that of another solver on the finite space, by constraint generation, and on R^d the root
of theory's equations. Theory computes from the population alone how large n must be
(`distalign.theory.robust.rates.transport_limit`), the constant of the sandwich covariance from there on, and
a union bound of the share of draws off the corner. The measured mean square has the mean influence of the
draws as a control variate: the square of that, whose mean is known, is subtracted in every sample and its
mean added, which leaves the mean and takes nearly all of the noise.

The checks:

- rates: every ball but the corner's respects the guarantee n^{-1/4}; all of them together, each in its
  regime, fall like n^{-1/2};
- growth: the root-mean-square error is the constant of the sandwich covariance, in the regime;
- the radius that looks like -1/4 has that slope in the decade before its regime, up to 0.1;
- a bound: the share of draws off the corner is at most its union bound;
- an identity: the values of the first fits on the finite space are those of constraint generation.

The planted defects: the radius of the fits on the finite space, or on R^d, 5 % too large, so that they
approach another optimum; the influences, and with them the constants, 4 % too large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from distalign.intervals import SIMULTANEOUS
from distalign.populations import LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument, result
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.studies.robust.balls import metric
from distalign.simulation.studies.robust.toy import atoms
from distalign.simulation.verdict import Check, bound, growth, identity, rate
from distalign.solvers.robust.collapse import euclidean_collapse_radius, wasserstein_collapse_radius
from distalign.solvers.robust.wasserstein_euclidean import fit_euclidean
from distalign.solvers.robust.wasserstein_finite import fit_finite
from distalign.solvers.robust.wasserstein_fit import WassersteinFit
from distalign.solvers.robust.wasserstein_replicates import fit_replicates
from distalign.theory.robust import kldpo as robust
from distalign.theory.robust import rates as robust_rates

PROMPTS, RESPONSES, DIMENSION, NORM, BETA, INSTANCE = 3, 4, 3, 2.5, 1.0, 0  # as in kldpo_rate
# Least size of the guarantees; standard deviations that a sample may stray from the population's piece in the
# regime; error up to which a fit is at the corner.
MIN_SIZE, DEVIATIONS, AT_CORNER = 3000, 3.0, 1e-6
DELTA_METHOD_DEVIATION = (
    1 / 16
)  # standard deviation of theta from which the delta method should speak, as in kldpo_rate
TRAP, CORNER = "W1 finite, radius 0.24", "W1 finite, radius 0.26"
TRAP_SIZES = (1e4, 1e5)  # the decade below its regime, which starts at 6e5
CONSTANT = 0.02  # tolerance of the constants
AGAIN = 2  # fits of each sample size that are solved again by constraint generation


def _in_space(space: str) -> Callable[[Mapping[str, Any]], bool]:
    """The choice of the cells of one space, for a defect that the other does not call."""
    return lambda arguments: SETTINGS[arguments["setting"]].space == space


DEFECTS = (
    Defect(
        "the radius of the fits on the finite space 5 % too large",
        fit_replicates,
        argument("radius", lambda r: 1.05 * r),
        _in_space("finite"),
    ),
    Defect(
        "the radius of the fits on R^d 5 % too large",
        fit_euclidean,
        argument("radius", lambda r: 1.05 * r),
        _in_space("R^d"),
    ),
    Defect(
        "the influences on the finite space 4 % too large",
        robust_rates.transport_limit,
        result(lambda x: replace(x, influence=1.04 * x.influence, covariance=1.04**2 * x.covariance)),
        _in_space("finite"),
    ),
    Defect(
        "the influences on R^d 4 % too large",
        robust_rates.euclidean_influence,
        result(lambda x: 1.04 * x),
        _in_space("R^d"),
    ),
)


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
        influence: (m, d) first-order change of theta_n by a draw of each atom.
        variance: the trace of the limit covariance of n^{1/2} (theta_n - theta_rob).
        regime: the sample size from which the limit should hold.
        collapse_radius: the radius from which on theta_rob is the reference.
        piece: the piece of the dual that the population lies on; None on R^d, where the dual is smooth.
    """

    theta: np.ndarray
    influence: np.ndarray
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
        return fit_euclidean(v, laws, radius=setting.radius, beta=BETA)
    return fit_replicates(
        v, laws, distance**setting.order, radius=setting.radius, order=setting.order, beta=BETA
    )


@cache
def limit(setting: Setting) -> Limit:
    """The limit of one setting, computed from the population alone and not by the solver under test."""
    instance, v, p, distance = fixed_instance()
    settings: dict[str, float] = {"radius": setting.radius, "beta": BETA}
    if setting.space == "R^d":
        theta, eta = robust_rates.euclidean_optimum(v, p, instance.theta_star, **settings)
        influence = robust_rates.euclidean_influence(v, p, theta, eta, **settings)
        variance = float(p @ (influence**2).sum(1))
        return Limit(
            theta,
            influence,
            variance,
            variance / DELTA_METHOD_DEVIATION**2,
            euclidean_collapse_radius(v, p, order=2)[0],
            None,
        )
    cost = distance**setting.order
    exact = fit_finite(v, p[None], cost, order=setting.order, **settings)
    theta = exact.theta[0]
    piece = robust_rates.transport_limit(
        v, p, cost, theta, float(exact.multiplier[0]), order=setting.order, **settings
    )
    variance = float(np.trace(piece.covariance))
    return Limit(
        theta,
        piece.influence,
        variance,
        max(variance / DELTA_METHOD_DEVIATION**2, piece.regime(DEVIATIONS)),
        float(wasserstein_collapse_radius(v, p, cost, order=setting.order)[0]),
        piece,
    )


def run(rng: np.random.Generator, *, setting: str, size: int, replicates: int) -> dict[str, Any]:
    """Error of each replicate; not finite where the ball has collapsed or no solution is certified."""
    chosen_setting, instance = SETTINGS[setting], fixed_instance()[0]
    population_limit = limit(chosen_setting)
    laws = instance.population.sample_pairs(size, rng, replicates=replicates, distinct=True).weights / size
    fitted = fit_setting(chosen_setting, laws)
    error = np.linalg.norm(fitted.theta - population_limit.theta, axis=1)
    linear = ((laws @ population_limit.influence) ** 2).sum(1)
    usable = fitted.solved & ~fitted.collapsed
    return {
        "replicate": np.arange(replicates),
        "error": np.where(usable, error, np.nan),
        "controlled": np.where(usable, error**2, np.nan) - linear + population_limit.variance / size,
        "value": np.append(_values_again(chosen_setting, laws) - fitted.value[:AGAIN], [np.nan] * replicates)[
            :replicates
        ],
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


def _values_again(setting: Setting, laws: np.ndarray) -> np.ndarray:
    """The values of the first fits on the finite space by constraint generation; NaN on R^d."""
    _, v, _, distance = fixed_instance()
    if setting.space == "R^d":
        return np.full(min(AGAIN, len(laws)), np.nan)
    cost = distance**setting.order
    return fit_finite(v, laws[:AGAIN], cost, radius=setting.radius, order=setting.order, beta=BETA).value


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
    in_regime = in_regime.assign(
        squared=(in_regime.error / in_regime.predicted) ** 2,
        controlled=in_regime.controlled / in_regime.predicted**2,
    )
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
        growth(
            f"{s}: rms error = sandwich covariance",
            [np.sqrt(_of_setting(in_regime, s).controlled.mean())],
            [1.0],
            CONSTANT,
        )
        for s in regular
    ]
    early = _of_setting(rows, TRAP)
    early = (
        early.loc[early["size"].isin(TRAP_SIZES)].groupby("size").error.agg(lambda e: np.sqrt((e**2).mean()))
    )
    early_slope = np.diff(np.log(early)) / np.diff(np.log(early.index))
    out.append(
        identity(
            f"{TRAP}: slope in the decade before its regime less {robust.GUARANTEED_EXPONENT:g}",
            early_slope - robust.GUARANTEED_EXPONENT,
            0.1,
        )
    )
    return [
        *out,
        _corner_check(_of_setting(rows, CORNER)),
        identity("finite space: value = that of constraint generation", rows.value.dropna(), 1e-9),
    ]


def _corner_check(rows: pd.DataFrame) -> Check:
    """The share of draws off the corner against its union bound: the largest number of draws that a share
    equal to the bound allows, at the level of the whole ledger.
    """
    by_size = (
        rows.assign(off=rows.error > AT_CORNER)
        .dropna(subset="error")
        .groupby("size")
        .agg(off=("off", "mean"), limit=("off_bound", "first"), n=("off", "size"))
    )
    allowed = binom.ppf((1 + SIMULTANEOUS) / 2, by_size.n, by_size.limit.clip(upper=1)) / by_size.n
    return bound(
        f"{CORNER}: share of draws off the corner",
        by_size.off,
        np.maximum(allowed, by_size.limit) + 1e-12,
        vacuous=by_size.limit >= 1,
    )
