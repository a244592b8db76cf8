"""Which examples make up each update, each process's share of it and each micro-batch: a pure function of
seed and step.

So a resumed run needs no sampler state but the number of the step, every process knows the shares of all
others without a word passing between them, and nothing depends on how fast anyone is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.preferences import PreferenceLogProbs
from distalign.training.data.packing import micro_batches, padded_tokens
from distalign.training.data.rows import PreferenceData


@dataclass(frozen=True)
class MicroBatch:
    """Examples scored together.

    Attributes:
        examples: positions in the data.
        counts: False for a repeat that only keeps this process in step with others (sharded models
            communicate in every pass): it is scored, and its scores are left out.
    """

    examples: tuple[int, ...]
    counts: bool = True


@dataclass(frozen=True)
class Batches:
    """The order of the data.

    Every stratum (lines with both sides, with a chosen one only, with a rejected one only) is shuffled anew
    for each of its passes, and the passes are laid end to end; update t takes from each the next lines in
    proportion to its share of the data. So all updates have the same size, none is left over at the end of an
    epoch, and no class is missing from a batch. Lines of
    weight 0 are left out: they carry no gradient.

    Attributes:
        data: the examples.
        size: of the global batch.
        world: number of processes.
        seed: of the order.
        micro: examples of a micro-batch, or None where `token_budget` says how many padded tokens it holds.
        token_budget: as said.
        share_prompt: whether prompts are shared, which decides how many tokens an example takes.
        needs: classes of which every batch must hold a response.

    Raises:
        InputError: fewer examples than a batch, fewer in a batch than processes, or a class so rare that some
            batches would lack it.
    """

    data: PreferenceData
    size: int
    world: int = 1
    seed: int = 0
    micro: int | None = 1
    token_budget: int | None = None
    share_prompt: bool = True
    needs: tuple[str, ...] = ("chosen", "rejected")

    def __post_init__(self) -> None:
        """Check the sizes."""
        if self.usable < self.size:
            raise InputError(
                f"the global batch is {self.size} examples but the training data hold {self.usable}: lower "
                "per_device_train_batch_size x gradient_accumulation_steps, or give more data"
            )
        if self.size < self.world:
            raise InputError(
                f"the global batch of {self.size} is less than one example for each of {self.world} processes"
            )
        least = [
            min(
                len(batch) for batch in (self._sides(step, side) for step in range(min(self.steps_of(1), 64)))
            )
            for side in self.needs
        ]
        if not all(least):
            rare = self.needs[least.index(0)]
            raise InputError(
                f"a global batch of {self.size} examples would at times hold no {rare} response, so rare are "
                "they in the data: raise gradient_accumulation_steps"
            )

    def steps_of(self, epochs: float) -> int:
        """Updates in so many passes over the data, rounded up."""
        return max(1, -int(-epochs * self.usable // self.size))

    @cached_property
    def usable(self) -> int:
        """Examples that have a weight."""
        return sum(map(len, self._strata))

    @cached_property
    def _strata(self) -> list[list[int]]:
        kinds: dict[tuple[bool, bool], list[int]] = {(True, True): [], (True, False): [], (False, True): []}
        for i, example in enumerate(self.data.examples):
            if example.weight > 0:
                kinds[example.chosen is not None, example.rejected is not None].append(i)
        return [kind for kind in kinds.values() if kind]

    def _sides(self, step: int, side: str) -> list[int]:
        return [i for i in self.global_batch(step) if getattr(self.data.examples[i], side) is not None]

    def global_batch(self, step: int) -> list[int]:
        """The examples of update `step`, counted from 0."""
        batch = []
        for k, (stratum, start, end) in enumerate(zip(self._strata, *self._ends(step))):
            n = len(stratum)
            batch += [stratum[_order(n, self.seed, k, i // n)[i % n]] for i in range(start, end)]
        return (
            batch if len(self._strata) == 1 else [batch[i] for i in _order(len(batch), self.seed, -1, step)]
        )

    def _ends(self, step: int) -> tuple[list[int], list[int]]:
        """How many of each stratum have been used before and after this update: shares of the total, rounded
        to sum to it.
        """

        def used(total: int) -> list[int]:
            bounds = [0]
            for stratum in self._strata:
                bounds.append(bounds[-1] + len(stratum))
            at = [total * bound // self.usable for bound in bounds]
            return [b - a for a, b in pairwise(at)]

        return used(step * self.size), used((step + 1) * self.size)

    def shares(self, step: int) -> list[list[MicroBatch]]:
        """The micro-batches of every process in update `step`; all processes get the same number of
        passes.
        """
        batch = self.global_batch(step)
        bounds = [rank * len(batch) // self.world for rank in range(self.world + 1)]
        return even([self.split(batch[a:b]) for a, b in pairwise(bounds)])

    def split(self, examples: Sequence[int]) -> list[MicroBatch]:
        """Examples in micro-batches."""
        lengths = [
            padded_tokens(self.data.examples[i].row(), share_prompt=self.share_prompt) for i in examples
        ]
        size = self.micro if self.token_budget is None else None
        found = micro_batches(lengths, token_budget=self.token_budget, size=size)
        return [MicroBatch(tuple(examples[i] for i in part)) for part in found]


def even(shares: list[list[MicroBatch]]) -> list[list[MicroBatch]]:
    """The same number of passes for all, by repeats that do not count.

    Example:
        >>> even([[MicroBatch((0,)), MicroBatch((1,))], [MicroBatch((2,))]])[1]
        [MicroBatch(examples=(2,), counts=True), MicroBatch(examples=(2,), counts=False)]
    """
    passes = max(map(len, shares))
    spare = next(share[-1] for share in shares if share)
    return [
        share + [MicroBatch((share[-1] if share else spare).examples, False)] * (passes - len(share))
        for share in shares
    ]


@lru_cache(maxsize=8)
def _order(n: int, seed: int, stratum: int, epoch: int) -> list[int]:
    """A permutation for one pass; of its own generator, so no other random number moves it."""
    mixed = (seed * 1_000_003 + stratum * 7_919 + epoch * 104_729 + 12_345) % (2**63)
    return torch.randperm(n, generator=torch.Generator().manual_seed(mixed)).tolist()


def known(data: PreferenceData, batch: MicroBatch, reference: Tensor) -> PreferenceLogProbs:
    """What is known of a micro-batch before it is scored; the reference stands in for the policy.

    Args:
        data: the examples.
        batch: which of them.
        reference: (n, 2) reference log-probabilities of chosen and rejected of all data, on the device of the
            scores.

    Returns:
        Unchecked values: whether they are finite is asked once, of the global batch.
    """
    chosen, rejected = sides(data, batch)
    device = reference.device
    ref_chosen, ref_rejected = reference[chosen, 0], reference[rejected, 1]
    fields: dict[str, Any] = {}
    if data.has_weights:
        fields = {
            "weights": _each(data, chosen, lambda e: e.weight).to(reference),
            "rejected_weights": _each(data, rejected, lambda e: e.weight).to(reference),
        }
    if data.has_groups:
        fields["groups"] = _each(data, chosen, lambda e: e.group).long().to(device)
    tokens = (
        _each(data, chosen, lambda e: len(e.chosen)).long().to(device),
        _each(data, rejected, lambda e: len(e.rejected)).long().to(device),
    )
    return PreferenceLogProbs(
        ref_chosen,
        ref_rejected,
        ref_chosen,
        ref_rejected,
        **fields,
        chosen_tokens=tokens[0],
        rejected_tokens=tokens[1],
        validate=False,
    )


def sides(data: PreferenceData, batch: MicroBatch) -> tuple[list[int], list[int]]:
    """Examples of the micro-batch that have a chosen response, and those that have a rejected one."""
    examples = batch.examples if batch.counts else ()
    return (
        [i for i in examples if data.examples[i].chosen is not None],
        [i for i in examples if data.examples[i].rejected is not None],
    )


def _each(data: PreferenceData, examples: list[int], read) -> Tensor:
    return torch.tensor([read(data.examples[i]) for i in examples], dtype=torch.float64)


def split_scores(data: PreferenceData, batch: MicroBatch, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of all responses of a micro-batch, chosen first in each example, as (chosen, rejected)."""
    if not batch.counts:
        return scores[:0], scores[:0]
    chosen, rejected, place = [], [], 0
    for i in batch.examples:
        example = data.examples[i]
        if example.chosen is not None:
            chosen.append(place)
            place += 1
        if example.rejected is not None:
            rejected.append(place)
            place += 1
    return scores[chosen], scores[rejected]
