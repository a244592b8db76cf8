"""Cells are independent of workers, engine and order; a killed, sharded or edited sweep never serves a wrong
number.
"""

import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from distalign import progress
from distalign.checks import InputError
from distalign.simulation import sweep

STUDY = "distalign.simulation.studies.aot.aot_rate"


def plan(seed=0):
    return sweep.cells_of("aot_rate", STUDY, {"sizes": [8, 16, 32, 64, 128, 256], "replicates": 3}, seed)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    sweep.run(plan(), folder)
    return folder


def test_rows_do_not_depend_on_order_engine_or_interruption(done, tmp_path):
    cells = plan()
    sweep.run(cells[4:], tmp_path)
    sweep.run(cells[:2], tmp_path)
    sweep.run(cells, tmp_path, workers=2)
    pd.testing.assert_frame_equal(sweep.rows(cells, tmp_path), sweep.rows(cells, done), check_exact=True)


def test_dask_gives_the_same_rows(done, tmp_path, recwarn):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        sweep.run(plan(), tmp_path, workers=2, backend="dask")
    pd.testing.assert_frame_equal(sweep.rows(plan(), tmp_path), sweep.rows(plan(), done), check_exact=True)


def test_without_a_terminal_a_long_sweep_says_lines(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(progress, "_FIRST", 0.0)
    with caplog.at_level("INFO", "distalign"):
        sweep.run(plan(), tmp_path)
    assert re.fullmatch(r"cells: 1 of 6 cells, \d+ s left", caplog.messages[0])


def test_shards_cover_everything_once(done, tmp_path):
    cells = plan()
    for i in range(2):
        sweep.run(cells[i::2], tmp_path)
    pd.testing.assert_frame_equal(sweep.rows(cells, tmp_path), sweep.rows(cells, done), check_exact=True)


def test_seeds_and_sizes_draw_different_numbers(done, tmp_path):
    draws = [cell.rng().random() for cell in [*plan()[:3], *plan(seed=1)[:3]]]
    assert len(set(draws)) == 6
    cell = plan()[0]
    planted = replace(cell, defect="the rejected class left unsorted")
    assert cell.rng().random() == planted.rng().random()
    assert cell.path(done) != planted.path(done)


def test_a_finished_cell_is_not_computed_again(done, monkeypatch):
    monkeypatch.setattr(sweep, "compute", lambda *_: pytest.fail("computed again"))
    sweep.run(plan(), done)


def test_no_more_processes_are_started_than_there_are_cells(tmp_path, monkeypatch):
    here = []
    monkeypatch.setattr(sweep, "compute", lambda cell, path: here.append(cell))
    sweep.run(plan()[:1], tmp_path, workers=2)
    assert here == plan()[:1]


def test_a_missing_shard_is_named(tmp_path):
    sweep.run(plan()[:1], tmp_path)
    with pytest.raises(InputError, match="5 of 6 cells are missing"):
        sweep.rows(plan(), tmp_path)


def test_a_half_written_file_is_named_and_the_rest_kept(tmp_path):
    cells = plan()
    sweep.run(cells, tmp_path)
    broken = cells[1].path(tmp_path)
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(InputError, match=f"{broken.name}.*delete it"):
        sweep.rows(cells, tmp_path)
    assert sum(1 for _ in Path(tmp_path).rglob("*.parquet")) == 6


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    cells = plan()
    sweep.run(cells[5:], tmp_path)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_parquet", full)
        with pytest.raises(InputError, match=r"disk is full.*finished cells are kept"):
            sweep.run(cells, tmp_path)
    assert [p.suffix for p in Path(tmp_path).rglob("*") if p.is_file()] == [".parquet"]
    sweep.run(cells, tmp_path)
    assert len(sweep.rows(cells, tmp_path)) == 18


def test_unknown_backend_is_refused(tmp_path):
    with pytest.raises(InputError, match="backend must be one of"):
        sweep.run(plan(), tmp_path, backend="ray")
