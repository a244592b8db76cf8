"""Regularised optima of a thousand problems, against the closed form and vectorised Newton methods.

cvxpy is given its best case: one compiled problem with the reward as its parameter, and one solve for each
reward, timed on twenty of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cvxpy as cp
import numpy as np
from scipy.special import softmax

from benchmarks.timing import Rival, Work, only_timed
from distalign.solvers.kkt import regularised_policy
from distalign.types import Array

PROBLEMS, SAMPLE, RESPONSES, BETA = 1000, 20, 8, 0.5
CONIC = {
    "reverse_kl": lambda p, q: cp.sum(cp.kl_div(p, q)),
    "forward_kl": lambda p, q: cp.sum(cp.kl_div(q, p)),
    "jensen_shannon": lambda p, q: cp.sum(cp.kl_div(p, (p + q) / 2) + cp.kl_div(q, (p + q) / 2)),
}


def closed_form(reward: Array, ref: Array) -> Array:
    """Reverse KL: the softmax of log ref + r / beta."""
    return softmax(np.log(ref) + reward / BETA, axis=-1)


def forward_kl(reward: Array, ref: Array) -> Array:
    """pi = beta ref / (c - r); Newton's method in c from where one response alone has mass 1."""
    top = reward.argmax(-1)[:, None]
    c = np.take_along_axis(reward, top, -1) + BETA * ref[top]
    for _ in range(60):
        pi = BETA * ref / (c - reward)
        step = (pi.sum(-1, keepdims=True) - 1) / (pi / (c - reward)).sum(-1, keepdims=True)
        c = c + step
        if np.abs(step).max() < 1e-14:
            break
    return BETA * ref / (c - reward)


def jensen_shannon(reward: Array, ref: Array) -> Array:
    """rho = e / (2 - e), e = exp((r - c) / beta); Newton's method in c from the same sort of place."""
    top = reward.argmax(-1)[:, None]
    rho = 1 / ref[top]
    c = np.take_along_axis(reward, top, -1) - BETA * np.log(2 * rho / (1 + rho))
    e = np.exp((reward - c) / BETA)
    for _ in range(60):
        rho = e / (2 - e)
        slope = (ref * rho / (2 - e)).sum(-1, keepdims=True) * 2 / BETA
        step = ((ref * rho).sum(-1, keepdims=True) - 1) / slope
        e *= np.exp(-step / BETA)
        if np.abs(step).max() < 1e-14:
            break
    return ref * e / (2 - e)


TWINS = {
    "reverse_kl": ("closed form", closed_form),
    "forward_kl": ("numpy Newton on all at once", forward_kl),
    "jensen_shannon": ("numpy Newton on all at once", jensen_shannon),
}


def conic(name: str, reward: Array, ref: Array) -> Callable[[], Array]:
    """A function that solves the compiled problem for each reward."""
    p, r = cp.Variable(RESPONSES), cp.Parameter(RESPONSES)
    problem = cp.Problem(cp.Maximize(r @ p - BETA * CONIC[name](p, ref)), [cp.sum(p) == 1])

    def solve() -> Array:
        found = []
        for row in reward:
            r.value = row
            problem.solve(solver=cp.CLARABEL)
            found.append(p.value)
        return np.array(found)

    return solve


def certificate(reward: Array, ref: Array, name: str) -> float:
    """The largest violation of a stationarity condition, or of the sum."""
    found = regularised_policy(reward, ref, BETA, name)
    return float(max(found.stationarity.max(), found.mass_defect.max()))


def works() -> Iterator[Work]:
    """One piece of work for each divergence."""
    rng = np.random.default_rng(0)
    reward = rng.normal(size=(PROBLEMS, RESPONSES))
    ref = 0.8 * rng.dirichlet(np.ones(RESPONSES)) + 0.2 / RESPONSES
    for name, (words, twin) in TWINS.items():
        yield Work(
            f"KKT, {PROBLEMS:,} problems of {RESPONSES}, {name}",
            lambda name=name: regularised_policy(reward, ref, BETA, name).policy,
            [
                Rival(words, lambda twin=twin: twin(reward, ref)),
                Rival("one numpy.exp of as many numbers", lambda: only_timed(np.exp(reward)), "floor"),
                Rival(
                    f"cvxpy + Clarabel, one by one, {SAMPLE} timed",
                    conic(name, reward[:SAMPLE], ref),
                    "popular",
                    SAMPLE / PROBLEMS,
                    2,
                ),
            ],
            goal=2,
            same=1e-6,
            difference=lambda a, b: float(np.abs(a[: len(b)] - b).max()),
            repeats=20,
            certificate=lambda name=name: certificate(reward, ref, name),
        )
