"""Files: every refusal of the disk is a sentence, and a damaged file is never read as a good one."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from distalign import cli, files
from distalign.checks import InputError
from distalign.figures import save, write_table
from distalign.training import loop
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.evaluation.samples import Sample, Samples, read_samples, write_samples
from distalign.training.journal import Journal
from distalign.training.model.reference import ReferenceCache
from tests.training.data_for_tests import recipe

SAMPLES = Samples(
    (Sample(0, 0, (1, 2), (3,), "ä\u2028b", True, -1.0), Sample(0, 1, (1, 2), (4, 5), "c", False, -2.0)),
    {"temperature": 1.0, "top_p": 1.0},
)
DATA = PreferenceData.of([Example((1, 2), (3,), (4,)), Example((2, 1), (3,), (4,))])
SCORES = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], dtype=torch.float64)


def store(path: Path) -> None:
    ReferenceCache(path, {"weights": "w"}).store(DATA, SCORES, torch.ones(2, dtype=torch.bool))


WRITERS = {
    "text": lambda path: files.write_text(path, "text"),
    "table": lambda path: write_table(pd.DataFrame({"a": [1]}), path),
    "samples": lambda path: write_samples(SAMPLES, path),
    "reference": store,
    "journal": lambda path: Journal(path, "none", {}, 0),
}
TROUBLES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full",
    errno.EROFS: "read-only",
    errno.EACCES: "not permitted",
    errno.EPERM: "not permitted",
    errno.ENAMETOOLONG: "too long",
    errno.ENOTDIR: "a file and no folder",
    errno.EIO: "Input/output error",
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("code", TROUBLES, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "fsync", "replace", "mkdir"])
def test_every_writer_and_every_refusal_of_the_disk(tmp_path, monkeypatch, writer, code, call):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    if call == "open":
        real = os.open

        def refuse_new(path, flags, *args, **kwargs):
            return refuse() if flags & os.O_CREAT else real(path, flags, *args, **kwargs)

        monkeypatch.setattr(os, "open", refuse_new)
    else:
        monkeypatch.setattr(os, call, refuse)
    with pytest.raises(InputError, match=TROUBLES[code]) as error:
        WRITERS[writer](tmp_path / "folder" / "name")
    monkeypatch.undo()
    assert str(tmp_path) in str(error.value)
    assert "the same command again" in str(error.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("writer", ["text", "table", "samples"])
@pytest.mark.parametrize(
    ("name", "words"),
    [("n" * 300, "too long"), ("a_file/name", "a file and no folder"), ("a_folder", "a folder of this name")],
)
def test_names_that_no_file_can_have(tmp_path, writer, name, words):
    (tmp_path / "a_file").write_text("")
    (tmp_path / "a_folder").mkdir()
    with pytest.raises(InputError, match=words):
        WRITERS[writer](tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_file", "a_folder"]


def test_a_long_name_that_the_file_system_takes_is_written(tmp_path):
    """The temporary name is not longer than the name itself: 255 bytes are allowed, and are enough."""
    files.write_text(tmp_path / ("n" * 255), "text")
    assert (tmp_path / ("n" * 255)).read_text() == "text"


def test_a_disk_that_fills_up_while_a_figure_is_written_is_a_sentence(tmp_path, monkeypatch):
    """The writer of PDF of matplotlib left an AttributeError of its own."""

    def fill_up(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(InputError, match="the disk is full"):
        save(Figure(), tmp_path / "figure", "caption", pd.DataFrame({"a": [1]}))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
@pytest.mark.parametrize("words", [[], ["--version"], ["show", "aot_null"], ["recipes", "ls"]])
def test_an_output_that_is_full_is_a_sentence(words):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "distalign", *words], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("distalign: cannot use what this command prints to: the disk is full")


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "aot_null", "--out"],
        ["figure", "aot_null", "--out"],
        ["simulate", "two_camps", "--seeds", "1", "--methods", "Borda", "--out"],
    ],
)
def test_a_name_that_is_too_long_is_a_sentence_wherever_it_is_met(words, tmp_path, monkeypatch, capsys):
    """Asked whether it is there, Python raises OSError."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["distalign", *words, "x" * 300])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "too long" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "aot_null"],
        ["simulate", "two_camps", "--methods", "Borda"],
        ["generate", "model", "--prompts", "p.csv", "--out", "o.jsonl"],
        ["judge", "texts.jsonl"],
    ],
)
def test_a_negative_seed_is_a_sentence(words, tmp_path, monkeypatch, capsys):
    """It was numpy's ValueError, of some commands after their work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["distalign", *words, "--seed", "-1"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "seed must be a whole number of at least 0, got -1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["score", "drawn.jsonl", "--score", "length", "--out", ""], "--out '.' names no file"),
        (["simulate", "two_camps", "--methods", "Borda", "--bootstrap", "1" + "0" * 30], "bootstrap must be"),
    ],
)
def test_flags_that_were_tracebacks(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["distalign", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert sentence in capsys.readouterr().err


def test_cleaning_up_does_not_hide_the_cause(tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken(self, missing_ok=False):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", broken)
    with pytest.raises(InputError, match="the disk is full"):
        files.write_whole(tmp_path / "name", full)


def test_what_rust_libraries_say_of_a_disk_is_understood():
    assert files.disk_trouble(Exception("No space left on device (os error 28)"))[0] == "the disk is full"
    assert files.disk_trouble(KeyError("a")) is None


def test_a_text_is_utf8_whatever_the_locale_and_half_a_surrogate_is_a_sentence(tmp_path):
    files.write_text(tmp_path / "a", "ä\r\n")
    assert (tmp_path / "a").read_bytes() == "ä\r\n".encode()
    with pytest.raises(InputError, match="half of a surrogate pair"):
        files.write_text(tmp_path / "a", "\ud800")
    assert (tmp_path / "a").read_bytes() == "ä\r\n".encode()


def test_files_of_others_are_not_followed(tmp_path, monkeypatch):
    """A temporary name that is there already, for instance as a link, is refused and not written through."""
    monkeypatch.setattr("secrets.token_hex", lambda n: "guessed")
    victim = tmp_path / "victim"
    (tmp_path / ".guessed.tmp").symlink_to(victim)
    with pytest.raises(InputError):
        files.write_text(tmp_path / "name", "text")
    assert not victim.exists()


def damaged(data: bytes):
    """The same file cut, zeroed or changed at several places."""
    n = len(data)
    yield from (data[: n * k // 8] for k in range(8))
    yield from (data[: n * k // 8] + bytes(n - n * k // 8) for k in range(8))
    for k in range(1, 8):
        place = n * k // 8
        yield data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_a_damaged_reference_cache_is_scored_anew(tmp_path):
    """A cache whose second half was zeroed used to be taken for whole, and changed the result."""
    lines = []
    cache = ReferenceCache(tmp_path, {"weights": "w"}, lines.append)
    store(tmp_path)
    whole = cache.path.read_bytes()
    table, scored = cache.load(DATA)
    assert scored.all()
    assert torch.equal(table, SCORES)
    read = [scored]
    for data in damaged(whole):
        lines.clear()
        cache.path.write_bytes(data)
        table, scored = cache.load(DATA)
        read.append(scored)
        if not scored.any():
            assert "it is damaged" in lines[0], lines
        assert torch.equal(table, torch.where(scored[:, None], SCORES, 0.0))
    assert (
        sum(bool(scored.any()) for scored in read) <= 2
    )  # the whole one, and one whose other metadata changed


def test_a_cache_without_its_digest_is_not_believed(tmp_path):
    from safetensors.torch import load_file, save_file

    lines = []
    cache = ReferenceCache(tmp_path, {"weights": "w"}, lines.append)
    store(tmp_path)
    save_file(load_file(cache.path), cache.path)
    assert not cache.load(DATA)[1].any()
    assert "it is damaged" in lines[0]


def test_two_prompts_with_the_same_responses_do_not_share_scores(tmp_path):
    """The line's name holds its prompt: another prompt misses, though its responses are those of a line."""
    store(tmp_path)
    other = PreferenceData.of([Example((9, 9), (3,), (4,)), Example((2, 1), (3,), (4,))])
    table, scored = ReferenceCache(tmp_path, {"weights": "w"}).load(other)
    assert scored.tolist() == [False, True]
    assert table[1].tolist() == SCORES[1].tolist()


