"""The command line as a user meets it: exit status, JSON, one sentence for a mistake."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from distalign import cli
from distalign.claims import CLAIMS


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """The command line inside this process, in an empty folder."""

    def called(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["distalign", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return SimpleNamespace(returncode=left.value.code, stdout=captured.out, stderr=captured.err)

    return called


def test_ls_json_lists_every_claim(run):
    listed = json.loads(run("ls", "--json").stdout)
    assert [row["slug"] for row in listed] == [c.slug for c in CLAIMS]
    assert all(row["paper"] and row["statement"] and row["kind"] and row["cite"] for row in listed)


def test_show_and_cite(run):
    assert "distalign.objectives.aot" in run("show", "aot_rate").stdout
    cited = run("cite", "aot_rate").stdout
    assert "melnyk2024aot" in cited
    assert "golz2025distortion" not in cited


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("show", "aot_rat"), "did you mean aot_rate"),
        (("verify", "qqqqqqqq"), "`distalign ls` lists them"),
        (("verify", "aot_rate", "--shard", "2/2"), "--shard must be i/N"),
        (("verify", "aot_rate", "--workers", "-1"), "--workers must be"),
        (("verify", "aot_rate", "--backend", "ray"), "backend must be one of"),
        (("figure", "aot_transport"), "plain identity"),
        (("figure", "aot_rate", "--table", "missing.csv"), "no table to draw"),
        (("simulate", "--votes", "missing.csv"), "missing.csv"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(words, sentence, run):
    done = run(*words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_flag_gets_a_suggestion(run):
    done = run("verify", "--presett", "quick")
    assert done.returncode == 2
    assert "--preset" in done.stdout + done.stderr


def test_verify_writes_the_ledger_and_agrees_with_its_shards(run, tmp_path):
    """One claim at quick size: whole, and in two shards merged; every file byte for byte the same."""
    whole = run("verify", "aot_transport", "--out", "whole", "--json")
    assert whole.returncode == 0, whole.stderr
    (row,) = json.loads(whole.stdout)
    assert row["as_expected"]
    assert row["checks"]
    for i in range(2):
        assert run("verify", "aot_transport", "--out", "split", "--shard", f"{i}/2").returncode == 0
    assert run("verify", "aot_transport", "--out", "split", "--workers", "1").returncode == 0
    files = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file())
    assert len(files) > 10
    for name in files:
        if name.suffix != ".parquet":
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "split" / name).read_bytes(), name


def test_the_installed_command_is_this_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "distalign.cli", "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.startswith("distalign ")


ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "numpy", "pandas", "cvxpy", "ot", "scipy", "matplotlib", "joblib")
STARTED = """
import sys
from distalign.cli import main
sys.argv = ["distalign", *{words}]
try:
    main()
except SystemExit as left:
    assert left.code == 0, left.code
print("loaded", *[name for name in {heavy} if name in sys.modules])
"""


def loaded_by(words, folder=ROOT):
    """Heavy modules that a command has imported by its end, in a process that starts in `folder`."""
    code = STARTED.format(words=words, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--help"],
        ["ls"],
        ["ls", "--json"],
        ["show", "aot_rate"],
        ["cite"],
        ["cite", "aot_rate"],
        ["recipes", "ls"],
        ["simulate", "--help"],
    ],
    ids=" ".join,
)
def test_light_commands_start_without_heavy_modules(words):
    assert loaded_by(words) == []


@pytest.mark.parametrize(("module", "words"), [("bibliography", ["cite"]), ("checks", ["--version"])])
def test_a_planted_import_is_found(module, words, tmp_path):
    """The same package with one line more in a module that the command reads."""
    package = Path(cli.__file__).parent
    (tmp_path / "distalign").mkdir()
    for inside in package.iterdir():
        if inside.name not in (f"{module}.py", "__pycache__"):
            (tmp_path / "distalign" / inside.name).symlink_to(inside)
    text = (package / f"{module}.py").read_text()
    (tmp_path / "distalign" / f"{module}.py").write_text(
        text.replace(
            "from __future__ import annotations", "from __future__ import annotations\nimport numpy", 1
        )
    )
    assert loaded_by(words, tmp_path) == ["numpy"]
