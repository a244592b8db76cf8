"""Users fitted to real votes: common utilities, individual deviations, and how well they predict votes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from distalign.checks import InputError
from distalign.pluralism.sources.votes import Codes, Votes
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.progress import progress_bar
from distalign.types import Array

COMMON_PENALTIES = (0.1, 0.3, 1.0, 3.0)
OWN_PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
WEAKEST, STRONGEST = 1e-3, 1e3  # how far a grid is widened whose best penalty is its first or last
NEWTON_STEPS, CG_STEPS = 100, 500
ROUNDING = 1e-13  # share of the objective that is lost where its terms are summed
LARGEST_DEALT = 1_000_000  # votes on which penalties are chosen; of more, those of users drawn at random
CELLS, BLOCK = 2**22, 2**17  # pairs of user and item, and votes, that are treated at once


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
        dealt: number of rows of votes that the cross-validation saw.
    """

    users: BradleyTerryUsers
    common: Array
    common_penalty: float
    own_penalty: float
    held_out: float
    held_out_single: float
    certificate: float
    dealt: int


@dataclass(frozen=True)
class Penalties:
    """What the cross-validation of `fit_users` finds; the attributes are those of `FittedUsers`."""

    common_penalty: float
    own_penalty: float
    held_out: float
    held_out_single: float
    dealt: int


def choose_penalties(votes: Votes, folds: int = 5, seed: int = 0) -> Penalties:
    """The penalties that predict held-out votes best: the cross-validation of `fit_users`.

    Args:
        votes: at least `folds` votes.
        folds: number of folds, at least 2.
        seed: of the dealing of votes to folds.

    Raises:
        InputError: there are too few votes.

    Source: ours.
    """
    given = len(votes.score) if votes.weight is None else max(len(votes.score), int(votes.weight.sum()))
    if folds < 2 or given < folds:
        raise InputError(f"folds must be at least 2 and at most the number of votes, {given}, got {folds}")
    rng = np.random.default_rng(seed)
    dealt = _some_users(_by_user(votes), rng)
    fold = rng.permutation(len(dealt.score)) % folds
    fold = fold[_first_of_repeats(dealt)]
    rho, single = _best(_problem(dealt, own=False), fold, COMMON_PENALTIES, lambda p: (p, p))
    kappa, individual = _best(_problem(dealt, own=True), fold, OWN_PENALTIES, lambda p: (rho, p))
    return Penalties(rho, kappa, individual, single, len(dealt.score))


