"""Mutation score of the test suite: `make mutants`, or `python -m tests.mutants map` and then `run`.

A mutant is the package with one small mistake in one function: a comparison turned round, a sum for a
difference, a number 10 % off, an argument of `max` for `min`. It is killed if a test fails. A mutant that
survives points at a line whose value no test asks for.

`map` runs the suite once and records with `coverage` which test runs which line. `run` draws mutants from a
seeded generator, the same number from each package, and runs the tests that reach the mutated line, quickest
first, until one fails. The mistake is made in memory, in a forked process, so the tree is never changed;
tests that start other processes see the right code there, and so can only understate the score.
"""

from __future__ import annotations

import argparse
import ast
import copy
import csv
import importlib
import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("objectives", "solvers", "theory", "populations", "simulation", "training")
MAP = ROOT / "out/mutants/map.json"
SKIPPED_FILES = ("source.py", "defects.py")  # the machinery that the run itself stands on
SECONDS = 90.0  # CPU seconds of tests spent on one mutant before it counts as a survivor

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
NAMES = {
    "min": "max",
    "max": "min",
    "mean": "sum",
    "sum": "mean",
    "any": "all",
    "all": "any",
    "argmin": "argmax",
}
NAMES |= {
    "argmax": "argmin",
    "floor": "ceil",
    "ceil": "floor",
    "exp": "expm1",
    "log": "log1p",
    "sqrt": "square",
}


