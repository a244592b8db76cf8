"""The reward that a Bradley-Terry fit finds in a population, and two rules: RLHF, which uses it, and Borda.

Source: the rules as arXiv 2505.23749 has them; the fit is the textbook maximum likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from distalign.checks import InputError, reals
from distalign.solvers.choice.certified import CertifiedPolicy, checked_win, normalised
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.solvers.choice.product_reward import product_reward
from distalign.types import Array

_WEIGHTS = "give one weight for each alternative, or for each pair"
_MANY = 300  # alternatives from which conjugate gradients beat a factorisation


@dataclass(frozen=True)
class RewardFit:
    """A Bradley-Terry reward.

    Attributes:
        reward: (m,) rewards of sum 0, in logits.
        certificate: largest change of a reward difference in the last Newton step, in logits, or a bound on
            that of the next one; large or infinite where the win probabilities between groups of alternatives
            are so near 0 and 1 that float64 cannot represent the answer.
    """

    reward: Array
    certificate: float

    @property
    def certified(self) -> bool:
        """Whether Newton's method has converged: the certificate is at most 1e-8."""
        return self.certificate <= 1e-8


def reward_mle(win: ArrayLike, comparison: ArrayLike) -> RewardFit:
    r"""The maximum-likelihood Bradley-Terry reward of a population with infinitely many comparisons.

    Maximises  sum_{x,y} W(x, y) P(x, y) log sigma(r(x) - r(y)),  W = mu mu' for alternatives drawn
    independently from mu. Its gradient is  sum_y W (P(x, y) sigma(r_y - r_x) - P(y, x) sigma(r_x - r_y))
    (written so that probabilities near 0 and 1 keep their digits), minus its Hessian the Laplacian of the
    graph with weights W sigma'. Newton's step d is damped by log(1 + |d|)/|d|, |d| = max d - min d, which
    decreases the self-concordant objective without a line search. The Laplacian is solved scaled by its
    diagonal, so comparison weights may span any range. For hundreds of alternatives and product comparisons,
    `product_reward` solves it by conjugate gradients where it can.

    Args:
        win: (m, m) P(x preferred to y).
        comparison: (m,) distribution mu of either member of a pair, or (m, m) symmetric weights of pairs,
            which must connect all alternatives; an alternative compared with itself says nothing, so the
            diagonal has no effect.

    Raises:
        InputError: misshapen or negative weights, or pairs that leave the alternatives disconnected.

    Source: Gölz et al., arXiv 2505.23749, Section 2; damping from Sun and Tran-Dinh, "Generalized
        self-concordant functions", 2019.

    Example:
        >>> fit = reward_mle([[0.5, 0.75], [0.25, 0.5]], [0.5, 0.5])
        >>> bool(abs(fit.reward[0] - fit.reward[1] - np.log(3)) < 1e-9), fit.certified
        (True, True)
    """
    p, mu = checked_win(win), reals("comparison", comparison, "(..., m)", _WEIGHTS)
    if len(p) >= _MANY and mu.shape == (len(p),) and mu.min() > 1e-100 and mu.max() < np.inf:
        found = product_reward(p, mu / mu.sum())
        if found is not None:
            return RewardFit(*found)
    weights = _pair_weights(comparison, len(p))
    if len(p) == 1:
        return RewardFit(np.zeros(1), 0.0)
    r, size = np.zeros(len(p)), np.inf
    for _ in range(500):
        try:
            step = newton_step(weights, p, r)
        except np.linalg.LinAlgError:
            # Comparisons between groups of alternatives are certain to 1e-16: no digits are left.
            size = np.inf
            break
        size = float(np.ptp(step))
        r = r + step * (np.log1p(size) / size if size > 0 else 1)
        if size <= 1e-11:
            break
    return RewardFit(r - r.mean(), size)


def rlhf(
    win: ArrayLike, comparison: ArrayLike, log_reference: ArrayLike, kl_budget: float
) -> CertifiedPolicy:
    """KL-constrained RLHF with infinitely many comparisons.

    The reward of `reward_mle` is maximised by `kl_linear_maximisation`. DPO reaches the same policies: its
    loss is the same likelihood with r = beta log(pi/pi_ref).

    Args:
        win: (m, m) win matrix.
        comparison: (m,) mu or (m, m) pair weights.
        log_reference: (m,) log pi_ref.
        kl_budget: tau in nats; infinity gives the alternatives of highest reward.

    Returns:
        The policy; not certified if the reward fit is not.

    Source: Gölz et al., arXiv 2505.23749, Section 2.

    Example:
        >>> rlhf([[0.5, 0.75], [0.25, 0.5]], [0.5, 0.5], np.log([0.5, 0.5]), np.inf).policy.tolist()
        [1.0, 0.0]
    """
    fit = reward_mle(win, comparison)
    best = kl_linear_maximisation(fit.reward, log_reference, kl_budget)
    return best if fit.certified else CertifiedPolicy(best.log_policy, np.inf, best.tolerance)


