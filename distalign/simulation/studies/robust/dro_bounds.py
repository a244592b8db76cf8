r"""The theorems' right-hand sides with their constants, against squared errors: never violated, mostly
vacuous.

Theorem 1 (W1 ball), Theorem 2 (KL ball) and Proposition 1 (no ball) bound the distance to the population
optimum of the same loss. beta = 0.1 and B = 1 keep the constants as small as they get; counts are
multinomial, so samples of 10^16 cost as much as small ones. Theorem 2 needs bounds lam_low, lam_high of the
dual multiplier. It is read twice: over 2000 parameters of the ball of norm B (the least of them falls to 0
with their number, for the multiplier is 0 at the reference), and most favourably, over the fits alone. A
third line replaces exp(2 L / lam_low) by exp of the losses' range over lam, which is ours.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from distalign.populations import log_linear_bradley_terry
from distalign.simulation.studies.robust.balls import ball
from distalign.simulation.verdict import Check, bound
from distalign.solvers.robust import kl_ball, kl_fit, wasserstein_finite
from distalign.solvers.robust.regularity import regularity_number
from distalign.theory.robust import kldpo as robust
from distalign.theory.robust import wasserstein as robust_wasserstein

DEFECT = (
    "the error measured to DPO's population optimum instead of the robust one (for DPO: to the reference)"
)
PROMPTS, RESPONSES, DIMENSION, BETA, NORM, LENGTH, INSTANCE = 3, 4, 3, 0.1, 1.0, 0.9, 0
W1_RADIUS, KL_RADIUS, DELTA = 0.005, 1e-4, 0.05
PARAMETERS = 2000
LARGEST = (2 * NORM) ** 2  # no squared distance in the ball of norm B exceeds it


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per sample size: all methods see the same samples."""
    return [{"size": n, "replicates": replicates} for n in sizes]


@cache
def problem() -> Any:
    """The instance, its W1 ball, population optima of the three losses, and the coverage of both balls."""
    instance = log_linear_bradley_terry(
        np.random.default_rng(INSTANCE), PROMPTS, RESPONSES, DIMENSION, norm=LENGTH, beta=BETA
    )
    around = ball("W1 finite", instance)
    optima = {
        method: _fit(method, around, around.p[None]).theta[0]
        for method in ("Theorem 1", "Theorem 2", "Proposition 1")
    }
    coverage = {
        "Theorem 1": regularity_number(around.v, around.p, radius=W1_RADIUS, cost=around.cost)[0],
        "Theorem 2": regularity_number(around.v, around.p, radius=KL_RADIUS)[0],
    }
    return instance, around, optima, coverage


@cache
def multipliers() -> tuple[float, float]:
    """The least and largest multiplier of the KL ball over parameters drawn from the ball of norm B."""
    around, rng = problem()[1], np.random.default_rng(0)
    theta = rng.normal(size=(PARAMETERS, DIMENSION))
    theta *= (
        NORM * (rng.random((PARAMETERS, 1)) ** (1 / DIMENSION)) / np.linalg.norm(theta, axis=1, keepdims=True)
    )
    found = kl_ball.kl_worst_case(np.logaddexp(0, -BETA * theta @ around.v.T), around.p, KL_RADIUS).multiplier
    return float(found.min()), float(found.max())


def _fit(method: str, around: Any, laws: np.ndarray) -> Any:
    if method == "Theorem 1":
        return wasserstein_finite.fit_finite(around.v, laws, around.cost, radius=W1_RADIUS, beta=BETA)
    if method == "Theorem 2":
        return kl_fit.fit_kl_ball(around.v, laws, radius=KL_RADIUS, beta=BETA)
    return kl_fit.fit_kl_temperature(around.v, laws, temperature=np.inf, beta=BETA)


