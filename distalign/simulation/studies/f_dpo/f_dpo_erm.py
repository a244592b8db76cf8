"""On any finite sample f-DPO is two steps in one: a Bradley-Terry fit, then the optimum of its reward.

For every f with f'(0+) = -inf and h the maximum-likelihood reward the claim (ours, no statement of the
paper) is

    argmin_pi (1/n) sum_i softplus(-beta [f'(u_w) - f'(u_l)]) = argmax_p h.p - beta D_f(p || ref),    (1)

because every reward is beta f'(pi/ref) + const for exactly one pi. So f chooses how a reward is spent, not
what is learnt. There is one minimiser exactly where there is one fit: where every response is reached from
every other along wins (Ford's condition, 1957). Elsewhere the loss falls towards infinity, or is flat where
responses never met.

One road is `distalign.objectives.f_dpo` minimised on the counts. The other is
`distalign.solvers.bradley_terry` followed by `distalign.solvers.kkt`, which never see a policy's gradient.

The checks ask that both sides of (1) agree on every sample that has a fit; that the two roads agree on
which samples have none; and, so that this is not empty, that some samples have no fit.

The planted defects: beta 10 % too large in the loss, and half a win added to every pair before the fit, the
usual smoothing, with which every sample has one.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import f_dpo
from distalign.policies import Tabular
from distalign.populations import Population, win_matrix
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.fit import fit
from distalign.simulation.verdict import Check, differs, identity
from distalign.solvers.bradley_terry import bradley_terry_rewards
from distalign.solvers.kkt import regularised_policy

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
# A loss that determines its minimiser has a curvature far above this; one below it has a flat or a falling
# direction.
FLAT = 1e-8
# The largest next Newton step with which a fit of gradient tolerance 1e-12 may be certified.
TOLERANCE = 1e-6
DEFECTS = (
    Defect(
        "beta 10 % too large in the loss",
        f_dpo,
        argument("beta", lambda b: 1.1 * b),
        where(divergence="alpha:0.3"),
    ),
    Defect(
        "half a win added to every pair",
        bradley_terry_rewards,
        argument("wins", lambda wins: wins + 0.5),
    ),
)


def cells(sizes: list[int], betas: list[float], replicates: int) -> list[dict[str, Any]]:
    """One cell per divergence, strength and number of pairs.

    Small numbers leave some samples without a fit.
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
) -> dict[str, Any]:
    """Deviation of the two roads on each sample with a fit, and whether they agree on which have none."""
    ref = 0.8 * rng.dirichlet(np.ones(RESPONSES)) + 0.2 / RESPONSES
    population = Population(win_matrix(rng.normal(size=(1, RESPONSES)), [1.0], 1.0), ref)
    sample = population.sample_pairs(size, rng, replicates=replicates)
    minimiser = fit(
        Tabular(ref),
        partial(f_dpo, beta=beta, divergence=divergence),
        sample,
        tolerance=1e-12,
        max_iterations=50,
    )
    wins = sample.weights.reshape(replicates, RESPONSES, RESPONSES)
    rewards = bradley_terry_rewards(wins)
    exists = rewards.solved
    fit_then_optimum = regularised_policy(rewards.reward, ref, beta, divergence).policy
    population_optimum = regularised_policy(
        np.log(population.win[0, :, 0] / population.win[0, 0]), ref, beta, divergence
    ).policy
    has_one_minimiser = minimiser.converged & (minimiser.curvature > FLAT)
    return {
        "replicate": np.arange(replicates),
        "exists": exists,
        "disagree": has_one_minimiser != exists,
        "deviation": np.where(exists, np.abs(minimiser.probs[:, 0] - fit_then_optimum).max(1), np.nan),
        "error": np.where(exists, np.abs(fit_then_optimum - population_optimum).max(1), np.nan),
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviation per divergence, strength and size. Beside it stands the sampling error that both
    roads share.
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
    """Equality where the fit exists, and agreement on where it does."""
    fitted = rows[rows.exists.astype(bool)]
    return [
        identity("f-DPO on a sample = optimum of the Bradley-Terry fit", fitted.deviation, TOLERANCE),
        identity("one minimiser exactly where the comparison graph is strongly connected", rows.disagree, 0),
        differs("some samples have none", ~rows.exists.astype(bool), 1),
    ]
