"""Differential evolution over whole alignment problems: how bad can KL-constrained RLHF be made?

The search is told nothing of how to do it. A problem has three responses and three types of users.
Utilities, weights, comparisons, reference and the strength s of the policy pi_ref e^{s r} are searched at
once, and the KL budget is what that policy spends. A generation is evaluated as one batch, in closed form
but for the Bradley-Terry fit (Newton's method on two unknowns) and the strength of the best policy in the
ball (bisection).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import differential_evolution
from scipy.special import expit, log_softmax

from distalign.populations import BradleyTerryUsers
from distalign.simulation.studies.distortion.problems import AlignmentProblem
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import rlhf
from distalign.types import Array

TYPES = SIZE = 3
PAIRS = (np.array([0, 0, 1]), np.array([1, 2, 2]))
# The genes of a problem: 9 logits of utilities, 3 log-weights, 3 log-comparisons, 3 log(-log) of the
# reference, log s.
LOW = np.array([-15.0] * 9 + [-20.0] * 3 + [-25.0] * 3 + [-3.0] * 3 + [-3.0])
HIGH = np.array([15.0] * 9 + [0.0] * 6 + [17.0] * 3 + [20.0])
# Tells apart rewards that differ by 1e-5, and leaves out what the reference excludes by e^{-10^7}.
KNOWN_STRENGTH = 1e6


@dataclass(frozen=True, eq=False)
class ProblemBatch:
    """S alignment problems at once, and the strength of the policy in each."""

    utilities: Array
    weights: Array
    comparison: Array
    log_reference: Array
    strength: Array


def decode(genes: Array, on_policy: bool) -> ProblemBatch:
    """The problems of (S, 19) genes; on policy the reference is the comparison distribution."""
    # The logistic function overshoots [0, 1] by 1e-6, so that utilities of exactly 0 and 1 are within reach.
    utilities = np.clip((1 + 2e-6) * expit(genes[:, :9]) - 1e-6, 0, 1).reshape(-1, TYPES, SIZE)
    weights, log_mu = np.exp(log_softmax(genes[:, 9:12], axis=1)), log_softmax(genes[:, 12:15], axis=1)
    log_reference = log_mu if on_policy else log_softmax(-np.exp(genes[:, 15:18]), axis=1)
    return ProblemBatch(utilities, weights, np.exp(log_mu), log_reference, np.exp(genes[:, 18]))


def encode(problem: AlignmentProblem, strength: float) -> Array:
    """Genes of a known problem of three responses and two or three types of users.

    They are cut at the limits of the search.
    """
    utilities, weights = np.zeros((TYPES, SIZE)), np.full(TYPES, 1e-9)
    utilities[: len(problem.users.weights)] = problem.users.utilities
    weights[: len(problem.users.weights)] = problem.users.weights
    centred = np.clip((utilities + 1e-6) / (1 + 2e-6), 1e-12, 1 - 1e-12)
    log_mu = np.log(problem.comparison)
    genes = [
        np.log(centred / (1 - centred)).ravel(),
        np.log(weights),
        log_mu - log_mu.max(),
        np.log(np.maximum(-problem.log_reference, 0.05)),
        [np.log(strength)],
    ]
    return np.clip(np.concatenate(genes), LOW, HIGH)


def ratios(problems: ProblemBatch, bt_temperature: float) -> Array:
    """(S,) distortion of RLHF with the KL budget that its policy spends."""
    u = bt_temperature * problems.utilities
    win = np.einsum("sk,skp->sp", problems.weights, expit(u[:, :, PAIRS[0]] - u[:, :, PAIRS[1]]))
    pair_weights = problems.comparison[:, PAIRS[0]] * problems.comparison[:, PAIRS[1]]
    reward = _fit(win, pair_weights / pair_weights.max(1, keepdims=True))
    average = np.einsum("sk,skx->sx", problems.weights, problems.utilities)
    policy = log_softmax(problems.log_reference + problems.strength[:, None] * reward, axis=1)
    best = _best(average, problems.log_reference, _kl(policy, problems.log_reference))
    wanted, achieved = ((average * np.exp(lottery)).sum(1) for lottery in (best, policy))
    return np.maximum(wanted, 1e-300) / np.maximum(achieved, 1e-300)


def search(
    bt_temperature: float,
    rng: np.random.Generator,
    generations: int,
    *,
    on_policy: bool,
    known: AlignmentProblem | None,
) -> tuple[AlignmentProblem, float]:
    """The worst problem found, and its distortion by the certified solver (NaN without a certificate).

    Half of the first generation is random. The other half lies around a known bad problem, if one is
    given.
    """
    size = 10 * len(LOW)
    start = rng.uniform(LOW, HIGH, (size, len(LOW)))
    if known is not None:
        noise = 10 ** rng.uniform(-2, 0, (size // 2, 1)) * rng.standard_normal((size // 2, len(LOW)))
        start[: size // 2] = np.clip(encode(known, KNOWN_STRENGTH) + noise, LOW, HIGH)

    def loss(genes: Array) -> Array:
        return -np.log(ratios(decode(genes.T, on_policy), bt_temperature))

    evolved = differential_evolution(
        loss,
        list(zip(LOW, HIGH, strict=True)),
        maxiter=generations,
        tol=0,
        atol=0,
        polish=False,
        vectorized=True,
        updating="deferred",
        rng=rng,
        init=start,  # type: ignore[arg-type]
    )
    return certified(decode(evolved.x[None], on_policy), bt_temperature)


def certified(one: ProblemBatch, bt_temperature: float) -> tuple[AlignmentProblem, float]:
    """The problem of a batch of one, and its distortion computed by the solvers."""
    users = BradleyTerryUsers(one.utilities[0], one.weights[0], bt_temperature)
    pair_weights = np.outer(one.comparison[0], one.comparison[0])
    win = users.win[PAIRS][None]
    reward = _fit(win, (pair_weights / pair_weights[PAIRS].max())[PAIRS][None])
    policy = log_softmax(one.log_reference + one.strength[:, None] * reward, axis=1)
    problem = AlignmentProblem(
        users, one.comparison[0], one.log_reference[0], float(_kl(policy, one.log_reference)[0])
    )
    solved = rlhf(users.win, problem.comparison, problem.log_reference, problem.kl_budget)
    if not solved.certified:
        return problem, np.nan
    return problem, distortion(users.average_utility, solved.policy, problem.log_reference, problem.kl_budget)


def _fit(win: Array, pair_weights: Array) -> Array:
    """(S, 3) Bradley-Terry rewards for (S, 3) win probabilities of the pairs, response 2 at 0.

    They are fitted by Newton's method, with steps damped to the logarithm of their size.
    """
    reward = np.zeros((len(win), SIZE))
    for _ in range(80):
        gap = reward[:, PAIRS[0]] - reward[:, PAIRS[1]]
        up, down = expit(gap), expit(-gap)
        slope = pair_weights * (win * down - (1 - win) * up)
        weight01, weight02, weight12 = (pair_weights * up * down).T
        slope0, slope1 = slope[:, 0] + slope[:, 1], slope[:, 2] - slope[:, 0]
        determinant = weight01 * weight02 + weight01 * weight12 + weight02 * weight12
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.stack(
                [
                    ((weight01 + weight12) * slope0 + weight01 * slope1) / determinant,
                    (weight01 * slope0 + (weight01 + weight02) * slope1) / determinant,
                    np.zeros(len(win)),
                ],
                axis=1,
            )
        step = np.nan_to_num(step, posinf=0, neginf=0)
        size = np.ptp(step, axis=1, keepdims=True)
        # A step of length s is cut to log(1 + s): far from the optimum the curvature vanishes and a full step
        # would overshoot, near it the two are the same.
        reward += step * np.where(size > 0, np.log1p(size) / np.maximum(size, 1e-300), 1)
        if size.max() <= 1e-10:
            break
    return reward


def _best(average: Array, log_reference: Array, budget: Array) -> Array:
    """Log-policies of highest average utility within the budgets.

    They are tilts of the reference by the average utility; a bisection finds the strength.
    """
    centred = (average - average.max(1, keepdims=True)) / np.maximum(
        np.ptp(average, axis=1, keepdims=True), 1e-300
    )
    low, high = np.full(len(average), -5.0), np.full(len(average), 25.0)
    for _ in range(60):
        middle = (low + high) / 2
        inside = (
            _kl(log_softmax(log_reference + np.exp(middle)[:, None] * centred, axis=1), log_reference)
            <= budget
        )
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return log_softmax(log_reference + np.exp(low)[:, None] * centred, axis=1)


def _kl(log_policy: Array, log_reference: Array) -> Array:
    """(S,) KL(pi || pi_ref) in nats; rounding below 0 is cut."""
    return np.maximum((np.exp(log_policy) * (log_policy - log_reference)).sum(1), 0)
