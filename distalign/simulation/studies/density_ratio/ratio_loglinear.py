"""Thousands of responses, few parameters: most responses are never seen, and the features carry over to them.

The claim is ours. For log-linear policies over more responses than labels the exponent is -1/2 for RDRO,
for DDRO as it stands and for SFT on the chosen alike. RDRO has no better rate and no better asymptotic
constant than DDRO; what it gains it gains on few data.

The run. The policy is p_ref exp(theta.phi) / Z with p+ among them, over 3000 responses and 8 features, in
two populations: p+/p- moderate, and near its bound. There are fewer labels than responses. DDRO stands as
it is: its domain binds at rejected responses only, which here are few of all.

The two roads. Newton's method in closed form fits all replicates at once, and the torch objectives must be
stationary at some of the fits. Mean total variation stands against the constants of the sandwich covariance
(`distalign.theory.density_ratio.stress`).

The checks:

- rates and growth: for every population and method total variation falls like n^{-1/2}, and its mean is the
  asymptotic constant, from n = 1024 on;
- separations: at the smallest n RDRO is ahead of DDRO and of SFT;
- bounds: DDRO's constants are at most RDRO's, and RDRO's below SFT's;
- an identity: the gradient of the torch objectives vanishes at the fits.

The defect leaves the feature that leads to p+ out of the policy. p+ is then out of reach, so errors stop at
a bias and neither rates nor constants hold.
"""

# pyright: reportOperatorIssue=false, reportPossiblyUnboundVariable=false
# scipy's stubs give logsumexp a tuple for a result; the loop that binds the rest runs at least once.

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import root_scalar
from scipy.special import expit, logsumexp

from distalign.objectives import ddro, rdro, sft
from distalign.policies import LogLinear, score
from distalign.populations import Law, Thumbs
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.studies.density_ratio.estimators import blocks, frequencies, total_variation
from distalign.simulation.verdict import Check, bound, growth, identity, rate, separation
from distalign.theory.density_ratio.stress import parametric_constants
from distalign.types import Array

DEFECT = "a policy without the feature that leads to p+"
METHODS = ("SFT", "DDRO", "RDRO")
RESPONSES, DIMENSION, HALF = 3000, 8, 0.5
# the largest p+/p- of each population
SUPS = {"moderate": 1.5, "near the bound": 32.0}
MIN_SIZE, CERTIFIED, SAME, TOLERANCE, MARGIN = 1024, 3, 1e-8, 0.06, 0.05
LOSSES = {"SFT": sft, "DDRO": partial(ddro, prior=HALF), "RDRO": partial(rdro, alpha=HALF)}


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per population and number of labelled responses."""
    return [{"population": name, "size": n, "replicates": replicates} for name in SUPS for n in sizes]


@cache
def features_and_labels(population: str) -> tuple[Array, Thumbs]:
    """Features (K, d), and labels with t = 1/2 and p+ = p_ref exp(theta phi_1) / Z, theta set by the
    largest p+/p-; fixed seed.
    """
    rng = np.random.default_rng(8)
    features, ref = (
        rng.normal(size=(RESPONSES, DIMENSION)) / np.sqrt(DIMENSION),
        rng.dirichlet(np.full(RESPONSES, 5.0)),
    )
    edge = SUPS[population] / (1 + SUPS[population])

    def law(theta: float) -> Array:
        return np.exp(theta * features[:, 0] + np.log(ref) - logsumexp(theta * features[:, 0], b=ref))

    theta = root_scalar(lambda x: HALF * (law(x) / ref).max() - edge, bracket=(0, 20), xtol=1e-14).root
    return features, Thumbs((HALF * law(theta) / ref)[None], ref[None], np.ones(1))


@cache
def constants(population: str) -> dict[str, tuple[float, float]]:
    """Limits of sqrt(n) E TV and n E KL of each method."""
    features, truth = features_and_labels(population)
    return {
        name: parametric_constants(
            name.lower(), truth.preferred[0], truth.dispreferred[0], HALF, HALF, features
        )
        for name in METHODS
    }


def run(
    rng: np.random.Generator, *, population: str, size: int, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Total variation to p+ of each method on each replicate, its prediction, and the torch gradient at
    some fits.
    """
    features, truth = features_and_labels(population)
    if defect:
        features = features[:, 1:]
    sample = truth.sample(size, rng, replicates=replicates)
    chosen_freq, rejected_freq = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    tables = []
    for name in METHODS:
        theta, policy, solved = newton_fits(name, chosen_freq, rejected_freq, features, truth.reference[0])
        gradient = np.full(replicates, np.nan)
        for i in np.flatnonzero(solved)[:CERTIFIED]:
            gradient[i] = _torch_gradient(name, theta[i], sample.replicate(i), features, truth.reference)
        tables.append(
            pd.DataFrame(
                {
                    "method": name,
                    "replicate": np.arange(replicates),
                    "gradient": gradient,
                    "error": np.where(solved, total_variation(policy, truth.preferred[0]), np.nan),
                    "predicted": constants(population)[name][0] / np.sqrt(size),
                    "unseen": ((chosen_freq + rejected_freq) == 0).mean(-1),
                }
            )
        )
    return dict(pd.concat(tables, ignore_index=True))


