"""f-DPO's population minimiser is the f-regularised optimum, and the reward can be read off it.

That the stationarity conditions give the reward as beta f'(pi/pi_ref) up to a constant, if f' tends to
minus infinity at 0, is the paper's Theorem 1. The three roads to the optimum, and the exact place where
chi-squared and total variation drop responses, are ours.

For random rewards and references three roads lead to one policy: the conic program (cvxpy); the
stationarity conditions (`distalign.solvers.kkt`); and a fit of `distalign.objectives.f_dpo` to the exact
law of Bradley-Terry comparisons, which never sees the reward. Pearson's chi-squared and total variation are
not admissible: their optima drop responses, exactly where the closed forms say, and the reward of a dropped
response is lost.

The checks ask that the fit ends at the optimum and that the reward which the objective reports,
beta f'(pi/ref), is r up to a constant, for the eight admissible divergences; that the stationarity solver
agrees with the conic program (for total variation the closed form does); and that responses are dropped
exactly where predicted, for the chi-squared also 2 % on either side of its threshold.

The planted defects: beta 10 % too large in the loss; beta 5 % too large in the solver; the reported reward
5 % too large; and the chi-squared's threshold 5 % too high.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import description_of, f_dpo
from distalign.oracles.regularised import regularised_optimum
from distalign.policies import Tabular
from distalign.populations import Population, win_matrix
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.fit import fit
from distalign.simulation.verdict import Check, identity
from distalign.solvers.kkt import regularised_policy
from distalign.theory.f_dpo.closed_forms import chi2_threshold, total_variation_optimum

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
NEAR = 0.02  # how near to the chi-squared's threshold it is asked for, as a share of it


DEFECTS = (
    Defect(
        "beta 10 % too large in the loss",
        f_dpo,
        argument("beta", lambda b: 1.1 * b),
        where(divergence="alpha:0.3"),
    ),
    Defect(
        "beta 5 % too large in the solver",
        regularised_policy,
        argument("beta", lambda b: 1.05 * b),
        where(divergence="jeffreys"),
    ),
    Defect(
        "the reported reward 5 % too large",
        description_of(f_dpo).reward,
        result(lambda reward: 1.05 * reward),
        where(divergence="jensen_shannon"),
    ),
    Defect(
        "the threshold of the chi-squared 5 % too high",
        chi2_threshold,
        result(lambda beta: 1.05 * beta),
        where(divergence="chi2"),
    ),
)


def cells(betas: list[float], problems: int) -> list[dict[str, Any]]:
    """One cell per divergence and strength."""
    return [
        {"divergence": f, "beta": beta, "problems": problems}
        for f in (*ADMISSIBLE, "chi2", "total_variation")
        for beta in betas
    ]


def run(rng: np.random.Generator, *, divergence: str, beta: float, problems: int) -> dict[str, Any]:
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
        threshold = chi2_threshold(reward, ref)
        below, above = (
            np.isneginf(regularised_policy(reward, ref, (1 + e) * threshold, "chi2").log_policy).any(1)
            for e in (-NEAR, NEAR)
        )
        return {**columns, "predicted_dropped": threshold > beta, "wrong_near": ~below | above}
    fitted = [_fitted(r, q, beta, divergence) for r, q in zip(reward, ref, strict=True)]
    # Admissible optima go down to exp(-r / beta), below any solver's tolerance, but never to 0. So a response
    # counts as dropped where the log-policy is minus infinity, not where the conic program has very little.
    return {
        **columns,
        "dropped": np.isneginf(optimum.log_policy).sum(1),
        "predicted_dropped": np.zeros(problems, bool),
        "reward_spread": _inconstancy(divergence, optimum.log_ratio, beta, reward),
        "fit_deviation": _gap(np.stack([p for p, _ in fitted]), optimum.policy),
        "unconverged": [int(not converged) for _, converged in fitted],
    }


def _fitted(reward: np.ndarray, ref: np.ndarray, beta: float, name: str) -> tuple[np.ndarray, bool]:
    """The minimiser of f-DPO on the exact law of comparisons, and whether it is certified."""
    population = Population(win_matrix(reward[None], [1.0], bt_temperature=1.0), ref)
    # the distance from the minimiser is gradient over curvature, which is small where a response is rare
    objective, law = partial(f_dpo, beta=beta, divergence=name), population.pairs(distinct=True)
    minimiser = fit(Tabular(ref), objective, law, tolerance=1e-12)
    return minimiser.probs[0], bool(minimiser.converged)


def _gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(R,) largest difference of two policies over the responses."""
    return np.abs(a - b).max(1)


def _inconstancy(name: str, log_ratio: np.ndarray, beta: float, reward: np.ndarray) -> np.ndarray:
    """(R,) how far the reward that f-DPO reports, beta f'(p / ref), less r is from constant over the
    responses.
    """
    reported = description_of(f_dpo).reward
    read = [reported(torch.from_numpy(x), None, {"beta": beta, "divergence": name}) for x in log_ratio]
    return np.ptp(torch.stack(read).numpy() - reward, axis=1)


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
    not_as_predicted = (rows.dropped > 0) != rows.predicted_dropped.astype(bool)
    near = rows.wrong_near[rows.divergence == "chi2"].astype(bool)
    return [
        identity("f-DPO's population minimiser = optimum", admissible.fit_deviation, 1e-6),
        identity("beta f'(pi/ref) - r is constant", admissible.reward_spread, 1e-9),
        identity("stationarity solver = conic program", rows.solver_deviation, 1e-6),
        identity("responses are dropped exactly where predicted", [*not_as_predicted, *near], 0),
    ]
