"""Released KLDPO on micro-batches of B pairs is, in expectation, KLDPO at temperature tau B / (B - 1); for
B = 1 it is DPO.

The claim is ours. The released code (Algorithm 2) gives pair i the weight

    min(exp((l_i - mean l) / tau), 10),                                                            (1)

which is centred on the micro-batch it sits in and not normalised. While no weight reaches the clamp at 10,
its expected gradient is exactly that of another temperature (`distalign.theory.robust.algorithms`). Weights
that are normalised in the micro-batch are biased more, by an amount that theory gives as one integral.

The run, on one log-linear Bradley-Terry instance, has three parts:

- `pairs`: the mean of the torch gradient over all ordered pairs of atoms, which are batches of two, against
  that of the other temperature.
- `solutions`: the point where the mean gradient over random batches vanishes, by one Newton step from the
  predicted point, as a factor of DPO's solution (all such points lie on the line from the reference to DPO,
  or almost). Where a weight can reach the clamp the prediction is the zero of the clamped mean gradient,
  which theory computes from the law of the batch's mean loss.
- `path`: the mean weight, which multiplies the learning rate, on the way from DPO's solution to the
  optimum.

The two roads. Gradients of `distalign.objectives.kldpo`, summed over all batches or sampled, against
theory's weights of the atoms.

The checks:

- growth: where the mean gradient vanishes is as predicted, for the released weights out of and within the
  clamp's reach, and for normalised weights;
- identities, where no weight is clamped: batches of two have the mean weight times the gradient of
  temperature 2 tau, and the whole law as one batch has the mean weight times the normalised gradient; with
  or without clamping, batches of two have the gradient of the clamped law, and batches of one have DPO's;
- a separation: on batches of two the released weights shrink more than normalised ones.

The planted defects: the temperature 10 % too large; beta 5 % too large in the parts without sampling; and
weights released where they should be normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import root
from scipy.special import expit
from torch import Tensor
from torch.func import grad, vmap

from distalign.objectives import dpo, kldpo
from distalign.populations import log_linear_bradley_terry
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, growth, identity, separation
from distalign.theory.robust import algorithms as theory
from distalign.theory.robust.kldpo import shrinkage_factor


def _exact(arguments: Mapping[str, Any]) -> bool:
    return arguments["part"] == "pairs"


def _normalised(arguments: Mapping[str, Any]) -> bool:
    return arguments.get("weights") == "normalised"


DEFECTS = (
    Defect("the temperature 10 % too large", kldpo, argument("temperature", lambda t: 1.1 * t)),
    Defect("beta 5 % too large", kldpo, argument("beta", lambda b: 1.05 * b), _exact),
    Defect("weights not normalised", kldpo, argument("weights", lambda _: "released"), _normalised),
)
PROMPTS, RESPONSES, DIMENSION, NORM, INSTANCE = 3, 4, 3, 2.5, 0
CLAMP = 10.0  # the largest weight, as in (1)
SCALES, STEPS = (0.2, 0.5, 1.0), 25  # points of `pairs` as factors of DPO's solution; points of `path`
WEIGHTS = ("released", "normalised")


def cells(
    temperatures: list[float], batches: list[int], samples: int, replicates: int
) -> list[dict[str, Any]]:
    """One cell per form of the weights, temperature and batch size; the other parts are exact."""
    drawn = [
        {
            "part": "solutions",
            "weights": w,
            "temperature": t,
            "batch": b,
            "samples": samples,
            "replicates": replicates,
        }
        for w in WEIGHTS
        for t in temperatures
        for b in batches
    ]
    return [{"part": part, "temperature": t} for part in ("pairs", "path") for t in temperatures] + drawn


def run(rng: np.random.Generator, *, part: str, temperature: float, **arguments: Any) -> dict[str, Any]:
    """Rows of one part."""
    if part == "solutions":
        return _solutions(rng, temperature, **arguments)
    return _pairs(temperature) if part == "pairs" else _path(temperature)


def _instance() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(m, d) features of chosen minus rejected, (m,) law of the comparisons, and DPO's solution (d,)."""
    drawn = log_linear_bradley_terry(
        np.random.default_rng(INSTANCE), PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=1.0
    )
    law, psi = drawn.population.pairs(distinct=True), drawn.features.reshape(-1, DIMENSION)
    return psi[law.chosen] - psi[law.rejected], law.weights, drawn.theta_star


