"""How the error of a rule or an objective falls with the number of users asked: the curve of every paper.

Source: ours; slopes and intervals are those of `distalign.simulation.rates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from distalign.checks import InputError, one_of, whole
from distalign.pluralism.choice_problem import choice_problem
from distalign.pluralism.methods import apply_method, parse_methods
from distalign.pluralism.own_rules import Rule
from distalign.pluralism.scenario import Scenario
from distalign.progress import progress_bar
from distalign.simulation.rates import Slope, log_slope, summarise
from distalign.solvers.choice.kl_linear import kl_linear_maximisation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURES = {
    "policy": "total variation to\nthe exact law's policy",
    "utility": "average utility lost",
}


@dataclass(frozen=True, eq=False)
class SampleComplexity:
    """The error of one method at several numbers of users.

    Attributes:
        method: its name.
        measure: what the error is, a key of `MEASURES`.
        rows: one row a sample, columns size, replicate, error; NaN where there is no certified policy.
        table: one row a size, columns size, mean, low, high (99 % interval over replicates), replicates (with
            a certified policy) and excluded (the others).
        slope: of log mean error on log size, with its 99 % interval; None where a slope does not exist,
            because there are fewer than three sizes or the error is 0 at one of them.
    """

    method: str
    measure: str
    rows: pd.DataFrame
    table: pd.DataFrame
    slope: Slope | None

    def plot(self) -> Axes:
        """The curve on logarithmic axes with its intervals; `.figure` is the figure."""
        from distalign.pluralism.figure import draw_curve

        return draw_curve(self.table, self.method, MEASURES[self.measure], self.slope)


def sample_complexity(
    method: str | Rule,
    scenario: Scenario,
    sizes: Sequence[int],
    replicates: int,
    *,
    measure: str = "policy",
    seed: int = 0,
) -> SampleComplexity:
    """The error of a rule or an objective from n users, for several n.

    Each replicate draws n fresh users, who answer `scenario.comparisons_per_user` comparisons each. The error
    `policy` is (1/2) sum_x |pi_n(x) - pi(x)| between the policies from the sample and from the exact law. The
    error `utility` is the best average utility in the method's own ball less the one achieved; it tends to
    what the method loses on the exact law, which need not be 0.

    A sample whose policy has no certificate (the comparisons leave alternatives unconnected, for instance)
    has no error: it is left out and counted in `excluded`, and a curve where many are left out says little.

    Args:
        method: a word of `distalign.pluralism.parse_methods` that names one method, or a function from a
            `ChoiceProblem` to probabilities.
        scenario: the population; its own n is not read.
        sizes: numbers of users, each different.
        replicates: samples at each size, at least 2.
        measure: `policy` or `utility`.
        seed: of the samples.

    Raises:
        InputError: an argument is out of range, the method is unknown or declines the population, or no
            sample of a size has a certified policy.

    Example:
        >>> tea = Scenario([[1.0, 0.0, 0.6], [0.0, 1.0, 0.6]], kl_budget=0.1)
        >>> found = sample_complexity("NLHF", tea, [100, 1000, 10000], 20)
        >>> found.table["size"].tolist(), bool(found.slope.low < -0.5 < found.slope.high)
        ([100, 1000, 10000], True)
    """
    one_of("measure", measure, list(MEASURES))
    whole("replicates", replicates, 2, "an interval needs at least two samples of each size")
    for size in sizes:
        whole("sizes", size, 1, "each is a number of users")
    if not sizes or len(set(sizes)) < len(sizes):
        raise InputError(f"sizes must be one or more different numbers of users, got {list(sizes)}")
    chosen = parse_methods([method], [scenario])
    if len(chosen) != 1:
        raise InputError(f"method {method!r} stands for {len(chosen)} methods: name one")
    with threadpool_limits(1):
        exact = apply_method(chosen[0], choice_problem(replace(scenario, n=None), None))
        if not exact.solution.certified:
            raise InputError(
                f"{chosen[0].label} has no certified policy on the exact law of this population: "
                f"{exact.note or 'its solve did not converge'}"
            )
        out = []
        drawn = [(size, replicate) for size in sorted(sizes) for replicate in range(replicates)]
        with progress_bar(len(drawn), f"curve of {chosen[0].label}", "sample", shown=True) as bar:
            for size, replicate in drawn:
                asked = replace(scenario, n=size)
                found = apply_method(
                    chosen[0], choice_problem(asked, np.random.default_rng([seed, size, replicate]))
                )
                error = np.nan
                if found.solution.certified and measure == "policy":
                    error = float(np.abs(found.solution.policy - exact.solution.policy).sum()) / 2
                elif found.solution.certified:
                    average = scenario.average_utility
                    best = kl_linear_maximisation(average, scenario.log_reference, found.limit).policy
                    error = max(float(average @ (best - found.solution.policy)), 0.0)
                out.append({"size": size, "replicate": replicate, "error": error})
                bar.update()
    rows = pd.DataFrame(out)
    table = summarise(rows, ["size"])
    if (table["replicates"] == 0).any():  # pyright: ignore[reportGeneralTypeIssues]
        size = table.loc[table["replicates"] == 0, "size"].iloc[0]
        raise InputError(
            f"sizes: no sample of {size} users has a certified policy of {chosen[0].label}: ask more"
        )
    slope = None
    if len(table) >= 3 and (table["mean"] > 0).all():  # pyright: ignore[reportGeneralTypeIssues]
        slope = log_slope(rows["size"].to_numpy(float), rows["error"].to_numpy(float))
    return SampleComplexity(chosen[0].label, measure, rows, table, slope)
