"""What robust losses buy when preferences move, and how much of it a shrunk DPO buys, too.

The claim is ours. Random log-linear populations have a second reward at an angle to the first, and training
sees a share of 0.1 of it. Laws are exact; nothing is sampled.

- `reward`: the rewards are mixed into one, so that Bradley-Terry and the class fit. Measured is the mean
  reward of each policy as the share of the second reward moves to 1.
- `mixture`: two groups of people have a reward each, so that no single Bradley-Terry reward fits. Measured
  is DPO's loss of the worse-off group, which is the worst mixture because the loss is linear in the share.
  Compared are KL balls that just reach shares of 0.3 and 0.5, Wasserstein balls, group-robust DPO, which is
  told the groups, and as a control the best multiple of DPO's solution. For every KL ball the certificate,
  the supremum of the loss over the ball, stands against the loss of the mixture that the ball reaches.

The two roads. Policies come from the solvers of `distalign.solvers.robust` and, for group-robust DPO, from
Newton's method on the torch loss; they are judged by exact rewards and losses that no training loss enters.
In `reward` theory predicts KLDPO as tau / (1 + tau) times DPO.

The checks:

- separations for the worse-off group: the best multiple of DPO loses more than group-robust DPO, at an angle
  of 120 degrees (conflict) and at 60 (no conflict); in conflict KLDPO and WDPO lose less than DPO, and KLDPO
  keeps DPO's direction better than group-robust DPO;
- separations in reward: in conflict KLDPO and WDPO earn more than DPO once the reward has moved; DPO earns
  more where the reward has not moved (the share of training), and at 60 degrees also where it has;
- an identity: on one mixed reward KLDPO is DPO shrunk by tau / (1 + tau);
- bounds: the worse-off group's loss under group-robust DPO is at most tau log 10 above the least loss of the
  mixture that its adversary chooses; the expected value under the mixture that a ball reaches is at most the
  supremum over the ball, for the losses of every policy and for the log-likelihood ratio, which attains it;
  no method, nor a multiple of KLDPO's own solution, has a lower supremum over that ball than KLDPO.

The planted defects: group losses summed and not averaged; the groups, the temperature of KLDPO, the KL ball
or the ball of order 2 not passed on, which leaves DPO; the temperature and the radii of KL balls 5 % off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from distalign.objectives import dpo, group_dpo
from distalign.policies import LogLinear
from distalign.populations import LogLinearBradleyTerry, at_angle, log_linear_bradley_terry, reward_shift
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.rates import summarise
from distalign.simulation.studies.robust import toy
from distalign.simulation.verdict import Check, bound, identity, separation
from distalign.solvers.robust.collapse import euclidean_collapse_radius
from distalign.solvers.robust.kl_ball import kl_worst_case
from distalign.solvers.robust.kl_fit import fit_kl_ball, fit_kl_temperature
from distalign.solvers.robust.wasserstein_euclidean import fit_euclidean
from distalign.solvers.robust.wasserstein_norm import fit_norm
from distalign.theory.robust.kldpo import shrinkage_factor


def _summed_groups(batch: PreferenceLogProbs, *, beta: float, temperature: float) -> Tensor:
    """Group-robust DPO by a developer who sums the losses of a group and does not divide by its share."""
    assert batch.groups is not None
    losses = torch.nn.functional.softplus(-beta * (batch.chosen_ratio - batch.rejected_ratio))
    none = torch.zeros(2, dtype=losses.dtype)
    share, total = (
        none.index_add(0, batch.groups, batch.chosen_frequencies * x)
        for x in (torch.ones_like(losses), losses)
    )
    return temperature * torch.logsumexp(share.log() + total / temperature, 0)


def _without_ball(right: Callable[..., Any]) -> Callable[..., Any]:
    """A fit over a ball by a developer who passes on the law and not the ball, which is DPO's."""

    def wrong(v: Any, p: Any, *, radius: float) -> Any:
        return replace(right(v, p, radius=radius), theta=fit_kl_temperature(v, p, temperature=np.inf).theta)

    return wrong


