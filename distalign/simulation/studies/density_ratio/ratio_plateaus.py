"""DPO at usual betas and at an oracle's, KTO and BCO stop short of p+, because their targets are other laws.

The claim is ours; it says what "not statistically consistent" amounts to in RDRO's abstract, of methods
that assume a preference model. Pairs are drawn from the reference, so p+ = 2 p_ref (win rate against p_ref)
is a bounded tilt of the reference. DPO tilts the reference by a Bradley-Terry fit, KTO moves all mass to
what is chosen more often than rejected, and BCO tilts by a power of p+/p- shifted by a mean: three other
targets, each with its own use. That p+ is none of them is what is tested, also where Bradley-Terry holds.
The distance depends on beta and is small for weak preferences, where DPO with beta = 2 is p+ to first
order.

The run has four parts: `samples` of three populations; `curve`, the limits over beta with certificates of
those of KTO and BCO; `family`, DPO's nearest beta in random populations; and `weak`, DPO at beta = 2 as
preferences become weak.

The two roads. Estimates on samples, from exact solvers, against the limits on the exact law. Those of KTO
and BCO are certified by torch gradients, and KTO's also by its loss at other laws.

The checks:

- separations: at the largest n each of DPO at beta 0.1, 1 and the best beta, KTO and BCO is further from p+
  than RDRO; DPO at its best beta is further than SFT;
- growth: the plateaus on samples are the limits; for weak preferences of strength s DPO at beta 2 is off by
  s^2 (halving s divides it by 4);
- it differs from 0: no beta's limit is p+ in any random population;
- identities and bounds: the torch gradients of KTO and BCO vanish at their limits, and KTO's loss there is
  at most that at other laws.

The defect puts RDRO's policy in place of those of DPO, KTO and BCO. They then reach p+ and are not apart
from RDRO.
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
# Betas of DPO's curve, the beta that is p+ to first order, those of KTO and BCO, zero of a gradient, and the
# share of missing fits that a mean may have.
BETAS, FIRST_ORDER, KTO_BETA, BCO_BETA, EPS, FEW = np.geomspace(0.05, 100.0, 200), 2.0, 0.1, 1.0, 1e-9, 0.05
SHOWN = ("bradley_terry", "mixed", "intransitive")
STRENGTHS = (0.4, 0.2, 0.1, 0.05)  # each half of the one before
PLATEAUS = ("DPO, beta 0.1", "DPO, beta 1", "DPO, best beta", "KTO", "BCO")
FAMILIES = {  # standard deviation of the log-odds, or of the utilities
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
        rows_of_part = _samples(rng, name, size, replicates, defect)
    elif part == "curve":
        rows_of_part = _limits_over_beta(name)
    elif part == "family":
        rows_of_part = pd.DataFrame(
            {
                "method": "DPO",
                "replicate": np.arange(replicates),
                "error": [dpo_limit(_random_population(rng, name), BETAS).min() for _ in range(replicates)],
            }
        )
    else:
        rows_of_part = pd.concat(
            [
                _weak_preferences("cycles", lambda s: cyclic(7, s)),
                _weak_preferences(
                    "Bradley-Terry", lambda s: win_matrix(s * np.linspace(-1, 1, 7)[None], [1.0], 1.0)
                ),
            ]
        )
    return dict(rows_of_part.reset_index(drop=True))


@cache
def _population(name: str) -> Population:
    return consistency_populations()[name]


def dpo_limit(truth: Population, betas: Any) -> Array:
    """Total variation between p+ and DPO's limit at each beta."""
    joint = truth.pairs().weights.reshape(truth.win.shape[1:])
    log_ratios = bradley_terry_rewards(joint).reward[0] / np.atleast_1d(betas)[:, None]
    return total_variation(dpo_policy(log_ratios, truth.reference[0], 1.0), truth.preferred[0])


@cache
def dpo_betas(name: str) -> dict[str, float]:
    """Two usual betas, and the one whose limit is nearest to p+, which only who knows p+ can choose."""
    best = float(BETAS[dpo_limit(_population(name), BETAS).argmin()])
    return dict(zip(PLATEAUS, (0.1, 1.0, best)))


