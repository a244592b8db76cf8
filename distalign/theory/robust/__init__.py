"""What theory predicts for KLDPO, WDPO and the robust losses they are compared with.

`kldpo` has shrinkage and the limit laws over a Kullback-Leibler ball, `chi2` those over a chi-square
ball, `shares` the first stretch of balls of CVaR and of total variation, `reweighting` the worst law's
density ratio, `break_even` the least shift that undoes a policy, `rates` the limit laws over a
Wasserstein ball, `wasserstein` envelopes and guarantees with constants, `algorithms` the predictions for
the tractable training losses, and `schedules` those for a radius that shrinks with the sample size.
"""

from distalign.theory.robust.algorithms import (
    batch_shrinkage,
    batch_temperature,
    clamped_weights,
    excess_loss,
    least_variance_ratio,
    mean_weight,
    pair_optimum,
    root_gap,
    softmax_weights,
    squared_gap,
)
from distalign.theory.robust.break_even import (
    chi2_break_even,
    kl_break_even,
    largest_break_even,
    transport_break_even,
    weak_gain,
)
from distalign.theory.robust.chi2 import (
    chi2_covariance,
    chi2_optimum,
    standard_deviation_edge,
    standard_deviation_form,
)
from distalign.theory.robust.kldpo import (
    anti_shrinkage_factor,
    ball_covariance,
    ball_temperature,
    shrinkage_factor,
    squared_error_bound,
    temperature_covariance,
)
from distalign.theory.robust.rates import TransportLimit, euclidean_covariance, transport_limit
from distalign.theory.robust.reweighting import (
    batch_failure,
    log_looseness,
    looseness_series,
    series_remainder,
    worst_multipliers,
)
from distalign.theory.robust.schedules import (
    covering_radius,
    euclidean_drift,
    kl_coverage,
    kl_drift,
    transport_drift,
)
from distalign.theory.robust.wasserstein import (
    dpo_error_bound,
    first_informative_size,
    repaired_kl_error_bound,
    sandwich,
    strong_convexity,
    wasserstein_error_bound,
)

__all__ = [
    "TransportLimit",
    "anti_shrinkage_factor",
    "ball_covariance",
    "ball_temperature",
    "batch_failure",
    "batch_shrinkage",
    "batch_temperature",
    "chi2_break_even",
    "chi2_covariance",
    "chi2_optimum",
    "clamped_weights",
    "covering_radius",
    "dpo_error_bound",
    "euclidean_covariance",
    "euclidean_drift",
    "excess_loss",
    "first_informative_size",
    "kl_break_even",
    "kl_coverage",
    "kl_drift",
    "largest_break_even",
    "least_variance_ratio",
    "log_looseness",
    "looseness_series",
    "mean_weight",
    "pair_optimum",
    "repaired_kl_error_bound",
    "root_gap",
    "sandwich",
    "series_remainder",
    "shrinkage_factor",
    "softmax_weights",
    "squared_error_bound",
    "squared_gap",
    "standard_deviation_edge",
    "standard_deviation_form",
    "strong_convexity",
    "temperature_covariance",
    "transport_break_even",
    "transport_drift",
    "transport_limit",
    "wasserstein_error_bound",
    "weak_gain",
    "worst_multipliers",
]
