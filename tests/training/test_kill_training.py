"""SIGKILL in mid-training and the same command again: the weights, bit for bit, of a run nobody touched."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from tests.training.data_for_tests import recipe

ROOT = Path(__file__).parents[2]


def start(path, processes):
    worker = [str(Path(__file__).with_name("train_worker.py")), str(path)]
    command = (
        [sys.executable, *worker]
        if processes == 1
        else [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            str(processes),
            *worker,
        ]
    )
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def rows(folder):
    """Rows of metrics.csv so far."""
    path = folder / "metrics.csv"
    return path.read_text().count("\n") - 1 if path.exists() else 0


def kill_at(path, folder, processes, row):
    """Kill the launcher and its processes (which are in sessions of their own) once so many rows are
    there.
    """
    process = start(path, processes)
    while process.poll() is None and rows(folder) < row:
        time.sleep(0.002)
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    error = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, f"the run ended before it could be killed: {error[-2000:]}"


def killed_and_whole(tmp_path, processes, parallel, kills):
    """Train twice, once with kills after these rows; folders (whole, killed)."""
    folders = []
    for out, at in (("whole", ()), ("killed", kills)):
        one = recipe(
            tmp_path,
            out,
            parallel=parallel,
            gradient_accumulation_steps=4 // processes,
            max_steps=60,
            save_steps=3,
            objective="aot_paired",
            warmup_ratio=0.2,
            reference_cache=str(tmp_path / f"{out}_reference"),
        )
        path = tmp_path / f"{out}.json"
        path.write_text(json.dumps([asdict(one)]))
        folders.append(tmp_path / out)
        for row in at:
            kill_at(path, folders[-1], processes, row)
            assert not (folders[-1] / "model").exists()
        process = start(path, processes)
        error = process.communicate(timeout=200)[1]
        assert process.returncode == 0, error[-3000:]
    return folders


def same(whole, killed):
    for name in ("model/model.safetensors", "metrics.csv", "checkpoint-00000060/optimiser-0.safetensors"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "parallel"), [(1, "ddp"), (2, "ddp"), (2, "fsdp2")])
def test_killed_and_resumed(tmp_path, processes, parallel):
    whole, killed = killed_and_whole(tmp_path, processes, parallel, kills=(7, 32))
    same(whole, killed)
    (killed / "metrics.csv").write_text((killed / "metrics.csv").read_text().replace("0.6", "0.7", 1))
    with pytest.raises(AssertionError, match=r"metrics\.csv"):  # the comparison can fail
        same(whole, killed)
