r"""When density-ratio training must fail: the largest stable step of gradient descent, responses whose ratio
is infinite, and the largest gradient of each loss.

The policy is a table of logits over K responses, pi = p+ is its optimum, r = p+/p_ref, q = t r is the share
of chosen among the labels of a response, and the ratio that DDRO models is p+/p- = (1-t) r / (1 - t r).

*The step.* Each loss is E_{p+} phi(u) + E_{p-} psi(u) with u_y = log pi(y)/p_ref(y), whose gradient in the
logits is G_y = e_y - pi. At the optimum the terms of RDRO and of DDRO cancel for each response, so the
Hessian is

    H = E_{p_ref} [w G G^T],   w = r / (1 + r) for RDRO,   q / (1 - q) for DDRO,   r for SFT,              (1)

and gradient descent with step a leaves the optimum if a lambda_max(H) > 2, and returns to it if below. RDRO's
w is at most 1 / (1 + alpha), so its step need not shrink as p+ and p- move apart; that of DDRO is t/(1-t)
times p+/p-, without limit.

*The ratio.* Where a response was never rejected, nothing in DDRO's label likelihood holds t pi/p_ref below 1.
With the multiplier mu of sum_y p_ref rho = 1, stationarity of -t c+.log rho - (1-t) c-.log(1 - t rho) gives
mu = t - t (1-t) sum_y c- rho / (1 - t rho) < t, and at such a response rho = t c+ / (mu p_ref): beyond 1/t
unless c+ is far below p_ref. Rejected responses stay within. With independent Poisson numbers of labels, of
means n+ and n-, the share of samples with a response that was chosen and never rejected is

    1 - prod_y [1 - (1 - exp(-n+_y)) exp(-n-_y)].                                                          (2)

*The gradient.* One chosen and one rejected response add c (e_y - pi) + d (e_z - pi) to the gradient, for
coefficients c and d of `distalign.theory.density_ratio.losses`: convex in all, so largest at a vertex.

Source: ours.
"""

from __future__ import annotations

import numpy as np

from distalign.arguments import INSIDE_UNIT, NONNEGATIVE, POSITIVE_LAW, UNIT, OneOf, checked
from distalign.types import Array

METHODS = ("SFT", "RDRO", "DDRO")


@checked(
    method=OneOf(METHODS),
    reference=POSITIVE_LAW.of("K"),
    acceptance=UNIT.of("K").meaning("it is the share of chosen among the labels of a response"),
)
def curvature(method: str, reference: Array, acceptance: Array) -> Array:
    """(K, K) Hessian (1) in the logits at p+, on the exact laws; alpha = t is the mean of q.

    DDRO is the label likelihood, with any stabiliser that sets in beyond the largest q; its q is below 1.

    Args:
        method: SFT, RDRO or DDRO.
        reference: (K,) p_ref.
        acceptance: (K,) q.

    Source: ours.

    Example: with q = 3/4 and 1/4 and t = 1/2, r is 3/2 and 1/2, and G is 1/4 and -3/4 of (1, -1).
        >>> curvature("RDRO", np.array([0.5, 0.5]), np.array([0.75, 0.25])).round(4).tolist()
        [[0.1125, -0.1125], [-0.1125, 0.1125]]
        >>> curvature("DDRO", np.array([0.5, 0.5]), np.array([0.75, 0.25])).round(4).tolist()
        [[0.1875, -0.1875], [-0.1875, 0.1875]]
    """
    r = acceptance / (reference @ acceptance)
    weight = {
        "SFT": lambda: r,
        "RDRO": lambda: r / (1 + r),
        "DDRO": lambda: acceptance / (1 - acceptance),
    }[method]()
    scores = np.eye(len(r)) - reference * r
    return (scores.T * (reference * weight)) @ scores


def largest_step(method: str, reference: Array, acceptance: Array) -> float:
    """2 / lambda_max of `curvature`: beyond it gradient descent leaves p+.

    Source: ours; the condition on the step is the textbook one of a quadratic.

    Example:
        >>> reference, acceptance = np.array([0.5, 0.5]), np.array([0.75, 0.25])
        >>> [round(largest_step(m, reference, acceptance), 3) for m in METHODS]
        [5.333, 8.889, 5.333]
    """
    return float(2 / np.linalg.eigvalsh(curvature(method, reference, acceptance))[-1])


@checked(chosen=NONNEGATIVE.of("K"), rejected=NONNEGATIVE.of("K"))
def infinite_ratio_share(chosen: Array, rejected: Array) -> float:
    """The share (2) of samples in which some response was chosen and never rejected.

    Args:
        chosen: (K,) mean number of chosen labels of each response.
        rejected: (K,) mean number of rejected ones.

    Source: ours.

    Example: one response, chosen for sure and rejected on average log 2 times.
        >>> round(infinite_ratio_share(np.array([1e3]), np.array([np.log(2)])), 9)
        0.5
    """
    return float(1 - np.prod(1 + np.expm1(-chosen) * np.exp(-rejected)))


@checked(
    t=INSIDE_UNIT.meaning("it is the share of chosen responses in the mixture"),
    epsilon=INSIDE_UNIT.meaning("it is the distance to the wall at which a stabiliser sets in"),
)
def norm_bounds(t: float, epsilon: float) -> dict[str, float]:
    """The least upper bound of the gradient's norm in the logits, over all policies and samples.

    RDRO's coefficients lie in (-1, alpha) and (0, 1 - alpha), those of squashed DDRO in (-t, 0) and (0, 1 -
    t); DDRO with a floor or linear in the log-ratio has -t, and at most D = (1-t)(1-e)/e. A coefficient c
    moves the gradient by at most |c| sqrt 2, and a chosen and a rejected response that push in opposite
    directions do not add up beyond the larger one. DDRO as it stands and linear in the ratio have no bound.

    Args:
        t: the prior, or alpha.
        epsilon: e, the distance to the wall at which the stabiliser sets in.

    Source: ours.

    Example:
        >>> {name: round(b, 3) for name, b in norm_bounds(0.5, 0.05).items()}
        {'SFT': 1.414, 'RDRO': 1.414, 'squash': 0.707, 'floor': 13.435, 'linear_log_ratio': 13.435}
    """
    rejected = (1 - t) * (1 - epsilon) / epsilon
    largest = {"SFT": 1.0, "RDRO": 1.0, "squash": max(t, 1 - t), "floor": max(t, rejected)}
    return {m: float(np.sqrt(2) * c) for m, c in {**largest, "linear_log_ratio": max(t, rejected)}.items()}
