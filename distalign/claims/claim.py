"""What a claim is: one theorem, identity or separation, as frozen data.

A claim's slug names everything that carries it: `simulation/studies/<paper>/<slug>.py` runs it,
`paper_figures/<slug>.py` draws it, the tests and the README speak of it. What is a paper's and what is ours
stands in `statement` and `source`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from distalign.bibliography import PAPERS, Paper

Kind = Literal["identity", "bound", "rate", "separation", "growth"]


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        slug: its one name.
        paper: short name in `distalign.bibliography`.
        statement: number and content of what is tested, as far as the paper's text was seen.
        source: `paper`, `ours`, or `paper and ours`.
        kind: what may be said of it (`distalign.simulation.verdict`).
        prediction: what theory says will be measured, in one sentence.
        expects: the outcome its verdict should have.
        code: the objective or solver under test, dotted.
        theory: where the prediction is computed, dotted.
        figure: whether the claim has one (plain identities have none).
        presets: arguments of the study's `cells` by preset.
        seconds: rough CPU seconds by preset, negative control included.
    """

    slug: str
    paper: str
    statement: str
    source: str
    kind: Kind
    prediction: str
    expects: str
    code: str
    theory: str
    figure: bool = True
    presets: dict[str, dict[str, Any]] = field(default_factory=dict, hash=False)
    seconds: dict[str, float] = field(default_factory=dict, hash=False)

    @property
    def study(self) -> str:
        """Dotted name of the study's module; a claim on language models (`lm_...`) has it in the bridge
        between the worlds.
        """
        return f"distalign.{'bridge' if self.slug.startswith('lm_') else 'simulation'}.studies.{self.paper}.{self.slug}"

    @property
    def papers(self) -> tuple[Paper, ...]:
        """The papers the claim belongs to."""
        return tuple(p for p in PAPERS if p.name == self.paper)
