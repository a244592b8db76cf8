"""Runs killed at random moments and started again: the bytes of a run that nobody touched.

Every run is one command of `distalign`, in processes forked from one that has imported what they need (which
takes longer than the runs). It is first made twice without a kill; files whose bytes differ between the two,
such as notes of the time taken, are named and left out of the comparison. Then it is killed (SIGKILL, all its
processes) at a moment drawn uniformly from the time the first took, started again by the same command until
it ends, and all files are compared.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

LIMIT = 1200.0  # seconds of one run on a busy machine
SHARES = {"verify": 8, "votes": 6, "sweep": 6, "train": 8, "ddp": 6, "fsdp2": 6, "online": 5, "generate": 5}
"""How many of 50 kills each command gets."""
TIMES = {"seconds.csv"}
"""Seconds taken, which two runs may share by chance."""


PRELOADED = (
    "distalign.cli",
    "distalign.bridge.online.prepare",
    "distalign.pluralism.report",
    "distalign.pluralism.simulation",
    "distalign.simulation.studies.aot.aot_transport",
    "distalign.simulation.verification",
    "distalign.training.commands",
    "distalign.training.evaluation.card",
    "distalign.training.loop",
    "matplotlib.pyplot",
    "tests.bridge.online.small_world",
    "torch._dynamo",
    "torch.distributed.fsdp",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
)


@dataclass(frozen=True)
class Run:
    """A command.

    Attributes:
        name: in the table.
        words: of the command line.
        out: the folder, or folder of the file, that it writes.
        processes: ranks.
    """

    name: str
    words: list[str]
    out: Path
    processes: int = 1


def runs(folder: Path) -> Iterator[Run]:
    """The commands, on tiny data in a folder."""
    from tests.bridge.online import small_world
    from tests.training.data_for_tests import recipe

    def written(name: str, made: object) -> str:
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in asdict(made).items() if v is not None}))  # type: ignore[call-overload]
        return str(path)

    votes = folder / "votes.csv"
    draw = random.Random(0)
    lines = [
        f"u{i % 20},{a},{b},{draw.choice(['first', 'second'])}"
        for i in range(120)
        for a, b in [draw.sample("xyz", 2)]
    ]
    votes.write_text("user,first,second,vote\n" + "\n".join(lines) + "\n")
    out = {name: folder / name / "out" for name in SHARES}
    yield Run(
        "verify", ["verify", "aot_transport", "--workers", "1", "--out", str(out["verify"])], out["verify"]
    )
    words = ["--methods", "NLHF", "Borda", "RLHF", "--workers", "1", "--out"]
    yield Run(
        "votes",
        ["simulate", "--votes", str(votes), "--bootstrap", "4", *words, str(out["votes"])],
        out["votes"],
    )
    grid = ["--sweep", "bt_temperature=1:10:4", "--sweep", "n=50,200", "--seeds", "2"]
    yield Run("sweep", ["simulate", "two_camps", *grid, *words, str(out["sweep"])], out["sweep"])
    for name, processes, parallel in (("train", 1, "ddp"), ("ddp", 2, "ddp"), ("fsdp2", 2, "fsdp2")):
        made = recipe(
            folder,
            f"{name}/out",
            parallel=parallel,
            gradient_accumulation_steps=4 // processes,
            max_steps=12,
            save_steps=3,
            eval_fraction=0.3,
            objective="aot_paired",
            reference_cache=str(out[name] / "reference"),
        )
        yield Run(name, ["train", written(name, made)], out[name], processes)
    (folder / "small").mkdir()
    made = small_world.recipe(folder / "small", "rlhf", "../online/out", max_steps=10, save_steps=3)
    yield Run("online", ["train", written("online", made)], out["online"])
    prompts = folder / "prompts.csv"
    prompts.write_text("prompt\n" + "\n".join(f"q{i} tea" for i in range(12)) + "\n")
    words = [
        "generate",
        str(folder / "model"),
        "--prompts",
        str(prompts),
        "--out",
        str(out["generate"] / "texts.jsonl"),
    ]
    yield Run(
        "generate",
        [*words, "--batch-size", "2", "--max-new-tokens", "24", "--dtype", "float32"],
        out["generate"],
    )


def preload() -> None:
    """Import what the commands need, so that a fork begins at once."""
    import importlib

    for name in PRELOADED:
        importlib.import_module(name)


def start(run: Run, log: Path, inject: Callable[[], None] | None = None) -> list[int]:
    """Process ids of the command, one a rank and each with a group of its own; `inject` is called first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [_fork(run, rank, port, log, inject) for rank in range(run.processes)]


