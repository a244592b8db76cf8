"""Thousands of responses, few parameters: most responses are never seen, and the features carry over to them.

The claim is ours. For log-linear policies over more responses than labels the exponent is -1/2 for RDRO,
for DDRO as it stands and for SFT on the chosen alike. RDRO has no better rate and no better asymptotic
constant than DDRO; what it gains it gains on few data.

The run. The policy is p_ref exp(theta.phi) / Z with p+ among them, over 3000 responses and 8 features, in
two populations: p+/p- moderate, and near its bound. There are fewer labels than responses. DDRO stands as
it is: its domain binds at rejected responses only, which here are few of all.

The two roads. Newton's method in closed form fits all replicates at once, and a last Newton step with the
gradient of the torch objective leads to the estimate: a step of length 0 where the two agree, and to the
objective's own minimiser where they do not. Mean total variation stands against the constants of the sandwich
covariance (`distalign.theory.density_ratio.stress`).

The checks:

- rates and growth: for every population and method total variation falls like n^{-1/2} from n = 1024 on, and
  its mean from n = 16384 on is the asymptotic constant, within four standard errors and 0.3 %, which is what
  the limit leaves out;
- separations: at the smallest n RDRO is ahead of DDRO and of SFT;
- bounds: DDRO's constants are at most RDRO's, and RDRO's at most 3/4 of SFT's;
- an identity: the gradient of the torch objectives vanishes at all fits in closed form.

The planted defects: alpha 10 % too small in RDRO's loss, or its factor (1 - alpha) forgotten; the prior of
DDRO 10 % too large; SFT on rejected responses too, at half the weight; and constants 22 % off, which is
twice the tolerance of the smallest preset.
"""

# pyright: reportOperatorIssue=false, reportPossiblyUnboundVariable=false
# scipy's stubs give logsumexp a tuple for a result; the loop that binds the rest runs at least once.

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import root_scalar
from scipy.special import expit, logsumexp
from torch.func import vmap
from torch.nn.functional import softplus

from distalign.objectives import ddro, rdro, sft
from distalign.populations import Thumbs
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, no_cell
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.studies.density_ratio.estimators import blocks, frequencies, total_variation
from distalign.simulation.verdict import Check, bound, growth, identity, rate, separation
from distalign.theory.density_ratio.stress import parametric_constants
from distalign.types import Array

METHODS = ("RDRO", "DDRO", "SFT")
RESPONSES, DIMENSION, HALF = 3000, 8, 0.5
# the largest p+/p- of each population
SUPS = {"near the bound": 32.0, "moderate": 1.5}
MIN_SIZE, SAME, MARGIN = 1024, 1e-8, 0.05
# Constants are read from here on, where their limit leaves out less than LEFT_OUT of the mean (a twentieth at
# n = 1024); and the largest standard deviation of the total variation over its mean, both measured once at
# 1000 replicates. A Gaussian of eight equal components has 0.24.
LIMIT_SIZE, LEFT_OUT, RELATIVE_DEVIATION = 16384, 0.003, 0.257


