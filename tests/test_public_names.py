"""What is public: every name resolves, is seen by type checkers and editors, and stands in the reference."""

import ast
import importlib
import inspect
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import distalign
from distalign._lazy import lazy

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in (ROOT / "distalign").rglob("__init__.py")
    if "studies" not in path.parts  # a study is reached through its claim
)
ROOMS = [name for name in PACKAGES if name.count(".") == 1]  # the packages that users import from
LAZY = [
    name for name in PACKAGES if "= lazy(" in (ROOT.joinpath(*name.split(".")) / "__init__.py").read_text()
]


def listed(package):
    return list(getattr(importlib.import_module(package), "__all__", ()))


def test_every_package_says_what_is_public():
    assert len(ROOMS) > 10
    assert [name for name in ["distalign", *ROOMS] if not listed(name)] == [], "these packages lack __all__"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_resolves(package):
    module, names = importlib.import_module(package), listed(package)
    assert [name for name in names if getattr(module, name, None) is None] == []
    assert len(set(names)) == len(names)
    assert set(names) <= set(dir(module))


def faces(package):
    """The names of a lazy package as its three lists have them: for the interpreter, type checkers, `*`."""
    tree = ast.parse((ROOT.joinpath(*package.split(".")) / "__init__.py").read_text())
    (guard,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "lazy"]
    loaded = {name: module for module, names in ast.literal_eval(call.args[1]).items() for name in names}
    loaded |= dict.fromkeys(ast.literal_eval(call.args[2]) if len(call.args) > 2 else (), package)
    return loaded, seen, set(listed(package)) - {"__version__"}


@pytest.mark.parametrize("package", LAZY)
def test_the_lists_of_a_lazy_package_agree(package):
    loaded, seen, public = faces(package)
    assert loaded == seen
    assert set(loaded) == public


@pytest.mark.parametrize("package", LAZY)
def test_no_lazy_name_is_that_of_a_module_beside_it(package):
    """An import of the module would put it where the function was, so what is found depends on the order."""
    folder = ROOT.joinpath(*package.split("."))
    beside = {p.stem for p in folder.glob("*.py")} | {p.parent.name for p in folder.glob("*/__init__.py")}
    loaded, *_ = faces(package)
    assert [name for name, module in loaded.items() if name in beside and module != package] == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'distalign' has no attribute 'simulat'"):
        distalign.simulat  # noqa: B018
    load, _ = lazy("distalign", {"distalign.checks": ["nothing"]})
    with pytest.raises(AttributeError, match="nothing"):
        load("nothing")


def test_import_star():
    names = {}
    exec("from distalign import *", names)
    assert set(distalign.__all__) <= names.keys()


def test_every_public_name_is_in_the_reference():
    pages = runpy.run_path(str(ROOT / "docs/conf.py"))["modules"]()
    shown = {*pages, *(name for names in pages.values() for name in names)}
    for name in set(distalign.__all__) - {"__version__"}:
        value = getattr(distalign, name)
        where = value.__name__ if inspect.ismodule(value) else value.__module__
        assert where in shown, name


def test_import_is_light():
    heavy = ("numpy", "torch", "pandas", "transformers", "cvxpy", "ot", "matplotlib")
    code = "import sys, distalign; from distalign import InputError, bibtex, claims, training, pluralism\n"
    code += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