def _without_order2(right: Callable[..., Any]) -> Callable[..., Any]:
    """WDPO over a type-2 ball by a developer who left the ball out, which is DPO's solution."""
    return lambda v, p: fit_kl_temperature(v, p, temperature=np.inf).theta[0]


def _without_groups(batch: PreferenceLogProbs, *, beta: float, temperature: float) -> Tensor:
    """Group-robust DPO by a developer who forgot the groups: a single group, which is DPO."""
    return dpo(batch, beta=beta)


def _wdpo_order2(v: np.ndarray, p: np.ndarray) -> np.ndarray:
    """WDPO over a type-2 ball; the reference where the ball has collapsed."""
    if euclidean_collapse_radius(v, p, order=2)[0] <= ORDER2:
        return np.zeros(v.shape[1])
    return fit_euclidean(v, p, radius=ORDER2).theta[0]


DEFECTS = (
    Defect(
        "the losses of a group summed, not averaged",
        group_dpo,
        lambda right: _summed_groups,
        where(part="mixture"),
    ),
    Defect(
        "the temperature of KLDPO not passed on",
        fit_kl_temperature,
        argument("temperature", lambda _: np.inf),
        where(part="reward"),
    ),
    Defect(
        "the temperature of KLDPO 5 % too large",
        fit_kl_temperature,
        argument("temperature", lambda t: 1.05 * t),
        where(part="reward"),
    ),
    Defect("the KL ball left out of the fit", fit_kl_ball, _without_ball, where(part="mixture")),
    Defect("the groups not passed on", group_dpo, lambda right: _without_groups, where(part="mixture")),
    Defect(
        "the radius of KL balls 5 % too large",
        fit_kl_ball,
        argument("radius", lambda r: 1.05 * r),
        where(part="mixture"),
    ),
    Defect("the ball of order 2 left out of WDPO", _wdpo_order2, _without_order2),
    Defect(
        "the radius of the worst case 5 % too small",
        kl_worst_case,
        argument("radius", lambda r: 0.95 * r),
        where(part="mixture"),
    ),
)
PROMPTS, RESPONSES, DIMENSION, NORM, SHARE = 6, 5, 5, 4.0, 0.1  # share of the second reward in training
# temperature of KLDPO in `reward`; radii of the Wasserstein balls; temperature of group-robust DPO
TEMPERATURE, ORDER1, ORDER2, GROUP_TEMPERATURE = 0.5, 0.05, 0.3, 0.01
# shares of the second reward that policies are judged at, and those that the KL balls just reach
SHARES, REACHED = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0), (0.3, 0.5)
MULTIPLES = (0.98, 1.02)  # of a solution, whose suprema stand against its own
CONFLICT, AGREEMENT = 120.0, 60.0  # degrees between the two rewards


def cells(angles: list[float], instances: int, blocks: int) -> list[dict[str, Any]]:
    """One cell per part, angle and block of random populations."""
    return [
        {"part": part, "angle": angle, "instances": instances, "block": i}
        for part in ("reward", "mixture")
        for angle in angles
        for i in range(blocks)
    ]


def run(rng: np.random.Generator, *, part: str, angle: float, instances: int, block: int) -> dict[str, Any]:
    """One row per population and method (and share)."""
    first_instances = [
        log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=1.0)
        for _ in range(instances)
    ]
    second_rewards = [at_angle(start.theta_star, angle, rng) for start in first_instances]
    if part == "reward":
        tables = [
            _rewards_under_shift(start, end)
            for start, end in zip(first_instances, second_rewards, strict=True)
        ]
    else:
        v = np.stack([toy.atoms(start)[0] for start in first_instances])
        groups = np.stack(
            [
                [toy.atoms(start)[1], toy.atoms(reward_shift(start, end, 1.0))[1]]
                for start, end in zip(first_instances, second_rewards, strict=True)
            ]
        )
        dpo_solutions = np.stack([_dpo_on_mixture(*one) for one in zip(v, groups, strict=True)])
        group_robust = _group_robust_dpo(v, groups, dpo_solutions)
        tables = [
            _losses_under_mixtures(*one) for one in zip(v, groups, dpo_solutions, group_robust, strict=True)
        ]
    return dict(
        pd.concat([t.assign(instance=block * instances + i) for i, t in enumerate(tables)], ignore_index=True)
    )


