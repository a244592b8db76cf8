"""With the logistic penalty unpaired AOT wants ever larger log-ratios: a ball's best policy is on its rim.

The populations are the exact laws of random Bradley-Terry users over three prompts, whose reward is linear
in the features of log-linear policies. Every multiple of the true direction then dominates, because within
each prompt winners have the larger likelihood ratios, and the logistic penalty pays for gaps without end.
Over a polar grid of policies the minimum within radius r is at norm r. Along the true direction the value
falls to a limit of its own (`distalign.theory.aot.scale`): what is left are the quantiles at which a
response meets itself, and those at which the best responses of different prompts meet. Least squares has
its minimum inside. So the ball of the paper's third assumption (or stopping early, or a small learning
rate) decides what is learned. All of this is ours.

Not every population lacks a finite minimiser, though dominance can be reached in all: where the best
responses of different prompts meet unfavourably in every direction, a policy far out, but finite, beats the
limits of all rays. The table has the share of populations in which the grid finds one.

The checks ask of the logistic penalty that the value far out on the true ray is its limit; that the mean
norm of the best policy in a ball is the ball's radius, where no finite minimiser is found; that doubling the
radius always gains; and that a longer step along the true direction always gains. They ask that every
multiple of the true direction dominates (hinge value 0), and of least squares that the two largest balls have
the same minimiser, which therefore lies inside.

The planted defects: the slope of the logistic penalty 10 % off, the classes exchanged, least squares in its
place, and least squares that forgives what exceeds the margin.
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
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument
from distalign.simulation.multistart import Loss, lowest, values
from distalign.simulation.rates import summarise
from distalign.simulation.studies.aot import toy
from distalign.simulation.verdict import Check, growth, identity, separation
from distalign.theory.aot.scale import ray_limit


def _exchanged(right: Any) -> Any:
    """`aot_unpaired` that asks the rejected to dominate the chosen."""

    def wrong(batch: PreferenceLogProbs, **options: Any) -> Tensor:
        chosen, rejected = batch.chosen, batch.rejected
        exchanged = PreferenceLogProbs(
            rejected,
            chosen,
            batch.ref_rejected,
            batch.ref_chosen,
            batch.rejected_weights,
            batch.weights,
            validate=False,
        )
        return right(exchanged, **options)

    return wrong


def _least_squares(right: Any) -> Any:
    """`aot_unpaired` with another penalty than the logistic one that is asked for."""

    def wrong(batch: PreferenceLogProbs, *, penalty: str = "logistic", **options: Any) -> Tensor:
        if penalty == "logistic":
            return right(batch, penalty="least_squares", margin=MARGIN)
        return right(batch, penalty=penalty, **options)

    return wrong


DEFECTS = (
    Defect(
        "the slope of the logistic penalty 10 % too large",
        aot_unpaired,
        argument("beta", lambda x: x and 1.1 * x),
    ),
    Defect("the classes exchanged", aot_unpaired, _exchanged),
    Defect("least squares in place of the logistic penalty", aot_unpaired, _least_squares),
    Defect(
        "the squared hinge in place of least squares",
        aot_unpaired,
        argument("penalty", lambda h: "squared_hinge" if h == "least_squares" else h),
    ),
)
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


def run(rng: np.random.Generator, *, instances: int, block: int) -> dict[str, Any]:
    """The best policy within each radius, and values along the true direction with their limit.

    Part `ball` has value and norm of the best policy; part `ray` has values on multiples of the true
    direction.
    """
    populations = [toy.draw(rng) for _ in range(instances)]
    instance = block * instances + np.arange(instances)
    limits = np.array([[_limit(p, d) for d in (p.theta_star, *DIRECTIONS)] for p in populations])
    violation, frames = _along(partial(_loss, objective=VIOLATION), populations), []
    for penalty, objective in OBJECTIVES.items():
        loss = partial(_loss, objective=objective)
        norm, value = _within(loss, toy.unpaired_tables(populations))
        # A policy that beats the limits of all rays shows that a finite minimiser exists.
        finite = value[:, -1] < limits.min(1) - 1e-6
        frames += [
            pd.DataFrame(
                {
                    "part": "ball",
                    "penalty": penalty,
                    "instance": instance,
                    "size": r,
                    "norm": norm[:, i],
                    "value": value[:, i],
                    "finite": finite,
                }
            )
            for i, r in enumerate(RADII)
        ]
        along = _along(loss, populations)
        frames += [
            pd.DataFrame(
                {
                    "part": "ray",
                    "penalty": penalty,
                    "instance": instance,
                    "size": s,
                    "value": along[:, i],
                    "violation": violation[:, i],
                    "limit": limits[:, 0],
                }
            )
            for i, s in enumerate((*RAY, FAR))
        ]
    return dict(pd.concat(frames, ignore_index=True))


def _loss(theta: Tensor, *tables: Tensor, objective: Any) -> Tensor:
    """The objective on all responses of one population."""
    return objective(toy.unpaired_batch(theta, *tables))


def _within(loss: Loss, tables: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """(R, radii) norm and value of the best policy of each ball.

    It is a point of the grid, or the minimum that Newton's method finds where that is inside and lower.
    """
    grid = toy.polar(NORMS, ANGLES)
    on_grid = values(loss, tables, grid).reshape(-1, len(NORMS), ANGLES).min(-1).values.numpy()
    inside = lowest(loss, tables, grid, keep=4)
    interior_norm = np.where(inside.converged, inside.theta.norm(dim=-1), np.inf)
    best_norms, best_values = [], []
    for radius in RADII:
        reachable = radius * (1 + 1e-12) >= NORMS
        lowest_on_grid = on_grid[:, reachable].min(1)
        interior_wins = (interior_norm < radius) & (inside.value.numpy() < lowest_on_grid)
        best_norms.append(np.where(interior_wins, interior_norm, NORMS[on_grid[:, reachable].argmin(1)]))
        best_values.append(np.where(interior_wins, inside.value, lowest_on_grid))
    return np.stack(best_norms, 1), np.stack(best_values, 1)


def _along(loss: Loss, populations: list[LogLinearBradleyTerry]) -> np.ndarray:
    """(R, norms) values along the true direction."""
    star = torch.from_numpy(np.stack([p.theta_star for p in populations]))
    norms = torch.tensor([*RAY, FAR], dtype=torch.float64)
    points = norms[:, None] * (star / star.norm(dim=-1, keepdim=True))[:, None]
    return values(loss, toy.unpaired_tables(populations), points).numpy()


def _limit(population: LogLinearBradleyTerry, direction: np.ndarray) -> float:
    """The value that the logistic penalty tends to along a direction."""
    p, q = toy.frequencies(population.population.thumbs().law())
    return ray_limit(population.features @ direction, population.population.reference, p[0], q[0], BETA)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means per penalty and radius, and the mean limit of the rays. Also the share of populations with a
    finite logistic minimiser.
    """
    summaries = [
        summarise(rows.loc[rows.part == part], ["penalty", "size"], quantity).assign(
            part=part, quantity=quantity
        )
        for part, quantity in (("ball", "norm"), ("ball", "value"), ("ray", "value"))
    ]
    largest = rows.loc[(rows.part == "ball") & (rows.penalty == "logistic") & (rows["size"] == RADII[-1])]
    finite = summarise(largest, ["penalty", "size"], "finite").assign(
        part="ball", quantity="finite minimiser"
    )
    return pd.concat([*summaries, finite], ignore_index=True).assign(limit=rows.limit.mean())


