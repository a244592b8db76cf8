"""Objectives as methods: the tabular minimiser of an objective, at the beta that spends the KL budget."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq, root
from torch import Tensor

from distalign import objectives
from distalign.checks import InputError, suggestion
from distalign.objectives import SmallBatchWarning, declared, description_of
from distalign.policies import Tabular
from distalign.policies.score import score
from distalign.populations.law import Law
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.fit import fit
from distalign.solvers.choice.certified import CertifiedPolicy, kl_divergence
from distalign.types import Array

SMALLEST, LARGEST, STEP = np.log(1e-3), np.log(1e4), np.log(4.0)
_LACKS = {
    "inputs": "{} perturbs the features of a pair, which alternatives of a table do not have",
    "chosen_tokens": "{} divides by token lengths, which alternatives of a table do not have: ipo is the "
    "same at length 1",
}


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one method makes of a population.

    Attributes:
        solution: the policy with its certificate.
        limit: radius in nats of the ball {pi : KL(pi || pi_ref) <= limit} in which its distortion is
            measured; infinite where it is compared with all lotteries.
        note: what a reader of the table must know, or why there is no policy.
    """

    solution: CertifiedPolicy
    limit: float
    note: str = ""


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise for options that the objective does not have, and for values that it refuses.

    The objective is called once on eight pairs of log-ratio 0, so that a mistake is found before the long
    work.

    Args:
        name: of `distalign.objectives`.
        options: hyper-parameters by name.

    Raises:
        InputError: an option is unknown or out of range; the message names it.

    Example:
        >>> check_options("dpo", {"beat": 0.1})
        Traceback (most recent call last):
        distalign.checks.InputError: dpo has no option 'beat': did you mean beta?
    """
    has = [p for p in inspect.signature(getattr(objectives, name)).parameters if p != "batch"]
    for key in options:
        if key not in has:
            raise InputError(f"{name} has no option {key!r}: {suggestion(key, has)}")
    zeros = torch.zeros(8, dtype=torch.float64)
    if "inputs" not in declared(getattr(objectives, name)).needs:
        groups = torch.zeros(8, dtype=torch.int64)
        _loss(name, options, 1.0)(
            PreferenceLogProbs(
                *[zeros] * 4, groups=groups, chosen_tokens=zeros + 1, rejected_tokens=zeros + 1
            )
        )


def tabular_policy(
    name: str, options: dict[str, Any], counts: Array, log_reference: Array, budget: float, *, grouped: bool
) -> Outcome:
    r"""The policy over m alternatives that minimises an objective on comparisons.

    Unless `beta` is among the options, it is chosen such that KL(pi || pi_ref) is the budget to a share 1e-6,
    between 1e-3 and 1e4. Where KL stays below the budget down to the smallest beta that can be solved, the
    policy there is taken: it is in the ball. Where KL stays above, where the objective has no beta (sft,
    ddro, rdro) and where beta is given, the policy is compared with all lotteries. Other hyper-parameters
    default to what the objective describes (`distalign.objectives.described`).

    Args:
        name: of `distalign.objectives`.
        options: hyper-parameters.
        counts: (G, m, m) mass of (group, winner, loser), a law or counts.
        log_reference: (m,) log pi_ref.
        budget: tau in nats.
        grouped: whether the first axis of `counts` stands for groups that the user named.

    Returns:
        The policy. Its certificate is the largest entry of the gradient; it is infinite where the search for
        the minimum did not converge.

    Raises:
        InputError: the objective reads something that a table does not have, or the reference is below the
            range of float64.

    Source: ours; the objectives are their papers'.

    Example:
        >>> counts = np.array([[[0.25, 0.4], [0.1, 0.25]]])
        >>> outcome = tabular_policy("dpo", {"beta": 1.0}, counts, np.log([0.5, 0.5]), 1.0, grouped=False)
        >>> outcome.solution.policy.round(6).tolist(), outcome.solution.certified
        ([0.8, 0.2], True)
    """
    needs = declared(getattr(objectives, name)).needs
    for lack, sentence in _LACKS.items():
        if lack in needs:
            raise InputError(sentence.format(name))
    if "groups" in needs and not grouped:
        raise InputError(f"{name} weighs groups of users, and none are given: add a group to each user")
    if log_reference.min() < -690:
        raise InputError(
            f"{name} is minimised over probabilities, and the reference goes down to "
            f"exp({log_reference.min():g})"
        )
    fits = _MinimisersByBeta(name, options, counts, log_reference)
    if "beta" not in inspect.signature(getattr(objectives, name)).parameters or {"beta", "margin"} & set(
        options
    ):
        return fits.outcome(0.0, np.inf)
    if budget == 0:
        return Outcome(CertifiedPolicy(log_reference, 0.0, 0.0), 0.0, "budget 0: the reference")
    if budget == np.inf:
        raise InputError(f"no beta of {name} spends an infinite budget: give one, as in {name}:beta=0.1")
    return _matched(fits, budget)


@dataclass
class _MinimisersByBeta:
    """The minimisers found so far, by log beta.

    Each search starts at the reference, so that no minimiser depends on those computed before it.
    """

    name: str
    options: dict[str, Any]
    counts: Array
    log_reference: Array
    cache: dict[float, tuple[Array, float, bool]] = field(default_factory=dict)

    def kl(self, log_beta: float) -> float:
        """KL(pi || pi_ref) of the minimiser in nats; NaN if there is none."""
        log_policy, _, settled = self.at(log_beta)
        return kl_divergence(log_policy, self.log_reference) if settled else np.nan

    def outcome(self, log_beta: float, limit: float, note: str = "") -> Outcome:
        """The policy at one beta as a method's outcome."""
        log_policy, gradient, settled = self.at(log_beta)
        if not settled:
            note = f"the minimum was not reached (gradient {gradient:.1g}): there may be none"
        return Outcome(CertifiedPolicy(log_policy, gradient if settled else np.inf, 1e-8), limit, note)

    def at(self, log_beta: float) -> tuple[Array, float, bool]:
        """Log-policy, largest entry of the gradient, and whether the policy has settled."""
        if log_beta not in self.cache:
            loss = _loss(self.name, self.options, float(np.exp(log_beta)))
            self.cache[log_beta] = _minimise(self.name, loss, self.counts, self.log_reference)
        return self.cache[log_beta]


