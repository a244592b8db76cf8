"""n comparisons cost DPO in proportion to coverage; chi-PO's cost has a bound that does not know coverage.

The claim. Regularised policies from n comparisons lose regularised reward of order 1/n. For divergences with
strongly convex f no condition of coverage is needed, for reverse KL the coverage of the optimum is a factor
(Zhao et al., arXiv 2502.06051, abstract; for bandits with estimated rewards); chi-PO (Huang et al., arXiv
2407.13399, abstract) is regularised by such an f, chi-square plus KL, and DPO by reverse KL. The theorems of
either were not read. The exact constants and both bounds are ours, for all policies over K responses and to
first order (`distalign.theory.f_dpo.coverage`); regret without the regulariser, of which the abstract of
chi-PO speaks, is not tested, nor is pessimism.

The run. A reference that draws the best response once in C times, with a reward at which DPO's optimum gives
it a constant share. Both optima are fitted by the objectives on the exact law of answers. On n sampled pairs
both methods apply their link to one Bradley-Terry fit, so all replicates are solved at once by
`distalign.solvers`, and on a few of them the gradient of either objective is checked to vanish. The n is what
theory asks for: log-probabilities of DPO then err by 1/40. And random references, rewards and strengths, for
the bounds.

The checks, fixed beforehand. Growth: n times the mean loss is its constant at every C, to 4.5 standard errors
of the mean of a squared normal variable: 1.9 % at full size. Bounds: chi-PO's constant is at most (2) and
DPO's at least (3), in all random instances; DPO's measured loss is above (2) from C = 256 on. An identity:
the gradients.

The planted defects: beta 5 % too large in either loss; chi-PO with DPO's link; the solver's beta 5 % too
large; the limit (2) without its factor K - 1; and the floor (3) twice too high.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.divergences import CHI2_PLUS_KL, REVERSE_KL, divergence
from distalign.objectives import chi_po, dpo
from distalign.objectives.dpo import pair_mean
from distalign.policies import Tabular, score
from distalign.populations import Law, Population, win_matrix
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.bradley_terry import bradley_terry_rewards
from distalign.solvers.kkt import regularised_policy
from distalign.theory.f_dpo import coverage as theory
from distalign.theory.f_dpo.asymptotics import linear_regime, policy_covariance, reward_covariance

BETA, CLIP = 0.2, 100.0  # no difference of rewards comes near the clip
DEVIATION, CERTIFIED, LARGE = 1 / 40, 3, 256.0
METHODS = {"DPO": REVERSE_KL.name, "chi-PO": CHI2_PLUS_KL.name}
CONVEXITY = 1.0  # infimum of f'' = 1 + 1/u of chi-square plus KL


def _with_log_link(right: Any) -> Any:
    """chi-PO by a developer who kept DPO's link."""

    def wrong(batch: Any, *, beta: float, clip: float) -> Any:
        t = beta * (batch.chosen_ratio - batch.rejected_ratio)
        return pair_mean(batch, -torch.nn.functional.logsigmoid(t))

    return wrong


SAMPLED = where(part="sample")
DEFECTS = (
    Defect("chi-PO's beta 5 % too large", chi_po, argument("beta", lambda b: 1.05 * b), SAMPLED),
    Defect("chi-PO with DPO's link", chi_po, _with_log_link, SAMPLED),
    Defect("DPO's beta 5 % too large", dpo, argument("beta", lambda b: 1.05 * b), SAMPLED),
    Defect(
        "the solver's beta 5 % too large", regularised_policy, argument("beta", lambda b: 1.05 * b), SAMPLED
    ),
    Defect(
        "the limit without its factor K - 1",
        theory.regret_limit,
        argument("reward", lambda r: [np.max(r), np.min(r)]),
        where(part="random"),
    ),
    Defect(
        "the floor of DPO twice too high", theory.regret_floor, result(lambda x: 2 * x), where(part="random")
    ),
)


def cells(coverages: list[float], replicates: int, instances: int) -> list[dict[str, Any]]:
    """One cell per coverage C, and one of random instances."""
    return [
        *({"part": "sample", "coverage": c, "replicates": replicates} for c in coverages),
        {"part": "random", "replicates": instances},
    ]


def run(rng: np.random.Generator, *, part: str, replicates: int, coverage: float = 1.0) -> dict[str, Any]:
    """Losses of both methods on samples, or constants and bounds of random instances."""
    if part == "random":
        rows = [_random(rng) for _ in range(replicates)]
        return {name: [row[name] for row in rows] for name in rows[0]}
    truth, reward = _population(coverage)
    size = _size(coverage)
    sample = truth.sample_pairs(size, rng, replicates=replicates)
    rewards = bradley_terry_rewards(sample.weights.reshape(-1, len(reward), len(reward)))
    frames = []
    for method, name in METHODS.items():
        optimum = _optimum(method, coverage)
        policy = regularised_policy(rewards.reward, truth.reference[0], BETA, name).policy
        lost = _regularised(optimum, truth, reward, name) - _regularised(policy, truth, reward, name)
        frames.append(
            pd.DataFrame(
                {
                    "method": method,
                    "lost": np.where(rewards.solved, size * lost, np.nan),
                    "predicted": _first_order(truth, reward, BETA, name)[0],
                    "limit": theory.regret_limit(reward, BETA, CONVEXITY),
                    "gradient": _gradients(method, policy, truth.reference[0], sample),
                }
            )
        )
    return dict(pd.concat(frames, ignore_index=True))


