"""Small disks: every command that writes, on a real disk that is full, read-only, or has no such name.

Where the system permits it, the folder that a command writes into is a disk of its own (tmpfs) of a few KiB:
it is full wherever the command happens to be then. The command must leave with a sentence; the disk is made
larger, the same command is given again, and all files are compared with those of a run that nobody touched.
The disks are mounted in a namespace that ends with this process.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.robustness.faults import attempt, resumed, row
from tests.robustness.kills import Run, complete, preload, runs, steady

SIZES = 8  # disks of each command, from a page up to almost what it needs
PAGE = 4096
_NEW_MOUNTS, _PRIVATE, _RECURSIVE, _READ_ONLY, _REMOUNT, _DETACH = 0x20000, 0x40000, 0x4000, 1, 32, 2
_C = ctypes.CDLL(None, use_errno=True)


def disk_rows(folder: Path, only: str) -> Iterator[dict[str, object]]:
    """One row a fault."""
    preload()
    own = own_mounts()
    for run in writers(folder):
        if only and run.name not in only.split(","):
            continue
        yield from of_names(run, folder)
        if own:
            yield from of_disks(run, folder / f"{run.name}.log")
        else:
            yield {"table": "disk", "name": run.name, "verdict": "no disk may be mounted here"}


def writers(folder: Path) -> Iterator[Run]:
    """The commands of one process that write, each into a folder of its own."""
    place = folder / "runs"
    place.mkdir()
    yield from (run for run in runs(place) if run.processes == 1)
    model, prompts = str(place / "model"), str(place / "prompts.csv")
    draws, scored = place / "drawn/draws.jsonl", place / "scored/scored.jsonl"
    small = ["--batch-size", "8", "--dtype", "float32", "--max-new-tokens", "16"]
    words = [
        "generate",
        model,
        "--prompts",
        prompts,
        "--out",
        str(draws),
        "--samples-per-prompt",
        "34",
        *small,
    ]
    yield from ready(Run("draws", [*words, "--reference", model], draws.parent), folder)
    kinds = [f"{name}=tests.robustness.disks:mood" for name in ("length", "sentiment")]
    words = ["score", str(draws), "--score", *kinds, "--out", str(scored)]
    yield from ready(Run("score", words, scored.parent), folder)
    out = place / "labelled"
    words = ["label", str(scored), "--population", "readers", "--out", str(out / "pairs.jsonl")]
    yield Run("label", words, out)
    out = place / "predicted"
    yield Run("predict", ["predict", str(scored), "--population", "readers", "--out", str(out)], out)
    out = place / "judged"
    words = ["judge", str(scored), "--against", str(scored), "--score", "length", "--out", str(out)]
    yield Run("judge", words, out)
    out = place / "evaluated"
    words = ["evaluate", model, "--reference", model, "--data", str(place / "pairs.jsonl"), "--out", str(out)]
    yield Run("evaluate", [*words, "--dtype", "float32", "--resamples", "20"], out)
    out = place / "drawn_figure"
    yield Run("figure", ["figure", "aot_null", "--out", str(out)], out)
    out = place / "copied"
    yield Run("recipes cp", ["recipes", "cp", "smollm2_dpo", str(out / "mine.yaml")], out)


def ready(run: Run, folder: Path) -> Iterator[Run]:
    """The run, and its files once it was looked at, for the next one reads them."""
    yield run
    complete(run, folder / "ready.log")


def mood(prompts: list[str], responses: list[str]) -> list[float]:
    """A score that differs between texts."""
    return [zlib.crc32((p + r).encode()) % 1000 / 100 for p, r in zip(prompts, responses, strict=True)]


def of_names(run: Run, folder: Path) -> Iterator[dict[str, object]]:
    """Names that cannot be written."""
    file = folder / "file"
    file.write_text("a file")
    for case, base in (("a name of 300 letters", folder / ("x" * 300)), ("below a file", file)):
        yield row(run, case, attempt(elsewhere(run, base / "out"), folder / "names.log"), "")


def elsewhere(run: Run, out: Path) -> Run:
    """The same command with another place to write into."""
    words = [word.replace(str(run.out), str(out)) for word in run.words]
    if run.words[0] == "train":
        words += ["--output-dir", str(out)]
    return replace(run, words=words, out=out)


def of_disks(run: Run, log: Path) -> Iterator[dict[str, object]]:
    """Disks of several sizes, and one that is read-only."""
    place = run.out.parent if run.out.name == "out" else run.out
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    mount(place, "size=1g")
    try:
        whole, unsteady, _ = steady(run, log)
    except RuntimeError:
        unmount(place)
        raise
    used = os.statvfs(place)
    need = (used.f_blocks - used.f_bfree) * used.f_frsize // PAGE
    unmount(place)
    for size in sorted({1 + int(need * k / SIZES) for k in range(SIZES)}):
        mount(place, f"size={size * PAGE}")
        said = attempt(run, log)
        mount(place, "size=1g", _REMOUNT)
        yield row(run, f"full disk of {size} of {need} pages", said, resumed(run, whole, log, unsteady))
        unmount(place)
    mount(place, "size=1g")
    mount(place, "size=1g", _REMOUNT | _READ_ONLY)
    said = attempt(run, log)
    mount(place, "size=1g", _REMOUNT)
    yield row(run, "read-only disk", said, resumed(run, whole, log, unsteady))
    unmount(place)


def own_mounts() -> bool:
    """Give this process mounts of its own, if it may have them."""
    return not _C.unshare(_NEW_MOUNTS) and not _C.mount(b"none", b"/", None, _PRIVATE | _RECURSIVE, None)


def mount(place: Path, options: str, flags: int = 0) -> None:
    """A disk in memory at a folder.

    Raises:
        OSError: the system refuses it.
    """
    if _C.mount(b"tmpfs", os.fsencode(place), b"tmpfs", flags, options.encode()):
        raise OSError(ctypes.get_errno(), f"no disk at {place}")


def unmount(place: Path) -> None:
    """Take the disk away, with what is on it."""
    _C.umount2(os.fsencode(place), _DETACH)
