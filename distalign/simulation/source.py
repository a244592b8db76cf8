"""A digest of the source a study runs, so that a cached or committed number is never older than its code."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
from pathlib import Path

import distalign

PACKAGE = Path(distalign.__file__).parent


@functools.cache
def source_digest(module: str) -> str:
    """Digest of `module` and of everything in distalign it imports, directly or not; comments and docstrings left out.

    A name that a package passes on stands for the module that defines it: an edit of one objective leaves the numbers of
    studies that run another one as fresh as they are.

    Args:
        module: dotted name inside distalign.

    Returns:
        16 hexadecimal digits.
    """
    seen: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        path = _path(name)
        if path is None or name in seen:
            continue
        text = path.read_text()
        seen[name] = _code(text)
        todo += _imports(text)
    return hashlib.sha256("\n".join(f"{name}\n{seen[name]}" for name in sorted(seen)).encode()).hexdigest()[:16]


@functools.cache
def versions() -> dict[str, str]:
    """The libraries whose arithmetic the rows depend on."""
    return {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "torch", "POT", "cvxpy")}


def _path(module: str) -> Path | None:
    base = PACKAGE.joinpath(*module.split(".")[1:])
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _imports(text: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("distalign"):
            for alias in node.names:
                names += [passed_on] if (passed_on := _passed_on(node.module, alias.name)) else [
                    node.module, f"{node.module}.{alias.name}"]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("distalign.")]
    return [name for name in names if name != "distalign"]


@functools.cache
def _passed_on(package: str, name: str) -> str | None:
    """The module from which a package's `__init__` takes `name`, if it does nothing but pass names on."""
    path = _path(package)
    if path is None or path.name != "__init__.py":
        return None
    body = [node for node in ast.parse(path.read_text()).body if not isinstance(node, ast.Expr)]
    if not all(isinstance(node, ast.ImportFrom | ast.Assign) for node in body):
        return None
    taken = (node for node in body if isinstance(node, ast.ImportFrom))
    return next((node.module for node in taken for alias in node.names if (alias.asname or alias.name) == name), None)


def _code(text: str) -> str:
    """The lines that are neither blank, nor comment, nor docstring."""
    skip: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            skip.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), 1)
    return "\n".join(line for i, line in lines if i not in skip and line.strip() and not line.lstrip().startswith("#"))
