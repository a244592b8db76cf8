"""SIGKILL at random moments, then the same command again: the same bytes as a run nobody touched."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest


def verify(out, cwd, *words):
    command = [sys.executable, "-m", "distalign.cli", "verify", "aot_transport", "aot_rate", "--out", out, *words]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    assert verify("whole", tmp_path).wait() == 0
    moments = random.Random(0)
    left = []
    for _ in range(3):
        process = verify("killed", tmp_path, "--workers", "2")
        time.sleep(moments.uniform(3, 8))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        left.append(len(list((tmp_path / "killed").rglob("*.parquet"))))
    assert left[0] < len(list((tmp_path / "whole").rglob("*.parquet"))), "the first kill came too late to mean anything"
    assert verify("killed", tmp_path).wait() == 0
    for name in ("ledger.csv", "ledger.json", "checks.csv", "figures/aot_rate.pdf", "figures/aot_rate.png"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name
