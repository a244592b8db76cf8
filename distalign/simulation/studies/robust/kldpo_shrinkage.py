"""KLDPO on Bradley-Terry data that the class fits is DPO shrunk to the reference by tau / (1 + tau), in the
same direction.

Random log-linear instances; `distalign.objectives.kldpo` is minimised on the exact law of comparisons, at
fixed temperatures and over balls of fixed fractions of the collapse radius. For a ball tau is its own
multiplier, which theory computes by duality and the fit does not see. Dr. DPO, the same tilt with the
opposite sign, stretches by beta' / (beta' - 1).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import dpo, dr_dpo, kldpo
from distalign.policies import LogLinear
from distalign.populations import LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.simulation.fit import fit
from distalign.simulation.verdict import Check, identity
from distalign.solvers.robust.collapse import collapse_radius
from distalign.theory.robust.kldpo import anti_shrinkage_factor, ball_temperature, shrinkage_factor

DEFECT = "the worst case taken inside global micro-batches of one pair, where KLDPO is DPO"
PROMPTS, RESPONSES, DIMENSION, NORM, BETA = 3, 4, 3, 2.5, 0.5


def cells(
    temperatures: list[float], radii: list[float], stretches: list[float], instances: int
) -> list[dict[str, Any]]:
    """One cell per temperature, per radius (as a share of the collapse radius) and per temperature of Dr.
    DPO.
    """
    settings = {"temperature": temperatures, "ball": radii, "dr_dpo": stretches}
    return [
        {"method": m, "setting": x, "instances": instances} for m, values in settings.items() for x in values
    ]


def run(
    rng: np.random.Generator, *, method: str, setting: float, instances: int, defect: bool = False
) -> dict[str, Any]:
    """Fitted parameter against DPO's on each random instance."""
    drawn = [
        log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA)
        for _ in range(instances)
    ]
    rows = [_instance(population, method, setting, defect) for population in drawn]
    return {"instance": np.arange(instances), **{name: [row[name] for row in rows] for name in rows[0]}}


def _instance(population: LogLinearBradleyTerry, method: str, setting: float, defect: bool) -> dict[str, Any]:
    law = population.population.pairs(distinct=True)
    flat = population.features.reshape(-1, DIMENSION)
    v, star = flat[law.chosen] - flat[law.rejected], population.theta_star
    tau, objective = setting, partial(kldpo, beta=BETA, temperature=setting)
    if method == "dr_dpo":
        objective = partial(dr_dpo, beta=BETA, temperature=setting)
    if method == "ball":
        radius = setting * float(collapse_radius(v, law.weights)[0])
        tau = ball_temperature(v, law.weights, star, radius, BETA)
        objective = partial(kldpo, beta=BETA, radius=radius)
    objective = partial(dpo, beta=BETA) if defect else objective
    # The ball's loss has a kink at the reference: the fit starts half-way to DPO's solution instead.
    found = fit(
        LogLinear(population.features, population.population.reference), objective, law, start=star / 2
    )
    theta = found.theta
    predicted = anti_shrinkage_factor(tau) if method == "dr_dpo" else shrinkage_factor(tau)
    return {
        "temperature": tau,
        "predicted": predicted,
        "factor": theta @ star / (star @ star),
        "cosine": theta @ star / np.sqrt((theta @ theta) * (star @ star)),
        "deviation": np.linalg.norm(theta - predicted * star) / np.linalg.norm(star),
        "converged": bool(found.converged),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean factor, prediction and largest deviation per method and setting."""
    grouped = rows.groupby(["method", "setting"], as_index=False)
    return grouped.agg(
        temperature=("temperature", "mean"),
        predicted=("predicted", "mean"),
        factor=("factor", "mean"),
        least_cosine=("cosine", "min"),
        largest_deviation=("deviation", "max"),
        instances=("instance", "size"),
        unconverged=("converged", lambda c: int((~c.astype(bool)).sum())),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Equality with the shrunk (or stretched) DPO solution, relative to its norm, and of the direction."""
    names = {
        "temperature": "fixed temperature: tau / (1 + tau) times DPO",
        "ball": "ball: the same at its own multiplier",
        "dr_dpo": "Dr. DPO: beta' / (beta' - 1) times DPO",
    }
    return [
        *(identity(name, rows.deviation[rows.method == m], 1e-6) for m, name in names.items()),
        identity("direction is DPO's: cosine 1", rows.cosine - 1, 1e-9),
    ]
