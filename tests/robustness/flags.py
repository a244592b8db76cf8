"""Bad values of every flag of every command but `train`, whose flags are the keys of a recipe.

A call is a process forked from one that has imported what commands need. Flags and their types are those of
the functions behind the commands, so a new flag is met as soon as it is there.
"""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from distalign import cli
from distalign.checks import InputError
from tests.robustness.kills import Run, ended, kill, preload, start
from tests.robustness.verdicts import Case

LIMIT = 300.0  # seconds of one command on a busy machine
WHOLE = {
    "negative": ("-1", False),
    "zero": ("0", False),
    "huge": ("1" + "0" * 30, False),
    "nan": ("nan", True),
    "half": ("1.5", True),
    "empty": ("", True),
    "5,000 digits": ("9" * 5000, False),
}
REAL = {
    "negative": ("-1", False),
    "zero": ("0", False),
    "huge": ("1e300", False),
    "tiny": ("1e-300", False),
    "inf": ("inf", False),
    "nan": ("nan", True),
    "text": ("text", True),
    "empty": ("", True),
}
WORD = {
    "empty": ("", False),
    "long": ("x" * 300, False),
    "no UTF-8": ("\udcff", False),
    "a folder": (".", False),
    "below a file": ("pairs.jsonl/x", False),
    "markup": ("<b>[red]{x}%s", False),
}
COMMANDS: dict[str, list[str]] = {
    "ls": [],
    "show": ["aot_null"],
    "verify": ["aot_null", "--workers", "1", "--out", "out"],
    "figure": ["aot_null", "--out", "out"],
    "simulate": [
        "two_camps",
        "--seeds",
        "1",
        "--bootstrap",
        "0",
        "--methods",
        "Borda",
        "--workers",
        "1",
        "--out",
        "out",
    ],
    "cite": ["aot_null"],
    "report": ["out"],
    "data": ["pairs.jsonl", "--model", "model"],
    "check": ["labelled.jsonl", "--reference", "model", "--dtype", "float32"],
    "recipes": ["validate", "smollm2_dpo"],
    "evaluate": [
        "model",
        "--reference",
        "model",
        "--data",
        "pairs.jsonl",
        "--resamples",
        "20",
        "--out",
        "out",
    ],
    "plan": ["llama31_8b_kldpo_lora"],
    "merge": ["adapter", "--out", "out"],
    "generate": ["model", "--prompts", "prompts.csv", "--out", "out/draws.jsonl", "--max-new-tokens", "4"],
    "score": ["drawn.jsonl", "--score", "length", "--out", "out/scored.jsonl"],
    "label": ["scored.jsonl", "--population", "readers", "--out", "out/pairs.jsonl"],
    "predict": ["scored.jsonl", "--population", "readers", "--out", "out"],
    "judge": ["scored.jsonl", "--against", "scored.jsonl", "--score", "length", "--out", "out"],
}


def flag_cases() -> Iterator[Case]:
    """All of them."""
    for command, words in COMMANDS.items():
        function = getattr(cli, command)
        hints = typing.get_type_hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is not parameter.KEYWORD_ONLY and name not in ("beta",):
                continue
            for label, (value, invalid) in values_of(hints[name]).items():
                given = spoilt(words, f"--{name.replace('_', '-')}", value)
                yield Case(f"distalign.{command}", name, label, call(command, given), invalid)


def values_of(kind: Any) -> dict[str, tuple[str, bool]]:
    """Bad values of a type of flag; none of a switch, or of words that are listed."""
    kinds = {kind, *typing.get_args(kind)}
    if int in kinds:
        return WHOLE
    if float in kinds:
        return REAL
    return WORD if kinds & {str, Path} else {}


def spoilt(words: list[str], flag: str, value: str) -> list[str]:
    """The command line with one flag of this value."""
    if flag in words:
        place = words.index(flag)
        return [*words[: place + 1], value, *words[place + 2 :]]
    return [*words, flag, value]


def call(command: str, words: list[str]) -> Any:
    """What runs the command in a process of its own."""

    def run() -> str:
        folder = Path(mkdtemp(dir=world()))
        for path in world().iterdir():
            if path.name in READY:
                (folder / path.name).symlink_to(path)
        log = folder / "log"
        pids = start(Run(command, [command, *words], folder), log, lambda: os.chdir(folder))
        codes = None
        try:
            codes = ended(pids, LIMIT)
        finally:
            if codes is None:
                kill(pids)
        text = log.read_text("utf-8", "replace") if log.is_file() else ""
        if codes is None:
            raise RuntimeError("hang")
        if "Traceback" in text or codes[0] not in (0, 1, 2):
            raise RuntimeError(f"status {codes[0]}: {text.strip()[-300:]}")
        if codes[0] == 2:
            raise InputError(text.strip()[-300:])
        return text[-100:]

    return run


READY = ("model", "adapter", "pairs.jsonl", "labelled.jsonl", "prompts.csv", "drawn.jsonl", "scored.jsonl")


@cache
def world() -> Path:
    """A folder with a tiny model and the files that commands read."""
    from distalign.training.model.adapters import add_lora, quiet_peft
    from distalign.training.model.load import load_model
    from tests.training.data_for_tests import recipe, write_unpaired

    preload()
    folder = Path(mkdtemp(prefix="flags"))
    recipe(folder)
    with quiet_peft():
        add_lora(load_model(folder / "model", dtype="float32"), 2, 4.0).save_pretrained(folder / "adapter")
    write_unpaired(folder / "labelled.jsonl")
    (folder / "prompts.csv").write_text("prompt\n" + "\n".join(f"q{i} tea" for i in range(4)) + "\n", "utf-8")
    kinds = [f"{name}=tests.robustness.disks:mood" for name in ("length", "sentiment")]
    draws = [
        "--samples-per-prompt",
        "34",
        "--max-new-tokens",
        "8",
        "--dtype",
        "float32",
        "--reference",
        "model",
    ]
    for words in (
        ["generate", "model", "--prompts", "prompts.csv", "--out", "drawn.jsonl", *draws],
        ["score", "drawn.jsonl", "--score", *kinds, "--out", "scored.jsonl"],
    ):
        pids = start(Run(words[0], words, folder), folder / "log", lambda: os.chdir(folder))
        if ended(pids, LIMIT) != [0]:
            raise RuntimeError((folder / "log").read_text("utf-8", "replace")[-500:])
    return folder
