"""Damaged and wrong files of every kind that is read: cut, zeroed, of another kind, of another schema."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from distalign.pluralism import build
from distalign.pluralism import read as read_population
from distalign.training import load_policy, load_preferences, tokenizer_of
from distalign.training.evaluation.samples import read_samples, write_samples
from distalign.training.recipe_file import read as read_recipe
from tests.robustness.verdicts import Case

ROWS = [{"prompt": f"q{i} tea", "chosen": f" yes {i}", "rejected": f" no {i}"} for i in range(40)]
VOTES = "user,first,second,vote\n" + "".join(
    f"u{i % 7},{a},{b},{'first' if i % 3 else 'second'}\n"
    for i, (a, b) in enumerate([("x", "y"), ("y", "z"), ("z", "x")] * 14)
)
UTILITIES = "weight,x,y,z\n2,0.1,0.5,0.9\n1,0.9,0.2,0.4\n"


@cache
def model() -> Path:
    """A tiny model."""
    from tests.training.tiny import save_tiny

    folder = Path(tempfile.mkdtemp(prefix="robustness")) / "model"
    save_tiny(folder)
    return folder


def damaged(data: bytes, words: bool) -> Iterator[tuple[str, bytes, bool]]:
    """(label, other content, whether it cannot be read): cut, zeroed, changed, of another kind.

    Weights of zeros are weights: nothing in a file of safetensors tells them from those that were written.
    """
    n = len(data)
    yield "empty", b"", True
    for k in (1, 2, 3):
        yield f"cut at {k}/4", data[: n * k // 4], not words
        yield f"zeroed from {k}/4", data[: n * k // 4] + bytes(n - n * k // 4), words
    yield "byte changed", data[: n // 2] + bytes([data[n // 2] ^ 0x55]) + data[n // 2 + 1 :], False
    yield "zeros", bytes(n), True
    yield "noise", bytes((i * 7919 + 13) % 256 for i in range(4096)), True
    yield "no UTF-8", b"\xff\xfe" + data, True
    yield "half a surrogate", b"\xed\xa0\x80" + data, True
    yield "gzip", gzip.compress(data), False
    yield "half a gzip", gzip.compress(data)[: n // 8], True
    yield "picture", b"\x89PNG\r\n\x1a\n" + bytes(100), True
    yield "page", b"<!DOCTYPE html><html><body>404</body></html>", True
    yield "number", b"3", True
    yield "null", b"null", True
    yield "nested", b"[" * 100_000, True
    yield "list", b"[1, 2, 3]\n", True
    yield "long line", b"x" * 2_000_000, True
    yield "other columns", b"a,b,c\n1,2,3\n", True
    yield "other keys", b'{"a": 1}\n', True
    yield "wrong types", b'{"prompt": 3, "chosen": [], "rejected": {}}\n', True


def _preferences(path: Path) -> Any:
    return float(len(load_preferences(path, tokenizer_of(str(model()))).examples))


def _population(path: Path) -> Any:
    return build(read_population(path)).win


def kinds(folder: Path) -> dict[str, tuple[bytes, bool, Callable[[Path], Any]]]:
    """Name of a file to (its right content, whether it holds words, how it is read)."""
    from tests.robustness.test_files import SAMPLES

    frame = pd.DataFrame(ROWS)
    made = folder / "made"
    frame.to_parquet(made)
    parquet = made.read_bytes()
    write_samples(SAMPLES, made)
    samples = made.read_bytes()
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    population = b"users:\n- {utilities: [0.1, 0.9]}\n- {utilities: [0.8, 0.2]}\n"
    return {
        "pairs.jsonl": (lines, True, _preferences),
        "pairs.json": (json.dumps(ROWS).encode(), True, _preferences),
        "pairs.csv": (frame.to_csv(index=False).encode(), True, _preferences),
        "pairs.parquet": (parquet, False, _preferences),
        "samples.jsonl": (samples, True, read_samples),
        "votes.csv": (VOTES.encode(), True, _population),
        "votes.tsv": (VOTES.replace(",", "\t").encode(), True, _population),
        "utilities.csv": (UTILITIES.encode(), True, _population),
        "population.yaml": (population, True, _population),
        "recipe.yaml": (
            b"model: m\nobjective: sft\ntrain_data: d\n",
            True,
            lambda path: read_recipe(path) and None,
        ),
    }


def stored_cases() -> Iterator[Case]:
    """All of them."""
    folder = Path(tempfile.mkdtemp(prefix="robustness"))
    for name, (right, words, read) in kinds(folder).items():
        for label, data, invalid in damaged(right, words):
            yield Case(f"file.{name}", "content", label, _written(folder / name, data, read), invalid)
        yield Case(f"file.{name}", "place", "folder", _in_place_of(folder / name, read), True)
        yield Case(
            f"file.{name}", "place", "nowhere", lambda name=name, read=read: read(folder / "no" / name), True
        )


def model_cases() -> Iterator[Case]:
    """Files of a model, which transformers, tokenizers and safetensors read."""
    folder = Path(tempfile.mkdtemp(prefix="robustness"))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        right = (model() / name).read_bytes()
        for label, data, invalid in damaged(right, False):
            yield Case(f"model.{name}", "content", label, _of_model(folder, name, data), invalid)


def _written(path: Path, data: bytes, read: Callable[[Path], Any]) -> Callable[[], Any]:
    def call() -> Any:
        if path.is_dir():
            path.rmdir()
        path.write_bytes(data)
        out = read(path)
        return None if path.name == "samples.jsonl" else out

    return call


def _in_place_of(path: Path, read: Callable[[Path], Any]) -> Callable[[], Any]:
    def call() -> Any:
        path.unlink(missing_ok=True)
        path.mkdir(exist_ok=True)
        return read(path)

    return call


def _of_model(folder: Path, name: str, data: bytes) -> Callable[[], Any]:
    def call() -> Any:
        place = folder / "model"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(model(), place)
        (place / name).write_bytes(data)
        if name == "tokenizer.json":
            tokenizer_of(str(place))
        else:
            load_policy(str(place), dtype="float32")

    return call
