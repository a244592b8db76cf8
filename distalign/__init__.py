"""distalign: an objective is written once and lives in two worlds, exact simulation and language models.

What `distalign.__all__` lists is public, and so is what the `__all__` of a package below lists. Everything
else is private and may change without notice. Names are imported when they are first asked for, so `import
distalign` alone loads neither torch nor pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalign._lazy import lazy

if TYPE_CHECKING:
    from distalign import (
        bridge,
        claims,
        divergences,
        integrations,
        objectives,
        oracles,
        pluralism,
        policies,
        populations,
        simulation,
        solvers,
        theory,
        training,
    )
    from distalign.checks import InputError
    from distalign.citation import bibtex
    from distalign.data_check import check_labels
    from distalign.pluralism.curves import SampleComplexity, sample_complexity
    from distalign.pluralism.scenario import Scenario
    from distalign.pluralism.simulation import Simulation, simulate
    from distalign.policies.log_linear import LogLinear
    from distalign.policies.tabular import Tabular
    from distalign.populations.population import Population
    from distalign.preferences import PreferenceLogProbs, metrics
    from distalign.simulation.fit import Fit, fit
    from distalign.simulation.verification import Verification, verify
    from distalign.training.evaluation.evaluate import Evaluation
    from distalign.training.evaluation.models import evaluate, generate
    from distalign.training.loop import Summary, train
    from distalign.training.memory.planning import Plan, plan
    from distalign.training.recipe import Recipe
    from distalign.two_pass import two_pass_backward

__version__ = "0.1.0"

__all__ = [
    "Evaluation",
    "Fit",
    "InputError",
    "LogLinear",
    "Plan",
    "Population",
    "PreferenceLogProbs",
    "Recipe",
    "SampleComplexity",
    "Scenario",
    "Simulation",
    "Summary",
    "Tabular",
    "Verification",
    "__version__",
    "bibtex",
    "bridge",
    "check_labels",
    "claims",
    "divergences",
    "evaluate",
    "fit",
    "generate",
    "integrations",
    "metrics",
    "objectives",
    "oracles",
    "plan",
    "pluralism",
    "policies",
    "populations",
    "sample_complexity",
    "simulate",
    "simulation",
    "solvers",
    "theory",
    "train",
    "training",
    "two_pass_backward",
    "verify",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "distalign.checks": ["InputError"],
        "distalign.citation": ["bibtex"],
        "distalign.data_check": ["check_labels"],
        "distalign.pluralism.curves": ["SampleComplexity", "sample_complexity"],
        "distalign.pluralism.scenario": ["Scenario"],
        "distalign.pluralism.simulation": ["Simulation", "simulate"],
        "distalign.policies.log_linear": ["LogLinear"],
        "distalign.policies.tabular": ["Tabular"],
        "distalign.populations.population": ["Population"],
        "distalign.preferences": ["PreferenceLogProbs", "metrics"],
        "distalign.simulation.fit": ["Fit", "fit"],
        "distalign.simulation.verification": ["Verification", "verify"],
        "distalign.training.evaluation.evaluate": ["Evaluation"],
        "distalign.training.evaluation.models": ["evaluate", "generate"],
        "distalign.training.loop": ["Summary", "train"],
        "distalign.training.memory.planning": ["Plan", "plan"],
        "distalign.training.recipe": ["Recipe"],
        "distalign.two_pass": ["two_pass_backward"],
    },
    [
        "bridge",
        "claims",
        "divergences",
        "integrations",
        "objectives",
        "oracles",
        "pluralism",
        "policies",
        "populations",
        "simulation",
        "solvers",
        "theory",
        "training",
    ],
)
