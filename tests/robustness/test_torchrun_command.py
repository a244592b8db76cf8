"""Two processes by the real command, `torchrun ... distalign train RECIPE`, with data held out.

Process 0 is late at every file that it writes. On code that does not make the others wait, they read the
evaluation before it is there, and torchrun ends the job before the model card is written.
"""

import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

from distalign import cli
from distalign.checks import InputError
from distalign.training.parallel import World, joined_world
from tests.training.data_for_tests import recipe

ROOT = Path(__file__).parents[2]
SLOW_RANK_0 = str(Path(__file__).with_name("slow_rank_0.py"))


def torchrun(folder: Path, *words: str, limit: float = 240, **changes) -> subprocess.CompletedProcess:
    """Train a tiny recipe on two processes through the command line."""
    settings = asdict(recipe(folder, "out", gradient_accumulation_steps=2, eval_fraction=0.3, **changes))
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({name: v for name, v in settings.items() if v is not None}))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *launcher, *words, "train", str(path)],
        env=env,
        capture_output=True,
        text=True,
        timeout=limit,
    )


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_a_late_process_0_is_waited_for(tmp_path, parallel):
    done = torchrun(tmp_path, SLOW_RANK_0, "0.3", parallel=parallel)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out/model/README.md").is_file()
    assert (tmp_path / "out/evaluation/evaluation.csv").is_file()
    assert done.stdout.count("held-out metric") == 1  # one process prints


class Peers:
    """`torch.distributed` for threads: as much of it as `World.each` uses."""

    def __init__(self, size: int) -> None:
        self.barrier, self.words = threading.Barrier(size), {}

    def all_gather_object(self, words: list, mine: object) -> None:
        rank = int(threading.current_thread().name)
        self.words[rank] = mine
        self.barrier.wait(10)
        words[:] = [self.words[i] for i in range(len(words))]


def on_two_threads(monkeypatch, call):
    """What `call(world)` returns or raises on each of two processes."""
    monkeypatch.setattr("distalign.training.parallel.dist", Peers(2))
    out = {}

    def run(rank: int) -> None:
        try:
            out[rank] = call(World(rank, 2, torch.device("cpu")))
        except Exception as error:
            out[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), name=str(rank)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return out[0], out[1]


def test_once_returns_when_process_0_has_written(monkeypatch, tmp_path):
    path = tmp_path / "file"

    def late() -> str:
        time.sleep(0.3)
        path.write_text("there")
        return "written"

    def call(world: World) -> tuple[str | None, str]:
        return world.once(late), path.read_text()

    assert on_two_threads(monkeypatch, call) == (("written", "there"), (None, "there"))


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_one_process_ends_all(monkeypatch, failing):
    """On code that lets the others wait for a message of the dead one they hang."""

    def call(world: World) -> None:
        def write() -> None:
            if world.rank == failing:
                raise InputError("the disk is full")

        world.each(write)

    found = on_two_threads(monkeypatch, call)
    assert str(found[failing]) == "the disk is full"
    assert isinstance(found[1 - failing], InputError)
    assert f"process {failing} failed" in str(found[1 - failing])
    assert "the disk is full" in str(found[1 - failing])


@pytest.mark.parametrize("value", ["abc", "", "-1", "0", "1.5"])
def test_a_number_of_processes_that_is_none_is_a_sentence(monkeypatch, value):
    monkeypatch.setenv("WORLD_SIZE", value)
    with pytest.raises(InputError, match="the environment says WORLD_SIZE="), joined_world():
        pass


def test_ctrl_c_is_one_line_and_status_130(monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("tyro.extras.subcommand_cli_from_dict", interrupted)
    monkeypatch.setattr(sys, "argv", ["distalign", "ls"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 130
    assert capsys.readouterr().err == "distalign: stopped; the same command goes on where it was\n"
