"""What a training run holds, put together in the order in which mistakes are cheapest to find."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distalign import step
from distalign.checks import InputError
from distalign.objectives import declared
from distalign.preferences import PreferenceLogProbs
from distalign.training import wasserstein
from distalign.training.data.batches import MicroBatch, known, sides, split_scores
from distalign.training.data.rows import PreferenceData
from distalign.training.journal import check_tracker
from distalign.training.model.load import add_lora, load_model, load_tokenizer, weights_digest
from distalign.training.model.reference import ReferenceCache, reference_scores
from distalign.training.model.scorer import Scorer
from distalign.training.model.scoring import score_examples
from distalign.training.optimiser import MasterAdamW
from distalign.training.parallel import World, shard, whole
from distalign.training.recipe import Recipe, objective_of
from distalign.training.splits import Part, read_parts, spread

_SMALL = 8


@dataclass
class Run:
    """A run between updates.

    Attributes:
        recipe, world: what and where.
        objective: of `distalign.objectives`, options bound.
        training, held: data; held is None where nothing is held out.
        tokenizer, model, scorer: the policy.
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
    training: Part
    held: Part | None
    tokenizer: Any
    model: Any
    scorer: nn.Module
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
        """Whether every process holds a part of the weights only."""
        return self.recipe.parallel == "fsdp2" and self.world.size > 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint says of the run, JSON values."""
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

    def score(
        self, data: PreferenceData, batch: MicroBatch, inputs: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(chosen, rejected) log-probabilities of a micro-batch, at these embeddings if given."""
        return split_scores(data, batch, self.scorer(self.layout(data, batch), inputs))

    def layout(self, data: PreferenceData, batch: MicroBatch) -> Any:
        """The micro-batch as tensors."""
        return self.scorer.layout([data.examples[i].row() for i in batch.examples])  # type: ignore[operator]

    def reader(self, data: PreferenceData) -> wasserstein.Reader[MicroBatch]:
        """How WDPO reads the data: through token embeddings. A row belongs to the pair it was laid out
        for.
        """

        def reference(batch: MicroBatch, inputs: Tensor) -> tuple[Tensor, Tensor]:
            with self.scorer.reference():  # type: ignore[operator]
                return self.score(data, batch, inputs)

        return wasserstein.Reader(
            embed=lambda batch: self.scorer.embed(self.layout(data, batch)),  # type: ignore[operator]
            score=partial(self.score, data),
            owner=lambda batch: self.layout(data, batch).rows * batch.counts,
            reference=reference if self.recipe.lora_rank else None,
        )

    def backward(self, share: Sequence[MicroBatch], parts: Sequence[PreferenceLogProbs]) -> step.StepResult:
        """Add this process's part of the gradient."""
        options: dict[str, Any] = {
            "gather": self.world.gather,
            "scale": float(self.world.size if self.sharded else 1),
        }
        data, method = self.training.data, self.recipe.wdpo_method
        if "inputs" not in declared(self.objective).needs:
            return step.backward(self.objective, partial(self.score, data), share, parts, **options)
        with _twice_differentiable() if method == "double_backward" else nullcontext():
            return wasserstein.backward(
                self.objective, self.reader(data), share, parts, method=method, **options
            )

    def value(self, part: Part) -> step.StepResult:
        """The objective on all of the data as one batch, however it is cut for scoring, without gradients."""
        if "inputs" in declared(self.objective).needs:
            shares = spread(part.batches, self.world.size)[self.world.rank]
            parts = [known(part.data, batch, part.reference) for batch in shares]
            return wasserstein.value(
                self.objective, self.reader(part.data), shares, parts, gather=self.world.gather
            )
        chosen, rejected = (scores.to(self.world.device) for scores in self.scores(part.data))
        everything = known(part.data, MicroBatch(tuple(range(len(part.data.examples)))), part.reference)
        batch = replace(everything, chosen=chosen, rejected=rejected)
        return step.StepResult(self.objective(batch), batch)

    def scores(self, data: PreferenceData, progress: bool = False) -> tuple[Tensor, Tensor]:
        """(chosen, rejected) of all data, each distinct sequence scored once, shared out over the
        processes.
        """
        return score_examples(self.scorer, data.examples, world=self.world, progress=progress)  # type: ignore[arg-type]

    def _gathered(self) -> dict[str, Tensor]:
        """On process 0 the whole weights, on the CPU, tied ones once; one is put together at a time."""
        met: dict[int, Tensor] = {}
        for tensor in self.model.state_dict(keep_vars=True).values():
            if id(tensor) not in met:
                full = whole(tensor.detach())
                met[id(tensor)] = full.cpu() if self.world.main else full.new_zeros(())
        return {name: met[id(tensor)] for name, tensor in self.model.state_dict(keep_vars=True).items()}

    def save_model(self, folder: Path) -> None:
        """`save_pretrained` of model or adapter, and of the tokenizer; every process calls this, process 0
        writes.
        """
        options = {}
        if self.sharded:
            options = {"state_dict": self._gathered()}
        if self.world.main:
            self.model.save_pretrained(folder, **options)
            self.tokenizer.save_pretrained(folder)