def _gradients(
    theta: np.ndarray, v: np.ndarray, temperature: float, weights: str, law: np.ndarray | None = None
) -> np.ndarray:
    """(N, d) gradients of the torch objective on N batches of features (N, B, d); `law` weighs the B pairs of
    every batch.
    """

    def loss(at: Tensor, pairs: Tensor) -> Tensor:
        zero = torch.zeros(pairs.shape[0], dtype=torch.float64)
        mass = None if law is None else torch.from_numpy(law)
        batch = PreferenceLogProbs(pairs @ at, zero, zero, zero, weights=mass, validate=False)
        if weights == "dpo":
            return dpo(batch, beta=1.0)
        return kldpo(batch, beta=1.0, temperature=temperature, weights=weights)

    return vmap(grad(loss), (None, 0))(torch.from_numpy(theta), torch.from_numpy(v)).numpy()


def _mean_gradient(
    theta: np.ndarray, v: np.ndarray, p: np.ndarray, temperature: float, batch: int, weights: str
) -> np.ndarray:
    """(d,) the mean gradient that theory predicts, from the weights it gives to the atoms."""
    margins = v @ theta
    losses = np.logaddexp(0, -margins)
    if weights == "normalised":
        w = theory.softmax_weights(losses, p, temperature, batch)
    elif weights == "clamped":
        w = theory.clamped_weights(losses, p, temperature, batch, CLAMP)
    else:
        tilt = losses / theory.batch_temperature(temperature, batch)
        w = np.exp(tilt - np.log(p @ np.exp(tilt))) * theory.mean_weight(losses, p, temperature, batch)
    return -(p * w * expit(-margins)) @ v


def _pairs(temperature: float) -> dict[str, Any]:
    """All batches of two and of one, and the whole law, at points between the reference and DPO's
    solution.
    """
    v, p, star = _instance()
    rows = []
    for scale in SCALES:
        theta, name = scale * star, "released"
        losses = np.logaddexp(0, -v @ theta)
        index_pairs = np.stack(np.meshgrid(np.arange(len(p)), np.arange(len(p)), indexing="ij"), -1).reshape(
            -1, 2
        )
        mean = (p[index_pairs].prod(1)[:, None] * _gradients(theta, v[index_pairs], temperature, name)).sum(0)
        expected = _mean_gradient(theta, v, p, temperature, 2, "released")
        batches_of_one = p @ _gradients(theta, v[:, None], temperature, name)
        whole_law = [_gradients(theta, v[None], temperature, w, p)[0] for w in (name, "normalised", "dpo")]
        normalised_times_mean_weight = float(p @ np.exp((losses - p @ losses) / temperature)) * whole_law[1]
        clamped = _mean_gradient(theta, v, p, temperature, 2, "clamped")
        rows.append(
            {
                "scale": scale,
                "deviation": np.abs(mean - expected).max(),
                "clamped": np.abs(mean - clamped).max(),
                "clamps_pairs": _clamp_can_bind(losses, temperature, 2),
                "alone": np.abs(batches_of_one - whole_law[2]).max(),
                "multiplied": np.abs(whole_law[0] - normalised_times_mean_weight).max(),
                "clamps_whole": bool((losses.max() - p @ losses) / temperature > np.log(CLAMP)),
            }
        )
    return dict(pd.DataFrame(rows))


def _clamp_can_bind(losses: np.ndarray, temperature: float, batch: int) -> bool:
    """Whether some batch of this size has a weight beyond the clamp."""
    return bool((1 - 1 / batch) * (losses.max() - losses.min()) / temperature > np.log(CLAMP))


