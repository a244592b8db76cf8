"""How CPU time and memory grow with size: `python -m benchmarks.growth`, or some of it by name.

Every piece of work is run at three sizes, each in a process of its own. The exponent is the slope of the
logarithm of time (or memory) over that of size, from the middle size to the largest: the smallest may fit in
caches that the others leave. Theory's exponent counts the leading term of the algorithm: 1 for a pass over n
rows, also where they are sorted, 2 for a pass over an m x m matrix. One above it by more than .2 is marked.

`python -m benchmarks.growth NAME SIZE` measures one and prints JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is imported: it reads them once

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks.populations import dense_game, population  # noqa: E402
from benchmarks.training import measured  # noqa: E402

Step = Callable[[], Any]


@dataclass(frozen=True)
class Growth:
    """Work whose size can be chosen.

    Attributes:
        name: what is done; n is its size.
        sizes: three of them.
        theory: exponent of the leading term, of time and of memory.
        make: from a size, what is measured.
    """

    name: str
    sizes: tuple[int, int, int]
    theory: tuple[float, float]
    make: Callable[[int], Step]


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _aot(n: int) -> Step:
    import torch

    from distalign.objectives import aot_unpaired
    from distalign.preferences import PreferenceLogProbs

    torch.set_num_threads(1)
    chosen, rejected = (torch.from_numpy(_rng().normal(k, 1, n)).requires_grad_() for k in (0, 1))
    zeros = torch.zeros(n, dtype=torch.float64)
    return lambda: aot_unpaired(PreferenceLogProbs(chosen, rejected, zeros, zeros), beta=0.1).backward()


def _soft_sort(n: int) -> Step:
    from distalign.solvers import soft_sort

    values = _rng().normal(size=n)
    return lambda: soft_sort(values, 1.0)


def _features(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of n comparisons and their law; both signs occur, so that a minimiser exists."""
    v = _rng().normal(size=(n, 3)) + 0.3
    return v, np.full(n, 1 / n)


def _kldpo(n: int) -> Step:
    from distalign.solvers.robust import fit_kl_temperature

    v, p = _features(n)
    return lambda: fit_kl_temperature(v, p, temperature=0.3)


def _kl_ball(n: int) -> Step:
    from distalign.solvers.robust import fit_kl_ball

    v, p = _features(n)
    return lambda: fit_kl_ball(v, p, radius=0.05)


def _kl_worst_case(n: int) -> Step:
    from distalign.solvers.robust import kl_worst_case

    losses = _rng().random(n)
    return lambda: kl_worst_case(losses, np.full(n, 1 / n), 0.05)


def _norm_ball(n: int) -> Step:
    from distalign.solvers.robust import fit_norm

    v, p = _features(n)
    return lambda: fit_norm(v, p, radius=0.05)


def _finite_ball(n: int) -> Step:
    from distalign.solvers.robust import fit_finite

    v, p = _features(n)
    cost = np.linalg.norm(v[:, None] - v, axis=2)
    return lambda: fit_finite(v, p, cost, radius=0.05)


def _finite_worst_case(n: int) -> Step:
    from distalign.solvers.robust import wasserstein_worst_case

    v, p = _features(n)
    cost = np.linalg.norm(v[:, None] - v, axis=2)
    losses = np.logaddexp(0, -v @ [1.0, 0.5, -0.5])
    return lambda: wasserstein_worst_case(losses, p, cost, radius=0.05)


def _kkt(n: int) -> Step:
    from distalign.solvers import regularised_policy

    reward, reference = _rng().normal(size=(n, 8)), np.full((n, 8), 1 / 8)
    return lambda: regularised_policy(reward, reference, 0.5, "jensen_shannon")


def _rdro(n: int) -> Step:
    from distalign.solvers import rdro_policy

    up, down = (_rng().dirichlet(np.ones(12), n) for _ in range(2))
    return lambda: rdro_policy(up, down, np.full(12, 1 / 12), alpha=0.5)


def _ddro(n: int) -> Step:
    from distalign.solvers import ddro_policy

    up, down = (_rng().dirichlet(np.ones(12), n) for _ in range(2))
    return lambda: ddro_policy(up, down, np.full(12, 1 / 12), prior=0.5)


