"""On Bradley-Terry data that the class fits, KLDPO is DPO shrunk to the reference by tau / (1 + tau), in
the same direction.

The claim is ours. At a fixed temperature tau the minimiser of KLDPO is tau / (1 + tau) times DPO's
parameter; over a ball tau is the ball's own multiplier. Dr. DPO, the same tilt with the opposite sign,
stretches by beta' / (beta' - 1).

The run. Random log-linear instances. `distalign.objectives.kldpo` is minimised on the exact law of
comparisons, at fixed temperatures and over balls of fixed fractions of the collapse radius.

The two roads. Newton's method on the torch objective gives the minimiser; the prediction is a formula, for
a ball at the multiplier that theory computes by duality and the fit does not see.

The checks, all identities: the minimiser is the predicted multiple of DPO's parameter, at fixed
temperatures, over balls and for Dr. DPO; and its cosine with DPO's is 1.

The planted defects: the temperature of KLDPO, its radius and the temperature of Dr. DPO 1 % off; and the
weights of the pairs left out of the log-mean-exp, which turns the direction.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import dr_dpo, kldpo
from distalign.objectives.kldpo import _penalised
from distalign.policies import LogLinear
from distalign.populations import LogLinearBradleyTerry, log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.fit import fit
from distalign.simulation.verdict import Check, identity
from distalign.solvers.robust.collapse import collapse_radius
from distalign.theory.robust.kldpo import anti_shrinkage_factor, ball_temperature, shrinkage_factor

DEFECTS = (
    Defect(
        "the temperature 1 % too large",
        kldpo,
        argument("temperature", lambda t: t and 1.01 * t),
        where(method="temperature"),
    ),
    Defect(
        "the radius 1 % too large", kldpo, argument("radius", lambda r: r and 1.01 * r), where(method="ball")
    ),
    Defect(
        "Dr. DPO's temperature 1 % too large",
        dr_dpo,
        argument("temperature", lambda t: 1.01 * t),
        where(method="dr_dpo"),
    ),
    Defect(
        "the weights of the pairs left out of the log-mean-exp",
        _penalised,
        argument("log_p", lambda x: 0 * x),
        where(method="temperature"),
    ),
)
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


def run(rng: np.random.Generator, *, method: str, setting: float, instances: int) -> dict[str, Any]:
    """Fitted parameter against DPO's on each random instance."""
    populations = [
        log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=BETA)
        for _ in range(instances)
    ]
    rows = [_instance(population, method, setting) for population in populations]
    return {"instance": np.arange(instances), **{name: [row[name] for row in rows] for name in rows[0]}}


def _instance(population: LogLinearBradleyTerry, method: str, setting: float) -> dict[str, Any]:
    law = population.population.pairs(distinct=True)
    flat = population.features.reshape(-1, DIMENSION)
    v, dpo_parameter = flat[law.chosen] - flat[law.rejected], population.theta_star
    tau, objective = setting, partial(kldpo, beta=BETA, temperature=setting)
    if method == "dr_dpo":
        objective = partial(dr_dpo, beta=BETA, temperature=setting)
    if method == "ball":
        radius = setting * float(collapse_radius(v, law.weights)[0])
        tau = ball_temperature(v, law.weights, dpo_parameter, radius, BETA)
        objective = partial(kldpo, beta=BETA, radius=radius)
    # The ball's loss has a kink at the reference, where Newton's method would stall: start half-way to DPO's
    # solution instead.
    minimiser = fit(
        LogLinear(population.features, population.population.reference),
        objective,
        law,
        start=dpo_parameter / 2,
    )
    theta = minimiser.theta
    predicted = anti_shrinkage_factor(tau) if method == "dr_dpo" else shrinkage_factor(tau)
    return {
        "temperature": tau,
        "predicted": predicted,
        "factor": theta @ dpo_parameter / (dpo_parameter @ dpo_parameter),
        "cosine": theta @ dpo_parameter / np.sqrt((theta @ theta) * (dpo_parameter @ dpo_parameter)),
        "deviation": np.linalg.norm(theta - predicted * dpo_parameter) / np.linalg.norm(dpo_parameter),
        "converged": bool(minimiser.converged),
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
    """The minimiser is DPO's solution shrunk (or stretched), relative to its norm, and has its direction."""
    names = {
        "temperature": "fixed temperature: tau / (1 + tau) times DPO",
        "ball": "ball: the same at its own multiplier",
        "dr_dpo": "Dr. DPO: beta' / (beta' - 1) times DPO",
    }
    return [
        *(identity(name, rows.deviation[rows.method == m], 1e-6) for m, name in names.items()),
        identity("direction is DPO's: cosine 1", rows.cosine - 1, 1e-9),
    ]
