"""Train every recipe of a JSON list in one process of a group, and write what came out:
`train_worker.py RECIPES.json`.
"""

import json
import os
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore", message=".*couples its batch.*")

import torch.distributed as dist  # noqa: E402

from distalign.training import loop  # noqa: E402
from distalign.training.recipe import Recipe  # noqa: E402

SUMS = ("all_reduce", "reduce_scatter_single", "reduce_scatter_tensor")
"""What adds over processes; torch has renamed one of them."""


def count_sums() -> Counter[str]:
    """How often each of `SUMS` is called from now on, in the updates of a run."""
    counts: Counter[str] = Counter()
    inside = [False]
    for name in SUMS:
        plain = getattr(dist, name, None)
        if plain is None:
            continue

        def counted(*args: Any, _plain: Any = plain, _name: str = name, **named: Any) -> Any:
            counts[_name] += inside[0]
            return _plain(*args, **named)

        setattr(dist, name, counted)
    update = loop._update

    def watched(run: Any) -> Any:
        inside[0] = True
        try:
            return update(run)
        finally:
            inside[0] = False

    loop._update = watched
    return counts


def main(path: str) -> None:
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    counts = count_sums()
    for settings in json.loads(Path(path).read_text(encoding="utf-8")):
        counts.clear()
        loop.train(Recipe(**settings), progress=False)
        (Path(settings["output_dir"]) / "sums.json").write_text(json.dumps(counts), encoding="utf-8")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
