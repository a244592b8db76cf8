"""Small data, a small model directory and recipes on them, shared by the tests of the loop."""

import json
import random
from pathlib import Path

from distalign.training.recipe import Recipe
from tests.training.tiny import save_tiny

WORDS = ["yes", "no", "the", "is", "good", "bad", "tea", "token"]


def write_pairs(path: Path, n: int = 24, seed: int = 0, **columns) -> Path:
    """n pairs of a few words each; `columns` are functions of the line's index."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            line = {
                "prompt": f"q{i % 11} " + words(draw, 1, 6),
                "chosen": " " + words(draw, 2, 7) + " yes",
                "rejected": " " + words(draw, 2, 7) + " no",
            }
            file.write(json.dumps(line | {name: column(i) for name, column in columns.items()}) + "\n")
    return path


def write_unpaired(path: Path, chosen: int = 20, rejected: int = 8, seed: int = 0) -> Path:
    """So many completions of each label, mixed."""
    draw = random.Random(seed)
    labels = [True] * chosen + [False] * rejected
    draw.shuffle(labels)
    with path.open("w", encoding="utf-8") as file:
        for i, label in enumerate(labels):
            line = {
                "prompt": f"q{i} " + words(draw, 1, 6),
                "completion": " " + words(draw, 2, 7),
                "label": label,
            }
            file.write(json.dumps(line) + "\n")
    return path


def words(draw: random.Random, low: int, high: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(low, high)))


def recipe(folder: Path, out: str = "out", **changes) -> Recipe:
    """A float32 run of a tiny Llama in a folder that holds model/ and pairs.jsonl, made if they are not
    there.
    """
    if not (folder / "model").exists():
        save_tiny(folder / "model")
    if not (folder / "pairs.jsonl").exists():
        write_pairs(folder / "pairs.jsonl")
    settings = {
        "model": str(folder / "model"),
        "train_data": str(folder / "pairs.jsonl"),
        "output_dir": str(folder / out),
        "objective": "dpo",
        "objective_options": {"beta": 0.1},
        "dtype": "float32",
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "max_steps": 3,
        "warmup_ratio": 0.0,
        "reference_cache": str(folder / "reference"),
    }
    return Recipe(**(settings | changes))
