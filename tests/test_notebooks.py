"""Each notebook runs as the script it is paired with, and its committed twin holds the same cells, executed
without error.
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
def test_runs(script, monkeypatch):
    monkeypatch.chdir(FOLDER)
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
