"""A model judged by the texts it writes: win rates, divergence to the reference, diversity, calibration.

Everything is read from files of `distalign generate` (and `distalign score`); no model is loaded.

Source: ours; the measures name theirs in `distalign.training.evaluation.dictionary`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.bridge.generation.comparisons import (
    Comparisons,
    Rate,
    by_score,
    equal_length_win_rate,
    win_rate,
)
from distalign.bridge.generation.diversity import self_bleu
from distalign.bridge.generation.draws import draws_of, rows_by_prompt
from distalign.bridge.generation.estimates import Reweighted, overlap
from distalign.bridge.generation.implied_calibration import implied, implied_errors, scored_pairs
from distalign.bridge.generation.matching import (
    Grouped,
    by_verdicts,
    log_ratio,
    same_prompts,
    score_name,
    values_of,
)
from distalign.checks import InputError, positive
from distalign.intervals import mean_interval, t_interval, wilson
from distalign.training.evaluation.dictionary import AT_LEAST_0, METRICS
from distalign.training.evaluation.intervals import check_resamples
from distalign.training.evaluation.samples import Sample, Samples
from distalign.types import Array

LEVELS = (0.95, 0.99)

Ends = Callable[[float], tuple[float, float]]
Found = tuple[list[dict[str, Any]], list[str]]
"""Rows of the table, and notes."""


@dataclass(frozen=True)
class Judgement:
    """What was found.

    Attributes:
        table: one row a metric: texts (`ours`, `theirs` or `both`), metric, value, 95 and 99 % interval with
            prompts as clusters, n, prompts, unit.
        notes: sentences that belong beside the numbers.
    """

    table: pd.DataFrame
    notes: tuple[str, ...]

    def values(self, texts: str = "ours") -> dict[str, float]:
        """Metric to value, of `ours` or `theirs`, with what is of both."""
        kept = self.table[self.table.texts.isin([texts, "both"])]
        return dict(zip(kept.metric, kept.value, strict=True))


def judge(
    ours: Samples,
    *,
    against: Samples | None = None,
    score: str | None = None,
    verdicts: Iterable[Mapping[str, Any]] | None = None,
    draws: Samples | None = None,
    beta: float = 0.1,
    resamples: int = 200,
    seed: int = 0,
) -> Judgement:
    """Measure the texts of one model, beside those of another if given.

    Args:
        ours: texts of the model that is judged.
        against: texts of another model to the same prompts, drawn in the same way.
        score: name of a score of `distalign score`: the larger wins, and pairs that differ in it give
            calibration errors. None takes the only one that the texts have.
        verdicts: of a judge, in place of the score, as `distalign.bridge.generation.matching.by_verdicts`
            reads them.
        draws: texts of the reference, scored under the model that is judged as if that were their reference,
            for the divergence by reweighting.
        beta: of DPO, which scales the implied reward behind `calibration_preference`.
        resamples: of the bootstrap over prompts behind the intervals of calibration errors.
        seed: of that bootstrap.

    Raises:
        InputError: one prompt, an unfinished run, texts to other prompts or drawn in another way, no such
            score, or verdicts on other prompts.
    """
    positive("beta", beta, "it is the beta of DPO that the model was trained with")
    check_resamples(resamples)
    mine = rows_by_prompt(ours)
    if len(mine) < 2:
        raise InputError(
            "the texts are to one prompt, which has no interval: generate texts to at least two prompts"
        )
    given = [texts for texts in (ours, against) if texts is not None]
    score = score_name(score, given, needed=against is not None and verdicts is None)
    theirs = None if against is None else same_prompts("--against", ours, against)
    compared = _comparisons(mine, theirs, score, verdicts)
    drawn = {} if draws is None else same_prompts("--draws", ours, draws)
    model = None if draws is None else _reweighted(draws, drawn)

    found = [] if compared is None else [_compared(compared)]
    if score is not None and theirs is not None:
        gain = _means(mine, score) - _means(theirs, score)
        found.append(([_mean("both", "score_difference", gain, len(ours.rows))], []))
    if model is not None:
        found.append(_of_draws(model, drawn, mine, score))
    found += [_of_texts(name, texts, score) for name, texts in zip(("ours", "theirs"), given, strict=False)]
    if score is not None:
        found.append(_calibration(mine, score, beta, resamples, seed))
    rows = [row for part, _ in found for row in part]
    notes = dict.fromkeys(note for _, part in found for note in part)
    return Judgement(pd.DataFrame(rows), tuple(notes))


def _comparisons(
    mine: Grouped, theirs: Grouped | None, score: str | None, verdicts: Iterable[Mapping[str, Any]] | None
) -> Comparisons | None:
    if theirs is None:
        if verdicts is not None:
            raise InputError("verdicts compare with another model's texts: give these by --against FILE")
        return None
    if verdicts is not None:
        return by_verdicts(mine, theirs, verdicts)
    if score is None:
        return None
    one, other = (
        [(values_of(rows, score), [row.response for row in rows]) for rows in side.values()]
        for side in (mine, theirs)
    )
    return by_score(one, other)


def _reweighted(draws: Samples, drawn: Grouped) -> Reweighted:
    """The model on draws of the reference, prompts in our order."""
    draws_of(draws)  # refuses draws at another temperature
    return Reweighted(np.array([[_under_model(row) for row in rows] for rows in drawn.values()]))


def _under_model(row: Sample) -> float:
    found = log_ratio(row)
    if found is None:
        raise InputError(
            "--draws are not scored under the model that is judged: make them by `distalign generate "
            "REFERENCE --reference MODEL`"
        )
    return -found


def _compared(found: Comparisons) -> Found:
    def row(name: str, rate: Rate) -> dict[str, Any]:
        return _row("both", name, rate.value, rate.interval, len(found.win), found.prompts)

    gaps = found.by_prompt(found.log_length_ratio)
    rows = [
        row("win_rate", win_rate(found)),
        _mean("both", "log_length_ratio", gaps, len(found.win)),
    ]
    try:
        rows.insert(1, row("win_rate_equal_length", equal_length_win_rate(found)))
    except InputError as error:
        return rows, [f"win_rate_equal_length is left out: {error}"]
    return rows, []


def _of_draws(model: Reweighted, draws: Grouped, mine: Grouped, score: str | None) -> Found:
    """What the reweighted road finds; what the draws do not carry is left out, with the reason."""
    n = model.log_rho.size
    rows, refused = [_mean("ours", "mean_ratio", model.mean_rho(), n)], list(model.refusals())
    fresh = [[log_ratio(row) for row in several] for several in mine.values()]
    if not any(value is None for row in fresh for value in row):
        both = overlap(model.log_rho, np.array(fresh, float))
        if not both.passed:
            refused.append(
                f"fresh texts and draws do not belong to the same two models on prompt "
                f"{list(mine)[both.worst]}: score both files under the same models in the same way"
            )
    if refused:
        return rows, [f"kl_reweighted is refused and the fresh kl stands: {reason}" for reason in refused]
    rows.append(_mean("ours", "kl_reweighted", model.kl(), n))
    if score is not None and all(score in row.scores for several in draws.values() for row in several):
        values = np.array([values_of(several, score) for several in draws.values()])
        rows.append(_mean("ours", "score_reweighted", model.mean(values), n))
    return rows, []


def _of_texts(name: str, samples: Samples, score: str | None) -> Found:
    """Measures of the texts of one model by themselves."""
    several, notes = rows_by_prompt(samples), [f"{name}: {note}" for note in samples.notes()]
    prompts, n = len(several), len(samples.rows)
    rows = [] if score is None else [_mean(name, "score", _means(several, score), n)]
    for metric, value, error, count in samples.statistics():
        ends = partial(_student, value, math.nan if error is None else error, prompts)
        rows.append(_row(name, metric, value, ends, count, prompts))
    try:
        alike = self_bleu([[row.response for row in texts] for texts in several.values()])
        rows.append(_mean(name, "self_bleu", alike, n))
    except InputError as error:
        notes.append(f"{name}: self_bleu is left out: {error}")
    return rows, notes


def _calibration(mine: Grouped, score: str, beta: float, resamples: int, seed: int) -> Found:
    """Both calibration errors on pairs of our texts to a prompt, of which the larger score is preferred."""
    held = scored_pairs(mine, score)
    if held is None:
        return [], [
            "calibration is left out: no two texts of a prompt differ in score, or texts carry no reference "
            "log-probabilities (generate --reference)"
        ]
    errors, prompts = implied_errors(held, beta, resamples, seed), len(np.unique(held.chosen_clusters))
    rows = []
    for name, value in implied(held, beta).items():
        ends = partial(_student, value, errors.get(name, math.nan), prompts)
        rows.append(_row("ours", name, value, ends, len(held.batch.chosen), prompts))
    return rows, [
        f"accuracy and calibration are of pairs of our texts that differ in score, and of the implied reward "
        f"beta log pi/pi_ref at beta {beta:g}"
    ]


def _means(side: Grouped, score: str) -> Array:
    """(S,) mean score of each prompt."""
    return np.array([values_of(rows, score).mean() for rows in side.values()])


def _mean(texts: str, metric: str, values: Array, n: int) -> dict[str, Any]:
    """A mean over prompts of one number each."""

    def ends(level: float) -> tuple[float, float]:
        return mean_interval(values, level=level)[1:]

    return _row(texts, metric, float(values.mean()), ends, n, len(values))


def _student(value: float, error: float, prompts: int, level: float) -> tuple[float, float]:
    return t_interval(value, error, prompts, level)


def _row(texts: str, metric: str, value: float, ends: Ends, n: int, prompts: int) -> dict[str, Any]:
    """A row of the table, its intervals inside the range of the metric.

    A share or probability that no resampling of prompts changes, such as an accuracy of 1, has Wilson's
    interval of as many trials as prompts: that all are alike does not say that the next one would be.
    """
    unit = METRICS[metric][0]
    row: dict[str, Any] = {"texts": texts, "metric": metric, "value": value}
    for level in LEVELS:
        low, high = ends(level)
        if unit in ("share", "probability"):
            if high - low < 1e-12:
                low, high = wilson(value, prompts, level)
            low, high = max(low, 0.0), min(high, 1.0)
        if metric in AT_LEAST_0:
            low = max(low, 0.0)
        row |= {f"low_{level * 100:.0f}": low, f"high_{level * 100:.0f}": high}
    return row | {"n": n, "prompts": prompts, "unit": unit}
