"""Preference games and rewards of thousands of alternatives, against general-purpose solvers.

The twins are linear programs, mirror descent and L-BFGS. The games are Bradley-Terry populations of 64
types with uniform utilities at temperature 10, and dense games whose margins are tanh of normal noise. A
line is met only if the certificate of our answer is at most 1e-8. Mirror descent is shown with the constant
step that its theory allows and with an adaptive one. On a Bradley-Terry population, which is nearly
transitive, the adaptive one is close to a fixed-point iteration and comes within a factor of three of
Newton's method.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from benchmarks.timing import Duel, best
from distalign.oracles import games as oracle
from distalign.populations import win_matrix
from distalign.solvers.choice.certified import Array, CertifiedPolicy
from distalign.solvers.choice.games import exploitability, kl_nlhf, maximal_lottery
from distalign.solvers.choice.reward import reward_mle

TYPES, TEMPERATURE, CERTIFICATE = 64, 10.0, 1e-8


def population(size: int) -> tuple[Array, Array]:
    """Utilities and the win matrix of a population with `size` alternatives."""
    utilities = np.random.default_rng(0).random((TYPES, size))
    return utilities, win_matrix(utilities, np.full(TYPES, 1 / TYPES), TEMPERATURE)


def dense_game(size: int) -> Array:
    """A win matrix whose margins are tanh of antisymmetric normal noise."""
    noise = np.random.default_rng(0).standard_normal((size, size))
    return (1 + np.tanh((noise - noise.T) / np.sqrt(2))) / 2


def duels():
    """Every line of the table."""
    utilities, win = population(2000)
    yield win_matrices(utilities, win)
    yield rewards(win)
    yield lotteries("Bradley-Terry population", win, "highs", 50)
    yield lotteries("dense game", dense_game(1000), "highs-ipm", 1)
    small = population(1000)[1]
    yield nlhf("Bradley-Terry", small, 0.1, 5, adaptive=False)
    yield nlhf("Bradley-Terry", small, 1.0, 1, adaptive=True)
    yield nlhf("dense game", dense_game(1000), 0.1, 5, adaptive=True)
    yield large_nlhf(win)


def certified(
    name: str, ours: float, certificate: float, twin: str, theirs: float, goal: float, difference: float
) -> Duel:
    """A line that is met only if our answer is certified, too."""
    met = theirs >= goal * ours and certificate <= CERTIFICATE
    return Duel(
        f"{name} (certificate {certificate:.0e})",
        ours,
        twin,
        theirs,
        f"goal >= {goal:g}x",
        bool(met),
        difference,
    )


def win_matrices(utilities: Array, win: Array) -> Duel:
    """The win matrix of a population, against the logistic function of every pair."""
    weights = np.full(TYPES, 1 / TYPES)

    def direct() -> Array:
        total = np.zeros(win.shape)
        for weight, logits in zip(weights, TEMPERATURE * utilities, strict=True):
            total += weight * expit(logits[:, None] - logits)
        return total

    ours, theirs = best(lambda: win_matrix(utilities, weights, TEMPERATURE), 2), best(direct, 2)
    return Duel(
        f"win matrix, {TYPES} types, m = {len(win)}",
        ours,
        "logistic function of every pair",
        theirs,
        "goal >= 3x",
        theirs >= 3 * ours,
        float(np.abs(direct() - win).max()),
    )


def rewards(win: Array) -> Duel:
    """The maximum-likelihood reward, against L-BFGS on the same likelihood.

    The twin takes one exponential for each pair, and value and gradient together.
    """
    mu = np.random.default_rng(1).dirichlet(np.full(len(win), 5.0))

    def loss(r: Array) -> tuple[float, Array]:
        d = r[:, None] - r
        surprise = np.log1p(np.exp(-np.abs(d))) + np.maximum(-d, 0)
        value = mu @ (win * surprise) @ mu
        residual = win - expit(d)
        np.fill_diagonal(residual, 0)
        return float(value), -mu * (residual @ mu)

    fit = reward_mle(win, mu)
    ours = best(lambda: reward_mle(win, mu), 3)
    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-16, "gtol": 1e-10}
    found = []
    theirs = best(
        lambda: found.append(
            minimize(loss, np.zeros(len(win)), jac=True, method="L-BFGS-B", options=options).x
        ),
        1,
    )
    difference = float(np.abs(found[0] - found[0].mean() - fit.reward).max())
    return certified("reward, m = 2000", ours, fit.certificate, "scipy L-BFGS-B", theirs, 20, difference)


def lotteries(name: str, win: Array, method: str, goal: float) -> Duel:
    """The maximal lottery, against a linear program by scipy."""
    found = maximal_lottery(win)
    ours, lottery = best(lambda: maximal_lottery(win), 3), []
    theirs = best(lambda: lottery.append(oracle.maximal_lottery(win, method)[0]), 1)
    difference = float(np.abs(found.policy - lottery[0]).max())
    return certified(
        f"lottery, {name}, m = {len(win)}",
        ours,
        found.certificate,
        f"scipy {method}",
        theirs,
        goal,
        difference,
    )


def nlhf(name: str, win: Array, budget: float, goal: float, *, adaptive: bool) -> Duel:
    """KL-constrained NLHF, against mirror descent."""
    reference, policies = np.full(len(win), -np.log(len(win))), []
    found: CertifiedPolicy = kl_nlhf(win, reference, budget)
    ours = best(lambda: kl_nlhf(win, reference, budget), 5)
    theirs = best(
        lambda: policies.append(oracle.kl_nlhf_by_mirror_descent(win, reference, budget, adaptive=adaptive)),
        1,
    )
    assert exploitability(win, policies[0], reference, budget) <= CERTIFICATE
    difference = float(np.abs(found.policy - np.exp(policies[0])).max())
    return certified(
        f"KL-NLHF, {name}, m = {len(win)}, tau = {budget:g}",
        ours,
        found.certificate,
        f"mirror descent, {'adaptive' if adaptive else 'constant'} step",
        theirs,
        goal,
        difference,
    )


def large_nlhf(win: Array) -> Duel:
    """KL-constrained NLHF on a large game, against a goal in seconds."""
    reference = np.full(len(win), -np.log(len(win)))
    found = kl_nlhf(win, reference, 1.0)
    ours = best(lambda: kl_nlhf(win, reference, 1.0), 3)
    return certified(
        f"KL-NLHF, m = {len(win)}, tau = 1",
        ours,
        found.certificate,
        "the goal in seconds",
        1.0,
        1,
        found.certificate,
    )
