"""DPO at usual betas and at an oracle's, KTO and BCO stop short of p+; so they must, for they aim elsewhere.

Pairs are drawn from the reference, so p+ = 2 p_ref (win rate against p_ref), a bounded tilt. DPO tilts the
reference by a Bradley-Terry fit, KTO moves all mass to what is chosen more often than rejected, BCO tilts by
a power of p+/p- shifted by a
mean: three other targets, each with its own use. That p+ is none of them is what is tested, also where
    Bradley-Terry holds; the
distance depends on beta and is small for weak preferences, where DPO with beta = 2 is p+ to first order.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import bco, kto
from distalign.policies import Tabular, score
from distalign.populations import Population, consistency_populations, cyclic, random_intransitive, win_matrix
from distalign.simulation.fit import Objective
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import blocks, frequencies, total_variation
from distalign.simulation.verdict import Check, bound, differs, growth, identity, separation
from distalign.solvers.bradley_terry import bradley_terry_rewards, dpo_policy
from distalign.solvers.density_ratio import rdro_policy
from distalign.theory.density_ratio.plateaus import bco_policy, kto_policy
from distalign.types import Array

DEFECT = "RDRO's policy in place of those of DPO, KTO and BCO"
BETAS, FIRST_ORDER, KTO_BETA, BCO_BETA, EPS, FEW = np.geomspace(0.05, 100.0, 200), 2.0, 0.1, 1.0, 1e-9, 0.05
SHOWN = ("bradley_terry", "mixed", "intransitive")
STRENGTHS = (0.4, 0.2, 0.1, 0.05)
PLATEAUS = ("DPO, beta 0.1", "DPO, beta 1", "DPO, best beta", "KTO", "BCO")
FAMILIES = {
    "intransitive 2": 2.0,
    "intransitive 4": 4.0,
    "intransitive 8": 8.0,
    "Bradley-Terry 1": 1.0,
    "Bradley-Terry 2": 2.0,
    "Bradley-Terry 4": 4.0,
}


def cells(sizes: list[int], replicates: int, draws: int) -> list[dict[str, Any]]:
    """Samples of each population, its limits over beta, random populations, and weak preferences."""
    samples = [
        {"part": "samples", "name": p, "size": n, "replicates": replicates} for p in SHOWN for n in sizes
    ]
    curves = [{"part": "curve", "name": p, "size": 0, "replicates": 0} for p in SHOWN]
    families = [{"part": "family", "name": f, "size": 0, "replicates": draws} for f in FAMILIES]
    return [*samples, *curves, *families, {"part": "weak", "name": "weak", "size": 0, "replicates": 0}]


def run(
    rng: np.random.Generator, *, part: str, name: str, size: int, replicates: int, defect: bool = False
) -> dict[str, Any]:
    """Total variation to p+: of estimates, of limits over beta, of the nearest beta, or at beta = 2."""
    if part == "samples":
        found = _samples(rng, name, size, replicates, defect)
    elif part == "curve":
        found = _curve(name)
    elif part == "family":
        found = pd.DataFrame(
            {
                "method": "DPO",
                "replicate": np.arange(replicates),
                "error": [dpo_limit(_random(rng, name), BETAS).min() for _ in range(replicates)],
            }
        )
    else:
        found = pd.concat(
            [
                _weak("cycles", lambda s: cyclic(7, s)),
                _weak("Bradley-Terry", lambda s: win_matrix(s * np.linspace(-1, 1, 7)[None], [1.0], 1.0)),
            ]
        )
    return dict(found.reset_index(drop=True))


@cache
def _population(name: str) -> Population:
    return consistency_populations()[name]


def dpo_limit(truth: Population, betas: Any) -> Array:
    """Total variation between p+ and DPO's limit at each beta."""
    joint = truth.pairs().weights.reshape(truth.win.shape[1:])
    tilts = bradley_terry_rewards(joint).reward[0] / np.atleast_1d(betas)[:, None]
    return total_variation(dpo_policy(tilts, truth.reference[0], 1.0), truth.preferred[0])


@cache
def dpo_betas(name: str) -> dict[str, float]:
    """Two usual betas, and the one whose limit is nearest to p+: only who knows p+ can choose it."""
    best = float(BETAS[dpo_limit(_population(name), BETAS).argmin()])
    return dict(zip(PLATEAUS, (0.1, 1.0, best)))


