r"""KLDPO of a language model against DPO of the same model: nearly as theory says, and in the same direction.

The claim is ours. Theory speaks of minimisers: a language model that can reach every law of a finite set of
responses has the minimiser of a table, whose log-ratios are DPO's shrunk by tau / (1 + tau). Training stops
short of the minimiser and theory does not see its path, so the study measures whether a trained model behaves
alike. It nearly does: the first runs of SmolLM2 showed lengths about 8 % above tau / (1 + tau), so what is
asked of the trained network is only that it shrinks, and the table holds the formula.

The run. A seed has a few prompts, which are trained on together. Each is a problem of its own, with its own
worst case, and a cluster of the intervals: Bradley-Terry comparisons of a finite set of responses, by their
exact law. Per seed there is one run of DPO and one of KLDPO per temperature. Measured are the trained model's
log-ratios against those of its own DPO run (length and cosine), the path of both, DPO stopped early as a
rival to DPO shrunk, and how far and in which direction the *weights* have gone, of which theory says nothing.

The two roads. The trained language model, and the exact fit of a table to the same law by the same
objective; the latter against the formula tau / (1 + tau).

The checks:

- growth: the table has length tau / (1 + tau) relative to DPO's;
- separations: the language model's length is nearer tau / (1 + tau) than DPO's, at each temperature;
- a bound: the language model's cosine with DPO is at least 0.98;
- identities: the table has cosine 1; at the reference KLDPO's gradient by the weights is DPO's, because all
  losses agree there;
- a separation: DPO stopped early is further from KLDPO than DPO shrunk.

The planted defects: KLDPO's temperature 10 % too small; its tilt with the opposite sign, which is Dr. DPO;
and KLDPO that takes the rejected for the chosen.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.bridge.candidates.displacement import along, displacement
from distalign.bridge.candidates.policies import Trainable, load
from distalign.bridge.candidates.train import Objective, at_prompt, train_policy
from distalign.bridge.studies.mistakes import sides_exchanged
from distalign.objectives import dpo, dr_dpo, kldpo
from distalign.policies import Tabular, score
from distalign.populations import Law, Population, win_matrix
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.theory.robust.kldpo import shrinkage_factor

BETA, REWARD_SD = 1.0, 1.0  # KL strength; standard deviation of the responses' rewards, in nats
LEAST_COSINE = 0.98
MARKS = 12  # points recorded of every path
MEASURED = ("factor", "cosine", "weights_length", "weights_cosine", "to_shrunk", "to_early", "from_exact")


DEFECTS = (
    Defect(
        "KLDPO's temperature 10 % too small", kldpo, argument("temperature", lambda x: 0.9 * x), where(seed=0)
    ),
    Defect("KLDPO's tilt with the opposite sign, which is Dr. DPO", kldpo, lambda right: dr_dpo),
    Defect(
        "KLDPO takes the rejected for the chosen", kldpo, argument("batch", sides_exchanged), where(seed=0)
    ),
)


def cells(
    policy: str, seeds: int, temperatures: list[float], steps: int, prompts: int = 4, responses: int = 6
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
) -> dict[str, Any]:
    """For each prompt one row per temperature, infinity for DPO, and one per mark of each path."""
    model = load(policy, seed, prompts=prompts, responses=responses)
    rewards = REWARD_SD * rng.normal(size=(prompts, 1, responses))
    laws = [
        Population(win_matrix(reward, [1.0], 1.0), np.full((1, responses), 1 / responses)).pairs(
            distinct=True
        )
        for reward in rewards
    ]
    numbered = [at_prompt(law, s, responses) for s, law in enumerate(laws)]
    dpo_loss = partial(dpo, beta=BETA)
    dpo_path, dpo_weights = _path_and_weights(model, dpo_loss, numbered, steps)
    rows = []
    for tau in (np.inf, *temperatures):
        objective = dpo_loss if np.isinf(tau) else partial(kldpo, beta=BETA, temperature=tau)
        path, weights = dpo_path, dpo_weights
        if np.isfinite(tau):
            path, weights = _path_and_weights(model, objective, numbered, steps)
        factor = shrinkage_factor(tau) if np.isfinite(tau) else 1.0
        gradient = _gradient_gap_at_reference(model, objective, dpo_loss, numbered)
        for s, (reward, law) in enumerate(zip(rewards, laws, strict=True)):
            exact_dpo = displacement(reward / BETA, np.zeros_like(reward))
            simulated = along(_table_displacement(model.start.log_reference[s], objective, law), exact_dpo)
            of_prompt, of_dpo = path[:, [s]], dpo_path[:, [s]]
            end_of_run = {
                "part": "end",
                "prompt": s,
                "temperature": tau,
                "predicted": factor,
                "simulated": simulated[0],
                "simulated_cosine": simulated[1],
                "gradient": gradient,
                **_against_dpo_run(of_prompt, weights, of_dpo, dpo_weights, factor, exact_dpo),
            }
            marks = [
                {"part": "path", "prompt": s, "temperature": tau, "step": i}
                | _along_and_across(of_prompt[i], exact_dpo)
                for i in _marks(steps)
            ]
            rows += [end_of_run, *marks]
    return dict(pd.DataFrame(rows))


def _path_and_weights(
    model: Trainable, objective: Objective, laws: list[Law], steps: int
) -> tuple[np.ndarray, torch.Tensor]:
    """(steps + 1, S, K) displacements along the path, and the flat change of all weights."""
    model.reset()
    before = torch.cat([p.detach().flatten() for p in model.parameters]).clone()
    path = train_policy(model, [objective] * len(laws), laws, steps=steps).path
    return displacement(path, path[0]), torch.cat([p.detach().flatten() for p in model.parameters]) - before


def _table_displacement(log_reference: torch.Tensor, objective: Objective, law: Law) -> np.ndarray:
    """Displacement of the exact minimiser of an objective over all laws of one prompt's responses."""
    return displacement(fit(Tabular(log_reference.exp()), objective, law).log_probs, log_reference.numpy())


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


def _gradient_gap_at_reference(
    model: Trainable, objective: Objective, plain: Objective, laws: list[Law]
) -> float:
    """Distance between an objective's gradient by the weights at the reference and DPO's, relative to
    DPO's.
    """
    gradient_of = []
    for loss in (objective, plain):
        model.reset()
        theta = model.theta()
        losses = [
            loss(
                score(
                    model.start, theta, *(torch.as_tensor(x) for x in (law.chosen, law.rejected, law.weights))
                )
            )
            for law in laws
        ]
        gradients = torch.autograd.grad(torch.stack(losses).mean(), model.parameters)
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
    listed = []
    for tau, at in robust.groupby("temperature"):
        listed.append(
            separation(
                f"language model: length nearer tau / (1 + tau) than DPO's, tau = {tau:g}",
                (1 - at.factor) - (at.factor - at.predicted).abs(),
            )
        )
    return [
        growth("table: length relative to DPO's = tau / (1 + tau)", robust.simulated, robust.predicted, 1e-6),
        *listed,
        bound(
            f"language model: cosine with DPO at least {LEAST_COSINE:g}", 1 - robust.cosine, 1 - LEAST_COSINE
        ),
        identity("table: cosine with DPO 1", end.simulated_cosine - 1, 1e-9),
        identity(
            "at the reference KLDPO's gradient by the weights is DPO's, relative", robust.gradient, 1e-5
        ),
        separation(
            "distance of DPO stopped early minus that of DPO shrunk",
            (robust.to_early - robust.to_shrunk).groupby([robust.seed, robust.prompt]).mean(),
        ),
    ]
