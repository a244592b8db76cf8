"""Large data, tokenised once: kept in a file that every process and every start maps into memory.

200,000 lines as Python's tuples take a gigabyte in each process and minutes to make. Here their tokens are
one array of int32 in a safetensors file, whose pages all processes share, and an `Example` is made when it is
asked for. While they are made they are packed one by one, and their tokens go to a temporary file.

The file is named by all that the examples depend on: bytes of the data files, tokenizer, chat template,
settings, versions, and the code that reads. A file that is not what was written is made anew.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from distalign.training.data.mixture import mixture_of
from distalign.training.data.rows import (
    Example,
    PreferenceData,
    check_example,
    digest_example,
    name_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class StoredExamples(Sequence[Example]):
    """The examples of a file, made one at a time.

    Args:
        arrays: `tokens` (t,) int32; `ends` (n, 3) int64, where prompt, chosen and rejected end in them;
            `sides` (n, 2) bool, which of the two are there; `weight`, `group`, `user` (-1 for none), `line`
            (n,).
        users: names behind `user`.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], users: Sequence[str]) -> None:
        """Keep the arrays, which may be mapped files."""
        self.arrays, self.users = arrays, users
        self._tokens, self._ends, self._sides = arrays["tokens"], arrays["ends"], arrays["sides"]
        self._weight, self._users = arrays["weight"], users
        self._more = [arrays[name] for name in ("group", "user", "line")]

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._ends)

    def kinds(self) -> list[tuple[bool, bool, bool]]:
        """Of each example: whether it has a weight above 0, a chosen and a rejected side."""
        return [*zip((self._weight > 0).tolist(), *self._sides.T.tolist())]

    def names(self) -> tuple[bytes, ...]:
        """What `PreferenceData.names` calls the examples."""
        flat = self.arrays["names"].tobytes()
        return tuple(flat[start : start + 16] for start in range(0, len(flat), 16))

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """An example, or a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        start = int(self._ends[i - 1, 2]) if i else 0
        a, b, c = self._ends[i].tolist()
        tokens = self._tokens[start:c].tolist()
        there = self._sides[i].tolist()
        group, user, line = (int(array[i]) for array in self._more)
        return Example(
            tuple(tokens[: a - start]),
            tuple(tokens[a - start : b - start]) if there[0] else None,
            tuple(tokens[b - start :]) if there[1] else None,
            float(self._weight[i]),
            group,
            None if user < 0 else self._users[user],
            line,
        )


class Packer:
    """Examples as they come, packed into the arrays of `StoredExamples`; tokens go to a temporary file.

    Args:
        groups: names behind `Example.group`; empty if the data have none.
    """

    def __init__(self, groups: Sequence[str] = ()) -> None:
        """Begin without examples."""
        self._groups, self._names = tuple(groups), bytearray()
        self._tokens, self._file, self._end = array("i"), None, 0
        self._columns = {name: array(kind) for name, kind in _KINDS.items()}
        self._users: dict[str, int] = {}
        self._digest, self._paired, self._ones = hashlib.sha256(), True, True
        self.weighs = False

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._columns["weight"])

    def extend(self, examples: Iterable[Example]) -> None:
        """Take these examples.

        Raises:
            InputError: as `PreferenceData.of`.
        """
        names = self._groups or ("",)
        for example in examples:
            check_example(example, len(names))
            digest_example(self._digest, example, names)
            self._names += name_of(example)
            self._take(example)
            if len(self._tokens) >= _IN_MEMORY:
                self._spill()

    def _take(self, example: Example) -> None:
        columns, there = self._columns, (example.chosen is not None, example.rejected is not None)
        for side in (example.prompt, example.chosen or (), example.rejected or ()):
            self._tokens.extend(side)
            self._end += len(side)
            columns["ends"].append(self._end)
        columns["sides"].extend(there)
        columns["weight"].append(example.weight)
        columns["group"].append(example.group)
        columns["line"].append(example.line)
        user = example.user
        columns["user"].append(-1 if user is None else self._users.setdefault(user, len(self._users)))
        self._paired &= all(there)
        self._ones &= example.weight == 1.0
        self.weighs |= example.weight > 0

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it goes with this object)
            weakref.finalize(self, self._file.close)
        self._tokens.tofile(self._file)
        self._tokens = array("i")

    def examples(self) -> StoredExamples:
        """The examples so far."""
        if self._file is None:
            tokens = np.array(self._tokens, np.int32)
        else:
            self._spill()
            self._file.flush()
            tokens = np.memmap(self._file, np.int32, "r+")
        arrays = {
            name: np.frombuffer(column, column.typecode).copy() for name, column in self._columns.items()
        }
        arrays["ends"], arrays["sides"] = arrays["ends"].reshape(-1, 3), arrays["sides"].reshape(-1, 2) > 0
        arrays["names"] = np.frombuffer(self._names, np.uint8).reshape(-1, 16).copy()
        return StoredExamples({"tokens": tokens, **arrays}, list(self._users))

    def data(self, report: Mapping[str, int], has_weights: bool | None = None) -> PreferenceData:
        """What `PreferenceData.of` makes of these examples; few of them come as a tuple."""
        stored = self.examples()
        return PreferenceData(
            stored if len(self) >= SMALLEST else tuple(stored),
            self._paired,
            self._groups,
            dict(report),
            self._digest.hexdigest(),
            not self._ones if has_weights is None else has_weights,
            bool(self._groups),
        )


_KINDS = {"ends": "q", "sides": "b", "weight": "d", "group": "i", "user": "i", "line": "q"}
"""Columns of a `Packer`, with their types."""
_IN_MEMORY = 2**22
"""Tokens that a `Packer` holds before they go to its file."""
SMALLEST = 10_000
"""Fewer examples are kept as a tuple."""


def key_of(source: str, tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, object]) -> str | None:
    """A name for the examples that these would give; None where one of them cannot be named by its bytes."""
    import tokenizers
    import transformers

    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    template = tokenizer.chat_template
    if "strftime_now" in str(template):  # such a template writes the day into the text
        return None
    files = [Path(source), *(Path(name) for name in mixture_of(source).sources if name != source)]
    if not all(file.is_file() for file in files):
        return None
    code = sorted(Path(__file__).parent.glob("*.py"))
    parts = [
        *(_of_file(file) for file in (*files, *code)),
        backend.to_str(),
        repr(template),
        repr(tokenizer.special_tokens_map),
        json.dumps(
            [source, dict(settings), transformers.__version__, tokenizers.__version__], sort_keys=True
        ),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_splits(path: Path, splits: Sequence[PreferenceData]) -> None:
    """Write the splits of a source into one file."""
    arrays: dict[str, np.ndarray] = {}
    notes = []
    for k, data in enumerate(splits):
        stored = _stored(data)
        arrays |= {f"{k}.{name}": column for name, column in stored.arrays.items()}
        plain = ("paired", "groups", "digest", "has_weights", "has_groups")
        notes.append(
            {name: getattr(data, name) for name in plain}
            | {"report": dict(data.report), "users": list(stored.users)}
        )
    # in one entry, for others write the entries of safetensors in any order
    _write(path, arrays, {"note": json.dumps({"splits": notes, "sha256": _digest(arrays)})})


def _stored(data: PreferenceData) -> StoredExamples:
    if isinstance(data.examples, StoredExamples):
        return data.examples
    packer = Packer(data.groups)
    packer.extend(data.examples)
    return packer.examples()


def _write(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """A file of safetensors, the widest types first; its own writer would hold a copy of all arrays."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    order, end = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name)), 0
    for name in order:
        kind, size = _TYPES[arrays[name].dtype.str[1:]], arrays[name].nbytes
        header[name] = {"dtype": kind, "shape": arrays[name].shape, "data_offsets": [end, end + size]}
        end += size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name in order:
            for block in _blocks(arrays[name]):
                file.write(block)