def _halves(truth: Population) -> tuple[Array, Array]:
    """Masses of chosen and rejected responses among all."""
    return truth.preferred[0] / 2, truth.dispreferred[0] / 2


@cache
def _limits(name: str) -> dict[str, float]:
    """Total variation to p+ of every plateau on the exact law."""
    truth = _population(name)
    up, down, ref, target = *_halves(truth), truth.reference[0], truth.preferred[0]
    others = {"KTO": kto_policy(up, down, ref, KTO_BETA), "BCO": bco_policy(up, down, ref, BCO_BETA)[0]}
    return {
        **dict(zip(PLATEAUS, dpo_limit(truth, list(dpo_betas(name).values())))),
        **{method: float(total_variation(policy, target)) for method, policy in others.items()},
    }


def _samples(rng: np.random.Generator, name: str, size: int, replicates: int, defect: bool) -> pd.DataFrame:
    truth = _population(name)
    ref, target, limits = truth.reference[0], truth.preferred[0], _limits(name)
    pairs = truth.sample_pairs(size, rng, replicates=replicates)
    counts = pairs.unpaired()
    up, down = frequencies(counts.weights, np.asarray(counts.rejected_weights))
    rewards = bradley_terry_rewards(pairs.weights.reshape(-1, len(ref), len(ref)))
    relative = rdro_policy(up, down, ref, alpha=0.5)
    found = {
        "SFT": (up, np.ones(replicates, bool)),
        "RDRO": (relative.policy, relative.solved),
        **{m: (dpo_policy(rewards.reward, ref, b), rewards.solved) for m, b in dpo_betas(name).items()},
        "KTO": (kto_policy(up / 2, down / 2, ref, KTO_BETA), True),
        "BCO": bco_policy(up / 2, down / 2, ref, BCO_BETA),
    }
    if defect:
        found |= dict.fromkeys(PLATEAUS, found["RDRO"])
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "method": method,
                    "replicate": np.arange(replicates),
                    "limit": limits.get(method, 0.0),
                    "error": np.where(solved, total_variation(policy, target), np.nan),
                }
            )
            for method, (policy, solved) in found.items()
        ]
    )


def _curve(name: str) -> pd.DataFrame:
    """Limits over beta, and what certifies those of KTO and BCO: torch gradients, and KTO's loss against
    other laws.
    """
    truth = _population(name)
    ref, target, (up, down) = truth.reference[0], truth.preferred[0], _halves(truth)
    limits = {b: bco_policy(up, down, ref, b) for b in BETAS[(BETAS >= 0.1) & (BETAS <= 30)][::6]}
    ends, (best, solved) = kto_policy(up, down, ref, KTO_BETA), bco_policy(up, down, ref, BCO_BETA)
    loss = partial(kto, beta=KTO_BETA)
    others = np.random.default_rng(3).dirichlet(np.ones(len(ref)), 50)
    return pd.concat(
        [
            pd.DataFrame({"method": "DPO", "beta": BETAS, "error": dpo_limit(truth, BETAS)}),
            pd.DataFrame(
                {
                    "method": "BCO",
                    "beta": list(limits),
                    "error": [total_variation(p, target) if ok else np.nan for p, ok in limits.values()],
                }
            ),
            pd.DataFrame(
                {
                    "method": "KTO",
                    "beta": KTO_BETA,
                    "error": [total_variation(ends, target)],
                    "floor": target[up <= down].sum(),
                    "gradient": _loss(loss, truth, ends)[1],
                }
            ),
            pd.DataFrame(
                {
                    "method": "BCO",
                    "beta": BCO_BETA,
                    "error": [total_variation(best, target) if solved else np.nan],
                    "gradient": _loss(partial(bco, beta=BCO_BETA), truth, best)[1],
                }
            ),
            pd.DataFrame(
                {
                    "method": "other law",
                    "least": _loss(loss, truth, ends)[0],
                    "loss": [_loss(loss, truth, p)[0] for p in (*others, target, ref)],
                }
            ),
        ]
    )


