"""RLHF and NLHF on a worst case that constrains them: the distortion, and a proof that the solve is right."""

from __future__ import annotations

import numpy as np

from distalign.populations import BradleyTerryUsers
from distalign.populations.worst_cases_kl import ConstrainedWorstCase
from distalign.solvers.choice.certified import CertifiedPolicy, in_ball
from distalign.solvers.choice.games import exploitability, kl_nlhf
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import rlhf
from distalign.types import Array


def distortion_in_ball(
    users: BradleyTerryUsers, solved: CertifiedPolicy, log_reference: Array, kl_budget: float
) -> float:
    """Distortion of a policy against the best of the ball; NaN without a certificate or outside it."""
    if not solved.certified or not in_ball(solved.log_policy, log_reference, kl_budget):
        return float("nan")
    return distortion(users.average_utility, solved.policy, log_reference, kl_budget)


def rlhf_distortion(case: ConstrainedWorstCase) -> float:
    """Distortion of KL-constrained RLHF against the best policy of the same ball.

    NaN if a solve is not certified.
    """
    solved = rlhf(case.users.win, case.comparison, case.log_reference, case.kl_budget)
    return distortion_in_ball(case.users, solved, case.log_reference, case.kl_budget)


def nlhf_distortion(case: ConstrainedWorstCase) -> tuple[float, float]:
    """Distortion of KL-constrained NLHF, and its exploitability as a share of the largest margin.

    The distortion is NaN if the policy lies outside of the ball.
    """
    win, q, budget = case.users.win, case.log_reference, case.kl_budget
    solved = kl_nlhf(win, q, budget)
    gain = exploitability(win, solved.log_policy, q, budget) / np.abs(2 * win - 1).max()
    if not np.isfinite(gain):
        return float("nan"), gain
    return distortion(case.users.average_utility, solved.policy, q, budget), gain
