"""Print every ratio that distalign promises.

Each line sets distalign beside a named twin that computes the same numbers, in the same run and on one
thread. The exit code is 1 if any line misses its goal.
"""

import os
import sys

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is imported: it reads them once

from benchmarks import aot, density_ratio, games, kkt, rate_study, robust, robust_rates, training  # noqa: E402


def main() -> int:
    modules = (aot, rate_study, robust, robust_rates, density_ratio, kkt, games, training)
    duels = [d for module in modules for d in module.duels()]
    for d in duels:
        print(d.line(), flush=True)
    return 0 if all(d.met for d in duels) else 1


if __name__ == "__main__":
    sys.exit(main())