def fit_users(votes: Votes, folds: int = 5, seed: int = 0, penalties: Penalties | None = None) -> FittedUsers:
    r"""Individual Bradley-Terry users by penalised likelihood.

    User k has utilities u_k = r + d_k in logits and prefers x to y with probability sigma(u_k(x) - u_k(y)).
    The fit minimises

        -sum_votes w [v log sigma(t) + (1 - v) log sigma(-t)] + rho/2 |r|^2 + kappa/2 sum_k |d_k|^2,
        t = u_k(x) - u_k(y),

    where v is 1, 0, or 1/2 for "equal", and w is how many votes a row stands for. rho is the one of
    `COMMON_PENALTIES` with which a single utility for all users (d = 0) predicts held-out votes best. kappa
    is then the one of `OWN_PENALTIES` with which individual users do. A grid whose best
    penalty is its first or last one is widened, up to `WEAKEST` and `STRONGEST`. There are `folds` folds, and
    rows are dealt to them at random, each with its weight; votes of one user on one pair go to one fold, for
    they tell of each other. Where there are more than `LARGEST_DEALT` rows, penalties are chosen on the
    votes of users drawn at random who gave about as many: a penalty on deviations is one of single users, and
    needs no more of them. The objective is strongly convex, so |gradient| / min(rho, kappa) bounds the
    distance to its minimum.

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
        penalties: what `choose_penalties` found for the same votes, folds and seed; None finds them.

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
    votes = _by_user(votes)
    found = penalties or choose_penalties(votes, folds, seed)
    problem = _problem(votes, own=True)
    penalty, start = (found.common_penalty, found.own_penalty), np.zeros(problem.design.parameters)
    x, certificate = _fit(problem, penalty, start, 1e-6)
    del start
    size, people, seen = len(votes.items), len(votes.users), problem.design.seen
    del problem
    common, utilities = x[:size].copy(), np.zeros(people * size)
    utilities[seen] = x[size:]
    del x, seen
    utilities = utilities.reshape(people, size)
    utilities += common
    utilities -= utilities.min(1, keepdims=True)
    largest = float(utilities.max())
    if largest < 1e-3:
        raise InputError(
            "votes carry no preference: every fitted utility is the same; are all of them 'equal'?"
        )
    utilities /= largest
    users = BradleyTerryUsers(utilities, np.full(people, 1 / people), largest)
    return FittedUsers(users, common - common.mean(), certificate=certificate, **asdict(found))


def _by_user(votes: Votes) -> Votes:
    """The votes in the order of their users; those of one user keep theirs."""
    if not (votes.user[1:] < votes.user[:-1]).any():
        return votes
    return _rows(votes, np.argsort(votes.user, kind="stable"))


def _rows(votes: Votes, rows: Codes) -> Votes:
    return replace(
        votes,
        user=votes.user[rows],
        first=votes.first[rows],
        second=votes.second[rows],
        score=votes.score[rows],
        weight=None if votes.weight is None else votes.weight[rows],
    )


def _some_users(votes: Votes, rng: np.random.Generator) -> Votes:
    """All votes, or those of users drawn at random who gave about `LARGEST_DEALT` of them."""
    if len(votes.score) <= LARGEST_DEALT:
        return votes
    order = rng.permutation(len(votes.users))
    given = np.cumsum(np.bincount(votes.user, minlength=len(votes.users))[order])
    chosen = np.sort(order[: max(1, int(np.searchsorted(given, LARGEST_DEALT, side="right")))])
    new = np.full(len(votes.users), -1, np.int32)
    new[chosen] = np.arange(len(chosen))
    some = _rows(votes, np.flatnonzero(new[votes.user] >= 0))
    return replace(some, user=new[some.user], users=tuple(votes.users[i] for i in chosen))


def _first_of_repeats(votes: Votes) -> Codes:
    """(n,) for each vote the first vote of the same user on the same pair."""
    size = len(votes.items)
    key = votes.user.astype(np.int64) * size + np.minimum(votes.first, votes.second)
    key = key * size + np.maximum(votes.first, votes.second)
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    return first[group]


@dataclass(frozen=True, eq=False)
class _Design:
    """The linear map from parameters to the differences t of the votes, as places and not as a matrix.

    Parameters are the m common utilities r, and after them the deviations d_k(x) of those pairs (k, x) of a
    user and an item that occur.

    Attributes:
        first, second: (n,) the items of each vote.
        own_first, own_second: (n,) the places of d_k(first) and d_k(second) among the deviations; None where
            there are no deviations.
        seen: places k m + x of the deviations, in increasing order.
        linked: (m,) for each item the number of its set: items of two sets are linked by no chain of votes.
    """

    first: Codes
    second: Codes
    own_first: Codes | None
    own_second: Codes | None
    seen: Codes
    linked: Codes

    @property
    def size(self) -> int:
        """The number m of items."""
        return len(self.linked)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return self.size + len(self.seen)

    def differences(self, x: NDArray[Any]) -> NDArray[Any]:
        """(n,) t = u_k(first) - u_k(second)."""
        t = x[self.first]
        t -= x[self.second]
        if self.own_first is not None:
            own = x[self.size :]
            t += own[self.own_first]
            t -= own[self.own_second]
        return t

    def centre(self, x: NDArray[Any]) -> None:
        """Give the common utilities of each linked set the mean 0, in their place.

        No vote depends on these means, so at the optimum they are 0, and for the diagonal preconditioner they
        are the hardest directions: their curvature is rho, and on the diagonal stands a sum over all votes.
        """
        means = np.bincount(self.linked, x[: self.size]) / np.bincount(self.linked)
        x[: self.size] -= means[self.linked]

    def summed(self, v: NDArray[Any], sign: float = -1.0) -> NDArray[Any]:
        """(p,) the sum over votes of v at the first option and `sign` times v at the second.

        With sign -1 it is the transpose of `differences`; with sign 1 and weights v the diagonal of
        X' diag(v) X.
        """
        out = np.zeros(self.parameters, v.dtype)
        common, own = out[: self.size], out[self.size :]
        for start in range(0, len(v), BLOCK):  # votes lie in the order of their users, and so do places
            rows = slice(start, start + BLOCK)
            part = v[rows].astype(float, copy=False)
            common += sign * np.bincount(self.second[rows], part, self.size)
            common += np.bincount(self.first[rows], part, self.size)
            if self.own_first is None or self.own_second is None:
                continue
            first, second = self.own_first[rows], self.own_second[rows]
            low, high = min(first.min(), second.min()), max(first.max(), second.max()) + 1
            sums = np.bincount(second - low, part, high - low)
            sums *= sign
            sums += np.bincount(first - low, part, high - low)
            own[low:high] += sums
        return out


def _design(votes: Votes, own: bool) -> _Design:
    """The map for votes sorted by user; a block of users at a time, so that memory stays linear in votes."""
    size, user = len(votes.items), votes.user
    first, second = votes.first.astype(np.int32, copy=False), votes.second.astype(np.int32, copy=False)
    pairs = coo_array((np.ones(len(first), bool), (first, second)), (size, size))
    linked = connected_components(pairs, directed=False)[1]
    if not own:
        return _Design(first, second, None, None, np.zeros(0, np.int64), linked)
    own_first, own_second = np.empty(len(user), np.int32), np.empty(len(user), np.int32)
    block, found, below = min(max(1, CELLS // size), len(votes.users)), [], 0
    kind = np.min_scalar_type(len(votes.users) * size)
    for start in range(0, len(votes.users), block):
        rows = slice(*np.searchsorted(user, [start, start + block]))
        base = (user[rows].astype(np.int64) - start) * size
        occurs = np.zeros(block * size, bool)
        occurs[base + first[rows]] = True
        occurs[base + second[rows]] = True
        place = np.cumsum(occurs, dtype=np.int32) + (below - 1)
        own_first[rows], own_second[rows] = place[base + first[rows]], place[base + second[rows]]
        seen = np.flatnonzero(occurs)
        found.append((seen + start * size).astype(kind))
        below += len(seen)
    return _Design(first, second, own_first, own_second, np.concatenate(found), linked)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Votes with weights, of which `_fit` finds the penalised likelihood's maximum.

    Attributes:
        design: maps parameters to t.
        score: (n,) votes in [0, 1].
        weight: (n,) 0 leaves a vote out; None means one each.
    """

    design: _Design
    score: Array
    weight: Array | None

    def loss(self, t: Array) -> tuple[float, Array]:
        """Minus the log-likelihood, and its derivatives sigma(t) - v, not yet weighted; a block at a time."""
        total, slope = 0.0, np.empty_like(t)
        for start in range(0, len(t), BLOCK):
            rows = slice(start, start + BLOCK)
            part, score = t[rows], self.score[rows]
            small = np.exp(-np.abs(part))
            terms = np.log1p(small) + np.maximum(part, 0) - score * part  # log(1 + e^t) - v t
            total += float(terms.sum() if self.weight is None else self.weight[rows] @ terms)
            slope[rows] = np.where(part >= 0, 1.0, small) / (1 + small) - score
        return total, slope

    def weighted(self, v: Array) -> Array:
        """The same numbers times the weights, in their place."""
        if self.weight is not None:
            v *= self.weight
        return v


