"""The command line as a user meets it: exit status, JSON, one sentence for a mistake."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distalign import cli
from distalign.claims import CLAIMS


def test_ls_json_lists_every_claim(run):
    listed = json.loads(run("ls", "--json").stdout)
    assert [row["slug"] for row in listed] == [c.slug for c in CLAIMS]
    assert all(row["paper"] and row["statement"] and row["kind"] and row["cite"] for row in listed)


COMMANDS = [
    "ls",
    "show",
    "verify",
    "figure",
    "simulate",
    "check",
    "cite",
    "report",
    "data",
    "train",
    "recipes",
    "evaluate",
    "plan",
    "merge",
    "push",
    "generate",
    "score",
    "label",
    "predict",
    "judge",
]


def test_alone_it_prints_a_short_map_whose_examples_are_commands(run):
    shown = run()
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert len(lines) < 20
    assert max(map(len, lines)) <= 80
    assert [name for name in (*COMMANDS, "--version") if name not in shown.stdout] == []
    assert sum(line.startswith("  $ distalign ") for line in lines) == 4


def test_help_of_the_whole_is_a_list(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("--help").stdout
    assert "--version" in shown
    assert [name for name in COMMANDS if f"• {name} " not in shown] == []
    assert "For example" not in shown
    assert len(shown.splitlines()) < 70


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_examples_that_can_be_read(command, run, monkeypatch):
    """Examples stand on lines of their own, and their flags are flags of the command."""
    shown = run(command, "--help").stdout
    examples = re.findall(r"^ *\$ distalign (.*)$", shown, re.MULTILINE)
    assert examples
    assert all(words.split()[0] == command for words in examples)
    flags = {flag for words in examples for flag in re.findall(r"(?<!\S)--[\w-]+", words)}
    after = shown.split(examples[-1])[1]
    assert [flag for flag in flags if flag not in after] == []
    assert re.findall(r"\(default:\s+(?:None|''|\))|\{None\}", after) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_as_wide_as_columns_says_and_its_examples_fit_80(command, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = run(command, "--help").stdout.splitlines()
    assert [line for line in lines if len(line) > (80 if "$ distalign" in line else 60)] == []
    assert "\n\n\n" not in "\n".join(lines)


def test_help_of_ls_lists_papers_and_kinds(run):
    shown = run("ls", "--help").stdout
    assert [word for word in (*cli.PAPERS, *cli.KINDS) if not re.search(rf"\b{word}\b", shown)] == []


def test_show_folds_its_lines_and_leaves_out_what_a_claim_lacks(run, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # xdist sets it
    plain = run("show", "aot_null").stdout.splitlines()
    assert max(map(len, plain)) > 100  # one line a field where the width is not known
    assert not {"twin", "folder"} & {line.split()[0] for line in plain}
    assert plain[-1].split(maxsplit=1) == ["run", "distalign verify aot_null"]
    monkeypatch.setenv("COLUMNS", "70")
    folded = run("show", "aot_null").stdout
    assert max(map(len, folded.splitlines())) <= 70
    assert folded.split() == " ".join(plain).split()


@pytest.mark.parametrize("command", ["train", "plan"])
def test_flags_of_a_recipe_stand_in_groups(command, run):
    shown = run(command, "--help").stdout
    groups = re.split(r"^ ([a-z -]+?) *\n -+", shown, flags=re.MULTILINE)[3:]  # after those by position
    titles = ("options", "recipe", "data", "model", "adapter", "optimiser", "batch", "run", "own-texts")
    titles = (*titles, "objective")
    assert groups[::2] == [title if title == "options" else f"{title} options" for title in titles]
    largest = max(len(re.findall(r"^ *--", group, re.MULTILINE)) for group in groups[1:-1:2])
    assert largest < 14  # but for the options of all objectives


@pytest.mark.parametrize("width", [70, 80])
def test_ls_is_as_wide_as_columns_says(width, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run("ls").stdout.splitlines()
    assert width - 12 < max(map(len, lines)) <= width
    shown = " ".join(lines)
    assert [c.slug for c in CLAIMS if c.slug not in shown] == []
    assert len(lines) < (2 if width == 80 else 3) * len(CLAIMS)


def test_ls_is_one_plain_line_a_claim_when_piped(run, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    head, *rows = run("ls").stdout.splitlines()
    assert head.split() == ["slug", "paper", "verdict", "about"]
    assert [row.split()[0] for row in rows] == [c.slug for c in CLAIMS]
    assert [row for row, c in zip(rows, CLAIMS, strict=True) if not row.endswith(f"  {c.title}")] == []
    assert "\u2502" not in "".join(rows)


def test_ls_of_a_paper_and_of_a_kind(run, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    listed = json.loads(run("ls", "--paper", "robust", "--kind", "rate", "--json").stdout)
    asked = [c.slug for c in CLAIMS if c.paper == "robust" and c.kind == "rate"]
    assert [row["slug"] for row in listed] == asked
    assert 0 < len(asked) < len([c for c in CLAIMS if c.paper == "robust"])
    assert listed[0]["verdict"] == "respected, faster than guaranteed"


def test_titles_are_short_plain_and_tell_the_claims_apart():
    assert [c.slug for c in CLAIMS if not 8 <= len(c.title) <= 48] == []
    assert [c.slug for c in CLAIMS if c.title.endswith(".") or "_" in c.title or c.slug in c.title] == []
    assert len({c.title for c in CLAIMS}) == len(CLAIMS)


def test_show_and_cite(run):
    assert "distalign.objectives.aot" in run("show", "aot_rate").stdout
    cited = run("cite", "aot_rate").stdout
    assert "melnyk2024aot" in cited
    assert "golz2025distortion" not in cited


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("show", "aot_rat"), "did you mean aot_rate"),
        (("verfy",), "did you mean verify?"),
        (("qqqqqqqq",), "known are ls, show, verify"),
        (("ls", "--paper", "aott"), "--paper must be one of 'aot', 'f_dpo'"),
        (("ls", "--kind", "law"), "--kind must be one of 'identity', 'bound'"),
        (("verify", "qqqqqqqq"), "`distalign ls` lists them"),
        (("verify", "aot_rate", "--shard", "2/2"), "--shard must be i/N"),
        (("verify", "aot_rate", "--workers", "-1"), "--workers must be"),
        (("verify", "aot_rate", "--workers", "1" + "0" * 30), "--workers must be"),
        (("verify", "aot_rate", "--backend", "ray"), "backend must be one of"),
        (("figure", "aot_transport"), "plain identity"),
        (("figure", "aot_rate", "--table", "missing.csv"), "no table to draw"),
        (("simulate", "--votes", "missing.csv"), "missing.csv"),
        (
            ("evaluate", "m", "--data", "d", "--resamples", "1" + "0" * 30),
            "resamples must be from 0",
        ),
        (("simulate", "two_camps", "--seed", "1" + "0" * 30), "--seed must be below 2^63"),
        (("generate", "m", "--prompts", "p", "--out", ""), "names no file"),
        (("simulate", "two_camps", "--out", "\udcff"), "is no UTF-8 text: rename"),
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
    assert "aot: 1 of 1 as expected" in whole.stderr
    assert (tmp_path / "whole/seconds.csv").read_text().startswith("slug,seconds\naot_transport,")
    for i in range(2):
        assert run("verify", "aot_transport", "--out", "split", "--shard", f"{i}/2").returncode == 0
    assert run("verify", "aot_transport", "--out", "split", "--workers", "1").returncode == 0
    files = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file())
    assert len(files) > 10
    for name in files:
        if name.suffix != ".parquet" and name.name != "seconds.csv":
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