def _loss(loss: Objective, truth: Population, policy: Array) -> tuple[float, float]:
    """The torch objective on the exact law, and the largest entry of its gradient; log-ratios are cut at -400
    nats.
    """
    ref, law = truth.reference[0], truth.pairs().unpaired()
    with np.errstate(divide="ignore"):
        theta = torch.from_numpy(np.log(policy / ref).clip(-400)).requires_grad_()
    weights = torch.from_numpy(law.weights), torch.from_numpy(np.asarray(law.rejected_weights))
    value = loss(
        score(Tabular(ref), theta, torch.from_numpy(law.chosen), torch.from_numpy(law.rejected), *weights)
    )
    return value.item(), float(torch.autograd.grad(value, theta)[0].abs().max())


def _random(rng: np.random.Generator, family: str) -> Population:
    """Ten responses, reference Dirichlet(3/2) + 0.01, log-odds or utilities of the family's standard
    deviation.
    """
    ref, spread = rng.dirichlet(np.full(10, 1.5)) + 0.01, FAMILIES[family]
    win = (
        random_intransitive(rng, 10, sd=spread)
        if family.startswith("intransitive")
        else win_matrix(rng.normal(0, spread, (1, 10)), [1.0], 1.0)
    )
    return Population(win, ref / ref.sum())


def _weak(kind: str, win: Any) -> pd.DataFrame:
    """DPO at beta = 2 as preferences become weak; the reference is uneven, so that cycles do not leave p+ =
    p_ref.
    """
    ref = np.arange(1, 8) / 28
    return pd.DataFrame(
        {
            "method": kind,
            "strength": STRENGTHS,
            "error": [dpo_limit(Population(win(s), ref), FIRST_ORDER)[0] for s in STRENGTHS],
            "reference": [total_variation(ref, Population(win(s), ref).preferred[0]) for s in STRENGTHS],
        }
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Samples with limits; limits over beta; the nearest beta of random populations; weak preferences."""
    by = ["part", "name", "method", "size"]
    samples = summarise(rows.loc[rows.part == "samples"], by)
    samples.loc[samples.excluded > FEW * samples.replicates, ["mean", "low", "high"]] = (
        np.nan
    )  # the lucky ones say nothing
    limits = rows.loc[rows.part == "samples"].groupby(by, as_index=False).limit.first()
    family = (
        rows.loc[rows.part == "family"]
        .groupby(["part", "name"], as_index=False)
        .agg(
            least=("error", "min"),
            median=("error", "median"),
            largest=("error", "max"),
            replicates=("error", "size"),
        )
    )
    rest = rows.loc[
        rows.part.isin(("curve", "weak")) & (rows.method != "other law"),
        ["part", "name", "method", "beta", "strength", "error", "reference", "floor"],
    ]
    return pd.concat(
        [samples.merge(limits), rest.rename(columns={"error": "limit"}), family], ignore_index=True
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Every plateau is apart from RDRO and at its limit; no beta reaches p+; limits of KTO and BCO are
    certified.
    """
    out = []
    for name in SHOWN:
        mine = rows.loc[(rows.part == "samples") & (rows.name == name)]
        last = {m: x[-1] for m, x in blocks(mine, ("SFT", "RDRO", *PLATEAUS), "error").items()}
        out += [separation(f"{name}: {m} minus RDRO, largest n", last[m] - last["RDRO"]) for m in PLATEAUS]
        out += [
            separation(
                f"{name}: DPO at its best beta minus SFT, largest n", last["DPO, best beta"] - last["SFT"]
            ),
            growth(
                f"{name}: plateaus = limits",
                [np.nanmean(last[m]) for m in PLATEAUS],
                [_limits(name)[m] for m in PLATEAUS],
                0.05,
            ),
        ]
    curve, weak = rows.loc[rows.part == "curve"], rows.loc[rows.part == "weak"]
    nearest = rows.loc[rows.part == "family", "error"].to_numpy(float)
    ends, laws = curve.loc[curve.gradient.notna()], curve.loc[curve.method == "other law"]
    ratios = [x[:-1] / x[1:] for _, mine in weak.groupby("method") for x in [mine.error.to_numpy(float)]]
    return [
        *out,
        differs("no beta's limit is p+ in any random population: the nearest", [nearest.min()], 5e-4),
        growth("weak preferences: DPO at beta 2 is off by their square", np.concatenate(ratios), 4.0, 0.1),
        identity("torch gradients of KTO and BCO vanish at their limits", ends.gradient, EPS),
        bound("KTO's loss at its limit against other laws", laws.least, laws.loss),
    ]
