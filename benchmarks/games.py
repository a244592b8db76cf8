"""Preference games of a thousand alternatives and more.

The lottery of a population has a small support, so the fair rival there solves small linear programs and
adds the alternatives that win against their solution (column generation). On a dense game it is HiGHS's
interior-point method without crossover. KL-constrained NLHF meets secant steps on log lambda with a damped
fixed-point iteration, whose damping adapts to its residual and which starts from the last policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import highspy
import numpy as np
from scipy.optimize import linprog

from benchmarks.populations import dense_game, population
from benchmarks.timing import Rival, Work
from distalign.oracles import games as oracle
from distalign.solvers.choice.games import kl_nlhf, maximal_lottery
from distalign.types import Array


def works() -> Iterator[Work]:
    """Two lotteries and three regularised games."""
    win, dense = population(2000)[1], dense_game(1000)
    yield lottery("Bradley-Terry", win, ("column generation", column_generation), "highs", goal=3)
    yield lottery("dense game", dense, ("HiGHS IPX without crossover", ipx), "highs-ipm", goal=3)
    small = population(1000)[1]
    yield nlhf("Bradley-Terry", small, 0.1, goal=5)
    yield nlhf("Bradley-Terry", small, 1.0, goal=5)
    yield nlhf("dense game", dense, 0.1, goal=5)


def lottery(
    name: str, win: Array, fair: tuple[str, Callable[[Array], Array]], popular: str, goal: float
) -> Work:
    """The maximal lottery. Answers are compared by what the best reply to them wins."""
    margins = win - win.T

    def unsafe(policy: Array) -> float:
        return float((margins @ policy).max())

    return Work(
        f"lottery, {name}, m = {len(win):,}",
        lambda: maximal_lottery(win).policy,
        [
            Rival(fair[0], lambda: fair[1](win)),
            Rival(f"scipy {popular}", lambda: oracle.maximal_lottery(win, popular)[0], "popular", repeats=1),
        ],
        goal=goal,
        same=1e-7,
        repeats=3,
        difference=lambda a, b: max(unsafe(a), unsafe(b)),
        certificate=lambda: maximal_lottery(win).certificate,
    )


def column_generation(win: Array) -> Array:
    """Small linear programs; the alternatives that win against a solution are added, at most 20 at once.

    Nothing is checked, and only the margins of the chosen alternatives are computed.
    """
    chosen = np.argsort(-win.sum(1))[:20]
    while True:
        size = len(chosen)
        margins = win[:, chosen] - win[chosen].T
        some = margins[chosen]
        solved = linprog(
            np.append(np.zeros(size), -1),
            A_ub=np.hstack([-some.T, np.ones((size, 1))]),
            b_ub=np.zeros(size),
            A_eq=np.append(np.ones(size), 0)[None],
            b_eq=[1.0],
            bounds=[(0, 1)] * size + [(-1, 1)],
        ).x[:-1]
        gains = margins @ solved
        better = np.setdiff1d(np.flatnonzero(gains > 1e-10), chosen)
        if not len(better):
            policy = np.zeros(len(win))
            policy[chosen] = solved
            return policy
        chosen = np.append(chosen, better[np.argsort(-gains[better])[:20]])


def ipx(win: Array) -> Array:
    """The whole linear program by HiGHS's interior-point method, without a vertex at its end."""
    size, margins = len(win), win - win.T
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = size + 1, size + 1
    program.col_cost_ = np.append(np.zeros(size), -1.0)
    program.col_lower_ = np.append(np.zeros(size), -1.0)
    program.col_upper_ = np.ones(size + 1)
    program.row_lower_ = np.append(np.zeros(size), 1.0)
    program.row_upper_ = np.append(np.full(size, highspy.kHighsInf), 1.0)
    columns = np.vstack([margins.T, np.ones((1, size))])
    last = np.append(-np.ones(size), 0.0)[:, None]
    matrix = np.hstack([columns, last])
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.arange(0, matrix.size + 1, size + 1)
    program.a_matrix_.index_ = np.tile(np.arange(size + 1), size + 1)
    program.a_matrix_.value_ = matrix.T.ravel()
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    for option, value in {
        "solver": "ipx",
        "run_crossover": "off",
        "ipm_optimality_tolerance": 1e-10,
        "threads": 1,
    }.items():
        solver.setOptionValue(option, value)
    solver.passModel(program)
    solver.run()
    policy = np.maximum(np.array(solver.getSolution().col_value)[:-1], 0)
    return policy / policy.sum()


def nlhf(name: str, win: Array, budget: float, goal: float) -> Work:
    """NLHF in a KL ball around the uniform law."""
    reference = np.full(len(win), -np.log(len(win)))
    return Work(
        f"KL-NLHF, {name}, m = {len(win):,}, KL {budget:g}",
        lambda: np.exp(kl_nlhf(win, reference, budget).log_policy),
        [
            Rival("damped iteration, adaptive", lambda: damped(win, reference, budget)),
            Rival(
                "mirror descent, adaptive step",
                lambda: np.exp(oracle.kl_nlhf_by_mirror_descent(win, reference, budget, adaptive=True)),
                "popular",
                repeats=1,
            ),
        ],
        goal=goal,
        same=1e-7,
        repeats=3,
        certificate=lambda: kl_nlhf(win, reference, budget).certificate,
    )


def damped(win: Array, reference: Array, budget: float) -> Array:
    """Secant steps on log lambda; for each the fixed point of  log p = log ref + M p / lambda - log Z."""
    log_p, points = reference, []
    strength = 0.0
    for _ in range(60):
        h, best = 0.7, np.inf
        for _ in range(2000):
            goal = reference + (2 * (win @ np.exp(log_p)) - 1) / np.exp(strength)
            goal -= np.log(np.exp(goal - goal.max()).sum()) + goal.max()
            residual = np.ptp(goal - log_p)
            if residual < 1e-10:
                break
            h, best = (min(1.1 * h, 1.0), residual) if residual < best else (h / 2, residual)
            log_p = (1 - h) * log_p + h * goal
        missing = np.log(np.exp(log_p) @ (log_p - reference)) - np.log(budget)
        points.append((strength, missing))
        if abs(missing) < 1e-10:
            break
        if len(points) == 1:
            strength += np.clip(missing / 2, -1, 1)
        else:
            (a, fa), (b, fb) = points[-2:]
            strength = b - np.clip(fb * (b - a) / (fb - fa), -1, 1)
    return np.exp(log_p)
