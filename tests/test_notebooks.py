"""Each notebook runs as the script it is paired with, wherever the package is installed, and its committed
twin is a small file with the same cells, executed without error, and with a picture.
"""

import json
import runpy
from pathlib import Path

import jupytext
import matplotlib
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_runs(script, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # no file of the clone is beside it
    matplotlib.use("Agg")
    runpy.run_path(str(script))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_committed_twin_is_executed_and_in_step(script):
    book = json.loads(script.with_suffix(".ipynb").read_text())
    sources = ["".join(cell["source"]).strip() for cell in book["cells"]]
    assert sources == [cell.source.strip() for cell in jupytext.read(script).cells], "run `make notebooks`"
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    assert not [o for cell in code for o in cell["outputs"] if o["output_type"] == "error"]


LARGEST = 150_000  # bytes, the whole file


def faults(path):
    """What is wrong with a notebook's file: too large, or no picture among its outputs."""
    text = path.read_text(encoding="utf-8")
    data = [o.get("data", {}) for c in json.loads(text)["cells"] for o in c.get("outputs", ())]
    found = [] if any("image/png" in d for d in data) else ["no picture"]
    return found + (["too large"] if len(text.encode()) > LARGEST else [])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_it_has_pictures_and_its_file_is_small(script):
    assert faults(script.with_suffix(".ipynb")) == []


def test_a_large_file_and_a_lack_of_pictures_are_found(tmp_path):
    path = tmp_path / "a.ipynb"
    for data, found in (
        ({"image/png": "x"}, []),
        ({"image/png": "é" * 75_000}, ["too large"]),
        ({}, ["no picture"]),
    ):
        path.write_text(
            json.dumps({"cells": [{"outputs": [{"data": data}]}, {}]}, ensure_ascii=False), "utf-8"
        )
        assert faults(path) == found
