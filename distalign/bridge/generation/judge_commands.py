"""Bodies of `distalign judge` and `distalign predict`; imported only when one of them runs."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distalign.bridge.generation import judge_report, predict_report
from distalign.bridge.generation.draws import draws_of
from distalign.bridge.generation.judgement import judge as judged
from distalign.bridge.generation.prediction import predict as predicted
from distalign.bridge.generation.users import read_users, utilities_of
from distalign.checks import InputError, whole
from distalign.files import write_text
from distalign.training.commands import print_table
from distalign.training.data.sources import BadRow, read_rows
from distalign.training.evaluation.samples import Samples, read_samples


def judge(
    ours: Path, out: Path, against: Path | None, draws: Path | None, verdicts: str | None, **how: Any
) -> int:
    """Judge the texts of a file, print what was found, and say where the tables lie."""
    whole("--seed", how["seed"], 0, "any seed will do")
    texts = {"ours": read_samples(ours)}
    if against is not None:
        texts["against"] = read_samples(against)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = judged(
            texts["ours"],
            against=texts.get("against"),
            draws=None if draws is None else read_samples(draws),
            verdicts=None if verdicts is None else _verdicts(verdicts),
            **how,
        )
    asked = {"ours": ours, "against": against, "draws": draws, "verdicts": verdicts, "score": how["score"]}
    judge_report.write(found, out, asked={k: str(v) for k, v in asked.items() if v is not None})
    notes = [str(warning.message) for warning in heard] + list(found.notes) + _alpaca_eval(texts, out)
    print_table(
        ("texts", "metric", "value", "95 % interval", "n", "prompts"),
        [
            (
                r["texts"],
                r["metric"],
                f"{r['value']:.4g}",
                f"[{r['low_95']:.4g}, {r['high_95']:.4g}]",
                r["n"],
                r["prompts"],
            )
            for r in found.table.to_dict("records")
        ],
    )
    for note in notes:
        _say(f"note: {note}")
    _say(f"tables, JSON and notes written to {out}")
    return 0


def predict(
    draws: Path,
    population: str,
    out: Path,
    kl: float,
    betas: tuple[float, ...],
    divergences: tuple[str, ...],
) -> int:
    """Predict from the draws of a file, print the table, and say where the rest lies."""
    users, samples = read_users(population), read_samples(draws)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        log_prob = draws_of(samples).log_prob
    given = utilities_of(samples, users)
    found = predicted(given, log_prob, budget=kl, betas=betas, divergences=divergences, progress=True)
    asked = {"draws": draws, "population": population, "kl": kl, "model": samples.settings.get("model")}
    title = f"{asked['model']}, population {users.name}. " if asked["model"] else ""
    predict_report.write(found, out, asked={k: str(v) for k, v in asked.items()}, title=title)
    rows, below = predict_report.lines(found.table)
    print_table(predict_report.COLUMNS, rows)
    for line in below:
        print(line)
    for note in [*(str(warning.message) for warning in heard), *found.notes]:
        _say(f"note: {note}")
    _say(f"table, JSON and figure written to {out}")
    return 0


def _verdicts(source: str) -> list[Mapping[str, Any]]:
    rows = []
    for line, row in read_rows(source):
        if isinstance(row, BadRow):
            raise InputError(f"{source}, line {line}: {row}")
        rows.append(row)
    return rows


def _alpaca_eval(texts: Mapping[str, Samples], out: Path) -> list[str]:
    """Write the files of AlpacaEval where prompts allow it; a note where they do not."""
    for name, samples in texts.items():
        generator = Path(str(samples.settings.get("model", name))).name
        try:
            rows = judge_report.alpaca_eval(samples, generator)
        except InputError as error:
            return [f"no file for AlpacaEval: {error}"]
        file = "alpaca_eval.json" if name == "ours" else "alpaca_eval_against.json"
        write_text(out / file, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    return []


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
