"""One's own rule: any function from the choice problem to probabilities.

Source: ours.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distalign.checks import InputError
from distalign.pluralism.choice_problem import ChoiceProblem
from distalign.pluralism.objective_methods import Outcome
from distalign.solvers.choice.certified import CertifiedPolicy, in_ball

Rule = Callable[[ChoiceProblem], Any]


def named_rule(word: str) -> Rule:
    """The function that `module:function` names; modules in the current folder are found as well.

    Raises:
        InputError: there is no such module or function, or it cannot be called.

    Example:
        >>> named_rule("distalign.pluralism.choice_problem:budget_of").__name__
        'budget_of'
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = pkgutil.resolve_name(word)  # a cell then holds the function, whose source is in its name
    except (ImportError, AttributeError) as error:
        raise InputError(f"method {word!r} cannot be imported: {error}") from error
    if not callable(found):
        raise InputError(f"method {word!r} is no function: give one from a choice problem to probabilities")
    return found


def own_policy(rule: Rule, label: str, problem: ChoiceProblem) -> Outcome:
    """What one's own rule answers; it is taken as it is, so its certificate is 0.

    Inside the ball of the KL budget the policy is compared with the ball, and with all lotteries otherwise.

    Raises:
        InputError: the answer is not one probability for each alternative.
    """
    answer = rule(problem)
    try:
        p = np.asarray(answer, float)
    except (TypeError, ValueError):
        p = np.empty(0)
    size = len(problem.log_reference)
    if p.shape != (size,) or not (np.isfinite(p) & (p >= 0)).all() or abs(p.sum() - 1) > 1e-8:
        raise RuleError(
            f"{label} must return {size} probabilities of sum 1, one for each alternative, got "
            f"{' '.join(repr(answer).split())[:120]}"
        )
    with np.errstate(divide="ignore"):
        log_policy = np.log(p / p.sum())
    inside = in_ball(log_policy, problem.log_reference, problem.budget)
    note = (
        ""
        if inside
        else "one's own rule; it left the ball of the KL budget, so it is compared with all lotteries"
    )
    return Outcome(CertifiedPolicy(log_policy, 0.0, 0.0), problem.budget if inside else np.inf, note)


class RuleError(InputError):
    """A rule of one's own gave an answer that is no policy: this is shown and not noted in a table."""


def digest_of(rule: Rule) -> str:
    """A digest of a rule: the whole file that defines it, its name, defaults, and the values it refers to.

    A finished cell is used again only where it is the same. Code in other files that the rule calls is not
    followed: after a change there, give another folder.

    Raises:
        InputError: the source of the rule cannot be found.
    """
    import joblib

    function: Any = rule if inspect.isroutine(rule) else type(rule).__call__
    try:
        file = Path(inspect.getfile(function))
        source = file.read_bytes() if file.is_file() else inspect.getsource(function).encode()
        seen = inspect.getclosurevars(function)
    except (OSError, TypeError) as error:
        raise InputError(
            f"the source of method {label_of(rule)!r} cannot be read: define it in a file"
        ) from error
    values = {
        name: value
        for name, value in {**seen.globals, **seen.nonlocals}.items()
        if not (callable(value) or inspect.ismodule(value))
    }
    kept = (values, function.__defaults__, function.__kwdefaults__, getattr(rule, "__dict__", {}))
    words = (hashlib.sha256(source).hexdigest(), function.__qualname__, str(joblib.hash(kept)))
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:32]


def label_of(rule: Rule) -> str:
    """What tables call a rule: its name."""
    return str(getattr(rule, "__name__", type(rule).__name__))
