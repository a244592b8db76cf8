"""KLDPO of a language model against DPO of the same model: as far as theory says, and in the same direction?

The claim is ours. Theory speaks of minimisers: a language model that can reach every law of a finite set of
responses has the minimiser of a table, whose log-ratios are DPO's shrunk by tau / (1 + tau). Training stops
short of the minimiser and theory does not see its path, so the study measures whether a trained model
behaves alike.

The run. Bradley-Terry comparisons of a finite set of responses, exact law; per seed one run of DPO and one
of KLDPO per temperature. Measured are the trained model's log-ratios against those of its own DPO run
(length and cosine), the path of both, DPO stopped early as a rival to DPO shrunk, and how far and in which
direction the *weights* have gone, of which theory says nothing.

The two roads. The trained language model, and the exact fit of a table to the same law by the same
objective; both against the formula tau / (1 + tau).

The checks:

- growth: the language model's mean length relative to DPO's is tau / (1 + tau), to 10 %;
- a bound: its cosine with DPO is at least 0.98;
- identities: the table has length tau / (1 + tau) and cosine 1; at the reference KLDPO's gradient by the
  weights is DPO's, because all losses agree there;
- a separation: DPO stopped early is further from KLDPO than DPO shrunk.

The defect takes the worst case in micro-batches of one pair, where KLDPO is DPO. Both worlds then have
length 1 at every temperature.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.bridge.candidates.displacement import along, displacement
from distalign.bridge.candidates.policies import Trainable, load
from distalign.bridge.candidates.train import train_policy
from distalign.objectives import dpo, kldpo
from distalign.policies import score
from distalign.populations import Law, Population, win_matrix
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.theory.robust.kldpo import shrinkage_factor

DEFECT = "the worst case taken in micro-batches of one pair, where KLDPO is DPO"
BETA, REWARD_SD = 1.0, 1.0  # KL strength; standard deviation of the responses' rewards, in nats
LENGTH_TOLERANCE, LEAST_COSINE = 0.1, 0.98
MARKS = 12  # points recorded of every path
MEASURED = ("factor", "cosine", "weights_length", "weights_cosine", "to_shrunk", "to_early", "from_exact")


def cells(
    policy: str, seeds: int, temperatures: list[float], steps: int, prompts: int = 1, responses: int = 6
) -> list[dict[str, Any]]:
    """One cell per seed: its runs share the reference and the run of DPO."""
    return [
        {
            "policy": policy,
            "seed": i,
            "temperatures": temperatures,
            "steps": steps,
            "prompts": prompts,
            "responses": responses,
        }
        for i in range(seeds)
    ]


def run(
    rng: np.random.Generator,
    *,
    policy: str,
    seed: int,
    temperatures: list[float],
    steps: int,
    prompts: int,
    responses: int,
    defect: bool = False,
) -> dict[str, Any]:
    """One row per temperature, infinity for DPO, and one per mark of each path."""
    model = load(policy, seed, prompts=prompts, responses=responses)
    reward = REWARD_SD * rng.normal(size=(prompts, responses))
    uniform = np.full((prompts, responses), 1 / responses)
    law = Population(win_matrix(reward[None], [1.0], 1.0), uniform).pairs(distinct=True)
    exact_dpo = displacement(reward / BETA, np.zeros_like(reward))
    dpo_loss = partial(dpo, beta=BETA)
    runs = {np.inf: _path_and_weights(model, dpo_loss, law, steps)}
    rows = []
    for tau in (np.inf, *temperatures):
        objective = dpo_loss if defect or np.isinf(tau) else partial(kldpo, beta=BETA, temperature=tau)
        if not defect and tau not in runs:
            runs[tau] = _path_and_weights(model, objective, law, steps)
        path, weights = runs.get(tau, runs[np.inf])
        simulated = along(_table_displacement(model, objective, law), exact_dpo)
        factor = shrinkage_factor(tau) if np.isfinite(tau) else 1.0
        end_of_run = {
            "part": "end",
            "temperature": tau,
            "predicted": factor,
            "simulated": simulated[0],
            "simulated_cosine": simulated[1],
            "gradient": _gradient_gap_at_reference(model, objective, dpo_loss, law),
            **_against_dpo_run(path, weights, *runs[np.inf], factor, exact_dpo),
        }
        rows += [
            end_of_run,
            *(
                {"part": "path", "temperature": tau, "step": step, **_along_and_across(path[step], exact_dpo)}
                for step in _marks(steps)
            ),
        ]
    return dict(pd.DataFrame(rows))


def _path_and_weights(
    model: Trainable, objective: Callable, law: Law, steps: int
) -> tuple[np.ndarray, torch.Tensor]:
    """(steps + 1, S, K) displacements along the path, and the flat change of all weights."""
    model.reset()
    before = torch.cat([p.detach().flatten() for p in model.parameters]).clone()
    path = train_policy(model, objective, law, steps=steps).path
    return displacement(path, path[0]), torch.cat([p.detach().flatten() for p in model.parameters]) - before


def _table_displacement(model: Trainable, objective: Callable, law: Law) -> np.ndarray:
    """Displacement of the exact minimiser of an objective over all laws on these responses."""
    return displacement(fit(model.start, objective, law).log_probs, model.start.log_reference.numpy())


def _against_dpo_run(
    path: np.ndarray,
    weights: torch.Tensor,
    rival: np.ndarray,
    rival_weights: torch.Tensor,
    factor: float,
    exact: np.ndarray,
) -> dict[str, float]:
    """The end of a run against DPO's run, stopped early or shrunk, and against the exact solution."""
    end, dpo_end = path[-1], rival[-1]
    (length, cosine), size = along(end, dpo_end), np.linalg.norm(end)
    of_weights = along(weights.double().numpy(), rival_weights.double().numpy())
    to_nearest_stop = np.linalg.norm((rival - end).reshape(len(rival), -1), axis=1).min()
    from_exact = np.linalg.norm(end - factor * exact) / np.linalg.norm(factor * exact)
    return {
        "factor": length,
        "cosine": cosine,
        "weights_length": float(weights.norm() / rival_weights.norm()),
        "weights_cosine": of_weights[1],
        "to_early": float(to_nearest_stop / size),
        "to_shrunk": float(np.linalg.norm(end - factor * dpo_end) / size),
        "from_exact": float(from_exact),
    }


