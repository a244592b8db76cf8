r"""With the logistic penalty unpaired AOT wants ever larger log-ratios: the best policy of a ball lies on its
rim.

Exact laws of random Bradley-Terry populations of three prompts, whose reward is linear in the features of
log-linear policies: every multiple of the true direction dominates (within each prompt winners have the
larger likelihood ratios), and the logistic penalty pays for gaps without end. Over a polar grid of policies
the minimum within radius r is at norm r; along the true direction the value falls to a limit of its own: what
is left are the quantiles at which a response meets itself, and those at which the best responses of different
prompts meet (`distalign.theory.aot.scale`). Least squares has its minimum inside. So the ball of the paper's
third assumption (or stopping early, or a small learning rate) decides what is learned. Ours.

Not every population lacks a finite minimiser, though dominance can be reached in all: where the best
responses of different prompts meet unfavourably in every direction, a policy far out, but finite, beats the
limits of all rays. The share of populations in which the grid finds one is in the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from distalign.objectives import aot_unpaired
from distalign.populations import LogLinearBradleyTerry
from distalign.simulation.multistart import Loss, lowest, values
from distalign.simulation.rates import summarise
from distalign.simulation.studies.aot import toy
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.theory.aot.scale import ray_limit

DEFECT = "least squares in place of the logistic penalty"
BETA, MARGIN = 1.0, 1.0
OBJECTIVES = {
    "logistic": partial(aot_unpaired, beta=BETA),
    "least squares": partial(aot_unpaired, penalty="least_squares", margin=MARGIN),
}
VIOLATION = partial(aot_unpaired, penalty="hinge", margin=0.0)
NORMS, ANGLES = 2.0 ** (np.arange(-8, 25) / 4), 128
RADII = 2.0 ** np.arange(7)
RAY, FAR = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0), 1e7
DIRECTIONS = toy.polar(np.ones(1), 360).numpy()


def cells(instances: int, blocks: int) -> list[dict[str, Any]]:
    """One cell per block of random populations."""
    return [{"instances": instances, "block": i} for i in range(blocks)]


def run(rng: np.random.Generator, *, instances: int, block: int, defect: bool = False) -> dict[str, Any]:
    """Value and norm of the best policy within each radius, and values along the true direction with their
    limit.
    """
    populations = [toy.draw(rng) for _ in range(instances)]
    number = block * instances + np.arange(instances)
    limits = np.array([[_limit(p, d) for d in (p.theta_star, *DIRECTIONS)] for p in populations])
    violation, parts = _along(partial(_loss, objective=VIOLATION), populations), []
    for penalty, objective in OBJECTIVES.items():
        loss = partial(_loss, objective=OBJECTIVES["least squares"] if defect else objective)
        norm, value = _within(loss, toy.unpaired_tables(populations))
        finite = value[:, -1] < limits.min(1) - 1e-6
        parts += [
            pd.DataFrame(
                {
                    "part": "ball",
                    "penalty": penalty,
                    "instance": number,
                    "size": r,
                    "norm": norm[:, i],
                    "value": value[:, i],
                    "finite": finite,
                }
            )
            for i, r in enumerate(RADII)
        ]
        along = _along(loss, populations)
        parts += [
            pd.DataFrame(
                {
                    "part": "ray",
                    "penalty": penalty,
                    "instance": number,
                    "size": s,
                    "value": along[:, i],
                    "violation": violation[:, i],
                    "limit": limits[:, 0],
                }
            )
            for i, s in enumerate((*RAY, FAR))
        ]
    return dict(pd.concat(parts, ignore_index=True))


def _loss(theta: Tensor, *tables: Tensor, objective: Any) -> Tensor:
    return objective(toy.unpaired_batch(theta, *tables))


def _within(loss: Loss, tables: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """(R, radii) norm and value of the best policy of each ball: a point of the grid, or the minimum that
    Newton finds.
    """
    grid = toy.polar(NORMS, ANGLES)
    on_grid = values(loss, tables, grid).reshape(-1, len(NORMS), ANGLES).min(-1).values.numpy()
    inside = lowest(loss, tables, grid, keep=4)
    depth = np.where(inside.converged, inside.theta.norm(dim=-1), np.inf)
    norms, best = [], []
    for radius in RADII:
        reachable = radius * (1 + 1e-12) >= NORMS
        found = on_grid[:, reachable].min(1)
        better = (depth < radius) & (inside.value.numpy() < found)
        norms.append(np.where(better, depth, NORMS[on_grid[:, reachable].argmin(1)]))
        best.append(np.where(better, inside.value, found))
    return np.stack(norms, 1), np.stack(best, 1)


def _along(loss: Loss, populations: list[LogLinearBradleyTerry]) -> np.ndarray:
    """(R, norms) values along the true direction."""
    star = torch.from_numpy(np.stack([p.theta_star for p in populations]))
    norms = torch.tensor([*RAY, FAR], dtype=torch.float64)
    points = norms[:, None] * (star / star.norm(dim=-1, keepdim=True))[:, None]
    return values(loss, toy.unpaired_tables(populations), points).numpy()


def _limit(population: LogLinearBradleyTerry, direction: np.ndarray) -> float:
    p, q = toy.frequencies(population.population.thumbs().law())
    return ray_limit(population.features @ direction, population.population.reference, p[0], q[0], BETA)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means per penalty and radius; the share of populations with a finite logistic minimiser; the mean limit
    of rays.
    """
    out = [
        summarise(rows.loc[rows.part == part], ["penalty", "size"], quantity).assign(
            part=part, quantity=quantity
        )
        for part, quantity in (("ball", "norm"), ("ball", "value"), ("ray", "value"))
    ]
    largest = rows.loc[(rows.part == "ball") & (rows.penalty == "logistic") & (rows["size"] == RADII[-1])]
    finite = summarise(largest, ["penalty", "size"], "finite").assign(
        part="ball", quantity="finite minimiser"
    )
    return pd.concat([*out, finite], ignore_index=True).assign(limit=rows.limit.mean())


def checks(rows: pd.DataFrame) -> list[Check]:
    """The best logistic policy sits on the rim and gains by doubling it; the true direction; the interior
    minimum.
    """
    ball, ray = (
        {h: rows.loc[(rows.part == part) & (rows.penalty == h)] for h in OBJECTIVES}
        for part in ("ball", "ray")
    )
    norms = ball["logistic"].groupby("size").norm.mean()
    value = ball["logistic"].pivot(index="instance", columns="size", values="value")
    near, far = (ray["logistic"].loc[(ray["logistic"]["size"] == FAR) == last] for last in (False, True))
    along = near.pivot(index="instance", columns="size", values="value")
    norm = ball["least squares"].pivot(index="instance", columns="size", values="norm")
    last, before = norm.iloc[:, -1], norm.iloc[:, -2]
    return [
        growth("logistic: mean norm of the best policy in a ball = its radius", norms, norms.index, 0.05),
        separation("logistic: smallest gain by doubling the radius", -value.diff(axis=1).max(axis=1)),
        identity("every multiple of the true direction dominates", near.violation, 1e-12),
        separation(
            "logistic: smallest gain by a longer step along the true direction",
            -along.diff(axis=1).max(axis=1),
        ),
        growth("logistic: value far out along the true direction = its limit", far.value, far.limit, 1e-9),
        identity("least squares: the minimiser is the same in the two largest balls", last - before, 1e-9),
        bound("least squares: it lies inside", last, RADII[-1] / 2),
    ]
