"""Checkpoints that survive a kill at any moment.

`checkpoint-STEP/` holds `model/` (what `save_pretrained` writes: others can load it),
`optimiser-RANK.safetensors` (float32 weights and moments as this process has them, and the state of torch's
random numbers), `metrics.csv` (the rows logged so far), `state.json` (step, recipe, digests) and
`manifest.json` (size and SHA-256 of every file). There is no pickle.

Why a kill is harmless. All files are written into a folder whose name begins with a dot, the manifest last,
and brought to the disk, and only then is the folder renamed to `checkpoint-STEP`. A rename within one folder
of a file system happens as a whole or not at all, so

* a kill before the rename leaves the earlier checkpoints as they were, and a dotted folder that is never read
  and that the next save removes;
* a kill after the rename leaves the new checkpoint whole. Older ones are removed only then, newest kept, so a
  kill in the middle of their removal can damage only one that is not needed;
* what a rename does not protect from (a crash of the machine before its disk has written, a damaged disk, a
  file changed by hand) shows in the manifest: `latest` compares size and SHA-256 of every file, puts a
  damaged checkpoint aside and takes the one before it.

Resuming is exact, because an update depends on nothing but what is saved: weights, moments and random state
are in the tensors, and batches are a pure function of seed and step (`distalign.training.data.batches`), so
the step is all that the sampler has to remember.

With parallel ddp process 0 writes for all; with fsdp2 every process writes its shards. A run may go on with
another number of processes, sharded or not: each then takes its rows from the files that hold them. All
processes must see the same folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.files import disk_trouble, to_disk
from distalign.training.parallel import World, shard_rows

_ROWS = ("master.", "exp_avg.", "exp_avg_sq.")
"""Beginnings of the names of tensors that processes share out by rows."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are as they were written.

    Attributes:
        path: its folder.
        state: what was saved of step, recipe and digests.
    """

    path: Path
    state: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Updates made."""
        return int(self.state["step"])

    def tensors(self, world: World, sharded: bool = False) -> dict[str, Tensor]:
        """This process's tensors, where the processes share the weights out (`sharded`) or all hold them."""
        from safetensors.torch import load_file

        writers = self.state["world"] if self.state["sharded"] else 1
        if not sharded and writers == 1:
            return load_file(self.path / "optimiser-0.safetensors")
        if sharded and writers == world.size:
            return load_file(self.path / f"optimiser-{world.rank}.safetensors")
        files = [self.path / f"optimiser-{writer}.safetensors" for writer in range(writers)]
        return _rows_of(files, world.rank if sharded else 0, world.size if sharded else 1)

    @property
    def metrics(self) -> Path:
        """The rows logged up to this step; there is no such file where nothing was logged."""
        return self.path / "metrics.csv"


def _rows_of(files: Sequence[Path], rank: int, size: int) -> dict[str, Tensor]:
    """The tensors of process `rank` of `size`, of files that hold the rows of all of them in order.

    Counts and random states, which are no rows, are those of the first file.
    """
    from safetensors import safe_open

    out = {}
    with ExitStack() as stack:
        opened = [stack.enter_context(safe_open(file, "pt")) for file in files]
        for name in opened[0].keys():  # noqa: SIM118 (a file is no mapping)
            if not name.startswith(_ROWS):
                out[name] = opened[0].get_tensor(name)
                continue
            parts = [file.get_slice(name) for file in opened]
            start, end = shard_rows(sum(part.get_shape()[0] for part in parts), rank, size)
            mine, before = [], 0
            for part in parts:
                rows = part.get_shape()[0]
                a, b = max(start - before, 0), min(end - before, rows)
                if a < b:
                    mine.append(part[a:b])
                before += rows
            out[name] = torch.cat(mine) if mine else parts[0][0:0]
    return out