def test_damaged_samples_are_a_sentence(tmp_path):
    path = tmp_path / "samples.jsonl"
    write_samples(SAMPLES, path)
    assert read_samples(path) == SAMPLES
    whole = path.read_bytes()
    for data in damaged(whole):
        path.write_bytes(data)
        try:
            found = read_samples(path)
        except InputError:
            continue
        assert found.rows == SAMPLES.rows
    path.write_bytes(whole.replace(b"-2.0", b"-3.0"))
    with pytest.raises(InputError, match="is damaged"):
        read_samples(path)


def test_two_runs_do_not_share_a_folder(tmp_path):
    holder = rf"another run just now \(process {os.getpid()} on .*, since 20"
    with (
        files.held(tmp_path, "output_dir"),
        pytest.raises(InputError, match=holder),
        files.held(tmp_path, "output_dir"),
    ):
        pass
    with files.held(tmp_path, "output_dir"):
        pass
    (tmp_path / ".distalign.run").write_text("{}")
    with files.held(tmp_path, "output_dir"):
        assert json.loads((tmp_path / ".distalign.run").read_text())["process"] == os.getpid()


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run of three updates, stopped after two."""
    folder = tmp_path_factory.mktemp("half")
    settings = recipe(folder, "whole", save_steps=1, save_total_limit=9)
    loop.train(settings, progress=False)
    return folder, settings


def back_to_update_2(folder: Path) -> None:
    """As a kill leaves it between the second and the third update."""
    import shutil

    shutil.rmtree(folder / "checkpoint-00000003", ignore_errors=True)
    shutil.rmtree(folder / "model", ignore_errors=True)


@pytest.mark.parametrize("how", ["lost", "empty", "word", "number", "folder", "cut"])
def test_metrics_are_restored_from_the_checkpoint(half, capsys, how):
    """An empty or lost file used to lose its history without a word; a word or a folder was a traceback."""
    folder, settings = half
    path = folder / "whole" / "metrics.csv"
    whole = path.read_bytes()
    back_to_update_2(folder / "whole")
    text = whole.decode()
    path.unlink()
    if how == "folder":
        path.mkdir()
        with pytest.raises(InputError, match="a folder of this name is there"):
            loop.train(settings, progress=False)
        path.rmdir()
        path.write_bytes(whole)
        return
    if how != "lost":
        first = text.splitlines()[1]
        path.write_text(
            {
                "empty": "",
                "word": text.replace(first, first.replace("1,", "one,", 1)),
                "number": text.replace(first, first + "9"),
                "cut": text[: len(text) // 3],
            }[how]
        )
    loop.train(settings, progress=True)
    assert path.read_bytes() == whole
    assert "its rows up to update 2 are restored from" in capsys.readouterr().err


def test_a_folder_in_use_is_said_before_any_work(half, monkeypatch):
    folder, settings = half
    monkeypatch.setattr(loop, "prepare", lambda *args: pytest.fail("work was begun"))
    with files.held(folder / "whole", "output_dir"), pytest.raises(InputError, match="another run just now"):
        loop.train(settings, progress=False)
