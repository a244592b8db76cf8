"""Rankings from PrefLib files: .soc and .soi (strict), .toc and .toi (with ties), complete or incomplete.

A file opens with lines such as `# ALTERNATIVE NAME 3: tea`; each line after them is a count and an order,
`120: 3,{1,2}`: 120 people put 3 first and tie 1 with 2.

Source: N. Mattei and T. Walsh, PrefLib: A Library for Preferences, ADT 2013; preflib.org/format. The reader
is ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distalign.checks import InputError
from distalign.pluralism.sources.tables import opened
from distalign.types import Array

Codes = NDArray[np.intp]
_NAME = re.compile(r"# ALTERNATIVE NAME (\d+):(.*)")
_ORDER = re.compile(r"(\d+)\s*:\s*((?:\d+|\{[\d,\s]*\})(?:\s*,\s*(?:\d+|\{[\d,\s]*\}))*)")
_PLACE = re.compile(r"\{([^}]*)\}|(\d+)")


@dataclass(frozen=True, eq=False)
class Rankings:
    """Different orders of alternatives, and how many people gave each.

    Attributes:
        alternatives: (m,) names.
        counts: (K,) people of each order.
        orders: K orders, each a pair of arrays: the alternatives ranked, and the place of each (ties share
            one).
    """

    alternatives: tuple[str, ...]
    counts: Codes
    orders: tuple[tuple[Codes, Codes], ...]

    def pairs(self) -> tuple[Codes, Codes, Codes, Array]:
        """Every pair that an order ranks: the order, the two alternatives, and the score of the first."""
        parts = []
        for k, (ranked, where) in enumerate(self.orders):
            i, j = np.triu_indices(len(ranked), 1)
            score = np.where(where[i] < where[j], 1.0, np.where(where[i] > where[j], 0.0, 0.5))
            parts.append((np.full(len(i), k), ranked[i], ranked[j], score))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]


def read_rankings(path: Path) -> Rankings:
    """Read a PrefLib file, perhaps packed with gzip or Zstandard.

    Raises:
        InputError: the file is of the format before 2022, a line is no order, an order names an alternative
            twice or one that does not exist, or the counts do not sum to what the file says.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "drinks.toc"
        >>> head = ["# NUMBER ALTERNATIVES: 3", "# NUMBER VOTERS: 5"]
        >>> names = [f"# ALTERNATIVE NAME {i}: {name}" for i, name in enumerate(["tea", "milk", "beer"], 1)]
        >>> _ = path.write_text("\\n".join([*head, *names, "4: 1,{2,3}", "1: 2,1,3"]))
        >>> found = read_rankings(path)
        >>> found.alternatives, found.counts.tolist(), found.pairs()[3].tolist()
        (('tea', 'milk', 'beer'), [4, 1], [1.0, 1.0, 0.5, 1.0, 1.0, 1.0])
    """
    try:
        with opened(path) as stream:
            text = stream.read().decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    head = [line for _, line in lines if line.startswith("#")]
    if not head:
        raise InputError(f"{path} looks like PrefLib's format before 2022: download the file again")
    names = {int(m[1]): m[2].strip() for line in head if (m := _NAME.match(line))}
    size = _stated(head, "NUMBER ALTERNATIVES")
    if size is None or sorted(names) != list(range(1, size + 1)):
        raise InputError(f"{path}: the head names {len(names)} alternatives, and says there are {size}")
    if len(set(names.values())) < size:
        raise InputError(f"{path}: two alternatives have the same name: rename one")
    counts, orders = [], []
    for number, line in lines:
        if line.startswith("#"):
            continue
        found = _ORDER.fullmatch(line)
        if found is None:
            raise InputError(f"{path}: line {number} is no order such as '12: 3,1,{{2,4}}': {line[:60]!r}")
        places = [re.findall(r"\d+", a or b) for a, b in _PLACE.findall(found[2])]
        ranked = np.array([int(x) - 1 for tied in places for x in tied], np.intp)
        if len(set(ranked.tolist())) < len(ranked) or not ((ranked >= 0) & (ranked < size)).all():
            raise InputError(
                f"{path}: line {number} names an alternative twice, or one that is none of 1 to {size}"
            )
        counts.append(int(found[1]))
        orders.append((ranked, np.repeat(np.arange(len(places)), [len(t) for t in places])))
    said = _stated(head, "NUMBER VOTERS")
    if not orders or min(counts) < 1 or (said is not None and sum(counts) != said):
        raise InputError(
            f"{path} holds {sum(counts)} rankings, and its head says {said}: the file is cut off"
        )
    return Rankings(tuple(names[i + 1] for i in range(size)), np.array(counts), tuple(orders))


def _stated(head: list[str], what: str) -> int | None:
    values = [line.partition(":")[2].strip() for line in head if line.startswith(f"# {what}:")]
    return int(values[0]) if values and values[0].isdigit() else None
