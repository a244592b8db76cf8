"""A language model under a shift of its users: what KLDPO buys over DPO, and over the best multiple of DPO.

The claim is ours. A policy that can reach every law of the responses, a table or a large model, is led by
KLDPO away from DPO's direction only as far as the mixture of users departs from Bradley-Terry. So the loss
that KLDPO saves is that of a shorter DPO.

The run. A seed has a few prompts, which are trained on together; each is a problem of its own, with its own
users and its own ball, and a cluster of the intervals. Two groups of Bradley-Terry users have rewards of
equal length at an angle; training sees the exact law with a share of 0.1 of the second group. KLDPO takes the
Kullback-Leibler ball that just reaches a share of 0.3. Measured of every policy are DPO's loss for each
group, hence for every share (the loss is linear in it) and for the worse-off group, and the worst case over
the ball. Controls:

- *DPO as short*: DPO's log-ratios to the reference times what makes them as short as KLDPO's;
- *best multiple of DPO*: the multiple, 0 to 2, whose worse-off group loses least; it is told the groups;
- *group-robust* DPO, which is told the groups, too, and may turn: the positive control of the comparison,
  run where the groups do not conflict (where they do, no policy is much better for the worse-off group than
  the reference).

WDPO is not run here: its ball is in the space of token embeddings, which takes a training step of its own.

The two roads. Each method is trained on the language model and fitted exactly on a table. An independent
solver predicts KLDPO's length; the shrinkage at the ball's own multiplier, exact for Bradley-Terry, stands
beside it in the table.

The checks, for both worlds:

- separations where the groups conflict: for the worse-off group KLDPO loses less than DPO, and more than
  the best multiple of DPO; without a shift KLDPO loses more than DPO;
- a separation where they do not: the best multiple of DPO loses more than group-robust DPO;
- identities: KLDPO's losses are those of DPO as short, to 0.03 nats;
- growth: on the table KLDPO's mean length relative to DPO's is the solver's;
- a separation: the language model's is nearer to it than to DPO's;
- an identity: the nominal losses of language model and table agree to 0.03 nats;
- a bound: KLDPO's loss at the share that the ball reaches is at most the supremum over the ball.

The planted defects: KLDPO's ball of radius 0, which is DPO; KLDPO that takes the rejected for the chosen; a
group-robust DPO that does not see the groups; the multiple of DPO that is best for the users of training; a
worst case over a ball of half the radius; and training that ends after a tenth of the steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from distalign.bridge.candidates.displacement import along, displacement
from distalign.bridge.candidates.policies import Trainable, load
from distalign.bridge.candidates.train import Objective, at_prompt, train_policy
from distalign.bridge.studies.mistakes import sides_exchanged
from distalign.objectives import dpo, group_dpo, kldpo
from distalign.policies import Tabular
from distalign.populations import Law, Population, at_angle, win_matrix
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.solvers.robust.kl_ball import kl_worst_case
from distalign.solvers.robust.kl_fit import fit_kl_ball
from distalign.theory.robust.kldpo import ball_temperature, shrinkage_factor

# standard deviation of rewards in nats; share of the second group in training; share that the ball reaches
REWARD_SD, SHARE, REACHED = 2.0, 0.1, 0.3
# degrees between the rewards of the two groups; temperature of group-robust DPO
CONFLICT, AGREEMENT, GROUP_TEMPERATURE = 120.0, 60.0, 0.1
LOSS_TOLERANCE = 0.03
MEASURES = ("first", "second", "worst", "nominal", "moved", "length", "cosine")


def best_multiple(moved: np.ndarray, law: Law, groups: np.ndarray) -> float:
    """The multiple of log-ratios, 0 to 2, whose worse-off group loses least.

    Args:
        moved: (1, K) log-ratios to the reference.
        law: the A atoms.
        groups: (G, A) laws of the groups over the atoms.

    Source: ours.
    """
    found = minimize_scalar(
        lambda s: (groups @ _losses(s * moved, law)).max(),
        bounds=(0, 2),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return float(found.x)  # type: ignore[union-attr]


DEFECTS = (
    Defect("KLDPO's ball of radius 0, which is DPO", kldpo, argument("radius", lambda x: 0.0), where(seed=0)),
    Defect(
        "KLDPO takes the rejected for the chosen", kldpo, argument("batch", sides_exchanged), where(seed=0)
    ),
    Defect(
        "the worst case over a ball of half the radius",
        kl_worst_case,
        argument("radius", lambda x: 0.5 * x),
        where(seed=0),
    ),
    Defect(
        "a group-robust DPO that does not see the groups",
        group_dpo,
        argument("batch", lambda batch: replace(batch, groups=torch.zeros_like(batch.groups))),
        where(seed=0),
    ),
    Defect(
        "the multiple of DPO that is best for the users of training",
        best_multiple,
        argument("groups", lambda g: (1 - SHARE) * g[:1] + SHARE * g[1:]),
        where(seed=0),
    ),
    Defect(
        "training ends after a tenth of the steps",
        train_policy,
        argument("steps", lambda n: n // 10),
        where(seed=0),
    ),
)


def cells(policy: str, seeds: int, steps: int, prompts: int = 4, responses: int = 6) -> list[dict[str, Any]]:
    """One cell per seed."""
    return [
        {"policy": policy, "seed": i, "steps": steps, "prompts": prompts, "responses": responses}
        for i in range(seeds)
    ]


def run(
    rng: np.random.Generator, *, policy: str, seed: int, steps: int, prompts: int, responses: int
) -> dict[str, Any]:
    """One row per angle, world, prompt and method."""
    model = load(policy, seed, prompts=prompts, responses=responses)
    parts = [_at_angle(rng, model, angle, steps) for angle in (AGREEMENT, CONFLICT)]
    return dict(pd.concat(parts, ignore_index=True))


def _at_angle(rng: np.random.Generator, model: Trainable, angle: float, steps: int) -> pd.DataFrame:
    """The rows of one angle: the methods of a prompt share the population and the run of DPO."""
    tables = [Tabular(reference) for reference in model.start.log_reference.exp()]
    problems = [_problem(rng, one, angle) for one in tables]
    trained: list[dict[str, np.ndarray]] = [{} for _ in tables]
    reference = model.start.log_reference.numpy()
    for method in problems[0].objectives:
        objectives, laws = zip(*(p.objectives[method] for p in problems), strict=True)
        numbered = [at_prompt(law, s, reference.shape[1]) for s, law in enumerate(laws)]
        moved = displacement(train_policy(model, objectives, numbered, steps=steps).log_probs, reference)
        for s, displacements in enumerate(trained):
            displacements[method] = moved[[s]]
    rows = []
    for s, (one, problem) in enumerate(zip(tables, problems, strict=True)):
        predicted_length, solver_length = _predicted_lengths(one, problem)
        for world, found in (("simulation", _table_fits(one, problem)), ("language model", trained[s])):
            displacements = found | _multiples_of_dpo(found, problem.law, problem.groups)
            rows += [
                {
                    "prompt": s,
                    "world": world,
                    "method": name,
                    "predicted_length": predicted_length,
                    "solver_length": solver_length,
                    **_losses_and_direction(displaced, displacements["DPO"], problem),
                }
                for name, displaced in displacements.items()
            ]
    return pd.DataFrame(rows).assign(angle=angle)


@dataclass(frozen=True, eq=False)
class _Problem:
    """One prompt's users, and what the methods make of them.

    Attributes:
        law: seen in training, over A atoms.
        groups: (2, A) laws of both groups over the same atoms.
        mixtures: their mixtures by the share of the second group.
        radius: of the ball that reaches the share REACHED, in nats.
        objectives: each method's loss and the law that it is trained on.
    """

    law: Law
    groups: np.ndarray
    mixtures: dict[float, np.ndarray]
    radius: float
    objectives: dict[str, tuple[Objective, Law]]


def _problem(rng: np.random.Generator, one: Tabular, angle: float) -> _Problem:
    """The problem of one prompt."""
    law, groups = _population(rng, one, angle)
    mixtures = {q: (1 - q) * groups[0] + q * groups[1] for q in (SHARE, REACHED)}
    radius = float(mixtures[REACHED] @ np.log(mixtures[REACHED] / mixtures[SHARE]))
    objectives: dict[str, tuple[Objective, Law]] = {
        "DPO": (partial(dpo, beta=1.0), law),
        "KLDPO": (partial(kldpo, beta=1.0, radius=radius), law),
    }
    if angle == AGREEMENT:
        objectives["group-robust"] = _group_robust_loss_and_law(law, groups)
    return _Problem(law, groups, mixtures, radius, objectives)


def _table_fits(one: Tabular, problem: _Problem) -> dict[str, np.ndarray]:
    """Displacement of every method's exact minimiser."""
    found: dict[str, np.ndarray] = {}
    for method, (objective, data) in problem.objectives.items():
        # The ball's loss has a kink at the reference, where training starts: begin half-way to DPO's.
        first_point = found["DPO"].ravel() / 2 if found else None
        fitted = fit(one, objective, data, start=first_point)
        found[method] = displacement(fitted.log_probs, one.log_reference.numpy())
    return found


