"""Claims run with and without planted defects, judged and written down: what `distalign verify` does."""

from __future__ import annotations

import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, cast

import joblib
import pandas as pd
from tqdm import tqdm

from distalign.checks import InputError, one_of, whole
from distalign.claims import Claim, claims
from distalign.claims.policy import with_policy
from distalign.figures import drawing, write_table
from distalign.simulation import ledger, sweep
from distalign.simulation.page import write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Say = Callable[[str], object]
Judged = Iterable[tuple[ledger.Entry, float]]
_SECONDS_OF_A_DRAWING = 1.0  # a figure and its table, on one core
MOST_WORKERS = 1000  # processes of half a gigabyte each


@dataclass(frozen=True, eq=False)
class Verification:
    """What a run of claims found.

    Attributes:
        entries: one a claim: its verdict, those with planted defects and its table.
        out: folder that holds the same as files.
    """

    entries: tuple[ledger.Entry, ...]
    out: Path

    @property
    def ledger(self) -> pd.DataFrame:
        """One row a claim: its verdict, the number behind it, and how many checks were seen to fail."""
        return ledger.frame(self.entries)

    @property
    def checks(self) -> pd.DataFrame:
        """One row a check."""
        return ledger.checks(self.entries)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The table of each study by slug, from which its figure is drawn."""
        return {entry.claim.slug: entry.table for entry in self.entries}

    @property
    def passed(self) -> bool:
        """Whether every claim has the verdict it expects and every check of it fails on a planted defect."""
        return all(entry.as_expected for entry in self.entries)

    def plot(self, slug: str) -> list[Axes]:
        """The axes of a claim's figure; `axes[0].figure` is the figure itself.

        Raises:
            InputError: a claim that has not been run here, or one without a figure (a plain identity).
        """
        one_of("slug", slug, tuple(self.tables))
        return drawing(slug)(self.tables[slug]).axes


def verify(
    slugs: str | Sequence[str] = (),
    *,
    preset: str = "quick",
    out: Path | str = "out/verify",
    workers: int = 0,
    backend: str = "loky",
    seed: int = 0,
    policy: str = "",
    say: Say = lambda text: None,
) -> Verification:
    """Run claims with and without their planted defects, and write tables, figures, the ledger and a page
    that shows them (index.html) to `out`.

    A run that was killed goes on where it stopped when it is called again with the same arguments.

    Args:
        slugs: claims to run, one or several; none means all.
        preset: `quick` is for a newcomer and CI, `full` is what is committed, `test` is the smallest.
        out: folder for rows, tables, figures and the ledger.
        workers: processes; 0 means one a core. Results do not depend on it.
        backend: `loky`, or `dask` for a cluster (needs the extra `dask`).
        seed: root seed.
        policy: for claims on language models (slugs that start with lm_ or free_): tabular, loglinear, tiny,
            smollm2, or lm:DIR with the folder of a model, in place of the preset's.
        say: is given a sentence on what will run and how long that takes, before it runs.

    Raises:
        InputError: an unknown slug, preset, backend or policy, a disk that is full, or a claim on language
            models without the extra `lm`.

    Example:
        >>> import tempfile
        >>> found = verify("aot_transport", preset="test", out=tempfile.mkdtemp(), workers=1)
        >>> found.passed, found.ledger.verdict.tolist()
        (True, ['holds'])
    """
    chosen, plan = compute(
        slugs, preset=preset, out=out, workers=workers, backend=backend, seed=seed, policy=policy, say=say
    )
    folder = Path(out)
    judging = [
        joblib.delayed(_judged)(claim, plan[claim.slug], folder.resolve(), preset, seed) for claim in chosen
    ]
    with sweep.engine("loky", worker_count(workers)), warnings.catch_warnings():
        # loky replaces a worker whose memory has grown, and warns about it; no claim is lost.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        judged = cast("Judged", joblib.Parallel(return_as="generator")(judging))
        timed = list(_told_by_paper(judged, len(judging), say))
    entries = tuple(entry for entry, _ in timed)
    ledger.write(entries, folder, preset, seed)
    seconds = pd.DataFrame(
        [(e.claim.slug, round(spent, 2)) for e, spent in timed], columns=["slug", "seconds"]
    )
    write_table(seconds, folder / "seconds.csv")
    write_page(entries, folder, preset, seed)
    return Verification(entries, folder)


def _judged(
    claim: Claim, plan: ledger.Plan, folder: Path, preset: str, seed: int
) -> tuple[ledger.Entry, float]:
    """The verdict of one claim from its finished cells, and the seconds that judging it took, with all its
    planted defects and the drawing; its table and figure are written.
    """
    start = time.perf_counter()
    entry = ledger.entry(claim, plan, folder / "cells")
    ledger.write_claim(entry, folder, preset, seed)
    return entry, time.perf_counter() - start


def _told_by_paper(judged: Judged, total: int, say: Say) -> Judged:
    """What is judged, one by one, with a bar and a sentence whenever a paper is done."""
    bar = tqdm(total=total, desc="claims", unit="claim", disable=None)
    for paper, listed in groupby(judged, key=lambda pair: pair[0].claim.paper):
        done = []
        for pair in listed:
            done.append(pair[0].as_expected)
            bar.update()
            yield pair
        bar.clear()
        say(f"{paper}: {sum(done)} of {len(done)} as expected")
    bar.close()


def compute(
    slugs: str | Sequence[str] = (),
    *,
    preset: str,
    out: Path | str,
    workers: int,
    backend: str,
    seed: int,
    policy: str,
    say: Say,
    shard: tuple[int, int] = (0, 1),
) -> tuple[tuple[Claim, ...], dict[str, ledger.Plan]]:
    """Compute the cells of claims that `out` does not hold yet, and judge nothing; arguments as in `verify`.

    Args:
        shard: (i, N) computes every N-th cell from the i-th; when all N are done, `verify` judges them.

    Returns:
        The claims, and the cells of each by slug, those of other shards included.
    """
    one_of("preset", preset, ("quick", "full", "test"))
    whole("seed", seed, 0, "0 is the one of the committed numbers")
    chosen = with_policy(claims((slugs,) if isinstance(slugs, str) else tuple(slugs)), policy, say)
    plan = ledger.plan(chosen, preset, seed)
    trained = [claim.slug for claim in chosen if claim.world == "language model"]
    if trained and not _installed("transformers"):
        raise InputError(
            f"{trained[0]} trains a language model, which needs the extra lm: run pip install "
            "'distalign[lm]', or name claims whose slug does not start with lm_ or free_"
        )
    index, count = shard
    cells = [cell for planned in plan.values() for cell in planned.all][index::count]
    workers = worker_count(workers)
    drawing_too = _SECONDS_OF_A_DRAWING * sum(claim.figure for claim in chosen)
    seconds = (sum(claim.seconds.get(preset, 0) for claim in chosen) + drawing_too) / workers / count
    say(
        f"{len(chosen)} claim{'s' * (len(chosen) > 1)}, preset {preset}: {len(cells)} cells, "
        f"about {_time(seconds)} on {workers} worker{'s' * (workers > 1)}; finished cells in {out} are reused"
    )
    sweep.run(cells, Path(out) / "cells", workers=workers, backend=backend)
    return chosen, plan


def worker_count(workers: int) -> int:
    """The number of processes asked for, where 0 asks for one a core that this process may use.

    Raises:
        InputError: a negative number, or more than a thousand.

    Example:
        >>> worker_count(3), worker_count(0) >= 1
        (3, True)
    """
    if not 0 <= workers <= MOST_WORKERS:
        raise InputError(
            f"--workers must be from 0 (one a core) to {MOST_WORKERS:,} processes, got {workers}"
        )
    if workers:
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # hidden by a finder, or by None in its place
        return False


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