def _matched(fits: _MinimisersByBeta, budget: float) -> Outcome:
    """The minimiser at the beta that spends the budget, or the nearest one there is (see `tabular_policy`).

    The KL falls as beta grows. The search walks from beta 1/4 in factors of 4 until one beta spends more than
    the budget and another spends less, and then takes the root between them.
    """
    x = float(np.log(0.25))
    above: float | None = None  # a log beta whose KL is above the budget
    below: float | None = None  # a log beta whose KL is below it
    while above is None or below is None:
        spent = fits.kl(x)
        if np.isnan(spent):
            break
        above, below = (x, below) if spent > budget else (above, x)
        x = x + STEP if below is None else x - STEP
        if not SMALLEST <= x <= LARGEST:
            break
    if below is None:
        largest = x if above is None else above
        return fits.outcome(
            largest,
            np.inf,
            f"KL exceeds the budget at every beta tried that has a minimum (up to "
            f"{np.exp(largest):.3g}): compared with all lotteries",
        )
    if above is None:
        return fits.outcome(
            below, budget, f"KL stays below the budget down to beta {np.exp(below):.3g}, which is taken"
        )
    beta: float = brentq(lambda b: np.log(fits.kl(b) / budget), above, below, xtol=1e-9)  # type: ignore[assignment]
    spent = fits.kl(beta)
    # The KL may jump over the budget, for instance where the minimiser moves between two local minima.
    if not abs(spent / budget - 1) <= 1e-6:
        return fits.outcome(
            below,
            budget,
            f"KL jumps from {spent:.3g} past the budget near beta {np.exp(beta):.3g}; beta "
            f"{np.exp(below):.3g} is taken",
        )
    return fits.outcome(beta, max(budget, spent), f"beta {np.exp(beta):.4g}")


def _loss(name: str, options: dict[str, Any], beta: float) -> Callable[[PreferenceLogProbs], Tensor]:
    f = getattr(objectives, name)
    given = {**description_of(f).defaults, **options}
    if "radius" in options:
        given.pop("temperature", None)
    if "beta" in inspect.signature(f).parameters and "margin" not in given:
        given.setdefault("beta", beta)
    return partial(f, **given)


def _minimise(
    name: str, loss: Callable[[PreferenceLogProbs], Tensor], counts: Array, log_reference: Array
) -> tuple[Array, float, bool]:
    needs_groups = "groups" in declared(loss).needs
    group, winner, loser = np.nonzero(counts if needs_groups else counts.sum(0, keepdims=True))
    weights = (counts if needs_groups else counts.sum(0, keepdims=True))[group, winner, loser]
    law = Law(winner, loser, weights / weights.sum())
    if declared(loss).data != "pairs":
        law = law.unpaired()
    if needs_groups:
        index, plain = torch.as_tensor(group), loss
        loss = lambda batch: plain(replace(batch, groups=index))  # noqa: E731
    policy = Tabular(np.exp(log_reference))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallBatchWarning)
        if name == "bco":
            return _equilibrium(policy, loss, law)
        found = fit(policy, loss, law)
    return found.log_probs[0], float(found.gradient_norm), bool(found.settled)


def _equilibrium(
    policy: Tabular, loss: Callable[[PreferenceLogProbs], Tensor], law: Law
) -> tuple[Array, float, bool]:
    """The policy at which the gradient of BCO vanishes.

    BCO differentiates with the mean reward held constant, so its gradient is that of no function and there is
    no value to minimise: the policy is a root of the gradient.
    """
    chosen, rejected = torch.as_tensor(law.chosen), torch.as_tensor(law.rejected)
    tables = [torch.as_tensor(w) for w in (law.weights, law.rejected_weights) if w is not None]

    def gradient(z: Array) -> Array:
        free = torch.tensor(z, requires_grad=True)
        value = loss(score(policy, policy.directions @ free, chosen, rejected, *tables, validate=False))
        return torch.autograd.grad(value, free)[0].numpy()

    found = root(gradient, np.zeros(policy.directions.shape[1]), tol=1e-13)
    size = float(np.abs(gradient(found.x)).max())
    return policy.log_probs(policy.directions @ torch.as_tensor(found.x))[0].numpy(), size, size <= 1e-9
