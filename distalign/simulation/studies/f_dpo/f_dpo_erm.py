r"""On any finite sample, f-DPO is two steps in one: a Bradley-Terry fit, then the f-regularised optimum of
the fitted reward.

    argmin_pi (1/n) sum_i softplus(-beta [f'(u_w) - f'(u_l)]) = argmax_p h.p - beta D_f(p || ref)

with h the maximum-likelihood reward, for every f with f'(0+) = -inf, as every reward is beta f'(pi/ref) +
const for exactly one pi. So f chooses how a reward is spent, not what is learnt; and there is one minimiser
exactly where there is one fit: every response reached from every other along wins (Ford's condition).
Elsewhere the loss falls towards infinity, or is flat where responses never met. One road is
`distalign.objectives.f_dpo` on the counts, the other `distalign.solvers.bradley_terry` followed by
`distalign.solvers.kkt`, which never see a policy's gradient.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from distalign.objectives import f_dpo
from distalign.policies import Tabular
from distalign.populations import Population, win_matrix
from distalign.simulation.fit import fit
from distalign.simulation.verdict import Check, differs, identity
from distalign.solvers.bradley_terry import bradley_terry_rewards
from distalign.solvers.kkt import regularised_policy

DEFECT = "the logit of each response's share of wins in place of the maximum-likelihood reward"
DIVERGENCES = (
    "reverse_kl",
    "forward_kl",
    "alpha:0.3",
    "alpha:0.7",
    "jensen_shannon",
    "squared_hellinger",
    "jeffreys",
    "chi2_plus_kl",
)
RESPONSES = 5
# curvature of a loss that determines its minimiser lies far above; below it there is a flat or a falling
# direction
FLAT = 1e-8
TOLERANCE = 1e-6  # the largest next Newton step that a fit of gradient tolerance 1e-12 may be certified with


def cells(sizes: list[int], betas: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per divergence, strength and number of pairs; small numbers leave some samples without a
    fit.
    """
    return [
        {"divergence": f, "beta": beta, "size": n, "replicates": replicates}
        for f in DIVERGENCES
        for beta in betas
        for n in sizes
    ]


def run(
    rng: np.random.Generator,
    *,
    divergence: str,
    beta: float,
    size: int,
    replicates: int,
    defect: bool = False,
) -> dict[str, Any]:
    """Deviation of the two roads on each sample that has a fit, and whether they agree on which have none."""
    ref = 0.8 * rng.dirichlet(np.ones(RESPONSES)) + 0.2 / RESPONSES
    population = Population(win_matrix(rng.normal(size=(1, RESPONSES)), [1.0], 1.0), ref)
    sample = population.sample_pairs(size, rng, replicates=replicates)
    erm = fit(
        Tabular(ref),
        partial(f_dpo, beta=beta, divergence=divergence),
        sample,
        tolerance=1e-12,
        max_iterations=50,
    )
    wins = sample.weights.reshape(replicates, RESPONSES, RESPONSES)
    rewards = bradley_terry_rewards(wins)
    exists = rewards.solved
    two_steps = regularised_policy(_share(wins) if defect else rewards.reward, ref, beta, divergence).policy
    truth = regularised_policy(
        np.log(population.win[0, :, 0] / population.win[0, 0]), ref, beta, divergence
    ).policy
    determined = erm.converged & (erm.curvature > FLAT)
    return {
        "replicate": np.arange(replicates),
        "exists": exists,
        "disagree": determined != exists,
        "deviation": np.where(exists, np.abs(erm.probs[:, 0] - two_steps).max(1), np.nan),
        "error": np.where(exists, np.abs(two_steps - truth).max(1), np.nan),
    }


def _share(wins: np.ndarray) -> np.ndarray:
    """(R, K) log-odds of each response's share of wins, with half a comparison added to either side."""
    won, lost = wins.sum(2), wins.sum(1)
    return logit((won + 0.5) / (won + lost + 1))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviation per divergence, strength and size, beside the sampling error that both roads
    share.
    """
    grouped = rows.groupby(["divergence", "beta", "size"], sort=False, as_index=False)
    return grouped.agg(
        samples=("replicate", "size"),
        with_a_fit=("exists", "sum"),
        disagree=("disagree", "sum"),
        largest_deviation=("deviation", "max"),
        mean_sampling_error=("error", "mean"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Equality where the fit exists, agreement on where it does, and samples far from the population."""
    fitted = rows[rows.exists.astype(bool)]
    return [
        identity("f-DPO on a sample = optimum of the Bradley-Terry fit", fitted.deviation, TOLERANCE),
        identity("one minimiser exactly where the comparison graph is strongly connected", rows.disagree, 0),
        differs("samples differ from the population", fitted.error, 0.05),
        differs("some samples have none", ~rows.exists.astype(bool), 1),
    ]
