"""The page of planted defects says which check fails on which, and seeds of other code are refused."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from distalign.checks import InputError

sys.path.insert(0, str(Path(__file__).parents[2]))  # analysis is no part of the package

from analysis.controls import fails, section
from analysis.seeds import COLUMNS, collect

ROWS = pd.DataFrame(
    [
        ("", "a", True),
        ("", "b", True),
        ("", "c", False),
        ("off", "a", False),
        ("off", "b", True),
        ("off", "c", False),
    ],
    columns=["defect", "name", "passed"],
)


def test_a_check_fails_on_a_defect_only_if_it_passes_without():
    assert fails(ROWS).to_dict() == {"off": {"a": True, "b": False}}
    text = section("slug", ROWS)
    assert "| a | 1 |" in text
    assert "| b | **none** |" in text


def test_seeds_of_other_code_are_refused(tmp_path):
    for name, digest in (("tables", "x"), ("same", "x"), ("other", "y")):
        (tmp_path / name).mkdir()
        record = {"preset": "full", "seed": 1, "source": {"slug": digest}}
        (tmp_path / name / "provenance.json").write_text(json.dumps(record))
        pd.DataFrame([["slug", *range(len(COLUMNS) - 1)]], columns=COLUMNS).to_csv(
            tmp_path / name / "ledger.csv"
        )
    assert collect([tmp_path / "same"], tmp_path / "tables").root_seed.tolist() == [1]
    with pytest.raises(InputError, match="not run by the committed code"):
        collect([tmp_path / "other"], tmp_path / "tables")
