"""Entropic transport in place of sorting: the n^-1/2 stays, and a bias of half the strength comes.

The claim. The AOT paper remarks (its Remark 2) that entropic transport keeps the rate n^-1/2 of the sorted
value. For two normal laws and least squares everything is a closed form (`distalign.theory.aot.entropic`):
the regularised value, the limit of sqrt(n) times its deviation at n draws of each class, and the price, by
how much the entropic plan's transport cost exceeds the sorted value, which no sample size removes.

The run. The laws stand on grids, log-ratios rounded to a step: a sum over a grid is the integral of a normal
density up to rounding, so the closed forms hold there. Population values are computed at many strengths, by
`distalign.solvers.sinkhorn`, by POT's `ot.sinkhorn` and by the sorted objective `aot_unpaired`; samples are
counts on a coarser grid, and all replicates of a size are solved at once.

The checks, fixed beforehand. Identities: solver and POT; solver and closed form; the slope of the mean of V
given U, which is what a Sinkhorn sort returns for a value. Growth: the excess over `aot_unpaired` (hard
sorting on a grid of step h is off by about h^2/6, a fifth of a per cent of the smallest excess, so one half
per cent is allowed), and sqrt(n) times the root mean squared error about the closed form, at every size and
strength, to 4.5 standard errors of a standard deviation: 1.9 % at full size. A bound: the excess is at most
half of the strength.

The planted defects: the strength of the solver 5 % too large, or doubled, as for the cost (u - v)^2 / 2; the
correlation of theory with strength / 2 in place of strength / 4; and the limit law counting one class only.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import aot_unpaired
from distalign.oracles import entropic_plan
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, no_cell, where
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.sinkhorn import sinkhorn
from distalign.theory.aot import entropic as theory

MEAN_U, SD_U, MEAN_V, SD_V, TARGET = 0.4, 1.0, 0.0, 1.5, 0.7
FINE, COARSE, DEVIATIONS = 0.05, 0.25, 6.5  # steps of the grids, and how many deviations they reach
BLOCK = 2000  # replicates solved at once


def _one_class(right: Any) -> Any:
    """The limit of a developer who forgets that the rejected responses are drawn too."""
    return lambda mean_u, sd_u, mean_v, sd_v, margin, strength: float(
        np.sqrt(
            4 * (margin - mean_u + mean_v) ** 2 * sd_u**2
            + 2 * (sd_u**2 - sd_u * sd_v * theory.entropic_correlation(sd_u, sd_v, strength)) ** 2
        )
    )


DEFECTS = (
    Defect(
        "the strength of the solver 5 % too large",
        sinkhorn,
        argument("strength", lambda e: 1.05 * e),
        where(part="population"),
    ),
    Defect("the strength of the solver doubled", sinkhorn, argument("strength", lambda e: 2 * e)),
    Defect(
        "strength / 2 in place of strength / 4 in the correlation",
        theory.entropic_correlation,
        argument("strength", lambda e: 2 * e),
    ),
    Defect("the limit law counts one class only", theory.entropic_value_sd, _one_class, no_cell),
)


def cells(
    strengths: list[float], sampled: list[float], sizes: list[int], replicates: int
) -> list[dict[str, Any]]:
    """One cell per strength of the population, and one per sampled strength and size."""
    return [
        *({"part": "population", "strength": e} for e in strengths),
        *(
            {"part": "sample", "strength": e, "size": n, "replicates": replicates}
            for e in sampled
            for n in sizes
        ),
    ]


def run(
    rng: np.random.Generator, *, part: str, strength: float, size: int = 0, replicates: int = 1
) -> dict[str, Any]:
    """Population values by all roads, or errors of the regularised value of samples."""
    if part == "population":
        return {name: [value] for name, value in _population(strength).items()}
    blocks = [min(BLOCK, replicates - r) for r in range(0, replicates, BLOCK)]
    return {"error": np.concatenate([_errors(rng, strength, size, block) for block in blocks])}


def _grid(mean: float, sd: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of a grid, and the normal law on them."""
    half = int(np.ceil(DEVIATIONS * sd / step))
    x = step * np.arange(-half, half + 1) + mean
    weights = np.exp(-0.5 * ((x - mean) / sd) ** 2)
    return x, weights / weights.sum()


