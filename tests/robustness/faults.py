"""What a bad disk or a lost process does to a command: one sentence, and the same command goes on afterwards.

A fault is injected below the program: the k-th `os.fsync` of a command raises what the system raises on a
full disk, so every write is hit in turn. The command must leave with status 2 and a sentence, without a
traceback; then it is given again on a good disk and must end with the bytes of a run that nobody touched.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterator
from itertools import zip_longest
from pathlib import Path

from tests.robustness import kills
from tests.robustness.kills import Run, complete, ended, kill, preload, runs, start, steady

MOST = 10  # writes of one command that are hit, and files, evenly spread


def failing_fsync(place: int, code: int) -> Callable[[], None]:
    """What a forked process calls first, so that its fsync number `place` fails; 0 counts them in a file."""
    real, seen = os.fsync, [0]

    def fsync(number: int) -> None:
        seen[0] += 1
        if seen[0] == place:
            raise OSError(code, os.strerror(code))
        if place == 0:
            print(f"fsync {seen[0]}", flush=True)
        real(number)

    def inject() -> None:
        os.fsync = fsync

    return inject


def verdict(codes: list[int] | None, text: str) -> str:
    """In words, how a command with a fault has ended."""
    if codes is None:
        return "hang"
    if "Traceback" in text:
        return f"traceback: {text.strip().splitlines()[-1]}"[:200]
    if any(code not in (0, 2) for code in codes):
        return f"status {codes}"
    if not any(codes):
        return "whole"
    return "sentence" if "distalign: " in text else f"status {codes} without a sentence"


def attempt(run: Run, log: Path, inject: Callable[[], None] | None = None) -> str:
    """Run a command to its end with a fault."""
    log.unlink(missing_ok=True)
    pids = start(run, log, inject)
    codes = ended(pids, kills.LIMIT)
    if codes is None:
        kill(pids)
    return verdict(codes, log.read_text("utf-8", "replace"))


def fault_rows(folder: Path, only: str) -> Iterator[dict[str, object]]:
    """All faults of all commands that are made of one process, and those of two processes."""
    preload()
    for run in runs(folder):
        if run.name in ("verify", "votes", "train", "generate") and only in ("", run.name):
            yield from of_disk(run, folder / f"{run.name}.log")
    if only in ("", "processes"):
        yield from of_processes(folder)


def of_disk(run: Run, log: Path) -> Iterator[dict[str, object]]:
    """A full disk at each write, other refusals at the first, and files zeroed from their middle."""
    attempt(run, log, failing_fsync(0, 0))
    writes = log.read_text("utf-8", "replace").count("fsync ")
    shutil.rmtree(run.out)
    whole, unsteady, _ = steady(run, log)
    whole = {name: data for name, data in whole.items() if name not in unsteady}
    faults = [(1 + (writes - 1) * i // (MOST - 1), errno.ENOSPC) for i in range(min(MOST, writes))]
    faults += [(1, code) for code in (errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO)]
    for place, code in dict.fromkeys(faults):
        shutil.rmtree(run.out, ignore_errors=True)
        said = attempt(run, log, failing_fsync(place, code))
        yield row(
            run,
            f"{errno.errorcode[code]} at write {place} of {writes}",
            said,
            resumed(run, whole, log, unsteady),
        )
    for name in of_each_folder(list(whole)):
        shutil.rmtree(run.out, ignore_errors=True)
        complete(run, log)
        back(run)
        path = run.out / name
        if not path.is_file():
            continue
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
        said = attempt(run, log)
        if said == "sentence":  # it names what to delete
            path.unlink()
        yield row(run, f"{name} zeroed from its middle", said, resumed(run, whole, log, unsteady))


def of_each_folder(names: list[str]) -> list[str]:
    """`MOST` of the files, from each folder in turn."""
    folders: dict[str, list[str]] = {}
    for name in names:
        folders.setdefault(str(Path(name).parent), []).append(name)
    turns = zip_longest(*folders.values())
    return [name for turn in turns for name in turn if name is not None][:MOST]


def back(run: Run) -> None:
    """As a kill leaves a training run before its last checkpoint; other runs read their files anyway."""
    if run.name == "train":
        shutil.rmtree(run.out / "model", ignore_errors=True)
        last = sorted(run.out.glob("checkpoint-*"))[-1:]
        for path in last:
            shutil.rmtree(path)


def resumed(run: Run, whole: dict[str, bytes], log: Path, unsteady: Collection[str] = ()) -> str:
    """Whether the same command ends now, with the same bytes in all files but the unsteady ones."""
    try:
        found, _ = complete(run, log)
    except RuntimeError as error:
        return str(error)[:200]
    names = {name for name in {*found, *whole} if not name.startswith("damaged-")}  # which are put aside
    other = [name for name in sorted(names - {*unsteady}) if found.get(name) != whole.get(name)]
    return "same bytes" if not other else f"differs: {' '.join(other)}"[:200]


def row(run: Run, case: str, said: str, then: str) -> dict[str, object]:
    """One row of the table."""
    return {
        "table": "fault",
        "name": run.name,
        "case": case,
        "verdict": f"{said}; then {then}" if then else said,
    }


def of_processes(folder: Path) -> Iterator[dict[str, object]]:
    """Process 0 late at every file, and process 1 dead, with and without torchrun above them."""
    from tests.robustness.test_torchrun_command import SLOW_RANK_0, torchrun

    for parallel in ("ddp", "fsdp2"):
        place = folder / f"slow_{parallel}"
        place.mkdir()
        done = torchrun(place, SLOW_RANK_0, "0.3", parallel=parallel)
        card = (place / "out/model/README.md").is_file()
        said = "whole" if done.returncode == 0 and card else verdict([done.returncode], done.stderr)
        yield {
            "table": "fault",
            "name": parallel,
            "case": "process 0 late by 0.3 s at every file",
            "verdict": said,
        }
    for run in runs_of_two(folder):
        yield {
            "table": "fault",
            "name": run.name,
            "case": "process 1 killed",
            **dead(run, folder / "dead.log"),
        }


def runs_of_two(folder: Path) -> Iterator[Run]:
    """The runs of two processes, made long enough to be met."""
    place = folder / "dead"
    place.mkdir()
    for run in runs(place):
        if run.processes == 2:
            yield Run(run.name, [*run.words, "--max-steps", "2000"], run.out, 2)


def dead(run: Run, log: Path) -> dict[str, object]:
    """Kill process 1 once rows are written, and wait for process 0."""
    log.unlink(missing_ok=True)
    pids = start(run, log)
    until = time.monotonic() + kills.LIMIT
    while time.monotonic() < until and not (run.out / "metrics.csv").exists():
        time.sleep(0.05)
    os.killpg(pids[1], signal.SIGKILL)
    began = time.monotonic()
    codes = ended(pids, 60.0)
    took = round(time.monotonic() - began, 1)
    if codes is None:
        kill(pids)
    text = log.read_text("utf-8", "replace")
    said = verdict(None if codes is None else codes[:1], text)
    return {"verdict": said, "seconds": took}
