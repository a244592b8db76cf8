"""What a claim is: one theorem, identity or separation, as frozen data.

The slug of a claim names all that belongs to it: `simulation/studies/<paper>/<slug>.py` runs it,
`paper_figures/<slug>.py` draws it, and the tests and the README refer to it. The fields `statement` and
`source` say what is in a paper and what is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from distalign.bibliography import PAPERS, Paper

Kind = Literal["identity", "bound", "rate", "separation", "growth"]
World = Literal["simulation", "language model"]


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        slug: the one name of the claim.
        title: what it is about, a plain phrase of at most 48 characters.
        paper: short name of its paper in `distalign.bibliography`.
        statement: number and content of what is tested, as far as the text of the paper was seen.
        source: `paper`, `ours`, or `paper and ours`.
        kind: the kind of claim, which fixes what may be said of it (`distalign.simulation.verdict`).
        prediction: what theory says will be measured, in one sentence.
        expects: the outcome that its verdict should have.
        code: dotted name of the objective or solver under test.
        theory: dotted name of the function that computes the prediction.
        world: where the claim is tested: in simulation, or on a language model.
        folder: of the study, where it is not that of the paper.
        twin: slug of the claim in the other world that predicts the same. The claim on a language model names
            its twin in simulation, and not the other way round; it is empty where there is none.
        figure: whether the claim has a figure; plain identities have none.
        presets: arguments of the study's `cells`, by preset. Defects are planted in `test`, or in `control`
            where the checks of `test` have too few draws to pass at every root seed without a defect.
        seconds: rough CPU seconds by preset, the negative control included.
    """

    slug: str
    title: str
    paper: str
    statement: str
    source: str
    kind: Kind
    prediction: str
    expects: str
    code: str
    theory: str
    world: World = "simulation"
    folder: str = ""
    twin: str = ""
    figure: bool = True
    presets: dict[str, dict[str, Any]] = field(default_factory=dict, hash=False)
    seconds: dict[str, float] = field(default_factory=dict, hash=False)

    @property
    def study(self) -> str:
        """Dotted name of the study's module, which for a claim on a language model lies in the bridge."""
        room = "simulation" if self.world == "simulation" else "bridge"
        return f"distalign.{room}.studies.{self.folder or self.paper}.{self.slug}"

    @property
    def papers(self) -> tuple[Paper, ...]:
        """The papers the claim belongs to."""
        return tuple(p for p in PAPERS if p.name == self.paper)


def quick_as_controls(
    *, test: dict[str, Any], full: dict[str, Any], control: dict[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Presets whose `quick` is what defects are planted in, so that one run serves as both.

    Example:
        >>> quick_as_controls(test={"n": 2}, full={"n": 9})
        {'test': {'n': 2}, 'quick': {'n': 2}, 'full': {'n': 9}}
    """
    own = {} if control is None else {"control": control}
    return {"test": test, **own, "quick": control or test, "full": full}
