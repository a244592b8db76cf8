"""KLDPO's weight, centred at the mean loss, bounds the density ratio of the worst law; how loosely.

The inequality is the paper's Proposition 4: -mu - lam <= -mean l, so that exp((l - mean l) / lam) is an
upper bound on the density ratio of the worst law of the KL ball. It is Jensen's inequality, and
`distalign.theory.robust.reweighting` has the proof. Ours: the weight is the ratio times exp KL(P || Q),
the same factor on every atom; its expansion with remainders; what the released clamp at 10 does;
micro-batches.

The run has two parts.

- `problems`: random losses l = log(1 + exp(-t)) of random laws on 2 to 200 atoms, the first tenth of them
  fair coins, at random radii from 1e-4 nats to 95 % of the largest that has a multiplier. Weights are
  read off the gradient of `distalign.objectives.kldpo` with `weights="released"` at the ball's
  multiplier. The density ratio is that of `distalign.solvers.robust.kl_ball`, and by another road that of
  (mu, lam), one equation in one unknown.
- `batches`: random micro-batches of B pairs of one Bradley-Terry population at DPO's solution. The
  weights of a batch bound the ratios of the batch's own worst law at the same temperature. They lie below
  the ratios of the population's worst law, for all pairs of the batch at once, where the batch's mean
  loss exceeds tau log E exp(l / tau): at temperature 1 in 23 % of batches of two and 5 % of batches of
  16.

The checks, fixed beforehand. Bounds: the ratio is at most the weight wherever it is at most 10, beyond
which the clamp holds the weight below it; both expansions, to third order, are within their remainders,
which a coin nearly reaches; on batches the batch's own ratio is at most the weight. Identities: both
roads to (mu, lam) agree; the weight is min(ratio exp KL(P || Q), 10); and the share of batches that fail,
in standard errors of its chance, at every temperature and size where at least 20 are expected, and in
those all weights below the clamp do.

The planted defects: the temperature of the objective 5 % too large; the radius of the solver 5 % too
large; the third cumulant of theory over 3 in place of 6, as in the radius itself; and the chance of a
batch of one pair less.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch.func import grad, vmap

from distalign.objectives import kldpo
from distalign.populations import log_linear_bradley_terry
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, no_cell, result, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, identity
from distalign.solvers.robust.kl_ball import kl_worst_case
from distalign.theory.robust import reweighting as theory
from distalign.types import Array

DEFECTS = (
    Defect("the temperature 5 % too large", kldpo, argument("temperature", lambda t: 1.05 * t)),
    Defect(
        "the radius of the solver 5 % too large",
        kl_worst_case,
        argument("radius", lambda r: 1.05 * r),
        where(part="problems"),
    ),
    Defect(
        "the third cumulant over 3 in place of 6",
        theory.looseness_series,
        result(lambda terms: (terms[0], 2 * terms[1])),
        where(part="problems"),
    ),
    Defect(
        "the chance of a batch of one pair less",
        theory.batch_failure,
        argument("batch", lambda b: max(b - 1, 1)),
        no_cell,
    ),
)
CLAMP, LEAST_RADIUS, LARGEST_SHARE = 10.0, 1e-4, 0.95
TINY = 1e-250  # density ratios below it have lost digits, or are 0
SHOWN = 300  # problems in the table and the figure
ENOUGH = 20  # failing batches expected, below which their number is not nearly normal
PROMPTS, RESPONSES, DIMENSION, NORM, INSTANCE = 3, 4, 3, 2.5, 0


def cells(
    problems: int, blocks: int, temperatures: list[float], batches: list[int], samples: int
) -> list[dict[str, Any]]:
    """Blocks of random problems, and one cell for each temperature and size of a batch."""
    return [
        *({"part": "problems", "block": b, "problems": problems} for b in range(blocks)),
        *(
            {"part": "batches", "temperature": t, "batch": b, "samples": samples}
            for t in temperatures
            for b in batches
        ),
    ]


def run(rng: np.random.Generator, *, part: str, **arguments: Any) -> dict[str, Any]:
    """Rows of one part: one a problem, or one a batch."""
    if part == "batches":
        return _batches(rng, **arguments)
    problems = arguments["problems"]
    return dict(pd.DataFrame([_problem(rng, coin=10 * i < problems) for i in range(problems)]))


def weights(margins: Array, p: Array, temperature: float) -> Array:
    """(N, m) weights that released KLDPO gives to atoms of law p, read off its gradient at N margins (m,)."""

    def loss(t: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros_like(t)
        batch = PreferenceLogProbs(t, zero, zero, zero, weights=torch.from_numpy(p), validate=False)
        return kldpo(batch, beta=1.0, temperature=temperature, weights="released")

    return vmap(grad(loss))(torch.from_numpy(margins)).numpy() / (-p * expit(-margins))


def _drawn(rng: np.random.Generator, *, coin: bool) -> tuple[Array, Array, float]:
    """Random margins (m,), their law, and the largest radius to be drawn."""
    m = 2 if coin else int(np.exp(rng.uniform(np.log(2), np.log(201))))
    p = np.full(2, 0.5) if coin else rng.dirichlet(np.full(m, 10 ** rng.uniform(-0.5, 1)))
    p = np.maximum(p, 1e-6) / np.maximum(p, 1e-6).sum()
    margins = rng.normal(size=m) * 10 ** rng.uniform(-1, 1)
    return margins, p, LARGEST_SHARE * -float(np.log(p[margins.argmin()]))


def _problem(rng: np.random.Generator, *, coin: bool) -> dict[str, Any]:
    """One random law of losses and radius: the weights against the density ratio, and their quotient."""
    margins, p, largest = _drawn(rng, coin=coin)
    while largest < 10 * LEAST_RADIUS:  # nearly all mass on the largest loss
        margins, p, largest = _drawn(rng, coin=coin)
    losses = np.logaddexp(0, -margins)
    radius = float(np.exp(rng.uniform(np.log(LEAST_RADIUS), np.log(largest))))
    worst = kl_worst_case(losses, p, radius)
    lam, ratio = float(worst.multiplier), worst.weights / p
    mu, other = theory.worst_multipliers(losses, p, radius)
    log_ratio = (losses - mu - other) / other
    looseness = float(-p @ log_ratio)  # KL(P || Q)
    second, third = theory.looseness_series(losses, p, lam)
    weight = weights(margins[None], p, lam)[0]
    clamped, within = weight >= CLAMP * (1 - 1e-12), ratio <= CLAMP
    seen = ratio > TINY
    log_seen = np.log(ratio[seen])
    log_mean = np.nan if clamped.any() else float(np.log(p @ weight))
    return {
        "radius": radius,
        "coin": coin,
        "least": float(np.log(weight[seen & within] / ratio[seen & within]).min()),
        "looseness": looseness,
        "second": second,
        "third": third,
        "remainder": theory.series_remainder(losses, p, lam),
        "left": log_mean - second - third,
        "left_of_radius": radius - log_mean - third,
        "of_multiplier": other / lam - 1,
        "of_mean": (mu + other - (float(worst.value) - lam * radius)) / lam,
        "of_weight": np.abs(np.log(weight[seen]) - np.minimum(log_seen + looseness, np.log(CLAMP))).max(),
        "shortfall": float((log_seen - np.log(weight[seen])).max()),
        "above": int((~within).sum()),
    }


def population() -> tuple[Array, Array]:
    """(m,) margins at DPO's solution of the comparisons of one instance, and their law."""
    drawn = log_linear_bradley_terry(
        np.random.default_rng(INSTANCE), PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=1.0
    )
    law, psi = drawn.population.pairs(distinct=True), drawn.features.reshape(-1, DIMENSION)
    return (psi[law.chosen] - psi[law.rejected]) @ drawn.theta_star, law.weights


