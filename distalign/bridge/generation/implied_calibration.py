"""How well the reward that a model implies is calibrated on texts that have scores.

Source: the measures are those of `distalign.training.evaluation.measures`.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy.special import expit

from distalign.bridge.generation.matching import Grouped, log_ratio
from distalign.calibration import binned_calibration_error, pair_error
from distalign.objectives import dpo
from distalign.preferences import PreferenceLogProbs
from distalign.training.evaluation.intervals import cluster_errors
from distalign.training.evaluation.measures import HeldOut, correctness, rewards
from distalign.training.evaluation.samples import Sample

TEXTS_PAIRED = 16
"""Texts of a prompt whose pairs are compared."""


def implied(held: HeldOut, beta: float) -> dict[str, float]:
    """Accuracy and both calibration errors of the reward beta log pi/pi_ref on pairs.

    `distalign.training.evaluation.dictionary.METRICS` says what they are.
    """
    u, v = rewards(held.batch, partial(dpo, beta=beta))
    margin, p = (u - v).numpy(), held.batch.chosen_frequencies.double().numpy()
    correct = correctness(margin)
    return {
        "accuracy": float(p @ correct),
        "calibration_per_token": pair_error(held.batch),
        "calibration_preference": float(binned_calibration_error(expit(np.abs(margin)), correct, p)),
    }


def implied_errors(held: HeldOut, beta: float, resamples: int, seed: int) -> dict[str, float]:
    """Standard errors of the same, by resampling prompts; empty for one prompt."""
    return cluster_errors(held, partial(implied, beta=beta), resamples, seed)


def scored_pairs(texts: Grouped, score: str) -> HeldOut | None:
    """All pairs of the first 16 texts of each prompt that differ in score, the larger one chosen.

    Args:
        texts: by prompt, with this score.
        score: its name.

    Returns:
        None where no two texts of a prompt differ, or a text lacks a log-probability.
    """
    if any(log_ratio(row) is None for rows in texts.values() for row in rows):
        return None
    chosen: list[Sample] = []
    rejected: list[Sample] = []
    clusters: list[int] = []
    for prompt, rows in texts.items():
        by_score = sorted(rows[:TEXTS_PAIRED], key=lambda row: -row.scores[score])
        for i, better in enumerate(by_score):
            worse = [row for row in by_score[i + 1 :] if row.scores[score] < better.scores[score]]
            chosen += [better] * len(worse)
            rejected += worse
            clusters += [prompt] * len(worse)
    if not clusters:
        return None
    own, reference = (
        [
            torch.tensor([getattr(row, name) for row in side], dtype=torch.float64)
            for side in (chosen, rejected)
        ]
        for name in ("log_prob", "ref_log_prob")
    )
    lengths = [torch.tensor([len(row.response_tokens) for row in side]) for side in (chosen, rejected)]
    batch = PreferenceLogProbs(*own, *reference, chosen_tokens=lengths[0], rejected_tokens=lengths[1])
    place = np.unique(clusters, return_inverse=True)[1]
    return HeldOut(batch, True, place, place)
