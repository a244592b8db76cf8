"""Each notebook runs as the script it is paired with, wherever the package is installed, and its committed
twin holds the same cells, executed without error, with a picture and small outputs.
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


LARGEST = 150_000


def outputs(book):
    """Size of all outputs in bytes, and the number of pictures among them."""
    data = [
        o.get("data", {}) | {"stream": o.get("text", "")} for c in book["cells"] for o in c.get("outputs", ())
    ]
    texts = ["".join(value) if isinstance(value, list) else value for d in data for value in d.values()]
    return sum(len(text.encode()) for text in texts), sum("image/png" in d for d in data)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_it_has_pictures_and_its_outputs_are_small(script):
    size, pictures = outputs(json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8")))
    assert pictures > 0
    assert size < LARGEST


def test_a_large_output_is_counted():
    book = {"cells": [{"outputs": [{"data": {"image/png": "x" * 7}}, {"text": ["é"]}]}, {}]}
    assert outputs(book) == (9, 1)
