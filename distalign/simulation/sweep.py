"""Cells of work: independent, cached, resumable, the same whatever the engine and the number of workers.

A cell is one call `run(rng, **arguments)` of a study. Its random numbers depend on the root seed, the slug
and its arguments only; its file is named by a digest of those and of the source it runs, is written whole or
not at all, and is kept. So a sweep can be killed at any moment, resumed, split over machines and merged, with
identical results; and an edit of the code never serves a stale number.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distalign.checks import InputError, one_of
from distalign.files import write_whole
from distalign.simulation.source import source_digest, versions


@dataclass(frozen=True)
class Cell:
    """One call of a study.

    Attributes:
        slug: the claim.
        study: dotted name of the study's module.
        arguments: keyword arguments of `run`, plain JSON values.
        control: whether the study's planted defect is on.
        seed: root seed of the sweep.
    """

    slug: str
    study: str
    arguments: dict[str, Any] = field(hash=False)
    control: bool = False
    seed: int = 0

    def rng(self) -> np.random.Generator:
        """The cell's own generator; a control draws the same numbers as the cell it controls."""
        words = np.frombuffer(hashlib.sha256(self._arguments()).digest()[:16], np.uint32).tolist()
        return np.random.default_rng(
            np.random.SeedSequence(self.seed, spawn_key=(zlib.crc32(self.slug.encode()), *words))
        )

    def path(self, folder: Path) -> Path:
        """Where the cell's rows are kept: a name of what was asked, of the source that answered, and of the
        libraries.
        """
        source = source_digest(self.study, ("run",))  # tables and checks read rows: they do not make them
        asked = json.dumps([self.seed, self.control, source, versions()]).encode() + self._arguments()
        return folder / self.slug / f"{hashlib.sha256(asked).hexdigest()[:24]}.parquet"

    def _arguments(self) -> bytes:
        return json.dumps(self.arguments, sort_keys=True).encode()


def cells_of(slug: str, study: str, preset: dict[str, Any], seed: int) -> list[Cell]:
    """The cells of a study and of its negative control, in a fixed order."""
    arguments = importlib.import_module(study).cells(**preset)
    return [Cell(slug, study, a, control, seed) for control in (False, True) for a in arguments]


def run(cells: Sequence[Cell], folder: Path, *, workers: int = 1, backend: str = "loky") -> None:
    """Compute the cells that `folder` does not hold yet, with a progress bar on a terminal.

    Args:
        cells: what to compute; several sweeps may share a folder.
        folder: where rows are kept.
        workers: processes; results do not depend on it.
        backend: `loky` (processes on this machine) or `dask` (the current `distributed` client, or a local
            one).

    Raises:
        InputError: an unknown backend, a missing optional library, an unreadable row file, or a full disk;
            finished cells are kept.
    """
    import joblib
    from tqdm import tqdm

    one_of("backend", backend, ("loky", "dask"))
    folder = folder.resolve()  # a worker may have started in another folder
    todo = [(cell, path) for cell in cells if not (path := cell.path(folder)).exists()]
    with _engine(backend, workers), warnings.catch_warnings():
        # loky renews a worker whose memory has grown, and says so: nothing is lost.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        # A long cell handed out last would leave one worker idle: studies list theirs from small to large.
        jobs = joblib.Parallel(return_as="generator_unordered")(
            joblib.delayed(compute)(c, path) for c, path in reversed(todo)
        )
        for _ in tqdm(jobs, total=len(todo), desc="cells", unit="cell", disable=None, smoothing=0.05):
            pass


def _engine(backend: str, workers: int) -> Any:
    """A joblib context; one BLAS thread a worker, because sums must not depend on their number."""
    import joblib

    if backend == "loky" or workers == 1:
        return joblib.parallel_config(backend="loky" if workers > 1 else "sequential", n_jobs=workers)
    try:
        from distributed import Client, get_client
    except ImportError:
        raise InputError(
            "backend 'dask' needs the package distributed: pip install 'distalign[dask]'"
        ) from None
    try:
        get_client()
    except ValueError:
        Client(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    return joblib.parallel_config(backend="dask", n_jobs=workers)


def compute(cell: Cell, path: Path) -> None:
    """Run one cell on one thread and write its rows to `path`, whole or not at all."""
    import torch
    from threadpoolctl import threadpool_limits

    from distalign.objectives import SmallBatchWarning

    study = importlib.import_module(cell.study)
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallBatchWarning)  # a study of small batches means them
        columns = study.run(cell.rng(), **cell.arguments, **({"defect": True} if cell.control else {}))
    scalars = {k: v for k, v in cell.arguments.items() if np.isscalar(v) and k not in columns}
    write_whole(path, lambda p: pd.DataFrame({**scalars, **columns}).to_parquet(p))


def rows(cells: Sequence[Cell], folder: Path) -> pd.DataFrame:
    """The rows of finished cells, in the order of `cells`.

    Raises:
        InputError: a cell is missing (a shard has not run) or its file cannot be read.
    """
    missing = [cell for cell in cells if not cell.path(folder).exists()]
    if missing:
        raise InputError(
            f"{missing[0].slug}: {len(missing)} of {len(cells)} cells are missing in {folder}: run the other "
            "shards into the same --out, or run without --shard"
        )
    return pd.concat([_read(cell.path(folder)) for cell in cells], ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except Exception as error:
        raise InputError(
            f"row file {path} cannot be read ({type(error).__name__}): delete it and run the same command "
            "again; every other finished cell is kept"
        ) from error