def prepare(recipe: Recipe, world: World, say: Callable[[str], object], progress: bool) -> Run:
    """Check, read, load, and score the reference.

    Raises:
        InputError: see `distalign.training.loop.train`.
    """
    _check(recipe)
    if not (progress and sys.stderr.isatty()):
        from transformers.utils import logging

        logging.disable_progress_bar()
    tokenizer = load_tokenizer(recipe.model, trust_remote_code=recipe.trust_remote_code)
    training, held = read_parts(recipe, tokenizer, world)
    total = recipe.max_steps if recipe.max_steps > 0 else training.batches.steps_of(recipe.num_train_epochs)
    if declared(objective_of(recipe)).alone and training.batches.size < _SMALL:
        say(
            f"{recipe.objective} couples its batch, and the global batch is {training.batches.size}: alone a "
            f"pair is {declared(objective_of(recipe)).alone}; raise gradient_accumulation_steps, which costs "
            "no memory"
        )
    model, scorer, weights = _policy(recipe, world)
    run = Run(
        recipe,
        world,
        objective_of(recipe),
        training,
        held,
        tokenizer,
        model,
        scorer,
        weights,
        total,
        MasterAdamW(
            model.named_parameters(),
            betas=(recipe.adam_beta1, recipe.adam_beta2),
            eps=recipe.adam_epsilon,
            weight_decay=recipe.weight_decay,
        ),
    )
    _score_reference(run, say, progress)
    return run


def _check(recipe: Recipe) -> None:
    """Check what needs this machine, not the data or the model; a recipe has checked the rest itself."""
    check_tracker(recipe.report_to)
    folder = Path(recipe.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output_dir {folder} cannot be made: {error.strerror}; choose another") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"output_dir {folder} cannot be written: choose another")


def _policy(recipe: Recipe, world: World) -> tuple[Any, Scorer, str]:
    model: Any = load_model(
        recipe.model,
        dtype=recipe.dtype,
        attn_implementation=recipe.attn_implementation,
        trust_remote_code=recipe.trust_remote_code,
        load_in_4bit=recipe.load_in_4bit,
    )
    weights = weights_digest(model)
    if recipe.gradient_checkpointing:  # the older name goes, and transformers 5.17 has no other
        enable = (
            getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        )
        enable({"use_reentrant": False})
    if recipe.lora_rank:
        torch.manual_seed(recipe.seed)
        model = add_lora(model, recipe.lora_rank, recipe.lora_alpha, recipe.lora_target)
    if not recipe.load_in_4bit:
        model.to(world.device)
    if recipe.gradient_checkpointing:
        model.train()
    scorer = Scorer(
        model,
        share_prompt=recipe.share_prompt,
        fp32_logits=recipe.fp32_logits,
        chunk_tokens=recipe.chunk_tokens,
        head="plain" if recipe.objective == "wdpo" and recipe.wdpo_method == "double_backward" else "chunked",
    )
    if recipe.parallel == "fsdp2" and world.size > 1:
        shard(scorer, world)
    return model, scorer, weights


def _score_reference(run: Run, say: Callable[[str], object], progress: bool) -> None:
    """Fill the reference of training and held-out data, before any update."""
    recipe = run.recipe
    meaning = {
        "weights": run.weights,
        "dtype": recipe.dtype,
        "fp32_logits": recipe.fp32_logits,
        "attention": recipe.attn_implementation,
        "four_bit": recipe.load_in_4bit,
    }
    cache = ReferenceCache(Path(recipe.reference_cache or run.folder / "reference"), meaning, say)
    order = run.training.batches
    with torch.no_grad(), run.scorer.reference() if recipe.lora_rank else nullcontext():  # type: ignore[operator]
        run.training.reference = reference_scores(
            run.training.data,
            (order.shares(i) for i in range(run.total)),
            partial(run.score, run.training.data),
            cache,
            run.world,
            progress=progress,
        )
        if run.held is not None:
            run.held.reference = _held_reference(run, run.held.data, cache, progress)


def _held_reference(run: Run, data: PreferenceData, cache: ReferenceCache, progress: bool) -> Tensor:
    """(n, 2) as `reference_scores` gives, but laid out as held-out data will be for the policy: in half
    precision the rounding of the two then cancels, and of the pairs of real data most responses are
    shared."""
    n = len(data.examples)
    table, have = (
        cache.load(data) if run.world.main else (torch.zeros(n, 2, dtype=torch.float64), torch.zeros(n))
    )
    table, have = table.to(run.world.device), have.to(run.world.device, torch.float64)
    run.world.sum([table, have])
    if not bool(have.all()):
        for column, (examples, scores) in enumerate(
            zip(sides(data, MicroBatch(tuple(range(n)))), run.scores(data, progress))
        ):
            table[examples, column] = scores.to(table)
        if run.world.main:
            cache.store(data, table.cpu(), torch.ones(n, dtype=torch.bool))
    return table.float()


def _twice_differentiable() -> Any:
    """Attention by its plain formula, the only kernel of sdpa that differentiates twice."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def printer(world: World, progress: bool) -> Callable[[str], None]:
    """Prints lines for the user, on process 0, past a progress bar."""

    def say(line: str) -> None:
        if world.main and progress:
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)

    return say
