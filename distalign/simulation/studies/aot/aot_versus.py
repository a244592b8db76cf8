r"""DPO, IPO, KTO and both AOTs at one KL divergence from the reference: what each wins, where AOT does not.

The paper compares such methods on language models; this comparison on exact laws is ours. The populations
are random Bradley-Terry users over three prompts with five responses, the policies log-linear with two
parameters. The reward is linear in the features (well specified) or half of it is not (misspecified). Every
method gives a policy of KL(pi || pi_ref) = 0.25 nats:

* DPO and IPO by their own strength: their minimisers in a log-linear class scale like 1 / beta exactly.
* Paired AOT, logistic, by its own beta, too. That is the beta at which its best policy on the sphere of
  0.25 nats no longer gains by leaving it, or thirty times DPO's where there is none.
* Unpaired AOT, logistic, and KTO have in general no finite minimiser (`aot_scale`). They are given their
  best policy on that sphere, at the beta of DPO; KTO's reference point is the KL itself.

The sphere is a curve here and is searched at every third degree, so nothing depends on a path of training.
Measured are the violation sqrt(\int (Q_V - Q_U)_+^2) of paired dominance (policy margins against reference
margins) and of unpaired dominance (chosen against rejected log-ratios); the expected utility gained, as a
share of what any policy of that KL can gain (the exponential tilt by the reward); and the mean log-ratio of
the chosen. DPO is that tilt where the class fits, so there nothing beats it.

The checks ask that paired AOT violates paired dominance least where the class does not fit, and that DPO
gains the most utility where it does. They ask that unpaired AOT violates paired dominance more than DPO and
lowers the chosen log-ratio more. Three exact statements about DPO and the tilt complete them:
well-specified DPO is the tilt, it violates no unpaired dominance, and no method gains more than the tilt.

The planted defects: paired AOT without its sort, which is DPO; policy and reference in each other's place in
paired AOT or in DPO; DPO without the reference; and the divergence the wrong way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import grad, vmap

from distalign.objectives import aot_paired, aot_unpaired, dpo, ipo, kto
from distalign.populations import win_matrix
from distalign.preferences import PreferenceLogProbs, metrics
from distalign.simulation.defects import Defect, where
from distalign.simulation.multistart import Loss, lowest, values
from distalign.simulation.rates import summarise
from distalign.simulation.studies.aot import toy
from distalign.simulation.studies.aot.mistakes import pair_by_pair
from distalign.simulation.verdict import Check, bound, identity, separation


def _reference_first(right: Any) -> Any:
    """An objective by a developer who took the policy for the reference."""

    def wrong(batch: PreferenceLogProbs, **options: Any) -> Tensor:
        swapped = batch.ref_chosen, batch.ref_rejected, batch.chosen, batch.rejected
        return right(PreferenceLogProbs(*swapped, batch.weights, validate=False), **options)

    return wrong


def _without_reference(right: Any) -> Any:
    """DPO by a developer who left the reference out."""

    def wrong(batch: PreferenceLogProbs, **options: Any) -> Tensor:
        zero = torch.zeros_like(batch.chosen)
        return right(
            PreferenceLogProbs(batch.chosen, batch.rejected, zero, zero, batch.weights, validate=False),
            **options,
        )

    return wrong


def _of_the_policy(right: Any) -> Any:
    """`_divergence` by a developer who took KL(pi_ref || pi)."""

    def wrong(theta: Tensor, features: Tensor, ref: Tensor, prompts: Tensor, *_: Tensor) -> Tensor:
        return prompts @ (ref.exp() * (ref - torch.log_softmax(ref + features @ theta, -1))).sum(-1)

    return wrong


KL, MISFIT = 0.25, {"well specified": 0.0, "misspecified": 1.0}
# No response has more of the reference, so that every direction comes to a KL of -log 0.6 = 0.51.
LARGEST = 0.6
DEGREES = torch.from_numpy(np.deg2rad(np.arange(0.0, 360.0, 3.0)))
METHODS = ("DPO", "IPO", "KTO", "AOT paired", "AOT unpaired")
MEASURES = ("paired_violation", "unpaired_violation", "utility", "chosen")


def cells(instances: int, blocks: int) -> list[dict[str, Any]]:
    """One cell per fit of the class and block of random populations."""
    return [
        {"population": name, "instances": instances, "block": i} for i in range(blocks) for name in MISFIT
    ]


def run(rng: np.random.Generator, *, population: str, instances: int, block: int) -> dict[str, Any]:
    """Every measure of every method in each population."""
    drawn = [_draw(rng, MISFIT[population]) for _ in range(instances)]
    tables = tuple(torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
    policies, strengths = _policies(tables)
    best, rows = _best_gains(tables).numpy(), []
    for method, theta in policies.items():
        measured = pd.DataFrame([_measures(theta[i], *(t[i] for t in tables)) for i in range(instances)])
        strength = strengths[method].numpy() if method in strengths else np.nan
        rows.append(
            measured.assign(
                utility=measured.utility / best,
                method=method,
                strength=strength,
                instance=block * instances + np.arange(instances),
            )
        )
    return dict(pd.concat(rows, ignore_index=True))


def _draw(rng: np.random.Generator, misfit: float) -> tuple[np.ndarray, ...]:
    """One population as tables.

    They are the features, the log-reference, the law of prompts, the reward, and the joint law of
    (prompt, winner, loser).
    """
    linear = toy.draw(rng)
    while linear.population.reference.max() > LARGEST:
        linear = toy.draw(rng)
    ref, prompts = linear.population.reference, linear.population.prompts
    reward = linear.features @ linear.theta_star + misfit * rng.normal(size=ref.shape)
    joint = prompts[:, None, None] * ref[:, :, None] * ref[:, None, :] * win_matrix(reward[None], [1.0], 1.0)
    joint *= 1 - np.eye(toy.RESPONSES)
    return linear.features, np.log(ref), prompts, reward, joint / joint.sum()


def _pairs(theta: Tensor, *tables: Tensor) -> PreferenceLogProbs:
    """All ordered pairs under the policy at theta.

    A sixth table is a factor on every log-probability, which is the strength beta of a logistic loss.
    """
    features, ref, _, _, joint, *scale = tables
    logs = [torch.log_softmax(ref + features @ theta, -1), ref]
    logs = [scale[0] * log for log in logs] if scale else logs
    won, lost = ([t.expand_as(joint).flatten() for t in (x.unsqueeze(axis) for x in logs)] for axis in (2, 1))
    return PreferenceLogProbs(won[0], lost[0], won[1], lost[1], joint.flatten(), validate=False)


def _classes(theta: Tensor, *tables: Tensor) -> PreferenceLogProbs:
    """All winners and all losers, with the same factor as in `_pairs`."""
    features, ref, _, _, joint, *scale = tables
    logs = [torch.log_softmax(ref + features @ theta, -1).flatten(), ref.flatten()]
    table, reference = [scale[0] * log for log in logs] if scale else logs
    won, lost = joint.sum(2).flatten(), joint.sum(1).flatten()
    return PreferenceLogProbs(table, table, reference, reference, won, lost, validate=False)


def _divergence(theta: Tensor, features: Tensor, ref: Tensor, prompts: Tensor, *_: Tensor) -> Tensor:
    """KL(pi || pi_ref), averaged over prompts."""
    logs = torch.log_softmax(ref + features @ theta, -1)
    return prompts @ (logs.exp() * (logs - ref)).sum(-1)


DEFECTS = (
    Defect(
        "paired AOT without its sort, which is DPO",
        aot_paired,
        pair_by_pair,
        where(population="misspecified"),
    ),
    Defect(
        "policy and reference in each other's place in paired AOT",
        aot_paired,
        _reference_first,
        where(population="misspecified"),
    ),
    Defect("DPO without the reference", dpo, _without_reference, where(population="well specified")),
    Defect("policy and reference in each other's place in DPO", dpo, _reference_first),
    Defect(
        "the divergence the wrong way round", _divergence, _of_the_policy, where(population="well specified")
    ),
)


def _on_sphere(tables: Sequence[Tensor], directions: Tensor) -> Tensor:
    """(R, G, 2) the multiples of directions (R, G, 2) whose divergence is `KL`.

    The divergence grows along every ray, so a bisection finds them.
    """
    low, high = (torch.full(directions.shape[:2], x, dtype=torch.float64) for x in (1e-6, 1e6))
    for _ in range(60):
        # The geometric mean: the multiple is known to a factor of 1e12 only, and a factor is what is halved.
        middle = (low * high).sqrt()
        inside = values(_divergence, tables, middle[..., None] * directions) < KL
        low, high = low.where(~inside, middle), high.where(inside, middle)
    return low[..., None] * directions


def _policies(tables: Sequence[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(R, 2) theta of every method, and (R,) the strength of those that have their own."""
    origin = torch.zeros(1, 2, dtype=torch.float64)
    own_strength_losses = {
        "DPO": lambda *x: dpo(_pairs(*x), beta=1.0),
        "IPO": lambda *x: ipo(_pairs(*x), beta=1.0),
    }
    minimisers = {
        name: lowest(loss, tables, origin, keep=1).theta for name, loss in own_strength_losses.items()
    }
    policies = {name: _on_sphere(tables, theta[:, None])[:, 0] for name, theta in minimisers.items()}
    strengths = {
        name: minimisers[name].norm(dim=1) / policies[name].norm(dim=1) for name in own_strength_losses
    }
    sphere = _on_sphere(
        tables, torch.stack([DEGREES.cos(), DEGREES.sin()], -1).expand(len(tables[0]), -1, -1)
    )
    scaled = (*tables, strengths["DPO"])
    policies["KTO"] = _least(lambda *x: kto(_classes(*x), beta=1.0, kl=KL * x[-1]), scaled, sphere)
    policies["AOT unpaired"] = _least(lambda *x: aot_unpaired(_classes(*x), beta=1.0), scaled, sphere)
    policies["AOT paired"], strengths["AOT paired"] = _own_strength(
        lambda *x: aot_paired(_pairs(*x), beta=1.0), scaled, sphere
    )
    return {name: policies[name] for name in METHODS}, strengths


