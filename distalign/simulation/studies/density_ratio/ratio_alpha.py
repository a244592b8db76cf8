"""What a wrong alpha does: the limits of RDRO and DDRO over alpha, the slope at the true one, and samples
that stop there.

The claim is ours. RDRO is consistent for p+ if alpha is the share t of p+ in the mixture that the reference
is, and DDRO's prior likewise. Another value moves the limit: below t RDRO over-sharpens, towards 1 it
returns the reference. SFT needs no alpha. On few data too large an alpha is no harm, because it shrinks
towards the reference.

The run. The reference stays the mixture of weight t = 0.39 while alpha changes. The part of size 0 computes
the limit of each method at every alpha from the exact laws; the others draw samples and use alpha 0.2, 0.3,
0.36, 0.42, 0.5 and n+/n.

The two roads. Limits come from the exact solver, and at some alphas again from Newton's method on the torch
loss. Their slope is predicted: with rho = p+/p_ref, and with the multiplier of the normalisation, which is
0 at alpha = t, the stationarity conditions are differentiated there in alpha,

    d(p_ref rho) = -rho (p+ - p-) - nu p_ref rho (1 + rho)        for RDRO,                        (1)
    d(p_ref rho) = -rho (p+ - p-) - nu p_ref rho (1/t - rho)      for DDRO,                        (2)

nu being such that the sum over responses is 0. Half the sum of absolute values is the slope of total
variation in |alpha - t|.

The checks:

- separations: at the largest n alpha = 0.36 and alpha = 0.42, 8 % off, are further from p+ than n+/n;
- of both methods: the limit at alpha = t is p+, the distance grows away from t on both sides, and its slope
  at t, the mean of both sides, is (1) or (2), steeper for DDRO;
- bounds and growth: below t the limit is accepted more often than p+; towards alpha = 1 RDRO's distance is
  the reference's; samples with a wrong alpha stop at its limit;
- an identity: exact limits are Newton's, at nine alphas from 0.05 to 0.95, beyond which Newton's method
  stalls next to the wall of DDRO's domain;
- a rate: with alpha = n+/n total variation falls like n^{-1/2}.

The planted defects: alpha 10 % too large or too small in the RDRO solver, the prior 10 % too large in the
DDRO solver (0.999 at most), and alpha 5 % too small in the torch loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import ddro, rdro
from distalign.policies import Tabular
from distalign.populations import Law
from distalign.simulation.defects import Defect, argument
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import blocks, frequencies, thumbs, total_variation
from distalign.simulation.verdict import Check, bound, growth, identity, rate, separation
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.types import Array


def _limits_only(cell: Mapping[str, Any]) -> bool:
    return cell["size"] == 0


def _at_most_one(x: Any) -> Any:
    return np.minimum(1.1 * np.asarray(x), 0.999)


DEFECTS = (
    Defect("alpha of the RDRO solver 10 % too large", rdro_policy, argument("alpha", _at_most_one)),
    Defect("alpha of the RDRO solver 10 % too small", rdro_policy, argument("alpha", lambda x: 0.9 * x)),
    Defect(
        "prior of the DDRO solver 10 % too large", ddro_policy, argument("prior", _at_most_one), _limits_only
    ),
    Defect("alpha of the RDRO loss 5 % too small", rdro, argument("alpha", lambda x: 0.95 * x), _limits_only),
)
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
TRUE_ALPHA, WRONG_ALPHAS, STEP = 0.39, (0.36, 0.42, 0.2, 0.3, 0.5), 0.01
CERTIFIED = (0.05, 0.2, 0.3, 0.36, 0.39, 0.42, 0.5, 0.7, 0.95)
MIN_SIZE, CLOSE = 1000, 0.02
METHODS = ("RDRO", "DDRO")


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """The limits, and one cell per size."""
    return [{"size": 0, "replicates": 0}, *({"size": n, "replicates": replicates} for n in sizes)]


def run(rng: np.random.Generator, *, size: int, replicates: int) -> dict[str, Any]:
    """Limits over alpha (size 0), or total variation to p+ on each replicate."""
    return dict((_limits() if size == 0 else _samples(rng, size, replicates)).reset_index(drop=True))


def _policy(method: str, up: Array, down: Array, ref: Array, alpha: Any) -> tuple[Array, Any]:
    solution = (
        rdro_policy(up, down, ref, alpha=alpha)
        if method == "RDRO"
        else ddro_policy(up, down, ref, prior=alpha)
    )
    return solution.policy, solution.solved


def _limits() -> pd.DataFrame:
    """Distance to p+ and acceptance of the policy that the exact laws give, and its difference to Newton's
    minimiser.
    """
    truth, rows = thumbs(TRUE_ALPHA), []
    ref = truth.reference[0]
    p_plus, p_minus, acceptance_rate = truth.preferred[0], truth.dispreferred[0], truth.acceptance[0]
    for alpha in ALPHAS:
        for method in METHODS:
            policy, solved = _policy(method, p_plus, p_minus, ref, alpha)
            newton = _newton(method, alpha, ref, truth.law())
            rows.append(
                {
                    "method": method,
                    "alpha": alpha,
                    "error": total_variation(policy, p_plus) if solved else np.nan,
                    "accepted": policy @ acceptance_rate,
                    "newton": np.abs(newton - policy).max(),
                    "limit_of_loss": total_variation(newton, p_plus),
                }
            )
    return pd.DataFrame(rows)


def _newton(method: str, alpha: float, ref: Array, law: Law) -> Array:
    """Newton's minimiser of the torch loss, at the alphas of `CERTIFIED`; elsewhere NaN."""
    if alpha not in CERTIFIED:
        return np.full(len(ref), np.nan)
    loss = partial(rdro, alpha=alpha) if method == "RDRO" else partial(ddro, prior=alpha)
    minimiser = fit(Tabular(ref), loss, law)
    return minimiser.probs[0] if minimiser.converged else np.full(len(ref), np.nan)


