"""DPO where it is consistent for p+, and the change of reference that ends it.

The claim is ours. Pairs are independent draws y_w ~ p+ and y_l ~ p-. Given the two responses, i is the
winner with probability

    p+_i p-_j / (p+_i p-_j + p+_j p-_i) = sigma(h_i - h_j),   h = log p+/p-.                       (1)

So Bradley-Terry holds, and DPO's limit over all policies is

    p_ref (p+/p-)^{1/beta},                                                                        (2)

which is p+ for p_ref = p- and beta = 1. With p_ref = (p+ + p-)/2 the same rewards give other laws. No
training set is made like this; the study shows that the plateaus of DPO are no artefact of its solver.

The run. Pairs of p+ and p- of three tiers of rock-paper-scissors, one cell per number of pairs. DPO is
fitted with reference p- and beta = 1, and with the mixture and three betas; SFT and RDRO stand beside it.

The two roads. The fits maximise the likelihood of the order in each pair, and the torch loss of DPO must be
stationary at them. Theory gives the constant of that likelihood, and (2) the limits. The constant lies
above SFT's, because which responses were met says something of p+, too, and DPO does not use it.

The checks:

- rates and growth: DPO with reference p-, SFT and RDRO fall like n^{-1/2}, from n = 2000 on, with their
  asymptotic constants, from n = 16,000 on, within four of the standard errors that the limit law gives;
- growth: with the mixture DPO stops at (2), at every beta, 0.04 to 0.87 from p+;
- an identity: the gradient of the torch losses of DPO and RDRO vanishes at the exact solutions.

The planted defects: beta or alpha 10 % too large in an exact solver, 5 % in a loss; pairs drawn from a law
rounded to three decimals; and predicted constants off by twice their tolerance.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import dpo, rdro
from distalign.populations import Law, Population, consistency_populations
from distalign.populations._arrays import draw_counts
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import (
    blocks,
    frequencies,
    torch_gradients,
    total_variation,
    total_variation_check,
)
from distalign.simulation.verdict import Check, growth, identity, rate
from distalign.solvers.bradley_terry import bradley_terry_rewards, dpo_policy
from distalign.solvers.density_ratio import rdro_policy
from distalign.theory.density_ratio import asymptotics as theory
from distalign.types import Array

DEFECTS = (
    Defect("beta of the DPO policy 10 % too large", dpo_policy, argument("beta", lambda x: 1.1 * x)),
    Defect("alpha of the RDRO solver 10 % too large", rdro_policy, argument("alpha", lambda x: 1.1 * x)),
    Defect(
        "beta of the DPO loss 5 % too large",
        dpo,
        argument("beta", lambda x: 1.05 * x),
        lambda cell: cell["size"] < 10_000,
    ),
    Defect("law of pairs rounded to 3 decimals", draw_counts, argument("p", lambda p: p.round(3))),
    Defect(
        "predicted constants 8 % too large",
        theory.total_variation_constant,
        result(lambda x: 1.08 * x),
        no_cell,
    ),
)
MIXTURE, CONTROL = {"mixture, beta 0.1": 0.1, "mixture, beta 1": 1.0, "mixture, beta 2": 2.0}, "p-, beta 1"
METHODS = (CONTROL, "SFT", "RDRO", *MIXTURE)
MIN_SIZE, CONSTANT_SIZE, CLOSE = 2000, 16_000, 0.02


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per number of pairs."""
    return [{"size": n, "replicates": replicates} for n in sizes]


@cache
def population() -> Population:
    """Three tiers of rock-paper-scissors; only its p+ and p- are used."""
    return consistency_populations()["tiers"]


def _target_loser_and_mixture() -> tuple[Array, Array, Array]:
    truth = population()
    return truth.preferred[0], truth.dispreferred[0], truth.reference[0]


