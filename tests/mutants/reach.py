"""Which tests reach a line of the package, and how long each takes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from tests.mutants.changes import PACKAGES, ROOT, Mutant

MAP = ROOT / "out/mutants/map.json"
TESTS = (
    *(f"distalign/{package}" for package in PACKAGES),
    *(f"tests/{package}" for package in PACKAGES),
    *("tests/contract", "tests/oracles", "tests/pluralism", "tests/bridge/generation", "tests/policies"),
    *("--ignore=tests/simulation/test_studies.py", "-m", "not slow"),
)
CLAIMS = "tests/simulation/test_studies.py::test_claim"


def make_map(arguments: list[str]) -> None:
    """Run tests and add to the map which lines each of them reaches, and its seconds.

    Several calls add up. A test that runs again replaces what was known of it; one that fails is left out.
    """
    import coverage
    import pytest

    MAP.parent.mkdir(parents=True, exist_ok=True)
    cover = coverage.Coverage(data_file=None, source=[str(ROOT / "distalign")])
    cover.start()
    recorder = _Recorder(cover)
    pytest.main(arguments or list(TESTS), [recorder])
    cover.stop()
    known = read_map() if MAP.exists() else {"seconds": {}, "lines": {}}
    seconds = {t: s for t, s in known["seconds"].items() if t not in recorder.seconds}
    lines: dict[str, dict[str, set[str]]] = {}
    for file, reached in known["lines"].items():
        for line, tests in reached.items():
            lines.setdefault(file, {})[line] = {t for t in tests if t in seconds}
    seconds |= {t: s for t, s in recorder.seconds.items() if t not in recorder.failed}
    data = cover.get_data()
    for file in data.measured_files():
        entry = lines.setdefault(str(Path(file).relative_to(ROOT)), {})
        for line, tests in data.contexts_by_lineno(file).items():
            entry.setdefault(str(line), set()).update(t for t in tests if t in seconds)
    place = {test: i for i, test in enumerate(seconds)}
    numbers = {f: {n: sorted(place[t] for t in ts) for n, ts in e.items()} for f, e in lines.items()}
    MAP.write_text(json.dumps({"seconds": seconds, "lines": numbers}))
    print(f"{len(recorder.seconds)} tests run, {len(seconds)} in the map; failed: {sorted(recorder.failed)}")


def read_map() -> dict[str, Any]:
    """Seconds of each test, and by file and line the names of the tests that reach it."""
    known = json.loads(MAP.read_text())
    names = list(known["seconds"])
    for reached in known["lines"].values():
        for line, tests in reached.items():
            reached[line] = [names[i] for i in tests]
    return known


def asked_of(mutant: Mutant, known: dict[str, Any], budget: float) -> tuple[list[str], float]:
    """Tests that reach a mutant, quickest first, as many as fit in `budget` seconds, and their seconds.

    A constant that the compiler folds away has no line of its own: then the nearest line above it counts.
    """
    reached = known["lines"].get(mutant.file, {})
    lines = range(mutant.line, mutant.tree.lineno - 1, -1)
    found = next((reached[str(n)] for n in lines if reached.get(str(n))), [])
    tests, spent = [], 0.0
    for test in sorted(found, key=known["seconds"].__getitem__):
        if tests and spent + known["seconds"][test] > budget:
            break
        spent += known["seconds"][test]
        tests.append(test)
    return tests, spent


def claims_of(mutant: Mutant, count: int) -> list[str]:
    """Tests of the claims whose study reaches the mutant's function, the smallest study first."""
    module = mutant.file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    name = f"{module}.{mutant.function.split('.')[0]}"
    studies = _studies()
    found = sorted((len(reached), slug) for slug, reached in studies.items() if name in reached)
    return [f"{CLAIMS}[{slug}]" for _, slug in found[:count]]


@functools.cache
def _studies() -> dict[str, set[str]]:
    from distalign.claims import CLAIMS as ALL
    from distalign.simulation.source import definitions_reached

    return {c.slug: {*definitions_reached(c.study).values()} for c in ALL if c.world != "language model"}


class _Recorder:
    """Plugin: tells coverage which test is running, how long it took and whether it failed."""

    def __init__(self, cover: Any) -> None:
        self.cover = cover
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        self.cover.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)
