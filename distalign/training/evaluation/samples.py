"""Responses drawn from a policy, as a file and as statistics."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from distalign.checks import InputError
from distalign.files import write_text, write_whole

Statistic = tuple[str, float, float | None, int]


@dataclass(frozen=True)
class Sample:
    """One response.

    Attributes:
        prompt_index: which prompt, from 0.
        sample: which of the responses to that prompt, from 0.
        prompt_tokens, response_tokens: token ids; the response includes its end-of-text token if it got that
            far.
        response: the response as text, special tokens left out.
        finished: whether it ended by itself and not at the largest length.
        log_prob: log pi(response | prompt) of the policy at temperature 1, in nats.
        ref_log_prob: the same of the reference, or None.
        prompt: the prompt as its file has it, text or messages, or None.
        scores: numbers of `distalign score` by their names.
    """

    prompt_index: int
    sample: int
    prompt_tokens: tuple[int, ...]
    response_tokens: tuple[int, ...]
    response: str
    finished: bool
    log_prob: float | None = None
    ref_log_prob: float | None = None
    prompt: Any = None
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Samples:
    """Responses of one policy, drawn in one way.

    Attributes:
        rows: the responses.
        settings: how they were drawn: at least `temperature` and `top_p`.
    """

    rows: tuple[Sample, ...]
    settings: Mapping[str, Any]

    @property
    def prompts(self) -> tuple[int, ...]:
        """Prompts that have a sample."""
        return tuple(dict.fromkeys(row.prompt_index for row in self.rows))

    @property
    def from_policy(self) -> bool:
        """Whether the samples are of the policy itself: temperature 1 and no truncation."""
        return self.settings["temperature"] == 1 and self.settings["top_p"] == 1

    def statistics(self) -> list[Statistic]:
        r"""(metric, value, standard error over prompts, number of samples) of each metric.

        Metrics are those of `distalign.training.evaluation.dictionary`.

        With d = log pi - log pi_ref on samples of pi, KL(pi || pi_ref) = E d; E[exp(-d) - 1 + d] is the same
        number, for E exp(-d) = 1, and every term of it is at least 0. For responses cut at T tokens both are
        the divergence of the laws of the first T tokens. What needs samples of pi itself is left out where
        the temperature is not 1 or top_p cuts.
        """
        lengths = np.array([len(row.response_tokens) for row in self.rows], float)
        out = [
            self._mean("response_tokens", lengths),
            self._mean("unfinished", [not row.finished for row in self.rows]),
        ]
        own = np.array([math.nan if row.log_prob is None else row.log_prob for row in self.rows])
        if self.from_policy and np.isfinite(own).all():
            out += [self._mean("entropy", -own), self._mean("entropy_per_token", -own, lengths)]
        reference = np.array(
            [math.nan if row.ref_log_prob is None else row.ref_log_prob for row in self.rows]
        )
        if self.from_policy and np.isfinite(own).all() and np.isfinite(reference).all():
            d = own - reference
            out += [self._mean("kl", d), self._mean("kl_nonnegative", np.expm1(np.minimum(-d, 700)) + d)]
        return out + [s for k in (1, 2) if (s := self._distinct(k)) is not None]

    def notes(self) -> list[str]:
        """Sentences that belong beside the statistics."""
        if not self.from_policy:
            return [
                f"samples were drawn at temperature {self.settings['temperature']} and top_p "
                f"{self.settings['top_p']}: entropy and the divergence to the reference need 1 and 1 and are "
                "left out"
            ]
        if self.rows and self.rows[0].ref_log_prob is None:
            return [
                "samples carry no reference log-probabilities: the divergence to the reference is left out"
            ]
        return [
            "kl is the mean log-ratio over samples of the policy, of responses cut at the largest length "
            "where they did not end: unbiased for those, noisy where the two policies are far apart; "
            "standard errors are over prompts"
        ]

    def _mean(
        self, name: str, values: Sequence[float] | np.ndarray, per: np.ndarray | None = None
    ) -> Statistic:
        """Mean (or ratio of sums) with the standard error of a ratio of sums over prompts."""
        x = np.asarray(values, float)
        below = np.ones(len(x)) if per is None else per
        value = float(x.sum() / below.sum())
        place = np.unique([row.prompt_index for row in self.rows], return_inverse=True)[1]
        residual = np.bincount(place, x - value * below)
        count = len(residual)
        if count < 2:
            return name, value, None, len(x)
        return name, value, float(np.sqrt(count / (count - 1) * (residual**2).sum()) / below.sum()), len(x)

    def _distinct(self, k: int) -> Statistic | None:
        grams: dict[int, list[tuple[str, ...]]] = {}
        for row in self.rows:
            grams.setdefault(row.prompt_index, []).extend(_grams(row.response, k))
        shares = [len(set(several)) / len(several) for several in grams.values() if several]
        if not shares:
            return None
        error = float(np.std(shares, ddof=1) / math.sqrt(len(shares))) if len(shares) > 1 else None
        return f"distinct_{k}", float(np.mean(shares)), error, len(self.rows)


def _grams(text: str, k: int) -> Iterator[tuple[str, ...]]:
    words = text.lower().split()
    return zip(*(words[i:] for i in range(k)))


COLUMNS = tuple(f.name for f in fields(Sample) if f.name != "scores")
"""Columns of a file of samples; every other one is a score."""

_TOKENS = ("prompt_tokens", "response_tokens")


def write_samples(samples: Samples, path: Path | str) -> None:
    """A Parquet file where the name ends so, else one JSON object a line; a column for each score.

    The first line of JSON holds the settings and the SHA-256 of the lines below it; a Parquet file has both
    in its metadata, and prompts that are messages as JSON text.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        return _write_parquet(samples, path)
    rows = "".join(json.dumps(_columns(row)) + "\n" for row in samples.rows)
    write_text(path, json.dumps({"settings": dict(samples.settings), "sha256": _digest(rows)}) + "\n" + rows)


