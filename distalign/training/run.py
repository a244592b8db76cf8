"""A training run on responses of a file, and what it does with its policy: it scores, differentiates and
evaluates.

`distalign.training.prepare` makes a `Run`, and `distalign.training.loop` takes it from update to update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, ClassVar

from torch import Tensor

from distalign import step
from distalign.checks import InputError
from distalign.objectives import declared
from distalign.training import wasserstein
from distalign.training.course import Course
from distalign.training.data.batches import MicroBatch, reference_batch, reference_batches, split_scores
from distalign.training.data.rows import PreferenceData
from distalign.training.journal import COLUMNS, logged_metrics
from distalign.training.model.scoring import score_examples
from distalign.training.non_finite import non_finite_error
from distalign.training.parallel import reduced_once
from distalign.training.results import write_results
from distalign.training.splits import Split, evaluation_shares


@dataclass(kw_only=True)
class Run(Course[step.StepResult]):
    """A run on responses of a file, between updates.

    Attributes:
        objective: of `distalign.objectives`, options bound.
        training: the data it trains on.
        held_out: the data it is evaluated on, or None.
    """

    columns: ClassVar[tuple[str, ...]] = COLUMNS

    objective: partial[Tensor]
    training: Split
    held_out: Split | None

    @property
    def digest(self) -> str:
        """Hex digest of the training data."""
        return self.training.data.digest

    @property
    def size(self) -> int:
        """Examples of the global batch."""
        return self.training.batches.size

    @property
    def needs_embeddings(self) -> bool:
        """Whether the objective differentiates by the token embeddings, as WDPO does."""
        return "inputs" in declared(self.objective).needs

    # -- scoring --

    def layout(self, data: PreferenceData, batch: MicroBatch) -> Any:
        """The micro-batch as tensors."""
        return self.scorer.layout([data.examples[i].row() for i in batch.examples])

    def score(
        self, data: PreferenceData, batch: MicroBatch, inputs: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(chosen, rejected) log-probabilities of a micro-batch, at these embeddings if they are given."""
        return split_scores(data, batch, self.scorer(self.layout(data, batch), inputs))

    def scores(self, data: PreferenceData, progress: bool = False) -> tuple[Tensor, Tensor]:
        """(chosen, rejected) log-probabilities of all data, without gradients.

        Each distinct sequence is scored once, and the processes share the work.
        """
        return score_examples(self.scorer, data.examples, world=self.world, progress=progress)

    def reader(self, data: PreferenceData) -> wasserstein.Reader[MicroBatch]:
        """How WDPO reads the data: through token embeddings.

        A row of embeddings belongs to the pair it was laid out for.
        """

        def reference(batch: MicroBatch, inputs: Tensor) -> tuple[Tensor, Tensor]:
            with self.scorer.reference():
                return self.score(data, batch, inputs)

        return wasserstein.Reader(
            embed=lambda batch: self.scorer.embed(self.layout(data, batch)),
            score=partial(self.score, data),
            owner=lambda batch: self.layout(data, batch).rows * batch.counts,
            reference=reference if self.recipe.switches_off else None,
        )

    # -- what the loop asks for --

    def gradient(self) -> step.StepResult:
        """Add to the gradients this process's part of the gradient of update `done`."""
        return self.backward(self.training.batches.shares(self.done)[self.world.rank])

    def seen(self, found: step.StepResult) -> int:
        """Tokens of the global batch of update `done`."""
        return sum(
            len(e.prompt) + len(e.chosen or ()) + len(e.rejected or ())
            for e in (self.training.data.examples[i] for i in self.training.batches.global_batch(self.done))
        )

    def row(self, found: step.StepResult) -> dict[str, float]:
        """Metrics of the global batch that was just trained on, scored before the update."""
        paired, batches = self.training.data.paired, self.training.batches
        return logged_metrics(float(found.loss), found.batch, self.objective, paired=paired) | {
            "epoch": self.done * batches.size / batches.usable
        }

    def held_out_row(self) -> dict[str, float]:
        """The same metrics of the held-out data, under the prefix `eval/`."""
        if self.held_out is None:
            return {}
        result, paired = self.value(self.held_out), self.held_out.data.paired
        metrics = logged_metrics(float(result.loss), result.batch, self.objective, paired=paired)
        return {f"eval/{name}": value for name, value in metrics.items()}

    def non_finite(self, found: step.StepResult, norm: float) -> InputError:
        """The sentence that names the lines of the batch."""
        return non_finite_error(self, found, norm)

    def results(self, say: Callable[[str], object], progress: bool) -> dict[str, float]:
        """Evaluate on held-out data, and write the evaluation and the model card."""
        return write_results(self, say, progress)

    # -- the objective --

    def backward(self, share: Sequence[MicroBatch]) -> step.StepResult:
        """Add to the gradients this process's part of the global batch's gradient.

        Args:
            share: the training micro-batches of this process.
        """
        data, method = self.training.data, self.recipe.wdpo_method
        references = reference_batches(data, share, self.training.reference)
        options: dict[str, Any] = {
            "gather": self.world.gather,
            # fsdp2 averages gradients over the processes where a sum is wanted
            "scale": float(self.world.size if self.sharded else 1),
        }
        if not self.needs_embeddings:
            score = self._score_of_an_update(data)
            if self.sharded and (self.recipe.lora_rank or self.recipe.reduce_once):
                score = reduced_once(self.scorer, score, len(share))
            return step.backward(self.objective, score, share, references, **options)
        with _twice_differentiable_attention() if method == "double_backward" else nullcontext():
            return wasserstein.backward(
                self.objective, self.reader(data), share, references, method=method, **options
            )

    def _score_of_an_update(self, data: PreferenceData) -> Callable[[MicroBatch], tuple[Tensor, Tensor]]:
        """`score`, which lays each micro-batch out once, for both passes of an objective that needs two."""
        laid = cache(partial(self.layout, data))
        return lambda batch: split_scores(data, batch, self.scorer(laid(batch)))

    def value(self, split: Split) -> step.StepResult:
        """The objective on a whole split as one batch, without gradients by parameters.

        The value does not depend on how the split is cut for scoring.
        """
        if self.needs_embeddings:
            share = evaluation_shares(split.batches, self.world.size)[self.world.rank]
            references = [reference_batch(split.data, batch, split.reference) for batch in share]
            return wasserstein.value(
                self.objective, self.reader(split.data), share, references, gather=self.world.gather
            )
        chosen, rejected = (scores.to(self.world.device) for scores in self.scores(split.data))
        everything = MicroBatch(tuple(range(len(split.data.examples))))
        reference = reference_batch(split.data, everything, split.reference)
        batch = replace(reference, chosen=chosen, rejected=rejected)
        return step.StepResult(self.objective(batch), batch)


def _twice_differentiable_attention() -> Any:
    """Attention by its plain formula, the only kernel of sdpa that differentiates twice."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)
