"""SIGKILL in mid-sweep, again and again, then the same command: the same bytes as a run nobody touched."""

import os
import signal
import subprocess
import sys
import time

import pytest


def verify(out, cwd, *words):
    command = [
        sys.executable,
        "-m",
        "distalign.cli",
        "verify",
        "aot_transport",
        "aot_rate",
        "--out",
        out,
        *words,
    ]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def finished(out):
    return len(list(out.rglob("*.parquet")))


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    assert verify("whole", tmp_path, "--workers", "1").wait() == 0
    killed_at = []
    for cells in (1, 40):
        process = verify("killed", tmp_path, "--workers", "2")
        while process.poll() is None and finished(tmp_path / "killed") < cells:
            time.sleep(0.02)
        assert process.poll() is None, "the run ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed_at.append(finished(tmp_path / "killed"))
        assert killed_at[-1] >= cells
    assert killed_at[0] < killed_at[1] < finished(tmp_path / "whole")
    assert verify("killed", tmp_path).wait() == 0
    for name in ("ledger.csv", "ledger.json", "checks.csv", "figures/aot_rate.png"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name
