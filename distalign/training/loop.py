"""Training: update after update of the exact gradient of a global batch, to be killed and resumed at any
moment.
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

from distalign.checks import InputError
from distalign.step import StepResult
from distalign.training import checkpoint
from distalign.training.data.batches import known, sides
from distalign.training.journal import Journal, measured
from distalign.training.optimiser import learning_rate
from distalign.training.parallel import joined_world
from distalign.training.recipe import Recipe
from distalign.training.run import Run, prepare, printer

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
    with joined_world() as world:
        say = printer(world, progress)
        run = prepare(recipe, world, say, progress)
        torch.manual_seed(recipe.seed)
        resumed = _resume(run, say)
        journal = Journal(run.folder, recipe.report_to, asdict(recipe), run.done) if world.main else None
        try:
            loss, seconds = _updates(run, journal, progress)
            _save(run)
            checkpoint.replace_folder(run.folder / "model", run.save_model, world)
            evaluation = _finish(run, say, progress)
        finally:
            if journal is not None:
                journal.close()
        return Summary(
            run.folder,
            run.folder / "model",
            run.done,
            resumed,
            loss,
            run.tokens,
            seconds,
            _peak(run),
            evaluation,
        )


def _resume(run: Run, say: Callable[[str], object]) -> int:
    """Go on from the newest good checkpoint, if that is wanted and there is one."""
    if not run.recipe.resume_from_checkpoint:
        checkpoint.refuse_stale(run.folder)
        return 0
    found = checkpoint.latest(run.folder, run.world, say)
    if found is None:
        return 0
    checkpoint.check_same(found.state, run.state(), found.path)
    tensors = found.tensors(run.world)
    run.optimiser.load(tensors)
    checkpoint.restore_random(tensors)
    run.done, run.tokens, run.saved = found.step, int(found.state["tokens"]), found.step
    say(f"resuming after {run.done} of {run.total} updates, from {found.path}")
    return run.done


def _updates(run: Run, journal: Journal | None, progress: bool) -> tuple[float, float]:
    """All remaining updates; (last loss, seconds)."""
    from tqdm import tqdm

    recipe, loss, began, before = run.recipe, math.nan, time.perf_counter(), run.tokens
    with tqdm(
        total=run.total,
        initial=run.done,
        unit="update",
        file=sys.stderr,
        disable=not (progress and run.world.main and sys.stderr.isatty()),
    ) as bar:
        while run.done < run.total:
            result, norm, rate = _update(run)
            logs, evaluates = (
                _due(run, recipe.logging_steps),
                run.held is not None and _due(run, recipe.eval_steps),
            )
            row: dict[str, float] = {}
            if logs:
                loss = float(result.loss)
                row = _row(run, result, norm, rate)
                speed = (run.tokens - before) / (time.perf_counter() - began)
                bar.set_postfix_str(f"loss {loss:.4f}, {speed:.0f} tokens/s, {_peak(run) / 2**30:.1f} GiB")
            if evaluates:
                row |= {f"eval/{name}": value for name, value in _held_out(run).items()}
            if row and journal is not None:
                journal.write(run.done, row)
            if _due(run, recipe.save_steps):
                _save(run)
            bar.update()
    return loss, time.perf_counter() - began


def _due(run: Run, every: int) -> bool:
    return every > 0 and run.done % every == 0


def _update(run: Run) -> tuple[StepResult, Tensor, float]:
    """One update: gradient of the global batch, clipping, AdamW; (loss and scores, norm before clipping,
    learning rate).
    """
    recipe, order = run.recipe, run.training.batches
    share = order.shares(run.done)[run.world.rank]
    parts = [known(run.training.data, batch, run.training.reference) for batch in share]
    result = run.backward(share, parts)
    gradients = run.optimiser.gradients()
    if not run.sharded:
        run.world.sum(gradients)
    norm = run.optimiser.norm()
    if not bool(torch.isfinite(result.loss) & torch.isfinite(norm)):
        _stop(run, result, float(norm))
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
        for e in (run.training.data.examples[i] for i in order.global_batch(run.done))
    )
    run.done += 1
    return result, norm, rate


def _stop(run: Run, result: StepResult, norm: float) -> None:
    """Save the state before the update and say which lines of the data were in it."""
    run.optimiser.forget()
    _save(run)
    data, shares = run.training.data, run.training.batches.shares(run.done)
    in_order = [
        [i for share in shares for batch in share for i in sides(data, batch)[column]] for column in (0, 1)
    ]
    bad = {
        i
        for examples, scores in zip(in_order, (result.batch.chosen_ratio, result.batch.rejected_ratio))
        for i, fine in zip(examples, torch.isfinite(scores).tolist())
        if not fine
    }
    lines = _listed(data.examples[i].line for i in {*in_order[0], *in_order[1]})
    scores = "all log-probabilities are finite"
    if bad:
        scores = f"log-probabilities of {_listed(data.examples[i].line for i in bad)} are not finite"
    raise InputError(
        f"update {run.done + 1}: loss {float(result.loss)} and norm of the gradient {norm} are not both "
        f"finite; the batch holds lines {lines} of {run.recipe.train_data}, and {scores}. The state before "
        f"this update is saved in {run.folder}: look at those lines, or lower learning_rate and set another "
        "output_dir"
    )


def _listed(numbers: Any) -> str:
    found = sorted(set(numbers))
    return ", ".join(map(str, found[:32])) + (f" and {len(found) - 32} more" if len(found) > 32 else "")


def _row(run: Run, result: StepResult, norm: Tensor, rate: float) -> dict[str, float]:
    found = measured(float(result.loss), result.batch, run.objective, paired=run.training.data.paired)
    epoch = run.done * run.training.batches.size / run.training.batches.usable
    return found | {"epoch": epoch, "grad_norm": float(norm), "learning_rate": rate, "tokens": run.tokens}


def _held_out(run: Run) -> dict[str, float]:
    assert run.held is not None
    result = run.value(run.held)
    return measured(float(result.loss), result.batch, run.objective, paired=run.held.data.paired)


def _save(run: Run) -> None:
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


def _finish(run: Run, say: Callable[[str], object], progress: bool) -> dict[str, float]:
    """Evaluation on held-out data, scored by all processes, and the model card; process 0 writes both."""
    from distalign.training.evaluation import evaluate, report
    from distalign.training.evaluation.card import write_card

    found = None
    if run.held is not None:
        data, table = run.held.data, run.held.reference.cpu()
        reference = tuple(
            table[[i for i, e in enumerate(data.examples) if getattr(e, side) is not None], column]
            for column, side in enumerate(("chosen", "rejected"))
        )
        found = evaluate.evaluate(
            run.scorer,
            data,
            reference,
            run.objective,  # type: ignore[arg-type]
            world=run.world,
            progress=progress,
        )
        if run.world.main:
            report.write(found, run.folder / "evaluation")
    if run.world.main:
        facts = {
            "updates": run.done,
            "tokens": run.tokens,
            "global batch": run.training.batches.size,
            "processes": run.world.size,
            "weights before training": run.weights,
        }
        write_card(
            run.folder / "model",
            run.recipe,
            run.training.data,
            held=run.held.data if run.held else None,
            evaluation=found,
            facts=facts,
        )
        say(f"model: {run.folder / 'model'}")
    return found.values() if found is not None else {}


def _peak(run: Run) -> int:
    """Bytes: the device's peak, or the process's where there is none."""
    if run.world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(run.world.device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
