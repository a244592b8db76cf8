"""Log-probabilities under the reference policy, computed once and cached on disk.

A file carries the SHA-256 of what it holds, so a file that was cut, zeroed or changed is not used.

The key has two parts. A cache file is named by what scores depend on besides tokens: digest of the
reference's weights, dtype, precision of the logits, kind of attention. In the file every line of data is
named by its token ids. So a new seed, learning rate or output folder finds its scores, a new template or
truncation misses just the lines whose tokens it changed, and other weights miss them all.

Scores are computed in the micro-batches in which training will first meet the lines: the same rows in the
same layout have the same bits, and at the first step every log-ratio of a fresh cache is exactly 0. For that,
a sequence that occurs in several lines is scored in each of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distalign.files import write_whole
from distalign.progress import progress_bar
from distalign.training.data.batches import Batches, MicroBatch, padded_shares, sides
from distalign.training.data.rows import PreferenceData
from distalign.training.parallel import World

Shares = Sequence[Sequence[MicroBatch]]
_BLOCK = 64
"""Updates whose lines are scored before the cache may be written."""

_GROWTH = 8
"""The cache is written anew when an eighth more is scored than it holds: writing then costs a number of lines
in proportion to the data and not to their square, and a kill loses at most an eighth of the work, or a block.
"""


@dataclass(frozen=True)
class ReferenceCache:
    """A folder of reference log-probabilities.

    Attributes:
        folder: where they are kept.
        key: what scores depend on besides tokens, as JSON values.
        say: takes a line for the user.
    """

    folder: Path
    key: Mapping[str, str | bool]
    say: Callable[[str], object] = lambda line: None

    @property
    def path(self) -> Path:
        """The file of this key."""
        digest = hashlib.sha256(json.dumps(dict(self.key), sort_keys=True).encode()).hexdigest()[:24]
        return self.folder / f"{digest}.safetensors"

    def load(self, data: PreferenceData) -> tuple[Tensor, Tensor]:
        """What the file holds of these data.

        Returns:
            ((n, 2) float64 log-probabilities of chosen and rejected, 0 where there is none; (n,) which lines
            the file holds).
        """
        names, scores = self._read()
        table = np.zeros((len(data.examples), 2))
        scored = np.zeros(len(data.examples), bool)
        if len(names):
            order, kinds, counts = _grouped(names)
            mine, my_kinds, my_counts = _grouped(name_array(data))
            found = np.searchsorted(kinds, my_kinds)
            there = kinds[np.minimum(found, len(kinds) - 1)] == my_kinds
            # the k-th line of a name has its k-th scores, or its last
            kind = np.repeat(np.where(there, found, -1), my_counts)
            k = np.minimum(_places(my_counts), np.where(kind < 0, 1, counts[kind]) - 1)
            starts = np.cumsum(counts) - counts
            scored[mine] = kind >= 0
            table[mine[kind >= 0]] = scores[order[(starts[kind] + k)[kind >= 0]]]
        self._explain(int(scored.sum()), len(scored))
        return torch.from_numpy(table), torch.from_numpy(scored)

    def load_everywhere(self, data: PreferenceData, world: World) -> tuple[Tensor, Tensor]:
        """`load`, read by process 0 and sent to all; (n, 2) on the world's device, (n,) bool on the CPU."""
        n = len(data.examples)
        empty = torch.zeros(n, 2, dtype=torch.float64), torch.zeros(n, dtype=torch.bool)
        table, scored = self.load(data) if world.main else empty
        table, counts = table.to(world.device), scored.to(world.device, torch.float64)
        world.sum([table, counts])
        return table, counts.cpu() > 0

    def _explain(self, cached: int, lines: int) -> None:
        """Tell the user how many scores were read, or why a cache that is there does not apply."""
        others = self.folder.is_dir() and any(f != self.path for f in self.folder.glob("*.safetensors"))
        if cached:
            self.say(f"reference: {cached} of {lines} lines found in {self.path}")
        elif others and not self.path.exists():
            self.say(
                f"reference: {self.folder} holds log-probabilities of another model, dtype or attention, "
                f"which do not apply here: of {lines:,} lines those that are needed are scored anew"
            )
        else:
            self.say(
                f"reference: {self.folder} holds none of these {lines:,} lines yet: those that are needed "
                "are scored"
            )

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        """((m,) names of lines, (m, 2) their scores in the order in which they were scored) of the file.

        A line that was scored several times is there as often; nothing is there if there is no file.
        """
        from safetensors import SafetensorError, safe_open

        nothing = np.zeros(0, "S16"), np.zeros((0, 2))
        if not self.path.exists():
            return nothing
        try:
            with safe_open(self.path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in ("names", "scores")}
                written = (file.metadata() or {}).get("sha256")
        except (OSError, KeyError, SafetensorError) as error:
            self.say(f"reference: {self.path} cannot be read, it is damaged ({error}): scoring anew")
            return nothing
        if written != _digest(tensors):
            self.say(
                f"reference: {self.path} cannot be read, it is damaged (not what was written): scoring anew"
            )
            return nothing
        return tensors["names"].numpy().view("S16")[:, 0], tensors["scores"].numpy()

    def store(self, data: PreferenceData, table: Tensor, scored: Tensor) -> None:
        """Write the scored lines of `data` beside those of other data that the file holds.

        The file is written whole or not at all. Of a name that both have, the more scores are kept.
        """
        old, old_scores = self._read()
        there = scored.numpy()
        new, new_scores = name_array(data)[there], table.numpy()[there]
        (_, old_kinds, old_counts), (_, new_kinds, new_counts) = _grouped(old), _grouped(new)
        both, in_old, in_new = np.intersect1d(old_kinds, new_kinds, assume_unique=True, return_indices=True)
        kept = both[old_counts[in_old] > new_counts[in_new]]
        replaced = np.isin(old, np.setdiff1d(both, kept, assume_unique=True))
        added = ~np.isin(new, kept)
        names = np.concatenate([old[~replaced], new[added]])
        self._write(
            {
                "names": torch.from_numpy(names.view(np.uint8).reshape(-1, 16)),
                "scores": torch.from_numpy(np.concatenate([old_scores[~replaced], new_scores[added]])),
            }
        )

    def _write(self, tensors: Mapping[str, Tensor]) -> None:
        from safetensors.torch import save_file

        metadata = {"sha256": _digest(tensors)}  # one entry: safetensors writes several in a random order
        write_whole(self.path, lambda path: save_file(dict(tensors), path, metadata=metadata))