def _rewards_under_shift(start: LogLinearBradleyTerry, end: np.ndarray) -> pd.DataFrame:
    """The mean reward at every share, of policies trained at the share SHARE."""
    trained = reward_shift(start, end, SHARE)
    v, p = toy.atoms(trained)
    dpo_solution = trained.theta_star
    robust = fit_kl_temperature(v, p, temperature=TEMPERATURE).theta[0]
    parameters = {
        "DPO": dpo_solution,
        "KLDPO": robust,
        "WDPO": _wdpo_order2(v, p),
        "reference": 0 * dpo_solution,
        "shrunk DPO": shrinkage_factor(TEMPERATURE) * dpo_solution,
    }
    parameters["DPO as short as WDPO"] = (
        np.linalg.norm(parameters["WDPO"]) / np.linalg.norm(dpo_solution) * dpo_solution
    )
    policy, rows = LogLinear(start.features, start.population.reference), []
    for method, theta in parameters.items():
        probs = policy.log_probs(torch.from_numpy(np.ascontiguousarray(theta))).exp().numpy()
        for share in SHARES:
            reward = start.features @ ((1 - share) * start.theta_star + share * end)
            rows.append(
                {
                    "method": method,
                    "share": share,
                    "reward": start.population.prompts @ (probs * reward).sum(1),
                    "cosine": toy.cosine(theta, dpo_solution) if np.any(theta) else np.nan,
                    "length": np.linalg.norm(theta) / np.linalg.norm(dpo_solution),
                }
            )
    deviation = np.linalg.norm(robust - parameters["shrunk DPO"]) / np.linalg.norm(dpo_solution)
    return pd.DataFrame(rows).assign(deviation=deviation)


