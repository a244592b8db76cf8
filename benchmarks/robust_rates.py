"""The rate study at fixed radius with every KL estimator: all fits at once, against a loop over cvxpy.

It has 40 replicates of 9 sizes.
"""

import warnings

import cvxpy as cp
import numpy as np

from benchmarks.timing import Duel, best
from distalign.oracles.ambiguity import kl_ball_fit, kl_penalised_fit
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust.kl_fit import fit_kl_ball, fit_kl_temperature

SIZES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000, 10_000_000)
REPLICATES = 40
TEMPERATURES = (np.inf, 1.0, 0.3, 0.1)  # infinity is DPO
RADII = (0.01, 0.05, 0.15)
GOAL = 20


def duels():
    """The one line of the table."""
    rng = np.random.default_rng(0)
    instance = log_linear_bradley_terry(rng, prompts=3, responses=4, dimension=3, norm=2.5, beta=1.0)
    law = instance.population.pairs(distinct=True)
    psi = np.asarray(instance.features).reshape(-1, 3)
    v = psi[law.chosen] - psi[law.rejected]
    p = np.concatenate([rng.multinomial(n, law.weights, REPLICATES) / n for n in SIZES])
    one = p[::REPLICATES]  # one replicate of each size goes through cvxpy; its time is multiplied

    def ours(laws=p):
        fits = [fit_kl_temperature(v, laws, temperature=t) for t in TEMPERATURES] + [
            fit_kl_ball(v, laws, radius=r) for r in RADII
        ]
        return np.stack([f.theta for f in fits])

    def loop():
        return np.stack(
            [[_cvxpy(v, q, t, None) for q in one] for t in TEMPERATURES]
            + [[_cvxpy(v, q, None, r) for q in one] for r in RADII]
        )

    def certain():
        """The oracles: the best of three solves, for one solve stalls a few digits early now and then."""
        return np.stack(
            [
                [
                    _cvxpy(v, q, t, None) if np.isinf(t) else kl_penalised_fit(v, q, temperature=t)[0]
                    for q in one
                ]
                for t in TEMPERATURES
            ]
            + [[kl_ball_fit(v, q, radius=r)[0] for q in one] for r in RADII]
        )

    mine, theirs = best(ours, 3), best(loop, 1) * REPLICATES
    yield Duel(
        f"KL rate study, {REPLICATES} replicates x {len(SIZES)} sizes x {len(ours())} estimators",
        mine,
        "cvxpy + Clarabel, one at a time",
        theirs,
        f"goal >= {GOAL}x",
        bool(theirs / mine >= GOAL),
        float(np.abs(ours(one) - certain()).max()),
    )


def _cvxpy(v: np.ndarray, p: np.ndarray, temperature: float | None, radius: float | None) -> np.ndarray:
    """theta of one fit, solved once."""
    v, p = v[p > 0], p[p > 0]
    theta = cp.Variable(v.shape[1])
    losses = cp.logistic(-v @ theta)
    if radius is not None:
        u, w, lam, s = cp.Variable(len(p)), cp.Variable(len(p)), cp.Variable(), cp.Variable()
        cones = [losses <= u, cp.ExpCone(u - s, lam * np.ones(len(p)), w), p @ w <= lam]
        problem = cp.Problem(cp.Minimize(lam * radius + s), cones)
    elif np.isinf(temperature):
        problem = cp.Problem(cp.Minimize(p @ losses))
    else:
        problem = cp.Problem(cp.Minimize(cp.log_sum_exp(np.log(p) + losses / temperature)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-13, tol_gap_rel=1e-13, tol_feas=1e-13)
    return np.asarray(theta.value)