def borda_scores(win: ArrayLike, comparison: ArrayLike) -> Array:
    """The Borda scores  BC(x) = sum_y mu(y) P(x, y),  (m,): how often x beats an alternative drawn from mu.

    Against itself an alternative ties.

    Source: Gölz et al., arXiv 2505.23749, Section 2, in the limit of many comparisons.

    Example:
        >>> borda_scores([[0.5, 0.75], [0.25, 0.5]], [0.5, 0.5]).tolist()
        [0.625, 0.375]
    """
    p, mu = checked_win(win), reals("comparison", comparison, "(..., m)", _WEIGHTS)
    if mu.shape != (len(p),) or not (mu >= 0).all() or not abs(mu.sum() - 1) <= 1e-9:
        raise InputError(
            f"comparison must be a distribution over the {len(p)} alternatives: Borda needs product sampling"
        )
    return p @ mu


def borda(win: ArrayLike, comparison: ArrayLike) -> CertifiedPolicy:
    """The Borda rule: uniform over the alternatives of highest `borda_scores` (within 1e-14 of it).

    Example:
        >>> borda([[0.5, 0.75], [0.25, 0.5]], [0.5, 0.5]).policy.tolist()
        [1.0, 0.0]
    """
    scores = borda_scores(win, comparison)
    log_policy = np.where(scores >= scores.max() - 1e-14, 0.0, -np.inf)
    return CertifiedPolicy(normalised(log_policy), 0.0, 0.0)


def newton_step(weights: Array, p: Array, r: Array) -> Array:
    """The Newton step of the log-likelihood of `reward_mle` at r, by a dense solve of the Laplacian.

    Args:
        weights: (m, m) symmetric weights of pairs, 0 on the diagonal.
        p: (m, m) P(x preferred to y).
        r: (m,) rewards in logits.

    Returns:
        (m,) the step, to be added to r.

    Raises:
        numpy.linalg.LinAlgError: float64 holds no curvature between two groups of alternatives.

    Source: textbook; the scaling by the diagonal is ours.

    Example:
        >>> equal = np.array([[0.0, 0.5], [0.5, 0.0]])
        >>> newton_step(equal, np.array([[0.5, 0.75], [0.25, 0.5]]), np.zeros(2)).round(12).tolist()
        [0.5, -0.5]
    """
    d = r[:, None] - r
    gradient = (weights * (p * expit(-d) - p.T * expit(d))).sum(1)
    edges = weights * expit(d) * expit(-d)
    scale = 1 / np.sqrt(edges.sum(1))
    # The scaled Laplacian is singular along `kernel`; adding kernel kernel' makes it regular.
    kernel = 1 / scale / np.linalg.norm(1 / scale)
    laplacian = np.eye(len(r)) - edges * np.outer(scale, scale) + np.outer(kernel, kernel)
    return scale * np.linalg.solve(laplacian, scale * gradient)


def _pair_weights(comparison: ArrayLike, size: int) -> Array:
    """The weights of pairs, (m, m) with diagonal 0 and sum 1, checked to connect all alternatives."""
    w = reals("comparison", comparison, "(..., m)", _WEIGHTS)
    w = np.outer(w, w) if w.ndim == 1 else w.copy()
    if (
        w.shape != (size, size)
        or not (np.isfinite(w) & (w >= 0)).all()
        or not np.allclose(w, w.T, rtol=1e-12, atol=0)
    ):
        raise InputError(
            f"comparison must be ({size},) probabilities of alternatives or ({size}, {size}) symmetric "
            "weights of pairs, finite and not negative"
        )
    np.fill_diagonal(w, 0)  # it cancels in the Laplacian, where its rounding would hide weights of 1e-22
    reached = np.eye(size)[0] > 0
    for _ in range(size):
        before, reached = reached, reached | ((w > 0) @ reached)
        if (before == reached).all():
            break
    if not reached.all():
        raise InputError(
            f"comparison leaves alternative {int(np.argmin(reached))} unconnected to alternative 0: no "
            "reward is identified; give every alternative a positive comparison weight"
        )
    return w / (w.sum() or 1.0)
