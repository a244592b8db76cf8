"""WDPO's estimate approaches the robust population optimum at least as fast as n^{-1/4}; measured, like
n^{-1/2}, in the end.

One log-linear Bradley-Terry instance and balls of fixed radius, all below the collapse radius; the error is
||theta_n - theta_rob||_2 to the ROBUST optimum, which is what the paper bounds. On R^d (order 2) the dual is smooth. On the finite space it
is piecewise, and before n is large enough for the sample to stay on the population's piece local slopes
wander: one radius is kept here because a decade of it shows about -1/4. How large n must be is computed from
    the population alone
(`distalign.theory.robust.rates.transport_limit`), and fits are judged from there. At another radius the piece
is a corner: theta_n equals theta_rob exactly, but for a share of draws that vanishes exponentially.
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
MIN_SIZE, DEVIATIONS, AT_CORNER = 3000, 3.0, 1e-6
SPREAD = 1 / 16  # as in kldpo_rate
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
    """What theory says of a setting: theta_rob, the trace of the limit covariance, its n, and the piece (None
    on R^d).
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
def problem() -> tuple[LogLinearBradleyTerry, np.ndarray, np.ndarray, np.ndarray]:
    """The instance, v (m, d), the law (m,), and distances of (chosen, rejected) features; labels do not
    flip.
    """
    drawn = log_linear_bradley_terry(
        np.random.default_rng(INSTANCE), PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA
    )
    return drawn, *atoms(drawn), metric(drawn, flip_cost=np.inf)


def fit(setting: Setting, laws: np.ndarray) -> WassersteinFit:
    """Robust fits of (R, m) laws."""
    _, v, _, distance = problem()
    if setting.space == "R^d":
        return wasserstein_euclidean.fit_euclidean(v, laws, radius=setting.radius, beta=BETA)
    return wasserstein_replicates.fit_replicates(
        v, laws, distance**setting.order, radius=setting.radius, order=setting.order, beta=BETA
    )


@cache
def limit(setting: Setting) -> Limit:
    """Computed from the population alone."""
    _, v, p, distance = problem()
    exact, cost = fit(setting, p), distance**setting.order
    theta, eta = exact.theta[0], float(exact.multiplier[0])
    if setting.space == "R^d":
        covariance = robust_rates.euclidean_covariance(v, p, theta, eta, radius=setting.radius, beta=BETA)
        variance = np.trace(covariance)
        return Limit(theta, variance, variance / SPREAD**2, euclidean_collapse_radius(v, p, order=2)[0], None)
    piece = robust_rates.transport_limit(
        v, p, cost, theta, eta, radius=setting.radius, order=setting.order, beta=BETA
    )
    variance = float(np.trace(piece.covariance))
    return Limit(
        theta,
        variance,
        max(variance / SPREAD**2, piece.regime(DEVIATIONS)),
        float(wasserstein_collapse_radius(v, p, cost, order=setting.order)[0]),
        piece,
    )


