"""Real comparisons, read from a file, and the users fitted to them.

A public set of votes that fits: UKPConvArg1 (Habernal and Gurevych, "Which argument is more convincing?", ACL 2016),
GitHub UKPLab/acl2016-convincing-arguments, folder data/UKPConvArg1-full-XML, licence CC BY 4.0.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import coo_array, csr_array, hstack
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log_expit

from distalign.checks import InputError
from distalign.populations._arrays import Floats
from distalign.populations.bradley_terry import BradleyTerryUsers

Codes = NDArray[np.intp]
SCORES = {"first": 1.0, "equal": 0.5, "second": 0.0}
COMMON_PENALTIES = (0.1, 0.3, 1.0, 3.0)
OWN_PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True, eq=False)
class Votes:
    """n votes of K users on pairs of m items.

    Attributes:
        user, first, second: (n,) codes of the voter and of the two items.
        score: (n,) 1 if the first was preferred, 0 if the second, 1/2 for "equal".
        users, items: the names behind the codes, sorted.
    """

    user: Codes
    first: Codes
    second: Codes
    score: Floats
    users: tuple[str, ...]
    items: tuple[str, ...]


def load_votes(path: Path | str, topic: str | None = None) -> Votes:
    """Read votes from a CSV file (or .csv.gz) with columns user (or worker), first, second, vote, and perhaps topic.

    Args:
        path: the file; `vote` is first, second or equal.
        topic: which topic to keep; needed if the file holds several.

    Raises:
        InputError: the file cannot be read, a column is missing, a cell is empty, a vote is none of the three words, an item
            is compared with itself, the topic is unknown or ambiguous, or the comparisons leave the items unconnected.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "votes.csv"
        >>> _ = path.write_text("user,first,second,vote\\nann,tea,milk,first\\nbob,tea,milk,equal\\n")
        >>> load_votes(path).items, load_votes(path).score.tolist()
        (('milk', 'tea'), [1.0, 0.5])
    """
    table = read_table(path, ("first", "second", "vote"), aliases={"worker": "user"}, needs="user")
    table = _one_topic(table, topic, path)
    wrong = ~table["vote"].isin(list(SCORES))
    if wrong.any():
        row = table[wrong].iloc[0]
        raise InputError(f"{path}: vote must be first, second or equal, got {row['vote']!r} in row {int(row.name) + 2}")
    if (table["first"] == table["second"]).any():
        raise InputError(f"{path}: item {table.loc[table['first'] == table['second'], 'first'].iloc[0]!r} is compared with itself")
    user, users = pd.factorize(table["user"], sort=True)
    codes, items = pd.factorize(pd.concat([table["first"], table["second"]]), sort=True)
    first, second = np.split(codes, 2)
    _check_connected(first, second, len(items), path)
    return Votes(user, first, second, table["vote"].map(SCORES).to_numpy(float), tuple(users), tuple(items))


def read_table(path: Path | str, columns: tuple[str, ...], aliases: dict[str, str], needs: str) -> pd.DataFrame:
    """A CSV file as strings, with `needs` under its own name or an alias, all `columns` there and no empty cell in them.

    Raises:
        InputError: unreadable file, missing column (named, beside those present), no rows, or an empty cell.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read as a CSV file: {error}") from error
    present = list(table.columns)
    if needs not in present:
        table = table.rename(columns=aliases)
    for column in (needs, *columns):
        if column not in table.columns:
            raise InputError(f"{path} has no column {column!r}; it has {', '.join(map(repr, present))}")
        if (table[column] == "").any():
            raise InputError(f"{path}: column {column!r} is empty in row {int((table[column] == '').idxmax()) + 2}")
    if table.empty:
        raise InputError(f"{path} holds no rows")
    return table


def _one_topic(table: pd.DataFrame, topic: str | None, path: Path | str) -> pd.DataFrame:
    if "topic" not in table.columns:
        if topic is not None:
            raise InputError(f"topic {topic!r} was asked for, but {path} has no column 'topic'; leave the topic out")
        return table
    topics = sorted(set(table["topic"]))
    if topic is None and len(topics) > 1:
        raise InputError(f"{path} holds {len(topics)} topics: choose one with topic, for instance {topics[0]!r}")
    if topic is not None and topic not in topics:
        near = difflib.get_close_matches(topic, topics, 3, 0.3) or topics[:3]
        raise InputError(f"topic {topic!r} is not in {path}; among those there: {', '.join(map(repr, near))}")
    return table if topic is None else table[table["topic"] == topic]


def _check_connected(first: Codes, second: Codes, size: int, path: Path | str) -> None:
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(size, size))
    parts, _ = connected_components(graph, directed=False)
    if parts > 1:
        raise InputError(f"{path}: the comparisons split the {size} items into {parts} groups that are never compared with "
                         "one another, so no common scale exists: keep one group, or one topic")