def _population(rng: np.random.Generator, one: Tabular, angle: float) -> tuple[Law, np.ndarray]:
    """The law seen in training, and (2, A) the laws of both groups over its A atoms."""
    directions, shape = one.directions.numpy(), tuple(one.log_reference.shape)
    first = rng.normal(size=directions.shape[1])
    first *= REWARD_SD * np.sqrt(directions.shape[0]) / np.linalg.norm(first)
    uniform = np.full(shape, 1 / shape[1])
    laws = [
        Population(win_matrix((directions @ z).reshape(1, *shape), [1.0], 1.0), uniform).pairs(distinct=True)
        for z in (first, at_angle(first, angle, rng))
    ]
    groups = np.stack([law.weights for law in laws])
    return Law(laws[0].chosen, laws[0].rejected, (1 - SHARE) * groups[0] + SHARE * groups[1]), groups


def _group_robust_loss_and_law(law: Law, groups: np.ndarray) -> tuple[Objective, Law]:
    """Group-robust DPO near its limit, the loss of the worse-off group; and the training law with each
    comparison's group.
    """
    law_by_group = Law(
        np.tile(law.chosen, 2),
        np.tile(law.rejected, 2),
        np.concatenate([(1 - SHARE) * groups[0], SHARE * groups[1]]),
    )
    group_of_atom = torch.arange(2).repeat_interleave(law.chosen.size)

    def loss(batch: PreferenceLogProbs) -> Tensor:
        return group_dpo(replace(batch, groups=group_of_atom), beta=1.0, temperature=GROUP_TEMPERATURE)

    return loss, law_by_group


