"""Training: update after update of the exact gradient of a global batch.

A run may be killed and resumed at any moment.

Read from top to bottom, this is the course of a run: `train` prepares it, resumes from a checkpoint where
there is one, makes the updates (each of them scored, differentiated, clipped, applied and logged; now and
then evaluated and saved), saves the model, and has the evaluation and the model card written.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distalign.step import StepResult
from distalign.training import checkpoint
from distalign.training.journal import Journal, logged_metrics
from distalign.training.non_finite import non_finite_error
from distalign.training.optimiser import learning_rate
from distalign.training.parallel import World, joined_world
from distalign.training.prepare import kept_to_this_run, prepare
from distalign.training.recipe import Recipe
from distalign.training.results import write_results
from distalign.training.resume import check_same
from distalign.training.run import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Summary:
    """What a run left behind.

    Attributes:
        output_dir: folder of metrics.csv, checkpoints and evaluation.
        model: folder that transformers (or peft) loads.
        steps: updates made, those before a resume included.
        resumed: updates that were there already.
        loss: the objective at the last update; NaN where nothing was left to do.
        tokens: tokens seen.
        seconds: of this call's updates.
        peak_memory: bytes, of the device or, on a CPU, of the process.
        evaluation: metric to value on held-out data; empty where nothing is held out.
    """

    output_dir: Path
    model: Path
    steps: int
    resumed: int
    loss: float
    tokens: int
    seconds: float
    peak_memory: int
    evaluation: dict[str, float]

    @property
    def metrics(self) -> pd.DataFrame:
        """metrics.csv: one row a logged update, a resumed run's earlier ones included."""
        import pandas as pd

        return pd.read_csv(self.output_dir / "metrics.csv")

    @property
    def held_out(self) -> pd.DataFrame:
        """One row a metric of the last evaluation, with its intervals; without rows where nothing is held
        out.
        """
        import pandas as pd

        path = self.output_dir / "evaluation" / "evaluation.csv"
        return pd.read_csv(path) if self.evaluation else pd.DataFrame(columns=["metric", "value"])

    def plot(self, *names: str) -> list[Axes]:
        """The axes of a figure of metrics over updates; `axes[0].figure` is the figure itself.

        Args:
            names: columns of `metrics`, one axes each; none means loss and rewards/margins, where there are
                both.

        Raises:
            InputError: a column that `metrics` has not.
        """
        from distalign.training.evaluation.report import draw_metrics

        return draw_metrics(self.metrics, names).axes


def train(recipe: Recipe, *, progress: bool = True) -> Summary:
    """Fine-tune a causal language model by an objective of `distalign.objectives`.

    The gradient is that of the global batch, whatever the micro-batch, the accumulation and the number of
    processes (start several with torchrun). Run the same recipe again after a kill and it goes on from the
    last good checkpoint, to the very weights it would have had.

    Args:
        recipe: what to train, on what, how.
        progress: lines and a bar on stderr (the bar only on a terminal).

    Raises:
        InputError: a mistake in recipe, data or model, found before long work; a loss or gradient that is not
            finite (the state before it is saved); a full disk (the last checkpoint is intact).
    """
    with joined_world() as world, kept_to_this_run(Path(recipe.output_dir), world):
        say = _printer(world, progress)
        run = prepare(recipe, world, say, progress)
        torch.manual_seed(recipe.seed)
        newest = _resume(run, say)
        resumed, saved = run.done, None if newest is None else newest.metrics
        journal = world.once(
            lambda: Journal(run.folder, recipe.report_to, asdict(recipe), run.done, saved=saved, say=say)
        )
        try:
            loss, seconds = _make_updates(run, journal, progress)
            _save(run)
            checkpoint.replace_folder(run.folder / "model", run.save_model, world)
            evaluation = write_results(run, say, progress)
        finally:
            if journal is not None:
                journal.close()
        return Summary(
            output_dir=run.folder,
            model=run.folder / "model",
            steps=run.done,
            resumed=resumed,
            loss=loss,
            tokens=run.tokens,
            seconds=seconds,
            peak_memory=_peak_memory(run),
            evaluation=evaluation,
        )


def _printer(world: World, progress: bool) -> Callable[[str], None]:
    """A function that prints a line for the user, on process 0 and past a progress bar."""

    def say(line: str) -> None:
        if world.main and progress:
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)

    return say


