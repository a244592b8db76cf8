"""Whatever connected pairs people are shown, f-DPO on Bradley-Terry answers ends at the optimum.

This is the paper's Theorem 1 read as a statement on training; that neighbours alone suffice is ours. The
loss

    E softplus(-beta [f'(u_w) - f'(u_l)])    (1)

on the exact law of answers is a proper scoring rule of each pair's probability, so it is least where beta
[f'(u_i) - f'(u_j)] = r_i - r_j for every pair that is shown. If those pairs connect the responses of a
prompt, that says beta f'(pi/ref) = r + const, which is the stationarity condition of the f-regularised
problem E r - beta D_f.

Each problem runs under four samplings: pairs from the reference, pairs from another product law, pairs from
a table of frequencies that no product gives, and pairs from a chain, where only neighbours ever meet. One
road is the fit of `distalign.objectives.f_dpo`, which sees answers only. The other is
`distalign.solvers.kkt`, which sees the reward only (the claim f_dpo_kkt holds it to a conic program).

The checks ask that the minimiser is the optimum under each sampling, and that every fit has its certificate.

The planted defects: beta 10 % too large in the loss, answers 5 % noisier than the rewards say, and a link
computed in single precision, with which no fit reaches its certificate.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.divergences import Divergence
from distalign.objectives import f_dpo
from distalign.policies import Tabular
from distalign.populations import Law, win_matrix
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.fit import fit
from distalign.simulation.verdict import Check, identity
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
SAMPLINGS = {
    "reference": "pairs from the reference",
    "product": "pairs from another law",
    "table": "correlated pairs",
    "chain": "neighbours only",
}
PROMPTS, RESPONSES = 2, 5


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
        "answers 5 % noisier than the rewards say",
        win_matrix,
        argument("bt_temperature", lambda t: 1.05 * t),
        where(divergence="jeffreys"),
    ),
    Defect(
        "the link in single precision",
        Divergence.continued_link,
        result(lambda link: link.float().double()),
        where(divergence="alpha:0.7"),
    ),
)


def cells(betas: list[float], problems: int) -> list[dict[str, Any]]:
    """One cell per divergence and strength."""
    return [{"divergence": f, "beta": beta, "problems": problems} for f in DIVERGENCES for beta in betas]


def run(rng: np.random.Generator, *, divergence: str, beta: float, problems: int) -> dict[str, Any]:
    """Largest deviation of each problem's fitted policy from the optimum, under each sampling."""
    ref = 0.8 * rng.dirichlet(np.ones(RESPONSES), PROMPTS) + 0.2 / RESPONSES
    reward = rng.normal(size=(problems, PROMPTS, RESPONSES))
    frequencies = np.concatenate([_frequencies(rng, s, ref, problems) for s in SAMPLINGS])
    win = np.tile(np.stack([win_matrix(r[None], [1.0], 1.0) for r in reward]), (len(SAMPLINGS), 1, 1, 1))
    fitted = fit(
        Tabular(ref),
        partial(f_dpo, beta=beta, divergence=divergence),
        _law(frequencies * win),
        tolerance=1e-12,
    )
    optimum = np.tile(regularised_policy(reward, ref, beta, divergence).policy, (len(SAMPLINGS), 1, 1))
    return {
        "sampling": np.repeat(list(SAMPLINGS), problems),
        "problem": np.tile(np.arange(problems), len(SAMPLINGS)),
        "deviation": np.where(fitted.converged, np.abs(fitted.probs - optimum).max((1, 2)), np.nan),
        "unconverged": ~fitted.converged,
    }


def _frequencies(rng: np.random.Generator, sampling: str, ref: np.ndarray, problems: int) -> np.ndarray:
    """(problems, S, K, K) how often each pair of different responses is shown.

    The table is symmetric, and prompts are weighted at random.
    """
    shape = (problems, PROMPTS, RESPONSES, RESPONSES)
    shown = rng.gamma(1.0, size=shape) + 0.05
    if sampling != "table":
        law = ref if sampling == "reference" else rng.dirichlet(np.full(RESPONSES, 2.0), (problems, PROMPTS))
        prompt = rng.gamma(1.0, size=(problems, PROMPTS, 1, 1))
        shown = np.broadcast_to(law[..., :, None] * law[..., None, :] + 1e-3, shape) * prompt
    pairs = 1 - np.eye(RESPONSES)
    if sampling == "chain":
        pairs = np.eye(RESPONSES, k=1) + np.eye(RESPONSES, k=-1)
    shown = (shown + shown.swapaxes(-1, -2)) * pairs
    return shown / shown.sum((1, 2, 3), keepdims=True)


def _law(joint: np.ndarray) -> Law:
    """A table (R, S, K, K) of (winner, loser) as the law of pairs."""
    prompt, i, j = (index.ravel() for index in np.indices(joint.shape[1:]))
    return Law(prompt * RESPONSES + i, prompt * RESPONSES + j, joint.reshape(len(joint), -1))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviation per divergence, strength and sampling."""
    grouped = rows.groupby(["divergence", "beta", "sampling"], sort=False, as_index=False)
    return grouped.agg(
        problems=("problem", "size"),
        largest_deviation=("deviation", "max"),
        unconverged=("unconverged", "sum"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Equality under every sampling, and certificates."""
    return [
        *(
            identity(f"{shown}: minimiser = optimum", rows.deviation[rows.sampling == s], TOLERANCE)
            for s, shown in SAMPLINGS.items()
        ),
        identity("fits without a certificate", rows.unconverged, 0),
    ]
