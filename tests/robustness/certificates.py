"""Thousands of balls and games whose answers are checked by roads of their own.

A worst law of a ball must lie in it, and its value must be that of the dual, minimised here by scipy, or of
the linear program, solved here by HiGHS; what a Wasserstein law spends is found by POT. An equilibrium must
leave no opponent a gain: none at all for lotteries, none in the KL ball for NLHF, whose best opponent is
found here by the dual.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import ot
from scipy.optimize import linprog, minimize_scalar
from scipy.special import logsumexp, rel_entr

from distalign.solvers.choice.games import kl_nlhf, maximal_lottery
from distalign.solvers.robust.chi2_ball import chi2_worst_case
from distalign.solvers.robust.kl_ball import kl_worst_case
from distalign.solvers.robust.share_balls import cvar_worst_case, total_variation_worst_case
from distalign.solvers.robust.wasserstein_ball import wasserstein_worst_case

TOLERANCE = 1e-6
"""Of values, in units of the range of the losses, and of gains, in probabilities of winning."""


def instance(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Losses of any scale, some repeated; a law, some of its atoms tiny; and a radius."""
    m = int(rng.integers(2, 13))
    losses = 10 ** rng.uniform(-3, 3) * rng.normal(size=m) + 10 ** rng.uniform(-3, 3)
    if rng.random() < 0.3:
        losses[rng.integers(m)] = losses[rng.integers(m)]
    p = rng.dirichlet(np.full(m, 10 ** rng.uniform(-1, 1))) + 1e-12
    return losses, p / p.sum(), 10 ** rng.uniform(-6, 0.5)


def balls(count: int, seed: int) -> Iterator[tuple[str, float]]:
    """Name of the ball, and the largest of: how far its law lies outside, and the distance of its value from
    the other road's, as a share of the range of the losses.
    """
    rng = np.random.default_rng(seed)
    for number in range(count):
        losses, p, radius = instance(rng)
        kind = ("kl", "chi2", "cvar", "total variation", "wasserstein")[number % 5]
        scale = float(np.ptp(losses)) or 1.0
        value, q, over, other = globals()[f"_{kind.replace(' ', '_')}"](losses, p, radius, rng)
        faults = [over, abs(value - other) / scale, abs(q @ losses - value) / scale, abs(q.sum() - 1)]
        yield kind, float(max(*faults, -q.min()))


def _least(dual, low: float, high: float) -> float:
    """The least value of a convex dual in the logarithm of its multiplier: a grid, then Brent's method."""
    grid = np.linspace(low, high, 200)
    at = int(np.argmin([dual(np.exp(x)) for x in grid]))
    ends = grid[max(at - 1, 0)], grid[min(at + 1, 199)]
    found = minimize_scalar(
        lambda x: dual(np.exp(x)), bounds=ends, method="bounded", options={"xatol": 1e-12}
    )
    return min(float(found.fun), dual(np.exp(grid[at])))


def _largest_in_kl_ball(values: np.ndarray, p: np.ndarray, radius: float) -> float:
    """The largest mean over the ball:  min over lam of  lam radius + lam log E_p exp(values / lam)."""
    top, scale = values.max(), float(np.ptp(values)) or 1.0

    def dual(lam: float) -> float:
        return lam * (radius + float(logsumexp((values - top) / lam, b=p))) + top

    return min(_least(dual, np.log(scale) - 20, np.log(scale) + 20), top)


def _kl(losses, p, radius, rng):
    worst = kl_worst_case(losses, p, radius)
    over = rel_entr(worst.weights, p).sum() / radius - 1 - 1e-7
    return float(worst.value), worst.weights, over, _largest_in_kl_ball(losses, p, radius)


def _chi2(losses, p, radius, rng):
    worst = chi2_worst_case(losses, p, radius)
    top, scale = losses.max(), float(np.ptp(losses)) or 1.0

    def dual(x):
        eta = top - x
        return eta + np.sqrt((1 + 2 * radius) * (p @ np.maximum(losses - eta, 0) ** 2))

    spent = p @ (worst.weights / p - 1) ** 2 / 2
    return (
        float(worst.value),
        worst.weights,
        spent / radius - 1 - 1e-7,
        min(_least(dual, np.log(scale) - 20, np.log(scale) + 20), top),
    )