def _loss_and_derivatives(name: str, u: Array, up: Array, down: Array) -> tuple[Array, Array, Array]:
    """(R,) losses up to a constant, and (R, K) first and second derivatives in the log-ratio u."""
    if name == "SFT":
        return -(up * u).sum(-1), -up, np.zeros_like(u)
    if name == "RDRO":
        s = expit(u)
        mass = (1 + HALF) * up + (1 - HALF) * down
        return (-mass * np.log1p(-s) - up * u).sum(-1), mass * s - up, mass * s * (1 - s)
    q = np.minimum(HALF * np.exp(np.minimum(u, 1)), 1 - 1e-15)
    # DDRO is +inf where a rejected response has t e^u >= 1; beyond that q only keeps the arithmetic finite.
    outside_domain = ((down > 0) & (u >= -np.log(HALF))).any(-1)
    value = -HALF * (up * u).sum(-1) - (1 - HALF) * (down * np.log1p(-q)).sum(-1)
    odds = (1 - HALF) * down * q / (1 - q)
    return np.where(outside_domain, np.inf, value), odds - HALF * up, odds / (1 - q)


def newton_fits(
    name: str, up: Array, down: Array, features: Array, ref: Array, rounds: int = 60
) -> tuple[Array, Array, Array]:
    """Fit all replicates at once by Newton's method with a line search, from the reference.

    A loss may be non-convex, so steps use the absolute curvature along each eigenvector of the Hessian,
    damped by the gradient's norm.

    Returns:
        (R, d) stationary points, their (R, K) policies, and whether the gradient vanishes there with no
        negative curvature.
    """
    outer = (features[:, :, None] * features[:, None]).reshape(len(features), -1)
    theta = np.zeros((len(up), features.shape[1]))

    def ratios(points: Array) -> Array:
        logits = points @ features.T
        return logits - logsumexp(logits, b=ref, axis=-1, keepdims=True)

    def moments(w: Array, mean: Array) -> Array:
        first = (w @ features)[:, :, None] * mean[:, None]
        second = (w @ outer).reshape(len(w), *2 * features.shape[1:])
        return (
            second
            - first
            - first.transpose(0, 2, 1)
            + w.sum(-1)[:, None, None] * mean[:, :, None] * mean[:, None]
        )

    u = ratios(theta)
    value, slope, curvature_in_u = _loss_and_derivatives(name, u, up, down)
    for _ in range(rounds):
        policy = ref * np.exp(u)
        mean, slope_sum = policy @ features, slope.sum(-1)
        gradient = slope @ features - slope_sum[:, None] * mean
        hessian = moments(curvature_in_u, mean) - slope_sum[:, None, None] * moments(policy, mean)
        curvature, axes = np.linalg.eigh(hessian)
        solved = (np.abs(gradient).max(-1) <= 1e-9) & (curvature[:, 0] > 0)
        if solved.all():
            break
        gradient_in_axes = np.einsum("rji,rj->ri", axes, gradient)
        damping = np.where(curvature[:, :1] > 0, 1e-3, 1.0) * np.linalg.norm(gradient, axis=-1, keepdims=True)
        step = -np.einsum("rij,rj->ri", axes, gradient_in_axes / (np.abs(curvature) + damping + 1e-300))
        length, last_value = np.where(solved, 0.0, 1.0), value
        for _ in range(40):
            u = ratios(theta + length[:, None] * step)
            value, slope, curvature_in_u = _loss_and_derivatives(name, u, up, down)
            too_little_descent = value > last_value + 1e-4 * length * (gradient * step).sum(-1) + 1e-14
            if not too_little_descent.any():
                break
            length = np.where(too_little_descent, length / 2, length)
        theta = theta + length[:, None] * step
    return theta, policy, solved


