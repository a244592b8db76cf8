"""What theory predicts for AOT: transport costs, their central limit, and what finite samples do to them.

`transport` has the population costs and the central limit of the plug-in cost, `entropic` the same with an
entropic regulariser, `dual` the optimal potentials behind it, `finite_samples` exact expectations at a given
sample size, `excess` what a fitted policy loses, `paired` the same where both lists come from one draw of
pairs, and `scale` why the logistic penalty needs a bounded policy class.
"""

from distalign.theory.aot.dual import potentials
from distalign.theory.aot.excess import covariance, excess_constant, two_policy_excess
from distalign.theory.aot.finite_samples import (
    batch_bias_constant,
    explicit_bound,
    false_violation,
    false_violation_decay,
    learned_spread,
    null_hinge_exact,
    order_variance,
    sorted_bias,
)
from distalign.theory.aot.paired import (
    class_spread,
    law_spread,
    paired_covariance,
    paired_excess_bound,
)
from distalign.theory.aot.scale import ray_limit
from distalign.theory.aot.transport import (
    clt_sd,
    gaussian_least_squares,
    gaussian_least_squares_sd,
    null_squared_hinge,
)

__all__ = [
    "batch_bias_constant",
    "class_spread",
    "clt_sd",
    "covariance",
    "excess_constant",
    "explicit_bound",
    "false_violation",
    "false_violation_decay",
    "gaussian_least_squares",
    "gaussian_least_squares_sd",
    "law_spread",
    "learned_spread",
    "null_hinge_exact",
    "null_squared_hinge",
    "order_variance",
    "paired_covariance",
    "paired_excess_bound",
    "potentials",
    "ray_limit",
    "sorted_bias",
    "two_policy_excess",
]
