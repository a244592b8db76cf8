"""Populations beside the cells: written once, read back as they were, and refused when damaged."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest

from distalign.checks import InputError
from distalign.pluralism.grid import grid_cells, grid_points
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.simulation import simulate
from distalign.pluralism.store import fetch, keep

U = [[1.0, 0.0, 0.6], [0.0, 1.0, 0.6]]


def test_a_kept_scenario_is_the_scenario(tmp_path):
    scenario = Scenario(
        U, [3, 1], [5.0, 1.0], pairs=[0.2, 0.3, 0.5], groups=["a", "b"], people=7, kl_budget=np.inf
    )
    kept = keep(scenario, tmp_path, {})
    again = fetch(json.loads(json.dumps(kept)), tmp_path)
    assert keep(again, None, {}) == kept
    assert (again.groups, again.people, again.kl_budget) == (("a", "b"), 7, np.inf)
    np.testing.assert_array_equal(again.win, scenario.win)
    for change in ({"utilities": [[1.0, 0.0, 0.5], [0.0, 1.0, 0.6]]}, {"groups": ["a", "c"]}):
        assert keep(Scenario(**{"utilities": U, "groups": ["a", "b"], **change}), None, {}) != keep(
            Scenario(U, groups=["a", "b"]), None, {}
        )


def test_cells_do_not_grow_with_the_users_and_share_their_arrays(tmp_path):
    users = np.random.default_rng(0).random((5000, 4))
    spec = Scenario(users, groups=[f"g{i % 3}" for i in range(5000)], n=10)
    grid = [({"population": "p", "at": i}, spec) for i in range(3)]
    cells = grid_cells(grid, ["NLHF"], 20, 0, 0, tmp_path)
    assert len(cells) == 60
    assert max(len(pickle.dumps(cell)) for cell in cells) < 3000
    assert len({cell.path(tmp_path) for cell in cells}) == 60
    assert sum(p.stat().st_size for p in (tmp_path / "populations").iterdir()) < 2 * users.nbytes


def test_the_folder_is_no_part_of_a_cells_name(tmp_path):
    grid = grid_points(["two_camps"], {})
    (one,), (two,) = (grid_cells(grid, ["NLHF"], 1, 0, 0, tmp_path / name) for name in ("here", "there"))
    assert one.path(tmp_path) == two.path(tmp_path)
    assert one.rng().random() == two.rng().random()
    (other,) = grid_cells(grid_points(["two_camps"], {"bt_temperature": [3.0]}), ["NLHF"], 1, 0, 0)
    assert other.path(tmp_path) != one.path(tmp_path)


def test_a_damaged_population_is_refused_and_written_anew(tmp_path):
    first = simulate("two_camps", ["NLHF"], out=tmp_path).rows
    for path in (tmp_path / "cells").rglob("*.parquet"):
        path.unlink()
    largest = max((tmp_path / "cells" / "populations").iterdir(), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="is missing or damaged: delete it"):
        simulate("two_camps", ["NLHF"], out=tmp_path)
    largest.unlink()
    whole = simulate("two_camps", ["NLHF"], out=tmp_path).rows
    largest.write_bytes(largest.read_bytes()[:-1] + b"x")  # and no cell is left that would read it
    with pytest.raises(InputError, match="is missing or damaged: delete it"):
        simulate("two_camps", ["NLHF"], out=tmp_path)
    pd.testing.assert_frame_equal(whole, first)
    largest.unlink()
    pd.testing.assert_frame_equal(simulate("two_camps", ["NLHF"], out=tmp_path).rows, first)