def _win_matrix(n: int) -> Step:
    return lambda: population(n)


def _reward(n: int) -> Step:
    from distalign.solvers.choice import reward_mle

    win = population(n)[1]
    return lambda: reward_mle(win, np.full(n, 1 / n))


def _lottery(n: int) -> Step:
    from distalign.solvers.choice import maximal_lottery

    win = population(n)[1]
    return lambda: maximal_lottery(win)


def _dense_lottery(n: int) -> Step:
    from distalign.solvers.choice import maximal_lottery

    win = dense_game(n)
    return lambda: maximal_lottery(win)


def _nlhf(win: Callable[[int], np.ndarray]) -> Callable[[int], Step]:
    def make(n: int) -> Step:
        from distalign.solvers.choice import kl_nlhf

        game = win(n)
        return lambda: kl_nlhf(game, np.full(n, -np.log(n)), 0.1)

    return make


def _copeland(n: int) -> Step:
    from distalign.solvers.choice import copeland

    win = population(n)[1]
    return lambda: copeland(win)


def _linear(n: int) -> Step:
    from distalign.solvers.choice import kl_linear_maximisation

    reward = _rng().random(n)
    return lambda: kl_linear_maximisation(reward, np.full(n, -np.log(n)), 0.5)


def _votes(n: int) -> Step:
    from distalign.pluralism.sources.votes import Votes
    from distalign.pluralism.survey_fit import fit_users

    users, items = n // 20, 30
    rng = _rng()
    utility = rng.normal(size=items) + 0.5 * rng.normal(size=(users, items))
    user = np.repeat(np.arange(users), 20)
    first = rng.integers(0, items, n)
    second = (first + rng.integers(1, items, n)) % items
    wins = rng.random(n) < 1 / (1 + np.exp(utility[user, second] - utility[user, first]))
    votes = Votes(
        user,
        first,
        second,
        wins.astype(float),
        tuple(f"u{i:07d}" for i in range(users)),
        tuple(f"i{i:02d}" for i in range(items)),
    )
    return lambda: fit_users(votes)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(1000)}, unk_token="w3"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="w0", bos_token="w1", eos_token="w2", unk_token="w3"
    )


def _rows(n: int, folder: str) -> Path:
    rng, file = _rng(), Path(folder) / "rows.jsonl"

    def text(length: int) -> str:
        return " ".join(f"w{i}" for i in rng.integers(4, 1000, length))

    with file.open("w", encoding="utf-8") as lines:
        for _ in range(n):
            row = {"prompt": text(20) + " ", "chosen": text(40), "rejected": text(40)}
            lines.write(json.dumps(row) + "\n")
    return file


def _tokenise(n: int) -> Step:
    from distalign.training.data.load import load_preferences

    folder = tempfile.TemporaryDirectory()
    file, tokenizer = _rows(n, folder.name), _tokenizer()

    def step() -> None:
        assert folder.name  # the file lives as long as the step
        load_preferences(file, tokenizer)

    return step


def _reference(n: int) -> Step:
    """The first half of the lines is in the cache; the other half is added, and all are read."""
    import torch

    from distalign.training.data.load import load_preferences
    from distalign.training.model.reference import ReferenceCache

    folder = tempfile.TemporaryDirectory()
    data = load_preferences(_rows(n, folder.name), _tokenizer())
    table, half = torch.randn(n, 2, dtype=torch.float64), torch.arange(n) < n // 2
    cache = ReferenceCache(Path(folder.name), {"model": "none"})

    def step() -> None:
        cache.path.unlink(missing_ok=True)
        cache.store(data, table, half)
        cache.store(data, table, torch.ones(n, dtype=torch.bool))
        assert bool(cache.load(data)[1].all())

    return step


def _ledger(n: int) -> Step:
    """n small cells of one claim: computed, written, and read again."""
    from distalign.simulation import sweep

    study = "distalign.simulation.studies.aot.aot_transport"
    cells = sweep.cells_of(
        "aot_transport", study, {"shapes": [[k + 1, 1] for k in range(n)], "replicates": 1}, 0
    )

    def step() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for cell in cells:
                sweep.compute(cell, cell.path(Path(folder)))
            assert len(sweep.rows(cells, Path(folder)))

    return step


