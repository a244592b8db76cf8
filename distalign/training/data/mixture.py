"""Several sources of preferences mixed: a YAML file that names them stands wherever a file of data does.

    sources:
      helpful.jsonl: 0.7
      harmless.parquet: 0.3
    by: share       # of the examples of the mixture; or passes: how often each source is used in one epoch
    seed: 0         # of the draw where a source is used in part

Under `share`, the mixture is as large as it can be without any line standing in it twice. Under `passes`, 2
has every line of a source stand twice in the mixture, and 0.5 has half of its lines drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from distalign.checks import InputError, one_of, positive
from distalign.inputs import read_yaml

Line = TypeVar("Line")

SUFFIXES = (".yaml", ".yml")
_KEYS = ("sources", "by", "seed")


@dataclass(frozen=True)
class Mixture:
    """Sources with what each of them counts for.

    Attributes:
        sources: name of each source to its share or passes.
        by: "share" or "passes".
        seed: of the draw.
    """

    sources: Mapping[str, float]
    by: str = "share"
    seed: int = 0

    def drawn(self, lines: Sequence[Sequence[Line]]) -> list[list[Line]]:
        """Of the lines of each source, those of the mixture, in their order.

        Raises:
            InputError: a source is left without a line.

        Example:
            >>> mixed = Mixture({"a": 0.75, "b": 0.25}).drawn([range(6), range(100, 150)])
            >>> mixed[0], len(mixed[1])
            ([0, 1, 2, 3, 4, 5], 2)
            >>> Mixture({"a": 2, "b": 0.02}, by="passes").drawn([range(2), range(100, 150)])[0]
            [0, 1, 0, 1]
        """
        sizes = [len(each) for each in lines]
        worth = list(self.sources.values())
        if self.by == "share":
            total = min(size * sum(worth) / share for size, share in zip(sizes, worth))
            wanted = [min(size, round(total * share / sum(worth))) for size, share in zip(sizes, worth)]
        else:
            wanted = [round(size * passes) for size, passes in zip(sizes, worth)]
        for name, count, size in zip(self.sources, wanted, sizes):
            if not count:
                raise InputError(
                    f"the mixture leaves no line of {name}, which has {size}: give it a larger number, or "
                    "leave it out"
                )
        return [
            _take(each, count, np.random.default_rng([self.seed, i]))
            for i, (each, count) in enumerate(zip(lines, wanted))
        ]


def _take(lines: Sequence[Line], count: int, draw: np.random.Generator) -> list[Line]:
    """`count` of the lines: each as often as all can be, and a draw of them once more."""
    whole, rest = divmod(count, len(lines))
    again = sorted(draw.permutation(len(lines))[:rest].tolist())
    return [*lines] * whole + [lines[i] for i in again]


def mixture_of(source: str | Path) -> Mixture:
    """The mixture in a YAML file, or that of one source alone.

    Raises:
        InputError: as `read_mixture`.
    """
    path = Path(source)
    return read_mixture(path) if path.suffix in SUFFIXES and path.is_file() else Mixture({str(source): 1.0})


def read_mixture(path: Path) -> Mixture:
    """The mixture in a YAML file; sources that lie beside it may be named without its folder.

    Raises:
        InputError: no YAML mapping, an unknown key, no sources, or a number that is not above 0.
    """
    values = read_yaml(path)
    unknown = sorted({*values} - {*_KEYS})
    if unknown or not isinstance(values.get("sources"), dict) or not values["sources"]:
        raise InputError(
            f"{path} must hold `sources:`, a mapping of files or data sets to numbers, and may hold `by:` "
            f"and `seed:`{f'; it has the key {unknown[0]!r}' if unknown else ''}"
        )
    by, seed = values.get("by", "share"), values.get("seed", 0)
    one_of(f"by in {path}", by, ("share", "passes"))
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed in {path} must be a whole number of at least 0, got {seed!r}")
    for name, number in values["sources"].items():
        if not isinstance(number, int | float) or isinstance(number, bool):
            raise InputError(f"{path}: the {by} of {name} must be a number, got {number!r}")
        positive(f"the {by} of {name} in {path}", number, "leave out a source that is not to be used")
    return Mixture(
        {_beside(path, str(name)): float(number) for name, number in values["sources"].items()}, by, seed
    )


def _beside(path: Path, name: str) -> str:
    beside = path.parent / name
    return str(beside) if beside.exists() and not Path(name).is_absolute() else name
