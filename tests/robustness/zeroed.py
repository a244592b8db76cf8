"""Every file that is read back, with a hole of zeros at seeded places: read as it was, or not believed.

A reader says `as written`, `refused` (with a sentence) or `not believed` (it is made anew, after a line where
the reader has one); `used` is the fault.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch

from distalign.checks import InputError
from distalign.pluralism import store
from distalign.pluralism.sources import survey
from distalign.pluralism.sources.votes import Votes
from distalign.pluralism.survey_fit import FittedUsers, Penalties
from distalign.populations import BradleyTerryUsers
from distalign.simulation import sweep
from distalign.training import checkpoint
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.evaluation.samples import Sample, Samples, read_samples, write_samples
from distalign.training.model.reference import ReferenceCache
from distalign.training.parallel import World

PLACES, HOLE = 20, 16


@dataclass(frozen=True)
class Artefact:
    """A file that is read back.

    Attributes:
        name: what it is.
        path: where it lies.
        read: reads it: what was written, something else, or None where it is not believed.
        same: whether what was read is what was written.
    """

    name: str
    path: Path
    read: Callable[[], Any]
    same: Callable[[Any], bool]


def artefacts(folder: Path) -> Iterator[Artefact]:
    """One of each kind."""
    draw = np.random.default_rng(0)
    lines: list[str] = []
    data = PreferenceData.of([Example((i, 2), (3, i), (4,)) for i in range(40)])
    scores = torch.from_numpy(draw.normal(size=(40, 2)))
    cache = ReferenceCache(folder, {"weights": "w"}, lines.append)
    cache.store(data, scores, torch.ones(40, dtype=torch.bool))

    def scored() -> Any:
        lines.clear()
        table, found = cache.load(data)
        if not found.any():
            return None if lines else "no line"
        return torch.where(found[:, None], table, scores)

    yield Artefact("reference cache", cache.path, scored, lambda table: torch.equal(table, scores))

    samples = Samples(
        tuple(Sample(i, 0, (1, 2, i), (3, i), f"text {i}", True, -1.0 - i) for i in range(20)),
        {"temperature": 1.0, "top_p": 1.0},
    )
    for name in ("samples.jsonl", "samples.parquet"):
        path = folder / name
        write_samples(samples, path)
        yield Artefact(name, path, lambda path=path: read_samples(path), lambda found: found == samples)

    frame = pd.DataFrame({"x": draw.normal(size=200), "word": ["a", "b"] * 100, "n": range(200)})
    path = folder / "cell.parquet"
    frame.to_parquet(path, write_page_checksum=True)
    yield Artefact("rows of a cell", path, lambda path=path: sweep._read(path), frame.equals)

    votes = Votes(
        np.array([0, 0, 1]),
        np.array([0, 1, 2]),
        np.array([1, 2, 0]),
        np.array([1.0, 0.0, 0.5]),
        ("u", "w"),
        ("x", "y", "z"),
    )
    users = BradleyTerryUsers(draw.random((2, 3)), np.full(2, 0.5), 2.0)
    fitted = FittedUsers(users, draw.random(3), 0.1, 0.2, -0.5, -0.6, 1e-9, 3)
    penalties = Penalties(0.1, 0.2, -0.5, -0.6, 3)
    chosen = _of_a_killed_fit(votes, penalties, folder)
    with (
        mock.patch.object(survey, "fit_users", return_value=fitted),
        mock.patch.object(survey, "choose_penalties", return_value=penalties),
    ):
        survey._stored_fit(votes, 0, folder)
    path = next(folder.glob("fit-*.npz"))
    yield Artefact(
        "fit of a survey", path, lambda: survey._kept_fit(path), lambda found: _equal(found, fitted)
    )
    yield Artefact(
        "penalties of a survey",
        chosen,
        lambda: survey._kept_penalties(chosen),
        lambda found: found == penalties,
    )

    array = draw.normal(size=(30, 4))
    digest = store._digest(array, folder, {})
    yield Artefact(
        "population of a cell",
        store._path(digest, folder),
        lambda: store._read(digest, folder),
        lambda found: np.array_equal(found, array),
    )
    yield from checkpoints(folder / "run", lines)


def _of_a_killed_fit(votes: Votes, penalties: Penalties, folder: Path) -> Path:
    """The file that a fit of users leaves for the next one, which a whole fit takes away."""
    with (
        mock.patch.object(survey, "fit_users", side_effect=KeyboardInterrupt),
        mock.patch.object(survey, "choose_penalties", return_value=penalties),
        suppress(KeyboardInterrupt),
    ):
        survey._stored_fit(votes, 0, folder)
    return next(folder.glob("penalties-*.npz")).rename(folder / "killed.npz")


def checkpoints(folder: Path, lines: list[str]) -> Iterator[Artefact]:
    """The files of a checkpoint."""
    world = World(0, 1, torch.device("cpu"))
    folder.mkdir()
    (folder / "metrics.csv").write_text("step,loss\n1,0.6931471805599453\n")
    path = checkpoint.save(
        folder,
        {"moment": torch.arange(60.0)},
        {"step": 1, "sharded": False, "recipe": {"model": "m"}},
        world,
        keep=1,
        model=lambda place: (place.mkdir(), (place / "config.json").write_text('{"a": 1, "b": [2, 3]}')),
    )
    right = _contents(path)

    def latest() -> Any:
        lines.clear()
        with tempfile.TemporaryDirectory() as copy:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            found = checkpoint.latest(Path(copy), world, lines.append)
            if found is None:
                return None if lines else "no line"
            return _contents(found.path)

    for name in right:
        yield Artefact(f"checkpoint/{name}", path / name, latest, lambda found: found == right)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _equal(one: FittedUsers, other: FittedUsers) -> bool:
    return all(
        np.array_equal(getattr(one.users, name), getattr(other.users, name))
        for name in ("utilities", "weights", "bt_temperature")
    ) and all(
        np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one) if f.name != "users"
    )


def verdicts(artefact: Artefact, seed: int) -> Iterator[tuple[int, str]]:
    """(place, what became of it) for each hole; the file is whole again afterwards."""
    whole = artefact.path.read_bytes()
    assert artefact.same(artefact.read())
    places = [place for place in range(len(whole)) if any(whole[place : place + HOLE])]
    for place in random.Random(seed).sample(places, min(PLACES, len(places))):
        hole = bytes(len(whole[place : place + HOLE]))
        artefact.path.write_bytes(whole[:place] + hole + whole[place + HOLE :])
        try:
            found = artefact.read()
            said = "not believed" if found is None else "as written" if artefact.same(found) else "used"
        except InputError as error:
            said = "refused" if len(str(error)) > 20 else "no sentence"
        except Exception as error:
            said = f"traceback: {type(error).__name__}: {error}"[:150]
        yield place, said
    artefact.path.write_bytes(whole)


GOOD = {"not believed", "as written", "refused"}
