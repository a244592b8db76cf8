"""Oracles: exact answers by another road, slow and certain, which the solvers and objectives are tested with.

cvxpy and POT are imported in this package and nowhere else. Each takes about a second to load, so a name is
loaded from its module when it is first asked for.
"""

from typing import TYPE_CHECKING

from distalign._lazy import lazy

if TYPE_CHECKING:
    from distalign.oracles.ambiguity import (
        chi2_ball_fit,
        chi2_ball_value,
        cvar_fit,
        cvar_value,
        kl_ball_fit,
        kl_ball_value,
        kl_penalised_fit,
        total_variation_ball_fit,
        total_variation_ball_value,
    )
    from distalign.oracles.aot_hinge import hinge_minimum
    from distalign.oracles.dominance import Dominating, nearest_dominating
    from distalign.oracles.games import (
        kl_nlhf,
        kl_nlhf_by_mirror_descent,
        maximal_lottery,
        regularised_nlhf,
    )
    from distalign.oracles.majorities import ordering_reward
    from distalign.oracles.permutahedron import project_on_permutahedron
    from distalign.oracles.regularised import regularised_optimum
    from distalign.oracles.reward import kl_linear_maximisation, reward_mle
    from distalign.oracles.transport import Transport, entropic_plan, optimal_transport, transport_cost
    from distalign.oracles.wasserstein import (
        wasserstein_ball_value,
        wasserstein_collapse_radius,
        wasserstein_distance,
        wasserstein_finite_fit,
        wasserstein_norm_fit,
    )
    from distalign.oracles.worst_case_search import borda_bound, lottery_bound

__all__ = [
    "Dominating",
    "Transport",
    "borda_bound",
    "chi2_ball_fit",
    "chi2_ball_value",
    "cvar_fit",
    "cvar_value",
    "entropic_plan",
    "hinge_minimum",
    "kl_ball_fit",
    "kl_ball_value",
    "kl_linear_maximisation",
    "kl_nlhf",
    "kl_nlhf_by_mirror_descent",
    "kl_penalised_fit",
    "lottery_bound",
    "maximal_lottery",
    "nearest_dominating",
    "optimal_transport",
    "ordering_reward",
    "project_on_permutahedron",
    "regularised_nlhf",
    "regularised_optimum",
    "reward_mle",
    "total_variation_ball_fit",
    "total_variation_ball_value",
    "transport_cost",
    "wasserstein_ball_value",
    "wasserstein_collapse_radius",
    "wasserstein_distance",
    "wasserstein_finite_fit",
    "wasserstein_norm_fit",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "distalign.oracles.ambiguity": [
            "chi2_ball_fit",
            "chi2_ball_value",
            "cvar_fit",
            "cvar_value",
            "kl_ball_fit",
            "kl_ball_value",
            "kl_penalised_fit",
            "total_variation_ball_fit",
            "total_variation_ball_value",
        ],
        "distalign.oracles.aot_hinge": ["hinge_minimum"],
        "distalign.oracles.dominance": ["Dominating", "nearest_dominating"],
        "distalign.oracles.games": [
            "kl_nlhf",
            "kl_nlhf_by_mirror_descent",
            "maximal_lottery",
            "regularised_nlhf",
        ],
        "distalign.oracles.majorities": ["ordering_reward"],
        "distalign.oracles.permutahedron": ["project_on_permutahedron"],
        "distalign.oracles.regularised": ["regularised_optimum"],
        "distalign.oracles.reward": ["kl_linear_maximisation", "reward_mle"],
        "distalign.oracles.transport": ["Transport", "entropic_plan", "optimal_transport", "transport_cost"],
        "distalign.oracles.wasserstein": [
            "wasserstein_ball_value",
            "wasserstein_collapse_radius",
            "wasserstein_distance",
            "wasserstein_finite_fit",
            "wasserstein_norm_fit",
        ],
        "distalign.oracles.worst_case_search": ["borda_bound", "lottery_bound"],
    },
)
