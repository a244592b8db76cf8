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
    folders = {"tables": (0, "x", "z"), "same": (1, "x", "z"), "again": (2, "x", "z")}
    others = {"other code": (1, "y", "z"), "other presets": (1, "x", "y")}
    for name, (seed, source, asked) in (folders | others).items():
        (tmp_path / name).mkdir()
        digests = {"source": {"aot_rate": source}, "asked": {"aot_rate": asked}}
        record = {"preset": "full", "seed": seed, **digests}
        (tmp_path / name / "provenance.json").write_text(json.dumps(record))
        pd.DataFrame([["aot_rate", *range(len(COLUMNS) - 1)]], columns=COLUMNS).to_csv(
            tmp_path / name / "ledger.csv"
        )
    tables = tmp_path / "tables"
    first = collect([tmp_path / "same"], tables)
    first.to_csv(tables / "seeds.csv", index=False)
    both = collect([tmp_path / "again", tmp_path / "same"], tables)
    assert both.root_seed.tolist() == [1, 2]
    for other in others:
        with pytest.raises(InputError, match="run by other code or presets"):
            collect([tmp_path / other], tables)
    for older in ("source", "asked"):
        first.assign(**{older: "older"}).to_csv(tables / "seeds.csv", index=False)
        assert collect([tmp_path / "again"], tables).root_seed.tolist() == [2]
