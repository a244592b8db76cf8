"""f-DPO's population minimiser is the f-regularised optimum, and the reward can be read off it.

Three roads to one policy for random rewards and references: the conic program (cvxpy), the stationarity
conditions (`distalign.solvers.kkt`), and a fit of `distalign.objectives.f_dpo` to the exact law of
Bradley-Terry comparisons, which never sees the reward. Pearson's chi-squared and total variation are not
admissible: their optima drop responses, exactly where the closed forms say, and the reward of a dropped
    response is lost.
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
    out: dict[str, Any] = {
        "problem": np.arange(problems),
        "dropped": (oracle < ABSENT).sum(1),
        "unconverged": np.zeros(problems, int),
    }
    if divergence == "total_variation":
        closed = total_variation_optimum(reward, ref, beta)
        return {
            **out,
            "solver_deviation": _gap(closed, oracle),
            "predicted_dropped": (closed == 0).sum(1) > 0,
        }
    best = regularised_policy(reward, ref, beta, divergence)
    out["solver_deviation"] = _gap(best.policy, oracle)
    if divergence == "chi2":
        return {**out, "predicted_dropped": chi2_threshold(reward, ref) > beta}
    link = divergence if not defect else "forward_kl" if divergence == "reverse_kl" else "reverse_kl"
    fitted = [_fitted(r, q, beta, link) for r, q in zip(reward, ref, strict=True)]
    # These go down to exp(-r / beta), below any solver's tolerance, but never to 0.
    return {
        **out,
        "dropped": np.isneginf(best.log_policy).sum(1),
        "predicted_dropped": np.zeros(problems, bool),
        "reward_spread": _spread(link, best.log_ratio, beta, reward),
        "fit_deviation": _gap(np.stack([p for p, _ in fitted]), best.policy),
        "unconverged": [int(not converged) for _, converged in fitted],
    }


def _fitted(reward: np.ndarray, ref: np.ndarray, beta: float, link: str) -> tuple[np.ndarray, bool]:
    """The minimiser of f-DPO on the exact law of comparisons, and whether it is certified."""
    population = Population(win_matrix(reward[None], [1.0], bt_temperature=1.0), ref)
    found = fit(Tabular(ref), partial(f_dpo, beta=beta, divergence=link), population.pairs(distinct=True))
    return found.probs[0], bool(found.converged)


def _gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a - b).max(1)


def _spread(link: str, log_ratio: np.ndarray, beta: float, reward: np.ndarray) -> np.ndarray:
    """How far beta f'(p / ref) - r is from constant over the responses."""
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
    """Agreement of the roads for admissible divergences; dropped responses, as predicted, for the other
    two.
    """
    kept = rows[rows.divergence.isin(ADMISSIBLE)]
    lost = rows[~rows.divergence.isin(ADMISSIBLE)]
    surprise = (rows.dropped > 0) != rows.predicted_dropped.astype(bool)
    return [
        identity("stationarity solver = conic program", rows.solver_deviation, 1e-6),
        identity("beta f'(pi/ref) - r is constant", kept.reward_spread, 1e-9),
        identity("f-DPO's population minimiser = optimum", kept.fit_deviation, 1e-6),
        identity("responses are dropped exactly where predicted", surprise, 0),
        differs("chi2 and total variation lose responses", lost.dropped, 1),
    ]
