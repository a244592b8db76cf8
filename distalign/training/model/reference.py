"""Log-probabilities under the reference policy: computed once, kept under a key of what they mean.

A file is named by what scores depend on besides tokens: digest of the reference's weights, dtype, precision
of the logits, kind of attention. In it every line of data is named by its token ids. So a new seed, learning
rate or output folder finds its scores, a new template or truncation misses just the lines whose tokens it
changed, and other weights miss them all.

Scores are computed in the micro-batches in which training will first meet the lines: the same rows in the
same layout have the same bits, and at the first step every log-ratio of a fresh cache is exactly 0. For that,
a sequence that occurs in several lines is scored in each of them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from distalign.files import write_whole
from distalign.training.data.batches import MicroBatch, even, sides
from distalign.training.data.rows import PreferenceData
from distalign.training.parallel import World

Shares = Sequence[Sequence[MicroBatch]]
_BLOCK = 64


@dataclass(frozen=True)
class ReferenceCache:
    """A folder of reference log-probabilities.

    Attributes:
        folder: where they are kept.
        meaning: what scores depend on besides tokens, plain JSON values.
        say: takes a line for the user.
    """

    folder: Path
    meaning: Mapping[str, str | bool]
    say: Callable[[str], object] = lambda line: None

    @property
    def path(self) -> Path:
        """The file of this meaning."""
        key = hashlib.sha256(json.dumps(dict(self.meaning), sort_keys=True).encode()).hexdigest()[:24]
        return self.folder / f"{key}.safetensors"

    def load(self, data: PreferenceData) -> tuple[Tensor, Tensor]:
        """((n, 2) float64 log-probabilities of chosen and rejected, 0 where there is none; (n,) which lines
        were found).
        """
        found = self._read()
        table = torch.zeros(len(data.examples), 2, dtype=torch.float64)
        have = torch.zeros(len(data.examples), dtype=torch.bool)
        met: dict[bytes, int] = {}
        for i, name in enumerate(_names(data)):
            scores = found.get(name)
            if scores:
                again = met[name] = met.get(name, -1) + 1
                table[i] = torch.tensor(scores[min(again, len(scores) - 1)], dtype=torch.float64)
                have[i] = True
        self._explain(int(have.sum()), len(have))
        return table, have

    def _explain(self, found: int, asked: int) -> None:
        others = (
            [file for file in self.folder.glob("*.safetensors") if file != self.path]
            if self.folder.is_dir()
            else []
        )
        if found:
            self.say(f"reference: {found} of {asked} lines found in {self.path}")
        elif others and not self.path.exists():
            self.say(
                f"reference: {self.folder} holds log-probabilities of another model, dtype or attention, "
                f"which do not apply here: scoring {asked} lines anew"
            )

    def _read(self) -> dict[bytes, list[list[float]]]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not self.path.exists():
            return {}
        try:
            tensors = load_file(self.path)
            names, scores = tensors["names"], tensors["scores"].tolist()
        except (OSError, KeyError, SafetensorError) as error:
            self.say(f"reference: {self.path} cannot be read ({error}): scoring anew")
            return {}
        out: dict[bytes, list[list[float]]] = {}
        for name, score in zip(names.numpy(), scores, strict=True):
            out.setdefault(name.tobytes(), []).append(score)
        return out

    def store(self, data: PreferenceData, table: Tensor, have: Tensor) -> None:
        """Write the lines of `data` that are there beside those of other data that were; whole or not at
        all.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        out = self._read()
        fresh: dict[bytes, list[list[float]]] = {}
        for name, score, there in zip(_names(data), table.tolist(), have.tolist()):
            if there:
                fresh.setdefault(name, []).append(score)
        out |= {
            name: scores if len(scores) >= len(out.get(name, ())) else out[name]
            for name, scores in fresh.items()
        }
        names = torch.frombuffer(
            bytearray(b"".join(name * len(scores) for name, scores in out.items())), dtype=torch.uint8
        )
        tensors = {
            "names": names.view(-1, 16),
            "scores": torch.tensor([s for scores in out.values() for s in scores], dtype=torch.float64),
        }
        meta = {name: str(value) for name, value in self.meaning.items()}

        def write(path: Path) -> None:
            try:
                save_file(tensors, path, metadata=meta)
            except SafetensorError as error:  # which hides that it is the disk
                raise OSError(
                    errno.ENOSPC if "No space left" in str(error) else errno.EIO, str(error)
                ) from error

        write_whole(self.path, write)


def _names(data: PreferenceData) -> list[bytes]:
    """16 bytes for each line, of its token ids and of which sides it has."""
    return [
        hashlib.sha256(repr((e.prompt, e.chosen, e.rejected)).encode()).digest()[:16] for e in data.examples
    ]


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
        cache: read and written by process 0; written every few updates, so that a kill loses little.
        world: the processes.
        dtype: of the result.
        progress: show a bar.

    Returns:
        (n, 2) log-probabilities of chosen and rejected on the world's device, 0 where a line lacks a side or
        was not met.

    Raises:
        InputError: the cache cannot be written.
    """
    from tqdm import tqdm

    table, have = (
        cache.load(data)
        if world.main
        else (
            torch.zeros(len(data.examples), 2, dtype=torch.float64),
            torch.zeros(len(data.examples), dtype=torch.bool),
        )
    )
    table, counts = table.to(world.device), have.to(world.device, torch.float64)
    world.sum([table, counts])
    have = counts.cpu() > 0
    updates = iter(plan)
    with tqdm(
        total=len(have),
        initial=int(have.sum()),
        desc="reference",
        unit="line",
        file=sys.stderr,
        disable=not (progress and world.main and sys.stderr.isatty()),
        leave=False,
    ) as bar:
        while block := list(islice(updates, _BLOCK)):
            before = int(have.sum())
            found = torch.zeros_like(table)
            for shares in block:
                _fill(found, data, _missing(shares, have)[world.rank], score)
            if int(have.sum()) > before:
                world.sum([found])
                table += found
                bar.update(int(have.sum()) - before)
                if world.main:
                    cache.store(data, table.cpu(), have)
    return table.to(dtype)


def _missing(shares: Shares, have: Tensor) -> list[list[MicroBatch]]:
    """Micro-batches without the lines that are there; marks the rest as there."""
    out = []
    for share in shares:
        out.append([])
        for part in share:
            new = tuple(i for i in dict.fromkeys(part.examples) if part.counts and not have[i])
            have[list(new)] = True
            out[-1] += [MicroBatch(new)] if new else []
    return even(out) if any(out) else out


def _fill(
    found: Tensor,
    data: PreferenceData,
    share: Sequence[MicroBatch],
    score: Callable[[MicroBatch], tuple[Tensor, Tensor]],
) -> None:
    for part in share:
        for column, (examples, scores) in enumerate(zip(sides(data, part), score(part))):
            found[examples, column] = scores.detach().to(found)
