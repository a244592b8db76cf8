"""Every Bregman loss of a pair's ratio aims at DPO's policy; on samples none is more accurate than DPO.

The claim. Bregman preference optimisation (Kim et al., arXiv 2505.19601) matches the policy's ratio of a pair
to that of the data in a Bregman divergence of any strictly convex h. Its Theorem 2 says that all of them are
minimised by DPO's policy given enough capacity, Theorem 3 that the loss is the divergence up to a constant,
and Section 3.3 that the scaled Basu power divergence has DPO's gradient at the reference. The rest is ours
(`distalign.theory.f_dpo.bregman`): on samples each h weighs pairs by how sure they are, and no weight is
better than that of DPO, the maximum likelihood fit; and off Bradley-Terry the minimisers differ. The gains of
the paper, which are of language models, are not tested.

The run. Tables of a few responses. Exact laws of answers for the minimisers, many samples of a million
comparisons for the constants, as the rewards spread.

The two roads. The package's objective, fitted by Newton's method from answers alone; theory's divergence,
weights, sandwich and moment equations by numpy, and the textbook covariance of Bradley-Terry fits.

The checks, fixed beforehand. Growth: n times the mean KL divergence from the target is its constant for each
h and spread, to 4.5 standard errors of the mean of a squared normal variable, the widest that the losses can
have (4.5 % at full size). Identities: loss and divergence differ by the same constant at all policies; the
gradient at the reference is DPO's; minimisers under Bradley-Terry are pi_ref exp(r / beta), off it the root
of theory's moment equations, and there they differ from DPO's by 0.01 in total variation somewhere. A bound:
DPO's constant is at most that of any h, on random instances. Separations: at the largest spread each h is
further from the target than DPO on the same samples.

The planted defects: beta 10 % too large; the loss 10 % too large; another h, or DPO, whatever is asked for;
the inverse of the Hessian for the sandwich.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit, softmax

from distalign.objectives import bpo, dpo
from distalign.policies import Tabular, score
from distalign.populations import Law, Population, win_matrix
from distalign.simulation.defects import Defect, argument, no_cell, result, where
from distalign.simulation.fit import Objective, fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, differs, growth, identity, separation
from distalign.theory.f_dpo import asymptotics
from distalign.theory.f_dpo import bregman as theory
from distalign.types import Array

RESPONSES, BETA, SIZE, ERRORS, APART = 5, 0.5, 10**6, 4.5, 0.01
METHODS = {  # the h of each, and its power
    "DPO": ("logistic", 0.5),
    "SBA, -0.5": ("sba", -0.5),
    "KLIEP": ("kliep", 0.5),
    "SBA, 0.5": ("sba", 0.5),
    "LSIF": ("lsif", 0.5),
}
SAME_SCALE = ("DPO", "SBA, -0.5", "SBA, 0.5")  # those whose gradient at the reference is DPO's


def _loss(method: str) -> Objective:
    generator, power = METHODS[method]
    return partial(bpo, beta=BETA, generator=generator, power=power)


def cells(spreads: list[float], replicates: int, instances: int) -> list[dict[str, Any]]:
    """One cell per spread of the rewards; and random instances for the loss, the minimisers and the bound."""
    samples = [{"part": "samples", "spread": s, "replicates": replicates} for s in spreads]
    return [*samples, *({"part": p, "instances": instances} for p in ("loss", "minimisers", "cycles"))]


@cache
def population(spread: float) -> tuple[Population, Array]:
    """Five responses whose rewards are normal numbers times the spread, and DPO's target; fixed seed."""
    rng = np.random.default_rng(2)
    reward = spread * rng.normal(size=RESPONSES)
    reference = rng.dirichlet(np.full(RESPONSES, 5.0))
    truth = Population(win_matrix(reward[None], [1.0], 1.0), reference)
    return truth, softmax(np.log(reference) + reward / BETA)


def run(rng: np.random.Generator, *, part: str, **arguments: Any) -> dict[str, Any]:
    """The rows of one part."""
    if part == "samples":
        return dict(_samples(rng, **arguments))
    instances = {"loss": _of_loss, "minimisers": _of_minimisers, "cycles": _of_cycles}
    rows = [row for i in range(arguments["instances"]) for row in instances[part](rng, i)]
    return dict(pd.DataFrame(rows))


