"""The check of labelled data on a file that train reads: what `distalign check` prints.

The check itself is `distalign.data_check`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distalign.checks import InputError, inside_unit, one_of
from distalign.data_check import DataCheck, check_labels, counts_by_prompt
from distalign.training.data.records import Record, RowCounter, read_records


@dataclass(frozen=True)
class FileCheck:
    """The result of `check_file`.

    Attributes:
        source: the file or data set.
        by: what shares a prior, prompt or group.
        units: how many prompts (or groups) there are.
        found: numbers of `distalign.data_check.check_labels`.
        warnings: its warnings, and one on a prior that the data contradict.
    """

    source: str
    by: str
    units: int
    found: DataCheck
    warnings: tuple[str, ...]

    def as_json(self) -> str:
        """One object; what was not measured is null."""
        flat = {
            "source": self.source,
            "by": self.by,
            "units": self.units,
            **asdict(self.found),
            "warnings": self.warnings,
        }
        return json.dumps(
            {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in flat.items()}, indent=1
        )

    def rows(self) -> list[tuple[str, str]]:
        """Name and number, in the order of the assumptions."""
        f = self.found
        numbers = [
            ("chosen, rejected responses", f"{f.chosen}, {f.rejected}"),
            ("share of chosen t (RDRO's alpha, DDRO's prior)", f"{f.prior:.4f} [{f.low:.4f}, {f.high:.4f}]"),
            (
                f"standard deviation of t over {self.units} {self.by}s",
                f"{f.prior_sd:.3f}, score {f.spread:.2f}",
            ),
            ("evidence that the reference is not the pooled law, nats", f"{f.evidence:.2f}"),
            ("weight of rejected to chosen in a mean over examples", f"{f.batch_mean_weight:.3f}"),
            ("probability that a micro-batch lacks a class", f"{f.empty_class:.3g}"),
        ]
        return [
            (name, text.replace("nan, score nan", "not measured").replace("nan", "not measured"))
            for name, text in numbers
        ]


def check_file(
    source: str | Path,
    *,
    prior: float | None = None,
    by: str = "prompt",
    micro_batch: int | None = None,
    reference: str | None = None,
    pooled: str | None = None,
    skip_bad_rows: bool = False,
    **scoring: Any,
) -> FileCheck:
    """Read a file as train does and test what RDRO and DDRO assume of it; weights are not read.

    Args:
        source: file or Hub data set in the formats of `distalign.training.data.records`.
        prior: the alpha of RDRO or the prior of DDRO you mean to train with, in (0, 1); none: the share
            found.
        by: "prompt", or "group" for the data's column `group`, where prompts have one response each.
        micro_batch: responses of one micro-batch.
        reference: model that is to be the reference; with `pooled`.
        pooled: the reference fine-tuned on *other* responses of this kind, chosen and rejected alike: if it
            finds these here more likely than the reference does, the reference did not write them.
        skip_bad_rows: leave malformed lines out.
        scoring: dtype, max_length and chat_template for the two models.

    Raises:
        InputError: a setting is out of range, the file cannot be read, a class is empty in the whole of it,
            the column `group` is missing, or one of the two models is given without the other.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pairs.jsonl"
        >>> _ = path.write_text('{"prompt": "2+2=", "chosen": "4", "rejected": "5"}\\n' * 3)
        >>> check_file(path).found.prior, check_file(path).warnings
        (0.5, ())
    """
    one_of("by", by, ("prompt", "group"))
    if prior is not None:
        inside_unit("prior", prior, "it is the share of preferred responses, RDRO's alpha")
    if (reference is None) != (pooled is None):
        raise InputError(
            "reference and pooled go together: give the reference model, and it fine-tuned on other responses"
        )
    records = read_records(source, RowCounter(str(source), skip_bad_rows))
    chosen, rejected = counts_by_prompt(*_labels(records, by, source))
    ratios = (
        None if pooled is None else _log_ratios(str(source), str(reference), pooled, skip_bad_rows, **scoring)
    )
    checked = check_labels(chosen, rejected, log_ratios=ratios, micro_batch=micro_batch)
    contradiction = (
        ()
        if prior is None or checked.low <= prior <= checked.high
        else (
            f"prior {prior:g} is not the share of chosen responses here, {checked.prior:.3f} "
            f"[{checked.low:.3f}, {checked.high:.3f}]: RDRO and DDRO then aim elsewhere; give them the share",
        )
    )
    return FileCheck(str(source), by, len(chosen), checked, (*checked.warnings, *contradiction))


def _labels(records: Sequence[Record], by: str, source: str | Path) -> tuple[list[str], list[bool]]:
    """Name of the prompt or group of each response, and whether it was chosen."""
    if by == "group" and any(record.group is None for record in records):
        raise InputError(f"{source} has no column 'group': add it, or check by prompt")
    names, labels = [], []
    for record in records:
        name = str(record.group) if by == "group" else json.dumps(record.prompt)
        for side, label in ((record.chosen, True), (record.rejected, False)):
            if side is not None:
                names.append(name)
                labels.append(label)
    return names, labels


def _log_ratios(
    source: str,
    reference: str,
    pooled: str,
    skip_bad_rows: bool,
    *,
    dtype: str = "bfloat16",
    max_length: int = 1024,
    chat_template: bool | None = None,
) -> np.ndarray:
    """(N,) log f - log p_ref of all responses, nats; one model in memory at a time."""
    import torch

    from distalign.training.data.load import load_preferences
    from distalign.training.model.policy import load_policy, tokenizer_of
    from distalign.training.model.scoring import score_examples

    data = load_preferences(
        source,
        tokenizer_of(reference),
        max_length=max_length,
        max_cut_share=1.0,  # what is left of a response has its probability under both models, too
        chat_template=chat_template,
        skip_bad_rows=skip_bad_rows,
    )
    f, ref = (
        torch.cat(score_examples(load_policy(model, dtype=dtype), data.examples, progress=True))
        for model in (pooled, reference)
    )
    return (f - ref).double().numpy()
