"""Three meanings of "calibration error" of a policy: one that a divergence can bound, and two binned ones.

A binned error compares, inside each bin of confidence, the mean confidence with the share that is correct,

    ECE = sum_b |sum_{i in b} w_i (confidence_i - correct_i)| / sum_i w_i.

It jumps where a confidence crosses the edge of a bin or where another label becomes the top one, so no
divergence can bound it.

Source: the unbinned error is ours; the binned ones are the usual ones, on pairs as in the released code of
f-DPO.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distalign.checks import InputError
from distalign.preferences import PreferenceLogProbs
from distalign.types import Array


def calibration_error(policy: ArrayLike, truth: ArrayLike, prompts: ArrayLike) -> Array:
    """Distance (...) of a policy from calibration, E_x sum_y |pi(y|x) - p*(y|x)|, between 0 and 2.

    Args:
        policy: (..., S, K) probabilities pi.
        truth: (..., S, K) the law p* that a calibrated policy would have.
        prompts: (S,) law of the prompt.

    Example:
        >>> float(calibration_error([[0.5, 0.5]], [[0.75, 0.25]], [1.0]))
        0.5
    """
    return np.abs(np.asarray(policy, float) - np.asarray(truth, float)).sum(-1) @ np.asarray(prompts, float)


def binned_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike, bins: int = 10
) -> Array:
    """Expected calibration error (...) over bins of equal width of [0, 1].

    Args:
        confidence: (..., n) in [0, 1].
        correct: (..., n) 0 or 1, or the probability of being correct.
        weights: (..., n) non-negative.
        bins: how many.

    Raises:
        InputError: a confidence lies outside [0, 1].

    Example: two answers of confidence 0.9, one of them right.
        >>> float(binned_calibration_error([0.9, 0.9], [1, 0], [1, 1]).round(12))
        0.4
    """
    c, accuracy, w = np.broadcast_arrays(*(np.asarray(x, float) for x in (confidence, correct, weights)))
    if not ((c >= 0) & (c <= 1 + 1e-12)).all():
        raise InputError("confidence must lie in [0, 1]: give probabilities, not log-probabilities")
    place = np.minimum((c * bins).astype(int), bins - 1)
    gaps = (np.eye(bins)[place] * (w * (c - accuracy))[..., None]).sum(-2)
    return np.abs(gaps).sum(-1) / w.sum(-1)


def top_label_error(policy: ArrayLike, truth: ArrayLike, prompts: ArrayLike, bins: int = 10) -> Array:
    """Binned error (...) of the most probable response.

    It compares that response's probability with the chance p* that it is the correct one.

    Args:
        policy, truth, prompts: as in `calibration_error`.
        bins: how many.

    Example:
        >>> float(top_label_error([[0.6, 0.4]], [[0.2, 0.8]], [1.0]).round(12))
        0.4
    """
    p, q = np.broadcast_arrays(np.asarray(policy, float), np.asarray(truth, float))
    best = p.argmax(-1)[..., None]
    return binned_calibration_error(p.max(-1), np.take_along_axis(q, best, -1)[..., 0], prompts, bins)


def pair_error(batch: PreferenceLogProbs, bins: int = 10) -> float:
    """Binned calibration error on pairs, as the f-DPO authors' code computes it.

    Confidence is the per-token probability exp(log pi(y+) / tokens) of the chosen response. It counts as
    correct if its log-probability per token exceeds the rejected one's. That confidence is not the
    probability of being preferred.

    Args:
        batch: n pairs with `chosen_tokens` and `rejected_tokens`.
        bins: how many.

    Raises:
        InputError: data are not pairs, or lengths are missing.

    Source: the authors' public code of arXiv 2309.16240 (its definition, in our words).

    Example:
        >>> import torch
        >>> lp, n = torch.log(torch.tensor([0.81, 0.2])), torch.tensor([2, 1])
        >>> lengths = {"chosen_tokens": n[:1], "rejected_tokens": n[1:]}
        >>> round(pair_error(PreferenceLogProbs(lp[:1], lp[1:], lp[:1], lp[1:], **lengths)), 6)
        0.1
    """
    if not batch.is_paired or batch.chosen_tokens is None or batch.rejected_tokens is None:
        raise InputError(
            "batch must hold pairs with chosen_tokens and rejected_tokens: confidence is per token"
        )
    chosen, rejected = batch.chosen / batch.chosen_tokens, batch.rejected / batch.rejected_tokens
    confidence, correct, weights = (
        x.detach().double().numpy()
        for x in (chosen.exp(), (chosen > rejected).double(), batch.chosen_frequencies)
    )
    return float(binned_calibration_error(confidence, correct, weights, bins))
