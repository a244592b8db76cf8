"""What theory predicts for DDRO, RDRO and the objectives they are compared with.

`losses` has the gradient coefficients and the bounds on the excess risk, `asymptotics` the limit laws of the
estimators over all policies, `stress` the first-order effect of a broken assumption and the constants of
small policy classes, `plateaus` the policies at which KTO and BCO end, and `failures` when training fails.
"""

from distalign.theory.density_ratio.asymptotics import (
    asymptotic_covariance,
    divergence_constant,
    divergence_deviation,
    total_variation_constant,
    total_variation_deviation,
    unpaired_covariance,
)
from distalign.theory.density_ratio.losses import coefficients, ddro_bound, label_bound, rdro_bound
from distalign.theory.density_ratio.plateaus import bco_policy, kto_policy
from distalign.theory.density_ratio.stress import first_order_limit, parametric_constants

__all__ = [
    "asymptotic_covariance",
    "bco_policy",
    "coefficients",
    "ddro_bound",
    "divergence_constant",
    "divergence_deviation",
    "first_order_limit",
    "kto_policy",
    "label_bound",
    "parametric_constants",
    "rdro_bound",
    "total_variation_constant",
    "total_variation_deviation",
    "unpaired_covariance",
]
