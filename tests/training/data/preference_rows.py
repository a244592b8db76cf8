"""Rows of preference data and the tokenizer they are read with, for the tests of reading."""

import json

from distalign.training.data.load import load_preferences
from tests.training.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
PAIR = {"prompt": "Is tea good?", "chosen": " yes", "rejected": " no"}
LABELLED = [
    {"prompt": "Is tea good?", "completion": " yes", "label": True},
    {"prompt": "Is tea good?", "completion": " no", "label": False},
    {"prompt": "the tea", "completion": " is good", "label": True},
]


def write(folder, rows, name="data.jsonl"):
    path = folder / name
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def load(folder, rows, **options):
    return load_preferences(write(folder, rows), TOKENIZER, **options)


def talk(*contents):
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def answer(content):
    return [{"role": "assistant", "content": content}]
