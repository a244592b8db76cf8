"""A tiny model and a few pairs on disk."""

import json
import warnings

import pytest

with warnings.catch_warnings():  # third-party deprecations at import are not these tests' concern
    warnings.simplefilter("ignore")
    import peft  # noqa: F401

    from tests.training.tiny import save_tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A folder with a tiny random Llama and its tokenizer."""
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory):
    """48 pairs over few responses, in three groups."""
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    words = (
        "good tea",
        "bad tea",
        "the tea is good",
        "no",
        "yes the tea",
        "token",
        "tea is bad is bad",
        "good good",
    )
    rows = [
        {
            "prompt": f"is the tea {i % 6}?",
            "chosen": " " + words[i % 8],
            "rejected": " " + words[(i * 3 + 1 + i // 8) % 8],
            "group": f"g{i % 6 // 2}",
        }
        for i in range(60)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows if r["chosen"] != r["rejected"]))
    return path