def _losses(moved: np.ndarray, law: Law) -> np.ndarray:
    """(A,) DPO losses of the atoms at these log-ratios."""
    flat = moved.ravel()
    return np.logaddexp(0, flat[law.rejected] - flat[law.chosen])


def _multiples_of_dpo(found: dict[str, np.ndarray], law: Law, groups: np.ndarray) -> dict[str, np.ndarray]:
    """Two multiples of DPO's log-ratios: as short as KLDPO's, and best for the worse-off group."""
    dpo_ratios = found["DPO"]
    return {
        "DPO as short": np.linalg.norm(found["KLDPO"]) / np.linalg.norm(dpo_ratios) * dpo_ratios,
        "best multiple of DPO": best_multiple(dpo_ratios, law, groups) * dpo_ratios,
    }


def _losses_and_direction(moved: np.ndarray, plain: np.ndarray, problem: _Problem) -> dict[str, Any]:
    """Losses by group and mixture, worst case over the ball, length and direction relative to DPO."""
    losses, mixed = _losses(moved, problem.law), problem.mixtures
    group_losses = problem.groups @ losses
    return {
        "first": group_losses[0],
        "second": group_losses[1],
        "worst": group_losses.max(),
        "nominal": mixed[SHARE] @ losses,
        "moved": mixed[REACHED] @ losses,
        "certificate": kl_worst_case(losses, mixed[SHARE], problem.radius).value,
        "length": float(np.linalg.norm(moved) / np.linalg.norm(plain)),
        "cosine": along(moved, plain)[1],
    }


