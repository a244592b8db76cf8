"""KLDPO: a rate study with 200 replicates of 9 sizes, and one ball on a large sample.

The fair rivals are Newton's method on all data sets at once in a dozen lines of numpy; and L-BFGS-B and
Newton's method on the same dual in theta and the multiplier.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import cvxpy as cp
import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax

from benchmarks.timing import Rival, Work
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust.kl_fit import fit_kl_ball, fit_kl_temperature
from distalign.types import Array

SIZES, REPLICATES, TAU = np.geomspace(1e3, 1e7, 9).astype(int), 200, 0.3
BALL_SIZE, RADIUS = 20_000, 0.05


def works() -> Iterator[Work]:
    """Both pieces of work."""
    yield rate_study()
    yield ball()


def rate_study() -> Work:
    """1,800 fits of three parameters on 12 comparisons."""
    rng = np.random.default_rng(0)
    instance = log_linear_bradley_terry(rng, prompts=3, responses=4, dimension=3, norm=2.5, beta=1.0)
    law = instance.population.pairs(distinct=True)
    psi = np.asarray(instance.features).reshape(-1, 3)
    v = psi[law.chosen] - psi[law.rejected]
    p = np.concatenate([rng.multinomial(n, law.weights, REPLICATES) / n for n in SIZES])
    return Work(
        f"KLDPO rate study, {REPLICATES} x {len(SIZES)} fits",
        lambda: fit_kl_temperature(v, p, temperature=TAU).theta,
        [
            Rival("numpy Newton on all at once", lambda: batched_newton(v, p)),
            Rival(
                "scipy L-BFGS-B, one at a time",
                lambda: np.stack([lbfgs(v, row) for row in p]),
                "popular",
                repeats=1,
            ),
        ],
        goal=2,
        same=1e-6,
    )


def batched_newton(v: Array, p: Array) -> Array:
    """theta of every data set, by Newton's method without a line search."""
    theta = np.zeros((len(p), v.shape[1]))
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    outer = (v[:, :, None] * v[:, None]).reshape(len(v), -1)
    for _ in range(50):
        x = theta @ v.T
        w, s = softmax(log_p + np.logaddexp(0, -x) / TAU, axis=1), expit(-x)
        ws = w * s
        g = -ws @ v
        h = ((ws * (1 - s) + ws * s / TAU) @ outer).reshape(len(p), *2 * v.shape[1:])
        h -= g[:, :, None] * g[:, None] / TAU
        theta -= np.linalg.solve(h, g[:, :, None])[:, :, 0]
        if np.abs(g).max() < 1e-12:
            break
    return theta


def lbfgs(v: Array, p: Array) -> Array:
    """theta of one data set by L-BFGS-B."""
    seen = p > 0
    x, log_p = v[seen], np.log(p[seen])

    def value_and_gradient(theta: Array) -> tuple[float, Array]:
        t = x @ theta
        scaled = log_p + np.logaddexp(0, -t) / TAU
        return TAU * float(logsumexp(scaled)), -(softmax(scaled) * expit(-t)) @ x

    options = {"gtol": 1e-10, "ftol": 1e-16, "maxcor": 20}
    return minimize(value_and_gradient, np.zeros(3), jac=True, method="L-BFGS-B", options=options).x


def ball() -> Work:
    """One fit in a KL ball on 20,000 comparisons."""
    rng = np.random.default_rng(0)
    v = rng.normal(size=(BALL_SIZE, 3))
    v *= np.where(rng.random(BALL_SIZE) < expit(v @ [1.0, -0.5, 0.3]), 1, -1)[:, None]
    p = np.full(BALL_SIZE, 1 / BALL_SIZE)
    return Work(
        f"KL ball, n = {BALL_SIZE:,}, d = 3",
        lambda: float(fit_kl_ball(v, p, radius=RADIUS).dual[0]),
        [
            Rival("numpy Newton on the same dual", lambda: dual_newton(v)),
            Rival("scipy L-BFGS-B on the same dual", lambda: dual_lbfgs(v)),
            Rival("cvxpy + Clarabel", conic_ball(v, p), "popular", repeats=1),
        ],
        goal=2,
        same=1e-8,
        certificate=lambda: _gap(v, p),
    )


def _gap(v: Array, p: Array) -> float:
    found = fit_kl_ball(v, p, radius=RADIUS)
    return float(found.dual[0] - found.primal[0])


def dual_newton(v: Array) -> float:
    """The same minimum by Newton's method in theta and lam, from DPO's first step and without safeguards."""
    z = np.append(np.linalg.solve(v.T @ v / 2, v.sum(0)), 0.0)
    losses = np.logaddexp(0, -v @ z[:3])
    z[3] = losses.std() / np.sqrt(2 * RADIUS)
    for _ in range(50):
        x = v @ z[:3]
        e = np.exp(-np.abs(x))
        larger = 1 / (1 + e)
        losses, wrong = np.maximum(-x, 0) - np.log(larger), np.where(x > 0, e * larger, larger)
        w = np.exp(losses / z[3])
        mean, total = w.mean(), w.sum()
        w /= total
        centred = losses - w @ losses
        rows = np.column_stack([-wrong[:, None] * v, -centred / z[3]])
        weighted = w[:, None] * rows
        gradient = np.append(weighted[:, :3].sum(0), RADIUS + np.log(mean) - w @ losses / z[3])
        hessian = rows.T @ weighted / z[3]
        hessian[:3, :3] += (v * (w * wrong * (1 - wrong))[:, None]).T @ v
        hessian[:3, :3] -= np.outer(gradient[:3], gradient[:3]) / z[3]
        z -= np.linalg.solve(hessian, gradient)
        if np.abs(gradient).max() < 1e-10:
            break
    losses = np.logaddexp(0, -v @ z[:3])
    return float(z[3] * (RADIUS + np.log(np.exp(losses / z[3]).mean())))


def dual_lbfgs(v: Array) -> float:
    """min over theta and lam of  lam r + lam log mean exp(l / lam)."""

    def value_and_gradient(z: Array) -> tuple[float, Array]:
        lam, x = np.exp(z[3]), v @ z[:3]
        losses = np.logaddexp(0, -x)
        scaled = losses / lam
        top = scaled.max()
        e = np.exp(scaled - top)
        log_mean, w = top + np.log(e.mean()), e / e.sum()
        value = lam * (RADIUS + log_mean)
        return float(value), np.append(-(w * expit(-x)) @ v, value - w @ losses)

    options = {"gtol": 1e-9, "ftol": 1e-15}
    return float(minimize(value_and_gradient, np.zeros(4), jac=True, method="L-BFGS-B", options=options).fun)


def conic_ball(v: Array, p: Array):
    """The same ball as an exponential-cone program."""
    size = len(p)
    theta, u, w, lam, s = cp.Variable(3), cp.Variable(size), cp.Variable(size), cp.Variable(), cp.Variable()
    constraints = [cp.logistic(-v @ theta) <= u, cp.ExpCone(u - s, lam * np.ones(size), w), p @ w <= lam]
    program = cp.Problem(cp.Minimize(lam * RADIUS + s), constraints)

    def solve() -> float:
        with warnings.catch_warnings():
            # Clarabel at tolerance 1e-9 now and then says so.
            warnings.filterwarnings("ignore", "Solution may be inaccurate")
            program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
        return float(program.value)  # type: ignore[arg-type]

    return solve