def _chosen_and_rejected_mass(truth: Population) -> tuple[Array, Array]:
    """Masses of chosen and rejected responses among all responses."""
    return truth.preferred[0] / 2, truth.dispreferred[0] / 2


@cache
def _limits(name: str) -> dict[str, float]:
    """Total variation to p+ of every plateau on the exact law."""
    truth = _population(name)
    up, down, ref, target = *_chosen_and_rejected_mass(truth), truth.reference[0], truth.preferred[0]
    others = {"KTO": kto_policy(up, down, ref, KTO_BETA), "BCO": bco_policy(up, down, ref, BCO_BETA)[0]}
    return {
        **dict(zip(PLATEAUS, dpo_limit(truth, list(dpo_betas(name).values())))),
        **{method: float(total_variation(policy, target)) for method, policy in others.items()},
    }


def _samples(rng: np.random.Generator, name: str, size: int, replicates: int, defect: bool) -> pd.DataFrame:
    """Total variation to p+ of every method on each replicate, beside its limit."""
    truth = _population(name)
    ref, target, limits = truth.reference[0], truth.preferred[0], _limits(name)
    pairs = truth.sample_pairs(size, rng, replicates=replicates)
    counts = pairs.unpaired()
    chosen_freq, rejected_freq = frequencies(counts.weights, np.asarray(counts.rejected_weights))
    rewards = bradley_terry_rewards(pairs.weights.reshape(-1, len(ref), len(ref)))
    rdro = rdro_policy(chosen_freq, rejected_freq, ref, alpha=0.5)
    estimators = {
        "SFT": (chosen_freq, np.ones(replicates, bool)),
        "RDRO": (rdro.policy, rdro.solved),
        **{m: (dpo_policy(rewards.reward, ref, b), rewards.solved) for m, b in dpo_betas(name).items()},
        "KTO": (kto_policy(chosen_freq / 2, rejected_freq / 2, ref, KTO_BETA), True),
        "BCO": bco_policy(chosen_freq / 2, rejected_freq / 2, ref, BCO_BETA),
    }
    if defect:
        estimators |= dict.fromkeys(PLATEAUS, estimators["RDRO"])
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
            for method, (policy, solved) in estimators.items()
        ]
    )


def _limits_over_beta(name: str) -> pd.DataFrame:
    """Limits over beta, with what certifies those of KTO and BCO: torch gradients, and KTO's loss against
    other laws.
    """
    truth = _population(name)
    ref, target, (up, down) = truth.reference[0], truth.preferred[0], _chosen_and_rejected_mass(truth)
    bco_limits = {b: bco_policy(up, down, ref, b) for b in BETAS[(BETAS >= 0.1) & (BETAS <= 30)][::6]}
    kto_limit, (bco_limit, solved) = kto_policy(up, down, ref, KTO_BETA), bco_policy(up, down, ref, BCO_BETA)
    loss = partial(kto, beta=KTO_BETA)
    other_laws = np.random.default_rng(3).dirichlet(np.ones(len(ref)), 50)
    return pd.concat(
        [
            pd.DataFrame({"method": "DPO", "beta": BETAS, "error": dpo_limit(truth, BETAS)}),
            pd.DataFrame(
                {
                    "method": "BCO",
                    "beta": list(bco_limits),
                    "error": [total_variation(p, target) if ok else np.nan for p, ok in bco_limits.values()],
                }
            ),
            pd.DataFrame(
                {
                    "method": "KTO",
                    "beta": KTO_BETA,
                    "error": [total_variation(kto_limit, target)],
                    "floor": target[up <= down].sum(),
                    "gradient": _loss_and_gradient(loss, truth, kto_limit)[1],
                }
            ),
            pd.DataFrame(
                {
                    "method": "BCO",
                    "beta": BCO_BETA,
                    "error": [total_variation(bco_limit, target) if solved else np.nan],
                    "gradient": _loss_and_gradient(partial(bco, beta=BCO_BETA), truth, bco_limit)[1],
                }
            ),
            pd.DataFrame(
                {
                    "method": "other law",
                    "least": _loss_and_gradient(loss, truth, kto_limit)[0],
                    "loss": [_loss_and_gradient(loss, truth, p)[0] for p in (*other_laws, target, ref)],
                }
            ),
        ]
    )