def _least(loss: Loss, tables: Sequence[Tensor], sphere: Tensor) -> Tensor:
    """(R, 2) the point of the sphere with the least loss."""
    return sphere[torch.arange(len(sphere)), values(loss, tables, sphere).argmin(1)]


def _own_strength(loss: Loss, tables: Sequence[Tensor], sphere: Tensor) -> tuple[Tensor, Tensor]:
    """(R, 2) the best point of the sphere at its own strength, and that strength (R,).

    At that strength the loss no longer falls beyond the sphere at its best point.
    """
    low, high = tables[-1] / 30, tables[-1] * 30
    for _ in range(8):  # to 3 % of the strength, while directions are three degrees apart
        middle = (low * high).sqrt()
        best = _least(loss, (*tables[:-1], middle), sphere)
        # Above 0 the loss grows beyond the sphere at its best point, so this strength is enough.
        outward = (vmap(grad(loss))(best, *tables[:-1], middle) * best).sum(1)
        low, high = low.where(outward > 0, middle), high.where(outward <= 0, middle)
    return _least(loss, (*tables[:-1], high), sphere), high


def _measures(theta: Tensor, *tables: Tensor) -> dict[str, float]:
    """Violations, utility gained and mean log-ratio of the chosen, of one policy in one population."""
    features, ref, prompts, reward, _ = tables
    pairs = _pairs(theta, *tables)
    zeros = torch.zeros_like(pairs.margin)
    paired = metrics(PreferenceLogProbs(pairs.margin, pairs.ref_margin, zeros, zeros, pairs.weights))
    unpaired, gain = (
        metrics(_classes(theta, *tables)),
        _gain(torch.softmax(ref + features @ theta, -1), ref, prompts, reward),
    )
    return {
        "paired_violation": paired["dominance_w2"],
        "unpaired_violation": unpaired["dominance_w2"],
        "utility": float(gain),
        "chosen": unpaired["displacement"],
    }


