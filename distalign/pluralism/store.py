"""Populations beside the cells of a run: arrays and lists are kept once, under the digest of their contents.

A cell of `distalign simulate` names its population by these digests. So a run of 100,000 users over 20 seeds
and 50 budgets writes the users once, and the name of a cell still changes with every number of its
population.

Source: ours.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from distalign.checks import InputError
from distalign.files import write_whole
from distalign.pluralism.own_rules import digest_of
from distalign.pluralism.scenario import Scenario
from distalign.simulation import sweep

KEY = "sha256"


@dataclass(frozen=True)
class PopulationCell(sweep.Cell):
    """A cell whose population lies in files; the folder of these files, `store`, is no part of its name.

    In the name a rule of one's own is a digest of its source.
    """

    def _arguments(self) -> bytes:
        named = {key: value for key, value in self.arguments.items() if key != "store"}
        named["methods"] = [m if isinstance(m, str) else digest_of(m) for m in named["methods"]]
        return json.dumps(named, sort_keys=True).encode()


def keep(scenario: Scenario, store: Path | None, known: dict[int, str]) -> dict[str, Any]:
    """The arguments of a scenario as JSON values, with a digest in place of every array and list.

    Args:
        scenario: the population.
        store: folder in which arrays and lists are written, unless they are there already; None writes
            nothing.
        known: digests by the `id` of arrays that other scenarios of the same grid hold as well. They are
            neither hashed nor written again.

    Raises:
        InputError: a file cannot be written, or one that is there already does not hold what its name says.

    Example:
        >>> kept = keep(Scenario([[1.0, 0.0]]), None, {})
        >>> kept["kl_budget"], sorted(kept["utilities"])
        (1.0, ['sha256'])
    """
    given = {f.name: getattr(scenario, f.name) for f in fields(scenario)}
    return {
        name: {KEY: _digest(value, store, known)} if isinstance(value, np.ndarray | tuple) else value
        for name, value in given.items()
    }


def fetch(kept: dict[str, Any], store: Path) -> Scenario:
    """The scenario that `keep` wrote.

    Raises:
        InputError: a file is missing, or does not hold what its name says.
    """
    return Scenario(
        **{
            name: _read(value[KEY], store) if isinstance(value, dict) else value
            for name, value in kept.items()
        }
    )


def _digest(value: np.ndarray | tuple[str, ...], store: Path | None, known: dict[int, str]) -> str:
    if id(value) not in known:
        content = _bytes(value)
        digest = hashlib.sha256(content).hexdigest()[:32]
        if store is not None:
            if (path := _path(digest, store)).is_file():
                _checked(path)
            else:
                write_whole(path, lambda to: to.write_bytes(content))
        known[id(value)] = digest
    return known[id(value)]


def _bytes(value: np.ndarray | tuple[str, ...]) -> bytes:
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False).encode()
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=False)
    return stream.getvalue()


def _read(digest: str, store: Path) -> Any:
    content = _checked(_path(digest, store))
    if content[:1] == b"[":
        return json.loads(content)
    return np.load(io.BytesIO(content), allow_pickle=False)


def _checked(path: Path) -> bytes:
    """What a file holds, if its digest is its name."""
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest()[:32] != path.name:
        raise InputError(
            f"{path} is missing or damaged: delete it and run the same command again, which writes it anew"
        )
    return content


def _path(digest: str, store: Path) -> Path:
    return store / "populations" / digest
