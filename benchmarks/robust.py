"""Robust fits against whole conic programs (cvxpy and Clarabel).

The KL ball is fitted on a large sample, the W1 ball on finite spaces.
"""

import time
import warnings

import cvxpy as cp
import numpy as np

from benchmarks.timing import Duel, best
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust import kl_fit, wasserstein_finite

KL_SIZE, KL_RADIUS, KL_GOAL = 20_000, 0.05, 10
RADIUS, GOAL, LARGE, LARGE_SECONDS = 0.2, 5, (80, 7), 15
SAME = 1e-9


def problem(prompts, responses, seed):
    """Features, law and distances of the comparisons of an instance."""
    instance = log_linear_bradley_terry(
        np.random.default_rng(seed), prompts, responses, 3, norm=2.5, beta=1.0
    )
    law, psi = instance.population.pairs(distinct=True), instance.features.reshape(-1, 3)
    pair = np.concatenate([psi[law.chosen], psi[law.rejected]], 1)
    return psi[law.chosen] - psi[law.rejected], law.weights, np.linalg.norm(pair[:, None] - pair, axis=2)


def duels():
    """Every line of the table."""
    yield kl_ball()
    yield finite_space()
    yield large_space()


def kl_ball():
    """One fit in a KL ball, against the conic program."""
    rng = np.random.default_rng(0)
    v = rng.normal(size=(KL_SIZE, 3))
    v *= np.where(rng.random(KL_SIZE) < 1 / (1 + np.exp(-v @ [1.0, -0.5, 0.3])), 1, -1)[:, None]
    p = np.full(KL_SIZE, 1 / KL_SIZE)
    theta, u, w, lam, s = (
        cp.Variable(3),
        cp.Variable(KL_SIZE),
        cp.Variable(KL_SIZE),
        cp.Variable(),
        cp.Variable(),
    )
    constraints = [cp.logistic(-v @ theta) <= u, cp.ExpCone(u - s, lam * np.ones(KL_SIZE), w), p @ w <= lam]
    program = cp.Problem(cp.Minimize(lam * KL_RADIUS + s), constraints)
    with warnings.catch_warnings():
        # Clarabel at tolerance 1e-9 now and then says so.
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        theirs = best(
            lambda: program.solve(solver=cp.CLARABEL, tol_gap_abs=SAME, tol_gap_rel=SAME, tol_feas=SAME), 1
        )
    ours = best(lambda: kl_fit.fit_kl_ball(v, p, radius=KL_RADIUS), 3)
    found = kl_fit.fit_kl_ball(v, p, radius=KL_RADIUS)
    gap = float(found.dual[0] - found.primal[0])
    difference = abs(float(found.dual[0]) - float(program.value))
    return Duel(
        f"KL ball, n = {KL_SIZE}, d = 3 (own gap {gap:.0e})",
        ours,
        "cvxpy + Clarabel",
        theirs,
        f"goal >= {KL_GOAL}x",
        theirs >= KL_GOAL * ours and gap <= SAME,
        difference,
    )


def finite_space():
    """One fit in a W1 ball on a finite space, against the full program."""
    v, p, distance = problem(20, 4, 1)
    m = len(p)
    theta, eta, s, u = cp.Variable(3), cp.Variable(nonneg=True), cp.Variable(m), cp.Variable(m)
    here, there = (
        cp.reshape(s, (m, 1), order="C") @ np.ones((1, m)),
        np.ones((m, 1)) @ cp.reshape(u, (1, m), order="C"),
    )
    rows = here >= there - eta * distance
    program = cp.Problem(cp.Minimize(eta * RADIUS + p @ s), [rows, cp.logistic(-v @ theta) <= u])
    ours = best(lambda: wasserstein_finite.fit_finite(v, p, distance, radius=RADIUS), 3)
    theirs = best(lambda: program.solve(solver=cp.CLARABEL), 2)
    found = wasserstein_finite.fit_finite(v, p, distance, radius=RADIUS)
    return Duel(
        f"W1 ball, {m} atoms, one fit (own gap {found.gap[0]:.0e})",
        ours,
        "the full program, cvxpy + Clarabel",
        theirs,
        f"goal >= {GOAL}x",
        theirs >= GOAL * ours and found.gap[0] <= SAME,
        abs(float(found.value[0] - program.value)),
    )


def large_space():
    """One fit in a W1 ball on a large finite space, against a goal in seconds."""
    v, p, distance = problem(*LARGE, 0)
    start = time.perf_counter()
    found = wasserstein_finite.fit_finite(v, p, distance, radius=0.05)
    ours = time.perf_counter() - start
    return Duel(
        f"W1 ball, {len(p)} atoms, one fit",
        ours,
        "the goal in seconds",
        LARGE_SECONDS,
        f"goal < {LARGE_SECONDS} s",
        ours < LARGE_SECONDS and found.gap[0] <= SAME,
        float(found.gap[0]),
    )