@cache
def _population(coverage: float) -> tuple[Population, np.ndarray]:
    """A response of mass 1/C and reward beta log C, and two common ones."""
    rare = 1 / coverage
    reference = np.array([rare, (1 - rare) / 2, (1 - rare) / 2])
    reward = np.array([BETA * np.log(coverage), 0.0, -0.3])
    return Population(win_matrix(reward[None], [1.0], 1.0), reference), reward


def _loss(method: str) -> Any:
    return partial(dpo, beta=BETA) if method == "DPO" else partial(chi_po, beta=BETA, clip=CLIP)


@cache
def _optimum(method: str, coverage: float) -> np.ndarray:
    """The minimiser (K,) of the objective on the exact law of answers; NaN where it is not certified."""
    truth, _ = _population(coverage)
    found = fit(Tabular(truth.reference[0]), _loss(method), truth.pairs(distinct=True), tolerance=1e-12)
    return found.probs[0] if found.converged.all() else np.full(truth.reference.shape[1], np.nan)


def _first_order(
    truth: Population, reward: np.ndarray, beta: float, name: str
) -> tuple[float, np.ndarray, np.ndarray]:
    """The constant of a method, its optimum, and the covariance of its policy."""
    reference, f = truth.reference[0], divergence(name)
    policy = regularised_policy(reward, reference, beta, f).policy
    rewards = reward_covariance(truth.pairs().weights.reshape(len(reward), -1))
    weight = np.broadcast_to(f.weight(np.log(policy / reference)), policy.shape)
    constant = theory.regret_constant(policy, weight, beta, rewards)
    return constant, policy, policy_covariance(policy, weight, beta, rewards)


def _size(coverage: float) -> int:
    """The number of pairs at which DPO's log-probabilities err by `DEVIATION`."""
    _, policy, covariance = _first_order(*_population(coverage), BETA, METHODS["DPO"])
    return int(linear_regime(covariance, policy, DEVIATION))


def _regularised(policy: np.ndarray, truth: Population, reward: np.ndarray, name: str) -> np.ndarray:
    """E r - beta D_f of policies (..., K)."""
    reference = truth.reference[0]
    return policy @ reward - BETA * (reference * divergence(name).f(policy / reference)).sum(-1)


def _gradients(method: str, policies: np.ndarray, reference: np.ndarray, sample: Law) -> np.ndarray:
    """Largest entry of the objective's gradient at the first few policies; NaN for the others."""
    out = np.full(len(policies), np.nan)
    for i in range(min(CERTIFIED, len(policies))):
        theta = torch.from_numpy(np.log(policies[i] / reference)).requires_grad_()
        one = sample.replicate(i)
        atoms = (torch.from_numpy(x) for x in (one.chosen, one.rejected, one.weights))
        loss = _loss(method)(score(Tabular(reference), theta, *atoms))
        out[i] = float(torch.autograd.grad(loss, theta)[0].abs().max())
    return out


def _random(rng: np.random.Generator) -> dict[str, float]:
    """Constants and bounds of a random instance: three to six responses, some of them hardly ever drawn."""
    size = int(rng.integers(3, 7))
    reference = 1e-6 + rng.dirichlet(np.full(size, 0.3))
    reference /= reference.sum()
    beta = float(np.exp(rng.uniform(np.log(0.1), np.log(2))))
    reward = rng.uniform(0, rng.choice([0.5, 1.0, 2.0]), size)
    truth = Population(win_matrix(reward[None], [1.0], 1.0), reference)
    ours, of_dpo = (_first_order(truth, reward, beta, METHODS[m]) for m in ("chi-PO", "DPO"))
    return {
        "constant": ours[0],
        "limit": theory.regret_limit(reward, beta, CONVEXITY),
        "dpo": of_dpo[0],
        "floor": theory.regret_floor(of_dpo[1], reference, beta),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """n times the mean loss by method and coverage with its interval, its constant, and chi-PO's limit."""
    sampled = rows[rows.part == "sample"]
    return summarise(sampled, ["method", "coverage"], "lost").merge(  # pyright: ignore[reportArgumentType]
        sampled.groupby(["method", "coverage"], as_index=False)[["predicted", "limit"]].first(),
        on=["method", "coverage"],
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Constants of both methods, bounds with and without coverage, and the gradients."""
    sampled, random = rows[rows.part == "sample"], rows[rows.part == "random"]
    means = sampled.groupby(["method", "coverage"])[["lost", "predicted", "limit"]].agg(
        {"lost": lambda x: x.mean(skipna=False), "predicted": "first", "limit": "first"}
    )
    ours, of_dpo = means.loc["chi-PO"], means.loc["DPO"]
    # A squared normal variable has a standard deviation of sqrt(2) means.
    tolerance = 4.5 * np.sqrt(2 * len(means) / len(sampled))
    rare = of_dpo[of_dpo.index >= LARGE]
    return [
        growth("chi-PO: n times the mean loss = its constant", ours.lost, ours.predicted, tolerance),
        growth("DPO: n times the mean loss = its constant", of_dpo.lost, of_dpo.predicted, tolerance),
        bound("chi-PO's constant <= (K - 1)/(4 beta sigma'(R)), no coverage", random.constant, random.limit),
        bound("DPO's constant >= pi (1 - pi)/(beta ref (1 - ref))", random.floor, random.dpo),
        bound("from C = 256 on DPO loses more than chi-PO's limit", rare.limit, rare.lost, slack=0.0),
        identity("gradients of both objectives at the estimates", sampled.gradient.dropna(), 1e-9),
    ]
