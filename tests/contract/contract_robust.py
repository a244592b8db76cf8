"""Point 8: a robust objective against the supremum it claims to be, by a conic program or a dual.

Each function here is, or makes, the check of a case's `Robust`.
"""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest
from contract_kit import THETA_REF, Batch, Case, dpo_losses
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from distalign.oracles.ambiguity import chi2_ball_value, kl_ball_value

Array = NDArray[np.float64]


def numbers(batch: Batch) -> tuple[Array, Array]:
    return dpo_losses(batch).detach().numpy(), batch.chosen_frequencies.numpy()


def tilted(values: Array, p: Array, temperature: float, sign: int) -> float:
    """sup { E_Q values - tau KL(Q || p) }, or for sign -1 inf { E_Q values + tau KL }."""
    q = cp.Variable(len(p))
    price = sign * temperature * cp.sum(cp.kl_div(q, p))
    problem = cp.Problem((cp.Maximize if sign > 0 else cp.Minimize)(q @ values - price), [cp.sum(q) == 1])
    problem.solve(solver=cp.CLARABEL)
    return float(problem.value)


def priced(sign: int) -> Callable[[Case, Batch], None]:
    def check(case: Case, batch: Batch) -> None:
        assert case.loss(batch).item() == pytest.approx(tilted(*numbers(batch), 2.0, sign), abs=1e-7)

    return check


def bounded(case: Case, batch: Batch) -> None:
    losses, p = numbers(batch)
    for radius in (0.01, 0.1, 0.6):
        assert case.loss(batch, radius=radius).item() == pytest.approx(
            kl_ball_value(losses, p, radius), abs=1e-7
        )


def chi2_bounded(case: Case, batch: Batch) -> None:
    losses, p = numbers(batch)
    for radius in (0.01, 0.1, 0.6, 2.0):
        assert case.loss(batch, radius=radius).item() == pytest.approx(
            chi2_ball_value(losses, p, radius), abs=1e-7
        )


def of_groups(case: Case, batch: Batch) -> None:
    losses, p = numbers(batch)
    group = batch.groups.numpy()
    shares = np.bincount(group, p)
    assert case.loss(batch).item() == pytest.approx(
        tilted(np.bincount(group, p * losses) / shares, shares, 0.5, 1), abs=1e-7
    )


def worst(margins: Array, length: float, price: float) -> Array:
    """sup over d >= 0 of softplus(length d - margin) - price d^2 for each margin, by a refined grid."""
    low, high = (
        np.zeros_like(margins),
        np.full_like(margins, length / (2 * price)),
    )  # the derivative is below 0 beyond
    for _ in range(12):
        d = low + (high - low) * np.linspace(0, 1, 41)[:, None]
        values = np.logaddexp(0, length * d - margins) - price * d**2
        best = values.argmax(0)
        width = (high - low) / 40
        low, high = np.maximum(low + (best - 1) * width, 0), low + (best + 1) * width
    return values.max(0)


def wasserstein(form: str, through: str) -> Callable[[Case, Batch], None]:
    r"""Against the exact dual on all of R^d: the penalty is the first order of it, from below, with an
    explicit gap.

    A pair's inputs (x, x') move its margin at rate ||(theta, -theta)||, theta that of the ratio or of the
    policy.
    """

    def check(case: Case, batch: Batch) -> None:
        losses, p = numbers(batch)
        theta = (THETA_REF + 0.7 - (THETA_REF if through == "ratio" else 0)).numpy()
        length = np.sqrt(2) * np.linalg.norm(theta)
        margins = np.log(np.expm1(losses)) * -1
        bend = length**2 / 4  # the loss curves at most this much
        for radius in (0.01, 0.05, 0.1):
            ours = case.loss(batch, radius=radius).item()
            if form == "squared":
                exact = p @ worst(margins, length, 1 / (4 * radius))
                slopes = p @ (length * -np.expm1(-losses)) ** 2
                gap = radius * slopes * (1 / (1 - 2 * radius * bend) - 1)
            else:
                dual = minimize_scalar(
                    lambda s, r=radius: np.exp(s) * r**2 + p @ worst(margins, length, np.exp(s)),
                    bounds=(-6, 9),
                    method="bounded",
                    options={"xatol": 1e-9},
                )
                exact, gap = dual.fun, bend * radius**2 / 2
            assert -1e-9 <= exact - ours <= gap + 1e-9
            assert exact - p @ losses > 1e-4

    return check