def _problem(votes: Votes, own: bool) -> _Problem:
    """Votes, sorted by user, with their weights."""
    return _Problem(_design(votes, own), votes.score, votes.weight)


def _best(
    whole: _Problem,
    fold: Codes,
    grid: tuple[float, ...],
    penalty_of: Callable[[float], tuple[float, float]],
) -> tuple[float, float]:
    """The penalty that predicts held-out votes best, and the mean log-likelihood of a held-out vote there."""
    design = whole.design
    own = design.own_first is not None
    weight = np.ones(len(whole.score)) if whole.weight is None else whole.weight
    problems = [replace(whole, weight=np.where(fold != k, weight, 0.0)) for k in range(fold.max() + 1)]
    at = [np.zeros(design.parameters) for _ in problems]
    found: dict[float, float] = {}

    def judge(value: float, bar: Any) -> None:
        total = 0.0
        for k, problem in enumerate(problems):
            at[k], _ = _fit(problem, penalty_of(value), at[k], 1e-3)
            held_out = replace(whole, weight=np.where(fold == k, weight, 0.0))
            total -= held_out.loss(design.differences(at[k]))[0]
            bar.update()
        found[value] = total / float(weight.sum())

    what = f"{'users' if own else 'one reward'}, cross-validated on {len(whole.score):,} votes"
    with progress_bar(len(problems) * len(grid), what, "fit", shown=True) as bar:
        for value in sorted(grid, reverse=True):
            judge(value, bar)
        while True:
            best = max(found, key=lambda p: found[p])
            further = {min(found): best / 3, max(found): best * 3}.get(best)
            if further is None or not WEAKEST <= further <= STRONGEST:
                return best, found[best]
            bar.total += len(problems)
            judge(further, bar)