def _program(losses, p, matrix, bounds, upper):
    """The largest q @ losses over laws q with matrix @ q <= upper, by HiGHS."""
    found = linprog(
        -losses, A_ub=matrix, b_ub=upper, A_eq=np.ones((1, len(p))), b_eq=[1.0], bounds=bounds, method="highs"
    )
    return -found.fun


def _cvar(losses, p, radius, rng):
    level = float(rng.uniform(0.01, 1))
    worst = cvar_worst_case(losses, p, level)
    other = _program(losses, p, None, [(0, x / level) for x in p], None)
    return float(worst.value), worst.weights, (worst.weights - p / level).max() - 1e-9, other


def _total_variation(losses, p, radius, rng):
    radius, m = float(rng.uniform(0.01, 1)), len(p)
    worst = total_variation_worst_case(losses, p, radius)
    # q = p + up - down, with sum of ups at most the radius
    found = linprog(
        np.concatenate([-losses, losses]),
        A_ub=np.concatenate([np.ones(m), np.zeros(m)])[None],
        b_ub=[radius],
        A_eq=np.concatenate([np.ones(m), -np.ones(m)])[None],
        b_eq=[0.0],
        bounds=[(0, None)] * m + [(0, x) for x in p],
        method="highs",
    )
    over = np.abs(worst.weights - p).sum() / 2 - radius - 1e-9
    return float(worst.value), worst.weights, over, p @ losses - found.fun


def _wasserstein(losses, p, radius, rng):
    m, order = len(p), float(rng.choice([1.0, 2.0]))
    places = rng.normal(size=(m, 2))
    cost = np.linalg.norm(places[:, None] - places[None], axis=2) ** order
    cost = (cost + cost.T) / 2
    worst = wasserstein_worst_case(losses, p, cost, radius=radius, order=order)
    found = linprog(
        np.tile(-losses, m),
        A_ub=cost.reshape(1, -1),
        b_ub=[radius**order],
        A_eq=np.repeat(np.eye(m), m, axis=1),
        b_eq=p,
        method="highs",
    )
    spent = ot.emd2(p, worst.weights.clip(0) / worst.weights.clip(0).sum(), cost)
    over = (spent - radius**order) / cost.max() - 1e-9
    return float(worst.value), worst.weights, over, -found.fun


def games(count: int, seed: int) -> Iterator[tuple[str, float]]:
    """Name of the game, and what the best opponent gains, or the mass outside of the KL ball."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        m = int(rng.integers(2, 13))
        margins = np.tanh(10 ** rng.uniform(-2, 1) * rng.normal(size=(m, m)))
        win = 0.5 + (margins - margins.T) / 4
        if number % 2:
            policy = np.exp(maximal_lottery(win).log_policy)
            yield "lottery", float(max((win @ policy).max() - 0.5, abs(policy.sum() - 1)))
            continue
        log_reference = np.log(rng.dirichlet(np.full(m, 1.0)) + 1e-9)
        log_reference -= logsumexp(log_reference)
        budget = 10 ** rng.uniform(-3, 1)
        policy = np.exp(kl_nlhf(win, log_reference, budget).log_policy)
        reward, reference = win @ policy, np.exp(log_reference)
        gain = _largest_in_kl_ball(reward, reference, budget) - reward @ policy
        over = rel_entr(policy, reference).sum() / budget - 1 - 1e-7
        yield "NLHF in a KL ball", float(max(gain, over, abs(policy.sum() - 1)))


def rows(count: int, seed: int) -> Iterator[dict[str, object]]:
    """Number and largest fault of each kind of ball and game, `count` of each of the two families."""
    found: dict[str, list[float]] = {}
    for name, fault in [*balls(count, seed), *games(count, seed)]:
        found.setdefault(name, []).append(fault)
    for name, faults in found.items():
        worst = max(faults)
        verdict = "certified" if worst <= TOLERANCE else "fault"
        yield {
            "table": "certificate",
            "name": name,
            "case": f"{worst:.1e}",
            "verdict": verdict,
            "count": len(faults),
        }
