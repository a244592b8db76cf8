"""What a user is told when a loss or a gradient is not finite: which lines of the data were in the batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from distalign.checks import InputError
from distalign.step import StepResult
from distalign.training.data.batches import sides

if TYPE_CHECKING:
    from distalign.training.run import Run


def non_finite_error(run: Run, result: StepResult, norm: float) -> InputError:
    """The error to raise at an update whose loss or gradient is not finite.

    Args:
        run: before this update.
        result: loss and scores of the global batch.
        norm: of the gradient.
    """
    data, shares = run.training.data, run.training.batches.shares(run.done)
    scored = [
        [i for share in shares for batch in share for i in sides(data, batch)[column]] for column in (0, 1)
    ]
    bad = {
        i
        for examples, ratios in zip(scored, (result.batch.chosen_ratio, result.batch.rejected_ratio))
        for i, finite in zip(examples, torch.isfinite(ratios).tolist())
        if not finite
    }
    lines = _listed(data.examples[i].line for i in {*scored[0], *scored[1]})
    scores = "all log-probabilities are finite"
    if bad:
        scores = f"log-probabilities of {_listed(data.examples[i].line for i in bad)} are not finite"
    return InputError(
        f"update {run.done + 1}: loss {float(result.loss)} and norm of the gradient {norm} are not both "
        f"finite; the batch holds lines {lines} of {run.recipe.train_data}, and {scores}. The state before "
        f"this update is saved in {run.folder}: look at those lines, or lower learning_rate and set another "
        "output_dir"
    )


def _listed(numbers: Iterable[int]) -> str:
    ordered = sorted(set(numbers))
    more = f" and {len(ordered) - 32} more" if len(ordered) > 32 else ""
    return ", ".join(map(str, ordered[:32])) + more
