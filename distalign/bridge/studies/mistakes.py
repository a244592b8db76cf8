"""Mistakes that several studies of language models plant."""

from __future__ import annotations

from dataclasses import replace

from distalign.preferences import PreferenceLogProbs


def sides_exchanged(batch: PreferenceLogProbs) -> PreferenceLogProbs:
    """The batch with chosen and rejected responses exchanged."""
    return replace(
        batch,
        chosen=batch.rejected,
        rejected=batch.chosen,
        ref_chosen=batch.ref_rejected,
        ref_rejected=batch.ref_chosen,
    )
