r"""What a wrong alpha does: the limits of RDRO and DDRO over alpha, the slope at the right one, and samples
that stop there.

The reference stays the mixture of weight t = 0.39 while alpha changes. With rho = p+/p_ref, and the
multiplier of the normalisation, which is 0 at alpha = t, the stationarity conditions of both are
differentiated there in alpha:

    d(p_ref rho) = -rho (p+ - p-) - nu p_ref rho (1 + rho)  for RDRO,  the last factor (1/t - rho) for DDRO,

nu such that the sum over responses is 0. Half the sum of absolute values is the slope of total variation in
|alpha - t|. On few data too large an alpha is no harm: it shrinks towards the reference.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import ddro, rdro
from distalign.policies import Tabular
from distalign.populations import Law
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import blocks, frequencies, thumbs, total_variation
from distalign.simulation.verdict import Check, bound, differs, growth, identity, rate, separation
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.types import Array

DEFECT = "the reference made the mixture of weight alpha"
ALPHAS = (
    0.01,
    0.05,
    0.1,
    0.15,
    0.2,
    0.25,
    0.3,
    0.33,
    0.36,
    0.38,
    0.39,
    0.4,
    0.42,
    0.45,
    0.5,
    0.55,
    0.6,
    0.65,
    0.7,
    0.75,
    0.8,
    0.85,
    0.9,
    0.95,
    0.99,
    0.999,
)
RIGHT, WRONG, STEP, MIN_SIZE, CERTIFIED = 0.39, (0.2, 0.3, 0.5), 0.01, 1000, 0.95
METHODS = ("RDRO", "DDRO")


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """The limits, and one cell per size."""
    return [{"size": 0, "replicates": 0}, *({"size": n, "replicates": replicates} for n in sizes)]


def run(rng: np.random.Generator, *, size: int, replicates: int, defect: bool = False) -> dict[str, Any]:
    """Limits over alpha (size 0), or total variation to p+ on each replicate."""
    return dict(
        (_limits(defect) if size == 0 else _samples(rng, size, replicates, defect)).reset_index(drop=True)
    )


def _reference(alpha: float, defect: bool) -> Array:
    truth = thumbs(RIGHT)
    return alpha * truth.preferred[0] + (1 - alpha) * truth.dispreferred[0] if defect else truth.reference[0]


def _policy(method: str, up: Array, down: Array, ref: Array, alpha: Any) -> tuple[Array, Any]:
    found = (
        rdro_policy(up, down, ref, alpha=alpha)
        if method == "RDRO"
        else ddro_policy(up, down, ref, prior=alpha)
    )
    return found.policy, found.solved


def _limits(defect: bool) -> pd.DataFrame:
    """Distance to p+ and acceptance of the policy the exact laws give, with the largest difference to
    Newton's minimiser.
    """
    truth, rows = thumbs(RIGHT), []
    target, other, accepts = truth.preferred[0], truth.dispreferred[0], truth.acceptance[0]
    for alpha in ALPHAS:
        ref = _reference(alpha, defect)
        for method in METHODS:
            policy, solved = _policy(method, target, other, ref, alpha)
            rows.append(
                {
                    "method": method,
                    "alpha": alpha,
                    "error": total_variation(policy, target) if solved else np.nan,
                    "accepted": policy @ accepts,
                    "newton": _newton(method, alpha, ref, policy, truth.law()),
                }
            )
    return pd.DataFrame(rows)


def _newton(method: str, alpha: float, ref: Array, policy: Array, law: Law) -> float:
    """Largest difference to Newton's minimiser of the torch loss; NaN where that stalls, next to the wall of
    DDRO's domain.
    """
    loss = partial(rdro, alpha=alpha) if method == "RDRO" else partial(ddro, prior=alpha)
    found = fit(Tabular(ref), loss, law)
    return float(np.abs(found.probs[0] - policy).max()) if found.converged else np.nan


def _samples(rng: np.random.Generator, size: int, replicates: int, defect: bool) -> pd.DataFrame:
    truth = thumbs(RIGHT)
    sample = truth.sample(size, rng, replicates=replicates)
    up, down = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    found = {"SFT": (up, True), "RDRO, n+/n": _policy("RDRO", up, down, truth.reference[0], sample.prior)}
    for alpha in WRONG:
        found[f"RDRO, {alpha}"] = _policy(
            "RDRO", up, down, _reference(alpha, defect), np.full(replicates, alpha)
        )
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "method": name,
                    "replicate": np.arange(replicates),
                    "error": np.where(solved, total_variation(policy, truth.preferred[0]), np.nan),
                }
            )
            for name, (policy, solved) in found.items()
        ]
    )


def slope(method: str) -> float:
    """d TV / d |alpha - t| at alpha = t."""
    truth = thumbs(RIGHT)
    ref, target = truth.reference[0], truth.preferred[0]
    rho, change = target / ref, target - truth.dispreferred[0]
    weight = target * ((1 + rho) if method == "RDRO" else (1 / RIGHT - rho))
    nu = -(rho * change).sum() / weight.sum()
    return float(0.5 * np.abs(rho * change + nu * weight).sum())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The limits with their local slope and the distance of the reference; then mean errors by method and
    size.
    """
    truth = thumbs(RIGHT)
    limits = rows.loc[rows["size"] == 0, ["method", "size", "alpha", "error", "accepted", "newton"]]
    limits = limits.rename(columns={"error": "limit"})
    limits["slope"] = [slope(m) for m in limits.method]
    limits["reference"] = float(total_variation(truth.reference[0], truth.preferred[0]))
    limits["accepted_target"] = float(truth.preferred[0] @ truth.acceptance[0])
    return pd.concat([limits, summarise(rows.loc[rows["size"] > 0], ["method", "size"])], ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """The V, its foot and its slopes; what both ends do; samples."""
    truth, limits = thumbs(RIGHT), rows.loc[rows["size"] == 0]
    error = blocks(rows.loc[rows["size"] > 0], ("SFT", "RDRO, n+/n", *(f"RDRO, {a}" for a in WRONG)), "error")
    out = [
        separation(f"alpha = {a} minus n+/n, largest n", error[f"RDRO, {a}"][-1] - error["RDRO, n+/n"][-1])
        for a in WRONG
    ]
    for name in METHODS:
        mine = limits.loc[limits.method == name].sort_values("alpha")
        alpha, bias = mine.alpha.to_numpy(float), mine.error.to_numpy(float)
        foot, near = alpha == RIGHT, np.isclose(np.abs(alpha - RIGHT), STEP)
        left, right = bias[alpha <= RIGHT], bias[alpha >= RIGHT]
        out += [
            identity(f"{name}: limit at alpha = t is p+", bias[foot], 1e-9),
            differs(f"{name}: nearest limit of another alpha", [bias[~foot].min()], 1e-3),
            bound(
                f"{name}: distance grows away from t",
                np.concatenate([left[1:], right[:-1]]),
                np.concatenate([left[:-1], right[1:]]),
            ),
            growth(f"{name}: slope at t, as predicted", bias[near] / STEP, slope(name), 0.05),
        ]
    relative = limits.loc[limits.method == "RDRO"].sort_values("alpha")
    sharp = relative.loc[relative.alpha < RIGHT, "accepted"].to_numpy(float)
    share = relative.set_index("alpha").error
    return [
        *out,
        bound("alpha < t: accepted more often than p+", truth.preferred[0] @ truth.acceptance[0], sharp),
        growth(
            "RDRO, alpha to 1: the reference's distance",
            [share[max(ALPHAS)]],
            [total_variation(truth.reference[0], truth.preferred[0])],
            0.01,
        ),
        growth(
            "samples with a wrong alpha stop at its limit",
            [np.nanmean(error[f"RDRO, {a}"][-1]) for a in WRONG],
            [share[a] for a in WRONG],
            0.05,
        ),
        identity(
            "exact limits = Newton's on the torch losses, alpha <= 0.95",
            limits.newton[limits.alpha <= CERTIFIED],
            1e-8,
        ),
        rate(
            "alpha = n+/n: total variation to p+",
            rows.loc[rows.method == "RDRO, n+/n"],
            matches=-0.5,
            margin=0.03,
            min_size=MIN_SIZE,
        ),
    ]
