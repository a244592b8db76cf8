"""Draws of a language model from the files of `distalign generate`, as tables of prompts and texts.

Source: ours.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from distalign.checks import InputError
from distalign.training.evaluation.samples import Sample, Samples
from distalign.types import Array

CUT_SHARE = 1 / 3
"""Share of texts cut at the largest length above which a warning is given."""


@dataclass(frozen=True)
class Draws:
    """N texts of a model to each of S prompts.

    Attributes:
        prompts: (S,) index of each prompt in the file it came from.
        texts: S lists of N responses, as text.
        log_prob: (S, N) log-probabilities under the model that drew them, in nats.
        cut: share of texts that did not end by themselves.
    """

    prompts: tuple[int, ...]
    texts: tuple[tuple[str, ...], ...]
    log_prob: Array
    cut: float


def draws_of(samples: Samples) -> Draws:
    """The samples as a table, if they are draws of the model itself.

    Warns where more than a third of the texts were cut at the largest length: predictions are then about the
    first tokens of texts.

    Args:
        samples: of `distalign generate`, with their log-probabilities.

    Raises:
        InputError: the temperature was not 1 or top_p cut, a log-probability is missing, prompts have
            different numbers of texts, or there are no texts.
    """
    if not samples.from_policy:
        raise InputError(
            f"samples were drawn at temperature {samples.settings['temperature']:g} and top_p "
            f"{samples.settings['top_p']:g}, which is another policy than the one scored: draw them at "
            "--temperature 1 --top-p 1"
        )
    several = rows_by_prompt(samples)
    if any(row.log_prob is None for row in samples.rows):
        raise InputError("samples carry no log-probabilities: draw them with `distalign generate`")
    cut = float(np.mean([not row.finished for row in samples.rows]))
    if cut > CUT_SHARE:
        warnings.warn(
            f"{cut:.0%} of the texts were cut at the largest length: predictions are about their first "
            "tokens; raise --max-new-tokens to have whole texts",
            stacklevel=2,
        )
    return Draws(
        tuple(several),
        tuple(tuple(row.response for row in rows) for rows in several.values()),
        np.array([[row.log_prob for row in rows] for rows in several.values()], float),
        cut,
    )


def rows_by_prompt(samples: Samples) -> dict[int, list[Sample]]:
    """The samples of each prompt, as many for one as for another.

    Raises:
        InputError: there are none, prompts have different numbers of them, or some prompts of the run that
            drew them have none yet.
    """
    if not samples.rows:
        raise InputError("samples are empty: draw texts with `distalign generate`")
    several: dict[int, list[Sample]] = {}
    for row in samples.rows:
        several.setdefault(row.prompt_index, []).append(row)
    counts, finish = (
        {len(rows) for rows in several.values()},
        "finish the interrupted run with the same command",
    )
    if len(counts) > 1:
        raise InputError(f"prompts have between {min(counts)} and {max(counts)} texts: {finish}")
    asked = samples.settings.get("prompts", len(several))
    if len(several) < asked:
        raise InputError(f"samples hold texts for {len(several)} of {asked} prompts: {finish}")
    return several
