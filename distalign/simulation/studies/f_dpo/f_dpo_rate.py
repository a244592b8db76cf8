"""f-DPO on n pairs misses the optimum by a total variation of order n^{-1/2} and a D_f of order n^{-1}.

This is ours; the paper has no such statement. The instance has six responses with Bradley-Terry rewards in
[-1, 1]. On a sample f-DPO is the regularised optimum of the Bradley-Terry fit (the claim f_dpo_erm), so all
replicates of a size are solved at once by `distalign.solvers`, and on a few of them the gradient of
`distalign.objectives.f_dpo` is checked to vanish. What they miss is the minimiser of `f_dpo` on the exact law
of answers, so that a wrong strength in the solver or in the loss leaves a distance that does not fall.

Exponents and constants are those of the delta method (`distalign.theory.f_dpo.asymptotics`). It speaks of n
where pi is nearly linear in the error of the rewards. That n is computed from theory alone for each
divergence; sizes below it are drawn but not fitted. For the Jensen-Shannon divergence at small beta it is
large: its link is bounded above, so its optimum nearly jumps between the two best responses. A slope read
off the usual sizes is then neither -1/2 nor an exponent.

The checks ask that total variation and divergence, in units of their limits and averaged over settings,
have the exponents -1/2 and -1; that the total variation is its limit within four standard errors, in every
setting; that the gradient of the torch objective vanishes at the estimates; and
that the Jensen-Shannon divergence at beta = 0.5 is 15 % and more below its limit at the smallest size.

The planted defects: beta 10 % too large in the loss, or in the solver; and the constant of the total
variation 15 % too small, which is about twice the tolerance of the smallest preset.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.divergences import divergence
from distalign.objectives import f_dpo
from distalign.policies import Tabular, score
from distalign.populations import Law, Population, win_matrix
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.fit import fit
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.verdict import Check, growth, identity, rate, separation
from distalign.solvers.bradley_terry import bradley_terry_rewards
from distalign.solvers.kkt import regularised_policy
from distalign.theory.density_ratio.asymptotics import total_variation_constant, total_variation_deviation
from distalign.theory.f_dpo import asymptotics as theory

SETTINGS = {
    f"{name}, beta {beta:g}": (name, beta)
    for name, beta in (
        ("reverse_kl", 0.5),
        ("forward_kl", 0.5),
        ("alpha:0.3", 0.5),
        ("jensen_shannon", 0.5),
        ("jensen_shannon", 1.0),
        ("jensen_shannon", 2.0),
    )
}
HARD_CASE = "jensen_shannon, beta 0.5"
# This instance's two best rewards are nearly tied (0.905 and 0.898): the hard case.
INSTANCE, RESPONSES, CERTIFIED = 1, 6, 3
# Standard deviation of a log-probability at which the delta method starts to speak, and what it leaves out of
# the mean total variation there.
LINEAR_DEVIATION, LEFT_OUT = 1 / 16, 0.005
BELOW = 0.15  # of its limit is what the hard case lacks at the smallest size
DEFECTS = (
    Defect("beta 10 % too large in the loss", f_dpo, argument("beta", lambda b: 1.1 * b)),
    Defect("beta 10 % too large in the solver", regularised_policy, argument("beta", lambda b: 1.1 * b)),
    Defect(
        "the constant of the total variation 15 % too small",
        total_variation_constant,
        result(lambda constant: 0.85 * constant),
        no_cell,
    ),
)


def cells(sizes: list[int], replicates: int) -> list[dict[str, Any]]:
    """One cell per number of pairs; all divergences see the same data."""
    return [{"size": n, "replicates": replicates} for n in sizes]


@cache
def population() -> tuple[Population, np.ndarray]:
    """The instance and its rewards."""
    rng = np.random.default_rng(INSTANCE)
    reward = rng.uniform(-1, 1, RESPONSES)
    ref = 0.8 * rng.dirichlet(np.full(RESPONSES, 2.0)) + 0.2 / RESPONSES
    return Population(win_matrix(reward[None], [1.0], 1.0), ref), reward


@dataclass(frozen=True)
class Prediction:
    """What theory says of one setting.

    Attributes:
        total_variation: limit of sqrt(n) E TV.
        deviation: limit of sqrt(n) times the standard deviation of TV.
        divergence: limit of n E D_f.
        least: the n from which these limits speak.
    """

    total_variation: float
    deviation: float
    divergence: float
    least: float


@cache
def optimum(name: str, beta: float) -> np.ndarray:
    """The minimiser (K,) of f-DPO on the exact law of answers."""
    truth, _ = population()
    loss = partial(f_dpo, beta=beta, divergence=name)
    minimiser = fit(Tabular(truth.reference[0]), loss, truth.pairs(distinct=True), tolerance=1e-13)
    return minimiser.probs[0]


@cache
def prediction(setting: str) -> Prediction:
    """The limits of a setting, by the delta method around the optimum."""
    name, beta = SETTINGS[setting]
    truth, _ = population()
    f, policy = divergence(name), optimum(name, beta)
    rewards = theory.reward_covariance(truth.pairs().weights.reshape(RESPONSES, RESPONSES))
    weight = np.broadcast_to(f.weight(np.log(policy / truth.reference[0])), RESPONSES)
    covariance = theory.policy_covariance(policy, weight, beta, rewards)
    return Prediction(
        total_variation_constant(covariance),
        total_variation_deviation(covariance),
        theory.divergence_constant(covariance, policy, f.curvature),
        theory.linear_regime(covariance, policy, LINEAR_DEVIATION),
    )


def run(rng: np.random.Generator, *, size: int, replicates: int) -> dict[str, Any]:
    """Both errors of every setting on each replicate; NaN where no minimiser exists."""
    truth, _ = population()
    sample = truth.sample_pairs(size, rng, replicates=replicates)
    rewards = bradley_terry_rewards(sample.weights.reshape(-1, RESPONSES, RESPONSES))
    frames = []
    for setting, (name, beta) in SETTINGS.items():
        target = optimum(name, beta)
        policy = regularised_policy(rewards.reward, truth.reference[0], beta, name).policy
        total_variation = 0.5 * np.abs(policy - target).sum(1)
        mean_divergence = (target * divergence(name).f(policy / target)).sum(1)
        frames.append(
            pd.DataFrame(
                {
                    "setting": setting,
                    "replicate": np.arange(replicates),
                    "total_variation": np.where(rewards.solved, total_variation, np.nan),
                    "divergence": np.where(rewards.solved, mean_divergence, np.nan),
                    "gradient": _gradients(
                        partial(f_dpo, beta=beta, divergence=name), policy, rewards.solved, sample
                    ),
                }
            )
        )
    return dict(pd.concat(frames, ignore_index=True))


def _with_limits(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the limits of their setting at their size."""
    of_rows = pd.DataFrame([vars(prediction(s)) for s in SETTINGS], list(SETTINGS)).loc[rows.setting]
    least, size = of_rows.least.to_numpy(), rows["size"].to_numpy()
    return rows.assign(
        least=least,
        fitted=size >= least,
        tv_limit=of_rows.total_variation.to_numpy() / np.sqrt(size),
        df_limit=of_rows.divergence.to_numpy() / size,
    )