def mutations(function: ast.AST) -> Iterator[tuple[int, str, ast.AST]]:
    """Each way to spoil one node of a function: line, what was done, and the spoilt function."""
    nodes = [n for statement in function.body for n in _walk(statement)]
    for i, node in enumerate(nodes):
        for text, change in _changes(node):
            spoilt = copy.deepcopy(function)
            twin = [n for statement in spoilt.body for n in _walk(statement)][i]
            change(twin)
            yield getattr(node, "lineno", 0), text, spoilt


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that make numbers: neither docstrings and messages, nor annotations and inner functions."""
    if isinstance(node, ast.Raise | ast.FunctionDef | ast.ClassDef | ast.JoinedStr | ast.Assert):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _walk(child)


def _changes(node: ast.AST) -> Iterator[tuple[str, Any]]:
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPS:
        new = SWAPS[type(node.op)]
        yield f"{type(node.op).__name__} -> {new.__name__}", lambda n: setattr(n, "op", new())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        new = SWAPS[type(node.ops[0])]
        yield f"{type(node.ops[0]).__name__} -> {new.__name__}", lambda n: n.ops.__setitem__(0, new())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        plus = ast.UAdd() if isinstance(node.op, ast.USub) else None
        if plus:
            yield "-x -> x", lambda n: setattr(n, "op", plus)
        else:
            yield "not x -> bool(x)", lambda n: setattr(n, "operand", ast.UnaryOp(ast.Not(), n.operand))
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        if isinstance(node.value, bool):
            yield f"{node.value} -> {not node.value}", lambda n: setattr(n, "value", not n.value)
        elif isinstance(node.value, int):
            yield f"{node.value} -> {node.value + 1}", lambda n: setattr(n, "value", n.value + 1)
        else:
            yield f"{node.value} -> {node.value * 1.1:g}", lambda n: setattr(n, "value", n.value * 1.1)
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield f".{node.attr} -> .{NAMES[node.attr]}", lambda n: setattr(n, "attr", NAMES[n.attr])
    elif isinstance(node, ast.Name) and node.id in ("min", "max", "any", "all"):
        yield f"{node.id} -> {NAMES[node.id]}", lambda n: setattr(n, "id", NAMES[n.id])


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions and methods of a file by qualified name, without those inside other functions."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def draw(count: int, seed: int) -> list[tuple[str, str, int, str, ast.AST]]:
    """`count` mutants (file, function, line, what, spoilt function), evenly from the packages."""
    found = []
    for k, package in enumerate(PACKAGES):
        listed = []
        for path in sorted((ROOT / "distalign" / package).rglob("*.py")):
            if path.name not in SKIPPED_FILES:
                name = str(path.relative_to(ROOT))
                for qualified, function in functions(path):
                    listed += [(name, qualified, *m) for m in mutations(function)]
        share = count // len(PACKAGES) + (k < count % len(PACKAGES))
        found += random.Random(f"{seed} {package}").sample(listed, share)
    return found


def module_of(file: str) -> Any:
    """The imported module of a file of the package."""
    return importlib.import_module(file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))


def replace(file: str, qualified: str, spoilt: ast.AST) -> None:
    """Exchange the code of a function in the modules of this process."""
    owner: Any = module_of(file)
    *outer, name = qualified.split(".")
    for part in outer:
        owner = getattr(owner, part)
    found = vars(owner)[name]
    for inside in ("fget", "__func__", "func"):
        found = getattr(found, inside, found) if not isinstance(found, FunctionType) else found
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    bare = copy.deepcopy(spoilt)
    bare.decorator_list = []
    source: ast.stmt = bare
    if outer:  # a class around it keeps `super` and private names as they are
        source = ast.ClassDef(outer[0], [], [], [source], [])
    tree = ast.Module([ast.ImportFrom("__future__", [ast.alias("annotations")], 0), source], [])
    code = compile(ast.fix_missing_locations(tree), file, "exec")
    found.__code__ = _inside(code, qualified)


def _inside(code: CodeType, qualified: str) -> CodeType:
    for part in qualified.split("."):
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == part)
    return code


def judge(mutant: tuple[str, str, int, str, ast.AST], tests: list[str], seconds: float) -> str:
    """Name of the test that fails on a mutant, "timeout", or nothing; in a forked process.

    The process may use three times the CPU `seconds` that its tests take on the right code, and 20 more.
    """
    import resource

    import pytest

    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (int(3 * seconds) + 20, int(3 * seconds) + 25))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        told = ""
        try:
            replace(mutant[0], mutant[1], mutant[4])
            failed = _FirstFailure()
            options = ["-x", "-p", "no:cacheprovider", "-p", "no:timeout", "-o", "addopts=--doctest-modules"]
            options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
            code = pytest.main([*options, *tests], [failed])
            told = failed.test if code < 2 else f"error: pytest ended with {code!r}"
        except BaseException as error:
            told = f"error {error!r}"[:200]
        os.write(write, told.encode())
        os._exit(0)
    os.close(write)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        os.close(read)
        return "timeout"
    with open(read, "rb") as pipe:
        return pipe.read().decode()


class _FirstFailure:
    """Plugin: the first test that fails, errors in its fixtures included."""

    test = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.test:
            self.test = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.test:
            self.test = report.nodeid


class _Recorder:
    """Plugin: tells coverage which test is running, and how long it took."""

    def __init__(self, cover: Any) -> None:
        self.cover, self.seconds = cover, {}

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        self.cover.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration


def make_map(arguments: list[str]) -> None:
    """Run the suite once and write which tests reach each line, and the seconds of each test."""
    import coverage
    import pytest

    MAP.parent.mkdir(parents=True, exist_ok=True)
    cover = coverage.Coverage(data_file=str(MAP.with_suffix(".coverage")), source=[str(ROOT / "distalign")])
    cover.start()
    recorder = _Recorder(cover)
    pytest.main(arguments, [recorder])
    cover.stop()
    data, lines = cover.get_data(), {}
    place = {test: i for i, test in enumerate(recorder.seconds)}
    for file in data.measured_files():
        reached = data.contexts_by_lineno(file)
        lines[str(Path(file).relative_to(ROOT))] = {
            str(n): [place[c] for c in found if c in place] for n, found in reached.items()
        }
    MAP.write_text(json.dumps({"seconds": recorder.seconds, "lines": lines}))


def run(count: int, seed: int, workers: int, out: Path) -> None:
    """Draw and judge mutants; write one row each, and print the score."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    torch.set_num_threads(1)
    known = json.loads(MAP.read_text())
    names = list(known["seconds"])
    for path in sorted((ROOT / "distalign").rglob("*.py")):
        if path.name != "__main__.py":
            module_of(str(path.relative_to(ROOT)))
    mutants = draw(count, seed)

    def one(mutant: Any) -> tuple[Any, str]:
        file, _, line, _, _ = mutant
        reach = [names[i] for i in known["lines"].get(file, {}).get(str(line), [])]
        tests, spent = [], 0.0
        for test in sorted(reach, key=lambda t: known["seconds"].get(t, 9e9)):
            spent += known["seconds"].get(test, 0.0)
            if spent > SECONDS and tests:
                break
            tests.append(test)
        return mutant, judge(mutant, tests, spent) if tests else ""

    out.parent.mkdir(parents=True, exist_ok=True)
    killed = 0
    with ThreadPoolExecutor(workers) as pool, out.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "function", "line", "mutation", "killed_by"])
        for i, ((file, function, line, what, _), by) in enumerate(pool.map(one, mutants), 1):
            if by.startswith("error"):
                raise RuntimeError(f"{file}:{line}: {by}")
            killed += bool(by)
            writer.writerow([file, function, line, what, by])
            stream.flush()
            state = "killed" if by else "SURVIVED"
            print(f"{i}/{count} {state} {file}:{line} {function}: {what} | {by}", flush=True)
    print(f"{killed} of {len(mutants)} mutants killed: {killed / len(mutants):.1%}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("map").add_argument("tests", nargs="*")
    running = verbs.add_parser("run")
    running.add_argument("--count", type=int, default=300)
    running.add_argument("--seed", type=int, default=0)
    running.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    running.add_argument("--out", type=Path, default=ROOT / "out/mutants/mutants.csv")
    asked = parser.parse_args()
    if asked.verb == "map":
        make_map(asked.tests)
    else:
        run(asked.count, asked.seed, asked.workers, asked.out)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
