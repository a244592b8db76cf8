"""SIGKILL in mid-training online and the same command again: the weights, bit for bit, of a run nobody
touched.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.bridge.online.small_world import recipe

ROOT = Path(__file__).parents[3]
WORKER = """
import json, sys
from distalign.bridge.online import OnlineRecipe, train
train(OnlineRecipe(**json.loads(open(sys.argv[1]).read())), progress=False)
"""


def start(folder, one):
    path = folder / f"{Path(one.output_dir).name}.json"
    path.write_text(json.dumps(asdict(one)))
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path)], env=env, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def rows(folder):
    """Rows of metrics.csv so far."""
    path = folder / "metrics.csv"
    return path.read_text().count("\n") - 1 if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["rlhf", "nlhf"])
def test_killed_and_resumed(tmp_path, objective):
    for out, kills in (("whole", ()), ("killed", (4, 11))):
        one = recipe(tmp_path, objective, out, max_steps=16, save_steps=3, warmup_ratio=0.2)
        for row in kills:
            process = start(tmp_path, one)
            while process.poll() is None and rows(tmp_path / out) < row:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            error = process.communicate()[1]
            assert process.returncode == -signal.SIGKILL, error[-2000:]
            assert not (tmp_path / out / "model").exists()
        process = start(tmp_path, one)
        error = process.communicate(timeout=200)[1]
        assert process.returncode == 0, error[-3000:]
    for name in ("model/model.safetensors", "metrics.csv", "checkpoint-00000016/optimiser-0.safetensors"):
        whole, killed = ((tmp_path / out / name).read_bytes() for out in ("whole", "killed"))
        assert whole == killed, name
