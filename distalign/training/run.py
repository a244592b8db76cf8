"""The state of a training run between two updates, and what a run does with its policy.

It scores, differentiates, evaluates and saves.

`distalign.training.prepare` makes a `Run`, and `distalign.training.loop` takes it from update to update.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from distalign import step
from distalign.objectives import declared
from distalign.training import wasserstein
from distalign.training.data.batches import MicroBatch, reference_batch, split_scores
from distalign.training.data.rows import PreferenceData
from distalign.training.model.scorer import Scorer
from distalign.training.model.scoring import score_examples
from distalign.training.optimiser import MasterAdamW
from distalign.training.parallel import World, whole
from distalign.training.recipe import Recipe
from distalign.training.splits import Split, evaluation_shares


@dataclass
class Run:
    """A run between updates.

    Attributes:
        recipe: what is trained, on what, how.
        world: the processes that train it.
        objective: of `distalign.objectives`, options bound.
        training: the data it trains on.
        held_out: the data it is evaluated on, or None.
        tokenizer: of the policy, saved beside it.
        model: the policy as transformers or peft saves it.
        scorer: the policy as a function from rows of tokens to log-probabilities.
        weights: digest of the weights that training starts from.
        total: updates of the whole run.
        optimiser: of the parameters that are trained.
        done: updates made.
        tokens: tokens seen.
        saved: updates made at the last checkpoint, -1 before the first.
    """

    recipe: Recipe
    world: World
    objective: partial[Tensor]
    training: Split
    held_out: Split | None
    tokenizer: Any
    model: Any
    scorer: Scorer
    weights: str
    total: int
    optimiser: MasterAdamW
    done: int = 0
    tokens: int = 0
    saved: int = -1

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return Path(self.recipe.output_dir)

    @property
    def sharded(self) -> bool:
        """Whether every process holds only a part of the weights."""
        return self.recipe.parallel == "fsdp2" and self.world.size > 1

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
            reference=reference if self.recipe.lora_rank else None,
        )

    # -- the objective --

    def backward(self, share: Sequence[MicroBatch]) -> step.StepResult:
        """Add to the gradients this process's part of the global batch's gradient.

        Args:
            share: the training micro-batches of this process.
        """
        data, method = self.training.data, self.recipe.wdpo_method
        references = [reference_batch(data, batch, self.training.reference) for batch in share]
        options: dict[str, Any] = {
            "gather": self.world.gather,
            # fsdp2 averages gradients over the processes where a sum is wanted
            "scale": float(self.world.size if self.sharded else 1),
        }
        if not self.needs_embeddings:
            return step.backward(self.objective, partial(self.score, data), share, references, **options)
        with _twice_differentiable_attention() if method == "double_backward" else nullcontext():
            return wasserstein.backward(
                self.objective, self.reader(data), share, references, method=method, **options
            )

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

    # -- saving --

    def state(self) -> dict[str, Any]:
        """What a checkpoint says of the run, as JSON values."""
        constant = self.recipe.lr_scheduler_type == "constant" and not self.recipe.warmup_ratio
        return {
            "step": self.done,
            "tokens": self.tokens,
            "recipe": asdict(self.recipe),
            "data": self.training.data.digest,
            "weights": self.weights,
            "batch": self.training.batches.size,
            "updates": 0 if constant else self.total,
            "sharded": self.sharded,
            "world": self.world.size if self.sharded else 0,
        }

    def save_model(self, folder: Path) -> None:
        """Write the model or adapter, and the tokenizer, by `save_pretrained`.

        Every process calls this; process 0 writes, and the others wait.
        """
        options = {}
        if self.sharded:
            options = {"state_dict": self._whole_weights()}

        def write() -> None:
            self.model.save_pretrained(folder, **options)
            self.tokenizer.save_pretrained(folder)

        self.world.once(write)

    def _whole_weights(self) -> dict[str, Tensor]:
        """The unsharded weights on the CPU of process 0, tied ones once.

        One tensor is put together at a time, so no GPU holds more than one whole weight.
        """
        weights: dict[int, Tensor] = {}
        for tensor in self.model.state_dict(keep_vars=True).values():
            if id(tensor) not in weights:
                full = whole(tensor.detach())
                weights[id(tensor)] = full.cpu() if self.world.main else full.new_zeros(())
        return {name: weights[id(tensor)] for name, tensor in self.model.state_dict(keep_vars=True).items()}


def _twice_differentiable_attention() -> Any:
    """Attention by its plain formula, the only kernel of sdpa that differentiates twice."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)