def _resume(run: Run, say: Callable[[str], object]) -> checkpoint.Checkpoint | None:
    """Go on from the newest good checkpoint, if that is wanted and there is one, and return it."""
    if not run.recipe.resume_from_checkpoint:
        checkpoint.refuse_stale(run.folder)
        return None
    newest = checkpoint.latest(run.folder, run.world, say)
    if newest is None:
        return None
    check_same(newest.state, run.state(), newest.path)
    tensors = newest.tensors(run.world)
    run.optimiser.load(tensors)
    checkpoint.restore_random(tensors)
    run.done, run.tokens, run.saved = newest.step, int(newest.state["tokens"]), newest.step
    say(f"resuming after {run.done} of {run.total} updates, from {newest.path}")
    return newest


# -- the updates --


def _make_updates(run: Run, journal: Journal | None, progress: bool) -> tuple[float, float]:
    """Make all remaining updates, and log, evaluate and save as often as the recipe says.

    Returns:
        (the last loss that was logged, seconds).
    """
    recipe, loss, began, tokens_before = run.recipe, math.nan, time.perf_counter(), run.tokens
    with _progress_bar(run, progress) as bar:
        while run.done < run.total:
            result, norm, rate = _update(run)
            row: dict[str, float] = {}
            if _due(run, recipe.logging_steps):
                loss = float(result.loss)
                row |= _training_row(run, result, norm, rate)
                speed = (run.tokens - tokens_before) / (time.perf_counter() - began)
                memory = _peak_memory(run) / 2**30
                bar.set_postfix_str(f"loss {loss:.4f}, {speed:.0f} tokens/s, {memory:.1f} GiB")
            if run.held_out is not None and _due(run, recipe.eval_steps):
                row |= _held_out_row(run)
            if row and journal is not None:
                journal.write(run.done, row)
            if _due(run, recipe.save_steps):
                _save(run)
            bar.update()
    return loss, time.perf_counter() - began


def _progress_bar(run: Run, progress: bool) -> Any:
    from tqdm import tqdm

    shown = progress and run.world.main and sys.stderr.isatty()
    return tqdm(total=run.total, initial=run.done, unit="update", file=sys.stderr, disable=not shown)


def _due(run: Run, every: int) -> bool:
    return every > 0 and run.done % every == 0


def _update(run: Run) -> tuple[StepResult, Tensor, float]:
    """Make one update: gradient of the global batch, sum over processes, clipping, AdamW.

    Returns:
        (loss and scores of the global batch, norm of the gradient before clipping, learning rate).
    """
    recipe, batches = run.recipe, run.training.batches
    result = run.backward(batches.shares(run.done)[run.world.rank])
    gradients = run.optimiser.gradients()
    if not run.sharded:  # fsdp2 has reduced them in its backward pass
        run.world.sum(gradients)
    norm = run.optimiser.norm()
    if not bool(torch.isfinite(result.loss) & torch.isfinite(norm)):
        run.optimiser.forget()
        _save(run)  # the state before this update
        raise non_finite_error(run, result, float(norm))
    run.optimiser.clip(norm, recipe.max_grad_norm)
    rate = learning_rate(
        run.done,
        run.total,
        peak=recipe.learning_rate,
        kind=recipe.lr_scheduler_type,
        warmup_ratio=recipe.warmup_ratio,
    )
    run.optimiser.step(rate)
    run.tokens += sum(
        len(e.prompt) + len(e.chosen or ()) + len(e.rejected or ())
        for e in (run.training.data.examples[i] for i in batches.global_batch(run.done))
    )
    run.done += 1
    return result, norm, rate


# -- what is logged --


def _training_row(run: Run, result: StepResult, norm: Tensor, rate: float) -> dict[str, float]:
    """Metrics of the global batch that was just trained on, scored before the update."""
    paired, batches = run.training.data.paired, run.training.batches
    return logged_metrics(float(result.loss), result.batch, run.objective, paired=paired) | {
        "epoch": run.done * batches.size / batches.usable,
        "grad_norm": float(norm),
        "learning_rate": rate,
        "tokens": run.tokens,
    }


def _held_out_row(run: Run) -> dict[str, float]:
    """The same metrics of the held-out data, under the prefix `eval/`."""
    assert run.held_out is not None
    result = run.value(run.held_out)
    metrics = logged_metrics(float(result.loss), result.batch, run.objective, paired=run.held_out.data.paired)
    return {f"eval/{name}": value for name, value in metrics.items()}


def _peak_memory(run: Run) -> int:
    """Bytes: the device's peak, or the process's where there is none."""
    if run.world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(run.world.device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# -- what is saved --


def _save(run: Run) -> None:
    """Write a checkpoint of this update, unless there is one."""
    if run.saved == run.done:
        return
    run.saved = run.done
    checkpoint.save(
        run.folder,
        run.optimiser.tensors(),
        run.state(),
        run.world,
        keep=run.recipe.save_total_limit,
        model=run.save_model,
    )