def _not_only_chosen(right: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """SFT with half of a rejected response's weight on it."""

    def wrong(batch: PreferenceLogProbs) -> torch.Tensor:
        return right(batch) - 0.5 * (batch.rejected_frequencies * batch.rejected).sum()

    return wrong


def _constants_off(which: str, factor: float) -> Callable[..., Any]:
    """`parametric_constants` that are wrong for one estimator."""

    def wrong(right: Callable[..., tuple[float, float]]) -> Callable[..., tuple[float, float]]:
        def changed(estimator: str, *rest: Any) -> tuple[float, float]:
            tv, kl = right(estimator, *rest)
            return (factor * tv, factor**2 * kl) if estimator == which else (tv, kl)

        return changed

    return wrong


def _factor_forgotten(right: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """RDRO without the factor (1 - alpha) on the rejected responses."""

    def wrong(batch: PreferenceLogProbs, *, alpha: float) -> torch.Tensor:
        rejected = (batch.rejected_frequencies * softplus(batch.rejected_ratio)).sum()
        return right(batch, alpha=alpha) + alpha * rejected

    return wrong


def _ends(arguments: Mapping[str, Any]) -> bool:
    """The cells of the smallest and of the largest size of the smallest preset."""
    return arguments["size"] in (64, 16384)


DEFECTS = (
    Defect("alpha 10 % too small in RDRO's loss", rdro, argument("alpha", lambda a: 0.9 * a), _ends),
    Defect("the factor (1 - alpha) forgotten in RDRO's loss", rdro, _factor_forgotten, _ends),
    Defect("the prior 10 % too large in DDRO's loss", ddro, argument("prior", lambda t: 1.1 * t), _ends),
    Defect("SFT on rejected responses too, at half the weight", sft, _not_only_chosen, _ends),
    *(
        Defect(
            f"{estimator.upper()}'s constants times {factor:g}",
            parametric_constants,
            _constants_off(estimator, factor),
            no_cell,
        )
        for estimator, factor in (("rdro", 1.22), ("rdro", 0.78), ("ddro", 0.78), ("sft", 0.78))
    ),
)
LOSSES = {"SFT": sft, "DDRO": partial(ddro, prior=HALF), "RDRO": partial(rdro, alpha=HALF)}


def cells(sizes: list[int], replicates: int, many: int) -> list[dict[str, Any]]:
    """One cell per population and number of labelled responses, with `many` replicates from LIMIT_SIZE on."""
    return [
        {"population": name, "size": n, "replicates": many if n >= LIMIT_SIZE else replicates}
        for name in SUPS
        for n in sizes
    ]


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


def run(rng: np.random.Generator, *, population: str, size: int, replicates: int) -> dict[str, Any]:
    """Total variation to p+ of each method on each replicate, and the torch gradient at the closed fits."""
    features, truth = features_and_labels(population)
    sample = truth.sample(size, rng, replicates=replicates)
    chosen_freq, rejected_freq = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    tables = []
    for name in METHODS:
        policy, solved, gradient = estimates(name, chosen_freq, rejected_freq, features, truth.reference[0])
        tables.append(
            pd.DataFrame(
                {
                    "method": name,
                    "replicate": np.arange(replicates),
                    "gradient": np.where(solved, gradient, np.nan),
                    "error": np.where(solved, total_variation(policy, truth.preferred[0]), np.nan),
                    "unseen": ((chosen_freq + rejected_freq) == 0).mean(-1),
                }
            )
        )
    return dict(pd.concat(tables, ignore_index=True))


def estimates(name: str, up: Array, down: Array, features: Array, ref: Array) -> tuple[Array, Array, Array]:
    """The estimates of a torch objective, from the fits in closed form by one Newton step.

    Returns:
        (R, K) policies, whether Newton's method converged, and (R,) the largest entry of the torch
        objective's gradient before the step.
    """
    theta, policy, solved = newton_fits(name, up, down, features, ref)
    u = torch.from_numpy(np.log(policy / ref)).requires_grad_()
    zeros = torch.zeros_like(u[0])

    def loss(ratios: torch.Tensor, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return LOSSES[name](PreferenceLogProbs(ratios, ratios, zeros, zeros, p, q, validate=False))

    values = vmap(loss)(u, torch.from_numpy(up), torch.from_numpy(down))
    slope = torch.autograd.grad(values.sum(), u)[0].numpy()
    mean = policy @ features
    gradient = slope @ features - slope.sum(-1)[:, None] * mean
    _, by_hand, curvature = _loss_and_derivatives(name, u.detach().numpy(), up, down)
    hessian = _hessian(by_hand, curvature, policy, features)
    theta = theta - np.linalg.solve(hessian, gradient[..., None])[..., 0]
    return ref * np.exp(_ratios(theta, features, ref)), solved, np.abs(gradient).max(-1)


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
    theta = np.zeros((len(up), features.shape[1]))
    u = _ratios(theta, features, ref)
    value, slope, curvature_in_u = _loss_and_derivatives(name, u, up, down)
    for _ in range(rounds):
        policy = ref * np.exp(u)
        mean, slope_sum = policy @ features, slope.sum(-1)
        gradient = slope @ features - slope_sum[:, None] * mean
        hessian = _hessian(slope, curvature_in_u, policy, features)
        curvature, axes = np.linalg.eigh(hessian)
        solved = (np.abs(gradient).max(-1) <= 1e-9) & (curvature[:, 0] > 0)
        if solved.all():
            break
        gradient_in_axes = np.einsum("rji,rj->ri", axes, gradient)
        damping = np.where(curvature[:, :1] > 0, 1e-3, 1.0) * np.linalg.norm(gradient, axis=-1, keepdims=True)
        step = -np.einsum("rij,rj->ri", axes, gradient_in_axes / (np.abs(curvature) + damping + 1e-300))
        length, last_value = np.where(solved, 0.0, 1.0), value
        for _ in range(40):
            u = _ratios(theta + length[:, None] * step, features, ref)
            value, slope, curvature_in_u = _loss_and_derivatives(name, u, up, down)
            too_little_descent = value > last_value + 1e-4 * length * (gradient * step).sum(-1) + 1e-14
            if not too_little_descent.any():
                break
            length = np.where(too_little_descent, length / 2, length)
        theta = theta + length[:, None] * step
    return theta, policy, solved


def _ratios(theta: Array, features: Array, ref: Array) -> Array:
    """(R, K) log-ratios of the policies at theta (R, d)."""
    logits = theta @ features.T
    return logits - logsumexp(logits, b=ref, axis=-1, keepdims=True)


def _hessian(slope: Array, curvature: Array, policy: Array, features: Array) -> Array:
    """(R, d, d) second derivatives in theta, from the first and second ones (R, K) in the log-ratios."""
    mean = policy @ features
    outer = (features[:, :, None] * features[:, None]).reshape(len(features), -1)

    def moments(w: Array) -> Array:
        first = (w @ features)[:, :, None] * mean[:, None]
        second = (w @ outer).reshape(len(w), *2 * features.shape[1:])
        squares = w.sum(-1)[:, None, None] * mean[:, :, None] * mean[:, None]
        return second - first - first.transpose(0, 2, 1) + squares

    return moments(curvature) - slope.sum(-1)[:, None, None] * moments(policy)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error with its interval, its prediction and slope, and the share of responses never seen."""
    keys = ["population", "method", "size"]
    more = rows.groupby(keys, as_index=False).agg(unseen=("unseen", "mean"))
    more["predicted"] = [constants(p)[m][0] / np.sqrt(n) for p, m, n in more[keys].to_numpy()]
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
            *(
                _constant(population, name, of_population.loc[of_population.method == name])
                for name in METHODS
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
            constants_by_population[:, 0],
        ),
        bound(
            "RDRO's constants are at most 3/4 of SFT's",
            constants_by_population[:, 0],
            0.75 * constants_by_population[:, 2],
        ),
        identity("gradient of the torch objectives at the fits in closed form", rows.gradient.dropna(), SAME),
    ]


def _constant(population: str, name: str, rows: pd.DataFrame) -> Check:
    """Mean error over its prediction is 1 from `LIMIT_SIZE` on."""
    large = rows.loc[rows["size"] >= LIMIT_SIZE]
    ratio = large.error * np.sqrt(large["size"]) / constants(population)[name][0]
    tolerance = 4 * RELATIVE_DEVIATION / np.sqrt(len(ratio)) + LEFT_OUT
    return growth(f"{population}, {name}: mean error = asymptotic constant", [ratio.mean()], [1.0], tolerance)