_TYPES = {"i8": "I64", "f8": "F64", "i4": "I32", "u1": "U8", "b1": "BOOL"}


def _blocks(column: np.ndarray) -> Iterator[memoryview]:
    """The bytes of an array, a few megabytes at a time."""
    flat = np.ascontiguousarray(column).reshape(-1).view(np.uint8)
    for start in range(0, len(flat), 2**22):
        yield flat[start : start + 2**22].data


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        for block in _blocks(arrays[name]):
            digest.update(block)
    return digest.hexdigest()


def _opened(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays whose memory is the mapped file, and what was written beside them."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        note = json.loads((file.metadata() or {})["note"])
        return {name: file.get_tensor(name).numpy() for name in file.keys()}, note  # noqa: SIM118


def damage_of(path: Path) -> str | None:
    """What is wrong with a file, in words, or None."""
    from safetensors import SafetensorError

    try:
        arrays, note = _opened(path)
        if _digest(arrays) != note["sha256"]:
            return "not what was written"
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        return str(error)
    return None


def read_splits_of(path: Path) -> list[PreferenceData]:
    """The splits of a file, whose tokens stay in the file."""
    opened, written = _opened(path)
    out = []
    for k, note in enumerate(written["splits"]):
        arrays = {
            name.partition(".")[2]: column for name, column in opened.items() if name.startswith(f"{k}.")
        }
        examples = StoredExamples(arrays, note.pop("users"))
        out.append(PreferenceData(examples, **(note | {"groups": tuple(note["groups"])})))
    return out
