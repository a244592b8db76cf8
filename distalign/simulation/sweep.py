"""Sweeps over cells of work that can be killed, resumed and split over machines, with identical results.

A cell is one call `run(rng, **arguments)` of a study. Three rules make the result of a sweep independent of
how it was run.

The random numbers of a cell depend on the root seed, the slug and the arguments of the cell, and on nothing
else: not on the cells computed before it, the worker that computes it or the time. A cell that is computed
again, or on another machine, draws the same numbers.

Each cell uses one thread. The order in which a linear algebra library adds numbers depends on the number of
its threads, and so do the last digits of a sum.

The rows of a cell lie in a file of its own, whose name is a digest of the seed, the arguments, the source
code of the study and the versions of the libraries. The file is written under another name first and then
renamed, so it is there whole or not at all. A killed sweep leaves whole files, and the next run of the same
command computes the missing cells only. An edit of the code, even three calls away from the study, changes
the digest: the old file is not found and the cell is computed anew, so that no stale number is served
(`distalign.simulation.source`). The rows are put together in the order of the cells and not in the order in
which they were finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distalign.checks import InputError, one_of
from distalign.files import write_whole
from distalign.progress import progress_bar
from distalign.simulation.defects import Defect, planted
from distalign.simulation.source import model_key, source_digest, versions


@dataclass(frozen=True)
class Cell:
    """One call of a study.

    Attributes:
        slug: the claim.
        study: dotted name of the study's module.
        arguments: keyword arguments of `run`, as JSON values.
        defect: text of the defect of the study that is planted while the cell is computed; none if empty.
        seed: root seed of the sweep.
    """

    slug: str
    study: str
    arguments: dict[str, Any] = field(hash=False)
    defect: str = ""
    seed: int = 0

    def rng(self) -> np.random.Generator:
        """The cell's own generator; with a planted defect it draws the same numbers as without."""
        words = np.frombuffer(hashlib.sha256(self._arguments()).digest()[:16], np.uint32).tolist()
        return np.random.default_rng(
            np.random.SeedSequence(self.seed, spawn_key=(zlib.crc32(self.slug.encode()), *words))
        )

    def path(self, folder: Path) -> Path:
        """Where the cell's rows are kept: a name of what was asked, of the source that answered, and of the
        libraries.
        """
        source = source_digest(self.study, ("run",))  # tables and checks read rows: they do not make them
        if self.defect:
            source += source_digest(self.study, ("DEFECTS",))
        model = model_key(self.arguments.get("policy"))  # the weights behind `lm:DIR`, not the folder's name
        asked = json.dumps([self.seed, self.defect, source, versions(), *model]).encode()
        asked += self._arguments()
        return folder / self.slug / f"{hashlib.sha256(asked).hexdigest()[:24]}.parquet"

    def _arguments(self) -> bytes:
        return json.dumps(self.arguments, sort_keys=True).encode()


def cells_of(slug: str, study: str, preset: dict[str, Any], seed: int) -> list[Cell]:
    """The cells of a study, in a fixed order."""
    return [Cell(slug, study, a, seed=seed) for a in importlib.import_module(study).cells(**preset)]


def with_defect(cells: Sequence[Cell], defect: Defect) -> list[Cell]:
    """The cells with `defect` planted in those that it asks for."""
    return [replace(c, defect=defect.text) if defect.cells(c.arguments) else c for c in cells]


def run(cells: Sequence[Cell], folder: Path, *, workers: int = 1, backend: str = "loky") -> None:
    """Compute the cells that `folder` does not hold yet, with a progress bar on a terminal.

    Args:
        cells: what to compute; several sweeps may share a folder.
        folder: where the rows are kept.
        workers: number of processes; the results do not depend on it.
        backend: `loky` (processes on this machine) or `dask` (the current `distributed` client, or a local
            one).

    Raises:
        InputError: the backend is unknown, its library is not installed, a row file cannot be read, or the
            disk is full. Finished cells are kept.
    """
    import joblib

    one_of("backend", backend, ("loky", "dask"))
    folder = folder.resolve()  # a worker may have started in another folder
    todo = [(cell, path) for cell in cells if not (path := cell.path(folder)).exists()]
    some = workers if backend == "dask" else max(1, min(workers, len(todo)))  # each would import torch
    with engine(backend, some), warnings.catch_warnings():
        # loky replaces a worker whose memory has grown, and warns about it; no cell is lost.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        # Studies list their cells from small to large. The large ones are handed out first: a long cell that
        # is started last would leave all other workers idle until it ends.
        jobs = joblib.Parallel(return_as="generator_unordered")(
            joblib.delayed(compute)(c, path) for c, path in reversed(todo)
        )
        with progress_bar(len(todo), "cells", "cell", shown=True) as bar:
            for _ in jobs:
                bar.update()


def engine(backend: str, workers: int) -> Any:
    """The joblib context in which cells run and claims are judged, on this machine or on a dask cluster."""
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
    """Run one cell and write its rows to `path`, whole or not at all."""
    frame = computed(cell)
    write_whole(path, lambda p: frame.to_parquet(p, write_page_checksum=True))


def computed(cell: Cell) -> pd.DataFrame:
    """The rows of one cell, run on one thread.

    The scalar arguments of the cell become columns where the study does not write a column of that name.
    """
    import torch
    from threadpoolctl import threadpool_limits

    from distalign.objectives import SmallBatchWarning

    study = importlib.import_module(cell.study)
    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallBatchWarning)  # a study uses small batches on purpose
        with _planted(study, cell.defect):
            columns = study.run(cell.rng(), **cell.arguments)
    scalars = {k: v for k, v in cell.arguments.items() if np.isscalar(v) and k not in columns}
    return pd.DataFrame({**scalars, **columns})


def _planted(study: Any, text: str) -> contextlib.AbstractContextManager[None]:
    """The defect of a study that has this text, planted; nothing where there is no text."""
    return planted(next(d for d in study.DEFECTS if d.text == text)) if text else contextlib.nullcontext()


def rows(cells: Sequence[Cell], folder: Path) -> pd.DataFrame:
    """The rows of finished cells, in the order of `cells`.

    Raises:
        InputError: a cell is missing, because a shard has not run, or its file cannot be read.
    """
    missing = [cell for cell in cells if not cell.path(folder).exists()]
    if missing:
        raise InputError(
            f"{missing[0].slug}: {len(missing)} of {len(cells)} cells are missing in {folder}: run the other "
            "shards into the same --out, or run without --shard"
        )
    paths = [cell.path(folder) for cell in cells]
    read = [_read(path) for path in paths]
    if damaged := [str(path) for path, frame in zip(paths, read, strict=True) if frame is None]:
        several = len(damaged) > 1
        raise InputError(
            f"row file{'s' * several} {', '.join(damaged)} cannot be read: delete "
            f"{'them' if several else 'it'} and run the same command again; every other finished cell is kept"
        )
    return pd.concat([frame for frame in read if frame is not None], ignore_index=True)


def _read(path: Path) -> pd.DataFrame | None:
    """The rows of a file, or None where it is not what was written: every page carries a checksum."""
    try:
        return pd.read_parquet(path, page_checksum_verification=True)
    except Exception:
        return None
