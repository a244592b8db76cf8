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

The two roads. Estimates on samples, from exact solvers, against the limits on the exact law: of DPO those
that Newton's method finds on the torch loss; those of KTO and BCO are certified by torch gradients, and KTO's
also by its loss at other laws next to it.

The checks:

- separations where a plateau is nearest to p+, the population of two groups: at the largest n DPO at its best
  beta is further from p+ than RDRO and than SFT;
- growth: the plateaus on samples are the limits, 0.008 to 0.73, in every population; for weak preferences of
  strength s DPO at beta 2 is off by s^2 (halving s divides it by 4);
- identities: DPO's nearest limit in random populations is Newton's; the torch gradients of KTO and BCO vanish
  at their limits, those of RDRO at its estimates;
- a bound: KTO's loss at its limit is at most that at laws next to it.

The planted defects: alpha or beta 10 % too large in the exact solvers of RDRO, DPO, KTO or BCO; responses
that meet themselves dropped from the pairs; alpha 5 % too large in RDRO's torch loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import bco, dpo, kto, rdro
from distalign.policies import Tabular, score
from distalign.populations import Population, consistency_populations, cyclic, random_intransitive, win_matrix
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.fit import Objective, fit
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import (
    blocks,
    frequencies,
    ties_dropped,
    torch_gradients,
    total_variation,
)
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.solvers.bradley_terry import bradley_terry_rewards, dpo_policy
from distalign.solvers.density_ratio import rdro_policy
from distalign.theory.density_ratio.plateaus import bco_policy, kto_policy
from distalign.types import Array


def _nearest_samples(cell: Mapping[str, Any]) -> bool:
    return cell["part"] == "samples" and cell["name"] == NEAREST


def _nearest_curve(cell: Mapping[str, Any]) -> bool:
    return cell["part"] == "curve" and cell["name"] == NEAREST


NEAREST = "mixed"  # the population in which a beta of DPO comes nearest to p+
DEFECTS = (
    Defect(
        "alpha of the RDRO solver 10 % too large",
        rdro_policy,
        argument("alpha", lambda x: 1.1 * x),
        lambda cell: _nearest_samples(cell) and cell["size"] >= LARGE,
    ),
    Defect(
        "beta of the DPO policy 10 % too large",
        dpo_policy,
        argument("beta", lambda x: 1.1 * x),
        lambda cell: cell["part"] in ("family", "weak") or cell["size"] >= LARGE,
    ),
    Defect(
        "beta of KTO's limit 10 % too large",
        kto_policy,
        argument("beta", lambda x: 1.1 * x),
        where(part="curve"),
    ),
    Defect(
        "beta of BCO's limit 10 % too large", bco_policy, argument("beta", lambda x: 1.1 * x), _nearest_curve
    ),
    Defect(
        "pairs of a response with itself dropped",
        Population.sample_pairs,
        ties_dropped,
        lambda cell: _nearest_samples(cell) and cell["size"] >= LARGE,
    ),
    Defect(
        "alpha of the RDRO loss 5 % too large",
        rdro,
        argument("alpha", lambda x: 1.05 * x),
        lambda cell: _nearest_samples(cell) and cell["size"] < LARGE,
    ),
)
# Betas of DPO's curve, the beta that is p+ to first order, those of KTO and BCO, zero of a gradient and of a
# difference, and the
# share of missing fits that a mean may have.
BETAS, FIRST_ORDER, KTO_BETA, BCO_BETA, EPS, SAME, FEW = (
    np.geomspace(0.05, 100.0, 200),
    2.0,
    0.1,
    1.0,
    1e-9,
    1e-8,
    0.05,
)
SHOWN = (NEAREST, "bradley_terry", "intransitive")
CLOSE, CERTIFIED, LARGE = 0.02, 3, 100_000
STRENGTHS = (0.4, 0.2, 0.1, 0.05, 0.025)  # each half of the one before
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


def run(rng: np.random.Generator, *, part: str, name: str, size: int, replicates: int) -> dict[str, Any]:
    """Total variation to p+: of estimates, of limits over beta, of the nearest beta, or at beta = 2."""
    if part == "samples":
        rows_of_part = _samples(rng, name, size, replicates)
    elif part == "curve":
        rows_of_part = _limits_over_beta(name)
    elif part == "family":
        rows_of_part = pd.DataFrame([_nearest_limit(rng, name, i) for i in range(replicates)])
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


def newton_limit(truth: Population, beta: float) -> float:
    """Total variation between p+ and the minimiser of DPO's torch loss on the exact law of pairs."""
    found = fit(Tabular(truth.reference), partial(dpo, beta=beta), truth.pairs())
    return float(total_variation(found.probs[0], truth.preferred[0])) if found.converged else np.nan


