"""Users fitted to real votes: common utilities, individual deviations, and how well they predict votes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_array, hstack
from scipy.special import expit, log_expit

from distalign.checks import InputError
from distalign.pluralism.sources.votes import Codes, Votes
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.types import Array

COMMON_PENALTIES = (0.1, 0.3, 1.0, 3.0)
OWN_PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)


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

        -sum_votes [v log sigma(t) + (1 - v) log sigma(-t)] + rho/2 |r|^2 + kappa/2 sum_k |d_k|^2,
        t = u_k(x) - u_k(y),

    where v is 1, 0, or 1/2 for "equal". rho is the one of `COMMON_PENALTIES` with which a single utility for
    all users (d = 0) predicts held-out votes best. kappa is then the one of `OWN_PENALTIES` with which
    individual users do. There are `folds` folds, and votes are dealt to them at random. The objective is
    strongly convex, so |gradient| / min(rho, kappa) bounds the distance to its minimum.

    Scale. Comparisons do not identify the zero of a user's utility. So each user's lowest utility is put at
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
    size, people = len(votes.items), len(votes.users)
    shared, full = _design(votes)
    singles = {rho: _held_out(shared, votes.score, fold, np.full(size, rho)) for rho in COMMON_PENALTIES}
    rho = max(singles, key=lambda p: singles[p])
    penalties = {kappa: np.repeat([rho, kappa], [size, size * people]) for kappa in OWN_PENALTIES}
    individuals = {kappa: _held_out(full, votes.score, fold, penalties[kappa]) for kappa in OWN_PENALTIES}
    kappa = max(individuals, key=lambda p: individuals[p])
    x, certificate = _fit(full, votes.score, penalties[kappa])
    common, own = x[:size], x[size:].reshape(people, size)
    utilities = common + own
    utilities = utilities - utilities.min(1, keepdims=True)
    largest = float(utilities.max())
    if largest < 1e-3:
        raise InputError(
            "votes carry no preference: every fitted utility is the same; are all of them 'equal'?"
        )
    users = BradleyTerryUsers(utilities / largest, np.full(people, 1 / people), largest)
    return FittedUsers(
        users, common - common.mean(), rho, kappa, individuals[kappa], singles[rho], certificate
    )


def _design(votes: Votes) -> tuple[csr_array, csr_array]:
    """The sparse matrices that map parameters to t: (n, m) for r alone, (n, m + K m) for r, d_1, ..., d_K."""
    n, size = len(votes.score), len(votes.items)
    row, sign = np.tile(np.arange(n), 2), np.repeat([1.0, -1.0], n)
    item, user = np.append(votes.first, votes.second), np.tile(votes.user, 2)
    shared = csr_array((sign, (row, item)), shape=(n, size))
    own = csr_array((sign, (row, user * size + item)), shape=(n, len(votes.users) * size))
    return shared, csr_array(hstack([shared, own]))


def _held_out(design: csr_array, score: Array, fold: Codes, penalty: Array) -> float:
    """Mean log-likelihood of the votes of each fold under the fit to the others."""
    total = 0.0
    for k in range(fold.max() + 1):
        x, _ = _fit(design[fold != k], score[fold != k], penalty)
        total += _log_likelihood(design[fold == k] @ x, score[fold == k])
    return total / len(score)


def _log_likelihood(t: Array, score: Array) -> float:
    return float((score * log_expit(t) + (1 - score) * log_expit(-t)).sum())


def _fit(design: csr_array, score: Array, penalty: Array) -> tuple[Array, float]:
    """The parameters of highest penalised likelihood, and |gradient| / min(penalty)."""
    transposed = csr_array(design.T)

    def objective(x: Array) -> tuple[float, Array]:
        t = design @ x
        return float(penalty @ x**2) / 2 - _log_likelihood(t, score), transposed @ (
            expit(t) - score
        ) + penalty * x

    found = minimize(
        objective,
        np.zeros(len(penalty)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "maxfun": 4000, "ftol": 0.0, "gtol": 1e-5, "maxcor": 20},
    )
    return found.x, float(np.linalg.norm(found.jac) / penalty.min())