def _solutions(
    rng: np.random.Generator,
    temperature: float,
    *,
    weights: str,
    batch: int,
    samples: int,
    replicates: int,
) -> dict[str, Any]:
    """Per replicate, the zero of its mean gradient as a factor of DPO's solution, and its distance off that
    line.
    """
    v, p, star = _instance()
    unclamped_solution = theory.batch_shrinkage(temperature, batch) * star
    clamps = weights == "released" and _clamp_can_bind(
        np.logaddexp(0, -v @ unclamped_solution), temperature, batch
    )
    expected = partial(
        _mean_gradient,
        v=v,
        p=p,
        temperature=temperature,
        batch=batch,
        weights="clamped" if clamps else weights,
    )
    predicted = (
        unclamped_solution
        if weights == "released" and not clamps
        else root(expected, unclamped_solution, tol=1e-12).x
    )
    jacobian = np.stack(
        [(expected(predicted + e) - expected(predicted - e)) / 2e-5 for e in 1e-5 * np.eye(DIMENSION)], 1
    )
    factors = []
    for _ in range(replicates):
        atoms = rng.choice(len(p), size=(samples // batch, batch), p=p)
        mean = _gradients(predicted, v[atoms], temperature, weights).mean(0)
        # One Newton step from the predicted point, with theory's Jacobian.
        factors.append((predicted - np.linalg.solve(jacobian, mean)) @ star / (star @ star))
    return {
        "replicate": np.arange(replicates),
        "factor": factors,
        "predicted": predicted @ star / (star @ star),
        "exact": shrinkage_factor(temperature),
        "unclamped": theory.batch_shrinkage(temperature, batch),
        "clamps": clamps,
        "cosine": predicted @ star / np.sqrt((predicted @ predicted) * (star @ star)),
    }


def _path(temperature: float) -> dict[str, Any]:
    """Mean weight at points from the optimum to DPO's solution, the whole law being one batch."""
    v, p, star = _instance()
    factors = np.linspace(shrinkage_factor(temperature), 1, STEPS)
    losses = np.logaddexp(0, -factors[:, None] * (v @ star))
    exponents = (losses - losses @ p[:, None]) / temperature
    clamped = np.exp(np.minimum(exponents, np.log(CLAMP)))
    return {
        "factor": factors,
        "mean_weight": np.exp(exponents) @ p,
        "clamped_weight": clamped @ p,
        "clamped_share": (exponents > np.log(CLAMP)) @ p,
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Solutions with their intervals per form, temperature and batch; mean weights along the path."""
    solutions = rows.loc[rows.part == "solutions"]
    keys = ["weights", "temperature", "batch"]
    constants = ["predicted", "exact", "unclamped", "cosine", "clamps"]
    means = summarise(solutions, keys, "factor").merge(
        solutions.groupby(keys, as_index=False)[constants].first()
    )
    path = rows.loc[
        rows.part == "path",
        ["part", "temperature", "factor", "mean_weight", "clamped_weight", "clamped_share"],
    ]
    return pd.concat([means.assign(part="solutions"), path], ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """The solutions of both forms of the weights, the exact gradients, and which form shrinks more."""
    pairs, solutions = (rows.loc[rows.part == part] for part in ("pairs", "solutions"))
    released, normalised = (solutions.loc[solutions.weights == w] for w in WEIGHTS)
    unclamped, within_reach = (released.loc[released.clamps.astype(bool) == reach] for reach in (False, True))
    of_two = solutions.loc[solutions.batch == 2].pivot(
        index=["temperature", "replicate"], columns="weights", values="factor"
    )
    return [
        _solution_check(
            "released, out of the clamp's reach: solution = tau B / (B - 1) shrinkage", unclamped
        ),
        *(
            [_solution_check("released, within the clamp's reach: solution of the clamped law", within_reach)]
            if len(within_reach)
            else []
        ),
        _solution_check("normalised in the batch: solution of the integral", normalised),
        identity(
            "batches of two, no clamp: mean gradient = mean weight times that of temperature 2 tau",
            pairs.deviation[~pairs.clamps_pairs.astype(bool)],
            1e-12,
        ),
        identity("batches of two: mean gradient = that of the clamped law", pairs.clamped, 1e-5),
        identity("batches of one: mean gradient = DPO's", pairs.alone, 1e-14),
        identity(
            "whole law, no clamp: gradient = mean weight times the normalised one",
            pairs.multiplied[~pairs.clamps_whole.astype(bool)],
            1e-12,
        ),
        separation(
            "batches of two: factor of normalised weights minus that of released ones",
            of_two.normalised - of_two.released,
        ),
    ]


def _solution_check(name: str, rows: pd.DataFrame) -> Check:
    """The mean factor over its prediction is 1 in every cell; the tolerance is four of the largest standard
    error over replicates, which is below 1 % at the full preset.
    """
    groups = (rows.factor / rows.predicted).groupby([rows.temperature, rows.batch])
    return growth(name, np.asarray(groups.mean()), 1.0, 4 * float(np.max(groups.sem())))