def checks(rows: pd.DataFrame) -> list[Check]:
    """The best logistic policy on the rim, the true direction, and the interior minimum of least squares."""
    ball, ray = (
        {h: rows.loc[(rows.part == part) & (rows.penalty == h)] for h in OBJECTIVES}
        for part in ("ball", "ray")
    )
    norms = ball["logistic"].loc[~ball["logistic"].finite.astype(bool)].groupby("size").norm.mean()
    value = ball["logistic"].pivot(index="instance", columns="size", values="value")
    up_to_far, far = (
        ray["logistic"].loc[(ray["logistic"]["size"] == FAR) == largest] for largest in (False, True)
    )
    along = up_to_far.pivot(index="instance", columns="size", values="value")
    norm = ball["least squares"].pivot(index="instance", columns="size", values="norm")
    largest, second_largest = norm.iloc[:, -1], norm.iloc[:, -2]
    return [
        growth("logistic: value far out along the true direction = its limit", far.value, far.limit, 1e-9),
        growth(
            "logistic, no finite minimiser found: mean norm of the best policy in a ball = its radius",
            norms,
            norms.index,
            0.01,
        ),
        separation("logistic: smallest gain by doubling the radius", -value.diff(axis=1).max(axis=1)),
        identity("every multiple of the true direction dominates", up_to_far.violation, 1e-12),
        separation(
            "logistic: smallest gain by a longer step along the true direction",
            -along.diff(axis=1).max(axis=1),
        ),
        identity(
            "least squares: the minimiser is the same in the two largest balls",
            largest - second_largest,
            1e-9,
        ),
    ]
