"""What a method sees of a population: comparisons, first choices, the reference and the KL budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from distalign.checks import InputError
from distalign.pluralism.scenario import SMALLEST_BUDGET, USERS_AT_ONCE, Scenario
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.populations.plackett_luce import first_choices
from distalign.solvers.choice.games import kl_nlhf
from distalign.solvers.choice.reward import RewardFit, reward_mle
from distalign.solvers.comparison_graph import require_connected
from distalign.types import Array

FAINTEST = 1e-280  # sums of e^{-b u} below this have lost digits


@dataclass(frozen=True, eq=False)
class ChoiceProblem:
    """What a method sees: comparisons (the exact law or a sample's counts), the reference and the budget.

    A rule of one's own is a function of it that returns (m,) probabilities.

    Attributes:
        scenario: the population behind the comparisons. Methods read its reference. Its utilities are read by
            the optimum and its texts by the longest text, and by no other method.
        counts: (G, m, m) mass of (group, winner, loser).
        votes: (m,) share of users whose first choice each alternative is.
        budget: the KL budget tau in nats.
        exact: whether `counts` is the law itself and not a sample.
    """

    scenario: Scenario
    counts: Array
    votes: Array
    budget: float
    exact: bool

    @property
    def log_reference(self) -> Array:
        """(m,) natural logarithms of the reference policy's probabilities."""
        return self.scenario.log_reference

    @property
    def reference(self) -> Array:
        """(m,) probabilities of the reference policy."""
        return np.exp(self.scenario.log_reference)

    @cached_property
    def win(self) -> Array:
        """(m, m) share of the comparisons of x and y that x won; 1/2 where they were never compared."""
        if self.exact:
            return self.scenario.win
        wins = self.counts.sum(0)
        compared = wins + wins.T
        p = np.where(compared > 0, wins / np.where(compared > 0, compared, 1), 0.5)
        np.fill_diagonal(p, 0.5)
        return p

    @cached_property
    def comparison(self) -> Array:
        """The weights of the pairs in `reward_mle`: (m,) the distribution mu of alternatives, or (m, m)."""
        if self.exact:
            return self.scenario.pairs
        wins = self.counts.sum(0)
        return (wins + wins.T) / 2

    @cached_property
    def shares(self) -> Array:
        """(G,) share of the comparisons that each group answered."""
        return self.counts.sum((1, 2)) / self.counts.sum()

    @cached_property
    def group_rewards(self) -> list[RewardFit]:
        """The Bradley-Terry reward of each group that the user named.

        Raises:
            InputError: there are no groups, or the comparisons of one leave some alternatives unconnected.
        """
        if self.scenario.groups is None:
            raise InputError("the rule weighs groups of users, and none are given: add a group to each user")
        found = []
        for counts in self.counts:
            compared = counts + counts.T
            if not self.exact:
                require_connected(counts)
            win = np.where(compared > 0, counts / np.where(compared > 0, compared, 1), 0.5)
            np.fill_diagonal(win, 0.5)
            found.append(reward_mle(win, self.scenario.pairs if self.exact else compared / 2))
        return found

    def vetoes(self, alive: NDArray[np.bool_]) -> Array:
        """(m,) share of users who like each alternative least among those that are `alive`.

        Users rank from the bottom by Plackett-Luce: the last place among some goes to x with probability
        proportional to e^{-b u(x)}. Of two alternatives this is the answer to their comparison.

        Raises:
            InputError: the problem holds a sample of comparisons, which do not tell.
        """
        if not self.exact:
            raise InputError(
                "vetoes are of what users like least, which a sample of comparisons does not tell"
            )
        total = self._dislike @ alive.astype(float)
        lost = np.flatnonzero(total < FAINTEST)  # all that is left is much liked: taken again below
        total[lost] = np.inf
        found = np.where(alive, (self.scenario.weights / total) @ self._dislike, 0.0)
        if len(lost):
            users = self.scenario.answers_of(lost)
            last = BradleyTerryUsers(-users.utilities[:, alive], users.weights, 1.0)
            found[alive] += self.scenario.weights[lost].sum() * first_choices(last)
        return found

    @cached_property
    def _dislike(self) -> Array:
        """(K, m) e^{-b u(x)}, with 1 at what each user likes least."""
        out = self.scenario.utilities * -self.scenario.bt_temperature[:, None]
        out -= out.max(1, keepdims=True)
        return np.exp(out, out=out)

    @cached_property
    def reward(self) -> RewardFit:
        """The Bradley-Terry reward of highest likelihood.

        Raises:
            InputError: the comparisons of a sample leave some alternatives unconnected, so there is no such
                reward.
        """
        if not self.exact:
            require_connected(self.counts.sum(0))
        return reward_mle(self.win, self.comparison)


def choice_problem(scenario: Scenario, rng: np.random.Generator | None) -> ChoiceProblem:
    """What methods see of a scenario: the exact law, or a sample of n users where `rng` is given.

    A sample draws the comparisons and the first choices from n users each.
    """
    votes = np.zeros(scenario.size)
    for start in range(0, len(scenario.weights), USERS_AT_ONCE):
        some = slice(start, start + USERS_AT_ONCE)
        votes += scenario.weights[some].sum() * first_choices(scenario.answers_of(some))
    if rng is None:
        return ChoiceProblem(scenario, scenario.joint, votes, budget_of(scenario), True)
    counts = scenario.sample(rng)
    return ChoiceProblem(
        scenario,
        counts,
        rng.multinomial(scenario.n or 0, votes) / (scenario.n or 1),
        budget_of(scenario),
        False,
    )


def budget_of(scenario: Scenario) -> float:
    r"""The KL budget: as given, or what the lambda-regularised NLHF solution of the population spends.

    The solution for a budget tau satisfies log(pi/pi_ref) = M pi / lambda + const with the matrix M of
    margins 2P - 1, so lambda(tau) is the slope of M pi on log(pi/pi_ref), inverted. It falls as tau grows,
    and the budget is the root of lambda(tau) = lambda. A budget below 1e-12 is 0.
    """
    if scenario.kl_strength is None:
        return float(scenario.kl_budget)
    strength, q = scenario.kl_strength, scenario.log_reference

    def excess(log_budget: float) -> float:
        nash = kl_nlhf(scenario.win, q, float(np.exp(log_budget)))
        inside = nash.log_policy > -np.inf
        ratio, margin = (nash.log_policy - q)[inside], ((2 * scenario.win - 1) @ nash.policy)[inside]
        ratio, margin = ratio - ratio.mean(), margin - margin.mean()
        return float(ratio @ margin / (ratio @ ratio)) - strength if ratio @ ratio > 0 else -strength

    low, high = (
        np.log(SMALLEST_BUDGET),
        np.log(1 / (2 * strength**2)),
    )  # KL <= (range of the log-ratios)^2 / 8
    if high <= low or excess(low) <= 0:
        return 0.0
    if excess(high) >= 0:  # equal to the bound, up to rounding
        return float(np.exp(high))
    return float(np.exp(brentq(excess, low, high, xtol=1e-10)))  # type: ignore[arg-type]
