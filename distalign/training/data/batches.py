"""Which examples make up each update, each process's share of it and each micro-batch.

All of it is a pure function of the seed and the number of the update. So a resumed run needs no sampler state
but that number, every process knows the shares of all others without communication, and nothing depends on
how fast a process is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.preferences import PreferenceLogProbs
from distalign.training.data.packing import micro_batches, padded_tokens
from distalign.training.data.rows import PreferenceData, scored_count


@dataclass(frozen=True)
class MicroBatch:
    """Examples scored together.

    Attributes:
        examples: positions in the data.
        counts: False for a repeat that only keeps this process in step with others (sharded models
            communicate in every pass): it is scored, and its scores are dropped.
    """

    examples: tuple[int, ...]
    counts: bool = True


@dataclass(frozen=True)
class Batches:
    """The order of the data.

    The data fall into strata: examples with both sides, with a chosen one only, with a rejected one only.
    Every stratum is shuffled anew for each pass over it, and its passes are laid end to end. Update t takes
    the next examples of every stratum, as many as its share of the data. So all updates have the same size,
    no partial batch is left at the end of an epoch, and no class is missing from a batch. Examples of weight
    0 are left out: they carry no gradient.

    Soft labels are a pair in both orders, one after the other, with weights P and 1 - P. The two stay
    together in the shuffled order, so a batch of an even size holds both of each pair, and its sum of
    weights, by which losses are divided, is half its size. Apart, that sum would depend on the labels, and
    the expected gradient would be too small: for DPO at its start by a share of 4 mean P(1 - P) / n with n
    examples in the batch.

    Attributes:
        data: the examples.
        size: examples of the global batch.
        world: number of processes.
        seed: of the order.
        micro_batch_size: examples of a micro-batch; read only where `token_budget` is None.
        token_budget: padded tokens of a micro-batch, or None.
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
    micro_batch_size: int | None = 1
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
        checked = range(min(self.steps_of(1), 64))
        for side in self.needs:
            if all(self._responses_in(step, side) for step in checked):
                continue
            raise InputError(
                f"a global batch of {self.size} examples would at times hold no {side} response, so rare are "
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
    def weighted(self) -> list[int]:
        """The examples that have a weight."""
        return [i for stratum in self._strata for i in stratum]

    @cached_property
    def _strata(self) -> list[list[int]]:
        """The examples of each stratum that is not empty."""
        strata: dict[tuple[bool, bool], list[int]] = {(True, True): [], (True, False): [], (False, True): []}
        for i, (weighs, chosen, rejected) in enumerate(self.data.kinds()):
            if weighs:
                strata[chosen, rejected].append(i)
        return [stratum for stratum in strata.values() if stratum]

    @cached_property
    def _units(self) -> list[list[tuple[int, ...]]]:
        """Of each stratum, what is shuffled: single examples, and pairs that stand there in both orders."""
        return [_together(self.data, stratum) for stratum in self._strata]

    def _order(self, k: int, epoch: int) -> list[int]:
        """The examples of stratum k in the order of one pass."""
        if (k, epoch) not in self._orders:
            if len(self._orders) >= 2 * len(self._strata):
                self._orders.clear()
            units = self._units[k]
            shuffled = _permutation(len(units), self.seed, k, epoch)
            self._orders[k, epoch] = [i for place in shuffled for i in units[place]]
        return self._orders[k, epoch]

    @cached_property
    def _orders(self) -> dict[tuple[int, int], list[int]]:
        """Orders that were made, by stratum and pass."""
        return {}

    def _responses_in(self, step: int, side: str) -> int:
        """How many examples of this update have a chosen response, or a rejected one."""
        return sum(getattr(self.data.examples[i], side) is not None for i in self.global_batch(step))

    def global_batch(self, step: int) -> list[int]:
        """The examples of update `step`, counted from 0."""
        used_before, used_after = self._used(step * self.size), self._used((step + 1) * self.size)
        batch = []
        for k, (stratum, start, stop) in enumerate(zip(self._strata, used_before, used_after)):
            n = len(stratum)
            batch += [self._order(k, i // n)[i % n] for i in range(start, stop)]
        if len(self._strata) == 1:
            return batch
        return [batch[i] for i in _permutation(len(batch), self.seed, -1, step)]

    def _used(self, total: int) -> list[int]:
        """How many examples of each stratum are among the first `total` used, passes counted.

        Cumulative counts are rounded down and not the counts themselves, so they always sum to `total`.
        """
        ends = accumulate(map(len, self._strata), initial=0)
        return [after - before for before, after in pairwise(total * end // self.usable for end in ends)]

    def shares(self, step: int) -> list[list[MicroBatch]]:
        """The micro-batches of every process in update `step`, for each the same number of passes."""
        batch = self.global_batch(step)
        bounds = [rank * len(batch) // self.world for rank in range(self.world + 1)]
        return padded_shares([self.split(batch[a:b]) for a, b in pairwise(bounds)])

    def split(self, examples: Sequence[int]) -> list[MicroBatch]:
        """Examples in micro-batches."""
        lengths = [
            padded_tokens(self.data.examples[i].row(), share_prompt=self.share_prompt) for i in examples
        ]
        size = self.micro_batch_size if self.token_budget is None else None
        indices = micro_batches(lengths, token_budget=self.token_budget, size=size)
        return [MicroBatch(tuple(examples[i] for i in batch)) for batch in indices]


def padded_shares(shares: list[list[MicroBatch]]) -> list[list[MicroBatch]]:
    """The shares of all processes, padded to the same number of passes by repeats that do not count.

    Example:
        >>> padded_shares([[MicroBatch((0,)), MicroBatch((1,))], [MicroBatch((2,))]])[1]
        [MicroBatch(examples=(2,), counts=True), MicroBatch(examples=(2,), counts=False)]
    """
    passes = max(map(len, shares))
    spare = next(share[-1] for share in shares if share)
    return [
        share + [MicroBatch((share[-1] if share else spare).examples, False)] * (passes - len(share))
        for share in shares
    ]


def _together(data: PreferenceData, stratum: Sequence[int]) -> list[tuple[int, ...]]:
    """Examples alone, but for a weighted pair that is followed by itself in the other order."""
    units, i = [], 0
    while i < len(stratum):
        both = data.has_weights and i + 1 < len(stratum) and _mirrored(data, *stratum[i : i + 2])
        units.append(tuple(stratum[i : i + 1 + both]))
        i += 1 + both
    return units


def _mirrored(data: PreferenceData, i: int, j: int) -> bool:
    """Whether two examples are one pair in its two orders."""
    one, other = data.examples[i], data.examples[j]
    return (one.prompt, one.chosen, one.rejected) == (other.prompt, other.rejected, other.chosen)


@lru_cache(maxsize=8)
def _permutation(n: int, seed: int, stratum: int, epoch: int) -> list[int]:
    """The order of one pass; it has a generator of its own, so no other random number changes it."""
    mixed = (seed * 1_000_003 + stratum * 7_919 + epoch * 104_729 + 12_345) % (2**63)
    return torch.randperm(n, generator=torch.Generator().manual_seed(mixed)).tolist()


def reference_batch(data: PreferenceData, batch: MicroBatch, reference: Tensor) -> PreferenceLogProbs:
    """`reference_batches` of one micro-batch."""
    return reference_batches(data, [batch], reference)[0]


def reference_batches(
    data: PreferenceData, share: Sequence[MicroBatch], reference: Tensor
) -> list[PreferenceLogProbs]:
    """Micro-batches before the policy has scored them: reference log-probabilities, weights, groups, lengths.

    The reference's log-probabilities stand in the place of the policy's. What is known of all of them goes to
    the device together, in two copies that nothing waits for.

    Args:
        data: the examples.
        share: which of them.
        reference: (n, 2) reference log-probabilities of chosen and rejected of all data, on the device of the
            scores.

    Returns:
        Unchecked values: whether they are finite is checked once, on the global batch.
    """
    both = [sides(data, batch) for batch in share]
    chosen = [data.examples[i] for ones, _ in both for i in ones]
    rejected = [data.examples[i] for _, ones in both for i in ones]
    numbers = [
        [i for ones, _ in both for i in ones],
        [scored_count(e.chosen or ()) for e in chosen],
        [i for _, ones in both for i in ones],
        [scored_count(e.rejected or ()) for e in rejected],
        [e.group for e in chosen] if data.has_groups else [],
    ]
    weights = [[e.weight for e in chosen], [e.weight for e in rejected]] if data.has_weights else [[], []]
    at, tokens, at_rejected, tokens_rejected, groups = _moved(numbers, torch.long, reference.device)
    columns: dict[str, Tensor] = {
        "ref_chosen": reference[at, 0],
        "ref_rejected": reference[at_rejected, 1],
        "chosen_tokens": tokens,
        "rejected_tokens": tokens_rejected,
    }
    if data.has_groups:
        columns["groups"] = groups
    if data.has_weights:
        moved = _moved(weights, reference.dtype, reference.device)
        columns |= dict(zip(("weights", "rejected_weights"), moved, strict=True))
    sizes = [[len(ones) for ones in each] for each in zip(*both, strict=True)]
    parts = {name: column.split(sizes["rejected" in name]) for name, column in columns.items()}
    out = []
    for k in range(len(share)):
        fields: dict[str, Any] = {name: part[k] for name, part in parts.items()}
        scores = fields["ref_chosen"], fields["ref_rejected"]
        out.append(PreferenceLogProbs(chosen=scores[0], rejected=scores[1], **fields, validate=False))
    return out


def _moved(lists: Sequence[Sequence[float]], dtype: torch.dtype, device: torch.device) -> Sequence[Tensor]:
    """Lists of numbers as tensors on a device, in one copy that nothing waits for."""
    flat = torch.tensor([number for one in lists for number in one], dtype=dtype)
    if device.type == "cuda":
        flat = flat.pin_memory().to(device, non_blocking=True)
    return flat.split([len(one) for one in lists])


def sides(data: PreferenceData, batch: MicroBatch) -> tuple[list[int], list[int]]:
    """Examples of the micro-batch that have a chosen response, and those that have a rejected one."""
    examples = batch.examples if batch.counts else ()
    return (
        [i for i in examples if data.examples[i].chosen is not None],
        [i for i in examples if data.examples[i].rejected is not None],
    )


def split_scores(data: PreferenceData, batch: MicroBatch, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Split the scores of a micro-batch, chosen before rejected in each example, into (chosen, rejected)."""
    if not batch.counts:
        return scores[:0], scores[:0]
    if data.paired:  # without a list of places, which would be copied to the device
        return scores[0::2], scores[1::2]
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
