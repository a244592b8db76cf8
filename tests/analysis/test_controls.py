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


def test_seeds_of_other_code_are_refused_or_dropped(tmp_path):
    for name, seed, digest in (("tables", 0, "x"), ("same", 1, "x"), ("again", 2, "x"), ("other", 1, "y")):
        (tmp_path / name).mkdir()
        record = {"preset": "full", "seed": seed, "source": {"aot_rate": digest}}
        (tmp_path / name / "provenance.json").write_text(json.dumps(record))
        pd.DataFrame([["aot_rate", *range(len(COLUMNS) - 1)]], columns=COLUMNS).to_csv(
            tmp_path / name / "ledger.csv"
        )
    tables = tmp_path / "tables"
    first = collect([tmp_path / "same"], tables)
    first.to_csv(tables / "seeds.csv", index=False)
    both = collect([tmp_path / "again", tmp_path / "same"], tables)
    assert both.root_seed.tolist() == [1, 2]
    with pytest.raises(InputError, match="not run by the committed code"):
        collect([tmp_path / "other"], tables)
    for older in ("source", "asked"):
        first.assign(**{older: "older"}).to_csv(tables / "seeds.csv", index=False)
        assert collect([tmp_path / "again"], tables).root_seed.tolist() == [2]