def _laws(step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values and weights of both classes, and the costs of pairing them."""
    u, p = _grid(MEAN_U, SD_U, step)
    v, q = _grid(MEAN_V, SD_V, step)
    return u, p, v, q, (TARGET - (u[:, None] - v)) ** 2


def _population(strength: float) -> dict[str, float]:
    """Values of the two laws by the solver, by POT, by sorting and by theory."""
    u, p, v, q, cost = _laws(FINE)
    solved = sinkhorn(cost, p, q, strength, tolerance=1e-12)
    if not solved.converged.all():
        return dict.fromkeys(("transport", "to_pot", "to_closed", "slope", "excess", "sorted"), np.nan)
    library = entropic_plan(cost, p, q, strength)
    a, b, zeros_u, zeros_v, weights_u, weights_v = (torch.from_numpy(x) for x in (u, v, 0 * u, 0 * v, p, q))
    batch = PreferenceLogProbs(a, b, zeros_u, zeros_v, weights_u, weights_v)
    hard = float(partial(aot_unpaired, penalty="least_squares", margin=TARGET)(batch))
    ratio = np.exp((solved.u_potential[0][:, None] + solved.v_potential[0] - cost) / strength)
    given = ratio @ (q * v)
    slope = (p * (u - p @ u)) @ given / (p @ (u - p @ u) ** 2)
    value = theory.entropic_value(MEAN_U, SD_U, MEAN_V, SD_V, TARGET, strength)
    rho = theory.entropic_correlation(SD_U, SD_V, strength)
    return {
        "transport": float(solved.transport[0]),
        "to_pot": float(solved.transport[0] - (library * cost).sum()),
        "to_closed": float(solved.value[0] - value),
        "slope": slope - rho * SD_V / SD_U,
        "excess": float(solved.transport[0]) - hard,
        "sorted": hard,
    }


def _errors(rng: np.random.Generator, strength: float, size: int, replicates: int) -> np.ndarray:
    """Regularised value of samples less that of the laws, by closed form; NaN where not converged."""
    _, p, _, q, cost = _laws(COARSE)
    shares = [rng.multinomial(size, law, replicates) / size for law in (p, q)]
    solved = sinkhorn(cost, *shares, strength, tolerance=1e-7)  # pyright: ignore[reportCallIssue]
    truth = theory.entropic_value(MEAN_U, SD_U, MEAN_V, SD_V, TARGET, strength)
    return np.where(solved.converged, solved.value - truth, np.nan)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Excess over sorting by strength, and root mean squared error by strength and size, with predictions."""
    out = []
    for (part, strength, size), cell in rows.fillna({"size": 0}).groupby(["part", "strength", "size"]):  # pyright: ignore[reportGeneralTypeIssues]
        population = part == "population"
        mean = float(cell.excess.iloc[0] if population else np.sqrt((cell.error**2).mean()))
        width = 0.0 if population else 2.576 / np.sqrt(2 * len(cell))
        out.append(
            {
                "part": part,
                "strength": strength,
                "size": int(size),
                "mean": mean,
                "low": mean * (1 - width),
                "high": mean * (1 + width),
                "predicted": theory.entropic_excess(SD_U, SD_V, strength)
                if population
                else _limit(strength) / np.sqrt(size),
                "replicates": len(cell),
            }
        )
    return pd.DataFrame(out)


def _limit(strength: float) -> float:
    return theory.entropic_value_sd(MEAN_U, SD_U, MEAN_V, SD_V, TARGET, strength)


def checks(rows: pd.DataFrame) -> list[Check]:
    """The excess of the plan, its closed forms, and the limit law of the value at every size."""
    laws, samples = rows[rows.part == "population"], rows[rows.part == "sample"]
    groups = list(samples.groupby(["strength", "size"]))
    scaled = [np.sqrt(size * np.mean(cell.error.to_numpy() ** 2)) for (_, size), cell in groups]  # pyright: ignore[reportGeneralTypeIssues]
    # A standard deviation of R normal draws is known to 1 / sqrt(2 R).
    tolerance = 4.5 / np.sqrt(2 * min(len(cell) for _, cell in groups))
    return [
        growth(
            "sqrt(n) root mean squared error at each n and strength = limit constant",
            scaled,
            [_limit(strength) for (strength, _), _ in groups],  # pyright: ignore[reportGeneralTypeIssues]
            tolerance,
        ),
        growth(
            "transport cost of the entropic plan less aot_unpaired = 2 s t (1 - rho)",
            laws.excess,
            [theory.entropic_excess(SD_U, SD_V, e) for e in laws.strength],
            5e-3,
        ),
        bound(
            "that excess <= strength / 2",
            laws.excess,
            laws.strength / 2,
            vacuous=laws.strength > 4 * SD_U * SD_V,
        ),
        identity("transport cost = that of POT's ot.sinkhorn", laws.to_pot, 1e-8),
        identity("regularised value = closed form of normal laws", laws.to_closed, 1e-6),
        identity("slope of the mean of V given U = rho t / s", laws.slope, 1e-6),
    ]