def _columns(row: Sample) -> dict[str, Any]:
    named = asdict(row)
    scores = named.pop("scores")
    return named | scores


def _write_parquet(samples: Samples, path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [_columns(row) for row in samples.rows]
    for row in rows:
        if not isinstance(row["prompt"], str | None):
            row["prompt"] = json.dumps(row["prompt"], ensure_ascii=False)
    tokens = pyarrow.list_(pyarrow.int64())
    kinds = {"prompt_index": pyarrow.int64(), "sample": pyarrow.int64(), "finished": pyarrow.bool_()}
    kinds |= dict.fromkeys(_TOKENS, tokens) | dict.fromkeys(("prompt", "response"), pyarrow.string())
    names = list(dict.fromkeys((*COLUMNS, *(name for row in rows for name in row))))
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in names])
    settings = json.dumps(dict(samples.settings))
    schema = schema.with_metadata({"settings": settings, "sha256": _digest(settings + _said(rows))})
    table = pyarrow.Table.from_pylist(rows, schema)
    write_whole(path, lambda to: pyarrow.parquet.write_table(table, to))


def _said(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as text, without what is missing in them."""
    kept = [{name: value for name, value in row.items() if value is not None} for row in rows]
    return json.dumps(kept, sort_keys=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_samples(path: Path | str) -> Samples:
    """What `write_samples` wrote.

    Raises:
        InputError: no such file, another format, or a file that is not what was written.
    """
    path = Path(path)
    try:
        settings, rows = _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path)
        return Samples(tuple(_sample(row) for row in rows), settings)
    except FileNotFoundError as error:
        raise InputError(
            f"no samples in {path}: draw them with `distalign generate MODEL --prompts FILE --out {path}`"
        ) from error
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        NotImplementedError,
        RecursionError,
    ) as error:
        raise InputError(f"{path} does not hold samples of `distalign generate` ({error})") from error


def _sample(row: dict[str, Any]) -> Sample:
    known = {name: row.pop(name) for name in COLUMNS if name in row}
    known |= {name: tuple(known[name]) for name in _TOKENS}
    return Sample(**known, scores={name: float(value) for name, value in row.items() if value is not None})


def _json_rows(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    head = json.loads(first)
    if head.get("sha256", _digest(rest)) != _digest(rest):
        raise InputError(
            f"{path} is damaged (its lines are not what was written): remove it and draw the samples anew"
        )
    return head["settings"], [json.loads(line) for line in rest.split("\n") if line]


def _parquet_rows(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    import pyarrow.parquet

    with path.open("rb") as file:
        table = pyarrow.parquet.read_table(file)
    found, rows = table.schema.metadata or {}, table.to_pylist()
    settings = found[b"settings"].decode()
    if found[b"sha256"].decode() != _digest(settings + _said(rows)):
        raise InputError(
            f"{path} is damaged (its rows are not what was written): remove it and draw the samples anew"
        )
    return json.loads(settings), rows
