"""What a finished run writes: its evaluation on held-out data, and the model card."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from distalign.training.data.batches import MicroBatch, sides
from distalign.training.splits import Split

if TYPE_CHECKING:
    from distalign.training.evaluation.evaluate import Evaluation
    from distalign.training.run import Run


def write_results(run: Run, say: Callable[[str], object], progress: bool) -> dict[str, float]:
    """Evaluate on held-out data, and write the evaluation and the model card.

    Every process calls this; process 0 writes, and the others wait until it has written.

    Returns:
        Metric to value on held-out data; empty where nothing is held out.
    """
    from distalign.training.evaluation import report

    if run.held_out is not None:
        say(f"evaluating on {len(run.held_out.data.examples):,} held-out examples")
    evaluation = None if run.held_out is None else _evaluated(run, run.held_out, progress)

    def write() -> None:
        if evaluation is not None:
            report.write(evaluation, run.folder / "evaluation")
        _write_card(run, evaluation)

    run.world.once(write)
    say(f"model: {run.folder / 'model'}")
    return {} if evaluation is None else evaluation.values()


def _evaluated(run: Run, split: Split, progress: bool) -> Evaluation:
    """The evaluation of a split, scored by all processes together."""
    from distalign.training.evaluation.evaluate import evaluate

    return evaluate(
        run.scorer,
        split.data,
        _reference_of(split),
        run.objective,
        world=run.world,
        progress=progress,
    )


def _reference_of(split: Split) -> tuple[Tensor, Tensor]:
    """Reference log-probabilities of the chosen responses and of the rejected ones, on the CPU."""
    table = split.reference.cpu()
    chosen, rejected = sides(split.data, MicroBatch(tuple(range(len(split.data.examples)))))
    return table[chosen, 0], table[rejected, 1]


def _write_card(run: Run, evaluation: Evaluation | None) -> None:
    from distalign.training.evaluation.card import write_card

    write_card(
        run.folder / "model",
        run.recipe,
        run.training.data,
        held=run.held_out.data if run.held_out else None,
        evaluation=evaluation,
        facts={
            "updates": run.done,
            "tokens": run.tokens,
            "global batch": run.training.batches.size,
            "processes": run.world.size,
            "weights before training": run.weights,
        },
    )
