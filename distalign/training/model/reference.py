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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from distalign.files import write_whole
from distalign.progress import progress_bar
from distalign.training.data.batches import MicroBatch, padded_shares, sides
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
        cached = self._read()
        table = torch.zeros(len(data.examples), 2, dtype=torch.float64)
        scored = torch.zeros(len(data.examples), dtype=torch.bool)
        occurrence: dict[bytes, int] = {}
        for i, name in enumerate(data.names):
            scores = cached.get(name)
            if scores:
                k = occurrence[name] = occurrence.get(name, -1) + 1
                table[i] = torch.tensor(scores[min(k, len(scores) - 1)], dtype=torch.float64)
                scored[i] = True
        self._explain(int(scored.sum()), len(scored))
        return table, scored

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
                f"which do not apply here: scoring {lines} lines anew"
            )
        else:
            self.say(f"reference: {self.folder} holds none of these lines yet: scoring {lines} lines")

    def _read(self) -> dict[bytes, list[list[float]]]:
        """Name of a line to its scores, one pair for each time it was scored; empty if there is no file."""
        from safetensors import SafetensorError, safe_open

        if not self.path.exists():
            return {}
        try:
            with safe_open(self.path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in ("names", "scores")}
                written = (file.metadata() or {}).get("sha256")
        except (OSError, KeyError, SafetensorError) as error:
            self.say(f"reference: {self.path} cannot be read, it is damaged ({error}): scoring anew")
            return {}
        if written != _digest(tensors):
            self.say(
                f"reference: {self.path} cannot be read, it is damaged (not what was written): scoring anew"
            )
            return {}
        out: dict[bytes, list[list[float]]] = {}
        for name, score in zip(tensors["names"].numpy(), tensors["scores"].tolist(), strict=True):
            out.setdefault(name.tobytes(), []).append(score)
        return out

    def store(self, data: PreferenceData, table: Tensor, scored: Tensor) -> None:
        """Write the scored lines of `data` beside those of other data that the file holds.

        The file is written whole or not at all.
        """
        merged = self._read()
        fresh: dict[bytes, list[list[float]]] = {}
        for name, scores, there in zip(data.names, table.tolist(), scored.tolist()):
            if there:
                fresh.setdefault(name, []).append(scores)
        merged |= {name: s for name, s in fresh.items() if len(s) >= len(merged.get(name, ()))}
        names = bytearray(b"".join(name * len(scores) for name, scores in merged.items()))
        self._write(
            {
                "names": torch.frombuffer(names, dtype=torch.uint8).view(-1, 16),
                "scores": torch.tensor(
                    [pair for scores in merged.values() for pair in scores], dtype=torch.float64
                ),
            }
        )

    def _write(self, tensors: Mapping[str, Tensor]) -> None:
        from safetensors.torch import save_file

        metadata = {name: str(value) for name, value in self.key.items()} | {"sha256": _digest(tensors)}
        write_whole(self.path, lambda path: save_file(dict(tensors), path, metadata=metadata))


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
    plan: Iterable[Shares],
    score: Callable[[MicroBatch], tuple[Tensor, Tensor]],
    cache: ReferenceCache,
    world: World,
    *,
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
) -> Tensor:
    """Reference log-probabilities of every line that the plan meets, from the cache where it has them.

    Args:
        data: the lines.
        plan: micro-batches of every process, update by update, in the order in which training will meet them.
            Every process scores its own share; a line is scored where it first occurs.
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
    updates = iter(plan)
    shown, stored = progress and world.main, int(scored.sum())
    with progress_bar(len(scored), "reference", "line", shown=shown, initial=stored) as bar:
        while block := list(islice(updates, _BLOCK)):
            before = int(scored.sum())
            fresh = torch.zeros_like(table)
            for shares in block:
                _score_into(fresh, data, _unscored(shares, scored)[world.rank], score)
            if int(scored.sum()) > before:
                world.sum([fresh])
                table += fresh
                bar.update(int(scored.sum()) - before)
            if int(scored.sum()) - stored > stored // _GROWTH:
                stored = int(scored.sum())
                world.once(partial(cache.store, data, table.cpu(), scored))
    if int(scored.sum()) > stored:
        world.once(partial(cache.store, data, table.cpu(), scored))
    return table.to(dtype)


def _unscored(shares: Shares, scored: Tensor) -> list[list[MicroBatch]]:
    """The micro-batches of every process without the lines that are scored; marks what is left as scored.

    All processes call this with the same shares, so they agree on who scores what without communication.
    """
    remaining = []
    for share in shares:
        remaining.append([])
        for batch in share:
            new = tuple(i for i in dict.fromkeys(batch.examples) if batch.counts and not scored[i])
            scored[list(new)] = True
            remaining[-1] += [MicroBatch(new)] if new else []
    return padded_shares(remaining) if any(remaining) else remaining


def _score_into(
    table: Tensor,
    data: PreferenceData,
    share: Sequence[MicroBatch],
    score: Callable[[MicroBatch], tuple[Tensor, Tensor]],
) -> None:
    for batch in share:
        for column, (examples, scores) in enumerate(zip(sides(data, batch), score(batch))):
            table[examples, column] = scores.detach().to(table)
