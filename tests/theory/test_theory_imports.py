"""Predictions rest on numpy and scipy alone: neither torch nor any code under test is imported."""

import ast
import sys
from pathlib import Path

import pytest

import distalign

THEORY = Path(distalign.__file__).parent / "theory"
ALLOWED = {"numpy", "scipy", *sys.stdlib_module_names}
INSIDE = ("distalign.theory", "distalign.arguments", "distalign.checks", "distalign.types")


def foreign_imports(source: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [n for n in names if n.split(".")[0] not in ALLOWED and not n.startswith(INSIDE)]


@pytest.mark.parametrize("path", sorted(THEORY.rglob("*.py")), ids=lambda p: p.stem)
def test_a_prediction_imports_numpy_and_scipy_only(path):
    assert foreign_imports(path.read_text()) == []


def test_a_foreign_import_is_seen():
    assert foreign_imports("import torch\nfrom distalign.solvers import kkt") == [
        "torch",
        "distalign.solvers",
    ]
