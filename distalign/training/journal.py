"""The journal of a run: metrics.csv always, and a tracker where one is asked for.

One row is written for each logged update. Rows are a function of the recipe and the data only, so a run that
was killed and resumed leaves the same bytes as one that ran through.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from distalign.checks import InputError
from distalign.files import write_whole
from distalign.preferences import PreferenceLogProbs
from distalign.training.evaluation.measures import of_rewards, rewards

MEASURES = (
    "loss",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "rewards/accuracies",
    "logps/chosen",
    "logps/rejected",
    "dominance_w1",
    "dominance_w2",
    "violated_quantiles",
    "displacement",
)
COLUMNS = (
    "step",
    "epoch",
    *MEASURES,
    "grad_norm",
    "learning_rate",
    "tokens",
    *(f"eval/{name}" for name in MEASURES),
)
_MODULES = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}


def logged_metrics(
    loss: float, batch: PreferenceLogProbs, objective: partial[Tensor], *, paired: bool
) -> dict[str, float]:
    """The loss and every metric of `distalign.metrics`, under TRL's names where TRL has one.

    Rewards are those that the objective implies. A batch without rejected responses, as sft may have, has
    only the metrics of the chosen ones.

    Example:
        >>> import torch
        >>> from distalign.objectives import dpo
        >>> batch = PreferenceLogProbs(*torch.tensor([[-1.0], [-2.0], [-1.5], [-1.0]]))
        >>> row = logged_metrics(0.5, batch, partial(dpo, beta=2.0), paired=True)
        >>> row["rewards/margins"], row["rewards/accuracies"], row["logps/chosen"]
        (3.0, 1.0, -1.0)
    """
    row = of_rewards(batch, *rewards(batch, objective))
    accuracy = row.pop("accuracy", None)
    if paired and accuracy is not None:
        row["rewards/accuracies"] = accuracy
    else:
        row.pop("rewards/margins", None)
    row |= {"loss": loss, "logps/chosen": float((batch.chosen_frequencies * batch.chosen).sum())}
    if len(batch.rejected):
        row["logps/rejected"] = float((batch.rejected_frequencies * batch.rejected).sum())
    return row


def check_tracker(name: str) -> None:
    """Raise unless the tracker is installed."""
    if name != "none" and importlib.util.find_spec(_MODULES[name]) is None:
        raise InputError(
            f"report_to {name} needs the package {_MODULES[name]}, which is not installed: pip install "
            f"{_MODULES[name]}, or say report_to none; metrics.csv is written in any case"
        )


class Journal:
    """metrics.csv in a folder, and a tracker beside it.

    Args:
        folder: the run's.
        report_to: "none", "tensorboard", "wandb" or "trackio".
        config: what the tracker stores about the run.
        step: updates already made; later rows of an interrupted run are dropped, to be written again.
    """

    def __init__(self, folder: Path, report_to: str, config: Mapping[str, Any], step: int) -> None:
        """Bring the file to this step and open the tracker."""
        self.path = folder / "metrics.csv"
        rows = _rows(self.path, step) if step else []
        write_whole(self.path, lambda path: path.write_text(_line(COLUMNS) + "".join(map(_line, rows))))
        self._tracker = _tracker(report_to, folder, dict(config), step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the row of this update; absent values stay empty."""
        row = {"step": step} | dict(values)
        try:
            with self.path.open("a", newline="") as file:
                file.write(_line([_text(row.get(name)) for name in COLUMNS]))
        except OSError as error:
            raise InputError(
                f"cannot write {self.path}: {error.strerror}; free space, then run the same command again: "
                "it goes on from the last checkpoint"
            ) from error
        if self._tracker is not None:
            self._tracker(step, dict(values))

    def close(self) -> None:
        """Flush the tracker."""
        if self._tracker is not None:
            self._tracker(-1, {})


def _line(cells) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


def _rows(path: Path, step: int) -> list[list[str]]:
    """Whole rows up to this step; a kill may have cut the last one short."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        text = file.read()
    rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
    if not rows or rows[0] != list(COLUMNS):
        return []
    return [row for row in rows[1:] if len(row) == len(COLUMNS) and int(row[0]) <= step]


def _tracker(name: str, folder: Path, config: dict[str, Any], step: int):
    """A function (step, values) that reports; step -1 closes."""
    check_tracker(name)
    if name == "none":
        return None
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

        def report(at: int, values: dict[str, float]) -> None:
            for key, value in values.items():
                writer.add_scalar(key, value, at)
            if at < 0:
                writer.close()

        return report
    module: Any = importlib.import_module(name)
    run = module.init(project="distalign", name=folder.name, config=config)

    def log(at: int, values: dict[str, float]) -> None:
        if at < 0:
            (run if hasattr(run, "finish") else module).finish()
        else:
            run.log(values, step=at)

    return log
