"""Train the recipe of a JSON list in one process of a group, and write how far memory rose above the start
until its last update into a file of its own, peak-RANK, for what two processes print can share a line:
`peak_worker.py RECIPES.json`.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import pandas  # noqa: E402, F401
import peft  # noqa: E402, F401
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

from distalign.training import commands, loop  # noqa: E402, F401
from distalign.training.recipe import Recipe  # noqa: E402


def resident(name: str) -> int:
    """Bytes, from Linux's /proc."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def main(path: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    (settings,) = json.loads(Path(path).read_text(encoding="utf-8"))
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    start, update, peaks = resident("VmRSS"), loop._update, []

    def watched(run: Any) -> Any:
        found = update(run)
        peaks.append(resident("VmHWM") - start)
        return found

    loop._update = watched
    loop.train(Recipe(**settings), progress=False)
    Path(path).with_name(f"peak-{dist.get_rank()}").write_text(str(peaks[-1]), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