def _batches(rng: np.random.Generator, *, temperature: float, batch: int, samples: int) -> dict[str, Any]:
    """Per random batch, the share of its weights below the population's ratio, and the tightest own bound."""
    margins, p = population()
    losses = np.logaddexp(0, -margins)
    drawn = rng.choice(len(p), size=(samples, batch), p=p)
    weight = weights(margins[drawn], np.full(batch, 1 / batch), temperature)
    tilts = np.exp(losses / temperature)
    own = tilts[drawn] / tilts[drawn].mean(1, keepdims=True)
    free = weight < CLAMP * (1 - 1e-12)
    return {
        "failed": ((weight < tilts[drawn] / (p @ tilts)) & free).sum(1) / free.sum(1),
        "own": np.log(weight / own).min(1, where=own <= CLAMP, initial=np.inf),
    }


def _chance(temperature: float, batch: int) -> float:
    """The chance that a batch fails, by theory."""
    margins, p = population()
    return theory.batch_failure(np.logaddexp(0, -margins), p, temperature, batch)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Problems with the factor, its series and the radius; shares of failing batches with their chances."""
    problems = rows.loc[rows.part == "problems"]
    batches = summarise(rows.loc[rows.part == "batches"], ["temperature", "batch"], "failed")
    chances = [_chance(t, int(b)) for t, b in zip(batches.temperature, batches.batch, strict=True)]
    kept = ["part", "radius", "looseness", "second", "third", "remainder", "shortfall", "above"]
    return pd.concat(
        [
            problems.iloc[:SHOWN][kept],
            batches.assign(part="batches", predicted=chances),
        ],
        ignore_index=True,
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The inequality, how loose it is and what a clamp and a batch make of it."""
    problems, batches = (rows.loc[rows.part == part] for part in ("problems", "batches"))
    unclamped = problems.loc[np.isfinite(problems.left.astype(float))]
    groups = batches.groupby(["temperature", "batch"])
    chances = np.array([_chance(t, int(b)) for t, b in groups.groups])
    drawn = groups.size().to_numpy()
    errors = np.sqrt(chances * (1 - chances) / drawn)
    enough = drawn * np.minimum(chances, 1 - chances) >= ENOUGH
    return [
        bound(
            "density ratio <= weight, where the ratio is at most 10",
            np.exp(-problems.least.astype(float)),
            1.0,
        ),
        bound(
            "|log factor - s^2 / (2 lam^2) - k3 / (6 lam^3)| <= (range / lam)^4 / 192",
            np.abs(unclamped.left.astype(float)),
            unclamped.remainder,
        ),
        bound(
            "|radius - log factor - k3 / (6 lam^3)| <= (range / lam)^4 / 96",
            np.abs(unclamped.left_of_radius.astype(float)),
            2 * unclamped.remainder,
        ),
        bound("batches: ratio of the batch's own worst law <= weight", np.exp(-batches.own), 1.0),
        identity("weight = min(ratio exp KL(P || Q), 10)", problems.of_weight, 1e-8),
        identity("lam of both roads", problems.of_multiplier, 1e-8),
        identity("mu + lam = dual value less lam rho, in units of lam", problems.of_mean, 1e-8),
        identity(
            "batches whose weights are below the population's ratios, in standard errors of the chance",
            ((groups.failed.mean().to_numpy() - chances) / errors)[enough],
            4.5,
        ),
        identity(
            "and then all of a batch below the clamp are: share (1 - share)",
            batches.failed * (1 - batches.failed),
            1e-12,
        ),
    ]
