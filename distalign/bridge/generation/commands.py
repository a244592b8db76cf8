"""Bodies of the command line's commands on texts that a model wrote; imported only when one of them runs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from distalign.bridge.generation import labels, scores
from distalign.bridge.generation.draws import CUT_SHARE, rows_by_prompt
from distalign.bridge.generation.users import Scale, read_users
from distalign.checks import InputError
from distalign.files import held, write_text
from distalign.pluralism.exchange import write_preferences
from distalign.progress import Voice, on_stderr
from distalign.training.evaluation.samples import Samples, read_samples, write_samples


def score(source: Path, asked: tuple[str, ...], out: Path, batch_size: int, how: dict[str, Any]) -> int:
    """Score the texts of a file, and say what the scores are like."""
    if not asked:
        raise InputError("--score names no score: give length, sentiment, a model or module:function")
    if not out.name:
        raise InputError(f"--out {str(out)!r} names no file: give one that ends in .jsonl or .parquet")
    with on_stderr(), held(out, "--out"):
        samples = read_samples(source)
        rows_by_prompt(samples)  # an interrupted run of generate is refused before anything is scored
        found = scores.score(
            samples,
            [scores.score_of(one, **how) for one in asked],
            cache=out.with_name(f"{out.name}.cache"),
            batch_size=batch_size,
            progress=True,
        )
        write_samples(found, out)
    for name in found.rows[0].scores:
        values = np.array([row.scores[name] for row in found.rows])
        _say(f"{name}: mean {values.mean():.4g}, standard deviation {values.std():.4g}")
    _say(f"{len(found.rows)} texts of {len(found.prompts)} prompts in {out}")
    return 0


def label(
    source: Path,
    out: Path,
    kind: labels.Kind,
    population: str | None,
    reference: Path | None,
    draws: str,
    how: dict[str, Any],
) -> int:
    """Label the texts of a file, and say what became of them."""
    if out.suffix != ".jsonl":
        raise InputError(f"--out must end in .jsonl, which `distalign train` reads, got {out}")
    used = _slice(draws)
    users = None if population is None else read_users(population)
    samples = read_samples(source)
    if reference and not users:
        raise InputError(
            "--reference standardises the scores of users, and there are none: leave it out, or give "
            "--population"
        )
    scale = Scale.of(read_samples(reference), users.scores) if users and reference else None
    found = labels.label(samples, kind, users, scale=scale, draws=used, **how)
    write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found.rows))
    with on_stderr():
        _warn(samples)
    _say(f"{found.line()}; {len(found.rows)} lines in {out}")
    return 0


UNUSED = {"by": "average", "per_prompt": 0, "best_of": 10, "seed": 0, "kind": "pairs", "draws": ""}
"""Flags that label scored texts and that votes have no use for, with their defaults; the others' is None."""


def label_votes(
    votes: Path, texts: Path | None, prompt: str, topic: str | None, out: Path, asked: dict[str, Any]
) -> int:
    """Make pairs of real votes, and say what became of them; other flags that were `asked` are refused."""
    vain = [f"--{name.replace('_', '-')}" for name, value in asked.items() if value != UNUSED.get(name)]
    if vain:
        raise InputError(
            f"{', '.join(vain)} would be ignored: with --texts, --prompt or --topic the labels are people's "
            "votes; leave it out, or leave those out to label scored texts"
        )
    if texts is None or not prompt.strip():
        missing = "--texts" if texts is None else "--prompt"
        raise InputError(
            f"{missing} is missing: votes become pairs with --texts (a table of item and text) and --prompt "
            "(what the texts answer)"
        )
    with on_stderr(), held(out, "--out"):
        for sentence in write_preferences(votes, texts, prompt, out, topic=topic):
            _say(sentence)
    return 0


def _warn(samples: Samples) -> None:
    """Say what may not be meant."""
    say = Voice()
    cut = float(np.mean([not row.finished for row in samples.rows]))
    if cut > CUT_SHARE:
        say.warn(
            f"{cut:.0%} of the texts were cut at the largest length: `train` learns their beginnings and no "
            "ends; raise --max-new-tokens of generate to have whole texts"
        )
    if not samples.from_policy:
        say.warn(
            f"texts were drawn at temperature {samples.settings['temperature']:g} and top_p "
            f"{samples.settings['top_p']:g}: fine to train on, but no prediction for the policy itself holds"
        )
    if len(samples.prompts) == 1:
        say.warn("the texts are of a single prompt: intervals over prompts need at least two")


def _slice(text: str) -> slice:
    """FIRST:END, END or nothing."""
    found = re.fullmatch(r"(?:(\d*):)?(\d*)", text)
    if not found:
        raise InputError(f"--draws must be FIRST:END, such as 0:768, got {text!r}")
    first, end = (int(number) if number else None for number in found.groups())
    if end is not None and end <= (first or 0):
        raise InputError(f"--draws {text} holds no draw: END must be larger than FIRST")
    return slice(first, end)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
