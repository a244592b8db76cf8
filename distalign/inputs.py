"""Files that users write, read with sentences for their mistakes: YAML mappings and CSV tables.

Nothing here knows what a file is about: recipes, populations and votes have readers of their own, which call
these.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distalign.checks import InputError

if TYPE_CHECKING:
    import pandas as pd

VOTE_SCORES = {"first": 1.0, "equal": 0.5, "second": 0.0}
"""What an answer to a comparison is worth to the option shown first."""

_LARGEST, _DEPTH = 1_000_000, 50
_FLOAT = re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)$")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, by PyYAML's safe loader with two repairs.

    PyYAML takes `5e-7` for text, and of a key that stands twice it keeps the last; here the first is a number
    and the second is an error.

    Raises:
        InputError: the file cannot be read, is not YAML, is no mapping, has a key twice, holds more than a
            million values (aliases written out), or nests them more than 50 deep.
    """
    try:
        import yaml
    except ImportError as error:
        raise InputError(f"reading {path} needs PyYAML: pip install pyyaml") from error

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
            if self.depth == _DEPTH:
                raise InputError(f"{path} nests values more than {_DEPTH} deep: write them flat")
            self.depth += 1
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def fetch_flow_collection_start(self, TokenClass: Any) -> None:
            if self.flow_level == _DEPTH:  # the scanner reads ahead, in the square of the depth
                raise InputError(f"{path} nests brackets more than {_DEPTH} deep: write them flat")
            super().fetch_flow_collection_start(TokenClass)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            keys = [self.construct_object(key) for key, _ in node.value]  # type: ignore[no-untyped-call]
            for key in keys:
                if keys.count(key) > 1:
                    raise InputError(
                        f"{path}: key {key!r} stands twice, line {node.start_mark.line + 1} and below: keep "
                        "one"
                    )
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
    try:
        loader = Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        _check_size(node, path)
        values = None if node is None else loader.construct_document(node)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not YAML that can be read: {reason}: correct this value") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must be a YAML mapping of names to values, got {type(values).__name__}")
    return values


def _check_size(root: Any, path: Path) -> None:
    """Raise where a tree of YAML nodes, its aliases written out, is large or contains itself.

    A node that stands at several places is one object, so a file of some lines can stand for a value that
    fills the memory when it is written into a message.
    """
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        key = id(node)
        if key not in sizes:
            sizes[key] = _LARGEST + 1  # what contains itself has no end
            inner = node.value if isinstance(node.value, list) else []
            parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
            sizes[key] = 1 + sum(map(size, parts))
        if sizes[key] > _LARGEST:
            raise InputError(
                f"{path} holds more than {_LARGEST} values when its aliases are written out: keep large data "
                "in a file of their own"
            )
        return sizes[key]

    if root is not None:
        size(root)


def read_table(
    path: Path | str, columns: tuple[str, ...], aliases: dict[str, str], needs: str
) -> pd.DataFrame:
    """A CSV file as strings, with `needs` under its own name or an alias, all `columns` there and no empty
    cell in them.

    Raises:
        InputError: unreadable file, missing column (named, beside those present), no rows, or an empty cell.

    Example:
        >>> from io import StringIO
        >>> read_table(StringIO("id,vote\\nx,yes"), ("vote",), {"name": "id"}, "id")["vote"].tolist()
        ['yes']
    """
    import numpy as np  # here and not above: `distalign recipes ls` reads YAML without pandas
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read as a CSV file: {error}") from error
    present = list(table.columns)
    if needs not in present:
        table = table.rename(columns=aliases)
    for column in (needs, *columns):
        if column not in table.columns:
            raise InputError(f"{path} has no column {column!r}; it has {', '.join(map(repr, present))}")
        empty = np.flatnonzero(table[column].to_numpy(str) == "")
        if len(empty):
            raise InputError(f"{path}: column {column!r} is empty in line {empty[0] + 2}")
    if table.empty:
        raise InputError(f"{path} holds no rows")
    return table
