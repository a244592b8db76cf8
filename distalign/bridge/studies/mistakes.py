"""Mistakes that several studies of language models plant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from distalign.bridge.generation.writer import Writer
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect


def sides_exchanged(batch: PreferenceLogProbs) -> PreferenceLogProbs:
    """The batch with chosen and rejected responses exchanged."""
    return replace(
        batch,
        chosen=batch.rejected,
        rejected=batch.chosen,
        ref_chosen=batch.ref_rejected,
        ref_rejected=batch.ref_chosen,
    )


def fresh_texts_of_the_reference(cells: Callable[[Mapping[str, Any]], bool]) -> Defect:
    """A writer that goes back to the reference before it writes: only both roads together show it."""
    return Defect(
        "the writer goes back to the reference before it writes its fresh texts",
        Writer.draw,
        lambda right: lambda self, *rest: (self.reset(), right(self, *rest))[1],
        cells,
    )
