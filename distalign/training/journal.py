"""The journal of a run: metrics.csv always, and trackers where they are asked for.

One row is written for each logged update. Rows are a function of the recipe and the data only, so a run that
was killed and resumed leaves the same bytes as one that ran through.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from distalign.checks import InputError
from distalign.files import disk_trouble, write_text
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


def trackers(report_to: str | Sequence[str]) -> list[str]:
    """The trackers that a recipe's report_to names.

    Example:
        >>> trackers("none"), trackers("wandb"), trackers(["tensorboard", "wandb"])
        ([], ['wandb'], ['tensorboard', 'wandb'])
    """
    named = [report_to] if isinstance(report_to, str) else list(report_to)
    return [name for name in named if name != "none"]


def check_tracker(report_to: str | Sequence[str]) -> None:
    """Raise unless each tracker is installed."""
    for name in trackers(report_to):
        if importlib.util.find_spec(_MODULES[name]) is None:
            raise InputError(
                f"report_to {name} needs the package {_MODULES[name]}, which is not installed: pip install "
                f"{_MODULES[name]}, or leave it out of report_to; metrics.csv is written in any case"
            )


class Journal:
    """metrics.csv in a folder, and trackers beside it.

    Args:
        folder: the run's.
        report_to: "none", "tensorboard", "wandb" or "trackio", or a list of several.
        config: what the trackers store about the run.
        step: updates already made; later rows of an interrupted run are dropped, to be written again.
        saved: the rows as the checkpoint has them, which holds them whole and checked; None or a missing file
            where it has none: then the folder's own file is read.
        columns: of the file.
        say: takes a line for the user.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        report_to: str | Sequence[str],
        config: Mapping[str, Any],
        step: int,
        *,
        saved: Path | None = None,
        columns: tuple[str, ...] = COLUMNS,
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        """Bring the file to this step and open the trackers."""
        self.path, self.columns = folder / "metrics.csv", columns
        rows = _history(self.path, saved, step, columns, say) if step else []
        write_text(self.path, _line(columns) + "".join(map(_line, rows)))
        check_tracker(report_to)
        self._trackers = [_tracker(name, folder, dict(config), step) for name in trackers(report_to)]

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the row of this update; absent values stay empty."""
        row = {"step": step} | dict(values)
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(_line([_text(row.get(name)) for name in self.columns]))
        except OSError as error:
            why, remedy = disk_trouble(error) or (str(error), "free space")
            raise InputError(
                f"cannot write {self.path}: {why}; {remedy}, then run the same command again: it goes on "
                "from the last checkpoint"
            ) from error
        for report in self._trackers:
            report(step, dict(values))

    def close(self) -> None:
        """Flush the trackers."""
        for report in self._trackers:
            report(-1, {})


def _line(cells) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


def _history(
    path: Path, saved: Path | None, step: int, columns: tuple[str, ...], say: Callable[[str], object]
) -> list[list[str]]:
    """The rows up to this step, the checkpoint's where it has any; a line says what was lost or repaired."""
    own = _rows(path, step, columns)
    if saved is None or not saved.is_file():
        if own is None:
            say(f"{path} is lost or damaged: its rows up to update {step} cannot be restored")
        return own or []
    kept = _rows(saved, step, columns) or []
    if own != kept:
        say(f"{path} is lost or damaged: its rows up to update {step} are restored from {saved.parent}")
    return kept


def _rows(path: Path, step: int, columns: tuple[str, ...]) -> list[list[str]] | None:
    """Whole rows up to this step; None where there is no such file, or another or a damaged one.

    A kill may have cut the last row short, which is no damage.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        header, *rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
        steps = [int(row[0]) for row in rows]
        whole = header == list(columns) and all(len(row) == len(columns) for row in rows)
        [float(cell) for row in rows for cell in row if cell]
    except (OSError, ValueError, IndexError, csv.Error):
        return None
    if not whole or sorted(set(steps)) != steps:
        return None
    return [row for row, at in zip(rows, steps, strict=True) if at <= step]


def _tracker(name: str, folder: Path, config: dict[str, Any], step: int):
    """A function (step, values) that reports; step -1 closes."""
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