def name_array(data: PreferenceData) -> np.ndarray:
    """(n,) the names of the lines, as an array of 16 bytes each."""
    return np.frombuffer(b"".join(data.names), "S16")


def _grouped(names: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(order that puts equal names together and is theirs within, the distinct names, how often each)."""
    kinds, counts = np.unique(names, return_counts=True)
    return np.argsort(names, kind="stable"), kinds, counts


def _places(counts: np.ndarray) -> np.ndarray:
    """The place of each element in its group, for groups of these sizes laid end to end.

    Example:
        >>> _places(np.array([2, 3])).tolist()
        [0, 1, 0, 1, 2]
    """
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names, types, shapes and numbers of some tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def reference_scores(
    data: PreferenceData,
    batches: Batches,
    updates: int,
    score: Callable[[MicroBatch], tuple[Tensor, Tensor]],
    cache: ReferenceCache,
    world: World,
    *,
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
) -> Tensor:
    """Reference log-probabilities of every line that the updates meet, from the cache where it has them.

    Args:
        data: the lines.
        batches: their order. Every process scores its own share of each update, in the micro-batches of
            training; a line is scored where it first occurs.
        updates: that will be made.
        score: (chosen, rejected) log-probabilities of a micro-batch under the reference.
        cache: read and written by process 0; written again and again, so that a kill loses little.
        world: the processes.
        dtype: of the result.
        progress: show a bar.

    Returns:
        (n, 2) log-probabilities of chosen and rejected on the world's device, 0 where a line lacks a side or
        was not met.

    Raises:
        InputError: the cache cannot be written.
    """
    table, scored = cache.load_everywhere(data, world)
    done = stored = int(scored.sum())
    missing = dict(updates_with_unscored(batches, updates, scored))
    todo = iter(missing)
    with progress_bar(
        sum(missing.values()), "reference", "line", shown=progress and world.main and bool(missing)
    ) as bar:
        while block := list(islice(todo, _BLOCK)):
            left = [_unscored(batches.shares(update), scored) for update in block]
            passes = [batch for shares in left for share in shares for batch in share]
            lines = list(dict.fromkeys(i for batch in passes for i in batch.examples))
            place = {line: k for k, line in enumerate(lines)}
            fresh = table.new_zeros(len(lines), 2)
            for shares in left:
                _score_into(fresh, place, data, shares[world.rank], score)
            world.sum([fresh])
            table[lines] += fresh
            bar.update(len(lines))
            done += len(lines)
            if done - stored > stored // _GROWTH:
                stored = done
                world.once(partial(cache.store, data, table.cpu(), scored))
    if done > stored:
        world.once(partial(cache.store, data, table.cpu(), scored))
    return table.to(dtype)


def updates_with_unscored(batches: Batches, updates: int, scored: Tensor) -> Iterator[tuple[int, int]]:
    """The updates that meet lines which are neither scored nor met before, and how many such lines.

    Nothing is laid out for the others, and once all lines that have a weight are met there are none.

    Args:
        batches: the order of the lines.
        updates: of the run.
        scored: (n,) which lines are scored before.
    """
    known = scored.numpy().copy()
    missing = batches.usable - int(known[batches.weighted].sum())
    for update in range(updates):
        if not missing:
            return
        new = {i for i in batches.global_batch(update) if not known[i]}
        if new:
            known[list(new)] = True
            missing -= len(new)
            yield update, len(new)


def _unscored(shares: Shares, scored: Tensor) -> list[list[MicroBatch]]:
    """The micro-batches of every process without the lines that are scored; marks what is left as scored.

    All processes call this with the same shares, so they agree on who scores what without communication.
    """
    remaining, there = [], scored.numpy()  # of one memory
    for share in shares:
        remaining.append([])
        for batch in share:
            new = tuple(i for i in dict.fromkeys(batch.examples) if batch.counts and not there[i])
            there[list(new)] = True
            remaining[-1] += [MicroBatch(new)] if new else []
    return padded_shares(remaining) if any(remaining) else remaining


def _score_into(
    fresh: Tensor,
    place: Mapping[int, int],
    data: PreferenceData,
    share: Sequence[MicroBatch],
    score: Callable[[MicroBatch], tuple[Tensor, Tensor]],
) -> None:
    for batch in share:
        for column, (examples, scores) in enumerate(zip(sides(data, batch), score(batch))):
            fresh[[place[i] for i in examples], column] = scores.detach().to(fresh)
