"""Sweeps of simulate: what words mean, resume and shards with identical bytes, and means over seeds."""

import numpy as np
import pandas as pd
import pytest

from distalign.checks import InputError
from distalign.pluralism.grid import grid_cells, grid_points, parse_sweeps, summary
from distalign.pluralism.run import apply_methods
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.simulation import compute, simulate

SWEEP = {
    "methods": ["reference", "Borda", "RLHF", "NLHF"],
    "sweeps": ["bt_temperature=log:1:16:2", "n=50,400"],
    "seeds": 2,
}


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.*") if p.suffix != ".parquet"}


def test_words():
    assert parse_sweeps(["a=1:20:2", "b=log:1:16:3", "c=1,2,inf", "d=3"]) == {
        "a": [1, 20],
        "b": [1, 4, 16],
        "c": [1, 2, np.inf],
        "d": [3],
    }
    for word, sentence in (
        ("a", "write field=from"),
        ("a=1:2", "write field=from"),
        ("a=1:2:x", "write field=from"),
        ("a=log:0:2:3", "both above 0"),
        ("a=1:2:0", "count must be"),
        ("a=1:inf:3", "ends finite"),
    ):
        with pytest.raises(InputError, match=sentence):
            parse_sweeps([word])
    with pytest.raises(InputError, match="swept twice"):
        parse_sweeps(["a=1", "a=2"])


def test_a_killed_run_and_its_shards_end_with_the_same_bytes(tmp_path):
    whole = simulate(["two_camps"], out=tmp_path / "whole", **SWEEP).table
    assert len(whole) == 4 * 2 * 2
    cells = sorted((tmp_path / "whole" / "cells").rglob("*.parquet"))
    assert len(cells) == 2 * 2 * 2
    first = files(tmp_path / "whole")
    for cell in cells[::2]:  # as if the run had been killed half way
        cell.unlink()
    kept = {cell: cell.stat().st_mtime_ns for cell in cells[1::2]}
    simulate(["two_camps"], out=tmp_path / "whole", **SWEEP)
    assert files(tmp_path / "whole") == first
    assert {cell: cell.stat().st_mtime_ns for cell in kept} == kept
    for i in range(2):
        compute(["two_camps"], out=tmp_path / "split", **SWEEP, shard=(i, 2))
        assert not (tmp_path / "split" / "summary.csv").exists()
    assert len(list((tmp_path / "split" / "cells").rglob("*.parquet"))) == len(cells)
    simulate(["two_camps"], out=tmp_path / "split", **SWEEP)
    assert files(tmp_path / "split") == first


def test_a_point_does_not_depend_on_the_others():
    one = simulate("spatial", ["NLHF"], sweeps=["kl_budget=0.5", "n=100"], seeds=2).table
    many = simulate("spatial", ["RLHF", "NLHF"], sweeps=["kl_budget=0.1,0.5", "n=100"], seeds=2).table
    same = many[(many.method == "NLHF") & (many.kl_budget == 0.5)].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, same)


def test_an_exact_law_needs_one_seed_and_a_sample_as_many_as_asked():
    grid = grid_points(["two_camps"], {"n": [10.0, 20.0]})
    assert len(grid_cells(grid, [], 5, 0, 0)) == 10
    assert len(grid_cells(grid_points(["two_camps"], {}), [], 5, 0, 0)) == 1
    with pytest.raises(InputError, match="--seeds"):
        grid_cells(grid, [], 0, 0, 0)
    with pytest.raises(InputError, match="--bootstrap"):
        grid_cells(grid, [], 1, 0, 1)


def test_an_engine_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="backend must be one of"):
        simulate("two_camps", ["Borda"], backend="spark")


def test_populations_of_one_name_and_finished_ones_are_refused():
    with pytest.raises(InputError, match="give each a name"):
        grid_points(["two_camps", "two_camps"], {})
    with pytest.raises(InputError, match="a Scenario is finished"):
        grid_points([Scenario([[1.0, 0.0]])], {"n": [1.0]})
    assert grid_points([Scenario([[1.0, 0.0]], name="mine")], {})[0][0] == {"population": "mine"}


def test_distortion_of_a_sample_is_a_ratio_of_means():
    rows = pd.DataFrame(
        {
            "population": "p",
            "method": "m",
            "certified": [True, True, False],
            "kl_limit": 1.0,
            "off_budget": False,
            "kl": [1.0, 1.0, np.nan],
            "average_utility": [0.2, 0.6, np.nan],
            "tenth_percentile": [0.1, 0.1, np.nan],
            "bound": 3.0,
            "note": "",
            "worst_off": [0.0, 0.0, np.nan],
            "distortion": [4.0, 4 / 3, np.nan],
            "best": [0.8, 0.8, np.nan],
            "gain": [-0.5, 1.5, np.nan],
            "better_off": [0.5, 0.5, np.nan],
            "worse_off": [0.5, 0.5, np.nan],
        }
    )
    (row,) = summary(rows, []).to_dict("records")
    assert (row["seeds"], row["uncertified"]) == (3, 1)
    assert row["distortion"] == pytest.approx(0.8 / 0.4)  # not the mean of the ratios, 2.67
    assert row["distortion"] != pytest.approx(rows.distortion.mean())
    assert (row["average_utility_low"], row["average_utility_high"]) == (0, 1)
    assert row["gain"] == 0.5
    assert row["gain_low"] < 0 < 1 < row["gain_high"]  # a gain may leave [0, 1], so its interval may


def test_nlhf_of_a_sample_tends_to_nlhf():
    exact = simulate("two_camps", ["NLHF"]).table
    table = simulate("two_camps", ["NLHF"], sweeps=["n=1e3,1e5"], seeds=6).table
    error = (table.average_utility - exact.average_utility.iloc[0]).abs()
    assert error.iloc[1] < error.iloc[0] / 2


def test_the_result_holds_what_the_files_hold_and_draws_it(tmp_path):
    found = simulate(["two_camps", "spatial"], ["Borda", "NLHF"], out=tmp_path)
    assert sorted(found.populations) == sorted(pd.read_csv(tmp_path / "summary.csv").population.unique())
    assert set(found.groups.columns) == set(pd.read_csv(tmp_path / "groups.csv").columns)
    assert len(found.plot("spatial")) == 2
    with pytest.raises(InputError, match="name one of 'two camps', 'spatial'"):
        found.plot()
    with pytest.raises(InputError, match="must be one of"):
        found.plot("nobody")


def test_rows_are_those_of_the_methods():
    scenario = Scenario([[1.0, 0.0, 0.6], [0.0, 1.0, 0.6]], people=7)
    rows, alone = (
        simulate(scenario, ["Borda", "NLHF"], bootstrap=3).rows,
        apply_methods(scenario, ["Borda", "NLHF"], bootstrap=3),
    )
    np.testing.assert_array_equal(
        np.stack(rows.pop("policy").tolist()), np.stack(alone.pop("policy").tolist())
    )
    pd.testing.assert_frame_equal(rows[list(alone)], alone, check_dtype=False)
