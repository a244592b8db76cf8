"""Robust DPO on a log-linear class, solved exactly: Kullback-Leibler and Wasserstein balls of laws.

`fit` solves every Wasserstein ball and chooses the method; `fit_kl_ball` and `fit_kl_temperature` solve the
Kullback-Leibler ball and its penalised form. Every fit carries a certificate: an upper and a lower bound of
the robust optimum, both computed anew at the answer.
"""

from distalign.solvers.robust.chi2_ball import Chi2WorstCase, chi2_worst_case
from distalign.solvers.robust.chi2_fit import Chi2Fit, chi2_collapse_radius, fit_chi2_ball
from distalign.solvers.robust.collapse import (
    CollapseWarning,
    collapse_radius,
    euclidean_collapse_radius,
    wasserstein_collapse_radius,
)
from distalign.solvers.robust.kl_ball import KLWorstCase, kl_worst_case
from distalign.solvers.robust.kl_fit import KLFit, fit_kl_ball, fit_kl_temperature
from distalign.solvers.robust.regularity import regularity_number
from distalign.solvers.robust.share_balls import (
    ShareWorstCase,
    cvar_collapse_level,
    cvar_worst_case,
    total_variation_collapse_radius,
    total_variation_worst_case,
)
from distalign.solvers.robust.wasserstein import fit
from distalign.solvers.robust.wasserstein_ball import WassersteinWorstCase, wasserstein_worst_case
from distalign.solvers.robust.wasserstein_euclidean import fit_euclidean, fit_euclidean_penalised
from distalign.solvers.robust.wasserstein_finite import fit_finite
from distalign.solvers.robust.wasserstein_fit import WassersteinFit, triangle_excess
from distalign.solvers.robust.wasserstein_norm import fit_norm, fit_norm_with_flips
from distalign.solvers.robust.wasserstein_replicates import fit_replicates

__all__ = [
    "Chi2Fit",
    "Chi2WorstCase",
    "CollapseWarning",
    "KLFit",
    "KLWorstCase",
    "ShareWorstCase",
    "WassersteinFit",
    "WassersteinWorstCase",
    "chi2_collapse_radius",
    "chi2_worst_case",
    "collapse_radius",
    "cvar_collapse_level",
    "cvar_worst_case",
    "euclidean_collapse_radius",
    "fit",
    "fit_chi2_ball",
    "fit_euclidean",
    "fit_euclidean_penalised",
    "fit_finite",
    "fit_kl_ball",
    "fit_kl_temperature",
    "fit_norm",
    "fit_norm_with_flips",
    "fit_replicates",
    "kl_worst_case",
    "regularity_number",
    "total_variation_collapse_radius",
    "total_variation_worst_case",
    "triangle_excess",
    "wasserstein_collapse_radius",
    "wasserstein_worst_case",
]