WORK = (
    Growth("AOT, value and gradient, n pairs", (250_000, 1_000_000, 4_000_000), (1, 1), _aot),
    Growth("soft sort of n numbers", (50_000, 200_000, 800_000), (1, 1), _soft_sort),
    Growth("KLDPO at a temperature, n comparisons", (50_000, 200_000, 800_000), (1, 1), _kldpo),
    Growth("KL ball, n comparisons", (50_000, 200_000, 800_000), (1, 1), _kl_ball),
    Growth("worst case in a KL ball, n losses", (200_000, 800_000, 3_200_000), (1, 1), _kl_worst_case),
    Growth("W1 ball of a norm, n comparisons", (25_000, 100_000, 400_000), (1, 1), _norm_ball),
    Growth("W1 ball on n atoms", (100, 200, 400), (3, 2), _finite_ball),
    Growth("worst case in a W1 ball on n atoms", (250, 500, 1000), (3, 2), _finite_worst_case),
    Growth("f-regularised optima, n problems of 8", (10_000, 40_000, 160_000), (1, 1), _kkt),
    Growth("RDRO, n data sets of 12", (5_000, 20_000, 80_000), (1, 1), _rdro),
    Growth("DDRO, n data sets of 12", (5_000, 20_000, 80_000), (1, 1), _ddro),
    Growth("win matrix of 64 types, n alternatives", (500, 1000, 2000), (2, 2), _win_matrix),
    Growth("Bradley-Terry reward, n alternatives", (500, 1000, 2000), (2, 2), _reward),
    Growth("lottery, Bradley-Terry, n alternatives", (500, 1000, 2000), (2, 2), _lottery),
    Growth("lottery, dense game, n alternatives", (250, 500, 1000), (3, 2), _dense_lottery),
    Growth(
        "KL-NLHF, Bradley-Terry, n alternatives", (500, 1000, 2000), (2, 2), _nlhf(lambda n: population(n)[1])
    ),
    Growth("KL-NLHF, dense game, n alternatives", (500, 1000, 2000), (2, 2), _nlhf(dense_game)),
    Growth("Copeland, n alternatives", (500, 1000, 2000), (2, 2), _copeland),
    Growth("linear maximum in a KL ball, n responses", (50_000, 200_000, 800_000), (1, 1), _linear),
    Growth("users fitted to n votes, 20 each", (20_000, 40_000, 80_000), (1, 1), _votes),
    Growth("tokenising n rows", (2_000, 8_000, 32_000), (1, 1), _tokenise),
    Growth("reference cache, n lines", (2_000, 8_000, 32_000), (1, 1), _reference),
    Growth("ledger, n cells of one claim", (5, 10, 20), (1, 1), _ledger),
)


def rows(chosen: list[str]) -> Iterator[dict[str, Any]]:
    """One row for each piece of work and size."""
    for work in WORK:
        if chosen and work.name not in chosen:
            continue
        for size in work.sizes:
            words = [sys.executable, "-m", "benchmarks.growth", work.name, str(size)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{work.name}, {size}: {done.stderr[-2000:]}")
            found = json.loads(done.stdout.splitlines()[-1])
            yield {
                "work": work.name,
                "size": size,
                "cpu": found["seconds"],
                "mb": found["MB"],
                "theory_time": work.theory[0],
                "theory_memory": work.theory[1],
            }


def main(words: list[str]) -> None:
    """Measure one size, or all and write the table."""
    names = [work.name for work in WORK]
    if len(words) == 2 and words[1].isdigit():
        (work,) = (w for w in WORK if w.name == words[0])
        print(json.dumps(measured(work.make(int(words[1])), 3)))
        return
    if unknown := set(words) - set(names):
        raise SystemExit(f"no work is called {unknown.pop()!r}: {'; '.join(names)}")
    found = []
    for row in rows(words):
        print(f"{row['work']:44s} {row['size']:9,d} {row['cpu']:9.4f} s {row['mb']:8.1f} MB", flush=True)
        found.append(row)
    table = results.exponents(pd.DataFrame(found))
    print(table.to_string(index=False))
    if not words:
        results.write(pd.DataFrame(found), results.GROWTH)


if __name__ == "__main__":
    main(sys.argv[1:])
