"""`distalign` with process 0 late at every file that it writes: `slow_rank_0.py SECONDS WORDS...`.

Other processes then come to the place where they read such a file before it is there, if nothing makes them
wait.
"""

import os
import sys
import time
from pathlib import Path


def main() -> None:
    seconds = float(sys.argv.pop(1))
    replace = os.replace

    def late(source: str | Path, target: str | Path) -> None:
        time.sleep(seconds)
        replace(source, target)

    if os.environ.get("RANK") == "0":
        os.replace = late

    from distalign import cli

    cli.main()


if __name__ == "__main__":
    main()