@cache
def _limits(name: str) -> dict[str, float]:
    """Total variation to p+ of every plateau on the exact law."""
    truth = _population(name)
    up, down, ref, target = *_chosen_and_rejected_mass(truth), truth.reference[0], truth.preferred[0]
    others = {"KTO": kto_policy(up, down, ref, KTO_BETA), "BCO": bco_policy(up, down, ref, BCO_BETA)[0]}
    return {
        **{method: newton_limit(truth, beta) for method, beta in dpo_betas(name).items()},
        **{method: float(total_variation(policy, target)) for method, policy in others.items()},
    }


def _nearest_limit(rng: np.random.Generator, family: str, index: int) -> dict[str, Any]:
    """DPO's limit nearest to p+ in a random population; for the first few its gap to Newton's."""
    truth = _random_population(rng, family)
    limits = dpo_limit(truth, BETAS)
    gap = np.nan
    if index < CERTIFIED:
        gap = limits.min() - newton_limit(truth, float(BETAS[limits.argmin()]))
    return {"method": "DPO", "replicate": index, "error": limits.min(), "newton": gap}


def _samples(rng: np.random.Generator, name: str, size: int, replicates: int) -> pd.DataFrame:
    """Total variation to p+ of every method on each replicate, and the torch gradient of RDRO."""
    truth = _population(name)
    ref, target = truth.reference[0], truth.preferred[0]
    pairs = truth.sample_pairs(size, rng, replicates=replicates)
    counts = pairs.unpaired()
    chosen_freq, rejected_freq = frequencies(counts.weights, np.asarray(counts.rejected_weights))
    rewards = bradley_terry_rewards(pairs.weights.reshape(-1, len(ref), len(ref)))
    of_rdro = rdro_policy(chosen_freq, rejected_freq, ref, alpha=0.5)
    stationary = torch_gradients(partial(rdro, alpha=0.5), of_rdro.policy, ref, counts, largest_ratio=1.998)
    estimators = {
        "SFT": (chosen_freq, np.ones(replicates, bool)),
        "RDRO": (of_rdro.policy, of_rdro.solved),
        **{m: (dpo_policy(rewards.reward, ref, b), rewards.solved) for m, b in dpo_betas(name).items()},
        "KTO": (kto_policy(chosen_freq / 2, rejected_freq / 2, ref, KTO_BETA), True),
        "BCO": bco_policy(chosen_freq / 2, rejected_freq / 2, ref, BCO_BETA),
    }
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "method": method,
                    "replicate": np.arange(replicates),
                    "error": np.where(solved, total_variation(policy, target), np.nan),
                    "stationary": stationary if method == "RDRO" else np.nan,
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
    others = np.random.default_rng(3).dirichlet(np.ones(len(ref)), 50) * (kto_limit > 0)
    next_to_it = 0.99 * kto_limit + 0.01 * others / others.sum(-1, keepdims=True)
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
                    "loss": [_loss_and_gradient(loss, truth, p)[0] for p in (*next_to_it, target, ref)],
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
    samples["limit"] = [
        _limits(str(n)).get(str(m), 0.0) for n, m in zip(samples["name"], samples["method"], strict=True)
    ]
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
    return pd.concat([samples, rest.rename(columns={"error": "limit"}), family], ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """The nearest plateau is apart from RDRO and SFT, plateaus are limits, and limits are certified."""
    samples, plateaus = rows.loc[rows.part == "samples"], []
    at_largest = {
        name: {m: x[-1] for m, x in blocks(mine, ("SFT", "RDRO", *PLATEAUS), "error").items()}
        for name, mine in samples.groupby("name")
    }
    for name in SHOWN:
        means = [np.nanmean(at_largest[name][m]) for m in PLATEAUS]
        plateaus.append(
            growth(f"{name}: plateaus = limits", means, [_limits(name)[m] for m in PLATEAUS], CLOSE)
        )
    curve, weak = rows.loc[rows.part == "curve"], rows.loc[rows.part == "weak"]
    certified_limits, at_other_laws = (
        curve.loc[curve.gradient.notna()],
        curve.loc[curve.method == "other law"],
    )
    weakest = [mine.error.to_numpy(float)[-2:] for _, mine in weak.groupby("method")]
    nearest = at_largest[NEAREST]
    return [
        *(
            separation(
                f"{NEAREST}: DPO at its best beta minus {m}, largest n",
                nearest["DPO, best beta"] - nearest[m],
            )
            for m in ("RDRO", "SFT")
        ),
        *plateaus,
        growth(
            "weak preferences: DPO at beta 2 is off by their square",
            [x[0] / x[1] for x in weakest],
            4.0,
            CLOSE,
        ),
        identity(
            "random populations: DPO's nearest limit = Newton's method on the torch loss",
            rows.loc[rows.part == "family", "newton"].dropna(),
            SAME,
        ),
        identity("torch gradients of KTO and BCO vanish at their limits", certified_limits.gradient, EPS),
        identity("torch gradient of RDRO vanishes at its estimates", samples.stationary.dropna(), EPS),
        bound("KTO's loss at its limit against laws next to it", at_other_laws.least, at_other_laws.loss),
    ]