def _fork(run: Run, rank: int, port: int, log: Path, inject: Callable[[], None] | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setpgrp()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        if run.processes > 1:
            ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": run.processes, "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in ranks.items()}, MASTER_ADDR="127.0.0.1")
        sys.argv = ["distalign", *run.words]
        if inject is not None:
            inject()
        from distalign import cli

        cli.main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def ended(pids: list[int], seconds: float) -> list[int] | None:
    """Exit codes of all of them (minus a signal's number), or None when they still run after so long."""
    codes: dict[int, int] = {}
    until = time.monotonic() + seconds
    while len(codes) < len(pids):
        for pid in pids:
            if pid not in codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[pid] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > until and len(codes) < len(pids):
            return None
        time.sleep(0.002)
    return [codes[pid] for pid in pids]


def kill(pids: list[int]) -> None:
    """SIGKILL to the groups of these processes, which are our own children."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its name, those of locks left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def complete(run: Run, log: Path) -> tuple[dict[str, bytes], float]:
    """The files of a run that ends, and its seconds.

    Raises:
        RuntimeError: it does not end, or not with status 0.
    """
    began = time.monotonic()
    pids = start(run, log)
    codes = ended(pids, LIMIT)
    if codes is None:
        kill(pids)
        raise RuntimeError(f"{run.name}: no end in {LIMIT} s")
    if any(codes):
        raise RuntimeError(f"{run.name}: status {codes}: {log.read_text('utf-8', 'replace')[-1500:]}")
    return contents(run.out), time.monotonic() - began


def steady(run: Run, log: Path) -> tuple[dict[str, bytes], list[str], float]:
    """Files of a run that nobody touched, which of them another such run makes otherwise, and its seconds.

    Raises:
        RuntimeError: as `complete`.
    """
    first, seconds = complete(run, log)
    shutil.rmtree(run.out, ignore_errors=True)  # which stays if it is a disk
    whole, again = complete(run, log)
    other = sorted(n for n in {*first, *whole} if n in TIMES or first.get(n) != whole.get(n))
    return whole, other, min(seconds, again)


def kill_once(run: Run, after: float, log: Path) -> bool:
    """Start the run afresh and kill it after so many seconds; False if it had ended before."""
    shutil.rmtree(run.out, ignore_errors=True)
    pids = start(run, log)
    if ended(pids, after) is not None:
        return False
    kill(pids)
    return True


def kill_rows(folder: Path, count: int = 50, seed: int = 0, only: str = "") -> Iterator[dict[str, object]]:
    """One row a kill."""
    draw = random.Random(seed)
    preload()
    for run in runs(folder):
        kills = max(1, round(SHARES[run.name] * count / sum(SHARES.values())))
        if only not in ("", run.name):
            continue
        log = folder / f"{run.name}.log"
        try:
            whole, unsteady, seconds = steady(run, log)
        except RuntimeError as error:
            yield {"table": "kill", "name": run.name, "verdict": str(error)[:300]}
            continue
        for number in range(kills):
            moment = draw.uniform(0.03, 0.97)
            while not kill_once(run, moment * seconds, log):
                moment /= 2  # the machine was less busy than before
            there = contents(run.out) if run.out.is_dir() else {}
            row = {
                "table": "kill",
                "name": run.name,
                "case": number,
                "moment": round(moment, 3),
                "files_at_kill": len(there),
            }
            try:
                found, took = complete(run, log)
                names = sorted({*found, *whole} - {*unsteady})
                other = [name for name in names if found.get(name) != whole.get(name)]
                verdict = "same bytes" if not other else f"differs: {' '.join(other)}"[:200]
                yield row | {
                    "verdict": verdict,
                    "files": len(names),
                    "left_out": " ".join(unsteady),
                    "seconds": round(took, 2),
                }
            except RuntimeError as error:
                yield row | {"verdict": str(error)[:300]}
