"""DPO where it is consistent for p+, and the change of reference that ends it.

Pairs of independent draws, y_w ~ p+ and y_l ~ p-: given the two responses, i is the winner with probability
p+_i p-_j / (p+_i p-_j + p+_j p-_i) = sigma(h_i - h_j), h = log p+/p-. So Bradley-Terry holds, and DPO's limit
over all policies is p_ref (p+/p-)^{1/beta}, which is p+ for p_ref = p- and beta = 1. The fits maximise the
likelihood of the order in each pair, hence their constant; it lies above that of SFT, because which responses
were met says something of p+, too, and DPO does not ask. The torch loss of DPO is checked to be stationary at
the fits. With p_ref = (p+ + p-)/2 the same rewards give others.
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


def _laws() -> tuple[Array, Array, Array]:
    truth = population()
    return truth.preferred[0], truth.dispreferred[0], truth.reference[0]


def run(rng: np.random.Generator, *, size: int, replicates: int, defect: bool = False) -> dict[str, Any]:
    """Total variation to p+ of every method on each replicate; not finite where a fit does not exist."""
    target, other, mixture = _laws()
    k, joint = len(target), np.outer(target, other)
    counts = rng.multinomial(size, joint.ravel(), replicates).reshape(-1, k, k).astype(float)
    up, down = frequencies(counts.sum(2), counts.sum(1))
    rewards, relative = bradley_terry_rewards(counts), rdro_policy(up, down, mixture, alpha=0.5)
    reference = mixture if defect else other
    control = dpo_policy(rewards.reward, reference, 1.0)
    found = {
        "SFT": (up, True),
        "RDRO": (relative.policy, relative.solved),
        CONTROL: (control, rewards.solved),
        **{
            name: (dpo_policy(rewards.reward, mixture, beta), rewards.solved)
            for name, beta in MIXTURE.items()
        },
    }
    constants, limits = _constants(), _limits()
    gradient = np.full(replicates, np.nan)
    gradient[:CERTIFIED] = [
        _gradient(c, p, reference) if ok else np.nan
        for c, p, ok in zip(counts[:CERTIFIED], control, rewards.solved)
    ]
    return dict(
        pd.concat(
            [
                pd.DataFrame(
                    {
                        "method": name,
                        "replicate": np.arange(replicates),
                        "error": np.where(solved, total_variation(policy, target), np.nan),
                        "predicted": constants.get(name, np.nan) / np.sqrt(size),
                        "limit": limits.get(name, 0.0),
                        "gradient": gradient if name == CONTROL else np.nan,
                    }
                )
                for name, (policy, solved) in found.items()
            ],
            ignore_index=True,
        )
    )


@cache
def _constants() -> dict[str, float]:
    """Limits of sqrt(n) E TV: of DPO as maximum likelihood of Bradley-Terry rewards, and of the two
    others.
    """
    target, other, _ = _laws()
    joint = np.outer(target, other)
    both = joint + joint.T
    information = (
        both * (joint / both) * (1 - joint / both)
    )  # of each unordered pair, met with probability both
    laplacian = np.diag(information.sum(1)) - information
    slope = np.diag(target) - np.outer(target, target)  # of p- e^h / Z in h, at p+
    covariance = {
        CONTROL: slope @ np.linalg.pinv(laplacian, hermitian=True) @ slope,
        "SFT": theory.asymptotic_covariance("sft", joint),
        "RDRO": theory.asymptotic_covariance("rdro", joint),
    }
    return {name: theory.total_variation_constant(v) for name, v in covariance.items()}


@cache
def _limits() -> dict[str, float]:
    """Total variation between p+ and mixture (p+/p-)^{1/beta}, by the formula, not by a fit."""
    target, other, mixture = _laws()
    tilted = {name: mixture * (target / other) ** (1 / beta) for name, beta in MIXTURE.items()}
    return {name: float(total_variation(p / p.sum(), target)) for name, p in tilted.items()}


def _gradient(counts: Array, policy: Array, ref: Array) -> float:
    """Largest entry of the torch gradient of DPO at beta = 1."""
    winner, loser = np.indices(counts.shape).reshape(2, -1)
    law = Law(winner, loser, counts.ravel())
    theta = torch.from_numpy(np.log(policy / ref)).requires_grad_()
    atoms = (torch.from_numpy(x) for x in (law.chosen, law.rejected, law.weights))
    batch = score(Tabular(ref), theta, *atoms)
    return float(torch.autograd.grad(partial(dpo, beta=1.0)(batch), theta)[0].abs().max())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean total variation with its interval, its predicted mean and its limit."""
    told = rows.groupby(["method", "size"], as_index=False).agg(
        predicted=("predicted", "first"), limit=("limit", "first")
    )
    return summarise(rows, ["method", "size"]).merge(told)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Exponent and constant with p- as reference, behind SFT; plateaus with the mixture, where SFT and RDRO
    go on.
    """
    tail = {m: rows.loc[(rows["size"] >= MIN_SIZE) & (rows.method == m)] for m in ("SFT", "RDRO", CONTROL)}
    last = {m: x[-1] for m, x in blocks(rows, METHODS, "error").items()}
    return [
        *(
            rate(f"{m}: total variation to p+", mine, matches=theory.PARAMETRIC_EXPONENT, margin=0.03)
            for m, mine in tail.items()
        ),
        *(
            growth(
                f"{m}: mean error = asymptotic constant", [(mine.error / mine.predicted).mean()], [1.0], 0.05
            )
            for m, mine in tail.items()
        ),
        separation("DPO with reference p- minus SFT, largest n", last[CONTROL] - last["SFT"]),
        *(separation(f"{m} minus reference p-, largest n", last[m] - last[CONTROL]) for m in MIXTURE),
        growth(
            "with the mixture DPO stops at mixture (p+/p-)^(1/beta)",
            [np.nanmean(last[m]) for m in MIXTURE],
            [_limits()[m] for m in MIXTURE],
            0.05,
        ),
        identity("gradient of the torch loss of DPO at the exact solutions", rows.gradient.dropna(), 1e-9),
    ]
