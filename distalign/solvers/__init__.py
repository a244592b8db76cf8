"""Fast solvers: batched, each with a certificate, and each tested against its oracle.

A solver needs neither cvxpy nor POT, and those that know the f-divergences, which are written for torch too,
are loaded when they are first asked for. The fits that are robust over a ball of laws are in
`distalign.solvers.robust`; the games and the rules of social choice are in `distalign.solvers.choice`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distalign.solvers.batched_newton import Minima, batched_newton
from distalign.solvers.bradley_terry import Rewards, bradley_terry_rewards, dpo_policy
from distalign.solvers.comparison_graph import require_connected
from distalign.solvers.density_ratio import Ratios, ddro_policy, rdro_policy
from distalign.solvers.sinkhorn import EntropicTransport, sinkhorn
from distalign.solvers.soft_sort import exact_strength, soft_sort

if TYPE_CHECKING:
    from distalign.solvers.kkt import RegularisedOptimum, regularised_policy
    from distalign.solvers.matched_reward import policy_at_reward

__all__ = [
    "EntropicTransport",
    "Minima",
    "Ratios",
    "RegularisedOptimum",
    "Rewards",
    "batched_newton",
    "bradley_terry_rewards",
    "ddro_policy",
    "dpo_policy",
    "exact_strength",
    "policy_at_reward",
    "rdro_policy",
    "regularised_policy",
    "require_connected",
    "sinkhorn",
    "soft_sort",
]

_MODULE_OF = {
    "RegularisedOptimum": "kkt",
    "policy_at_reward": "matched_reward",
    "regularised_policy": "kkt",
}


def __getattr__(name: str) -> Any:
    """Load a name that needs torch from the module that defines it."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    """All names, those that are loaded late among them."""
    return sorted({*globals(), *_MODULE_OF})
