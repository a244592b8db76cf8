"""SIGKILL in mid-training online and the same recipe again: the weights, bit for bit, of a run nobody
touched.
"""

import multiprocessing
import signal
import time
from pathlib import Path

import pytest
import torch

from distalign.bridge.online import train
from tests.bridge.online.small_world import recipe

ROOT = Path(__file__).parents[3]
LOADED = [
    "distalign.bridge.online.prepare",
    "distalign.training.evaluation.card",
    "tests.bridge.online.small_world",
    "torch._dynamo",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
]
"""What a run imports in its course: six of seven of its CPU seconds."""


@pytest.fixture(scope="module")
def processes():
    """Processes forked from one that has imported what a run needs, which takes longer than the run; its
    hashes are seeded otherwise than here.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}.items():
            patch.setenv(name, value)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(LOADED)
        yield context


def run(one):
    train(one, progress=False)


def rows(folder):
    """Rows of metrics.csv so far."""
    path = folder / "metrics.csv"
    return path.read_text().count("\n") - 1 if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["rlhf", "nlhf"])
def test_killed_and_resumed(tmp_path, objective, processes):
    settings = {"max_steps": 16, "save_steps": 3, "warmup_ratio": 0.2}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the others
    try:
        run(recipe(tmp_path, objective, "whole", **settings))
    finally:
        torch.set_num_threads(threads)
    one = recipe(tmp_path, objective, "killed", **settings)
    for row in (4, 11):
        process = processes.Process(target=run, args=(one,))
        process.start()
        while process.is_alive() and rows(tmp_path / "killed") < row:
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (tmp_path / "killed" / "model").exists()
    process = processes.Process(target=run, args=(one,))
    process.start()
    process.join(200)
    assert process.exitcode == 0
    for name in ("model/model.safetensors", "metrics.csv", "checkpoint-00000016/optimiser-0.safetensors"):
        whole, killed = ((tmp_path / out / name).read_bytes() for out in ("whole", "killed"))
        assert whole == killed, name
