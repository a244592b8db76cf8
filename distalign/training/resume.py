"""Whether a run may go on from a checkpoint.

It may if it would make the same updates as the run that wrote the checkpoint: the same data, weights, global
batch, schedule and options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from distalign.checks import InputError
from distalign.training.recipe import Recipe

HARMLESS = frozenset(
    {
        "model",
        "train_data",
        "eval_data",
        "output_dir",
        "skip_bad_rows",
        "max_cut_share",
        "assistant_only_loss",
        "ranking_pairs",
        "chunk_tokens",
        "gradient_checkpointing",
        "trust_remote_code",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "micro_batch_tokens",
        "num_train_epochs",
        "max_steps",
        "eval_steps",
        "save_steps",
        "save_total_limit",
        "logging_steps",
        "report_to",
        "resume_from_checkpoint",
        "reference_cache",
        "parallel",
        "reduce_once",
        "push_to_hub",
    }
)
"""Fields of a recipe that a resumed run may change: where files lie, what is reported, how the same global
batch is cut, how processes share the work.

What they stand for is compared instead: the digests of weights and data, the size of the global batch, and
the
number of updates where the learning rate depends on it."""

_DIGESTS = {
    "data": "the training data have other tokens, weights or groups, or the reward is another",
    "weights": "the model has other weights",
}
_NUMBERS = {
    "batch": "the global batch",
    "updates": "the number of updates, on which the learning rate depends,",
}


def other_threads(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is said where a run goes on with another number of threads, or nothing.

    Example:
        >>> other_threads({"threads": 1}, {"threads": 1})
        ''
    """
    before, after = saved.get("threads", now["threads"]), now["threads"]
    if before == after:
        return ""
    return (
        f"the checkpoint was written with {before} threads of torch and goes on with {after}: sums are "
        f"rounded in another order, so last digits may differ; OMP_NUM_THREADS={before} gives the same bytes"
    )


def other_processes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is said where a run goes on with its weights shared out in another way, or nothing.

    Example:
        >>> other_processes({"sharded": True, "world": 2}, {"sharded": True, "world": 2})
        ''
        >>> other_processes({"sharded": True, "world": 2}, {"sharded": False, "world": 0}).split(":")[0]
        'the checkpoint was written by 2 processes that share the weights and goes on with whole weights'
    """
    before, after = (
        f"{state['world']} processes that share the weights" if state["sharded"] else "whole weights"
        for state in (saved, now)
    )
    if before == after:
        return ""
    return (
        f"the checkpoint was written by {before} and goes on with {after}: sums are rounded in another "
        "order, so last digits may differ"
    )


def check_same(saved: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Raise unless a run in state `now` may go on from `saved`.

    A field of the recipe that an earlier distalign did not have stood as its default stands.

    Raises:
        InputError: other data, weights, recipe, batch or schedule; the sentence lists what differs.
    """
    after = now["recipe"]
    before = {f.name: f.default for f in fields(Recipe) if f.name in after} | dict(saved["recipe"])
    differ = [
        f"{name} was {before.get(name)!r}, now {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if name not in HARMLESS and before.get(name) != after.get(name)
    ]
    differ += [words for name, words in _DIGESTS.items() if saved[name] != now[name]]
    differ += [f"{words} was {saved[n]}, now {now[n]}" for n, words in _NUMBERS.items() if saved[n] != now[n]]
    if differ:
        raise InputError(
            f"{path} belongs to another run: {'; '.join(differ)}. Restore the recipe or choose another "
            "output_dir"
        )
