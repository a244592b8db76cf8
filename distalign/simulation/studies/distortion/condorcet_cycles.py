"""A reward orders all pairs if and only if majorities have no cycle, and a maximal lottery mixes if and only
if no response beats all others; random majorities cycle and mix more often the more responses there are.

The claim. Both equivalences, and that both events become certain as responses are added, are in the abstract
of Liu, Long, Shi, Su and Xiao (arXiv 2503.10990, its second version), who prove it for what they call the
Luce model; their theorems were not read. That a majority relation without ties is a total order unless it
has a cycle, and that a pure lottery is maximal only if no response beats it, is elementary. The laws that
the frequencies are held against are for other random preferences and are not the paper's: the probability of
a cycle among three responses and of a Condorcet winner among m is classical (Guilbaud; Niemi and Weisberg),
and the law of the number of responses mixed is the subject of Brandl (2017, abstract seen), its formula for
independent pairs worked out here (`distalign.theory.distortion.majorities`).

The run. Win matrices without ties: normal log-odds whose pairs are independent (correlation 0), or correlated
as in an infinite crowd of uniformly random rankings (1/3); and finite crowds of an odd number of users. Of
each, the maximal lottery, the Copeland scores and, for some, a linear program that looks for a reward.

The two roads. The lottery by the package's solver against the Condorcet winner read off the majorities; the
linear program over rewards against the scores, which are m - 1, ..., 1, 0 only for a total order; and
frequencies against laws that know nothing of solvers.

The checks, thresholds fixed beforehand. Identities, without exception on any instance: the lottery mixes iff
there is no Condorcet winner; a reward exists iff there is no cycle; the lottery mixes an odd number of
responses. Bounds: every frequency of mixing, of cycles (independent pairs of any m, crowds and correlation
1/3 for m = 3) lies where a binomial test does not reject its law at 1e-6, and so does the mean number of
responses mixed, by a normal test. A true package fails in fewer than one of 10,000 root seeds. With N
instances a frequency off by about 5 sqrt(p (1 - p) / N) is rejected: for p = 1/4 by 0.11 at the smallest
preset and by 0.04 at the full one.

The planted defects: the Borda winner for the lottery; the least of the mixed responses dropped; majorities
below 55 % counted as ties; the common part of the margins left out; two users too many; and two of the laws
off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm

from distalign.intervals import LEVEL, wilson
from distalign.oracles.majorities import ordering_reward
from distalign.populations import correlated_margins, impartial_culture
from distalign.simulation.defects import Defect, argument, no_cell, result, where
from distalign.simulation.verdict import Check, bound, identity
from distalign.solvers.choice.certified import CertifiedPolicy
from distalign.solvers.choice.games import maximal_lottery
from distalign.solvers.choice.voting import copeland_scores
from distalign.theory.distortion import majorities as theory

CROWD = 1 / 3  # correlation of the margins of infinitely many uniformly random rankings
REJECTED = 1e-6  # p-value below which a law is rejected
FEW = 5  # responses of the cells on which defects of lottery and scores are planted
MIXED = 1e-9  # a response with a larger probability counts as mixed


def _borda_winner(win: Any, ties: str = "any", avg_utility: Any = None) -> CertifiedPolicy:
    """The response of most wins, for certain."""
    scores = np.sum(win, 1)
    with np.errstate(divide="ignore"):
        return CertifiedPolicy(np.log((scores == scores.max()).astype(float)), 0.0, 0.0)


def _least_dropped(lottery: CertifiedPolicy) -> CertifiedPolicy:
    """The lottery without the least probable of several responses."""
    p = lottery.policy.copy()
    if (p > MIXED).sum() > 1:
        p[np.where(p > MIXED, p, np.inf).argmin()] = 0
    with np.errstate(divide="ignore"):
        return CertifiedPolicy(np.log(p / p.sum()), 0.0, 0.0)


DEFECTS = (
    Defect(
        "the Borda winner for the maximal lottery",
        maximal_lottery,
        lambda right: _borda_winner,
        where(responses=FEW),
    ),
    Defect(
        "the least probable response dropped from the lottery",
        maximal_lottery,
        result(_least_dropped),
        where(responses=FEW),
    ),
    Defect(
        "a majority below 55 % counts as a tie",
        copeland_scores,
        argument("win", lambda p: np.where(np.abs(p - 0.5) < 0.05, 0.5, p)),
        where(responses=FEW),
    ),
    Defect(
        "the common part of the margins left out",
        correlated_margins,
        argument("correlation", lambda c: 0 * c),
        where(correlation=CROWD),
    ),
    Defect("two users more than asked for", impartial_culture, argument("users", lambda n: n + 2)),
    Defect(
        "P(cycle) of independent pairs 10 % too small",
        theory.cycle_probability,
        result(lambda p: 0.9 * p),
        no_cell,
    ),
    Defect(
        "the law of the number mixed shifted to one response less",
        theory.support_probability,
        argument("support", lambda k: k + 2),
        no_cell,
    ),
)


def cells(
    responses: list[int], users: list[int], instances: int, crowd_instances: int, programs: int
) -> list[dict[str, Any]]:
    """One cell per correlation and number of responses, and one per number of users with three responses."""
    of_margins = [
        {"law": "correlation", "correlation": c, "responses": m, "instances": instances, "programs": programs}
        for c in (0.0, CROWD)
        for m in responses
    ]
    return of_margins + [
        {"law": "users", "users": n, "responses": 3, "instances": crowd_instances, "programs": programs}
        for n in users
    ]


def run(
    rng: np.random.Generator,
    *,
    law: str,
    responses: int,
    instances: int,
    programs: int,
    correlation: float = 0.0,
    users: int = 0,
) -> dict[str, Any]:
    """Winner, lottery and cycle of each instance; the linear program of the first `programs` of them."""
    rows = []
    for i in range(instances):
        if law == "users":
            win = impartial_culture(rng, responses, users)
        else:
            win = correlated_margins(rng, responses, correlation)
        scores = copeland_scores(win)
        rows.append(
            {
                "winner": bool(scores.max() == responses - 1),
                "mixed": int((maximal_lottery(win).policy > MIXED).sum()),
                "cyclic": bool((np.sort(scores) != np.arange(responses)).any()),
                "reward": float(ordering_reward(win) is not None) if i < programs else np.nan,
            }
        )
    return {name: [row[name] for row in rows] for name in rows[0]}


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Frequencies with 99 % intervals beside their laws, by kind of preference and number of responses."""
    out = []
    for (law, c, n, m), cell in _cells(rows):
        for quantity, values in (("mixed", cell.mixed > 1), ("cyclic", cell.cyclic)):
            share = float(values.mean())
            low, high = wilson(share, len(cell), LEVEL)
            out.append(
                {
                    "law": law,
                    "correlation": c,
                    "users": n,
                    "responses": m,
                    "quantity": quantity,
                    "mean": share,
                    "low": low,
                    "high": high,
                    "predicted": _law(quantity, law, c, n, m),
                    "mean_mixed": float(cell.mixed.mean()),
                    "instances": len(cell),
                }
            )
    return pd.DataFrame(out)