def _gain(policy: Tensor, ref: Tensor, prompts: Tensor, reward: Tensor) -> Tensor:
    """(...) expected reward of a policy minus that of the reference."""
    return (prompts * ((policy - ref.exp()) * reward).sum(-1)).sum(-1)


def _best_gains(tables: Sequence[Tensor]) -> Tensor:
    """(R,) the largest utility gained by any policy of that divergence.

    It is that of the reference tilted by the reward.
    """
    _, ref, prompts, reward, _ = tables
    strength = _on_sphere((reward[..., None], ref, prompts), torch.ones(len(ref), 1, 1, dtype=torch.float64))
    return _gain(torch.softmax(ref + strength * reward, -1), ref, prompts, reward)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean of each measure with its interval, and its mean difference from DPO, per population and method."""
    frames = []
    for measure in MEASURES:
        dpo_rows = rows.loc[rows.method == "DPO", ["population", "instance", measure]]
        beside_dpo = rows.merge(dpo_rows, on=["population", "instance"], suffixes=("", "_dpo"))
        beside_dpo = beside_dpo.assign(difference=beside_dpo[measure] - beside_dpo[f"{measure}_dpo"])
        differences = summarise(beside_dpo, ["population", "method"], "difference")[["mean", "low", "high"]]
        means = summarise(rows, ["population", "method"], measure).assign(quantity=measure)
        frames.append(means.join(differences.add_prefix("difference_")))
    return pd.concat(frames, ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """What paired AOT wins, what it does not, and what theory says of DPO."""
    by_method = rows.pivot(index=["population", "instance"], columns="method", values=list(MEASURES))
    fit, misfit = by_method.loc["well specified"], by_method.loc["misspecified"]
    violation, chosen, others = (
        misfit["paired_violation"],
        misfit["chosen"],
        [m for m in METHODS if m != "AOT paired"],
    )
    return [
        *(
            separation(
                f"misspecified: paired violation, {m} minus AOT paired",
                violation[m] - violation["AOT paired"],
            )
            for m in others
        ),
        *(
            separation(f"well specified: utility, DPO minus {m}", fit["utility"]["DPO"] - fit["utility"][m])
            for m in METHODS[1:]
        ),
        separation(
            "misspecified: paired violation, AOT unpaired minus DPO",
            violation["AOT unpaired"] - violation["DPO"],
        ),
        separation(
            "misspecified: chosen log-ratio, DPO minus AOT unpaired", chosen["DPO"] - chosen["AOT unpaired"]
        ),
        identity("well specified: DPO is the tilt by the reward", fit["utility"]["DPO"] - 1, 1e-6),
        identity(
            "well specified: DPO violates no unpaired dominance", fit["unpaired_violation"]["DPO"], 1e-9
        ),
        bound("no method gains more than the tilt", rows.utility, 1.0),
    ]
