"""The f-regularised optimum of reinforcement learning from human feedback, as a conic program (cvxpy)."""

from __future__ import annotations

import warnings
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import POSITIVE, POSITIVE_LAW, REAL, WORD, checked
from distalign.checks import one_of, positive
from distalign.types import Array

NAMES = (
    "reverse_kl",
    "forward_kl",
    "alpha:<a>",
    "jensen_shannon",
    "squared_hellinger",
    "jeffreys",
    "chi2_plus_kl",
    "chi2",
    "total_variation",
)


@checked(reward=REAL.solvable.of("K"), ref=POSITIVE_LAW.of("K"), beta=POSITIVE.solvable, divergence=WORD)
def regularised_optimum(reward: ArrayLike, ref: ArrayLike, beta: float, divergence: str) -> Array:
    r"""argmax over the simplex of  r.p - beta D_f(p || ref),  D_f(p || q) = sum_y q_y f(p_y / q_y).

    The divergences, written out here and not read from `distalign.divergences`: reverse_kl u log u;
    forward_kl -log u; alpha:<a> (u^(1-a) - (1-a) u - a)/(a (a-1)); jensen_shannon u log u - (u+1)
    log((u+1)/2), twice the usual one; squared_hellinger (sqrt u - 1)^2; jeffreys (u-1) log u; chi2_plus_kl
    (u-1)^2/2 + u log u; chi2 (u-1)^2; total_variation |u-1|/2. The last two do not keep every response in the
    support.

    Args:
        reward: (K,) rewards.
        ref: (K,) reference probabilities, above 0, of sum 1.
        beta: strength of the regularisation, above 0, in units of reward.
        divergence: one of the names above; `alpha:0.3` for a = 0.3.

    Returns:
        (K,) optimal probabilities, good to 1e-6 and typically to 1e-9: the best of three solves.

    Raises:
        InputError: unknown divergence, or beta not above 0.

    Source: Wang et al., "Beyond Reverse KL", arXiv 2309.16240, the problem of its Theorem 1.

    Example:
        >>> regularised_optimum([1.0, 0.0], [0.5, 0.5], 2.0, "total_variation").round(6).tolist()
        [0.5, 0.5]
        >>> round(float(regularised_optimum([1.0, 0.0], [0.5, 0.5], 1.0, "reverse_kl")[0]), 6)
        0.731059
    """
    name, _, a = divergence.partition(":")
    one_of("divergence", name, [n.partition(":")[0] for n in NAMES])
    positive("beta", beta, "it is the strength of the regularisation")
    r, q = np.asarray(reward, float), np.asarray(ref, float)
    p = cp.Variable(len(q))
    # A redundant p >= 0 costs two digits: only the divergences that are finite below 0 get it.
    constraints: list[Any] = [cp.sum(p) == 1, *([p >= 0] if name in ("chi2", "total_variation") else [])]
    problem = cp.Problem(cp.Maximize(r @ p / beta - _divergence(p, q, name, float(a or 0))), constraints)
    return max((_solve(problem, p, fraction) for fraction in (0.9, 0.8, 0.7)), key=lambda found: found[0])[1]


def _solve(problem: cp.Problem, p: cp.Variable, fraction: float) -> tuple[float, Array]:
    """The objective at the solver's answer, and the answer.

    Several step lengths are tried by the caller, because the solver stalls early at some of them.
    """
    # Asked for more digits than there are, Clarabel stops at the last one and says so.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        problem.solve(
            solver=cp.CLARABEL,
            tol_gap_abs=1e-14,
            tol_gap_rel=1e-14,
            tol_feas=1e-14,
            max_step_fraction=fraction,
        )
    answer = np.clip(np.asarray(p.value), 0, None)
    p.value = answer / answer.sum()
    value: Any = problem.objective.value
    return float(value), p.value


def _divergence(p: cp.Variable, q: Array, name: str, a: float) -> cp.Expression:
    """D_f(p || q) of the named divergence; a is the parameter of alpha."""
    reverse, forward = cp.sum(cp.kl_div(p, q)), cp.sum(cp.kl_div(q, p))
    middle = (p + q) / 2
    chi2 = cp.sum(cp.square(p - q) / q)
    return {
        "reverse_kl": lambda: reverse,
        "forward_kl": lambda: forward,
        "alpha": lambda: (q**a @ cp.power(p, 1 - a, approx=False) - 1) / (a * (a - 1)),
        "jensen_shannon": lambda: cp.sum(cp.kl_div(p, middle) + cp.kl_div(q, middle)),
        "squared_hellinger": lambda: 2 - 2 * (np.sqrt(q) @ cp.sqrt(p)),
        "jeffreys": lambda: reverse + forward,
        "chi2_plus_kl": lambda: chi2 / 2 + reverse,
        "chi2": lambda: chi2,
        "total_variation": lambda: cp.norm1(p - q) / 2,
    }[name]()