def _torch_gradient(name: str, theta: Array, law: Law, features: Array, reference: Array) -> float:
    """Largest entry of the torch objective's gradient."""
    point = torch.from_numpy(theta).requires_grad_()
    weights = torch.from_numpy(law.weights), torch.from_numpy(np.asarray(law.rejected_weights))
    policy = LogLinear(features[None], reference)
    loss = LOSSES[name](
        score(policy, point, torch.from_numpy(law.chosen), torch.from_numpy(law.rejected), *weights)
    )
    return float(torch.autograd.grad(loss, point)[0].abs().max())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error with its interval, its prediction and slope, and the share of responses never seen."""
    keys = ["population", "method", "size"]
    more = rows.groupby(keys, as_index=False).agg(predicted=("predicted", "first"), unseen=("unseen", "mean"))
    slopes = [
        {"population": p, "method": m, "slope": s.estimate, "slope_low": s.low, "slope_high": s.high}
        for (p, m), mine in rows.loc[rows["size"] >= MIN_SIZE].groupby(["population", "method"])
        for s in [log_slope(mine["size"].to_numpy(float), mine.error.to_numpy(float))]
    ]
    return summarise(rows, keys).merge(more).merge(pd.DataFrame(slopes))


def checks(rows: pd.DataFrame) -> list[Check]:
    """Exponents and constants of all three methods, few data, and no better constant for RDRO."""
    out = []
    for population in SUPS:
        of_population = rows.loc[rows.population == population]
        smallest = blocks(
            of_population.loc[of_population["size"] == of_population["size"].min()], METHODS, "error"
        )
        ratio_to_constant = (
            of_population.loc[of_population["size"] >= MIN_SIZE]
            .assign(ratio=lambda x: x.error / x.predicted)
            .groupby("method")
            .ratio.mean()
        )
        out += [
            *(
                rate(
                    f"{population}, {name}: total variation to p+",
                    of_population.loc[of_population.method == name],
                    matches=-0.5,
                    margin=MARGIN,
                    min_size=MIN_SIZE,
                )
                for name in METHODS
            ),
            growth(
                f"{population}: mean error = asymptotic constant",
                ratio_to_constant,
                np.ones(len(ratio_to_constant)),
                TOLERANCE,
            ),
            separation(
                f"{population}: DDRO as it stands minus RDRO, smallest n",
                smallest["DDRO"][0] - smallest["RDRO"][0],
            ),
            separation(f"{population}: SFT minus RDRO, smallest n", smallest["SFT"][0] - smallest["RDRO"][0]),
        ]
    constants_by_population = np.array(
        [[constants(population)[name] for name in METHODS] for population in SUPS]
    )
    return [
        *out,
        bound(
            "DDRO's constants are at most RDRO's",
            constants_by_population[:, 1],
            constants_by_population[:, 2],
        ),
        bound(
            "RDRO's constants are below SFT's", constants_by_population[:, 2], constants_by_population[:, 0]
        ),
        identity("gradient of the torch objectives at the ends", rows.gradient.dropna(), SAME),
    ]