def run(rng: np.random.Generator, *, size: int, replicates: int, defect: bool = False) -> dict[str, Any]:
    """Squared error of each replicate in the norm of its theorem, beside the bound."""
    instance, around, optima, coverage = problem()
    laws = instance.population.sample_pairs(size, rng, replicates=replicates, distinct=True).weights / size
    parts = []
    for method in ("Theorem 1", "Theorem 2", "Proposition 1"):
        fitted = _fit(method, around, laws)
        target = optima[method]
        if defect:
            target = np.zeros(DIMENSION) if method == "Proposition 1" else instance.theta_star
        difference = fitted.theta - target
        squared = (difference**2).sum(1)
        if method == "Proposition 1":
            spread = np.einsum("rm,md,me->rde", laws, around.v, around.v) + np.eye(DIMENSION) / size
            squared = np.einsum("rd,rde,re->r", difference, spread, difference)
        for name, limit in _limits(method, size, coverage, around, fitted).items():
            parts.append(
                pd.DataFrame(
                    {
                        "method": name,
                        "replicate": np.arange(replicates),
                        "error": squared,
                        "limit": limit,
                        "outside": np.linalg.norm(fitted.theta, axis=1) > NORM,
                        "solved": fitted.solved,
                        "coverage": coverage.get(method, np.nan),
                    }
                )
            )
    return dict(pd.concat(parts, ignore_index=True))


def _limits(method: str, size: int, coverage: dict[str, float], around: Any, fitted: Any) -> dict[str, float]:
    """Each right-hand side."""
    if method == "Theorem 1":
        return {
            method: robust_wasserstein.wasserstein_error_bound(
                size, beta=BETA, norm=NORM, coverage=coverage[method], delta=DELTA
            )
        }
    if method == "Proposition 1":
        return {
            method: robust_wasserstein.dpo_error_bound(
                size, beta=BETA, norm=NORM, dimension=DIMENSION, regulariser=1 / size, delta=DELTA
            )
        }
    lam = fitted.multiplier[fitted.multiplier > 0]
    if not len(lam):
        return dict.fromkeys(("Theorem 2", "Theorem 2, favourable", "Theorem 2, repaired"), np.inf)
    losses = np.logaddexp(0, -BETA * fitted.theta[fitted.multiplier > 0] @ around.v.T)
    spread = float((np.ptp(losses, axis=1) / lam).max())
    common = {"beta": BETA, "norm": NORM, "coverage": coverage[method], "delta": DELTA}
    with np.errstate(over="ignore"):
        low, high = multipliers()
        uniform = robust.squared_error_bound(size, multiplier_low=low, multiplier_high=high, **common)
        favourable = robust.squared_error_bound(
            size, multiplier_low=lam.min(), multiplier_high=lam.max(), **common
        )
        mended = robust_wasserstein.repaired_kl_error_bound(
            size, multiplier=lam.max(), spread=spread, **common
        )
    return {"Theorem 2": uniform, "Theorem 2, favourable": favourable, "Theorem 2, repaired": mended}


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Median and largest squared error, bound, coverage and what was left out, per method and size."""
    rows = rows.assign(held=rows.error <= rows.limit)
    out = rows.groupby(["method", "size"], as_index=False, sort=False).agg(
        median=("error", "median"),
        largest=("error", "max"),
        bound=("limit", "max"),
        held=("held", "mean"),
        replicates=("error", "count"),
        outside=("outside", "mean"),
        excluded=("solved", lambda s: int((~s.astype(bool)).sum())),
        coverage=("coverage", "first"),
    )
    out["vacuous"] = out.bound >= _most(out.method)
    last = out[out["size"] == out["size"].max()].set_index("method")
    exponent = out.method.map(lambda m: -1.0 if m == "Proposition 1" else -0.5)
    at_one = out.method.map(last.bound) * out["size"].max() ** -exponent
    out["informative_from"] = [
        robust_wasserstein.first_informative_size(a, most, e)
        for a, most, e in zip(at_one, _most(out.method), exponent, strict=True)
    ]
    return out


def _most(methods: pd.Series) -> pd.Series:
    """What the squared error can be at all: (2 B)^2, times at most 4 in the norm of Proposition 1, as |v| <=
    2.
    """
    return methods.map(lambda m: 4 * LARGEST if m == "Proposition 1" else LARGEST)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Every bound in every replicate (it promises 95 %); vacuous ones are counted."""
    rows = rows.loc[rows.solved.astype(bool)]
    return [
        bound(
            f"{method}: squared error <= right-hand side",
            mine.error,
            mine.limit,
            vacuous=mine.limit >= _most(mine.method),
        )
        for method, mine in rows.groupby("method", sort=False)
    ]
