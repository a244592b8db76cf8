"""The page of planted defects says which check fails on which, and seeds of other code are refused."""

import importlib
import inspect
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from distalign.checks import InputError
from distalign.claims import CLAIMS
from distalign.intervals import mean_interval

sys.path.insert(0, str(Path(__file__).parents[2]))  # analysis is no part of the package

from analysis.controls import TABLES, fails, powers, section
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


@pytest.mark.parametrize(("n", "effect"), [(8, 1.0), (8, 1.5), (12, 1.0), (30, 0.6), (100, 0.35)])
def test_power_is_the_share_of_samples_that_show_the_effect(n, effect):
    samples = effect + np.random.default_rng(n).normal(size=(4000, n))
    intervals = [mean_interval(x) for x in samples]
    shown = np.mean([low > 0 for _, low, _ in intervals])
    half = np.mean([(m - low) / x.std(ddof=1) for (m, low, _), x in zip(intervals, samples, strict=True)])
    row = {
        "kind": "separation",
        "statistic": effect,
        "low": effect - half,
        "detail": f"{n} paired differences",
    }
    assert powers(pd.DataFrame([row])).power.item() == pytest.approx(shown, abs=0.06)


def test_a_separation_without_an_interval_has_no_power():
    row = {"kind": "separation", "statistic": np.nan, "low": np.nan, "detail": "fewer than three"}
    assert powers(pd.DataFrame([row])).power.item() == 0


def test_the_separations_would_show_together_at_99_of_100_root_seeds():
    assert powers(pd.read_csv(TABLES / "checks.csv")).power.prod() >= 0.99


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.slug)
def test_the_committed_headline_fails_on_a_defect_in_the_code_that_the_claim_names(claim):
    """As `tests/simulation/test_studies.py` asks of some claims that it computes anew; here of all."""
    leading = pd.read_csv(TABLES / "ledger.csv", index_col="slug").check[claim.slug]
    rows = pd.read_csv(TABLES / "controls.csv", keep_default_na=False)
    rows = rows[(rows.slug == claim.slug) & (rows.name == leading) & (rows.defect != "")]
    module, _, name = claim.code.rpartition(".")
    code = inspect.unwrap(getattr(importlib.import_module(module), name))
    planted = {d.text for d in importlib.import_module(claim.study).DEFECTS if inspect.unwrap(d.of) is code}
    assert planted & set(rows.defect[~rows.passed])