def _dpo_on_mixture(v: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """DPO on the mixture seen in training."""
    return fit_kl_temperature(v, (1 - SHARE) * groups[0] + SHARE * groups[1], temperature=np.inf).theta[0]


def _losses_under_mixtures(
    v: np.ndarray, groups: np.ndarray, plain: np.ndarray, told: np.ndarray
) -> pd.DataFrame:
    """Per method: losses of both groups and of the mixtures reached, certificates, length and direction."""
    mixtures = {q: (1 - q) * groups[0] + q * groups[1] for q in (SHARE, *REACHED)}
    p = mixtures[SHARE]
    ratios = {q: np.log(mixtures[q] / p) for q in REACHED}
    radii = {q: float(mixtures[q] @ ratios[q]) for q in REACHED}
    # The worst law of the log-likelihood ratio of the mixture, in the ball that reaches it, is the mixture.
    attained = {
        f"{name}_{q:g}": value
        for q in REACHED
        for name, value in (
            ("ratio_reached", radii[q]),
            ("ratio_certificate", float(kl_worst_case(ratios[q], p, radii[q]).value)),
        )
    }
    parameters = {
        "DPO": plain,
        "reference": 0 * plain,
        "group-robust": told,
        "best multiple of DPO": _best_multiple(plain, v, groups),
    }
    parameters |= {
        f"KLDPO, reaches {q:g}": fit_kl_ball(v, p[None], radius=radii[q]).theta[0] for q in REACHED
    }
    parameters |= {
        "WDPO, order 1": _wdpo_order1(v, p),
        "WDPO, order 2": _wdpo_order2(v, p),
    }
    rows = []
    for method, theta in parameters.items():
        losses = toy.losses(theta, v)
        group_losses = groups @ losses
        row = {
            "method": method,
            "first": group_losses[0],
            "second": group_losses[1],
            "worst": group_losses.max(),
            "nominal": p @ losses,
            "cosine": toy.cosine(theta, plain) if np.any(theta) else np.nan,
            "length": np.linalg.norm(theta) / np.linalg.norm(plain),
            "gap": group_losses.max() - _least_mixture_loss(v, groups, group_losses)
            if method == "group-robust"
            else np.nan,
            **attained,
        }
        for q in REACHED:
            row |= {
                f"reached_{q:g}": mixtures[q] @ losses,
                f"certificate_{q:g}": kl_worst_case(losses, p, radii[q]).value,
                f"multiples_{q:g}": kl_worst_case(
                    toy.losses(np.outer(MULTIPLES, theta), v), p, radii[q]
                ).value.min(),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _least_mixture_loss(v: np.ndarray, groups: np.ndarray, group_losses: np.ndarray) -> float:
    """The least DPO loss of the mixture that the adversary chooses at these group losses.

    No policy has a lower loss of its worse-off group.
    """
    law = _adversary_weights(group_losses) @ groups
    return float(fit_kl_temperature(v, law, temperature=np.inf).dual[0])


def _wdpo_order1(v: np.ndarray, p: np.ndarray) -> np.ndarray:
    """WDPO over a type-1 ball; the reference where the ball has collapsed."""
    if euclidean_collapse_radius(v, p, order=1)[0] <= ORDER1:
        return np.zeros(v.shape[1])
    return fit_norm(v, p, radius=ORDER1).theta[0]


def _group_robust_dpo(v: np.ndarray, groups: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """(R, d) minimisers of `distalign.objectives.group_dpo` near its limit, the worst group; NaN where not
    certified.

    The temperature falls in stages, and each stage starts from the minimiser of the last.
    """
    group_of_atom = torch.arange(2).repeat_interleave(v.shape[1])
    shares = np.concatenate([(1 - SHARE) * groups[:, 0], SHARE * groups[:, 1]], 1)
    theta, converged = plain, np.ones(len(v), bool)
    for temperature in (0.3, 0.1, 0.03, GROUP_TEMPERATURE):

        def loss(theta: Tensor, v: Tensor, p: Tensor, temperature: float = temperature) -> Tensor:
            return group_dpo(toy.batch(v @ theta, p, groups=group_of_atom), beta=1.0, temperature=temperature)

        theta, converged = toy.fits(loss, np.concatenate([v, v], 1), shares, start=theta)
    return np.where(converged[:, None], theta, np.nan)


def _adversary_weights(losses: np.ndarray) -> np.ndarray:
    """The weights that the adversary of group-robust DPO puts on the groups at these group losses."""
    q = np.array([1 - SHARE, SHARE]) * np.exp((losses - losses.max()) / GROUP_TEMPERATURE)
    return q / q.sum()


def _best_multiple(plain: np.ndarray, v: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The multiple of DPO's solution, 0 to 2, whose worse-off group loses least; it is told the groups."""
    minimum = minimize_scalar(
        lambda s: (groups @ toy.losses(s * plain, v)).max(),
        bounds=(0, 2),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return minimum.x * plain  # type: ignore[union-attr]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Gain over the reference's per share, and loss of the worse-off group, per method; what explains
    them.
    """
    reward, mixture = (rows.loc[rows.part == part] for part in ("reward", "mixture"))
    shown = ["first", "second", "nominal", "cosine", "length"]
    shown += [f"{a}_{q:g}" for a in ("reached", "certificate") for q in REACHED]
    extra = mixture.groupby(["angle", "method"], as_index=False)[shown].mean()
    start = reward.loc[reward.method == "reference", ["angle", "share", "instance", "reward"]]
    reward = reward.merge(start, on=["angle", "share", "instance"], suffixes=("", "_start"))
    gain = summarise(
        reward.assign(gain=reward.reward - reward.reward_start), ["angle", "method", "share"], "gain"
    )
    lengths = reward.groupby(["angle", "method"], as_index=False)[["cosine", "length"]].mean()
    means = reward.groupby(["angle", "method", "share"], as_index=False)[["reward"]].mean()
    return pd.concat(
        [
            gain.merge(means).merge(lengths).assign(part="reward"),
            summarise(mixture, ["angle", "method"], "worst").merge(extra).assign(part="mixture"),
        ],
        ignore_index=True,
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Who wins where, the controls, what only being told the groups buys, and the certificates."""
    reward, mixture = (rows.loc[rows.part == part] for part in ("reward", "mixture"))
    rewards = reward.pivot(index=["angle", "share", "instance"], columns="method", values="reward")
    worst = mixture.pivot(index=["angle", "instance"], columns="method", values="worst")
    cosine = mixture.pivot(index=["angle", "instance"], columns="method", values="cosine").loc[CONFLICT]
    conflict_moved, agreement_moved = (
        rewards.xs((angle, 1.0), level=("angle", "share")) for angle in (CONFLICT, AGREEMENT)
    )
    share_of_training = rewards.xs(SHARE, level="share")
    conflict, agreement = worst.loc[CONFLICT], worst.loc[AGREEMENT]
    kldpo_near, kldpo_far = (f"KLDPO, reaches {q:g}" for q in REACHED)
    out = [
        separation(
            f"{name}, worst group: best multiple of DPO minus group-robust",
            w["best multiple of DPO"] - w["group-robust"],
        )
        for name, w in (("conflict", conflict), ("no conflict", agreement))
    ]
    out += [
        separation(
            f"conflict, reward moved: {m}'s reward minus DPO's", conflict_moved[m] - conflict_moved["DPO"]
        )
        for m in ("KLDPO", "WDPO")
    ]
    out += [
        separation(f"no move: DPO's reward minus {m}'s", share_of_training["DPO"] - share_of_training[m])
        for m in ("KLDPO", "WDPO")
    ]
    out += [
        separation(
            f"no conflict, reward moved: DPO's reward minus {m}'s",
            agreement_moved["DPO"] - agreement_moved[m],
        )
        for m in ("KLDPO", "WDPO")
    ]
    out += [
        separation(f"conflict, worst group: DPO's loss minus that of {m}", conflict["DPO"] - conflict[m])
        for m in (kldpo_far, "WDPO, order 2")
    ]
    out += [
        separation(
            "conflict, cosine with DPO: KLDPO minus group-robust", cosine[kldpo_near] - cosine["group-robust"]
        ),
        identity("one mixed reward: KLDPO = shrunk DPO, relative", reward.deviation, 1e-6),
    ]
    group_robust = mixture.loc[mixture.method == "group-robust"]
    out += [
        bound(
            "group-robust: worst group's loss is at most tau log 10 above the adversary's least",
            group_robust.gap,
            -GROUP_TEMPERATURE * np.log(SHARE),
        )
    ]
    return [*out, *_certificates(mixture)]


def _certificates(mixture: pd.DataFrame) -> list[Check]:
    """Every loss of a mixture is at most the supremum over the ball that reaches it, and KLDPO's is least."""
    out = []
    # At the reference both sides are log 2: policies of a collapsed ball are left out.
    off_reference = mixture.loc[mixture.length > 0.01]
    for q in REACHED:
        certificates, multiples = (
            mixture.pivot(index=["angle", "instance"], columns="method", values=f"{name}_{q:g}")
            for name in ("certificate", "multiples")
        )
        kldpo = f"KLDPO, reaches {q:g}"
        others = certificates.drop(columns=kldpo).min(axis=1)
        out += [
            bound(
                f"certificate: loss of the mixture of share {q:g} is at most the sup over the ball that "
                "reaches it",
                np.append(off_reference[f"reached_{q:g}"], mixture[f"ratio_reached_{q:g}"]),
                np.append(off_reference[f"certificate_{q:g}"], mixture[f"ratio_certificate_{q:g}"]),
            ),
            bound(
                f"no method, nor a multiple of its own, has a lower sup there than KLDPO, share {q:g}",
                certificates[kldpo],
                np.minimum(others, multiples[kldpo]),
            ),
        ]
    return out