@dataclass(frozen=True, eq=False)
class FittedUsers:
    """Users fitted to votes.

    Attributes:
        users: one type a voter, all of equal weight.
        common: (m,) the utilities all voters share, in logits, of mean 0.
        common_penalty, own_penalty: penalties chosen on held-out votes.
        held_out, held_out_single: mean held-out log-likelihood of a vote (nats), with and without differences between users.
        certificate: bound on the Euclidean distance of all parameters to the optimum, in logits.
    """

    users: BradleyTerryUsers
    common: Floats
    common_penalty: float
    own_penalty: float
    held_out: float
    held_out_single: float
    certificate: float


def fit_users(votes: Votes, folds: int = 5, seed: int = 0) -> FittedUsers:
    r"""Individual Bradley-Terry users by penalised likelihood.

    User k has utilities u_k = r + d_k in logits and prefers x to y with probability sigma(u_k(x) - u_k(y)). Minimises
      -sum_votes [v log sigma(t) + (1 - v) log sigma(-t)] + rho/2 |r|^2 + kappa/2 sum_k |d_k|^2,   t = u_k(x) - u_k(y),
    v = 1, 0, or 1/2 for "equal". rho is the one of `COMMON_PENALTIES` with which a single reward (d = 0) predicts held-out
    votes best, then kappa that of `OWN_PENALTIES`; `folds` folds, votes dealt at random. The objective is strongly convex,
    so |gradient| / min(rho, kappa) bounds the distance to its minimum.

    Scale: comparisons do not identify the zero of a user's utility, so each user's lowest utility is put at 0: a
    convention, which the utilities averaged over users depend on. All are then divided by one number, the largest range of
    any user, which becomes `bt_temperature`: utilities lie in [0, 1] and nobody is normalised on his own. Users with few
    votes are drawn towards r, so the fitted population is less diverse than the voters.

    Args:
        votes: at least `folds` votes.
        folds: folds of the cross-validation, at least 2.
        seed: of the folds.

    Raises:
        InputError: too few votes, or votes that carry no preference at all.

    Source: ours.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> first, second = rng.permuted(np.tile([0, 1, 2], (300, 1)), axis=1)[:, :2].T
        >>> votes = Votes(rng.integers(9, size=300), first, second, (first < second) * 1.0, tuple("abcdefghi"), tuple("xyz"))
        >>> fitted = fit_users(votes)
        >>> fitted.common.argsort().tolist(), fitted.users.utilities.shape
        ([2, 1, 0], (9, 3))
    """
    if folds < 2 or len(votes.score) < folds:
        raise InputError(f"folds must be at least 2 and at most the number of votes, {len(votes.score)}, got {folds}")
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
        raise InputError("votes carry no preference: every fitted utility is the same; are all of them 'equal'?")
    users = BradleyTerryUsers(utilities / largest, np.full(people, 1 / people), largest)
    return FittedUsers(users, common - common.mean(), rho, kappa, individuals[kappa], singles[rho], certificate)


def _design(votes: Votes) -> tuple[csr_array, csr_array]:
    """The sparse matrices that turn parameters into t: (n, m) for r alone, and (n, m + K m) for r and d_1, ..., d_K."""
    n, size = len(votes.score), len(votes.items)
    row, sign = np.tile(np.arange(n), 2), np.repeat([1.0, -1.0], n)
    item, user = np.append(votes.first, votes.second), np.tile(votes.user, 2)
    shared = csr_array((sign, (row, item)), shape=(n, size))
    own = csr_array((sign, (row, user * size + item)), shape=(n, len(votes.users) * size))
    return shared, csr_array(hstack([shared, own]))


def _held_out(design: csr_array, score: Floats, fold: Codes, penalty: Floats) -> float:
    """Mean log-likelihood of the votes of each fold under the fit to the others."""
    total = 0.0
    for k in range(fold.max() + 1):
        x, _ = _fit(design[fold != k], score[fold != k], penalty)
        total += _log_likelihood(design[fold == k] @ x, score[fold == k])
    return total / len(score)


def _log_likelihood(t: Floats, score: Floats) -> float:
    return float((score * log_expit(t) + (1 - score) * log_expit(-t)).sum())


def _fit(design: csr_array, score: Floats, penalty: Floats) -> tuple[Floats, float]:
    """The parameters of highest penalised likelihood, and |gradient| / min(penalty)."""
    transposed = csr_array(design.T)

    def objective(x: Floats) -> tuple[float, Floats]:
        t = design @ x
        return penalty @ x**2 / 2 - _log_likelihood(t, score), transposed @ (expit(t) - score) + penalty * x

    found = minimize(objective, np.zeros(len(penalty)), jac=True, method="L-BFGS-B",
                     options={"maxiter": 2000, "maxfun": 4000, "ftol": 0.0, "gtol": 1e-5, "maxcor": 20})
    return found.x, float(np.linalg.norm(found.jac) / penalty.min())