def _samples(rng: np.random.Generator, spread: float, replicates: int) -> pd.DataFrame:
    """n KL(target || fit) of every loss on the same samples of pairs of distinct responses."""
    truth, target = population(spread)
    law, tables = truth.pairs(distinct=True), []
    counts = rng.multinomial(SIZE, law.weights / law.weights.sum(), size=replicates)
    sample = Law(law.chosen, law.rejected, counts / SIZE)
    start = np.log(target / truth.reference[0])
    for method in METHODS:
        found = fit(Tabular(truth.reference), _loss(method), sample, start=start - start.mean())
        log_ratio = np.log(target) - found.log_probs[:, 0]
        error = np.where(found.converged, SIZE * (log_ratio @ target), np.nan)
        tables.append(pd.DataFrame({"method": method, "replicate": np.arange(replicates), "error": error}))
    return pd.concat(tables, ignore_index=True)


def _of_loss(rng: np.random.Generator, instance: int) -> list[dict[str, Any]]:
    """By how much loss less divergence varies over policies, and the loss's gradient at the reference."""
    truth = _instance(rng, cyclic=True)
    law, rows = truth.pairs(distinct=True), []
    data = np.log(truth.win[0][law.rejected, law.chosen] / truth.win[0][law.chosen, law.rejected])
    table, weights = Tabular(truth.reference), torch.from_numpy(law.weights)
    atoms = torch.from_numpy(law.chosen), torch.from_numpy(law.rejected)
    policies = rng.normal(size=(4, RESPONSES))

    def gradient(loss: Objective) -> Array:
        theta = torch.zeros(RESPONSES, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(loss(score(table, theta, *atoms, weights)), theta)[0].numpy()

    for method, (generator, power) in METHODS.items():
        losses = [
            float(_loss(method)(score(table, torch.from_numpy(theta), *atoms, weights))) for theta in policies
        ]
        margins = BETA * (policies[:, law.chosen] - policies[:, law.rejected])
        apart = theory.divergence(generator, np.exp(data), np.exp(-margins), power) @ law.weights
        constant = np.array(losses) - apart / law.weights.sum()
        difference = gradient(_loss(method)) - gradient(partial(dpo, beta=BETA))
        rows.append(
            {
                "method": method,
                "instance": instance,
                "constant": np.ptp(constant),
                "gradient": np.abs(difference).max() if method in SAME_SCALE else np.nan,
            }
        )
    return rows


def _of_minimisers(rng: np.random.Generator, instance: int) -> list[dict[str, Any]]:
    """Minimisers under Bradley-Terry against the tilt of the reference; constants over DPO's."""
    truth, rows = _instance(rng, cyclic=False), []
    reward = np.log(truth.win[0][:, 0] / truth.win[0][0])
    target = softmax(np.log(truth.reference[0]) + reward / BETA)
    pairs = _table(truth)
    textbook = theory.kl_constant(target, asymptotics.reward_covariance(pairs), BETA)
    for method, (generator, power) in METHODS.items():
        covariance = theory.bregman_covariance(generator, pairs, power)
        rows.append(
            {
                "method": method,
                "instance": instance,
                "gap": np.abs(_fitted(method, truth) - target).max(),
                "least": textbook,
                "own": theory.kl_constant(target, covariance, BETA),
            }
        )
    return rows


def _of_cycles(rng: np.random.Generator, instance: int) -> list[dict[str, Any]]:
    """Minimisers off Bradley-Terry against theory's, and their total variation to DPO's."""
    truth, rows = _instance(rng, cyclic=True), []
    pairs, fitted = _table(truth), {method: _fitted(method, truth) for method in METHODS}
    for method, (generator, power) in METHODS.items():
        predicted = theory.limit_policy(generator, pairs, truth.reference[0], BETA, power)
        apart = 0.5 * np.abs(fitted[method] - fitted["DPO"]).sum()
        gap = np.abs(fitted[method] - predicted).max()
        rows.append({"method": method, "instance": instance, "root": gap, "apart": apart})
    return rows


def _instance(rng: np.random.Generator, *, cyclic: bool) -> Population:
    """Random rewards and reference; where `cyclic`, log-odds of pairs with noise that no rewards explain."""
    reward = 0.7 * rng.normal(size=RESPONSES)
    logits = np.subtract.outer(reward, reward)
    noise = np.triu(0.3 * rng.normal(size=logits.shape), 1)
    logits = logits + (noise - noise.T if cyclic else 0)
    return Population(expit(logits), rng.dirichlet(np.full(RESPONSES, 5.0)))


def _table(truth: Population) -> Array:
    """(K, K) law of (winner, loser) of two distinct responses."""
    law, pairs = truth.pairs(distinct=True), np.zeros((RESPONSES, RESPONSES))
    pairs[law.chosen, law.rejected] = law.weights / law.weights.sum()
    return pairs


def _fitted(method: str, truth: Population) -> Array:
    """(K,) the minimiser on the exact law of answers; NaN where Newton's method has no certificate."""
    found = fit(Tabular(truth.reference), _loss(method), truth.pairs(distinct=True), tolerance=1e-12)
    return found.probs[0] if found.converged else np.full(RESPONSES, np.nan)


def _predicted(method: str, spread: float) -> float:
    """The constant of n E KL(target || fit)."""
    truth, target = population(spread)
    generator, power = METHODS[method]
    covariance = theory.bregman_covariance(generator, _table(truth), power)
    return theory.kl_constant(target, covariance, BETA)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """n times mean KL from the target by loss and spread of the rewards, with the constant of theory."""
    out = summarise(rows.loc[rows.part == "samples"], ["method", "spread"])
    out["predicted"] = [_predicted(m, s) for m, s in zip(out.method, out.spread, strict=True)]
    return out


def checks(rows: pd.DataFrame) -> list[Check]:
    """Constants of the samples, identities of the loss and of its minimisers, and DPO's as the least."""
    samples = rows.loc[rows.part == "samples"]
    means = summarise(samples, ["method", "spread"])
    tolerance = ERRORS * np.sqrt(2 / means.replicates.min())
    predicted = [_predicted(m, s) for m, s in zip(means.method, means.spread, strict=True)]
    largest = samples.loc[samples.spread == samples.spread.max()].pivot(
        index="replicate", columns="method", values="error"
    )
    return [
        growth("n E KL(target || fit) = its constant", means["mean"], predicted, float(tolerance)),
        identity("loss less divergence: spread over policies", rows.constant.dropna(), 1e-10),
        identity("gradient at the reference = DPO's", rows.gradient.dropna(), 1e-12),
        identity("Bradley-Terry: minimiser = pi_ref exp(r / beta)", rows.gap.dropna(), 1e-8),
        identity("off Bradley-Terry: minimiser = root of its moments", rows.root.dropna(), 1e-7),
        differs("off Bradley-Terry: total variation to DPO's minimiser", rows.apart.dropna(), APART),
        bound("DPO's constant <= that of every h", rows.least.dropna(), rows.own.dropna()),
        *(
            separation(f"n KL of {m} minus DPO's, largest spread", largest[m] - largest["DPO"])
            for m in METHODS
            if m != "DPO"
        ),
    ]


def _without_sandwich(right: Any) -> Any:
    """The covariance of a developer who inverts the Hessian, as for a likelihood."""

    def wrong(generator: str, pairs: Array, power: float) -> Array:
        both = pairs + pairs.T
        wins = np.divide(pairs, both, out=np.full_like(pairs, 0.5), where=both > 0)
        with np.errstate(divide="ignore"):
            margin = np.where(both > 0, np.log(wins) - np.log1p(-wins), 0.0)
        edges = both * wins * (1 - wins) * theory.pair_weight(generator, margin, power)
        return np.asarray(np.linalg.pinv(np.diag(edges.sum(1)) - edges, rcond=1e-12, hermitian=True), float)

    return wrong


DEFECTS = (
    Defect(
        "beta 10 % too large",
        bpo,
        argument("beta", lambda b: 1.1 * b),
        where(part={"samples", "minimisers", "cycles"}),
    ),
    Defect("the loss 10 % too large", bpo, result(lambda loss: 1.1 * loss), where(part="loss")),
    Defect(
        "DPO, whatever is asked for",
        bpo,
        argument("generator", lambda _: "logistic"),
        where(part={"samples", "cycles"}),
    ),
    Defect(
        "KLIEP for the scaled Basu power divergence",
        bpo,
        argument("generator", lambda g: "kliep" if g == "sba" else g),
        where(part="loss"),
    ),
    Defect(
        "the inverse of the Hessian for the sandwich",
        theory.bregman_covariance,
        _without_sandwich,
        where(part="minimisers"),
    ),
    Defect(
        "the predicted constant 10 % too small",
        theory.kl_constant,
        result(lambda c: 0.9 * c),
        no_cell,
    ),
)