def save(
    folder: Path,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    world: World,
    *,
    keep: int,
    model: Callable[[Path], object],
) -> Path:
    """Write `checkpoint-STEP`, then remove all but the newest `keep`; every process calls this.

    Args:
        folder: of the checkpoints.
        tensors: of this process.
        state: `step`, `sharded` (whether every process has tensors of its own) and whatever must agree on
            resuming.
        world: the processes.
        keep: checkpoints to keep.
        model: writes the model into a folder; every process calls it, and it returns when all is written.

    Raises:
        InputError: the disk is full or the folder cannot be written; earlier checkpoints are untouched.
    """
    final = folder / f"checkpoint-{state['step']:08d}"
    temporary = folder / f".{final.name}.tmp"

    def begin() -> None:
        for unfinished in folder.glob(".checkpoint-*.tmp"):
            shutil.rmtree(unfinished, ignore_errors=True)
        temporary.mkdir(parents=True)

    def write_own() -> None:
        if state["sharded"] or world.main:
            _write_tensors(temporary / f"optimiser-{world.rank}.safetensors", tensors)

    def finish() -> None:
        if (folder / "metrics.csv").is_file():
            shutil.copyfile(folder / "metrics.csv", temporary / "metrics.csv")
        _write_json(temporary / "state.json", state)
        _write_json(temporary / "manifest.json", _manifest(temporary))
        _to_disk(temporary)
        os.replace(temporary, final)
        to_disk(folder)
        for old in _checkpoints(folder)[keep:]:
            shutil.rmtree(old, ignore_errors=True)

    try:
        world.once(begin)
        model(temporary / "model")
        world.each(write_own)
        world.once(finish)
    except Exception as error:
        if (trouble := disk_trouble(error)) is None:
            raise
        shutil.rmtree(temporary, ignore_errors=True)
        last = next((f"{path.name} is intact" for path in _checkpoints(folder)), "there is none before it")
        raise InputError(
            f"checkpoint {state['step']} cannot be written to {folder}: {trouble[0]}; {last}: {trouble[1]}, "
            "then run the same command again"
        ) from error
    return final


def _to_disk(folder: Path) -> None:
    """Return when a folder with all that is in it has reached the disk."""
    for path in (*folder.rglob("*"), folder):
        to_disk(path)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    everything = dict(tensors) | {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        everything["random_cuda"] = torch.cuda.get_rng_state()
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in everything.items()}, path)


def replace_folder(
    folder: Path,
    write: Callable[[Path], object],
    world: World,
    *,
    again: str = "then run the same command again: it goes on from the last checkpoint",
) -> None:
    """Write a folder beside its place, then move the old one away and the new one there.

    Every process calls this; `write` returns when all is written. A kill leaves the old folder, the new one,
    or for a moment neither, and then the next run writes it again from the last checkpoint.

    Raises:
        InputError: the disk is full or cannot be written.
    """
    temporary, old = (folder.with_name(f".{folder.name}.{word}") for word in ("tmp", "old"))

    def move() -> None:
        _to_disk(temporary)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(folder, old)
        os.replace(temporary, folder)
        to_disk(folder.parent)
        shutil.rmtree(old, ignore_errors=True)

    try:
        world.once(lambda: shutil.rmtree(temporary, ignore_errors=True))
        write(temporary)
        world.once(move)
    except Exception as error:
        if (trouble := disk_trouble(error)) is None:
            raise
        raise InputError(f"{folder} cannot be written: {trouble[0]}; {trouble[1]}, {again}") from error


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _manifest(folder: Path) -> dict[str, dict[str, int | str]]:
    """Size and digest of every file in a folder that is not the manifest itself."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "manifest.json")
    return {str(file.relative_to(folder)): _fingerprint(file) for file in files}


def _fingerprint(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _checkpoints(folder: Path) -> list[Path]:
    """Folders of checkpoints, newest first."""
    return sorted(
        (path for path in folder.glob("checkpoint-*") if path.is_dir()),
        key=lambda path: path.name,
        reverse=True,
    )


def latest(folder: Path, world: World, say: Callable[[str], object]) -> Checkpoint | None:
    """The newest checkpoint whose files are all there and unchanged, or None; every process calls this.

    A damaged one gets a line, is put aside under the name `damaged-checkpoint-STEP`, and is passed over.
    """

    def put_damaged_aside() -> None:
        while (path := next(iter(_checkpoints(folder)), None)) and (damage := _damage(path)):
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(path, aside)
            say(f"{path} is damaged ({damage}) and put aside: falling back to the checkpoint before it")

    world.once(put_damaged_aside)
    path = next(iter(_checkpoints(folder)), None)
    return (
        None
        if path is None
        else Checkpoint(path, json.loads((path / "state.json").read_text(encoding="utf-8")))
    )


def refuse_stale(folder: Path) -> None:
    """Raise where a run that starts anew would mix its checkpoints with those of another."""
    if earlier := _checkpoints(folder):
        raise InputError(
            f"{folder} holds {earlier[0].name} of an earlier run, but resume_from_checkpoint is false: move "
            "it away, or choose another output_dir"
        )


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, in words, or None if every file is as the manifest says."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        for name, written in manifest.items():
            file = path / name
            if file.stat().st_size != written["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {written['bytes']}"
            if _fingerprint(file) != written:
                return f"{name} is not what was written"
        if "state.json" not in manifest:
            return "its manifest is incomplete"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return str(error)
    return None


def restore_random(tensors: Mapping[str, Tensor]) -> None:
    """Set torch's random numbers to where they were."""
    torch.set_rng_state(tensors["random"])
    if "random_cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random_cuda"])
