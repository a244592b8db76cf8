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

- rates and growth: SFT, RDRO and DPO with reference p- fall like n^{-1/2} with their asymptotic constants;
- separations: at the largest n DPO with reference p- is behind SFT, and DPO with the mixture behind DPO
  with p- at every beta;
- growth: with the mixture DPO stops at (2);
- an identity: the gradient of the torch loss vanishes at the exact solutions.

The defect makes the mixture DPO's reference in place of p-. DPO then stops at a limit other than p+, so its
rate and constant fail.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import dpo
from distalign.policies import Tabular, score
from distalign.populations import Law, Population, consistency_populations
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import blocks, frequencies, total_variation
from distalign.simulation.verdict import Check, growth, identity, rate, separation
from distalign.solvers.bradley_terry import bradley_terry_rewards, dpo_policy
from distalign.solvers.density_ratio import rdro_policy
from distalign.theory.density_ratio import asymptotics as theory
from distalign.types import Array

DEFECT = "the mixture as DPO's reference in place of p-"
MIXTURE, CONTROL = {"mixture, beta 0.1": 0.1, "mixture, beta 1": 1.0, "mixture, beta 2": 2.0}, "p-, beta 1"
METHODS = ("SFT", "RDRO", CONTROL, *MIXTURE)
MIN_SIZE, CERTIFIED = 2000, 4


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


def run(rng: np.random.Generator, *, size: int, replicates: int, defect: bool = False) -> dict[str, Any]:
    """Total variation to p+ of every method on each replicate; not finite where a fit does not exist."""
    p_plus, p_minus, mixture = _target_loser_and_mixture()
    k, joint = len(p_plus), np.outer(p_plus, p_minus)
    counts = rng.multinomial(size, joint.ravel(), replicates).reshape(-1, k, k).astype(float)
    chosen_freq, rejected_freq = frequencies(counts.sum(2), counts.sum(1))
    rewards, rdro = bradley_terry_rewards(counts), rdro_policy(chosen_freq, rejected_freq, mixture, alpha=0.5)
    reference = mixture if defect else p_minus
    dpo_control = dpo_policy(rewards.reward, reference, 1.0)
    estimators = {
        "SFT": (chosen_freq, True),
        "RDRO": (rdro.policy, rdro.solved),
        CONTROL: (dpo_control, rewards.solved),
        **{
            name: (dpo_policy(rewards.reward, mixture, beta), rewards.solved)
            for name, beta in MIXTURE.items()
        },
    }
    constants, limits = _constants(), _limits()
    gradient = np.full(replicates, np.nan)
    gradient[:CERTIFIED] = [
        _torch_gradient(c, p, reference) if ok else np.nan
        for c, p, ok in zip(counts[:CERTIFIED], dpo_control, rewards.solved)
    ]
    return dict(
        pd.concat(
            [
                pd.DataFrame(
                    {
                        "method": name,
                        "replicate": np.arange(replicates),
                        "error": np.where(solved, total_variation(policy, p_plus), np.nan),
                        "predicted": constants.get(name, np.nan) / np.sqrt(size),
                        "limit": limits.get(name, 0.0),
                        "gradient": gradient if name == CONTROL else np.nan,
                    }
                )
                for name, (policy, solved) in estimators.items()
            ],
            ignore_index=True,
        )
    )


@cache
def _constants() -> dict[str, float]:
    """Limits of sqrt(n) E TV: of DPO, as maximum likelihood of Bradley-Terry rewards, and of SFT and RDRO."""
    p_plus, p_minus, _ = _target_loser_and_mixture()
    joint = np.outer(p_plus, p_minus)
    met = joint + joint.T
    # The information of each unordered pair, met with probability `met`, is that of a coin with chance (1).
    information = met * (joint / met) * (1 - joint / met)
    laplacian = np.diag(information.sum(1)) - information
    policy_jacobian = np.diag(p_plus) - np.outer(p_plus, p_plus)  # of p- e^h / Z in h, at p+
    covariance = {
        CONTROL: policy_jacobian @ np.linalg.pinv(laplacian, hermitian=True) @ policy_jacobian,
        "SFT": theory.asymptotic_covariance("sft", joint),
        "RDRO": theory.asymptotic_covariance("rdro", joint),
    }
    return {name: theory.total_variation_constant(v) for name, v in covariance.items()}


@cache
def _limits() -> dict[str, float]:
    """Total variation between p+ and the limit (2) with the mixture as reference, by the formula, not by a
    fit.
    """
    p_plus, p_minus, mixture = _target_loser_and_mixture()
    tilted = {name: mixture * (p_plus / p_minus) ** (1 / beta) for name, beta in MIXTURE.items()}
    return {name: float(total_variation(p / p.sum(), p_plus)) for name, p in tilted.items()}


def _torch_gradient(counts: Array, policy: Array, ref: Array) -> float:
    """Largest entry of the torch gradient of DPO at beta = 1."""
    winner, loser = np.indices(counts.shape).reshape(2, -1)
    law = Law(winner, loser, counts.ravel())
    theta = torch.from_numpy(np.log(policy / ref)).requires_grad_()
    atoms = (torch.from_numpy(x) for x in (law.chosen, law.rejected, law.weights))
    batch = score(Tabular(ref), theta, *atoms)
    return float(torch.autograd.grad(partial(dpo, beta=1.0)(batch), theta)[0].abs().max())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean total variation with its interval, its predicted mean and its limit."""
    predictions = rows.groupby(["method", "size"], as_index=False).agg(
        predicted=("predicted", "first"), limit=("limit", "first")
    )
    return summarise(rows, ["method", "size"]).merge(predictions)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Exponent and constant with p- as reference, behind SFT; plateaus with the mixture."""
    large = {m: rows.loc[(rows["size"] >= MIN_SIZE) & (rows.method == m)] for m in ("SFT", "RDRO", CONTROL)}
    at_largest = {m: x[-1] for m, x in blocks(rows, METHODS, "error").items()}
    return [
        *(
            rate(f"{m}: total variation to p+", mine, matches=theory.PARAMETRIC_EXPONENT, margin=0.03)
            for m, mine in large.items()
        ),
        *(
            growth(
                f"{m}: mean error = asymptotic constant", [(mine.error / mine.predicted).mean()], [1.0], 0.05
            )
            for m, mine in large.items()
        ),
        separation("DPO with reference p- minus SFT, largest n", at_largest[CONTROL] - at_largest["SFT"]),
        *(
            separation(f"{m} minus reference p-, largest n", at_largest[m] - at_largest[CONTROL])
            for m in MIXTURE
        ),
        growth(
            "with the mixture DPO stops at mixture (p+/p-)^(1/beta)",
            [np.nanmean(at_largest[m]) for m in MIXTURE],
            [_limits()[m] for m in MIXTURE],
            0.05,
        ),
        identity("gradient of the torch loss of DPO at the exact solutions", rows.gradient.dropna(), 1e-9),
    ]