def _gradients(loss: Any, policy: np.ndarray, solved: np.ndarray, sample: Law) -> np.ndarray:
    """Largest entry of the torch objective's gradient at the first few estimates; NaN elsewhere."""
    largest_entries, ref = np.full(len(policy), np.nan), population()[0].reference[0]
    for i in np.flatnonzero(solved)[:CERTIFIED]:
        theta = torch.from_numpy(np.log(policy[i] / ref)).requires_grad_()
        one = sample.replicate(i)
        batch = score(
            Tabular(ref), theta, *(torch.from_numpy(x) for x in (one.chosen, one.rejected, one.weights))
        )
        largest_entries[i] = float(torch.autograd.grad(loss(batch), theta)[0].abs().max())
    return largest_entries


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean errors with intervals by setting and size, and their limits. Also each setting's own slopes
    over the sizes fitted.
    """
    rows = _with_limits(rows)
    by = ["setting", "size"]
    summary = summarise(rows, by, "total_variation").merge(
        summarise(rows, by, "divergence")[[*by, "mean", "low", "high"]], on=by, suffixes=("", "_df")
    )
    summary = summary.merge(
        rows.groupby(by, as_index=False)[["fitted", "least", "tv_limit", "df_limit"]].first(), on=by
    )
    slopes = {s: _slopes(pd.DataFrame(group)) for s, group in rows[rows.fitted].groupby("setting")}
    names = [f"{error}_slope{end}" for error in ("tv", "df") for end in ("", "_low", "_high")]
    return summary.join(summary.setting.map(slopes).apply(lambda x: pd.Series(x, names)))


def _slopes(rows: pd.DataFrame) -> list[float]:
    """Slope with its interval of the total variation, then of the divergence."""
    slopes = [
        log_slope(rows["size"].to_numpy(float), rows[e].to_numpy(float))
        for e in ("total_variation", "divergence")
    ]
    return [x for s in slopes for x in (s.estimate, s.low, s.high)]


def checks(rows: pd.DataFrame) -> list[Check]:
    """Exponents, constants, and where the limit does not hold yet.

    Exponents are of errors in units of their limit, averaged over settings.
    """
    rows = _with_limits(rows)
    relative = rows.assign(tv=rows.total_variation / rows.tv_limit, df=rows.divergence / rows.df_limit)
    averaged = (
        relative[relative.fitted]
        .groupby(["size", "replicate"], as_index=False)
        .agg(tv=("tv", "mean"), df=("df", "mean"))
    )
    tv, df = (
        averaged.assign(error=averaged[e] * averaged["size"] ** x) for e, x in (("tv", -0.5), ("df", -1.0))
    )
    smallest = relative[relative["size"] == rows["size"].min()]
    return [
        rate("total variation to the optimum", tv, matches=theory.PARAMETRIC_EXPONENT, margin=0.03),
        rate("divergence to the optimum", df, matches=theory.DIVERGENCE_EXPONENT, margin=0.06),
        *(
            _constant(s, of_setting.tv)  # pyright: ignore[reportArgumentType]
            for s, of_setting in relative[relative.fitted].groupby("setting", sort=False)
        ),
        identity("gradient of the torch objective at the estimates", rows.gradient.dropna(), 1e-9),
        separation(
            f"{HARD_CASE}: 15 % and more below its limit at the smallest n",
            1 - BELOW - smallest.tv[smallest.setting == HARD_CASE],
        ),
    ]


def _constant(setting: str, ratio: pd.Series) -> Check:
    """The mean ratio over the sizes fitted is 1, up to four standard errors, as theory has them, and what the
    delta method leaves out.
    """
    limits = prediction(setting)
    tolerance = 4 * limits.deviation / limits.total_variation / np.sqrt(len(ratio)) + LEFT_OUT
    return growth(f"{setting}: total variation = its limit", [ratio.mean()], [1.0], tolerance)
