"""Several processes: who they are, what they exchange, how they share a model.

In every update the processes exchange two things.

* Scores: an objective that couples its batch needs the log-probabilities of all pairs. Each process scores
  its share and `World.gather` joins them, a few numbers for each response. Then every process evaluates the
  same objective on the same global batch, and back-propagates only through its own share.
* Gradients, which the shares leave as parts of one sum. "ddp" keeps a whole model on each process and adds
  the parts once, after the last micro-batch, in float32 (`World.sum`). That is DistributedDataParallel's
  arithmetic without its averaging and its hooks, and it is exact for any number of micro-batches and passes
  of each process; what is given up is the overlap of the sum with the last backward pass. "fsdp2" shards
  weights, gradients and optimiser state with `fully_shard`, decoder layer by decoder layer and the scorer
  around them; torch then gathers weights and reduces gradients inside every pass, so all processes have to
  make the same number of passes (`distalign.training.data.batches.padded_shares`).

Which examples are whose is never communicated: it is a function of seed and step.

Files are written by process 0 (shards by their owners) and read by all. `World.once` and `World.each` are the
only places that say who writes and who waits: when they return, what was written can be read by every
process, and an error of one process has been raised on all of them, so that none waits for the dead.

torch.distributed is used directly. What the tests run on two CPU processes (gloo) is then, line for line,
what runs on GPUs (nccl); accelerate would silently leave the sharding out on a CPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distalign.checks import InputError
from distalign.two_pass import Gather, gather_global

T = TypeVar("T")
Part = TypeVar("Part")
_GONE = ("closed by peer", "reset by peer", "Broken pipe", "remote process exited", "Connection refused")
"""What gloo and nccl say of a process that has ended."""
_BUCKET = 2**25
"""Numbers of one message of `World.sum`: large enough for full bandwidth, small beside the gradients."""


@dataclass(frozen=True)
class World:
    """This process among its peers.

    Attributes:
        rank: from 0.
        size: number of processes.
        device: where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def gather(self) -> Gather | None:
        """Joins the scores of all processes; None where there is one."""
        return gather_global if self.size > 1 else None

    @property
    def main(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over processes, in a few large messages."""
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        for i, tensor in enumerate(tensors):
            bucket.append(tensor)
            last = i + 1 == len(tensors) or tensors[i + 1].dtype != tensor.dtype
            if last or sum(t.numel() for t in bucket) >= _BUCKET:
                flat = torch.cat([t.flatten() for t in bucket])
                dist.all_reduce(flat)
                for t, part in zip(bucket, flat.split([t.numel() for t in bucket])):
                    t.copy_(part.view_as(t))
                bucket = []

    def once(self, write: Callable[[], T]) -> T | None:
        """Have process 0 call `write`; every process calls this, and all return when it is done.

        Returns:
            What `write` returned on process 0, None elsewhere.

        Raises:
            InputError: process 0 failed; it raises its own error, the others a sentence with its words.
        """
        return self.each(write) if self.main else self.each(lambda: None)

    def told(self, find: Callable[[], T]) -> T:
        """What `find` returns on process 0, on every process; an error as by `once`."""
        found = [self.once(find)]
        if self.size > 1:
            dist.broadcast_object_list(found)
        return found[0]  # type: ignore[return-value]

    def each(self, write: Callable[[], T]) -> T:
        """Call `write` on every process, and return when all are done.

        Raises:
            InputError: another process failed. Where this one did, its own error is raised.
        """
        if self.size == 1:
            return write()
        result, error = None, None
        try:
            result = write()
        except Exception as found:
            error = found
        words: list[str | None] = [None] * self.size
        dist.all_gather_object(words, None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        for rank, word in enumerate(words):
            if word is not None:
                raise InputError(f"process {rank} failed, so this one stops, too: {word}")
        return result  # type: ignore[return-value]


@contextmanager
def joined_world() -> Iterator[World]:
    """The processes that torchrun started, or this one alone.

    The group of processes is destroyed at the end, after an error, too. A group that the caller has made is
    used, and left to the caller.

    Raises:
        InputError: torchrun's variables are incomplete, there are more processes than GPUs, or another
            process has ended in mid-run.
    """
    size, local = _number("WORLD_SIZE", 1, 1), _number("LOCAL_RANK", 0, 0)
    cuda = torch.cuda.is_available()
    if cuda and local >= torch.cuda.device_count():
        raise InputError(
            f"process {local} of this machine has no GPU of its own ({torch.cuda.device_count()} are there): "
            "lower --nproc_per_node"
        )
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if dist.is_initialized():
        yield World(dist.get_rank(), dist.get_world_size(), device)
        return
    if size == 1:
        yield World(0, 1, device)
        return
    if "MASTER_ADDR" not in os.environ or "RANK" not in os.environ:
        raise InputError(
            f"WORLD_SIZE is {size} but RANK or MASTER_ADDR is not set: start several processes with "
            "torchrun --nproc_per_node N -m distalign.cli train ..."
        )
    # Others wait while process 0 writes a checkpoint or evaluates: longer than nccl's ten minutes for a large
    # model.
    dist.init_process_group(
        "nccl" if cuda else "gloo", device_id=device if cuda else None, timeout=timedelta(hours=4)
    )
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    except RuntimeError as error:
        if not any(words in str(error) for words in _GONE):
            raise
        raise InputError(
            "another process of this run has ended or cannot be reached, so this one stops, too: see what it "
            "said, then run the same command again; it goes on from the last checkpoint"
        ) from error
    finally:
        dist.destroy_process_group()


def _number(name: str, default: int, least: int) -> int:
    """A variable that torchrun sets, as a whole number."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise InputError(
            f"the environment says {name}={text!r}, which must be a whole number of at least {least}: start "
            "several processes with torchrun, or unset it"
        )
    return int(text)


