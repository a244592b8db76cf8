"""Regularised optima of a thousand problems: the stationarity solver at once, against cvxpy one by one.

cvxpy is given its best case: one compiled problem with the reward as its parameter, and one solve for each
reward. It is timed on a subsample and the time is scaled to all problems. Agreement is with the oracle's
answers, each of which is the best of three solves at the tightest tolerances.
"""

import cvxpy as cp
import numpy as np

from benchmarks.timing import Duel, best
from distalign.oracles.regularised import regularised_optimum
from distalign.solvers.kkt import regularised_policy

PROBLEMS, SAMPLE, RESPONSES, BETA, GOAL, SAME = 1000, 20, 8, 0.5, 200, 1e-6
CONIC = {
    "reverse_kl": lambda p, q: cp.sum(cp.kl_div(p, q)),
    "forward_kl": lambda p, q: cp.sum(cp.kl_div(q, p)),
    "jensen_shannon": lambda p, q: cp.sum(cp.kl_div(p, (p + q) / 2) + cp.kl_div(q, (p + q) / 2)),
}


def conic(name, ref):
    """A function that solves the compiled problem for one reward."""
    p, reward = cp.Variable(RESPONSES), cp.Parameter(RESPONSES)
    problem = cp.Problem(cp.Maximize(reward @ p - BETA * CONIC[name](p, ref)), [cp.sum(p) == 1])

    def solve(r):
        reward.value = r
        problem.solve(solver=cp.CLARABEL)
        return p.value

    return solve


def duels():
    """One line for each divergence."""
    rng = np.random.default_rng(0)
    reward, ref = (
        rng.normal(size=(PROBLEMS, RESPONSES)),
        0.8 * rng.dirichlet(np.ones(RESPONSES)) + 0.2 / RESPONSES,
    )
    for name in CONIC:
        solve = conic(name, ref)
        solve(reward[0])  # compiles
        ours = best(lambda name=name: regularised_policy(reward, ref, BETA, name), 5)
        theirs = best(lambda solve=solve: [solve(r) for r in reward[:SAMPLE]], 3) * PROBLEMS / SAMPLE
        oracle = np.array([regularised_optimum(r, ref, BETA, name) for r in reward[:SAMPLE]])
        gap = float(np.abs(regularised_policy(reward[:SAMPLE], ref, BETA, name).policy - oracle).max())
        yield Duel(
            f"KKT, {PROBLEMS} problems of {RESPONSES}, {name}",
            ours,
            f"cvxpy one by one, {SAMPLE} timed",
            theirs,
            f"goal >= {GOAL}x",
            theirs >= GOAL * ours and gap <= SAME,
            gap,
        )
