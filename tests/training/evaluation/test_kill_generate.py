"""SIGKILL in mid-sampling and the same call again: the file, byte for byte, of a run nobody touched."""

import multiprocessing
import signal
import time
from pathlib import Path

import pytest
import torch

from distalign.training.evaluation.generate import generate
from distalign.training.model.scorer import Scorer
from tests.training.tiny import tiny_llama, tiny_tokenizer

ROOT = Path(__file__).parents[3]
PROMPTS = [(1, 20 + i, 21) for i in range(40)]


def sample(out):
    torch.set_num_threads(1)
    generate(
        Scorer(tiny_llama(3)),
        tiny_tokenizer(),
        PROMPTS,
        out=out,
        batch_size=1,
        samples_per_prompt=2,
        max_new_tokens=8,
    )


def parts(out):
    """Batches that are finished so far."""
    return len([*out.with_name(f"{out.name}.parts").glob("0*.parquet")])


@pytest.mark.slow
def test_killed_and_resumed(tmp_path, monkeypatch):
    for name, value in {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    context, threads = multiprocessing.get_context("forkserver"), torch.get_num_threads()
    context.set_forkserver_preload([__name__, "transformers.models.llama.modeling_llama"])
    whole, killed = tmp_path / "whole.parquet", tmp_path / "killed.parquet"
    sample(whole)
    torch.set_num_threads(threads)
    for count in (3, 17):
        process = context.Process(target=sample, args=(killed,))
        process.start()
        while process.is_alive() and parts(killed) < count:
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not killed.exists()
        assert count <= parts(killed) < len(PROMPTS)
    process = context.Process(target=sample, args=(killed,))
    process.start()
    process.join(200)
    assert process.exitcode == 0
    assert killed.read_bytes() == whole.read_bytes()
    assert not killed.with_name("killed.parquet.parts").exists()
