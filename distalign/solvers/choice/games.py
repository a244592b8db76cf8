r"""Equilibria of the preference game: the maximal lottery, and Nash learning from human feedback in its two
forms.

Two players name policies, and the payoff of the first is the margin p1' M p2 with M = 2P - 1. M is
antisymmetric, so the game has value 0 and a symmetric equilibrium. Three games are solved:

    pi in argmax over pi1, min over pi2 of  pi1' M pi2  over all policies: the maximal lottery;            (1)
    the same over the ball  B = {pi : KL(pi || pi_ref) <= tau}: KL-constrained NLHF;                       (2)
    max over p, min over q of  p' M q - lambda KL(p || pi_ref) + lambda KL(q || pi_ref): regularised
    NLHF, whose equilibrium is the only solution of  p = softmax(log pi_ref + M p / lambda).               (3)

(1) is solved by `distalign.solvers.choice.skew_games`. (2) and (3) are two views of one path,
`distalign.solvers.choice.regularised_games`: the equilibrium of (3) solves (2) for the budget
tau = KL(p || pi_ref), and as lambda falls to 0 that budget grows to the KL of a maximal lottery.

The certificate of each is what the best opponent gains on the policy that is returned. It needs no
equilibrium and no trust in the method: for (2) it is a linear maximisation over the ball.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from distalign.checks import InputError, moderate, one_of, positive, reals
from distalign.solvers.choice.best_replies import own_best_reply
from distalign.solvers.choice.certified import (
    CertifiedPolicy,
    checked_budget,
    checked_game,
    checked_log_policy,
    checked_log_reference,
    checked_win,
    divergence,
    in_ball,
    normalised,
)
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.solvers.choice.regularised_games import at_strength, spend_budget
from distalign.solvers.choice.skew_games import pull, some_lottery
from distalign.types import Array

_MANY = 150  # alternatives from which the best reply is iterated before Newton's method is tried
_LARGE, _ROWS, _STRONG = 500, 64, 16  # alternatives, rows that are sampled, and alternatives they suggest
TIES = ("any", "uniform", "adversarial")


def maximal_lottery(
    win: ArrayLike, ties: str = "any", avg_utility: ArrayLike | None = None
) -> CertifiedPolicy:
    r"""A maximal lottery: one that no alternative beats,  pi in argmax min_{pi2} pi' M pi2,  M = 2P - 1.

    It need not be unique, and its distortion then depends on which one is taken. The rule for ties is
    `any`, the lottery that a double oracle finds from the Borda winner (the winner alone, if it is unbeaten),
    with an interior-point method for the games it meets, the whole one included if many alternatives matter;
    `uniform`, the lottery nearest to the uniform one in KL, up to the certificate; or
    `adversarial`, the lottery of least average utility, by a linear program.

    Any entries of P define the game P - P', and a lottery is maximal by its certificate alone, which reads
    the rows and columns of its support. So for `any` among more than 500 alternatives nothing reads all of P:
    the double oracle starts from the Borda scores on some of the rows, and what it reads is checked.

    Args:
        win: (m, m) P(x preferred to y).
        ties: the rule above.
        avg_utility: (m,) average utilities, for `adversarial` only.

    Returns:
        The lottery; the certificate is max_y (M pi)_y, the best margin an opponent can get, which is 0 at a
        solution.

    Raises:
        InputError: not a win matrix (of more than 500 alternatives, as far as it is read), an unknown tie
            rule, or `adversarial` without utilities.

    Source: Fishburn 1984; Gölz et al., arXiv 2505.23749, Section 2 and Corollary 4.

    Example:
        >>> rock_paper_scissors = [[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]]
        >>> maximal_lottery(rock_paper_scissors).policy.round(9).tolist()
        [0.333333333, 0.333333333, 0.333333333]
    """
    one_of("ties", ties, TIES)
    found = _lottery_of_large_game(win) if ties == "any" else None
    if found is not None:
        return found
    p, scale = checked_game(win)
    size = len(p)
    if ties == "uniform":
        return kl_nlhf(win, np.full(size, -np.log(size)), np.inf)
    if ties == "any":
        lottery = some_lottery(p, scale or 1.0)
    elif avg_utility is None:
        raise InputError(
            "avg_utility is missing: the adversarial tie rule minimises it over the maximal lotteries"
        )
    else:
        utility = reals("avg_utility", avg_utility, "(m,)", "give one average utility for each alternative")
        if utility.shape != (size,):
            raise InputError(
                f"avg_utility must hold {size} numbers, one for each alternative, got {utility.shape}"
            )
        moderate("avg_utility", utility, "utilities lie in [0, 1]")
        lottery = _lp(utility, (p - p.T) / (scale or 1.0))
    return CertifiedPolicy(_log(lottery), float(pull(p, lottery).max()), 1e-9 * scale)


def _lottery_of_large_game(win: ArrayLike) -> CertifiedPolicy | None:
    """A maximal lottery of more than 500 alternatives, of whose matrix only a part is read; None if that part
    is not one of a win matrix, or shows small margins only.
    """
    if not (type(win) is np.ndarray and win.dtype == np.float64 and win.ndim == 2):
        return None
    size = len(win)
    if win.shape != (size, size) or size <= _LARGE:
        return None
    rows = win[:: size // _ROWS]
    low, high = float(rows.min()), float(rows.max())
    scale = max(2 * high - 1, 1 - 2 * low)
    if not (low >= 0 and high <= 1 and scale >= 0.01):
        return None
    lost = rows.mean(0)
    strong = np.argpartition(lost, _STRONG)[:_STRONG]
    with np.errstate(all="ignore"):  # of entries that are no probabilities
        lottery = some_lottery(win, scale, strong[np.argsort(lost[strong])])
    on = np.flatnonzero(lottery)
    columns, mirrored = win[:, on], win[on].T
    if not (columns.min() >= 0 and mirrored.min() >= 0 and np.abs(columns + mirrored - 1).max() <= 1e-9):
        return None
    gain = float(((columns - mirrored) @ lottery[on]).max())
    return CertifiedPolicy(_log(lottery), gain, 1e-9 * scale)


def kl_nlhf(win: ArrayLike, log_reference: ArrayLike, kl_budget: float) -> CertifiedPolicy:
    r"""KL-constrained Nash learning from human feedback: argmax_{pi1 in B} min_{pi2 in B} pi1' M pi2.

    M = 2P - 1, and both players choose from the ball B = {pi : KL(pi || pi_ref) <= tau}. Each solution is a
    symmetric equilibrium of the game regularised by lambda KL for some lambda >= 0, that is  z = M p /
    lambda, p = softmax(log pi_ref + z).  KL(p || pi_ref) does not increase with lambda. So lambda is lowered
    from where KL <= tau is certain, by Newton's method in one stretch or, where that fails, in several, until
    the budget is spent or nothing is left to gain. Among more than 150 alternatives the policy that is its
    own best reply in the ball is sought first (`distalign.solvers.choice.best_replies`), and is taken if its
    certificate is good. Of several equilibria inside the ball the one nearest to pi_ref is approached;
    infinite tau gives a maximal lottery.

    Args:
        win: (m, m) P(x preferred to y).
        log_reference: (m,) log pi_ref, full support; may be as low as -10^8.
        kl_budget: tau in nats, possibly infinite.

    Returns:
        The policy; the certificate is its `exploitability`, computed without reference to the method.

    Source: Gölz et al., arXiv 2505.23749, Section 2 and Proposition 13; monotonicity and the method are ours.

    Example:
        >>> policy = kl_nlhf([[0.5, 0.75], [0.25, 0.5]], np.log([0.5, 0.5]), 0.1)
        >>> policy.policy.round(6).tolist(), policy.certified
        ([0.719795, 0.280205], True)
    """
    p, scale = checked_game(win)
    q, budget = checked_log_reference(log_reference, len(p)), checked_budget(kl_budget)
    if scale == 0 or budget == 0:
        return CertifiedPolicy(q, 0.0, 0.0)

    if len(p) > _MANY and scale > 1e-4 and 1e-6 < budget < np.inf:
        log_policy = own_best_reply(p, q, budget)
        if log_policy is not None:
            policy = np.exp(log_policy)
            gain = _exploitability(p @ policy - policy @ p, log_policy, q, budget)
            if gain <= 1e-9 * scale:
                return CertifiedPolicy(log_policy, gain, 1e-9 * scale)
    margins = (p - p.T) / scale

    def certified(log_policy: Array) -> CertifiedPolicy:
        gain = _exploitability(margins @ np.exp(log_policy), log_policy, q, budget)
        return CertifiedPolicy(log_policy, scale * gain, 1e-9 * scale)

    found = certified(spend_budget(margins, q, budget))
    if found.certified:
        return found
    return min(found, certified(_log(some_lottery(margins))), key=lambda p: p.certificate)


def exploitability(
    win: ArrayLike, log_policy: ArrayLike, log_reference: ArrayLike, kl_budget: float
) -> float:
    r"""What the best opponent in the ball gains on a policy:  max_{q in B} q' M p, bounded from above.

    The bound adds the duality gap of the maximisation.

    At most 0 only at an equilibrium of the ball. For a Bradley-Terry population of temperature b an
    exploitability e gives AvgUtil(p) >= AvgUtil(q) / C(b) - 2 e / b  for every q in the ball.

    Args:
        win: (m, m) win matrix.
        log_policy: (m,) log p.
        log_reference: (m,) log pi_ref.
        kl_budget: tau in nats.

    Returns:
        The gain in units of M = 2P - 1; infinity if the policy itself is not in the ball.

    Source: the certificate inside the proof of Theorem 7, Gölz et al., arXiv 2505.23749; the constant is
        ours.

    Example:
        >>> q = np.log([0.5, 0.5])
        >>> round(exploitability([[0.5, 0.75], [0.25, 0.5]], q, q, np.inf), 12)
        0.25
    """
    p = checked_win(win)
    policy = checked_log_policy("log_policy", log_policy, len(p))
    checked_log_reference(log_reference, len(p))
    gains = (p - p.T) @ np.exp(policy)
    return _exploitability(gains, policy, np.asarray(log_reference, float), checked_budget(kl_budget))


def regularised_nlhf(win: ArrayLike, log_reference: ArrayLike, strength: float) -> CertifiedPolicy:
    r"""Regularised NLHF: the equilibrium of the game (3), whose players pay lambda KL to pi_ref.

    With M = 2P - 1 the game is  max_p min_q  p' M q - lambda KL(p || pi_ref) + lambda KL(q || pi_ref).  It
    has one equilibrium, which is symmetric and the fixed point of the best reply,  p -> pi_p = softmax(log
    pi_ref + M p / lambda).  Its KL to pi_ref does not increase with lambda; with that KL as the budget,
    `kl_nlhf` has the same solution.

    Args:
        win: (m, m) P(x preferred to y).
        log_reference: (m,) log pi_ref, full support; may be as low as -10^8.
        strength: lambda, above 0, in units of M: for payoffs P and weight tau, as in Nash-MD, it is 2 tau.

    Returns:
        The policy; the certificate is what the best reply gains in the regularised game,  lambda KL(p ||
        pi_p),  half the duality gap of (p, p).

    Raises:
        InputError: not a win matrix, reference not normalised, or a strength that is not positive and finite.

    Source: Gölz et al., arXiv 2505.23749, Proposition 13 and Corollary 8; the certificate is ours.

    Example:
        >>> policy = regularised_nlhf([[0.5, 0.75], [0.25, 0.5]], np.log([0.5, 0.5]), 1.0)
        >>> policy.certified, float(round(policy.log_policy[0] - policy.log_policy[1], 9))
        (True, 0.5)
    """
    margins, scale = _margins(win)
    q = checked_log_reference(log_reference, len(margins))
    positive("strength", strength, "`maximal_lottery` solves the game without regularisation")
    moderate("strength", strength, "`maximal_lottery` solves the game without regularisation")
    if scale == 0:
        return CertifiedPolicy(q, 0.0, 0.0)
    log_policy = at_strength(margins, q, strength / scale)
    return CertifiedPolicy(log_policy, regularised_gain(win, log_policy, q, strength), 1e-9 * scale)


def regularised_gain(
    win: ArrayLike, log_policy: ArrayLike, log_reference: ArrayLike, strength: float
) -> float:
    r"""What the best reply gains on a policy in the regularised game.

    It is  lambda KL(p || softmax(log pi_ref + M p / lambda)).

    Args:
        win: (m, m) win matrix.
        log_policy: (m,) log p.
        log_reference: (m,) log pi_ref.
        strength: lambda, in units of M = 2P - 1.

    Source: ours; for p' M p = 0 it is  max_q q' M p - lambda KL(q || pi_ref)  plus  lambda KL(p || pi_ref).

    Example:
        >>> q = np.log([0.5, 0.5])
        >>> regularised_gain([[0.5, 0.5], [0.5, 0.5]], q, q, 1.0)
        0.0
    """
    positive("strength", strength, "it is the price of a nat in units of M = 2P - 1")
    moderate("strength", strength, "it is the price of a nat in units of M = 2P - 1")
    p = checked_win(win)
    policy = checked_log_policy("log_policy", log_policy, len(p))
    checked_log_reference(log_reference, len(p))
    reply = normalised(np.asarray(log_reference, float) + (p - p.T) @ np.exp(policy) / strength)
    return strength * divergence(policy, reply)


def _exploitability(gains: Array, log_policy: Array, q: Array, budget: float) -> float:
    """`exploitability` of a policy against which the alternatives win these gains M p; infinite outside the
    ball.
    """
    if not in_ball(log_policy, q, budget):
        return np.inf
    response = kl_linear_maximisation(gains, q, budget)
    return float(gains @ response.policy + response.certificate)


def _log(lottery: Array) -> Array:
    """Log-probabilities, minus infinity where the lottery is 0."""
    with np.errstate(divide="ignore"):
        return np.log(lottery)


def _lp(cost: Array, margins: Array) -> Array:
    """The lottery of least cost with M pi <= 0, up to the least violation that rounding requires."""
    size = len(cost)
    for slack in (0.0, 1e-11, 1e-9):
        solution = linprog(
            cost,
            A_ub=margins,
            b_ub=np.full(size, slack),
            A_eq=np.ones((1, size)),
            b_eq=[1.0],
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        if solution.status == 0:
            lottery = np.maximum(solution.x, 0)
            return lottery / lottery.sum()
    return np.full(size, 1 / size)


def _margins(win: ArrayLike) -> tuple[Array, float]:
    """M = P - P' divided by its largest entry, and that entry (worst cases have margins of 1e-6)."""
    p, scale = checked_game(win)
    margins = p - p.T
    margins /= scale or 1.0
    return margins, scale
