"""Checkpoints: whole or not at all, checked when read, compared with the recipe."""

import errno
import json
import shutil
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from distalign.checks import InputError
from distalign.training import checkpoint, loop
from distalign.training.parallel import World, shard_rows
from distalign.training.resume import check_same
from distalign.training.run import Run
from tests.training.data_for_tests import recipe

ALONE = World(0, 1, torch.device("cpu"))


def state(step, settings=None, **changes):
    base = {
        "step": step,
        "tokens": 0,
        "recipe": settings or {},
        "data": "d",
        "weights": "w",
        "batch": 8,
        "updates": 10,
        "sharded": False,
        "world": 0,
        "threads": torch.get_num_threads(),
    }
    return base | changes


def save(folder, step, keep=2, tensors=None):
    def model(path):
        path.mkdir()
        (path / "model.txt").write_text(f"model {step}")

    return checkpoint.save(
        folder, tensors or {"w": torch.full((3,), float(step))}, state(step), ALONE, keep=keep, model=model
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_saved_found_and_limited(tmp_path):
    for step in (1, 2, 10):
        save(tmp_path, step)
    assert names(tmp_path) == ["checkpoint-00000002", "checkpoint-00000010"]
    found = checkpoint.latest(tmp_path, ALONE, print)
    assert found is not None
    assert found.step == 10
    assert found.tensors(ALONE)["w"].tolist() == [10.0] * 3
    before = torch.rand(3)
    checkpoint.restore_random(found.tensors(ALONE))
    assert torch.equal(torch.rand(3), before)


def damage(folder, how):
    path = folder / "checkpoint-00000002" / "optimiser-0.safetensors"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    elif how == "flipped":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    elif how == "missing":
        path.unlink()
    else:
        (folder / "checkpoint-00000002" / "manifest.json").write_text(how)


@pytest.mark.parametrize("how", ["cut", "flipped", "missing", "", "{}", "[]"])
def test_a_damaged_checkpoint_is_put_aside(tmp_path, how):
    save(tmp_path, 1)
    save(tmp_path, 2)
    damage(tmp_path, how)
    lines = []
    found = checkpoint.latest(tmp_path, ALONE, lines.append)
    assert found is not None
    assert found.step == 1
    assert len(lines) == 1
    assert "is damaged" in lines[0]
    assert "falling back to the checkpoint before it" in lines[0]
    assert names(tmp_path) == ["checkpoint-00000001", "damaged-checkpoint-00000002"]


def test_an_interrupted_save_is_no_checkpoint_and_is_swept_up(tmp_path):
    def killed(path):
        path.mkdir()
        raise KeyboardInterrupt

    save(tmp_path, 1)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, {}, state(2), ALONE, keep=2, model=killed)
    assert ".checkpoint-00000002.tmp" in names(tmp_path)
    assert checkpoint.latest(tmp_path, ALONE, print).step == 1
    save(tmp_path, 3)
    assert names(tmp_path) == ["checkpoint-00000001", "checkpoint-00000003"]