def _along_and_across(moved: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Component along the exact DPO solution, and distance from that line, in units of the solution's
    length.
    """
    length, _ = along(moved, exact)
    return {"along": length, "across": float(np.linalg.norm(moved - length * exact) / np.linalg.norm(exact))}


def _marks(steps: int) -> list[int]:
    return sorted({round(i * steps / MARKS) for i in range(MARKS + 1)})


def _gradient_gap_at_reference(model: Trainable, objective: Callable, plain: Callable, law: Law) -> float:
    """Distance between an objective's gradient by the weights at the reference and DPO's, relative to
    DPO's.
    """
    gradient_of = []
    for loss in (objective, plain):
        model.reset()
        chosen, rejected, weights = (torch.as_tensor(x) for x in (law.chosen, law.rejected, law.weights))
        gradients = torch.autograd.grad(
            loss(score(model.start, model.theta(), chosen, rejected, weights)), model.parameters
        )
        gradient_of.append(torch.cat([g.flatten() for g in gradients]).double())
    return float((gradient_of[0] - gradient_of[1]).norm() / gradient_of[1].norm())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval over seeds of every measure per temperature, and of the paths per step."""
    end, path = (rows.loc[rows.part == part] for part in ("end", "path"))
    predictions = end.groupby("temperature", as_index=False)[
        ["predicted", "simulated", "simulated_cosine"]
    ].mean()
    tables = [
        summarise(end, ["temperature"], quantity).merge(predictions).assign(part="end", quantity=quantity)
        for quantity in MEASURED
    ]
    tables += [
        summarise(path, ["temperature", "step"], quantity).assign(part="path", quantity=quantity)
        for quantity in ("along", "across")
    ]
    return pd.concat(tables, ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Length and direction on the language model, the same of a table, the common start, and the rival."""
    end = rows.loc[rows.part == "end"]
    robust = end.loc[np.isfinite(end.temperature)]
    mean = robust.groupby("temperature")[["factor", "predicted"]].mean()
    return [
        growth(
            "language model: mean length relative to DPO's = tau / (1 + tau)",
            mean.factor,
            mean.predicted,
            LENGTH_TOLERANCE,
        ),
        bound(
            f"language model: cosine with DPO at least {LEAST_COSINE:g}", 1 - robust.cosine, 1 - LEAST_COSINE
        ),
        identity(
            "table: length relative to DPO's = tau / (1 + tau)", end.simulated / end.predicted - 1, 1e-6
        ),
        identity("table: cosine with DPO 1", end.simulated_cosine - 1, 1e-9),
        identity(
            "at the reference KLDPO's gradient by the weights is DPO's, relative", robust.gradient, 1e-5
        ),
        separation(
            "distance of DPO stopped early minus that of DPO shrunk",
            (robust.to_early - robust.to_shrunk).groupby(robust.seed).mean(),
        ),
    ]