def _loss_and_gradient(loss: Objective, truth: Population, policy: Array) -> tuple[float, float]:
    """The torch objective on the exact law, and the largest entry of its gradient.

    Log-ratios are cut at -400 nats, which stands for probability 0.
    """
    ref, law = truth.reference[0], truth.pairs().unpaired()
    with np.errstate(divide="ignore"):
        theta = torch.from_numpy(np.log(policy / ref).clip(-400)).requires_grad_()
    weights = torch.from_numpy(law.weights), torch.from_numpy(np.asarray(law.rejected_weights))
    value = loss(
        score(Tabular(ref), theta, torch.from_numpy(law.chosen), torch.from_numpy(law.rejected), *weights)
    )
    return value.item(), float(torch.autograd.grad(value, theta)[0].abs().max())


def _random_population(rng: np.random.Generator, family: str) -> Population:
    """Ten responses with random preferences of a family.

    The reference is Dirichlet(3/2) + 0.01, normalised; log-odds or utilities have the family's standard
    deviation.
    """
    ref, deviation = rng.dirichlet(np.full(10, 1.5)) + 0.01, FAMILIES[family]
    win = (
        random_intransitive(rng, 10, sd=deviation)
        if family.startswith("intransitive")
        else win_matrix(rng.normal(0, deviation, (1, 10)), [1.0], 1.0)
    )
    return Population(win, ref / ref.sum())


def _weak_preferences(kind: str, win: Any) -> pd.DataFrame:
    """DPO at beta = 2 as preferences become weak.

    The reference is uneven, so that cycles do not leave p+ = p_ref.
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
    # Where many fits do not exist, the mean over those that do is of a favourable selection.
    samples.loc[samples.excluded > FEW * samples.replicates, ["mean", "low", "high"]] = np.nan
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
    """Every plateau is apart from RDRO and at its limit, no beta reaches p+, and the limits are certified."""
    out = []
    for name in SHOWN:
        of_population = rows.loc[(rows.part == "samples") & (rows.name == name)]
        at_largest = {m: x[-1] for m, x in blocks(of_population, ("SFT", "RDRO", *PLATEAUS), "error").items()}
        out += [
            separation(f"{name}: {m} minus RDRO, largest n", at_largest[m] - at_largest["RDRO"])
            for m in PLATEAUS
        ]
        out += [
            separation(
                f"{name}: DPO at its best beta minus SFT, largest n",
                at_largest["DPO, best beta"] - at_largest["SFT"],
            ),
            growth(
                f"{name}: plateaus = limits",
                [np.nanmean(at_largest[m]) for m in PLATEAUS],
                [_limits(name)[m] for m in PLATEAUS],
                0.05,
            ),
        ]
    curve, weak = rows.loc[rows.part == "curve"], rows.loc[rows.part == "weak"]
    nearest_beta_distance = rows.loc[rows.part == "family", "error"].to_numpy(float)
    certified_limits, at_other_laws = (
        curve.loc[curve.gradient.notna()],
        curve.loc[curve.method == "other law"],
    )
    ratios = [
        x[:-1] / x[1:]
        for _, of_population in weak.groupby("method")
        for x in [of_population.error.to_numpy(float)]
    ]
    return [
        *out,
        differs(
            "no beta's limit is p+ in any random population: the nearest", [nearest_beta_distance.min()], 5e-4
        ),
        growth("weak preferences: DPO at beta 2 is off by their square", np.concatenate(ratios), 4.0, 0.1),
        identity("torch gradients of KTO and BCO vanish at their limits", certified_limits.gradient, EPS),
        bound("KTO's loss at its limit against other laws", at_other_laws.least, at_other_laws.loss),
    ]
