"""Large data, tokenised once: kept in a file that every process and every start maps into memory.

200,000 lines as Python's tuples take gigabytes in each process and minutes to make. Here their tokens are one
array of int32 in a safetensors file, whose pages all processes share, and an `Example` is made when it is
asked for. The file is named by all that the examples depend on: bytes of the data files, tokenizer, chat
template, settings, versions, and the code that reads. A file that is not what was written is made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

from distalign.training.data.mixture import SUFFIXES, read_mixture
from distalign.training.data.rows import Example, PreferenceData, Tokens

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
        self._tokens, self._ends, self._sides = arrays["tokens"], arrays["ends"], arrays["sides"]
        self._weight, self._users = arrays["weight"], users
        self._more = [arrays[name] for name in ("group", "user", "line")]

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._ends)

    def kinds(self) -> list[tuple[bool, bool, bool]]:
        """Of each example: whether it has a weight above 0, a chosen and a rejected side."""
        return [*zip((self._weight > 0).tolist(), *self._sides.T.tolist())]

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
    path = Path(source)
    files = [path]
    if path.suffix in SUFFIXES and path.is_file():
        files += [Path(name) for name in read_mixture(path).sources]
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
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    notes = []
    for k, data in enumerate(splits):
        arrays, users = _arrays(data)
        tensors |= {f"{k}.{name}": torch.from_numpy(array) for name, array in arrays.items()}
        plain = ("paired", "groups", "digest", "has_weights", "has_groups")
        notes.append(
            {name: getattr(data, name) for name in plain} | {"report": dict(data.report), "users": users}
        )
    # in one entry, for safetensors writes entries in any order
    note = json.dumps({"splits": notes, "sha256": _digest(tensors)})
    save_file(tensors, path, metadata={"note": note})


def _arrays(data: PreferenceData) -> tuple[dict[str, np.ndarray], list[str]]:
    examples = data.examples
    sides = [(e.prompt, e.chosen or (), e.rejected or ()) for e in examples]
    lengths = np.array([[len(side) for side in three] for three in sides], np.int64)
    ends = lengths.cumsum().reshape(-1, 3)
    users = list(dict.fromkeys(e.user for e in examples if e.user is not None))
    place = {user: i for i, user in enumerate(users)}
    every: Iterator[Tokens] = (side for three in sides for side in three)
    return {
        "tokens": np.fromiter(chain.from_iterable(every), np.int32, int(ends[-1, 2])),
        "ends": ends,
        "sides": np.array([[e.chosen is not None, e.rejected is not None] for e in examples]),
        "weight": np.array([e.weight for e in examples], np.float64),
        "group": np.array([e.group for e in examples], np.int32),
        "user": np.array([-1 if e.user is None else place[e.user] for e in examples], np.int32),
        "line": np.array([e.line for e in examples], np.int64),
        "names": np.frombuffer(b"".join(data.names), np.uint8).reshape(-1, 16).copy(),
    }, users


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array))  # type: ignore[arg-type]
    return digest.hexdigest()


def _opened(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors whose memory is the mapped file, and what was written beside them."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        note = json.loads((file.metadata() or {})["note"])
        return {name: file.get_tensor(name) for name in file.keys()}, note  # noqa: SIM118


def damage_of(path: Path) -> str | None:
    """What is wrong with a file, in words, or None."""
    from safetensors import SafetensorError

    try:
        tensors, note = _opened(path)
        if _digest(tensors) != note["sha256"]:
            return "not what was written"
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        return str(error)
    return None


def read_splits_of(path: Path) -> list[PreferenceData]:
    """The splits of a file, whose tokens stay in the file."""
    tensors, written = _opened(path)
    out = []
    for k, note in enumerate(written["splits"]):
        arrays = {
            name.partition(".")[2]: tensor.numpy()
            for name, tensor in tensors.items()
            if name.startswith(f"{k}.")
        }
        examples = StoredExamples(arrays, note.pop("users"))
        data = PreferenceData(examples, **(note | {"groups": tuple(note["groups"])}))
        vars(data)["names"] = tuple(name.tobytes() for name in arrays["names"])  # what `names` remembers
        out.append(data)
    return out