def _predicted_lengths(one: Tabular, problem: _Problem) -> tuple[float, float]:
    """KLDPO's length relative to DPO's by two predictions.

    One is the shrinkage of Bradley-Terry at the ball's own multiplier, the other the length of the solver's
    optimum.
    """
    law, p, radius = problem.law, problem.mixtures[SHARE], problem.radius
    directions = one.directions.numpy()
    v = directions[law.chosen] - directions[law.rejected]
    dpo_ratios = displacement(fit(one, partial(dpo, beta=1.0), law).log_probs, one.log_reference.numpy())
    dpo_parameter = dpo_ratios.ravel() @ directions
    solver_optimum = fit_kl_ball(v, p, radius=radius).theta[0]
    return (
        shrinkage_factor(ball_temperature(v, p, dpo_parameter, radius)),
        float(np.linalg.norm(solver_optimum) / np.linalg.norm(dpo_parameter)),
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval over seeds of every measure, per world, angle and method."""
    keys = ["world", "angle", "method"]
    predictions = rows.groupby(keys, as_index=False).agg(
        dict.fromkeys(("predicted_length", "solver_length", "certificate"), "mean")
    )
    return pd.concat(
        [summarise(rows, keys, q).merge(predictions).assign(quantity=q) for q in MEASURES], ignore_index=True
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """What KLDPO buys and costs, what a multiple of DPO buys, what only groups buy, and both worlds
    compared.
    """
    keys = ["angle", "seed", "prompt", "method"]
    robust = rows.loc[rows.method == "KLDPO"]
    lengths = robust.groupby(["world", "angle"])[["length", "solver_length"]].mean()
    of_model = robust.loc[robust.world == "language model"]
    nearer = of_model.groupby(["seed", "prompt"])[["length", "solver_length"]].mean()
    simulated, trained = (rows.loc[rows.world == w].set_index(keys) for w in ("simulation", "language model"))
    return [
        *_costs_and_gains(rows, "language model"),
        *_costs_and_gains(rows, "simulation"),
        separation(
            "language model: length of KLDPO nearer the solver's than DPO's",
            (1 - nearer.length) - (nearer.length - nearer.solver_length).abs(),
        ),
        growth(
            "table: mean length of KLDPO relative to DPO's = solver's",
            lengths.length["simulation"],
            lengths.solver_length["simulation"],
            1e-5,
        ),
        identity(
            "nominal loss, language model minus table, nats",
            trained.nominal - simulated.nominal,
            LOSS_TOLERANCE,
        ),
        bound(
            "certificate: KLDPO's loss at the share the ball reaches is at most the sup over the ball",
            robust.moved,
            robust.certificate,
        ),
    ]


def _costs_and_gains(rows: pd.DataFrame, world: str) -> list[Check]:
    """What KLDPO and group-robust DPO gain for the worse-off group, and what KLDPO costs without a shift."""
    of_world = rows.loc[rows.world == world]
    losses = {
        q: of_world.pivot(index=["angle", "seed", "prompt"], columns="method", values=q)
        for q in ("worst", "nominal")
    }
    conflict, agreement, nominal = (
        losses["worst"].loc[CONFLICT],
        losses["worst"].loc[AGREEMENT],
        losses["nominal"].loc[CONFLICT],
    )
    return [
        separation(
            f"{world}, conflict, worse-off group: DPO's loss minus KLDPO's",
            conflict["DPO"] - conflict["KLDPO"],
        ),
        separation(
            f"{world}, conflict, no shift: KLDPO's loss minus DPO's", nominal["KLDPO"] - nominal["DPO"]
        ),
        separation(
            f"{world}, conflict, worse-off group: KLDPO's loss minus that of the best multiple of DPO",
            conflict["KLDPO"] - conflict["best multiple of DPO"],
        ),
        separation(
            f"{world}, agreement, worse-off group: best multiple of DPO minus group-robust",
            agreement["best multiple of DPO"] - agreement["group-robust"],
        ),
        identity(
            f"{world}: KLDPO's losses minus those of DPO as short, nats",
            np.concatenate([losses[q]["KLDPO"] - losses[q]["DPO as short"] for q in losses]),
            LOSS_TOLERANCE,
        ),
    ]
