"""Users fitted to real votes: common utilities, individual deviations, and how well they predict votes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import expit, log_expit

from distalign.checks import InputError
from distalign.pluralism.sources.votes import Codes, Votes
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.types import Array

COMMON_PENALTIES = (0.1, 0.3, 1.0, 3.0)
OWN_PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
WEAKEST, STRONGEST = 1e-3, 1e3  # how far a grid is widened whose best penalty is its first or last
NEWTON_STEPS, CG_STEPS = 100, 500


@dataclass(frozen=True, eq=False)
class FittedUsers:
    """Users fitted to votes.

    Attributes:
        users: one type a voter, all of equal weight.
        common: (m,) the utilities all voters share, in logits, of mean 0.
        common_penalty, own_penalty: the penalties rho and kappa, chosen on held-out votes.
        held_out: mean log-likelihood of a held-out vote in nats, under individual users.
        held_out_single: the same under one utility that all users share.
        certificate: bound on the Euclidean distance of all parameters to the optimum, in logits.
    """

    users: BradleyTerryUsers
    common: Array
    common_penalty: float
    own_penalty: float
    held_out: float
    held_out_single: float
    certificate: float


def fit_users(votes: Votes, folds: int = 5, seed: int = 0) -> FittedUsers:
    r"""Individual Bradley-Terry users by penalised likelihood.

    User k has utilities u_k = r + d_k in logits and prefers x to y with probability sigma(u_k(x) - u_k(y)).
    The fit minimises

        -sum_votes w [v log sigma(t) + (1 - v) log sigma(-t)] + rho/2 |r|^2 + kappa/2 sum_k |d_k|^2,
        t = u_k(x) - u_k(y),

    where v is 1, 0, or 1/2 for "equal", and w is how many votes a row stands for. rho is the one of
    `COMMON_PENALTIES` with which a single utility for all users (d = 0) predicts held-out votes best. kappa
    is then the one of `OWN_PENALTIES` with which individual users do. A grid whose best
    penalty is its first or last one is widened, up to `WEAKEST` and `STRONGEST`. There are `folds` folds, and
    votes are dealt to them at random; votes of one user on one pair go to one fold, for they tell of each
    other. The objective is strongly convex, so |gradient| / min(rho,
    kappa) bounds the distance to its minimum.

    Scale. d_k(x) is 0 where user k never saw x, so only pairs that occur are parameters. Each fit is Newton's
    method with preconditioned conjugate gradients, started at the solution for the next stronger penalty.
    Time and memory are linear in the number of votes.

    Units. Comparisons do not identify the zero of a user's utility. So each user's lowest utility is put at
    0, a convention on which the utilities averaged over users depend. All utilities are then divided by one
    number, the largest range of any user, which becomes `bt_temperature`. So utilities lie in [0, 1], and no
    user is normalised separately. Users with few votes are drawn towards r, so the fitted population is less
    diverse than the voters.

    Args:
        votes: at least `folds` votes.
        folds: number of folds of the cross-validation, at least 2.
        seed: of the dealing of votes to folds.

    Raises:
        InputError: there are too few votes, or the votes express no preference at all.

    Source: ours.

    Example:
        >>> from distalign.pluralism.sources.votes import Votes
        >>> rng = np.random.default_rng(0)
        >>> first, second = rng.permuted(np.tile([0, 1, 2], (300, 1)), axis=1)[:, :2].T
        >>> user, score = rng.integers(9, size=300), (first < second) * 1.0
        >>> votes = Votes(user, first, second, score, tuple("abcdefghi"), tuple("xyz"))
        >>> fitted = fit_users(votes)
        >>> fitted.common.argsort().tolist(), fitted.users.utilities.shape
        ([2, 1, 0], (9, 3))
    """
    if folds < 2 or len(votes.score) < folds:
        raise InputError(
            f"folds must be at least 2 and at most the number of votes, {len(votes.score)}, got {folds}"
        )
    fold = np.random.default_rng(seed).permutation(len(votes.score)) % folds
    fold = fold[_first_of_repeats(votes)]
    size, people = len(votes.items), len(votes.users)
    shared, full, seen = _design(votes)
    weight = np.ones(len(votes.score)) if votes.weight is None else votes.weight
    rho, single = _best(
        _problem(shared, votes.score, weight), fold, COMMON_PENALTIES, lambda p: np.full(size, p)
    )
    kappa, individual = _best(
        _problem(full, votes.score, weight),
        fold,
        OWN_PENALTIES,
        lambda p: np.repeat([rho, p], [size, len(seen)]),
    )
    penalty = np.repeat([rho, kappa], [size, len(seen)])
    x, certificate = _fit(_problem(full, votes.score, weight), penalty, np.zeros(len(penalty)), 1e-6)
    common, own = x[:size], np.zeros(people * size)
    own[seen] = x[size:]
    own = own.reshape(people, size)
    utilities = common + own
    utilities = utilities - utilities.min(1, keepdims=True)
    largest = float(utilities.max())
    if largest < 1e-3:
        raise InputError(
            "votes carry no preference: every fitted utility is the same; are all of them 'equal'?"
        )
    users = BradleyTerryUsers(utilities / largest, np.full(people, 1 / people), largest)
    return FittedUsers(users, common - common.mean(), rho, kappa, individual, single, certificate)


def _first_of_repeats(votes: Votes) -> Codes:
    """(n,) for each vote the first vote of the same user on the same pair."""
    size = len(votes.items)
    pair = np.minimum(votes.first, votes.second) * size + np.maximum(votes.first, votes.second)
    _, first, group = np.unique(votes.user * size**2 + pair, return_index=True, return_inverse=True)
    return first[group]


def _design(votes: Votes) -> tuple[csr_array, csr_array, Codes]:
    """The sparse matrices that map parameters to t, and which deviations are parameters.

    Returns:
        (n, m) for r alone; (n, m + p) for r and the p deviations d_k(x) of users k that saw x; (p,) the
        places k m + x of those.
    """
    n, size = len(votes.score), len(votes.items)
    place = np.concatenate([votes.user * size + votes.first, votes.user * size + votes.second])
    seen, column = np.unique(place, return_inverse=True)
    first, second = size + column[:n], size + column[n:]
    sign = np.tile([1.0, -1.0], n)
    shared = csr_array(
        (sign, np.stack([votes.first, votes.second], 1).ravel(), np.arange(0, 2 * n + 1, 2)), shape=(n, size)
    )
    columns = np.stack([votes.first, votes.second, first, second], 1).ravel()
    full = csr_array((np.tile(sign, 2), columns, np.arange(0, 4 * n + 1, 4)), shape=(n, size + len(seen)))
    return shared, full, seen


@dataclass(frozen=True, eq=False)
class _Problem:
    """Votes with weights, of which `_fit` finds the penalised likelihood's maximum.

    Attributes:
        design: (n, p) maps parameters to t.
        transposed, squares: (p, n) its transpose, and the squares of that one's entries.
        score: (n,) votes in [0, 1].
        weight: (n,) 0 leaves a vote out.
    """

    design: csr_array
    transposed: csr_array
    squares: csr_array
    score: Array
    weight: Array

    def loss(self, t: Array) -> float:
        """Minus the log-likelihood."""
        terms = self.score * log_expit(t) + (1 - self.score) * log_expit(-t)
        return -float(self.weight @ terms)


def _problem(design: csr_array, score: Array, weight: Array) -> _Problem:
    """All votes with their weights."""
    back = csr_array(design.T)
    squares = csr_array((np.ones(back.nnz), back.indices, back.indptr), shape=back.shape)
    return _Problem(design, back, squares, score, weight)


def _best(
    whole: _Problem,
    fold: Codes,
    grid: tuple[float, ...],
    penalty_of: Callable[[float], Array],
) -> tuple[float, float]:
    """The penalty that predicts held-out votes best, and the mean log-likelihood of a held-out vote there."""
    design, score, weight = whole.design, whole.score, whole.weight
    problems = [replace(whole, weight=np.where(fold != k, weight, 0.0)) for k in range(fold.max() + 1)]
    at = [np.zeros(design.shape[1]) for _ in problems]  # pyright: ignore[reportOptionalSubscript]
    found: dict[float, float] = {}

    def judge(value: float) -> None:
        total = 0.0
        for k, problem in enumerate(problems):
            at[k], _ = _fit(problem, penalty_of(value), at[k], 1e-3)
            t = design @ at[k]
            total += float(
                np.where(fold == k, weight, 0.0) @ (score * log_expit(t) + (1 - score) * log_expit(-t))
            )
        found[value] = total / float(weight.sum())

    for value in sorted(grid, reverse=True):
        judge(value)
    while True:
        best = max(found, key=lambda p: found[p])
        further = {min(found): best / 3, max(found): best * 3}.get(best)
        if further is None or not WEAKEST <= further <= STRONGEST:
            return best, found[best]
        judge(further)


def _fit(problem: _Problem, penalty: Array, start: Array, tolerance: float) -> tuple[Array, float]:
    """The parameters of highest penalised likelihood, and |gradient| / min(penalty).

    Newton's method with steps halved until the objective falls, its equations solved by conjugate gradients
    with the diagonal as preconditioner; it ends where the bound on the distance to the optimum is below
    `tolerance`, or where rounding allows no further progress.
    """
    x, t = start, problem.design @ start
    value, least = problem.loss(t) + float(penalty @ x**2) / 2, penalty.min()
    bound = np.inf
    for _ in range(NEWTON_STEPS):
        p = expit(t)
        gradient = problem.transposed @ (problem.weight * (p - problem.score)) + penalty * x
        bound = float(np.linalg.norm(gradient) / least)
        if bound <= tolerance:
            break
        step = _newton_step(problem, problem.weight * p * (1 - p), penalty, gradient)
        along, slope, length = problem.design @ step, float(gradient @ step), 1.0
        while length > 1e-8:
            moved, t_moved = x + length * step, t + length * along
            new = problem.loss(t_moved) + float(penalty @ moved**2) / 2
            if new <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break
        x, t, value = moved, t_moved, new
    return x, bound


def _newton_step(problem: _Problem, curvature: Array, penalty: Array, gradient: Array) -> Array:
    shape = (len(penalty), len(penalty))
    diagonal = problem.squares @ curvature + penalty
    hessian = LinearOperator(  # pyright: ignore[reportCallIssue]
        shape,
        matvec=lambda v: problem.transposed @ (curvature * (problem.design @ v)) + penalty * v,  # pyright: ignore[reportCallIssue]
        dtype=np.float64,  # pyright: ignore[reportCallIssue]
    )
    scaled = LinearOperator(shape, matvec=lambda v: v / diagonal, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    accuracy = min(0.1, float(np.sqrt(np.linalg.norm(gradient))))
    return cg(hessian, -gradient, rtol=accuracy, maxiter=CG_STEPS, M=scaled)[0]
