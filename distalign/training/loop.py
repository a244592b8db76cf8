"""Training: update after update of the exact gradient of a global batch.

A run may be killed and resumed at any moment.

Read from top to bottom, this is the course of a run: `train` prepares it, resumes from a checkpoint where
there is one, makes the updates (each of them scored, differentiated, clipped, applied and logged; now and
then evaluated and saved), saves the model, and has the evaluation and the model card written.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.progress import Voice, duration, on_stderr, on_terminal
from distalign.report import report
from distalign.training import checkpoint
from distalign.training.course import Course, Found
from distalign.training.journal import Journal
from distalign.training.optimiser import learning_rate
from distalign.training.parallel import World, joined_world
from distalign.training.prepare import kept_to_this_run, prepare
from distalign.training.push import push_of, ready_for
from distalign.training.recipe import Recipe
from distalign.training.recipe_online import OnlineRecipe
from distalign.training.resume import check_same, other_processes, other_threads

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
        peak_memory: bytes, of the device or, on a CPU, of the process; 0 on Windows without a device, where
            the process's peak is not known.
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
    def page(self) -> Path:
        """report.html: settings, curves, tables and the card on one page that needs no other file."""
        return self.output_dir / "report.html"

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
        from distalign.figures import draw_metrics

        return draw_metrics(self.metrics, names).axes


def train(recipe: Recipe, *, progress: bool = True) -> Summary:
    """Fine-tune a causal language model on given responses by an objective of `distalign.objectives`.

    The gradient is that of the global batch, whatever the micro-batch, the accumulation and the number of
    processes (start several with torchrun). Run the same recipe again after a kill and it goes on from the
    last good checkpoint, to the very weights it would have had.

    Args:
        recipe: what to train, on what, how.
        progress: write lines to stderr, and on a terminal a bar. False leaves the lines to the logger
            `distalign` alone.

    Raises:
        InputError: a mistake in recipe, data or model, found before long work; a loss or gradient that is not
            finite (the state before it is saved); a full disk (the last checkpoint is intact).
    """
    if isinstance(recipe, OnlineRecipe):
        raise InputError(
            f"objective {recipe.objective} with a reward or preference is trained on texts that the policy "
            "writes: call distalign.bridge.online.train, or `distalign train` on the command line"
        )
    return run_to_its_end(recipe, prepare, progress=progress)


Prepare = Callable[[Recipe, World, Voice, bool], Course[Any]]
"""(recipe, processes, voice, whether bars are shown) -> the run before its first update."""


def run_to_its_end(recipe: Recipe, prepare: Prepare, *, progress: bool = True) -> Summary:
    """Prepare a run, go on from its last good checkpoint, make its updates, and write what it found.

    Args:
        recipe: what to train, on what, how.
        prepare: makes the run.
        progress: as in `train`.

    Raises:
        InputError: as `train`.
    """
    with (
        on_stderr(progress),
        joined_world() as world,
        kept_to_this_run(Path(recipe.output_dir), world),
    ):
        say = Voice(world.main)
        world.once(lambda: ready_for(recipe))
        run = prepare(recipe, world, say, progress)
        torch.manual_seed(recipe.seed)
        newest = _resume(run, say)
        resumed, saved = run.done, None if newest is None else newest.metrics
        journal = world.once(
            lambda: Journal(
                run.folder,
                recipe.report_to,
                asdict(recipe),
                run.done,
                saved=saved,
                columns=run.columns,
                say=say,
            )
        )
        try:
            loss, seconds = _make_updates(run, journal, say, progress)
            _save(run)
            checkpoint.replace_folder(run.folder / "model", run.save_model, world)
            evaluation = run.results(say, progress)
            world.once(lambda: say(f"all of it on one page: {report(run.folder)}"))
            world.once(lambda: push_of(recipe, run.folder / "model", say))
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


def _resume(run: Course[Any], say: Callable[[str], object]) -> checkpoint.Checkpoint | None:
    """Go on from the newest good checkpoint, if that is wanted and there is one, and return it."""
    if not run.recipe.resume_from_checkpoint:
        checkpoint.refuse_stale(run.folder)
        return None
    newest = checkpoint.latest(run.folder, run.world, say)
    if newest is None:
        return None
    check_same(newest.state, run.state(), newest.path)
    tensors = newest.tensors(run.world, run.sharded)
    run.optimiser.load(tensors)
    checkpoint.restore_random(tensors)
    run.done, run.tokens, run.saved = newest.step, int(newest.state["tokens"]), newest.step
    say(f"resuming after {run.done} of {run.total} updates, from {newest.path}")
    for words in (other_threads(newest.state, run.state()), other_processes(newest.state, run.state())):
        if words:
            say(words)
    return newest


# -- the updates --


def _make_updates(
    run: Course[Any], journal: Journal | None, say: Callable[[str], object], progress: bool
) -> tuple[float, float]:
    """Make all remaining updates, and log, evaluate and save as often as the recipe says.

    Returns:
        (the last loss that was logged, seconds).
    """
    recipe, loss = run.recipe, math.nan
    pace = Pace.from_now(run)
    with _progress_bar(run, progress) as bar:
        while run.done < run.total:
            result, norm, rate = _update(run)
            row: dict[str, float] = {}
            if _due(run, recipe.logging_steps):
                loss = float(result.loss)
                row |= _training_row(run, result, norm, rate)
                line = f"{_shown(row)}, {pace.tokens_per_second(run):,.0f} tokens/s{_memory(run)}"
                if bar.disable:
                    say(f"update {run.done}/{run.total}: {line}, {pace.left(run)} left")
                else:
                    bar.set_postfix_str(line)
            if _due(run, recipe.eval_steps) and (held_out := run.held_out_row()):
                say(f"update {run.done}/{run.total}: held out: {_shown(held_out, 'eval/')}")
                row |= held_out
            if row and journal is not None:
                journal.write(run.done, row)
            if _due(run, recipe.save_steps):
                _save(run)
            bar.update()
    return loss, pace.seconds


def _progress_bar(run: Course[Any], progress: bool) -> Any:
    from tqdm import tqdm

    shown = progress and run.world.main and on_terminal()
    return tqdm(total=run.total, initial=run.done, unit="update", file=sys.stderr, disable=not shown)


def _due(run: Course[Any], every: int) -> bool:
    return every > 0 and run.done % every == 0


def _update(run: Course[Found]) -> tuple[Found, Tensor, float]:
    """Make one update: gradient of the global batch, sum over processes, clipping, AdamW.

    Returns:
        (what the global batch showed, norm of the gradient before clipping, learning rate).
    """
    recipe, result = run.recipe, run.gradient()
    gradients = run.optimiser.gradients()
    if not run.sharded:  # fsdp2 has reduced them in its backward pass
        run.world.sum(gradients)
    norm = run.optimiser.norm()
    if not bool(torch.isfinite(result.loss) & torch.isfinite(norm)):
        run.optimiser.forget()
        _save(run)  # the state before this update
        raise run.non_finite(result, float(norm))
    run.optimiser.clip(norm, recipe.max_grad_norm)
    rate = learning_rate(
        run.done,
        run.total,
        peak=recipe.learning_rate,
        kind=recipe.lr_scheduler_type,
        warmup_ratio=recipe.warmup_ratio,
    )
    run.optimiser.step(rate)
    run.tokens += run.seen(result)
    run.done += 1
    return result, norm, rate


# -- what is logged --


@dataclass(frozen=True)
class Pace:
    """How fast updates are made since `run` was at the state in which this is made."""

    began: float
    done: int
    tokens: int

    @classmethod
    def from_now(cls, run: Course[Any]) -> Pace:
        """The pace of the updates after this one."""
        return cls(time.perf_counter(), run.done, run.tokens)

    @property
    def seconds(self) -> float:
        """Seconds since then."""
        return time.perf_counter() - self.began

    def tokens_per_second(self, run: Course[Any]) -> float:
        """Tokens seen in a second."""
        return (run.tokens - self.tokens) / self.seconds

    def left(self, run: Course[Any]) -> str:
        """The time that the remaining updates will take."""
        return duration(self.seconds / max(1, run.done - self.done) * (run.total - run.done))


_SHOWN = {
    "loss": "loss {:.4f}",
    "rewards/margins": "margin {:.4f}",
    "rewards/accuracies": "accuracy {:.2f}",
    "reward": "reward {:.4f}",
    "kl": "KL {:.4f}",
    "entropy": "entropy {:.3f}",
    "response_tokens": "length {:.1f}",
    "unfinished": "cut {:.0%}",
    "grad_norm": "grad norm {:.3g}",
    "learning_rate": "lr {:.2e}",
}
"""Metrics of a line, those of them that a row has."""


def _shown(row: Mapping[str, float], prefix: str = "") -> str:
    return ", ".join(text.format(row[prefix + name]) for name, text in _SHOWN.items() if prefix + name in row)


def _training_row(run: Course[Found], result: Found, norm: Tensor, rate: float) -> dict[str, float]:
    """Metrics of the global batch that was just trained on, and of the update."""
    return run.row(result) | {
        "grad_norm": float(norm),
        "learning_rate": rate,
        "tokens": run.tokens,
    }


def _memory(run: Course[Any]) -> str:
    peak = _peak_memory(run)
    return f", {peak / 2**30:.2f} GiB" if peak else ""


def _peak_memory(run: Course[Any]) -> int:
    """Bytes: the device's peak, or the process's where there is none; 0 where the system does not say."""
    if run.world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(run.world.device)
    try:
        import resource
    except ImportError:  # Windows has no such module
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# -- what is saved --


def _save(run: Course[Any]) -> None:
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
