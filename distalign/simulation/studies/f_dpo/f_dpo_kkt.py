"""f-DPO's population minimiser is the f-regularised optimum, and the reward can be read off it.

That the stationarity conditions give the reward as beta f'(pi/pi_ref) up to a constant, if f' tends to
minus infinity at 0, is the paper's Theorem 1. The three roads to the optimum, and the exact place where
chi-squared and total variation drop responses, are ours.

For random rewards and references three roads lead to one policy: the conic program (cvxpy); the
stationarity conditions (`distalign.solvers.kkt`); and a fit of `distalign.objectives.f_dpo` to the exact
law of Bradley-Terry comparisons, which never sees the reward. Pearson's chi-squared and total variation are
not admissible: their optima drop responses, exactly where the closed forms say, and the reward of a dropped
response is lost.

The checks ask that the stationarity solver agrees with the conic program (for total variation the closed
form does); that beta f'(pi/ref) - r is constant over the responses and the fit ends at the optimum for the
eight admissible divergences; that responses are dropped exactly where predicted; and that the other two do
lose some.

The planted defect reads the reward and fits the policy by the link of another divergence: the reverse KL's,
that is DPO's (and the forward KL's for the reverse KL). The solver still has the divergence asked for, so
the constancy of the reward and the agreement of the fit must fail.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.divergences import divergence
from distalign.objectives import f_dpo
from distalign.oracles.regularised import regularised_optimum
from distalign.policies import Tabular
from distalign.populations import Population, win_matrix
from distalign.simulation.fit import fit
from distalign.simulation.verdict import Check, differs, identity
from distalign.solvers.kkt import regularised_policy
from distalign.theory.f_dpo.closed_forms import chi2_threshold, total_variation_optimum

DEFECT = (
    "the link of another divergence: the reverse KL's, that is DPO's (the forward KL's for the reverse KL)"
)
ADMISSIBLE = (
    "reverse_kl",
    "forward_kl",
    "alpha:0.3",
    "alpha:0.7",
    "jensen_shannon",
    "squared_hellinger",
    "jeffreys",
    "chi2_plus_kl",
)
RESPONSES = 8
ABSENT = 1e-9


def cells(betas: list[float], problems: int) -> list[dict[str, Any]]:
    """One cell per divergence and strength."""
    return [
        {"divergence": f, "beta": beta, "problems": problems}
        for f in (*ADMISSIBLE, "chi2", "total_variation")
        for beta in betas
    ]


def run(
    rng: np.random.Generator, *, divergence: str, beta: float, problems: int, defect: bool = False
) -> dict[str, Any]:
    """Deviations between the roads on each random problem."""
    reward = rng.normal(size=(problems, RESPONSES))
    ref = 0.9 * rng.dirichlet(np.ones(RESPONSES), problems) + 0.1 / RESPONSES
    oracle = np.stack([regularised_optimum(r, q, beta, divergence) for r, q in zip(reward, ref, strict=True)])
    columns: dict[str, Any] = {
        "problem": np.arange(problems),
        "dropped": (oracle < ABSENT).sum(1),
        "unconverged": np.zeros(problems, int),
    }
    if divergence == "total_variation":
        closed = total_variation_optimum(reward, ref, beta)
        return {
            **columns,
            "solver_deviation": _gap(closed, oracle),
            "predicted_dropped": (closed == 0).sum(1) > 0,
        }
    optimum = regularised_policy(reward, ref, beta, divergence)
    columns["solver_deviation"] = _gap(optimum.policy, oracle)
    if divergence == "chi2":
        return {**columns, "predicted_dropped": chi2_threshold(reward, ref) > beta}
    link = divergence if not defect else "forward_kl" if divergence == "reverse_kl" else "reverse_kl"
    fitted = [_fitted(r, q, beta, link) for r, q in zip(reward, ref, strict=True)]
    # Admissible optima go down to exp(-r / beta), below any solver's tolerance, but never to 0. So a response
    # counts as dropped where the log-policy is minus infinity, not where the conic program has very little.
    return {
        **columns,
        "dropped": np.isneginf(optimum.log_policy).sum(1),
        "predicted_dropped": np.zeros(problems, bool),
        "reward_spread": _inconstancy(link, optimum.log_ratio, beta, reward),
        "fit_deviation": _gap(np.stack([p for p, _ in fitted]), optimum.policy),
        "unconverged": [int(not converged) for _, converged in fitted],
    }


def _fitted(reward: np.ndarray, ref: np.ndarray, beta: float, link: str) -> tuple[np.ndarray, bool]:
    """The minimiser of f-DPO on the exact law of comparisons, and whether it is certified."""
    population = Population(win_matrix(reward[None], [1.0], bt_temperature=1.0), ref)
    minimiser = fit(Tabular(ref), partial(f_dpo, beta=beta, divergence=link), population.pairs(distinct=True))
    return minimiser.probs[0], bool(minimiser.converged)


def _gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(R,) largest difference of two policies over the responses."""
    return np.abs(a - b).max(1)


def _inconstancy(link: str, log_ratio: np.ndarray, beta: float, reward: np.ndarray) -> np.ndarray:
    """(R,) how far beta f'(p / ref) - r is from constant over the responses."""
    return np.ptp(beta * divergence(link).link(log_ratio) - reward, axis=1)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviation of each road per divergence and strength."""
    grouped = rows.groupby(["divergence", "beta"], sort=False, as_index=False)
    return grouped.agg(
        problems=("problem", "size"),
        solver_deviation=("solver_deviation", "max"),
        reward_spread=("reward_spread", "max"),
        fit_deviation=("fit_deviation", "max"),
        unconverged_fits=("unconverged", "sum"),
        drop_a_response=("dropped", lambda d: int((d > 0).sum())),
        predicted_to_drop=("predicted_dropped", "sum"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Agreement of the roads for admissible divergences; responses dropped as predicted by the others."""
    admissible = rows[rows.divergence.isin(ADMISSIBLE)]
    inadmissible = rows[~rows.divergence.isin(ADMISSIBLE)]
    not_as_predicted = (rows.dropped > 0) != rows.predicted_dropped.astype(bool)
    return [
        identity("stationarity solver = conic program", rows.solver_deviation, 1e-6),
        identity("beta f'(pi/ref) - r is constant", admissible.reward_spread, 1e-9),
        identity("f-DPO's population minimiser = optimum", admissible.fit_deviation, 1e-6),
        identity("responses are dropped exactly where predicted", not_as_predicted, 0),
        differs("chi2 and total variation lose responses", inadmissible.dropped, 1),
    ]
