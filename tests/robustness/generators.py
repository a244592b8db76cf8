"""Bad inputs made from signatures: every public function, every parameter, every way to be wrong.

The parameters of distalign have one meaning each (design: one vocabulary), so a good value and the ways to
spoil it go by the parameter's name. A function whose parameter has no entry here fails the walk: new names
are added with the function.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.robustness.documents import document_cases
from tests.robustness.formulas import formula_cases
from tests.robustness.losses import metric_cases, objective_cases
from tests.robustness.spoilt import (
    Good,
    choice,
    cost,
    count,
    counts,
    law,
    level,
    log_law,
    lone_law,
    masses,
    nonnegative,
    other,
    positive,
    reals,
    unit,
    units,
    vector,
    weights,
    whole,
    win,
)
from tests.robustness.stored import model_cases, stored_cases
from tests.robustness.verdicts import Case
from tests.robustness.walk import walk

LAW = np.array([0.4, 0.3, 0.2, 0.1])
WIN = np.array([[0.5, 0.7, 0.6, 0.8], [0.3, 0.5, 0.6, 0.7], [0.4, 0.4, 0.5, 0.55], [0.2, 0.3, 0.45, 0.5]])
V = np.array([[1.0, 0.5], [-1.0, 0.3], [0.5, -1.0], [-0.4, -0.6]])
COST = np.linalg.norm(V[:, None] - V, axis=-1)

SOLVERS: Good = {
    "v": (V, reals),
    "p": (LAW, law),
    "cost": (COST, cost),
    "radius": (0.05, positive),
    "beta": (0.7, positive),
    "order": (1.0, positive),
    "norm": ("l2", choice),
    "eta": (0.5, positive),
    "temperature": (1.3, positive),
    "flip_cost": (0.9, positive),
    "losses": (np.array([0.3, 0.7, 0.1, 1.2]), reals),
    "seed": (0, whole),
    "chosen": (LAW, law),
    "rejected": (LAW[::-1].copy(), law),
    "ref": (np.full(4, 0.25), law),
    "prior": (0.5, unit),
    "alpha": (0.5, unit),
    "share": (0.5, unit),
    "domain": ("everywhere", choice),
    "reward": (np.array([1.0, 0.3, 0.2, -0.5]), reals),
    "target": (0.4, level),
    "f": ("reverse_kl", choice),
    "wins": (np.array([[0, 3, 2, 4], [1, 0, 3, 2], [2, 1, 0, 2], [1, 1, 1, 0.0]]), counts),
    "values": (np.array([1.0, 3.0, 2.0, 7.0]), vector),
    "strength": (0.4, positive),
    "win": (WIN, win),
    "twice": (WIN * WIN, units),
    "comparison": (LAW, weights),
    "first_choices": (LAW, vector),
    "bt_temperature": (2.0, positive),
    "best": (0, whole),
    "winner": (1, whole),
    "epsilon": (1e-2, unit),
    "log_reference": (np.log(LAW), log_law),
    "log_policy": (np.log(LAW[::-1]), log_law),
    "kl_budget": (0.1, nonnegative),
    "quantile": (0.45, unit),
    "window": (0.375, positive),
    "avg_utility": (np.array([0.1, 0.9, 0.5, 0.2]), reals),
    "policy": (LAW, law),
    "lottery": (np.array([0.5, 0.5]), law),
    "ties": ("adversarial", choice),
    "steps": (50, whole),
    "q": (LAW[::-1].copy(), law),
    "level": (0.8, unit),
    "tolerance": (1e-9, positive),
    "max_steps": (1000, whole),
}
"""Vocabulary of the solvers."""

SPECIAL: dict[str, Good] = {
    "distalign.solvers.robust.euclidean_collapse_radius": {"order": (2, positive)},
    "distalign.solvers.choice.borda_worst_population": {"comparison": (np.array([0.0, 1.0, 0.0]), lone_law)},
    "distalign.solvers.choice.plurality": {"first_choices": (LAW, law)},
    "distalign.solvers.choice.random_dictator": {"first_choices": (LAW, law)},
    "distalign.solvers.choice.distortion": {"policy": (np.array([0.41, 0.29, 0.2, 0.1]), law)},
    "distalign.solvers.soft_sort": {"values": (np.array([1.0, 3.0, 2.0, 7.0]), vector)},
    "distalign.solvers.choice.borda": {"comparison": (LAW, law)},
    "distalign.solvers.choice.borda_scores": {"comparison": (LAW, law)},
    "distalign.solvers.robust.total_variation_worst_case": {"radius": (0.05, unit)},
    "distalign.solvers.sinkhorn": {"cost": (COST, reals)},
    "distalign.solvers.robust.regularity_number": {"radius": (0.05, nonnegative)},
    "distalign.solvers.robust.robust_loss": {"theta": (np.array([0.5, 0.2]), reals)},
    "distalign.solvers.choice.plurality_veto": {
        "first_choices": (LAW, law),
        "vetoes": (lambda alive: alive / alive.sum(), other),
    },
    **{
        f"distalign.solvers.choice.{what}": {
            "rewards": (
                np.array([[1.0, 0.3, 0.2, -0.5], [0.0, 1.0, 0.4, 0.1]]),
                vector if what == "maxmin" else reals,
            ),
            "shares": (np.array([0.25, 0.75]), law),
            "kl_budget": (0.1, nonnegative if what == "group_mixture" else positive),
        }
        for what in ("group_mixture", "maxmin", "nash_welfare")
    },
    "distalign.solvers.choice.clip_floor": {"comparison": (LAW, masses)},
    "distalign.solvers.choice.type_grid": {"alternatives": (3, count), "levels": (5, whole)},
}
"""Where a name needs another good value for one function."""

ROOMS = ("distalign.solvers", "distalign.solvers.robust", "distalign.solvers.choice")
NO_INPUT = {
    "distalign.solvers.batched_newton",  # takes a function, which it does not check
    # parts of solvers, for what was checked before
    "distalign.solvers.choice.in_ball",
    "distalign.solvers.choice.newton_step",
    "distalign.solvers.choice.normalised",
}


def solver_cases() -> Iterator[Case]:
    """Every public function of the solvers, one spoilt argument at a time."""
    for room in ROOMS:
        yield from walk(room, SOLVERS, SPECIAL, NO_INPUT)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from solver_cases()
    yield from formula_cases()
    yield from objective_cases()
    yield from metric_cases()
    yield from document_cases()
    yield from stored_cases()
    yield from model_cases()
