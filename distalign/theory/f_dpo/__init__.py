"""What theory predicts for f-DPO: optimal policies in closed form, and the limit laws of its fit.

`closed_forms` has the optimum for each divergence that allows one, `asymptotics` the behaviour for a strong
pull to the reference and for many comparisons, `coverage` what many comparisons cost by divergence,
`misspecified` where DPO ends in a class that does not hold the reward, `auxiliary` where AuxDPO does, and
`bregman` has the losses of Bregman preference optimisation.
"""

from distalign.theory.f_dpo.asymptotics import (
    divergence_constant,
    linear_regime,
    policy_covariance,
    reward_covariance,
    second_order_gap,
    skew,
    small_divergence,
)
from distalign.theory.f_dpo.closed_forms import (
    calibration_bound,
    chi2_interior_optimum,
    chi2_optimum,
    chi2_threshold,
    reverse_kl_optimum,
    total_variation_optimum,
)

__all__ = [
    "calibration_bound",
    "chi2_interior_optimum",
    "chi2_optimum",
    "chi2_threshold",
    "divergence_constant",
    "linear_regime",
    "policy_covariance",
    "reverse_kl_optimum",
    "reward_covariance",
    "second_order_gap",
    "skew",
    "small_divergence",
    "total_variation_optimum",
]
