"""One's own population: who the users are, what each alignment method would do to them, and the report.

Names are imported when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalign._lazy import lazy

if TYPE_CHECKING:
    from distalign.pluralism.choice_problem import ChoiceProblem
    from distalign.pluralism.curves import SampleComplexity, sample_complexity
    from distalign.pluralism.methods import parse_methods
    from distalign.pluralism.run import apply_methods
    from distalign.pluralism.scenario import Scenario
    from distalign.pluralism.scenario_file import build, examples, read
    from distalign.pluralism.simulation import Simulation, simulate
    from distalign.pluralism.sources.polis import load_polis
    from distalign.pluralism.sources.survey import load_survey
    from distalign.pluralism.sources.votes import load_votes

__all__ = [
    "ChoiceProblem",
    "SampleComplexity",
    "Scenario",
    "Simulation",
    "apply_methods",
    "build",
    "examples",
    "load_polis",
    "load_survey",
    "load_votes",
    "parse_methods",
    "read",
    "sample_complexity",
    "simulate",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "distalign.pluralism.choice_problem": ["ChoiceProblem"],
        "distalign.pluralism.methods": ["parse_methods"],
        "distalign.pluralism.run": ["apply_methods"],
        "distalign.pluralism.curves": ["SampleComplexity", "sample_complexity"],
        "distalign.pluralism.scenario": ["Scenario"],
        "distalign.pluralism.scenario_file": ["build", "examples", "read"],
        "distalign.pluralism.simulation": ["Simulation", "simulate"],
        "distalign.pluralism.sources.polis": ["load_polis"],
        "distalign.pluralism.sources.survey": ["load_survey"],
        "distalign.pluralism.sources.votes": ["load_votes"],
    },
)