def _cells(rows: pd.DataFrame) -> list[tuple[tuple[str, float, int, int], pd.DataFrame]]:
    """The rows by law, correlation, users and responses; what a cell has not is NaN, or 0 users."""
    for name in ("correlation", "users"):
        if name not in rows:
            rows = rows.assign(**{name: np.nan})
    keyed = rows.assign(correlation=rows.correlation.fillna(-1.0), users=rows.users.fillna(0))
    groups = keyed.groupby(["law", "correlation", "users", "responses"], sort=True)
    return [
        ((str(k[0]), np.nan if k[1] < 0 else float(k[1]), int(k[2]), int(k[3])), cell)  # pyright: ignore[reportIndexIssue]
        for k, cell in groups
    ]


def _law(quantity: str, law: str, c: float, n: int, m: int) -> float:
    """The probability of mixing or of a cycle, NaN where we have none; three responses mix if they cycle."""
    if law == "users":
        return theory.three_cycle_probability_of_users(n)
    if quantity == "mixed":
        return 1 - theory.condorcet_winner_probability(m, c)
    if c == 0:
        return theory.cycle_probability(m)
    return theory.three_cycle_probability(c) if m == 3 else np.nan


def checks(rows: pd.DataFrame) -> list[Check]:
    """The equivalences on every instance, and the frequencies by their laws."""
    asked, cells_ = rows[rows.reward.notna()], _cells(rows)
    independent = [(key[3], cell) for key, cell in cells_ if key[1] == 0]
    return [
        identity(
            "the maximal lottery mixes iff no response beats all others: exceptions",
            (rows.mixed > 1).astype(int) - (~rows.winner.astype(bool)).astype(int),
            0.0,
        ),
        identity(
            "a reward orders all pairs iff majorities have no cycle: exceptions",
            asked.reward - (~asked.cyclic.astype(bool)).astype(int),
            0.0,
        ),
        identity("the number of responses mixed is odd: exceptions", 1 - rows.mixed % 2, 0.0),
        _as_often("mixing, independent pairs: 1 - m / 2^(m - 1)", cells_, "mixed", lambda key: key[1] == 0),
        _as_often("mixing, infinite crowd", cells_, "mixed", lambda key: key[1] == CROWD),
        _as_often(
            "a cycle, independent pairs: 1 - m! / 2^(m (m - 1) / 2)",
            cells_,
            "cyclic",
            lambda key: key[1] == 0,
        ),
        _as_often(
            "a cycle among three, infinite crowd: 1/4 - 3 arcsin(1/3) / (2 pi)",
            cells_,
            "cyclic",
            lambda key: key[1] == CROWD and key[3] == 3,
        ),
        _as_often("a cycle among three, finite crowds", cells_, "cyclic", lambda key: key[0] == "users"),
        bound(
            "mean number mixed, independent pairs: law not rejected (-log10 p <= 6)",
            [-np.log10(_p_of_mean(m, cell.mixed)) for m, cell in independent],
            -np.log10(REJECTED),
        ),
    ]


def _as_often(
    name: str, cells_: list[Any], quantity: str, chosen: Callable[[tuple[str, float, int, int]], bool]
) -> Check:
    """A bound on -log10 of the p-value of a binomial test of each cell chosen."""
    values = []
    for key, cell in cells_:
        if chosen(key):
            happened = cell.mixed > 1 if quantity == "mixed" else cell.cyclic.astype(bool)
            p = binomtest(int(happened.sum()), len(cell), _law(quantity, *key)).pvalue
            values.append(-np.log10(max(p, 1e-300)))
    return bound(f"{name}: law not rejected (-log10 p <= 6)", values, -np.log10(REJECTED))


def _p_of_mean(m: int, mixed: pd.Series) -> float:
    """The p-value of the mean number of responses mixed, by its exact mean and variance and a normal law."""
    sizes = np.arange(1, m + 1)
    p = np.array([theory.support_probability(m, k) for k in sizes])  # pyright: ignore[reportArgumentType]
    mean = p @ sizes
    error = np.sqrt((p @ sizes**2 - mean**2) / len(mixed))
    return max(float(2 * norm.sf(abs(mixed.mean() - mean) / error)), 1e-300)
