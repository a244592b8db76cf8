"""Small mistakes in functions of the package: which there are, a sample of them, and how one is made.

A mistake is made in memory, in the code of the function that is already imported: the tree is never changed.
"""

from __future__ import annotations

import ast
import copy
import functools
import importlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("objectives", "solvers", "theory", "populations", "simulation", "training")
SKIPPED_FILES = ("source.py", "defects.py")  # the machinery that the run itself stands on

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


@dataclass(frozen=True)
class Mutant:
    """A change of the node number `index` of a function.

    Attributes:
        file: of the package, from the root of the repository.
        function: its qualified name.
        line: of the node in that file.
        mutation: what is done, in words.
    """

    file: str
    function: str
    line: int
    mutation: str
    tree: ast.FunctionDef
    index: int
    change: Callable[[Any], None]

    def spoilt(self) -> ast.FunctionDef:
        """The function with the mistake."""
        twin = copy.deepcopy(self.tree)
        self.change(_nodes(twin)[self.index])
        return twin

    def plant(self) -> None:
        """Exchange the code of the function in the modules of this process."""
        owner: Any = module_of(self.file)
        *outer, name = self.function.split(".")
        for part in outer:
            owner = getattr(owner, part)
        found = vars(owner)[name]
        for inside in ("fget", "__func__", "func"):
            found = getattr(found, inside, found) if not isinstance(found, FunctionType) else found
        while hasattr(found, "__wrapped__"):
            found = found.__wrapped__
        bare = self.spoilt()
        bare.decorator_list = []
        source: ast.stmt = bare
        if outer:  # a class around it keeps `super` and private names as they are
            source = ast.ClassDef(outer[0], [], [], [source], [])
        tree = ast.Module([ast.ImportFrom("__future__", [ast.alias("annotations")], 0), source], [])
        code = compile(ast.fix_missing_locations(tree), self.file, "exec")
        found.__code__ = _inside(code, self.function)


def mutants_of(file: str, function: str, tree: ast.FunctionDef) -> Iterator[Mutant]:
    """Each way to spoil one node of a function."""
    for index, node in enumerate(_nodes(tree)):
        for text, change in _changes(node):
            yield Mutant(file, function, getattr(node, "lineno", 0), text, tree, index, change)


def _nodes(function: ast.FunctionDef) -> list[ast.AST]:
    return [node for statement in function.body for node in _walk(statement)]


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


def draw(count: int, seed: int) -> list[Mutant]:
    """`count` mutants, evenly from the packages."""
    found = []
    for k, package in enumerate(PACKAGES):
        share = count // len(PACKAGES) + (k < count % len(PACKAGES))
        found += random.Random(f"{seed} {package}").sample(mutants_in(package), share)
    return found


@functools.cache
def mutants_in(package: str) -> tuple[Mutant, ...]:
    """Every mutant of a package, file by file."""
    listed: list[Mutant] = []
    for path in sorted((ROOT / "distalign" / package).rglob("*.py")):
        if path.name not in SKIPPED_FILES:
            for qualified, function in functions(path):
                listed += mutants_of(str(path.relative_to(ROOT)), qualified, function)
    return tuple(listed)


def module_of(file: str) -> Any:
    """The imported module of a file of the package."""
    return importlib.import_module(file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))


def _inside(code: CodeType, qualified: str) -> CodeType:
    for part in qualified.split("."):
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == part)
    return code
