"""A judgement as files: tables, JSON, and texts in the format that AlpacaEval reads.

Source: ours; the format is that of AlpacaEval's `--model_outputs`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from distalign.bridge.generation.draws import rows_by_prompt
from distalign.bridge.generation.judgement import Judgement
from distalign.checks import InputError
from distalign.figures import write_table
from distalign.files import write_text
from distalign.training.evaluation.dictionary import METRICS
from distalign.training.evaluation.samples import Samples


def write(found: Judgement, out: Path, *, asked: Mapping[str, Any]) -> None:
    """Write judge.csv with its dictionary, judge.json and notes.txt.

    Args:
        found: the judgement.
        out: folder.
        asked: what was judged, for judge.json.

    Raises:
        InputError: a file cannot be written.
    """
    write_table(found.table, out / "judge.csv")
    described = [(name, *METRICS[name]) for name in dict.fromkeys(found.table.metric)]
    write_table(pd.DataFrame(described, columns=["metric", "unit", "meaning"]), out / "judge_dictionary.csv")
    write_text(out / "judge.json", json.dumps(as_json(found, asked), indent=1) + "\n")
    write_text(out / "notes.txt", "".join(note + "\n" for note in found.notes))


def as_json(found: Judgement, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, the table's rows and the notes; null where there is no number."""
    return {"asked": dict(asked), "metrics": records(found.table), "notes": list(found.notes)}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON has them: null where there is no number."""
    return json.loads(table.to_json(orient="records", double_precision=15) or "[]")


def alpaca_eval(samples: Samples, generator: str) -> list[dict[str, str]]:
    """The first text of each prompt as AlpacaEval reads it: instruction, output, generator.

    Args:
        samples: texts whose file holds the prompts, each a text or one message of a user.
        generator: name of the model.

    Raises:
        InputError: the file does not hold the prompts, or one has several messages, which AlpacaEval's
            format has no place for.
    """
    rows = []
    for index, (first, *_) in rows_by_prompt(samples).items():
        instruction = _instruction(first.prompt)
        if instruction is None:
            why = "is not in the file" if first.prompt is None else "has several messages"
            raise InputError(
                f"AlpacaEval needs an instruction for each text, and prompt {index} {why}: generate texts to "
                "prompts of one message"
            )
        rows.append({"instruction": instruction, "output": first.response, "generator": generator})
    return rows


def _instruction(prompt: Any) -> str | None:
    if isinstance(prompt, str) and prompt.startswith("[{"):
        try:
            prompt = json.loads(prompt)  # messages, as a Parquet file holds them
        except ValueError:
            return prompt
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0].get("content"), str):
        return prompt[0]["content"]
    return None
