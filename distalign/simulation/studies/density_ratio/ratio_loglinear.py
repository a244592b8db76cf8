"""Thousands of responses, few parameters: most responses are never seen, and the features carry over to them.

The policy is p_ref exp(theta.phi) / Z with p+ among them; fewer labels than responses. DDRO stands as it is:
its domain binds at rejected responses only, which here are few of all. Newton's method in closed form fits
all replicates at once, and the torch objectives certify some of its ends.
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
SUPS = {"moderate": 1.5, "near the bound": 32.0}
MIN_SIZE, CERTIFIED, SAME, TOLERANCE, MARGIN = 1024, 3, 1e-8, 0.06, 0.05
LOSSES = {"SFT": sft, "DDRO": partial(ddro, prior=HALF), "RDRO": partial(rdro, alpha=HALF)}


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per population and number of labelled responses."""
    return [{"population": name, "size": n, "replicates": replicates} for name in SUPS for n in sizes]


@cache
def problem(population: str) -> tuple[Array, Thumbs]:
    """Features (K, d), and labels with t = 1/2, p+ = p_ref exp(theta phi_1) / Z and largest p+/p- as named;
    fixed seed.
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
    features, truth = problem(population)
    return {
        name: parametric_constants(
            name.lower(), truth.preferred[0], truth.dispreferred[0], HALF, HALF, features
        )
        for name in METHODS
    }


def run(
    rng: np.random.Generator, *, population: str, size: int, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Total variation to p+ of each method on each replicate, its predicted mean, and the torch gradient at
    some ends.
    """
    features, truth = problem(population)
    if defect:
        features = features[:, 1:]
    sample = truth.sample(size, rng, replicates=replicates)
    up, down = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    parts = []
    for name in METHODS:
        theta, policy, solved = newton(name, up, down, features, truth.reference[0])
        gradient = np.full(replicates, np.nan)
        for i in np.flatnonzero(solved)[:CERTIFIED]:
            gradient[i] = _torch_gradient(name, theta[i], sample.replicate(i), features, truth.reference)
        parts.append(
            pd.DataFrame(
                {
                    "method": name,
                    "replicate": np.arange(replicates),
                    "gradient": gradient,
                    "error": np.where(solved, total_variation(policy, truth.preferred[0]), np.nan),
                    "predicted": constants(population)[name][0] / np.sqrt(size),
                    "unseen": ((up + down) == 0).mean(-1),
                }
            )
        )
    return dict(pd.concat(parts, ignore_index=True))


def _terms(name: str, u: Array, up: Array, down: Array) -> tuple[Array, Array, Array]:
    """(R,) losses up to a constant, and (R, K) first and second derivatives in u."""
    if name == "SFT":
        return -(up * u).sum(-1), -up, np.zeros_like(u)
    if name == "RDRO":
        s = expit(u)
        both = (1 + HALF) * up + (1 - HALF) * down
        return (-both * np.log1p(-s) - up * u).sum(-1), both * s - up, both * s * (1 - s)
    q = np.minimum(HALF * np.exp(np.minimum(u, 1)), 1 - 1e-15)
    wall = ((down > 0) & (u >= -np.log(HALF))).any(-1)
    value = -HALF * (up * u).sum(-1) - (1 - HALF) * (down * np.log1p(-q)).sum(-1)
    odds = (1 - HALF) * down * q / (1 - q)
    return np.where(wall, np.inf, value), odds - HALF * up, odds / (1 - q)


def newton(
    name: str, up: Array, down: Array, features: Array, ref: Array, rounds: int = 60
) -> tuple[Array, Array, Array]:
    """(R, d) stationary points found from the reference, their (R, K) policies, and whether the gradient
    vanishes there with no negative curvature."""
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
    value, slope, bend = _terms(name, u, up, down)
    for _ in range(rounds):
        policy = ref * np.exp(u)
        mean, excess = policy @ features, slope.sum(-1)
        gradient = slope @ features - excess[:, None] * mean
        hessian = moments(bend, mean) - excess[:, None, None] * moments(policy, mean)
        curvature, axes = np.linalg.eigh(hessian)
        solved = (np.abs(gradient).max(-1) <= 1e-9) & (curvature[:, 0] > 0)
        if solved.all():
            break
        along = np.einsum("rji,rj->ri", axes, gradient)
        damping = np.where(curvature[:, :1] > 0, 1e-3, 1.0) * np.linalg.norm(gradient, axis=-1, keepdims=True)
        step = -np.einsum("rij,rj->ri", axes, along / (np.abs(curvature) + damping + 1e-300))
        length, before = np.where(solved, 0.0, 1.0), value
        for _ in range(40):
            u = ratios(theta + length[:, None] * step)
            value, slope, bend = _terms(name, u, up, down)
            worse = value > before + 1e-4 * length * (gradient * step).sum(-1) + 1e-14
            if not worse.any():
                break
            length = np.where(worse, length / 2, length)
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
    """Exponents and constants of all three; few data; no better constant for RDRO."""
    out = []
    for place in SUPS:
        mine = rows.loc[rows.population == place]
        few = blocks(mine.loc[mine["size"] == mine["size"].min()], METHODS, "error")
        late = (
            mine.loc[mine["size"] >= MIN_SIZE]
            .assign(ratio=lambda x: x.error / x.predicted)
            .groupby("method")
            .ratio.mean()
        )
        out += [
            *(
                rate(
                    f"{place}, {name}: total variation to p+",
                    mine.loc[mine.method == name],
                    matches=-0.5,
                    margin=MARGIN,
                    min_size=MIN_SIZE,
                )
                for name in METHODS
            ),
            growth(f"{place}: mean error = asymptotic constant", late, np.ones(len(late)), TOLERANCE),
            separation(f"{place}: DDRO as it stands minus RDRO, smallest n", few["DDRO"][0] - few["RDRO"][0]),
            separation(f"{place}: SFT minus RDRO, smallest n", few["SFT"][0] - few["RDRO"][0]),
        ]
    order = np.array([[constants(place)[name] for name in METHODS] for place in SUPS])
    return [
        *out,
        bound("DDRO's constants are at most RDRO's", order[:, 1], order[:, 2]),
        bound("RDRO's constants are below SFT's", order[:, 2], order[:, 0]),
        identity("gradient of the torch objectives at the ends", rows.gradient.dropna(), SAME),
    ]
