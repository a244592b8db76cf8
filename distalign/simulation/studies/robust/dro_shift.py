r"""What robust losses buy when preferences move, and how much of it a shrunk DPO buys, too.

Random log-linear populations and a second reward at an angle; training sees a share of 0.1 of it. Exact laws,
no sampling.

- `reward`: one mixed reward, so that Bradley-Terry and the class fit. Mean reward of each policy as the share
  moves to 1.
- `mixture`: two groups of people with a reward each, so that one Bradley-Terry reward does not fit. DPO's
  loss of the worse-off group (the worst mixture, for the loss is linear in the share); KL balls that just
  reach shares of 0.3 and 0.5, Wasserstein balls, group-robust DPO that is told the groups, and as a control
  the best multiple of DPO's solution. For every KL ball the certificate, sup of the loss over the ball,
  against the loss of the mixture it reaches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from distalign.objectives import group_dpo
from distalign.policies import LogLinear
from distalign.populations import LogLinearBradleyTerry, at_angle, log_linear_bradley_terry, reward_shift
from distalign.simulation.rates import summarise
from distalign.simulation.studies.robust import toy
from distalign.simulation.verdict import Check, bound, identity, separation
from distalign.solvers.robust import wasserstein_euclidean, wasserstein_norm
from distalign.solvers.robust.collapse import euclidean_collapse_radius
from distalign.solvers.robust.kl_ball import kl_worst_case
from distalign.solvers.robust.kl_fit import fit_kl_ball, fit_kl_temperature
from distalign.theory.robust.kldpo import shrinkage_factor

DEFECT = "DPO's solution in place of every robust one"
PROMPTS, RESPONSES, DIMENSION, NORM, SHARE = 6, 5, 5, 4.0, 0.1
TEMPERATURE, ORDER1, ORDER2, GROUP_TEMPERATURE = 0.5, 0.05, 0.3, 0.01
SHARES, REACHED = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0), (0.3, 0.5)
CONFLICT, AGREEMENT = 120.0, 60.0


def cells(angles: list[float], instances: int, blocks: int) -> list[dict[str, Any]]:
    """One cell per part, angle and block of random populations."""
    return [
        {"part": part, "angle": angle, "instances": instances, "block": i}
        for part in ("reward", "mixture")
        for angle in angles
        for i in range(blocks)
    ]


def run(
    rng: np.random.Generator, *, part: str, angle: float, instances: int, block: int, defect: bool = False
) -> dict[str, Any]:
    """One row per population and method (and share)."""
    drawn = [
        log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=1.0)
        for _ in range(instances)
    ]
    ends = [at_angle(start.theta_star, angle, rng) for start in drawn]
    if part == "reward":
        tables = [_reward(start, end, defect) for start, end in zip(drawn, ends, strict=True)]
    else:
        v = np.stack([toy.atoms(start)[0] for start in drawn])
        groups = np.stack(
            [
                [toy.atoms(start)[1], toy.atoms(reward_shift(start, end, 1.0))[1]]
                for start, end in zip(drawn, ends, strict=True)
            ]
        )
        plain = np.stack([_plain(*one) for one in zip(v, groups, strict=True)])
        told = plain if defect else _group(v, groups, plain)
        tables = [_mixture(*one, defect) for one in zip(v, groups, plain, told, strict=True)]
    return dict(
        pd.concat([t.assign(instance=block * instances + i) for i, t in enumerate(tables)], ignore_index=True)
    )


def _reward(start: LogLinearBradleyTerry, end: np.ndarray, defect: bool) -> pd.DataFrame:
    """Mean reward at every share, of policies trained at one."""
    trained = reward_shift(start, end, SHARE)
    v, p = toy.atoms(trained)
    plain = trained.theta_star
    robust = plain if defect else fit_kl_temperature(v, p, temperature=TEMPERATURE).theta[0]
    found = {
        "DPO": plain,
        "KLDPO": robust,
        "WDPO": plain if defect else _order2(v, p),
        "reference": 0 * plain,
        "shrunk DPO": shrinkage_factor(TEMPERATURE) * plain,
    }
    found["DPO as short as WDPO"] = np.linalg.norm(found["WDPO"]) / np.linalg.norm(plain) * plain
    policy, rows = LogLinear(start.features, start.population.reference), []
    for method, theta in found.items():
        probs = policy.log_probs(torch.from_numpy(np.ascontiguousarray(theta))).exp().numpy()
        for share in SHARES:
            reward = start.features @ ((1 - share) * start.theta_star + share * end)
            rows.append(
                {
                    "method": method,
                    "share": share,
                    "reward": start.population.prompts @ (probs * reward).sum(1),
                    "cosine": toy.cosine(theta, plain) if np.any(theta) else np.nan,
                    "length": np.linalg.norm(theta) / np.linalg.norm(plain),
                }
            )
    deviation = np.linalg.norm(robust - found["shrunk DPO"]) / np.linalg.norm(plain)
    return pd.DataFrame(rows).assign(deviation=deviation)


def _order2(v: np.ndarray, p: np.ndarray) -> np.ndarray:
    """WDPO over a type-2 ball; the reference where the ball has collapsed."""
    if euclidean_collapse_radius(v, p, order=2)[0] <= ORDER2:
        return np.zeros(v.shape[1])
    return wasserstein_euclidean.fit_euclidean(v, p, radius=ORDER2).theta[0]


def _plain(v: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """DPO on the mixture seen in training."""
    return fit_kl_temperature(v, (1 - SHARE) * groups[0] + SHARE * groups[1], temperature=np.inf).theta[0]


def _mixture(
    v: np.ndarray, groups: np.ndarray, plain: np.ndarray, told: np.ndarray, defect: bool
) -> pd.DataFrame:
    """Losses of both groups and of the mixtures reached, certificates, and direction, per method."""
    mixed = {q: (1 - q) * groups[0] + q * groups[1] for q in (SHARE, *REACHED)}
    p = mixed[SHARE]
    radii = {q: float(mixed[q] @ np.log(mixed[q] / p)) for q in REACHED}
    found = {
        "DPO": plain,
        "reference": 0 * plain,
        "group-robust": told,
        "best multiple of DPO": _best_multiple(plain, v, groups),
    }
    found |= {
        f"KLDPO, reaches {q:g}": plain if defect else fit_kl_ball(v, p[None], radius=radii[q]).theta[0]
        for q in REACHED
    }
    found |= {
        "WDPO, order 1": plain if defect else _order1(v, p),
        "WDPO, order 2": plain if defect else _order2(v, p),
    }
    rows = []
    for method, theta in found.items():
        losses = toy.losses(theta, v)
        each = groups @ losses
        row = {
            "method": method,
            "first": each[0],
            "second": each[1],
            "worst": each.max(),
            "nominal": p @ losses,
            "cosine": toy.cosine(theta, plain) if np.any(theta) else np.nan,
            "length": np.linalg.norm(theta) / np.linalg.norm(plain),
            "gap": each.max() - _weights(each) @ each,
        }
        for q in REACHED:
            row |= {
                f"reached_{q:g}": mixed[q] @ losses,
                f"certificate_{q:g}": kl_worst_case(losses, p, radii[q]).value,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _order1(v: np.ndarray, p: np.ndarray) -> np.ndarray:
    """WDPO over a type-1 ball; the reference where the ball has collapsed."""
    if euclidean_collapse_radius(v, p, order=1)[0] <= ORDER1:
        return np.zeros(v.shape[1])
    return wasserstein_norm.fit_norm(v, p, radius=ORDER1).theta[0]


def _group(v: np.ndarray, groups: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """(R, d) minimisers of `distalign.objectives.group_dpo` near its limit, the worst group, each stage from
    the last.
    """
    names = torch.arange(2).repeat_interleave(v.shape[1])
    shares = np.concatenate([(1 - SHARE) * groups[:, 0], SHARE * groups[:, 1]], 1)
    theta, converged = plain, np.ones(len(v), bool)
    for temperature in (0.3, 0.1, 0.03, GROUP_TEMPERATURE):

        def loss(theta: Tensor, v: Tensor, p: Tensor, temperature: float = temperature) -> Tensor:
            return group_dpo(toy.batch(v @ theta, p, groups=names), beta=1.0, temperature=temperature)

        theta, converged = toy.fits(loss, np.concatenate([v, v], 1), shares, start=theta)
    return np.where(converged[:, None], theta, np.nan)


def _weights(losses: np.ndarray) -> np.ndarray:
    """The adversary of group-robust DPO at these group losses."""
    q = np.array([1 - SHARE, SHARE]) * np.exp((losses - losses.max()) / GROUP_TEMPERATURE)
    return q / q.sum()


def _best_multiple(plain: np.ndarray, v: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The multiple of DPO's solution, 0 to 2, whose worst group is best off; it is told the groups, too."""
    found = minimize_scalar(
        lambda s: (groups @ toy.losses(s * plain, v)).max(),
        bounds=(0, 2),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return found.x * plain  # type: ignore[union-attr]


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
    """Who wins where, the controls, what only groups can buy, and the certificates."""
    reward, mixture = (rows.loc[rows.part == part] for part in ("reward", "mixture"))
    wide = reward.pivot(index=["angle", "share", "instance"], columns="method", values="reward")
    worst = mixture.pivot(index=["angle", "instance"], columns="method", values="worst")
    cosine = mixture.pivot(index=["angle", "instance"], columns="method", values="cosine").loc[CONFLICT]
    moved, stayed = (wide.xs((angle, 1.0), level=("angle", "share")) for angle in (CONFLICT, AGREEMENT))
    nominal = wide.xs(SHARE, level="share")
    far, near = worst.loc[CONFLICT], worst.loc[AGREEMENT]
    near_kl, far_kl = (f"KLDPO, reaches {q:g}" for q in REACHED)
    out = [
        separation(f"conflict, reward moved: {m}'s reward minus DPO's", moved[m] - moved["DPO"])
        for m in ("KLDPO", "WDPO")
    ]
    out += [
        separation(f"no move: DPO's reward minus {m}'s", nominal["DPO"] - nominal[m])
        for m in ("KLDPO", "WDPO")
    ]
    out += [
        separation(f"no conflict, reward moved: DPO's reward minus {m}'s", stayed["DPO"] - stayed[m])
        for m in ("KLDPO", "WDPO")
    ]
    out += [
        separation(f"conflict, worst group: DPO's loss minus that of {m}", far["DPO"] - far[m])
        for m in (far_kl, "WDPO, order 2")
    ]
    out += [
        separation(
            f"{name}, worst group: best multiple of DPO minus group-robust",
            w["best multiple of DPO"] - w["group-robust"],
        )
        for name, w in (("conflict", far), ("no conflict", near))
    ]
    out += [
        separation(
            f"conflict, worst group: {far_kl}, minus best multiple of DPO",
            far[far_kl] - far["best multiple of DPO"],
        ),
        separation(
            "conflict, cosine with DPO: KLDPO minus group-robust", cosine[near_kl] - cosine["group-robust"]
        ),
        identity("one mixed reward: KLDPO = shrunk DPO, relative", reward.deviation, 1e-6),
    ]
    group = mixture.loc[mixture.method == "group-robust"]
    out += [
        bound(
            "group-robust: gap to the minimax is at most tau log 10",
            group.gap,
            -GROUP_TEMPERATURE * np.log(SHARE),
        )
    ]
    moving = mixture.loc[mixture.length > 0.01]
    for q in REACHED:
        sup = mixture.pivot(index=["angle", "instance"], columns="method", values=f"certificate_{q:g}")
        out += [
            bound(
                f"certificate: loss of the mixture of share {q:g} is at most the sup over the ball that "
                "reaches it",
                moving[f"reached_{q:g}"],
                moving[f"certificate_{q:g}"],
            ),
            bound(
                f"no method has a lower sup over that ball than KLDPO, share {q:g}",
                sup[f"KLDPO, reaches {q:g}"],
                sup.drop(columns=f"KLDPO, reaches {q:g}").min(axis=1),
            ),
        ]
    return out