def _fit(
    problem: _Problem, penalty: tuple[float, float], start: Array, tolerance: float
) -> tuple[Array, float]:
    """The parameters of highest penalised likelihood, and |gradient| / min(penalty).

    Newton's method with steps halved until the objective falls, its equations solved by conjugate gradients
    with the diagonal as preconditioner, in the space where the common utilities of linked items have the mean
    0 (see `_Design.centre`); it ends where the bound on the distance to the optimum is below
    `tolerance`, or where rounding allows no further progress. A step whose gain is below the rounding of the
    objective is taken whole, for there the objective cannot judge it and the gradient can.

    Args:
        problem: the votes.
        penalty: rho of the common utilities and kappa of the deviations.
        start: parameters to begin with.
        tolerance: of the bound.
    """
    design, bound = problem.design, np.inf

    def objective(x: Array) -> tuple[float, Array]:
        loss, slope = problem.loss(design.differences(x))
        common, own = x[: design.size], x[design.size :]
        return loss + (penalty[0] * float(common @ common) + penalty[1] * float(own @ own)) / 2, slope

    x, (value, slope), before, small = start, objective(start), np.inf, False
    for _ in range(NEWTON_STEPS):
        curvature = problem.weighted((slope + problem.score) * (1 - slope - problem.score))
        down = design.summed(problem.weighted(slope))
        _add_penalised(down, x, penalty, design.size)
        np.negative(down, out=down)
        bound = float(np.linalg.norm(down)) / min(penalty)
        if bound <= tolerance or (small and bound > before / 2):  # done, or rounding is all that is left
            break
        del slope  # arrays of all votes and of all parameters: no more of them are held than are needed
        down = down.astype(np.float32)  # a step need not be exact: the gradient that judges it is
        step, along = _newton_step(design, curvature, penalty, down)
        del curvature, down
        length, before, small = 1.0, bound, along <= ROUNDING * abs(value)
        while length > 1e-8:
            moved = x + length * step
            design.centre(moved)  # of the step in single precision the means are not quite 0
            new, slope = objective(moved)  # noqa: RUF059 (the next round reads it)
            if new <= value - 1e-4 * length * along + ROUNDING * abs(value):
                x, value = moved, new
                del step, moved
                break
            length /= 2
        else:
            break
    return x, bound


def _newton_step(
    design: _Design, curvature: Array, penalty: tuple[float, float], down: NDArray[np.float32]
) -> tuple[NDArray[np.float32], float]:
    """The step that solves (X' diag(c) X + penalty) step = down, and down'step, by conjugate gradients.

    `down` is minus the gradient in single precision, and is used up as the residual. In conjugate gradients
    started at 0 the product down'step is the sum of the lengths times r'z, so the right side is not kept.
    """
    weight = curvature.astype(down.dtype)
    diagonal = design.summed(weight, 1.0)
    diagonal[: design.size] += penalty[0]
    diagonal[design.size :] += penalty[1]
    design.centre(down)
    residual, size = down, float(np.linalg.norm(down))
    target = size * min(0.01, size**0.5)
    step, towards = np.zeros_like(down), down / diagonal
    design.centre(towards)
    inner, along = float(residual @ towards), 0.0
    for _ in range(CG_STEPS):
        t = design.differences(towards)
        t *= weight
        image = design.summed(t)
        _add_penalised(image, towards, penalty, design.size)
        length = inner / float(towards @ image)
        along += length * inner
        image *= length
        residual -= image
        design.centre(residual)
        np.multiply(towards, length, out=image)
        step += image
        if float(np.linalg.norm(residual)) <= target:
            break
        np.divide(residual, diagonal, out=image)
        design.centre(image)
        before, inner = inner, float(residual @ image)
        towards *= inner / before
        towards += image
    return step, along


def _add_penalised(to: NDArray[Any], x: NDArray[Any], penalty: tuple[float, float], size: int) -> None:
    """Add rho x to the first `size` entries and kappa x to the others, a block at a time."""
    to[:size] += penalty[0] * x[:size]
    for start in range(size, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        to[rows] += penalty[1] * x[rows]
