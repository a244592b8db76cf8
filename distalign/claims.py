"""The claims: one theorem, identity or separation each, as frozen data.

A claim's slug names everything that carries it: `simulation/studies/<paper>/<slug>.py` runs it, `paper_figures/<slug>.py`
draws it, the tests and the README speak of it. What is a paper's and what is ours stands in `statement` and `source`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any, Literal

from distalign.bibliography import PAPERS, Paper
from distalign.checks import InputError

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
        """Dotted name of the study's module."""
        return f"distalign.simulation.studies.{self.paper}.{self.slug}"

    @property
    def papers(self) -> tuple[Paper, ...]:
        """The papers the claim belongs to."""
        return tuple(p for p in PAPERS if p.name == self.paper)


CLAIMS = (
    Claim(
        slug="aot_transport", paper="aot", kind="identity", source="paper", expects="holds", figure=False,
        statement="Sorting solves one-dimensional optimal transport with a convex cost (Santambrogio, Theorem 2.9, as the "
                  "paper uses it); unequal counts and weights: ours",
        prediction="The sorted AOT value equals the linear program over couplings for every convex penalty, equal and unequal "
                   "counts, any weights; for the 0/1 penalty it does not.",
        code="distalign.objectives.aot.aot_unpaired", theory="distalign.preferences.quantile_coupling",
        presets={"test": {"shapes": [[7, 7], [5, 8]], "replicates": 4},
                 "quick": {"shapes": [[1, 1], [30, 30], [17, 40]], "replicates": 20},
                 "full": {"shapes": [[1, 1], [30, 30], [17, 40], [200, 200], [150, 230]], "replicates": 100}},
        seconds={"quick": 4, "full": 60},
    ),
    Claim(
        slug="aot_rate", paper="aot", kind="rate", source="paper and ours", expects="matches -0.5",
        statement="Corollary 1 (n^-1/2 for the plug-in transport cost); that the exponent is exact at fixed laws, and its "
                  "constant, is a central limit theorem (ours)",
        prediction="With two fixed Gaussians and least squares, the error of the sorted value falls like n^-1/2 and sqrt(n) "
                   "times its standard deviation tends to 1.672.",
        code="distalign.objectives.aot.aot_unpaired", theory="distalign.theory.aot.gaussian_least_squares_sd",
        presets={"test": {"sizes": [200, 800, 3200], "replicates": 400},
                 "quick": {"sizes": [100, 200, 400, 800, 1600, 3200, 6400, 12800], "replicates": 1000},
                 "full": {"sizes": [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200], "replicates": 4000}},
        seconds={"quick": 4, "full": 60},
    ),
)


def claims(slugs: tuple[str, ...] = ()) -> tuple[Claim, ...]:
    """The claims named, or all of them, in the order of `CLAIMS`.

    Raises:
        InputError: an unknown slug; the message offers the nearest ones.
    """
    known = [c.slug for c in CLAIMS]
    for slug in slugs:
        if slug not in known:
            near = difflib.get_close_matches(slug, known, 3, 0.4)
            hint = f"did you mean {', '.join(near)}?" if near else "`distalign ls` lists them"
            raise InputError(f"unknown slug {slug!r}: {hint}")
    return tuple(c for c in CLAIMS if not slugs or c.slug in slugs)
