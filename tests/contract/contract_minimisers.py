"""Point 5: where an objective is minimised over all policies on a few responses, by an oracle or a formula.

Each function here is, or makes, a check that a case of the contract carries as its `minimiser`. Where there
is no finite minimiser the check is of what the literature says happens instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from contract_kit import Case, Loss
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import expit, softmax

from distalign.oracles.ambiguity import chi2_ball_fit, kl_ball_fit
from distalign.oracles.regularised import regularised_optimum
from distalign.oracles.transport import transport_cost
from distalign.policies import Tabular, score
from distalign.populations import Population
from distalign.populations.law import Law
from distalign.preferences import PreferenceLogProbs as Batch
from distalign.simulation.fit import Fit, fit

Array = NDArray[np.float64]

REWARD, REFERENCE = np.array([0.8, 0.3, -0.2, -0.9]), np.array([0.1, 0.2, 0.3, 0.4])
BRADLEY_TERRY = Population(expit(REWARD[:, None] - REWARD), REFERENCE)
LAW = BRADLEY_TERRY.pairs(distinct=True)
WON = np.array(
    [0.6, 0.7, 0.85]
)  # three prompts of two responses: any probability of winning has its own optimum
BINARY = Population(np.stack([[[0.5, p], [1 - p, 0.5]] for p in WON]), [[0.5, 0.5], [0.3, 0.7], [0.8, 0.2]])


def fitted(loss: Loss, population: Population, law: Law | None = None) -> Fit:
    found = fit(Tabular(population.reference), loss, population.pairs(distinct=True) if law is None else law)
    assert bool(found.converged)
    return found


def at(loss: Loss, policy: Array, reference: Array, law: Law) -> tuple[float, float]:
    """Value and largest derivative by the table of a policy over responses of one prompt."""
    theta = torch.tensor(np.log(policy / reference), requires_grad=True)
    weights = [None if w is None else torch.tensor(w) for w in (law.weights, law.rejected_weights)]
    value = loss(
        score(Tabular(reference), theta, torch.tensor(law.chosen), torch.tensor(law.rejected), *weights)
    )
    return float(value.detach()), float(torch.autograd.grad(value, theta)[0].abs().max())


def tilted(c: float) -> Array:
    return softmax(np.log(REFERENCE) + c * REWARD)


def is_tilted(c: float) -> Callable[[Case], None]:
    """pi proportional to pi_ref exp(c r) under Bradley-Terry."""
    return lambda case: assert_allclose(fitted(case.loss, BRADLEY_TERRY).probs[0], tilted(c), atol=1e-9)


def is_regularised(name: str) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        oracle = regularised_optimum(REWARD, REFERENCE, 0.5, name)
        assert_allclose(fitted(case.loss, BRADLEY_TERRY).probs[0], oracle, atol=2e-7)

    return check


def has_difference(h: Array, divisors: Array | None = None) -> Callable[[Case], None]:
    """Log-ratio of response 0 minus that of response 1 is h for each prompt; with `divisors`, each divided by
    its length.
    """

    def check(case: Case) -> None:
        a, b = (1.0, 1.0) if divisors is None else divisors
        lengths = torch.tensor([a, b] * 3)
        chosen, rejected = BINARY.pairs(distinct=True).chosen, BINARY.pairs(distinct=True).rejected

        def loss(batch: Batch) -> torch.Tensor:
            return case.loss(replace(batch, chosen_tokens=lengths[chosen], rejected_tokens=lengths[rejected]))

        ratios = fitted(loss, BINARY).log_probs - np.log(BINARY.reference)
        assert_allclose(ratios[:, 0] / a - ratios[:, 1] / b, h, atol=1e-8)
        # the policy is the one on the simplex with that difference
        for (p, q), pair, difference in zip(BINARY.reference, ratios, h):
            root = brentq(
                lambda x, p=p, q=q, d=difference: p * np.exp(x) + q * np.exp(b * (x / a - d)) - 1,
                -9,
                9,
                xtol=1e-13,
            )
            assert_allclose(pair[0], root, atol=1e-8)

    return check


def ball(case: Case) -> None:
    features = np.eye(4)[LAW.chosen] - np.eye(4)[LAW.rejected]
    theta, value = kl_ball_fit(features, LAW.weights, radius=0.1)
    found = fitted(case.loss, BRADLEY_TERRY)
    assert_allclose(found.probs[0], softmax(np.log(REFERENCE) + theta), atol=1e-6)
    assert_allclose(found.value, value, atol=1e-9)


def chi2_ball(case: Case) -> None:
    features = np.eye(4)[LAW.chosen] - np.eye(4)[LAW.rejected]
    theta, value = chi2_ball_fit(features, LAW.weights, radius=0.1)
    # The loss has a kink at the reference, where Newton's method would stall.
    found = fit(Tabular(REFERENCE), case.loss, LAW, start=REWARD / 2)
    assert bool(found.converged)
    assert_allclose(found.probs[0], softmax(np.log(REFERENCE) + theta), atol=1e-6)
    assert_allclose(found.value, value, atol=1e-9)


def stationary_when_shrunk(case: Case) -> None:
    assert at(case.loss, tilted(2 / 3), REFERENCE, LAW)[1] < 1e-12
    assert at(case.loss, tilted(1), REFERENCE, LAW)[1] > 1e-2


def groups(case: Case) -> None:
    """Two groups of users disagree on the same three prompts; the oracle minimises the log-sum-exp as a conic
    program.
    """
    shares, wins = np.array([0.8, 0.2]), np.array([WON, [0.3, 0.9, 0.2]])
    prompt, winner, group = (x.ravel() for x in np.indices((3, 2, 2)))
    p = np.where(winner == 0, wins[group, prompt], 1 - wins[group, prompt]) * shares[group] / 3
    law = Law(2 * prompt + winner, 2 * prompt + 1 - winner, p)
    found = fitted(lambda b: case.loss(replace(b, groups=torch.tensor(group))), BINARY, law)
    t = cp.Variable(3)
    losses = cp.logistic(cp.multiply(2 * winner - 1, t[prompt]))
    means = cp.hstack([p[group == g] @ losses[np.flatnonzero(group == g)] / shares[g] for g in (0, 1)])
    problem = cp.Problem(cp.Minimize(0.5 * cp.log_sum_exp(means / 0.5 + np.log(shares))))
    problem.solve(solver=cp.CLARABEL)
    ratios = found.log_probs - np.log(BINARY.reference)
    assert_allclose(ratios[:, 0] - ratios[:, 1], t.value, atol=1e-4)
    assert_allclose(found.value, problem.value, atol=1e-7)


def preferred(prior: float, *, holds: bool = True) -> Callable[[Case], None]:
    """The minimiser is p+, or where `holds` is False provably another policy."""

    def check(case: Case) -> None:
        lift = np.array([2.2, 1.2, 0.9, 0.7])
        thumbs = Population(np.full((4, 4), 0.5), REFERENCE).thumbs([prior * lift / (REFERENCE @ lift)])
        found = fitted(case.loss, BRADLEY_TERRY, thumbs.law()).probs
        distance = np.abs(found - thumbs.preferred).sum() / 2
        assert distance < 1e-8 if holds else distance > 5e-3

    return check


MIRRORED = Law(np.arange(4), np.arange(4), np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4]))


def mirrored(case: Case) -> None:
    """Laws that mirror each other around a uniform reference: the mean reward is the right shift."""
    uniform, odds = np.full(4, 0.25), MIRRORED.weights / MIRRORED.weights[::-1]
    assert at(case.loss, odds**2 / (odds**2).sum(), uniform, MIRRORED)[1] < 1e-12
    assert at(case.loss, odds / odds.sum(), uniform, MIRRORED)[1] > 1e-3


def no_minimiser_but_a_classifier(case: Case) -> None:
    """The value falls for ever as mass leaves the responses that are rejected more often than chosen."""
    path = [softmax(np.log(REFERENCE) + s * np.array([1, 1, -1, -1])) for s in range(9)]
    assert (np.diff([at(case.loss, policy, REFERENCE, MIRRORED)[0] for policy in path]) < 0).all()


THREE, THREE_REFERENCE = np.array([0.8, 0.1, -0.9]), np.array([0.2, 0.3, 0.5])
SMALL = Population(expit(THREE[:, None] - THREE), THREE_REFERENCE).pairs(distinct=True)


def transported(paired: bool, h: Callable[[Array], Array]) -> Callable[[Case], None]:
    """Against the linear program over couplings. Neither is convex in the policy and the sort has kinks, so
    both are searched without derivatives from the same starts."""

    def policy(theta: Array) -> Array:
        return softmax(np.log(THREE_REFERENCE) + np.append(theta, 0))

    def oracle(theta: Array) -> float:
        ratio, table = np.log(policy(theta) / THREE_REFERENCE), np.log(THREE_REFERENCE)
        u, v = ratio[SMALL.chosen], ratio[SMALL.rejected]
        if paired:
            u, v = (
                u - v + table[SMALL.chosen] - table[SMALL.rejected],
                table[SMALL.chosen] - table[SMALL.rejected],
            )
        return transport_cost(u, v, h, SMALL.weights, SMALL.weights)

    def lowest(f: Callable[[Array], float]) -> tuple[float, Array]:
        options = {"xatol": 1e-9, "fatol": 1e-13, "maxfev": 500}
        found = [
            minimize(f, start, method="Nelder-Mead", options=options) for start in ([0.5, 0.3], [2.0, 1.0])
        ]
        best = min(found, key=lambda r: r.fun)
        return best.fun, best.x

    def check(case: Case) -> None:
        ours, at_ours = lowest(lambda x: at(case.loss, policy(x), THREE_REFERENCE, SMALL)[0])
        theirs, at_theirs = lowest(oracle)
        assert_allclose(ours, theirs, atol=1e-9)
        assert_allclose(policy(at_ours), policy(at_theirs), atol=1e-4)
        assert_allclose(at(case.loss, policy(at_theirs), THREE_REFERENCE, SMALL)[0], theirs, atol=1e-9)

    return check


def never_reached(h: Callable[[float], float]) -> Callable[[Case], None]:
    """Unpaired laws are ordered as soon as the policy orders responses by reward. Then only the mass on which
    both quantile functions sit on one response pays, h(0), and the rest pays h of a gap that may grow for
    ever."""

    def check(case: Case) -> None:
        order = np.argsort(REWARD)
        chosen, rejected = (np.bincount(x, LAW.weights) for x in (LAW.chosen, LAW.rejected))
        ends = np.cumsum(chosen[order]), np.cumsum(rejected[order])
        shared = np.maximum(np.minimum(*ends) - np.maximum(*(np.append(0, e[:-1]) for e in ends)), 0).sum()
        values = [at(case.loss, tilted(c), REFERENCE, LAW)[0] for c in (0.0, 1.0, 2.0, 4.0, 8.0, 99.0)]
        assert (np.diff(values) <= 1e-12).all()
        assert_allclose(values[-1], h(0) * shared, atol=1e-6)

    return check


PENALTIES: dict[str, Callable[[Any], Any]] = {  # of AOT: beta 1/2 for logistic, margin 1 for the others
    "logistic": lambda x: np.logaddexp(0, -x / 2),
    "squared_hinge": lambda x: np.maximum(1 - x, 0) ** 2,
    "hinge": lambda x: np.maximum(1 - x, 0),
    "least_squares": lambda x: (1 - x) ** 2,
}


def of_aot(penalty: str, *, paired: bool) -> Callable[[Case], None]:
    """A minimiser where there is one; unpaired, the monotone penalties have none."""
    h = PENALTIES[penalty]
    return transported(paired, h) if paired or penalty == "least_squares" else never_reached(h)
