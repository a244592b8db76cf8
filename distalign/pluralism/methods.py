"""The methods by name: each turns the comparisons of a population into a policy with a certificate.

A method is a rule of social choice or of reward modelling (`RULES`), or an objective of
`distalign.objectives` that is minimised over all policies on the alternatives
(`distalign.pluralism.objective_methods`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distalign import objectives
from distalign.checks import InputError, suggestion
from distalign.pluralism.choice_problem import ChoiceProblem
from distalign.pluralism.objective_methods import Outcome, check_options, tabular_policy
from distalign.pluralism.own_rules import Rule, RuleError, label_of, named_rule, own_policy
from distalign.pluralism.scenario import Scenario
from distalign.solvers.choice.certified import CertifiedPolicy, normalised
from distalign.solvers.choice.clipped_rlhf import clip_floor, clipped_rlhf
from distalign.solvers.choice.games import kl_nlhf, maximal_lottery
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.solvers.choice.reward import borda, borda_scores, rlhf
from distalign.solvers.choice.tournaments import population_proportional, ranked_pairs, schulze
from distalign.solvers.choice.veto import plurality_veto
from distalign.solvers.choice.voting import copeland, plurality, random_dictator
from distalign.solvers.choice.welfare import group_mixture, maxmin, nash_welfare
from distalign.types import Array

OBJECTIVES = objectives.names()


@dataclass(frozen=True)
class Method:
    """A method and its options: an objective such as `dpo` may have hyper-parameters, a rule has none.

    Attributes:
        label: what tables and figures call it.
        name: the key in `RULES`, or the name in `distalign.objectives`.
        options: the hyper-parameters given, as pairs of name and value.
        rule: one's own rule, if it is that; `name` is then the label.
    """

    label: str
    name: str
    options: tuple[tuple[str, Any], ...] = ()
    rule: Rule | None = None

    @property
    def word(self) -> str | Rule:
        """What `parse_methods` reads this method from."""
        return self.rule or self.label


def _mle(p: ChoiceProblem, budget: float, reward: Callable[[Array], Array] = lambda r: r) -> CertifiedPolicy:
    best = kl_linear_maximisation(reward(p.reward.reward), p.scenario.log_reference, budget)
    return best if p.reward.certified else CertifiedPolicy(best.log_policy, np.inf, best.tolerance)


def _clipped(p: ChoiceProblem) -> CertifiedPolicy:
    if not p.scenario.product:
        raise InputError(
            "the clip averages over the distribution of single alternatives, which weights of pairs do not "
            "have"
        )
    floor = clip_floor(p.reward.reward, p.scenario.pairs, 0.45)
    return _mle(p, p.budget, lambda r: np.clip(r, floor, floor + 0.375))


def _borda(p: ChoiceProblem) -> CertifiedPolicy:
    if not p.scenario.product:
        raise InputError("Borda is defined for alternatives drawn independently, not for weights of pairs")
    if p.exact:
        return borda(p.win, p.comparison)
    wins = p.counts.sum(0)
    appearances = wins.sum(1) + wins.sum(0)
    shares = wins.sum(1) / np.where(appearances > 0, appearances, 1)
    return CertifiedPolicy(normalised(np.where(shares >= shares.max() - 1e-14, 0.0, -np.inf)), 0.0, 0.0)


def _longest(p: ChoiceProblem) -> CertifiedPolicy:
    if p.scenario.texts is None:
        raise InputError("the alternatives have no texts")
    length = np.array([len(t) for t in p.scenario.texts])
    return CertifiedPolicy(normalised(np.where(length == length.max(), 0.0, -np.inf)), 0.0, 0.0)


def _of_groups(p: ChoiceProblem, rule: Callable[..., CertifiedPolicy], shares: bool) -> CertifiedPolicy:
    """A rule of the groups' rewards; not certified if one of the rewards is not."""
    fits = p.group_rewards
    given = ([f.reward for f in fits], *([p.shares] if shares else []), p.scenario.log_reference, p.budget)
    found = rule(*given)
    solved = all(f.certified for f in fits)
    return found if solved else CertifiedPolicy(found.log_policy, np.inf, found.tolerance)


RULES: dict[str, tuple[bool, Callable[[ChoiceProblem], CertifiedPolicy], Any]] = {
    "reference": (True, lambda p: CertifiedPolicy(p.scenario.log_reference, 0.0, 0.0), None),
    "plurality": (False, lambda p: plurality(p.votes), plurality),
    "random dictator": (False, lambda p: random_dictator(p.votes), random_dictator),
    "plurality veto": (False, lambda p: plurality_veto(p.votes, p.vetoes), plurality_veto),
    "Borda": (False, _borda, borda_scores),
    "Copeland": (False, lambda p: copeland(p.win), copeland),
    "Schulze": (False, lambda p: schulze(p.win), schulze),
    "ranked pairs": (False, lambda p: ranked_pairs(p.win), ranked_pairs),
    "population-proportional": (
        False,
        lambda p: population_proportional(p.win),
        population_proportional,
    ),
    "maximal lottery": (False, lambda p: maximal_lottery(p.win), maximal_lottery),
    "RLHF, no KL": (False, lambda p: _mle(p, np.inf), rlhf),
    "RLHF": (True, lambda p: _mle(p, p.budget), rlhf),
    "clipped RLHF": (True, _clipped, clipped_rlhf),
    "NLHF": (True, lambda p: kl_nlhf(p.win, p.scenario.log_reference, p.budget), kl_nlhf),
    "MaxMin": (True, lambda p: _of_groups(p, maxmin, False), maxmin),
    "Nash welfare": (True, lambda p: _of_groups(p, nash_welfare, True), nash_welfare),
    "group mixture": (True, lambda p: _of_groups(p, group_mixture, True), group_mixture),
    "longest text": (False, _longest, None),
    "optimum": (
        True,
        lambda p: kl_linear_maximisation(p.scenario.average_utility, p.scenario.log_reference, p.budget),
        kl_linear_maximisation,
    ),
}