def run(rng: np.random.Generator, *, size: int, replicates: int) -> dict[str, Any]:
    """Total variation to p+ of every method on each replicate; not finite where a fit does not exist."""
    p_plus, p_minus, mixture = _target_loser_and_mixture()
    k, joint = len(p_plus), np.outer(p_plus, p_minus)
    counts = draw_counts(joint.ravel(), size, rng, replicates).reshape(-1, k, k)
    winner, loser = np.indices((k, k)).reshape(2, -1)
    pairs = Law(winner, loser, counts.reshape(replicates, -1))
    chosen_freq, rejected_freq = frequencies(counts.sum(2), counts.sum(1))
    rewards = bradley_terry_rewards(counts)
    of_rdro = rdro_policy(chosen_freq, rejected_freq, mixture, alpha=0.5)
    estimators = {
        CONTROL: (dpo_policy(rewards.reward, p_minus, 1.0), rewards.solved),
        "SFT": (chosen_freq, True),
        "RDRO": (of_rdro.policy, of_rdro.solved),
        **{
            name: (dpo_policy(rewards.reward, mixture, beta), rewards.solved)
            for name, beta in MIXTURE.items()
        },
    }
    gradient = {
        CONTROL: torch_gradients(partial(dpo, beta=1.0), estimators[CONTROL][0], p_minus, pairs),
        "RDRO": torch_gradients(
            partial(rdro, alpha=0.5), of_rdro.policy, mixture, pairs.unpaired(), largest_ratio=1.998
        ),
    }
    return dict(
        pd.concat(
            [
                pd.DataFrame(
                    {
                        "method": name,
                        "replicate": np.arange(replicates),
                        "error": np.where(solved, total_variation(policy, p_plus), np.nan),
                        "gradient": np.where(solved, gradient.get(name, np.nan), np.nan),
                    }
                )
                for name, (policy, solved) in estimators.items()
            ],
            ignore_index=True,
        )
    )


def _covariances() -> dict[str, Array]:
    """Limit covariances: of DPO, as maximum likelihood of Bradley-Terry rewards, and of SFT and RDRO."""
    p_plus, p_minus, _ = _target_loser_and_mixture()
    joint = np.outer(p_plus, p_minus)
    met = joint + joint.T
    # The information of each unordered pair, met with probability `met`, is that of a coin with chance (1).
    information = met * (joint / met) * (1 - joint / met)
    laplacian = np.diag(information.sum(1)) - information
    policy_jacobian = np.diag(p_plus) - np.outer(p_plus, p_plus)  # of p- e^h / Z in h, at p+
    return {
        CONTROL: policy_jacobian @ np.linalg.pinv(laplacian, hermitian=True) @ policy_jacobian,
        "SFT": theory.asymptotic_covariance("sft", joint),
        "RDRO": theory.asymptotic_covariance("rdro", joint),
    }


@cache
def _limits() -> dict[str, float]:
    """Total variation between p+ and the limit (2) with the mixture as reference, by the formula, not by a
    fit.
    """
    p_plus, p_minus, mixture = _target_loser_and_mixture()
    tilted = {name: mixture * (p_plus / p_minus) ** (1 / beta) for name, beta in MIXTURE.items()}
    return {name: float(total_variation(p / p.sum(), p_plus)) for name, p in tilted.items()}


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean total variation with its interval, its predicted mean and its limit."""
    out = summarise(rows, ["method", "size"])
    constants = {name: theory.total_variation_constant(v) for name, v in _covariances().items()}
    out["predicted"] = out.method.map(constants) / np.sqrt(out["size"])
    return out.assign(limit=[_limits().get(m, 0.0) for m in out.method])


def checks(rows: pd.DataFrame) -> list[Check]:
    """Exponent and constant with p- as reference; plateaus with the mixture."""
    large = {m: rows.loc[(rows["size"] >= MIN_SIZE) & (rows.method == m)] for m in METHODS[:3]}
    at_largest = {m: x[-1] for m, x in blocks(rows, METHODS, "error").items()}
    return [
        *(
            rate(f"{m}: total variation to p+", mine, matches=theory.PARAMETRIC_EXPONENT, margin=0.03)
            for m, mine in large.items()
        ),
        *(
            total_variation_check(
                f"{m}: mean error = asymptotic constant", late["size"], late.error, _covariances()[m]
            )
            for m, mine in large.items()
            for late in [mine.loc[mine["size"] >= CONSTANT_SIZE]]
        ),
        growth(
            "with the mixture DPO stops at mixture (p+/p-)^(1/beta)",
            [np.nanmean(at_largest[m]) for m in MIXTURE],
            [_limits()[m] for m in MIXTURE],
            CLOSE,
        ),
        identity("gradient of the torch losses at the exact solutions", rows.gradient.dropna(), 1e-9),
    ]
