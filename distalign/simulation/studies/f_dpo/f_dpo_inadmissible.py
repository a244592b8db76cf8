"""Chi-squared and total variation drop responses, and the policy cannot tell the reward of what is dropped.

f-DPO replaces the reward by beta f'(pi/ref). That needs pi > 0 everywhere, hence f'(0+) = -inf, which the
paper's Theorem 1 asks for and these two divergences (Pearson's chi-squared, total variation) lack. How
large the error is, and from which beta on, is ours.

Rewards are scaled so that beta = 1 is the threshold (E_ref r - min r) / 2 of the chi-squared. Above it the
chi-squared optimum keeps every response and the identity holds. Below it responses vanish, and the reward
read off the policy is wrong by the multiplier of pi >= 0. Total variation moves mass away from responses
that are further than beta below the best one, and says nothing of the others at any beta.

Policies come from the conic program (cvxpy), predictions from closed forms
(`distalign.theory.f_dpo.closed_forms`). Admissible divergences run beside them and lose nothing. The
chi-squared link is also trained all the same, with the refusal of `distalign.objectives.f_dpo` taken out:
below the threshold that ends at a policy that is not even the chi-squared optimum.

The checks ask that the error of the reward is the closed form; that conic program and closed form are one
policy and drop as many responses; that the chi-squared drops exactly below its threshold (the presets hold
strengths 2 % below and above it), above which the reward is right and the optimum linear in the reward; that
admissible divergences have the right reward, so that they drop nothing; and that the forced loss ends at the
optimum above the threshold. The table says by how much it misses it below.

The planted defects: beta 10 % too large in the conic program, 5 % in the linear closed form, 5 % in the
stationarity solver and 10 % in the loss; a threshold 5 % too high; and a chi-squared optimum for
f = (u - 1)^2 / 2, another usual convention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.divergences import CHI2, divergence
from distalign.objectives import f_dpo
from distalign.oracles.regularised import regularised_optimum
from distalign.policies import Tabular
from distalign.populations import Law, win_matrix
from distalign.simulation.defects import Defect, argument, result
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, growth, identity
from distalign.solvers.kkt import regularised_policy
from distalign.theory.f_dpo.closed_forms import (
    chi2_interior_optimum,
    chi2_optimum,
    chi2_threshold,
    total_variation_optimum,
)

REFUSED, ADMISSIBLE = ("chi2", "total_variation"), ("chi2_plus_kl", "reverse_kl")
RESPONSES = 6
ABSENT = 1e-7  # a probability below the conic program's accuracy


def _only(name: str, *, above: float = 0) -> Callable[[Mapping[str, Any]], bool]:
    """The cells of one divergence, of a strength above `above`."""
    return lambda arguments: arguments["divergence"] == name and arguments["beta"] > above


DEFECTS = (
    Defect(
        "beta 10 % too large in the conic program",
        regularised_optimum,
        argument("beta", lambda b: 1.1 * b),
        _only("chi2"),
    ),
    Defect(
        "the chi-squared optimum of f = (u - 1)^2 / 2",
        chi2_optimum,
        argument("beta", lambda b: b / 2),
        _only("chi2"),
    ),
    Defect("the threshold 5 % too high", chi2_threshold, result(lambda b: 1.05 * b), _only("chi2")),
    Defect(
        "beta 5 % too large in the linear closed form",
        chi2_interior_optimum,
        argument("beta", lambda b: 1.05 * b),
        _only("chi2", above=1),
    ),
    Defect(
        "beta 5 % too large in the stationarity solver",
        regularised_policy,
        argument("beta", lambda b: 1.05 * b),
        _only("reverse_kl"),
    ),
    Defect(
        "beta 10 % too large in the loss",
        f_dpo,
        argument("beta", lambda b: 1.1 * b),
        _only("chi2", above=1),
    ),
)


def cells(strengths: list[float], problems: int, programs: int) -> list[dict[str, Any]]:
    """One cell per divergence and strength, in units of the chi-squared's threshold.

    The first `programs` problems are also solved by the conic program.
    """
    return [
        {"divergence": f, "beta": beta, "problems": problems, "programs": programs}
        for f in (*REFUSED, *ADMISSIBLE)
        for beta in strengths
    ]


def run(
    rng: np.random.Generator,
    *,
    divergence: str,
    beta: float,
    problems: int,
    programs: int,
) -> dict[str, Any]:
    """Dropped responses and the error of the reward read off the policy, observed and predicted."""
    ref = 0.8 * rng.dirichlet(np.ones(RESPONSES)) + 0.2 / RESPONSES
    reward = rng.normal(size=(problems, RESPONSES))
    reward = (reward - reward.mean(1, keepdims=True)) / chi2_threshold(reward, ref)[:, None]
    columns: dict[str, Any] = {"problem": np.arange(problems)}
    if divergence in ADMISSIBLE:
        optimum = regularised_policy(reward, ref, beta, divergence)
        return {
            **columns,
            "error": _reward_error(divergence, optimum.log_ratio, beta, reward),
        }
    closed_form = chi2_optimum if divergence == "chi2" else total_variation_optimum
    predicted = closed_form(reward, ref, beta)
    observed = np.array([regularised_optimum(r, ref, beta, divergence) for r in reward[:programs]])
    columns |= {
        "dropped": _padded((observed < ABSENT).sum(1), problems),
        "predicted_dropped": (predicted == 0).sum(1),
        "error": _padded(
            _reward_error(divergence, _log_ratio(observed, ref), beta, reward[:programs]), problems
        ),
        "predicted_error": _reward_error(divergence, _log_ratio(predicted, ref), beta, reward),
        "deviation": _padded(np.abs(observed - predicted[:programs]).max(1), problems),
    }
    if divergence == "chi2" and beta > 1:
        columns["interior"] = np.abs(chi2_interior_optimum(reward, ref, beta) - predicted).max(1)
    if divergence == "chi2":
        columns["forced"] = 0.5 * np.abs(_forced(reward, ref, beta) - predicted).sum(1)
    return columns


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """`values` followed by NaN up to length `size`: only the first problems have a conic solution."""
    return np.concatenate([values, np.full(size - len(values), np.nan)])


def _log_ratio(policy: np.ndarray, ref: np.ndarray) -> np.ndarray:
    """log u with u = policy / ref.

    u is set to 1 within the conic program's accuracy, so that the sign of u - 1 means something.
    """
    u = policy / ref
    with np.errstate(divide="ignore"):
        return np.log(np.where(np.abs(u - 1) < 1e-6, 1, u))


def _reward_error(name: str, log_ratio: np.ndarray, beta: float, reward: np.ndarray) -> np.ndarray:
    """(R,) largest |beta f'(u) - r|, in units of the threshold.

    Both are measured from the response of highest reward, which takes out the constant.
    """
    gap = beta * divergence(name).link(log_ratio) - reward
    return np.abs(gap - np.take_along_axis(gap, reward.argmax(1)[:, None], 1)).max(1)


def _forced(reward: np.ndarray, ref: np.ndarray, beta: float) -> np.ndarray:
    """(R, K) the policy that the loss of the chi-squared link ends at, were it not refused."""
    win = np.stack([win_matrix(r[None], [1.0], 1.0) for r in reward])
    i, j = (index.ravel() for index in np.indices(win.shape[1:]))
    loss = partial(f_dpo, beta=beta, divergence=replace(CHI2, refusal=""))
    fitted = fit(Tabular(ref), loss, Law(i, j, (win * np.outer(ref, ref)).reshape(len(win), -1)))
    return np.where(fitted.settled[:, None], fitted.probs[:, 0], np.nan)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean reward error with its interval, and how many problems drop a response. For the two refused
    divergences the error is the predicted one, over all problems.
    """
    shown = rows.assign(
        value=rows.predicted_error.fillna(rows.error), drops=rows.predicted_dropped.fillna(rows.dropped) > 0
    )
    summary = summarise(shown, ["divergence", "beta"], "value")
    counts = shown.groupby(["divergence", "beta"], as_index=False).agg(
        share_that_drops=("drops", "mean"),
        conic_error=("error", "mean"),
        forced_loss_misses_by=("forced", "mean"),
        forced_fits=("forced", "count"),
    )
    return summary.merge(counts, on=["divergence", "beta"])


def checks(rows: pd.DataFrame) -> list[Check]:
    """The error of the reward as predicted, and nothing lost above the threshold or by admissible f."""
    refused, chi2 = rows[rows.deviation.notna()], rows[rows.divergence == "chi2"]
    wrong_reward = refused[(refused.predicted_error > 0.05)]
    admissible = rows[rows.divergence.isin(ADMISSIBLE)]
    above = chi2[chi2.beta > 1]
    return [
        growth(
            "chi2, total variation: error of the reward = closed form",
            wrong_reward.error,
            wrong_reward.predicted_error,
            1e-4,
        ),
        identity("conic program = closed form", refused.deviation, 1e-6),
        identity("as many dropped as predicted", refused.dropped - refused.predicted_dropped, 0),
        identity(
            "chi2 drops exactly below its threshold", (chi2.predicted_dropped > 0) != (chi2.beta < 1), 0
        ),
        identity("chi2 above its threshold: the reward is right", above.error.dropna(), 1e-6),
        identity("chi2 above its threshold: linear closed form", above.interior, 1e-12),
        identity("admissible divergences: the reward is right", admissible.error, 1e-9),
        identity("chi2 loss forced, above its threshold: ends at the optimum", above.forced, 1e-6),
    ]
