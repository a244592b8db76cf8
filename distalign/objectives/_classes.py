"""Means over unpaired data: of each class, or of both together."""

from __future__ import annotations

from torch import Tensor

from distalign.preferences import PreferenceLogProbs


def class_means(batch: PreferenceLogProbs, chosen: Tensor, rejected: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of one value per chosen response and of one per rejected response.

    An entry of weight zero does not count, whatever its value: an exact law may give no mass to a response at
    which a loss is infinite.
    """
    p, q = batch.chosen_frequencies, batch.rejected_frequencies
    return (p * chosen).where(p > 0, 0).sum(), (q * rejected).where(q > 0, 0).sum()


def pooled_mean(batch: PreferenceLogProbs, chosen: Tensor, rejected: Tensor) -> Tensor:
    """Mean over all responses together: the class means, each times the share of its class in the total
    weight.
    """
    w, v = batch.weights, batch.rejected_weights
    if v is None and batch.is_paired:
        v = w
    n = batch.chosen.shape[0] if w is None else w.sum()
    m = batch.rejected.shape[0] if v is None else v.sum()
    of_chosen, of_rejected = class_means(batch, chosen, rejected)
    return (n * of_chosen + m * of_rejected) / (n + m)