def test_a_full_disk_gets_a_sentence_and_the_last_checkpoint_is_intact(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(tensors, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(InputError, match=r"the disk is full; checkpoint-00000001 is intact: free space"):
        save(tmp_path, 2)
    assert names(tmp_path) == ["checkpoint-00000001"]
    assert checkpoint.latest(tmp_path, ALONE, print).step == 1


def test_a_full_disk_is_recognised_in_what_safetensors_raises(tmp_path, monkeypatch):
    """Its error carries no number; the text is the one seen on a full file system."""

    def full(tensors, path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(
        InputError, match=r"checkpoint 2 cannot be written .*: the disk is full; there is none before it"
    ):
        save(tmp_path, 2)


def test_tensors_are_not_pickled(tmp_path):
    path = save(tmp_path, 1)
    assert {file.suffix for file in path.rglob("*") if file.is_file()} == {".safetensors", ".json", ".txt"}
    assert not any(file.read_bytes()[:2] == b"\x80\x04" for file in path.rglob("*") if file.is_file())


def test_what_may_change_and_what_may_not(tmp_path):
    before = recipe(tmp_path)
    saved = state(1, asdict(before))
    fine = replace(
        before,
        save_steps=1,
        report_to="tensorboard",
        logging_steps=3,
        output_dir="elsewhere",
        eval_steps=2,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        micro_batch_tokens=2048,
    )
    check_same(saved, state(1, asdict(fine)), tmp_path)
    other = replace(before, learning_rate=2e-3, objective_options={"beta": 0.2}, seed=4)
    with pytest.raises(InputError) as error:
        check_same(saved, state(1, asdict(other)), tmp_path)
    differ = (
        "learning_rate was 0.001, now 0.002; objective_options was {'beta': 0.1}, now {'beta': 0.2}; "
        "seed was 0, now 4"
    )
    assert f"belongs to another run: {differ}. Restore the recipe" in str(error.value)
    for name, words in (
        ("data", "other tokens"),
        ("weights", "other weights"),
        ("batch", "global batch was 8, now 9"),
        ("updates", "number of updates"),
    ):
        with pytest.raises(InputError, match=words):
            check_same(saved, state(1, asdict(before), **{name: 9}), tmp_path)


def test_another_number_of_threads_is_said(tmp_path, caplog):
    asked, threads = recipe(tmp_path, max_steps=2, save_steps=1), torch.get_num_threads()
    loop.train(asked, progress=False)
    shutil.rmtree(tmp_path / "out/checkpoint-00000002")
    state_of_the_first = json.loads((tmp_path / "out/checkpoint-00000001/state.json").read_text("utf-8"))
    assert state_of_the_first["threads"] == threads
    try:
        torch.set_num_threads(threads + 1)
        with caplog.at_level("INFO", "distalign"):
            again = loop.train(asked, progress=False)
    finally:
        torch.set_num_threads(threads)
    assert again.resumed == 1
    assert f"with {threads} threads of torch and goes on with {threads + 1}" in caplog.text


def test_a_fresh_start_does_not_mix_with_old_checkpoints(tmp_path):
    checkpoint.refuse_stale(tmp_path)
    save(tmp_path, 1)
    with pytest.raises(
        InputError, match="holds checkpoint-00000001 of an earlier run, but resume_from_checkpoint is false"
    ):
        checkpoint.refuse_stale(tmp_path)


@pytest.mark.parametrize(
    ("changes", "updates"),
    [
        ({"lr_scheduler_type": "constant"}, 0),
        ({"lr_scheduler_type": "linear"}, 7),
        ({"warmup_ratio": 0.1}, 7),
    ],
)
@pytest.mark.parametrize("sharded", [True, False])
def test_state_names_the_updates_that_a_schedule_depends_on(tmp_path, changes, updates, sharded):
    asked = recipe(tmp_path, **{"lr_scheduler_type": "constant", "warmup_ratio": 0.0} | changes)
    run = SimpleNamespace(
        recipe=asked,
        done=3,
        tokens=40,
        digest="d",
        size=8,
        weights="w",
        total=7,
        sharded=sharded,
        world=ALONE,
    )
    assert Run.state(run) == state(
        3, asdict(asked), tokens=40, updates=updates, sharded=sharded, world=1 if sharded else 0
    )


@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_shards_of_one_number_of_processes_are_read_by_another(tmp_path, before, after):
    """Rows of 5 and of 1, of which some processes have none; counts and random states are not shared out."""
    whole = {"master.w": torch.arange(10.0).view(5, 2), "exp_avg.b": torch.ones(1)}

    def part(tensor, rank, size):
        return tensor[slice(*shard_rows(len(tensor), rank, size))].clone()

    same = {"step.w": torch.tensor(3.0), "random": torch.arange(7, dtype=torch.uint8)}
    for rank in range(before):
        rows = {name: part(tensor, rank, before) for name, tensor in whole.items()}
        save_file(rows | same, tmp_path / f"optimiser-{rank}.safetensors")
    saved = checkpoint.Checkpoint(tmp_path, {"sharded": before > 1, "world": before})
    for rank in range(after):
        found = saved.tensors(World(rank, after, torch.device("cpu")), sharded=after > 1)
        assert found.keys() == whole.keys() | same.keys()
        for name, tensor in whole.items():
            assert torch.equal(found[name], part(tensor, rank, after))
        assert all(torch.equal(found[name], tensor) for name, tensor in same.items())