"""The rules by label.

Each has three entries: whether its policy stays in the ball of the KL budget (if not, it is compared with all
lotteries), the rule itself, and the function whose docstring names the rule's source.
"""


def parse_methods(words: Sequence[str | Rule], scenarios: Sequence[Scenario]) -> list[Method]:
    """Methods from words such as `NLHF`, `maximal-lottery`, `dpo`, `f_dpo:divergence=jensen_shannon`,
    `objectives`.

    Case, spaces and hyphens do not matter, and `random ballot` is another name of the random dictator. The
    word `rules` means all rules that a population can have: the longest text needs texts, MaxMin, Nash
    welfare and the group mixture need groups, and plurality veto the exact law. It is also what an empty list
    means. The word `objectives` means all objectives, `all` means both, and `aot` AOT paired and unpaired. A
    rule of one's own is a function from a `distalign.pluralism.choice_problem.ChoiceProblem` to
    probabilities: the function itself, or `module:function`. Its name in tables is the function's.

    Args:
        words: the methods as the user names them.
        scenarios: the populations they will be applied to; they decide what `rules` means.

    Raises:
        InputError: a name is unknown (the message offers those near it), two methods would have the same
            name, or the objective does not have an option or refuses its value.

    Example:
        >>> [m.label for m in parse_methods(["nlhf", "dpo:beta=0.1"], [])]
        ['NLHF', 'dpo:beta=0.1']
        >>> [m.label for m in parse_methods(["aot"], [])]
        ['aot_paired', 'aot_unpaired']
        >>> parse_methods(["NHLF"], [])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        distalign.checks.InputError: unknown method 'NHLF': did you mean NLHF or RLHF? rules, objectives, ...
    """
    found: dict[str, Method] = {}
    for word in words or ("rules",):
        for method in _expand(word, scenarios):
            if found.setdefault(method.label, method).rule is not method.rule:
                raise InputError(f"two methods are called {method.label!r}: give your function another name")
    return list(found.values())


def apply_method(method: Method, problem: ChoiceProblem) -> Outcome:
    """The policy of one method.

    Where the method declines the population, the outcome is the reference without a certificate, and its note
    is the reason.

    Raises:
        InputError: a rule of one's own returns something else than probabilities.
    """
    try:
        if method.rule is not None:
            return own_policy(method.rule, method.label, problem)
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
    except RuleError:
        raise
    except InputError as refused:
        return Outcome(CertifiedPolicy(problem.scenario.log_reference, np.inf, 0.0), np.inf, str(refused))


def source_of(method: Method) -> str:
    """The sentence after `Source:` in the docstring of the code that a method runs; "" for the reference."""
    known = None if method.rule is not None else RULES.get(method.name)
    code = known[2] if known else method.rule or getattr(objectives, method.name)
    told = re.search(r"^Source: (.*?)(?:\n\n|\Z)", inspect.getdoc(code) or "", re.S | re.M) if code else None
    return " ".join(told[1].split()) if told else ""


def _left_out(scenarios: Sequence[Scenario]) -> set[str]:
    """Rules that none of the populations can have."""
    needs = {
        "longest text": any(s.texts is not None for s in scenarios),
        "plurality veto": any(s.n is None for s in scenarios),
        **dict.fromkeys(("MaxMin", "Nash welfare", "group mixture"), any(s.groups for s in scenarios)),
    }
    return {name for name, there in needs.items() if not there}


def _expand(word: str | Rule, scenarios: Sequence[Scenario]) -> list[Method]:
    if not isinstance(word, str):
        return [_own(word)]
    missing = _left_out(scenarios)
    rules = [Method(n, n) for n in RULES if n not in missing]
    whole = {"rules": rules, "objectives": [Method(n, n) for n in OBJECTIVES]}
    whole["all"] = rules + whole["objectives"]
    whole["aot"] = [m for m in whole["objectives"] if m.name.startswith("aot_")]
    if word.lower() in whole:
        return whole[word.lower()]
    name, _, options = word.partition(":")
    names = {_plain(n): n for n in (*RULES, *OBJECTIVES)} | {"randomballot": "random dictator"}
    if _plain(name) not in names and re.fullmatch(r"[\w.]+:\w+", word):
        return [_own(named_rule(word))]
    if _plain(name) not in names:
        guess = suggestion(name, names.values())
        near = f"{guess} " if guess.startswith("did you mean") else ""
        raise InputError(
            f"unknown method {name!r}: {near}rules, objectives, all and the names of rules and of "
            "distalign.objectives are known, and module:function names a rule of your own"
        )
    name = names[_plain(name)]
    given = tuple(_option(name, text) for text in options.split(",") if text)
    if given and name in RULES:
        raise InputError(f"{name} takes no options, got {options!r}")
    if name in OBJECTIVES:
        check_options(name, dict(given))
    return [Method(f"{name}:{options}" if given else name, name, given)]


def _own(rule: Rule) -> Method:
    if not callable(rule):
        raise InputError(f"a method must be a word or a function of the choice problem, got {rule!r}")
    label = label_of(rule)
    if _plain(label) in {_plain(n) for n in (*RULES, *OBJECTIVES)}:
        raise InputError(f"your rule is called {label!r}, as a method of distalign is: give it another name")
    return Method(label, label, rule=rule)


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
