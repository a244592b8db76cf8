"""What each alignment method would do to one population: policies, utilities, distortion, and intervals over
people. `distalign.simulate` does it for several populations, samples and settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from distalign.checks import InputError
from distalign.intervals import t_interval
from distalign.pluralism.choice_problem import ChoiceProblem, choice_problem
from distalign.pluralism.methods import Method, apply_method, parse_methods
from distalign.pluralism.objective_methods import Outcome
from distalign.pluralism.own_rules import Rule
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.store import fetch
from distalign.progress import progress_bar
from distalign.solvers.choice.kl_linear import distortion, kl_linear_maximisation
from distalign.types import Array

MEASURES = (
    *("average_utility", "tenth_percentile", "worst_off", "distortion"),
    *("gain", "better_off", "worse_off"),
)
PEOPLE_DRAWN = 20_000  # at most, in a resample
GROUP, CHANGE = "group: ", "change: "
ENDS = ("low ", "high ")  # before a group's column: the ends of its interval


def apply_methods(
    scenario: Scenario, methods: Sequence[str | Rule] = (), *, seed: int = 0, bootstrap: int = 200
) -> pd.DataFrame:
    r"""Apply methods to a population and measure what its users get.

    With `scenario.n` all methods see the same comparisons, of n users drawn with `seed`; without it they see
    the exact law. What users get is always measured on the whole population. Distortion is the best average
    utility in the method's own ball over the one achieved. The ball is KL(pi || pi_ref) <= budget for methods
    that respect it, and holds all lotteries for the others.

    There are intervals where the types were estimated from people (`scenario.people`) and the law is exact.
    They are Student's (95 %) over people, with the standard error of a bootstrap: as many people are drawn
    again, each with the utilities estimated once, and the population's law, average utilities and policies
    are computed anew. The standard deviation of a number over these draws is multiplied by sqrt(n/(n-1)) and
    by the quantile t_{n-1}. So intervals say how the numbers depend on which people were asked, and not how
    well the utilities of each are known. Of more than `PEOPLE_DRAWN` people, m = `PEOPLE_DRAWN` are drawn in
    place of all n, and the standard deviation is multiplied by sqrt(m/n) (m out of n bootstrap).
    docs/intervals.md says how often these intervals hold the truth.

    Args:
        scenario: the population.
        methods: words of `distalign.pluralism.methods.parse_methods`; none means all rules.
        seed: of the sample and of the bootstrap.
        bootstrap: resamples, 0 for none.

    Returns:
        One row a method: kl_limit and kl in nats; off_budget, whether it is compared with more than the
        ball; average_utility, tenth_percentile and worst_off (users' expected utility), distortion, gain,
        better_off and worse_off, each with _low and _high; best, the benchmark of the distortion;
        `group: <name>`, the average utility of each group, and `change: <name>`, what that is above the same
        group's under the reference, each with `low ...` and `high ...`; bound, what NLHF and the maximal
        lottery never exceed given the exact law; certificate, certified and note; failed_resamples, left out
        of the interval; policy, a list. Without a certificate measures are NaN.

        better_off and worse_off are the shares of users whose expected utility is above or below what the
        reference gives them, by more than 1e-9. The gain is the average utility above that of the reference,
        as a share of the most that the ball of the KL budget allows: 0 for the reference, 1 for the optimum.
        It may be below 0, and above 1 for a policy that left the ball. It is NaN where the ball allows less
        than 1e-12.

    Raises:
        InputError: an unknown method or option, or a count out of range.

    Source: the rules and distortion, Gölz et al., arXiv 2505.23749, Section 2; the comparison is ours. The m
        out of n bootstrap: Bickel, Götze and van Zwet, Statistica Sinica 7 (1997).

    Example:
        >>> two_camps = Scenario([[1.0, 0.0, 0.6], [0.0, 1.0, 0.6]])
        >>> table = apply_methods(two_camps, ["reference", "Borda", "NLHF"]).set_index("method")
        >>> table.average_utility.round(3).tolist(), table.certified.all()
        ([0.533, 0.6, 0.598], np.True_)
    """
    return _simulate(scenario, parse_methods(methods, [scenario]), seed, bootstrap)


def run(
    _rng: np.random.Generator,
    *,
    scenario: dict[str, Any],
    store: Path,
    methods: list[str | Rule],
    seed: int,
    bootstrap: int,
    labels: dict[str, Any],
) -> dict[str, Any]:
    """One cell of `distalign simulate`: `apply_methods` on a scenario that `distalign.pluralism.store` keeps.

    The labels of its point in the grid become columns. Random numbers come from `seed` alone, so all methods
    and all points of a sweep see the same draws.
    """
    table = apply_methods(fetch(scenario, store), methods, seed=seed, bootstrap=bootstrap)
    return {
        **{name: [value] * len(table) for name, value in labels.items()},
        "seed": [seed] * len(table),
        **{str(c): table[c].tolist() for c in table},
    }


def _simulate(scenario: Scenario, methods: Sequence[Method], seed: int, bootstrap: int) -> pd.DataFrame:
    if not (bootstrap == 0 or 2 <= bootstrap <= 100_000):
        raise InputError(f"bootstrap must be 0 (no intervals) or 2 to 100,000 resamples, got {bootstrap}")
    with threadpool_limits(1):
        problem = choice_problem(scenario, None if scenario.n is None else np.random.default_rng(seed))
        table = pd.DataFrame([_row(m, apply_method(m, problem), problem) for m in methods])
        times = bootstrap if scenario.people and scenario.n is None else 0
        again = _resampled(scenario, methods, times, seed)
    groups = _group_columns(scenario)
    unbounded = {"gain", *(name for name in groups if name.startswith(CHANGE))}
    for at, name in enumerate((*MEASURES, *groups)):
        ends = [ENDS[0] + name, ENDS[1] + name] if name in groups else [f"{name}_low", f"{name}_high"]
        within = (1.0, np.inf) if name == "distortion" else None if name in unbounded else (0.0, 1.0)
        found = zip(table[name].to_numpy(float), again[:, :, at].T, strict=True)
        low_high = [_interval(value, draws, scenario.people or 1, within) for value, draws in found]
        table[ends] = np.array(low_high)
    table["failed_resamples"] = np.isnan(again[:, :, MEASURES.index("distortion")]).sum(0)
    table["bound"] = scenario.bound
    return table


def _row(method: Method, outcome: Outcome, problem: ChoiceProblem) -> dict[str, Any]:
    scenario, found = problem.scenario, outcome.solution
    solved = found.certified
    row = {
        "method": method.label,
        "kl_limit": outcome.limit,
        "kl": found.kl(scenario.log_reference) if solved else np.nan,
        **dict.fromkeys(MEASURES, np.nan),
        "best": np.nan,
        "off_budget": bool(solved and outcome.limit > problem.budget * (1 + 1e-5)),
        "certificate": found.certificate,
        "certified": solved,
        "note": outcome.note,
        "policy": found.policy.tolist() if solved else [np.nan] * scenario.size,
        **dict.fromkeys(_group_columns(scenario), np.nan),
    }
    if not solved:
        return row | {"note": outcome.note or "the certificate exceeds the tolerance of the solve"}
    get = scenario.utilities @ found.policy
    average = scenario.average_utility
    best = kl_linear_maximisation(average, scenario.log_reference, outcome.limit)
    allowed = kl_linear_maximisation(average, scenario.log_reference, problem.budget)
    stay, change = float(average @ problem.reference), get - scenario.at_reference
    most = float(average @ allowed.policy) - stay
    for i, name in enumerate(scenario.group_names):
        if name:
            inside = scenario.group_of == i
            share = scenario.weights[inside]
            row[GROUP + name] = float(np.average(get[inside], weights=share))
            row[CHANGE + name] = float(np.average(change[inside], weights=share))
    return row | {
        "average_utility": float(average @ found.policy),
        "worst_off": float(get.min()),
        "tenth_percentile": _quantile(get, scenario.weights, 0.1),
        "best": float(average @ best.policy),
        "distortion": distortion(average, found.policy, scenario.log_reference, outcome.limit),
        "gain": (float(average @ found.policy) - stay) / most if most > 1e-12 else np.nan,
        "better_off": float(scenario.weights[change > 1e-9].sum()),
        "worse_off": float(scenario.weights[change < -1e-9].sum()),
    }


def _group_columns(scenario: Scenario) -> list[str]:
    return [kind + g for kind in (GROUP, CHANGE) for g in scenario.group_names if g]


def _resampled(scenario: Scenario, methods: Sequence[Method], times: int, seed: int) -> Array:
    """(times, methods, measures and groups): what every method does to people drawn again.

    A group that was not drawn has no number in that resample.
    """
    columns = (*MEASURES, *_group_columns(scenario))
    rng, out = np.random.default_rng(seed), np.full((times, len(methods), len(columns)), np.nan)
    with progress_bar(times, "bootstrap", "resample", shown=times > 0) as bar:
        for b in range(times):
            problem = choice_problem(scenario.resampled(rng, min(scenario.people or 1, PEOPLE_DRAWN)), None)
            for i, method in enumerate(methods):
                row = _row(method, apply_method(method, problem), problem)
                out[b, i] = [row.get(name, np.nan) for name in columns]
            bar.update()
    return out


def _interval(
    found: float, draws: Array, people: int, within: tuple[float, float] | None
) -> tuple[float, float]:
    """Student's interval (95 %) from the standard deviation of the resamples, cut to what the number can be.

    Percentiles of the resamples are too short for few people, and miss where a number is never below 1 and
    larger in a sample than in the population, as the distortion is. Undefined resamples are left out; an
    infinite one leaves nothing known but the range.
    """
    defined = draws[~np.isnan(draws)]
    if np.isnan(found) or len(defined) < 2 or people < 2:
        return np.nan, np.nan
    low, high = within or (-np.inf, np.inf)
    if not np.isfinite([found, *defined]).all():
        return low, high
    drawn = min(people, PEOPLE_DRAWN)
    error = float(defined.std(ddof=1)) * np.sqrt(drawn / (drawn - 1) * drawn / people)
    ends = t_interval(found, error, people, 0.95)
    return max(ends[0], low), min(ends[1], high)


def _quantile(values: Array, weights: Array, level: float) -> float:
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), level - 1e-12)])