def shard(scorer: nn.Module, world: World) -> None:
    """Shard the scorer's weights over all processes, in place.

    Half-precision weights that are trained become float32 shards, which are their own masters
    (`distalign.training.optimiser`): they are rounded to half precision where they are put together for a
    pass, and their gradients are added over the processes, and over micro-batches, in float32.

    Raises:
        InputError: the model's decoder layers cannot be found.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    layers, half = _layers(scorer), _trained_in_half(scorer)
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    if half is not None:
        policy = MixedPrecisionPolicy(half, torch.float32, cast_forward_inputs=False)
        for parameter in scorer.parameters():
            parameter.data = parameter.data.float()
    mesh = init_device_mesh(world.device.type, (world.size,))
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(scorer, mesh=mesh, mp_policy=policy)
    register_fsdp_forward_method(scorer, "embed")


def _trained_in_half(scorer: nn.Module) -> torch.dtype | None:
    """The half precision of a model all of whose parameters have it and are trained; else None."""
    kinds = {parameter.dtype if parameter.requires_grad else None for parameter in scorer.parameters()}
    kind = kinds.pop() if len(kinds) == 1 else None
    return kind if kind in (torch.bfloat16, torch.float16) else None


def shard_rows(n: int, rank: int, size: int) -> tuple[int, int]:
    """First row of process `rank` and the row after its last, of n rows that `fully_shard` shares out.

    Example: as `torch.chunk` does it: 5 rows on 4 processes.
        >>> [shard_rows(5, rank, 4) for rank in range(4)]
        [(0, 2), (2, 4), (4, 5), (5, 5)]
    """
    rows = -(-n // size)
    return min(rank * rows, n), min((rank + 1) * rows, n)


def reduced_once(scorer: nn.Module, score: Callable[[Part], T], passes: int) -> Callable[[Part], T]:
    """`score`, after whose last pass with gradients those of a sharded scorer are reduced, all at once.

    Until then each process holds the whole gradient of what is trained: for adapters that is little. All
    weights of a model are reduced in every pass, for their whole gradient is what sharding is to avoid,
    unless the recipe says `reduce_once`.

    Args:
        scorer: sharded.
        score: of a micro-batch, through the scorer.
        passes: with gradients that will be made.
    """
    left = passes

    def counted(part: Part) -> T:
        nonlocal left
        if torch.is_grad_enabled():
            left -= 1
            scorer.set_requires_gradient_sync(left == 0)  # type: ignore[operator]
        return score(part)

    return counted


def _layers(scorer: nn.Module) -> nn.ModuleList:
    """The longest list of modules: the decoder's layers in every architecture of transformers."""
    lists = [module for module in scorer.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise InputError(
            "parallel fsdp2 shards a model layer by layer, but no list of decoder layers was found: say ddp"
        )
    return max(lists, key=len)


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together, for which all processes must call this; any other tensor as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # type: ignore[operator]


def local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor, sharing its memory; any other tensor as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor  # type: ignore[operator]
