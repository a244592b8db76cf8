"""What each alignment rule would do to one population: policies, utilities, distortion, and intervals over users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from distalign.checks import InputError
from distalign.populations import BradleyTerryUsers
from distalign.solvers.certified import CertifiedPolicy, checked_budget
from distalign.solvers.games import kl_nlhf, maximal_lottery
from distalign.solvers.kl_linear import distortion, kl_linear_maximisation
from distalign.solvers.reward import borda, reward_mle
from distalign.theory.distortion import minimax_distortion

Array = NDArray[np.float64]
CONSTRAINED = ("reference", "RLHF", "NLHF", "optimum")
MEASURES = ("average_utility", "tenth_percentile", "distortion")


@dataclass(frozen=True, eq=False)
class Details:
    """What the table was computed from.

    Attributes:
        policies: (m,) CertifiedPolicy by method.
        win: (m, m) win matrix of the population.
        log_reference: (m,) log pi_ref.
        failed_resamples: bootstrap solves without a certificate, by method; they are left out of its intervals.
    """

    policies: dict[str, CertifiedPolicy]
    win: Array
    log_reference: Array
    failed_resamples: dict[str, int]


def simulate(users: BradleyTerryUsers, reference: ArrayLike | None = None, kl_budget: float = 1.0, bootstrap: int = 200,
             seed: int = 0, baselines: Mapping[str, ArrayLike] | None = None) -> tuple[pd.DataFrame, Details]:
    r"""Apply every rule to the exact win matrix of a population and measure what its users get.

    Methods: the reference; Borda, RLHF and the maximal lottery without a KL constraint; RLHF, NLHF and the utilitarian
    optimum within KL(pi || pi_ref) <= kl_budget. Comparisons are uniform over pairs. Distortion is the best average utility
    in the method's own ball (all lotteries for the unconstrained ones) over the one achieved.

    Intervals are percentile bootstrap intervals (95 %) over users: as many users as there are types are drawn again, with
    their utilities as they are, and only the population's win matrix, average utilities and policies are recomputed. They
    say how the numbers depend on which users were met, not on how well each user's utilities are known.

    Args:
        users: types with utilities in [0, 1], (K, m).
        reference: (m,) probabilities, all above 0; uniform if None.
        kl_budget: nats.
        bootstrap: resamples, at least 2.
        seed: of the bootstrap.
        baselines: policies (m,) to measure beside the methods, by name, without a KL constraint.

    Returns:
        A table, one row a method (kl_limit and kl in nats; average_utility, tenth_percentile of users' expected utility and
        distortion with _low and _high; bound C(bt_temperature); certificate and certified), and what it was computed from.
        A policy that is not certified has NaN measures.

    Raises:
        InputError: utilities outside [0, 1] or for several prompts, or an argument out of range.

    Source: the rules and distortion, Gölz et al., arXiv 2505.23749, Section 2; the comparison is ours.

    Example:
        >>> two_camps = BradleyTerryUsers([[1.0, 0.0, 0.6], [0.0, 1.0, 0.6]], [0.5, 0.5], bt_temperature=5.0)
        >>> table, details = simulate(two_camps, bootstrap=2)
        >>> table.set_index("method").average_utility.round(3)[["reference", "Borda", "NLHF"]].tolist()
        [0.533, 0.6, 0.598]
    """
    if users.utilities.ndim != 2 or users.utilities.min() < 0 or users.utilities.max() > 1:
        raise InputError("users must have utilities in [0, 1] of shape (K, m): divide all of them by one number and multiply "
                         "bt_temperature by it")
    if bootstrap < 2:
        raise InputError(f"bootstrap must be at least 2 resamples for an interval, got {bootstrap}")
    log_reference = _log_reference(reference, users.utilities.shape[1])
    checked_budget(kl_budget)
    fixed = {name: _fixed(np.asarray(p, float)) for name, p in (baselines or {}).items()}

    def apply(group: BradleyTerryUsers) -> tuple[pd.DataFrame, dict[str, CertifiedPolicy]]:
        policies = rules(group.win, group.average_utility, log_reference, kl_budget) | fixed
        return measure(group, policies, log_reference, kl_budget), policies

    with threadpool_limits(1):
        table, policies = apply(users)
        resampled = pd.concat([apply(again)[0].assign(resample=b) for b, again in
                               enumerate(_resamples(users, bootstrap, seed))], ignore_index=True)
    for name in MEASURES:
        values = resampled.pivot(index="resample", columns="method", values=name)[table["method"]].to_numpy()
        table[f"{name}_low"], table[f"{name}_high"] = _percentiles(values)
    table["bound"] = float(minimax_distortion(users.bt_temperature))
    failed = resampled.groupby("method").certified.apply(lambda c: int((~c).sum()))
    return table, Details(policies, users.win, log_reference, {str(k): int(v) for k, v in failed.items()})


def rules(win: Array, average_utility: Array, log_reference: Array, kl_budget: float) -> dict[str, CertifiedPolicy]:
    """The policy of every method on one win matrix."""
    uniform = np.full(len(win), 1 / len(win))
    fit = reward_mle(win, uniform)

    def rlhf(budget: float) -> CertifiedPolicy:
        best = kl_linear_maximisation(fit.reward, log_reference, budget)
        return best if fit.certified else CertifiedPolicy(best.log_policy, np.inf, best.tolerance)

    return {
        "reference": CertifiedPolicy(log_reference, 0.0, 0.0),
        "Borda": borda(win, uniform),
        "RLHF, no KL": rlhf(np.inf),
        "maximal lottery": maximal_lottery(win),
        "RLHF": rlhf(kl_budget),
        "NLHF": kl_nlhf(win, log_reference, kl_budget),
        "optimum": kl_linear_maximisation(average_utility, log_reference, kl_budget),
    }


def measure(users: BradleyTerryUsers, policies: dict[str, CertifiedPolicy], log_reference: Array,
            kl_budget: float) -> pd.DataFrame:
    """One row a method: what its policy spends and what the users get; NaN where the solve is not certified."""
    rows = []
    for method, found in policies.items():
        limit = kl_budget if method in CONSTRAINED else np.inf
        row = {"method": method, "kl_limit": limit, "kl": found.kl(log_reference), **dict.fromkeys(MEASURES, np.nan),
               "certificate": found.certificate, "certified": found.certified}
        if found.certified:
            row["average_utility"] = float(users.average_utility @ found.policy)
            row["tenth_percentile"] = _quantile(users.utilities @ found.policy, users.weights, 0.1)
            row["distortion"] = distortion(users.average_utility, found.policy, log_reference, limit)
        rows.append(row)
    return pd.DataFrame(rows)


def _resamples(users: BradleyTerryUsers, times: int, seed: int) -> Iterator[BradleyTerryUsers]:
    rng, count = np.random.default_rng(seed), len(users.weights)
    for _ in tqdm(range(times), desc="bootstrap", unit="resample", disable=None):
        weights = rng.multinomial(count, users.weights) / count
        kept = weights > 0
        yield BradleyTerryUsers(users.utilities[kept], weights[kept], users.bt_temperature)


def _fixed(policy: Array) -> CertifiedPolicy:
    with np.errstate(divide="ignore"):
        return CertifiedPolicy(np.log(policy), 0.0, 0.0)


def _percentiles(values: Array) -> tuple[Array, Array]:
    """2.5 and 97.5 % quantiles of each column over its finite or infinite, but not undefined, entries."""
    kept = [column[~np.isnan(column)] for column in values.T]
    ends = [np.quantile(c, [0.025, 0.975], method="inverted_cdf") if len(c) else [np.nan, np.nan] for c in kept]
    return np.array(ends)[:, 0], np.array(ends)[:, 1]


def _quantile(values: Array, weights: Array, level: float) -> float:
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), level - 1e-12)])


def _log_reference(reference: ArrayLike | None, size: int) -> Array:
    if reference is None:
        return np.full(size, -np.log(size))
    p = np.asarray(reference, float)
    if p.shape != (size,) or not (p > 0).all() or abs(p.sum() - 1) > 1e-6:
        raise InputError(f"reference must hold {size} probabilities above 0 of sum 1, one for each alternative")
    return np.log(p / p.sum())