def _samples(rng: np.random.Generator, size: int, replicates: int) -> pd.DataFrame:
    """Total variation to p+ of SFT and of RDRO at every alpha, on each replicate."""
    truth = thumbs(TRUE_ALPHA)
    sample = truth.sample(size, rng, replicates=replicates)
    up, down = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    estimates = {"SFT": (up, True), "RDRO, n+/n": _policy("RDRO", up, down, truth.reference[0], sample.prior)}
    for alpha in WRONG_ALPHAS:
        estimates[f"RDRO, {alpha}"] = _policy(
            "RDRO", up, down, truth.reference[0], np.full(replicates, alpha)
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
            for name, (policy, solved) in estimates.items()
        ]
    )


def slope(method: str) -> float:
    """Predicted d TV / d |alpha - t| at alpha = t, by equations (1) and (2)."""
    truth = thumbs(TRUE_ALPHA)
    ref, p_plus = truth.reference[0], truth.preferred[0]
    rho, gap_of_laws = p_plus / ref, p_plus - truth.dispreferred[0]
    # the factor of nu in (1) for RDRO, in (2) for DDRO
    weight = p_plus * ((1 + rho) if method == "RDRO" else (1 / TRUE_ALPHA - rho))
    nu = -(rho * gap_of_laws).sum() / weight.sum()
    return float(0.5 * np.abs(rho * gap_of_laws + nu * weight).sum())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The limits with their local slope and the distance of the reference; then mean errors by method and
    size.
    """
    truth = thumbs(TRUE_ALPHA)
    limits = rows.loc[rows["size"] == 0, ["method", "size", "alpha", "error", "accepted", "newton"]]
    limits = limits.rename(columns={"error": "limit"})
    limits["slope"] = [slope(m) for m in limits.method]
    limits["reference"] = float(total_variation(truth.reference[0], truth.preferred[0]))
    limits["accepted_target"] = float(truth.preferred[0] @ truth.acceptance[0])
    return pd.concat([limits, summarise(rows.loc[rows["size"] > 0], ["method", "size"])], ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """The V of the limits over alpha with its foot and slopes, what both ends do, and samples."""
    truth, limits = thumbs(TRUE_ALPHA), rows.loc[rows["size"] == 0]
    error = blocks(
        rows.loc[rows["size"] > 0], ("SFT", "RDRO, n+/n", *(f"RDRO, {a}" for a in WRONG_ALPHAS)), "error"
    )
    out = [
        separation(f"alpha = {a} minus n+/n, largest n", error[f"RDRO, {a}"][-1] - error["RDRO, n+/n"][-1])
        for a in WRONG_ALPHAS[:2]
    ]
    for name in METHODS:
        of_method = limits.loc[limits.method == name].sort_values("alpha")
        alpha, bias = of_method.alpha.to_numpy(float), of_method.error.to_numpy(float)
        at_true, one_step_away = alpha == TRUE_ALPHA, np.isclose(np.abs(alpha - TRUE_ALPHA), STEP)
        below_true, above_true = bias[alpha <= TRUE_ALPHA], bias[alpha >= TRUE_ALPHA]
        out += [
            identity(f"{name}: limit at alpha = t is p+", bias[at_true], 1e-9),
            bound(
                f"{name}: distance grows away from t",
                np.concatenate([below_true[1:], above_true[:-1]]),
                np.concatenate([below_true[:-1], above_true[1:]]),
            ),
            growth(
                f"{name}: slope at t, as predicted",
                [bias[one_step_away].mean() / STEP],
                [slope(name)],
                CLOSE,
            ),
        ]
    of_rdro = limits.loc[limits.method == "RDRO"].sort_values("alpha")
    accepted_below = of_rdro.loc[of_rdro.alpha < TRUE_ALPHA, "accepted"].to_numpy(float)
    by_alpha = of_rdro.set_index("alpha")
    return [
        *out,
        bound(
            "alpha < t: accepted more often than p+", truth.preferred[0] @ truth.acceptance[0], accepted_below
        ),
        growth(
            "RDRO, alpha to 1: the reference's distance",
            [by_alpha.error[max(ALPHAS)]],
            [total_variation(truth.reference[0], truth.preferred[0])],
            0.01,
        ),
        growth(
            "samples with a wrong alpha stop at its limit",
            [np.nanmean(error[f"RDRO, {a}"][-1]) for a in WRONG_ALPHAS],
            [by_alpha.limit_of_loss[a] for a in WRONG_ALPHAS],
            CLOSE,
        ),
        identity(
            "exact limits = Newton's on the torch losses, alpha from 0.05 to 0.95",
            limits.newton[limits.alpha.isin(CERTIFIED)],
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
