"""Scores of texts: numbers that a file of samples gets beside its texts, each computed once.

A score is a function of a prompt and a response. `length` counts the tokens that were drawn, the one that
ends a text included; `sentiment` is the compound number of the lexicon of vaderSentiment, in [-1, 1]; any
sequence-classification model of transformers gives a column for each of its outputs
(`distalign.bridge.generation.classifiers`); and so does any Python callable `module:function` that takes a
list of prompts and a list of responses and returns one number for each.

What was computed is appended to a cache beside the output, under a digest of the score, the prompt and the
response. So a text is scored once however often it was drawn, a second run computes only what is new, and a
run that was killed goes on where it was.

Source: ours; the lexicon is Hutto and Gilbert 2014.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from distalign.bridge.generation.score_cache import ScoreCache
from distalign.checks import InputError, whole
from distalign.progress import Voice, progress_bar
from distalign.training.data.sources import BadRow
from distalign.training.data.texts import Text, text_of
from distalign.training.evaluation.samples import COLUMNS, Sample, Samples
from distalign.types import Array

_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_NAMED = re.compile(r"([A-Za-z_][\w.-]*)=(.+)")


@dataclass(frozen=True)
class Score:
    """A number, or several, for each text.

    Attributes:
        name: of its column, or the beginning of the names of its columns.
        identity: what it computes, in full: texts scored under another identity are scored again.
        compute: prompts and responses to (n,) or (n, columns) numbers, each from its own text alone; None
            counts the tokens of the response.
        labels: names of its outputs where it has several; "0", "1", ... where there are not as many.
        release: lets memory go that it holds once it has computed something.
    """

    name: str
    identity: str
    compute: Callable[[Sequence[Text], Sequence[str]], Any] | None
    labels: tuple[str, ...] = ()
    release: Callable[[], object] = lambda: None

    def columns(self, width: int) -> tuple[str, ...]:
        """Names of so many outputs.

        Example:
            >>> Score("tone", "", None, ("sad", "glad")).columns(2)
            ('tone.sad', 'tone.glad')
        """
        if width == 1:
            return (self.name,)
        labels = self.labels if len(self.labels) == width else tuple(map(str, range(width)))
        return tuple(f"{self.name}.{label}" for label in labels)


def score_of(
    text: str,
    *,
    dtype: str = "float32",
    chat_template: bool | None = None,
    trust_remote_code: bool = False,
) -> Score:
    """The score that a word of the command line names.

    Args:
        text: `length`, `sentiment`, `module:function`, or the folder or Hub id of a sequence-classification
            model; each perhaps as `NAME=...` to call its column so.
        dtype: of a model.
        chat_template: for a model; None uses the template where its tokenizer has one.
        trust_remote_code: run code that comes with a model.

    Raises:
        InputError: there is no such score, a package is missing, or the model cannot be used.
    """
    named = _NAMED.fullmatch(text)
    name, what = named.groups() if named else ("", text)
    if what == "length":
        return Score(name or what, "tokens of the response", None)
    if what == "sentiment":
        return Score(name or what, f"vaderSentiment {_sentiment_version()} compound", _sentiments)
    if _CALLABLE.fullmatch(what):
        return _own(what, name)
    from distalign.bridge.generation.classifiers import Classifier

    model = Classifier(what, dtype, chat_template, trust_remote_code)
    return Score(name or Path(what).name, model.identity(), model, model.labels(), model.release)


def score(
    samples: Samples,
    scores: Sequence[Score],
    *,
    cache: Path | None = None,
    batch_size: int = 16,
    progress: bool = False,
) -> Samples:
    """The samples with a column for each score; scores that they have under other names stay.

    Args:
        samples: with their prompts, as `distalign generate` notes them.
        scores: of `score_of`.
        cache: file in which computed scores are kept, and found by another run; None keeps nothing.
        batch_size: texts scored at once.
        progress: show a bar.

    Raises:
        InputError: there are no samples, they carry no prompts, two scores would share a column or one would
            take the name of a column that is no score, or a score returns another number of values than it
            was given texts or one that is not finite.
    """
    whole("batch_size", batch_size, 1, "it counts the texts scored at once")
    if not samples.rows:
        raise InputError("samples are empty: draw texts with `distalign generate`")
    names = [one.name for one in scores]
    for name in names:
        if names.count(name) > 1 or name in (*COLUMNS, "scores"):
            raise InputError(
                f"score {name!r} would be the name of two columns: call one otherwise, as NAME={name}"
            )
    rows = list(samples.rows)
    about, made = dict(samples.settings.get("scores", {})), set[str]()
    for one in scores:
        for name, values in _columns(one, rows, cache, batch_size, progress).items():
            if name in made:  # an output of a model, whose name is known once it has answered
                raise InputError(
                    f"two scores give the column {name!r}: call one otherwise, as NAME={one.name}"
                )
            made.add(name)
            _warn_if_constant(name, values)
            about[name] = one.identity
            rows = [
                replace(row, scores={**row.scores, name: float(value)})
                for row, value in zip(rows, values, strict=True)
            ]
        one.release()
    return Samples(tuple(rows), {**samples.settings, "scores": about})


def prompt_of(row: Sample) -> Text:
    """The prompt of a sample as text or messages.

    Raises:
        InputError: the sample carries none, or one of another kind.
    """
    if row.prompt is None:
        raise InputError(
            "samples carry no prompts, which scores and labels need: draw them with `distalign generate`, "
            "which notes them"
        )
    try:
        return text_of({"prompt": row.prompt}, "prompt", empty=True)
    except BadRow as error:
        raise InputError(f"prompt {row.prompt_index} of the samples cannot be used: {error}") from error


def _columns(
    score: Score, rows: Sequence[Sample], path: Path | None, batch_size: int, progress: bool
) -> dict[str, Array]:
    """The columns of a score, those of texts that the cache does not hold computed and kept."""
    if score.compute is None:
        return {score.name: np.array([len(row.response_tokens) for row in rows], float)}
    cache, prompts = ScoreCache(path, score.identity), {row.prompt_index: prompt_of(row) for row in rows}
    keys = [cache.key(prompts[row.prompt_index], row.response) for row in rows]
    new = {key: i for i, key in enumerate(keys) if key not in cache.values}
    order = sorted(new.values(), key=lambda i: -len(rows[i].prompt_tokens) - len(rows[i].response_tokens))
    with progress_bar(len(order), f"scoring with {score.name}", "text", shown=progress) as bar:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            found = score.compute(
                [prompts[rows[i].prompt_index] for i in batch], [rows[i].response for i in batch]
            )
            cache.add([keys[i] for i in batch], _checked(score.name, found, [rows[i] for i in batch]))
            bar.update(len(batch))
    values = [cache.values[key] for key in keys]
    width = len(values[0])
    if any(len(several) != width for several in values):
        raise InputError(f"score {score.name} gave texts different numbers of values: return one for each")
    return dict(zip(score.columns(width), np.array(values, float).T, strict=True))


def _checked(name: str, found: Any, rows: Sequence[Sample]) -> Array:
    """(n, columns) finite numbers, one row for each text."""
    try:
        values = np.asarray(found, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"score {name} returned no numbers ({error}): return one for each text") from error
    if values.ndim not in (1, 2) or len(values) != len(rows) or not values.size:
        raise InputError(
            f"score {name} returned an array of shape {values.shape} for {len(rows)} texts: return one "
            "number for each"
        )
    values = values.reshape(len(rows), -1)
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        row = rows[bad[0]]
        raise InputError(
            f"score {name} is {values[bad[0]][~np.isfinite(values[bad[0]])][0]} for sample {row.sample} of "
            f"prompt {row.prompt_index} ({row.response[:40]!r}): correct the score (a model perhaps by "
            "--dtype float32), or leave that text out"
        )
    return values


def _warn_if_constant(name: str, values: Array) -> None:
    if np.ptp(values) == 0:
        Voice().warn(
            f"score {name} is {values[0]:g} for all {len(values)} texts, so nothing can be preferred by it"
        )


def _sentiment_version() -> str:
    try:
        return importlib.metadata.version("vaderSentiment")
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            "score sentiment needs the package vaderSentiment, which is not installed: run pip install "
            "'distalign[texts]', or take another score"
        ) from error


def _sentiments(prompts: Sequence[Text], responses: Sequence[str]) -> list[float]:
    return [_lexicon().polarity_scores(response)["compound"] for response in responses]


@functools.cache
def _lexicon() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def _own(word: str, name: str) -> Score:
    """A function of one's own; modules in the current folder are found as well."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = resolve_name(word)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"score {word!r} cannot be imported: {error}") from error
    if not callable(found):
        raise InputError(f"score {word!r} is no function: give one from prompts and responses to numbers")
    try:
        source = Path(inspect.getsourcefile(inspect.unwrap(found)) or "").read_bytes()
    except (TypeError, OSError):
        source = word.encode()  # compiled or made by other code: its name is all that is known
    return Score(
        name or word.rpartition(":")[2].rpartition(".")[2],
        f"{word} {hashlib.sha256(source).hexdigest()[:16]}",
        found,
    )
