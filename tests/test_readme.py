"""The README tells no lies: its Python runs, its commands exist, its table is of the committed ledger, its links resolve."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from distalign import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_python_blocks_run(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert "dominance_w1" in printed[0]
    converged, distance = printed[1].split()
    assert converged == "True"
    assert float(distance) < 0.02


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^distalign (\w+)", README, re.MULTILINE))))
def test_commands_exist(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["distalign", command, "--help"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make ([\w-]+)|`make ([\w-]+)`", README, re.MULTILINE))))
def test_make_targets_exist(target):
    assert re.search(rf"^{''.join(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_table_is_of_the_committed_ledger():
    written = runpy.run_path(str(ROOT / "analysis/ledger.py"))["updated"](README)
    assert written == README, "run `make full`, or `python analysis/ledger.py` if only words have changed"


def test_links_resolve():
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link}
    assert len(links) > 20
    assert [link for link in sorted(links) if not (ROOT / link).exists()] == []
