"""Every public definition of distalign is used by something else than a test.

A function that only its own test calls is code to read, to keep and to document for nobody. A definition
counts as used where its name occurs in distalign, outside its own body and not in an import, or in analysis,
the benchmarks, the notebooks, the figures, the README, the guides or CONTRIBUTING, or in an `__all__`. Names
are compared by their last word. So the test errs on the side of silence: a method of the same name hides an
unused function.
"""

import ast
import re
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORD = re.compile(r"[A-Za-z_]\w*")

# What no code calls, and why it stays: dotted name to the reason.
ALLOWED = {
    "distalign.data_check.ratio_domain": "users log it while they train a density ratio with their own loop",
}


def files(root):
    """Python files of the package, and the other files that may use its names.

    Pages that Sphinx writes from the code are left out.
    """
    package = sorted((root / "distalign").rglob("*.py"))
    others = [
        path
        for folder in ("analysis", "benchmarks", "notebooks", "paper_figures", "docs")
        for suffix in ("*.py", "*.md")
        for path in sorted((root / folder).rglob(suffix))
        if "api" not in path.parts and "_build" not in path.parts
    ]
    return package, [*others, *(p for p in (root / "README.md", root / "CONTRIBUTING.md") if p.is_file())]


def definitions(tree):
    """Public functions, classes and constants of a module: name to its node."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [t.id for t in targets if isinstance(t, ast.Name)]
        else:
            names = []
        found |= {name: node for name in names if not name.startswith("_")}
    return found


def mentions(node):
    """How often each name is read, in code or as a word of a string that is no docstring."""
    docstrings = {
        id(inner.body[0].value)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and inner.body
        and isinstance(inner.body[0], ast.Expr)
    }
    count = Counter()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
            count[inner.id] += 1
        elif isinstance(inner, ast.Attribute):
            count[inner.attr] += 1
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str) and id(inner) not in docstrings:
            count.update(WORD.findall(inner.value))
    return count


def aliases(tree):
    """Names imported under another name: a use of the second is one of the first."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {a.asname: a.name for node in imports for a in node.names if a.asname}


def study_protocol(path):
    """What the verifier calls in every study by name."""
    return {"cells", "run", "table", "checks", "DEFECTS"} if "studies" in path.parts else set()


def unused(root=ROOT, allowed=ALLOWED):
    """Dotted names of public definitions that nothing but a test uses."""
    package, others = files(root)
    trees = {path: ast.parse(path.read_text()) for path in package}
    total = Counter()
    for tree in trees.values():
        seen = mentions(tree)
        total += seen
        total += Counter({name: seen[alias] for alias, name in aliases(tree).items()})
    for path in others:
        total.update(WORD.findall(code_of(path)))
    found = []
    for path, tree in trees.items():
        module = ".".join(("distalign", *path.relative_to(root / "distalign").with_suffix("").parts))
        for name, node in definitions(tree).items():
            dotted = f"{module}.{name}"
            elsewhere = total[name] - mentions(node)[name]
            if elsewhere <= 0 and name not in study_protocol(path) and not name.startswith("__"):
                found.append(dotted)
    return [dotted for dotted in found if dotted not in allowed]


def code_of(path):
    """A file's text; of Python files without comments."""
    if path.suffix != ".py":
        return path.read_text()
    with tokenize.open(path) as file:
        tokens = [t.string for t in tokenize.generate_tokens(file.readline) if t.type != tokenize.COMMENT]
    return " ".join(tokens)


def test_every_public_definition_is_used():
    found = unused()
    assert not found, "\n".join(("used by nothing but tests; delete, or give the reason in ALLOWED:", *found))


def test_every_allowed_name_is_unused_and_has_its_reason():
    found = unused(allowed={})
    assert sorted(ALLOWED.keys() - set(found)) == [], "used by now, or gone: take it off the list"
    assert all(len(reason.split()) > 3 for reason in ALLOWED.values())


def test_the_test_of_unused_names_can_fail(tmp_path):
    package = tmp_path / "distalign"
    package.mkdir()
    (package / "a.py").write_text(
        '"""Says planted."""\n'
        "from distalign.b import called as other, never\n"
        "__all__ = ['exported']\n"
        "def planted(n):\n    '''planted(1)'''\n    return planted(n - 1)\n"
        "def exported():\n    return other()\n"
        "LIMIT = 3\n"
    )
    (package / "b.py").write_text("def called():\n    return 1\ndef never():\n    return 2\n")
    assert unused(tmp_path) == ["distalign.a.planted", "distalign.a.LIMIT", "distalign.b.never"]
    (tmp_path / "README.md").write_text("`planted` and LIMIT\n")
    assert unused(tmp_path) == ["distalign.b.never"]
    assert unused(tmp_path, {"distalign.b.never": "kept on purpose, for the test"}) == []
