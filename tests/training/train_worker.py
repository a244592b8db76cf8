"""Train every recipe of a JSON list in one process of a group, and write what came out:
`train_worker.py RECIPES.json`.
"""

import json
import os
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", message=".*couples its batch.*")

import torch.distributed as dist  # noqa: E402

from distalign.training import loop  # noqa: E402
from distalign.training.recipe import Recipe  # noqa: E402


def main(path: str) -> None:
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    for settings in json.loads(Path(path).read_text(encoding="utf-8")):
        loop.train(Recipe(**settings), progress=False)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
