"""Methods by name: each turns comparisons of a population into a policy, with a certificate."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import brentq

from distalign import objectives
from distalign.checks import InputError, suggestion
from distalign.pluralism.objective_methods import Outcome, check_options, tabular_policy
from distalign.pluralism.scenario import Scenario
from distalign.populations.plackett_luce import first_choices
from distalign.solvers.choice.certified import CertifiedPolicy, normalised
from distalign.solvers.choice.clipped_rlhf import clip_floor, clipped_rlhf
from distalign.solvers.choice.games import kl_nlhf, maximal_lottery
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.solvers.choice.reward import RewardFit, borda, borda_scores, reward_mle, rlhf
from distalign.solvers.choice.voting import copeland, plurality, random_dictator
from distalign.solvers.comparison_graph import require_connected
from distalign.types import Array

OBJECTIVES = objectives.names()


@dataclass(frozen=True)
class Method:
    """A method and its options: an objective such as `dpo` may carry hyper-parameters, a rule carries
    none.
    """

    label: str
    name: str
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class Problem:
    """What a method sees: comparisons (the exact law or the counts of a sample), the reference and the
    budget.

    Attributes:
        scenario: the population behind the comparisons; only reference, optimum and the longest text look at
            it.
        counts: (G, m, m) mass of (group, winner, loser).
        votes: (m,) share of users whose first choice each alternative is.
        budget: tau in nats.
        exact: whether `counts` is the law itself.
    """

    scenario: Scenario
    counts: Array
    votes: Array
    budget: float
    exact: bool

    @cached_property
    def win(self) -> Array:
        """(m, m) share of the comparisons of x and y that x won; 1/2 where they never met."""
        if self.exact:
            return self.scenario.win
        won = self.counts.sum(0)
        met = won + won.T
        p = np.where(met > 0, won / np.where(met > 0, met, 1), 0.5)
        np.fill_diagonal(p, 0.5)
        return p

    @cached_property
    def comparison(self) -> Array:
        """What `reward_mle` weighs pairs with: (m,) mu or (m, m)."""
        if self.exact:
            return self.scenario.pairs
        won = self.counts.sum(0)
        return (won + won.T) / 2

    @cached_property
    def reward(self) -> RewardFit:
        """The Bradley-Terry reward; a sample may have none (InputError)."""
        if not self.exact:
            require_connected(self.counts.sum(0))
        return reward_mle(self.win, self.comparison)


def problem_of(scenario: Scenario, rng: np.random.Generator | None) -> Problem:
    """The exact comparisons of a scenario, or with `rng` those of n users; first choices are asked of n
    users, too.
    """
    votes = first_choices(scenario.answers)
    if rng is None:
        return Problem(scenario, scenario.joint, votes, budget_of(scenario), True)
    counts = scenario.sample(rng)
    return Problem(
        scenario,
        counts,
        rng.multinomial(scenario.n or 0, votes) / (scenario.n or 1),
        budget_of(scenario),
        False,
    )


def budget_of(scenario: Scenario) -> float:
    r"""The KL budget: as given, or what the lambda-regularised NLHF solution of the population spends.

    lambda(tau) is read off the solution for tau, where log(pi/pi_ref) = M pi / lambda + const; it falls as
    tau grows.
    """
    if scenario.kl_strength is None:
        return float(scenario.kl_budget)
    strength, q = scenario.kl_strength, scenario.log_reference

    def excess(log_budget: float) -> float:
        found = kl_nlhf(scenario.win, q, float(np.exp(log_budget)))
        inside = found.log_policy > -np.inf
        z, pull = (found.log_policy - q)[inside], ((2 * scenario.win - 1) @ found.policy)[inside]
        z, pull = z - z.mean(), pull - pull.mean()
        return float(z @ pull / (z @ z)) - strength if z @ z > 0 else -strength

    low, high = np.log(1e-12), np.log(1 / (2 * strength**2))  # KL <= (range of z)^2 / 8
    if high <= low or excess(low) <= 0:
        return 0.0
    return float(np.exp(brentq(excess, low, high, xtol=1e-10)))  # type: ignore[arg-type]


def _mle(p: Problem, budget: float, reward: Callable[[Array], Array] = lambda r: r) -> CertifiedPolicy:
    best = kl_linear_maximisation(reward(p.reward.reward), p.scenario.log_reference, budget)
    return best if p.reward.certified else CertifiedPolicy(best.log_policy, np.inf, best.tolerance)


def _clipped(p: Problem) -> CertifiedPolicy:
    if not p.scenario.product:
        raise InputError(
            "the clip averages over the distribution of single alternatives, which weights of pairs do not "
            "have"
        )
    floor = clip_floor(p.reward.reward, p.scenario.pairs, 0.45)
    return _mle(p, p.budget, lambda r: np.clip(r, floor, floor + 0.375))


def _borda(p: Problem) -> CertifiedPolicy:
    if not p.scenario.product:
        raise InputError("Borda is defined for alternatives drawn independently, not for weights of pairs")
    if p.exact:
        return borda(p.win, p.comparison)
    won = p.counts.sum(0)
    asked = won.sum(1) + won.sum(0)
    shares = won.sum(1) / np.where(asked > 0, asked, 1)
    return CertifiedPolicy(normalised(np.where(shares >= shares.max() - 1e-14, 0.0, -np.inf)), 0.0, 0.0)


def _longest(p: Problem) -> CertifiedPolicy:
    if p.scenario.texts is None:
        raise InputError("the alternatives have no texts")
    length = np.array([len(t) for t in p.scenario.texts])
    return CertifiedPolicy(normalised(np.where(length == length.max(), 0.0, -np.inf)), 0.0, 0.0)


# label, whether its ball is the budget's, the rule, and the code whose docstring holds its source
RULES: dict[str, tuple[bool, Callable[[Problem], CertifiedPolicy], Any]] = {
    "reference": (True, lambda p: CertifiedPolicy(p.scenario.log_reference, 0.0, 0.0), None),
    "plurality": (False, lambda p: plurality(p.votes), plurality),
    "random dictator": (False, lambda p: random_dictator(p.votes), random_dictator),
    "Borda": (False, _borda, borda_scores),
    "Copeland": (False, lambda p: copeland(p.win), copeland),
    "maximal lottery": (False, lambda p: maximal_lottery(p.win), maximal_lottery),
    "RLHF, no KL": (False, lambda p: _mle(p, np.inf), rlhf),
    "RLHF": (True, lambda p: _mle(p, p.budget), rlhf),
    "clipped RLHF": (True, _clipped, clipped_rlhf),
    "NLHF": (True, lambda p: kl_nlhf(p.win, p.scenario.log_reference, p.budget), kl_nlhf),
    "longest text": (False, _longest, None),
    "optimum": (
        True,
        lambda p: kl_linear_maximisation(p.scenario.average_utility, p.scenario.log_reference, p.budget),
        kl_linear_maximisation,
    ),
}


def parse_methods(words: Sequence[str], scenarios: Sequence[Scenario]) -> list[Method]:
    """Methods from words such as `NLHF`, `maximal-lottery`, `dpo`, `f_dpo:divergence=jensen_shannon`,
    `objectives`.

    Case, spaces and hyphens do not matter. `rules` means all rules (without the longest text unless there are
    texts), which is also what no word means; `objectives` all objectives that a tabular policy can minimise;
    `all` both.

    Raises:
        InputError: an unknown name (with those near it), or an option the objective does not have or refuses.

    Example:
        >>> [m.label for m in parse_methods(["nlhf", "dpo:beta=0.1"], [])]
        ['NLHF', 'dpo:beta=0.1']
        >>> parse_methods(["NHLF"], [])
        Traceback (most recent call last):
        distalign.checks.InputError: unknown method 'NHLF': did you mean NLHF or RLHF? Also known are rules,
        objectives and all
    """
    found: dict[str, Method] = {}
    for word in words or ("rules",):
        for method in _expand(word, any(s.texts is not None for s in scenarios)):
            found.setdefault(method.label, method)
    return list(found.values())


def apply(method: Method, problem: Problem) -> Outcome:
    """The policy of one method; where it has none, a policy without a certificate and the reason."""
    try:
        if method.name in RULES:
            constrained, rule, _ = RULES[method.name]
            return Outcome(rule(problem), problem.budget if constrained else np.inf)
        return tabular_policy(
            method.name,
            dict(method.options),
            problem.counts,
            problem.scenario.log_reference,
            problem.budget,
            grouped=problem.scenario.groups is not None,
        )
    except InputError as refused:
        return Outcome(CertifiedPolicy(problem.scenario.log_reference, np.inf, 0.0), np.inf, str(refused))


def source_of(method: Method) -> str:
    """The sentence after `Source:` in the docstring of what the method runs; empty for the reference."""
    code = RULES[method.name][2] if method.name in RULES else getattr(objectives, method.name)
    told = re.search(r"^Source: (.*?)(?:\n\n|\Z)", inspect.getdoc(code) or "", re.S | re.M) if code else None
    return " ".join(told[1].split()) if told else ""


def _expand(word: str, texts: bool) -> list[Method]:
    rules = [Method(n, n) for n in RULES if texts or n != "longest text"]
    whole = {"rules": rules, "objectives": [Method(n, n) for n in OBJECTIVES]}
    whole["all"] = rules + whole["objectives"]
    if word.lower() in whole:
        return whole[word.lower()]
    name, _, options = word.partition(":")
    known = {_plain(n): n for n in (*RULES, *OBJECTIVES)}
    if _plain(name) not in known:
        raise InputError(
            f"unknown method {name!r}: {suggestion(name, known.values())} Also known are rules, objectives "
            "and all"
        )
    name = known[_plain(name)]
    given = tuple(_option(name, text) for text in options.split(",") if text)
    if given and name in RULES:
        raise InputError(f"{name} takes no options, got {options!r}")
    if name in OBJECTIVES:
        check_options(name, dict(given))
    return [Method(f"{name}:{options}" if given else name, name, given)]


def _option(name: str, text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"an option of {name} is written name=value, got {text!r}")
    try:
        return key.strip(), float(value)
    except ValueError:
        return key.strip(), value.strip()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