def run(
    rng: np.random.Generator, *, setting: str, size: int, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Error of each replicate; not finite where the ball has collapsed or no solution is certified."""
    ball, instance = SETTINGS[setting], problem()[0]
    known = limit(ball)
    sample = instance.population.sample_pairs(size, rng, replicates=replicates, distinct=True)
    fitted = fit(ball, sample.weights / size)
    error = np.linalg.norm(fitted.theta - (instance.theta_star if defect else known.theta), axis=1)
    kept = fitted.solved & ~fitted.collapsed
    return {
        "replicate": np.arange(replicates),
        "error": np.where(kept, error, np.nan),
        "gap": fitted.gap,
        "collapsed": fitted.collapsed,
        "failed": ~fitted.solved,
        "free": kept & (fitted.multiplier < 1e-9),
        "predicted": np.sqrt(known.variance / size),
        "regime": known.regime,
        "fitted": size >= known.regime,
        "collapse_radius": known.collapse_radius,
        "ties": known.piece.ties if known.piece else 0,
        "off_bound": known.piece.off_piece(size) if known.piece else np.nan,
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Root-mean-square error by setting and size beside its prediction, local slopes, both fits, and what was
    left out.
    """
    by = ["setting", "size"]
    out = summarise(rows.assign(squared=rows.error**2), by, "squared").rename(columns={"mean": "rms"})
    out[["rms", "low", "high"]] **= 0.5
    told = ["predicted", "regime", "fitted", "collapse_radius", "ties", "off_bound"]
    found = (
        rows.assign(off=rows.error > AT_CORNER)
        .groupby(by, as_index=False)
        .agg(
            {
                **dict.fromkeys(told, "first"),
                **dict.fromkeys(("collapsed", "failed", "free"), "sum"),
                "off": "mean",
            }
        )
    )
    out = out.merge(pd.DataFrame(found), on=by)
    for setting, mine in out.groupby("setting"):
        out.loc[mine.index[1:], "local"] = np.diff(np.log(mine.rms)) / np.diff(np.log(mine["size"]))
        for name, least in (("slope", MIN_SIZE), ("late_slope", mine.regime.iloc[0])):
            out.loc[mine.index, [name, f"{name}_low", f"{name}_high"]] = _slope(
                _part(rows, str(setting)), least
            )
    return out


def _part(rows: pd.DataFrame, setting: str) -> pd.DataFrame:
    return rows.loc[rows.setting == setting]


def _slope(rows: pd.DataFrame, least: float, most: float = np.inf) -> tuple[float, float, float]:
    """Slope over the sizes between two, with its interval; not a number where there are fewer than three."""
    kept = rows.loc[rows["size"].between(least, most)]
    if kept["size"].nunique() < 3:
        return np.nan, np.nan, np.nan
    s = log_slope(kept["size"].to_numpy(float), kept.error.to_numpy(float), aggregate="rms")
    return s.estimate, s.low, s.high


def checks(rows: pd.DataFrame) -> list[Check]:
    """Guarantee and constant of each ball, the exponent of all of them, the trap, and the corner."""
    regular = [s for s in SETTINGS if s != CORNER]
    out = [
        rate(
            f"{s}: guarantee",
            _part(rows, s),
            guarantee=robust.GUARANTEED_EXPONENT,
            min_size=MIN_SIZE,
            aggregate="rms",
        )
        for s in regular
    ]
    late = rows.loc[rows.fitted & rows.setting.isin(regular)]
    late = late.assign(squared=(late.error / late.predicted) ** 2)
    pooled = late.groupby(["size", "replicate"], as_index=False).agg(squared=("squared", "mean"))
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
        _constant(f"{s}: rms error = sandwich covariance", _part(late, s).squared.dropna()) for s in regular
    ]
    early = _slope(_part(rows, TRAP), *TRAP_SIZES)[0] - robust.PARAMETRIC_EXPONENT
    out.append(differs(f"{TRAP}: slope before its regime less the exponent", [early], 0.1))
    return [
        *out,
        _corner(_part(rows, CORNER)),
        identity("value less lower bound of every fit", rows.gap[~rows.failed], 1e-9),
    ]


def _constant(name: str, ratio: pd.Series) -> Check:
    """Squared errors relative to their prediction average to 1; their variance is 2 at most (one direction):
    four errors.
    """
    return growth(name, [np.sqrt(ratio.mean())], [1.0], 4 / np.sqrt(2 * len(ratio)))


def _corner(rows: pd.DataFrame) -> Check:
    """Shares of draws off the corner against their union bound, plus four standard errors of a share of that
    size.
    """
    kept = (
        rows.assign(off=rows.error > AT_CORNER)
        .dropna(subset="error")
        .groupby("size")
        .agg(off=("off", "mean"), limit=("off_bound", "first"), n=("off", "size"))
    )
    limit = kept.limit.clip(upper=1)
    room = 4 * np.sqrt(limit * (1 - limit) / kept.n) + 1e-12
    return bound(f"{CORNER}: share of draws off the corner", kept.off, limit + room, vacuous=kept.limit >= 1)
