"""A digest of the code that a study runs, so that a cached or committed number is never older than its code.

The digest belongs to the *definitions* (functions, classes, constants) that a study reaches, wherever they
are kept. Each is read as its syntax tree, and what cannot change a number is left out: comments, docstrings,
imports, annotations, the text of raised errors (with the lines that put it together) and of warnings, the
names of modules, functions and local variables, and decorators that only describe (`DESCRIPTIVE`). A name
that stands for another definition of distalign is replaced by the hash of that definition. So moving a
function to another file, or giving it a better name, leaves the digest as it is; changing a constant three
calls away does not.

Whatever cannot be followed is refused: a module of distalign that is imported by a string, and a name that
its module does not define.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import gc
import hashlib
import importlib.metadata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import distalign
from distalign.files import folder_digest

PACKAGE = Path(distalign.__file__).parent
STUDY = ("cells", "run", "table", "checks", "DEFECTS")
"""What a study offers: the arguments of its runs, one run, the table of all rows, the checks of that table,
and the defects on which the checks must fail.
"""

DESCRIPTIVE = ("described", "checked")
"""Decorators that change no number. `described` returns the function it is given: what it says describes it,
as a docstring does. `checked` refuses arguments, or passes them on unchanged: it never converts one, so every
number that comes out is the function's own.
"""

_DROPPED = {"annotation", "returns", "type_comment", "ctx", "kind", "type_params", "lineno"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_STATEMENTS = "<statements>"
_EVERYTHING = "*"
_ANNOTATIONS_THAT_ACT = ("ClassVar", "InitVar", "KW_ONLY")


class SourceError(Exception):
    """Code that a study reaches cannot be followed, so no digest of it can be trusted."""


@functools.cache
def source_digest(module: str, offered: tuple[str, ...] = STUDY) -> str:
    """Digest of what a study offers and of every definition of distalign that it reaches.

    Args:
        module: dotted name of a study, inside distalign.
        offered: the definitions of the study to begin with. The rows of a run depend on `run` alone: another
            test of the same rows does not make them older.

    Returns:
        16 hexadecimal digits.

    Raises:
        SourceError: an import that is made by a string, or a name that its module does not define.
    """
    collecting = gc.isenabled()
    gc.disable()  # a search for garbage among so many small objects takes three quarters of the time
    try:
        return _hash(*(_meaning(module, name)[0] for name in offered))[:16]
    finally:
        if collecting:
            gc.enable()


def definitions_reached(module: str) -> dict[str, str]:
    """Every definition that the study `module` reaches: hash of its own text to its dotted name.

    In this hash the names of other definitions are blank, so that two trees can be compared by it. Where each
    definition reached in the one is still reached in the other, word for word, code was only added or passed
    on (`analysis.adopt`).
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(module, name) for name in STUDY]
    while todo:
        key = todo.pop()
        if key in seen:
            continue
        seen.add(key)
        tokens = _tokens(*key)
        todo += [token for token in tokens if isinstance(token, tuple)]
        found[_hash(*("#" if isinstance(token, tuple) else token for token in tokens))] = ".".join(key)
    return found


@functools.cache
def versions() -> dict[str, str]:
    """The libraries whose arithmetic the rows depend on."""
    return {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "torch", "POT", "cvxpy")}


def model_key(policy: object) -> list[object]:
    """What rows depend on besides where a language model is trained: its libraries, and the weights it starts
    from where `policy` is `lm:DIR`; nothing for another policy or none.

    Example:
        >>> model_key(None), model_key("tabular")
        ([], [])
    """
    if not isinstance(policy, str) or policy in ("tabular", "loglinear"):
        return []
    kind, _, folder = policy.partition(":")
    return [_model_versions(), *([folder_digest(Path(folder))] if kind == "lm" else [])]


@functools.cache
def _model_versions() -> dict[str, str]:
    """The libraries that language models depend on, where they are installed."""
    found = {}
    for name in ("transformers", "peft", "tokenizers", "safetensors"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _hash(*words: str) -> str:
    return hashlib.sha256("\x1f".join(words).encode()).hexdigest()


@dataclass
class _Module:
    """One parsed file: its definitions by name, the names it imports, and the statements that define
    nothing.
    """

    name: str
    groups: dict[str, list[ast.stmt]] = field(default_factory=dict)
    group_of: dict[str, str] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)


@functools.cache
def _module(name: str) -> _Module:
    path = _path(name)
    if path is None:
        raise SourceError(f"there is no module {name}")
    module = _Module(name)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module.imports |= _imported(node)
        elif isinstance(node, ast.If) and _is_guard(node):
            for inner in node.body:
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    module.imports |= _imported(inner)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            names = _defined_names(node) or [_STATEMENTS]
            group = next((module.group_of[n] for n in names if n in module.group_of), names[0])
            module.groups.setdefault(group, []).append(node)
            module.group_of |= dict.fromkeys(names, group)
    return module


@functools.cache
def _path(module: str) -> Path | None:
    parts = module.split(".")
    if parts[0] != "distalign":
        return None
    base = PACKAGE.joinpath(*parts[1:])
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _is_guard(node: ast.If) -> bool:
    """`if TYPE_CHECKING:` imports for annotations only, and `if __name__ == "__main__":` runs only as a
    script.
    """
    words = {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}
    return bool(words & {"TYPE_CHECKING", "__name__"})


def _imported(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Local name to the dotted name it stands for."""
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {
        alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
        for alias in node.names
    }


def _defined_names(node: ast.stmt) -> list[str]:
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [
        n.id
        for target in targets
        if isinstance(target, ast.expr)
        for n in ast.walk(target)
        if isinstance(n, ast.Name)
    ]


def _resolve(dotted: str) -> tuple[str, str] | str:
    """What a dotted name stands for: (module, definition) inside distalign, or the name itself outside.

    A name that a module imports is followed to the module that defines it. A module that is used as a value
    stands for everything it holds.
    """
    if dotted.split(".")[0] != "distalign":
        return dotted
    parent, _, last = dotted.rpartition(".")
    if parent and _path(parent) is not None:
        module = _module(parent)
        if last in module.group_of:
            return parent, module.group_of[last]
        if last in module.imports and module.imports[last] != dotted:
            return _resolve(module.imports[last])
    if _path(dotted) is not None:
        return dotted, _EVERYTHING
    raise SourceError(f"{dotted} cannot be followed: import it from the module that defines it")


@functools.cache
def _tokens(module: str, name: str) -> tuple[str | tuple[str, str], ...]:
    """The definition as a sequence of words; a reference to another definition is a pair (module, name)."""
    source = _module(module)
    if name == _EVERYTHING:
        names = [*source.group_of, *source.imports]
        found = {_resolve(f"{module}.{n}") for n in names if n not in ("__all__", "annotations")}
        return tuple(sorted(key for key in found if isinstance(key, tuple)))
    reader = _Reader(source)
    for node in source.groups[name]:
        reader.read(node, top=True)
    if _STATEMENTS in source.groups and name != _STATEMENTS:
        reader.words.append((module, _STATEMENTS))
    return tuple(reader.resolved())


class _Reader:
    """Turns the syntax tree of a definition into words.

    A name is kept as a list of its dotted parts until the whole definition has been read, for only then is it
    clear which names are local variables.
    """

    def __init__(self, module: _Module) -> None:
        self.module = module
        self.imports = dict(module.imports)
        self.words: list[Any] = []
        self.bound: dict[str, str] = {}
        self.fixed: set[str] = set()

    def read(self, node: ast.AST, *, top: bool = False) -> None:
        kind = type(node)
        if kind is ast.Name:
            self.words.append([node.id])  # type: ignore[attr-defined]
            if type(node.ctx) is not ast.Load:  # type: ignore[attr-defined]
                self.bound.setdefault(node.id, f"local {len(self.bound)}")  # type: ignore[attr-defined]
        elif kind is ast.Attribute:
            self._attribute(node)  # type: ignore[arg-type]
        elif kind is ast.Constant:
            self.words.append(repr(node.value))  # type: ignore[attr-defined]
        elif kind is ast.Import or kind is ast.ImportFrom:
            self.imports |= _imported(node)  # type: ignore[arg-type]
        elif kind is ast.Expr and isinstance(node.value, ast.Constant):  # type: ignore[attr-defined]
            pass
        elif kind is ast.Raise:
            self._raise(node)  # type: ignore[arg-type]
        elif kind is ast.ClassDef:
            self._class(node, top)  # type: ignore[arg-type]
        else:
            self._other(node, top)

    def _other(self, node: ast.AST, top: bool) -> None:
        kind = type(node).__name__
        if kind == "AnnAssign":
            kind = "Assign"
        self.words.append(kind)
        if isinstance(node, ast.Call):
            self._call(node)
            return
        for name in node._fields:
            value = getattr(node, name)
            if name in _DROPPED:
                continue
            if value is None:
                self.words.append("-")
                continue
            if isinstance(value, list):
                for item in value[-1:] if _only_raises(node, value) else value:
                    if isinstance(item, ast.AST):
                        if name != "decorator_list" or not _describes(item):
                            self.read(item)
                    else:
                        self.words.append(str(item))
                self.words.append("]")
            elif isinstance(value, ast.AST):
                self.read(value)
            elif kind == "arg":
                self.fixed.add(value)
                self.words.append(value)
            elif name == "name" and kind in (
                "FunctionDef",
                "AsyncFunctionDef",
                "ExceptHandler",
                "MatchAs",
                "MatchStar",
            ):
                if not top:
                    self.bound.setdefault(value, f"local {len(self.bound)}")
                    self.words.append([value])
            elif name not in ("simple", "level"):
                self.words.append(str(value))

    def _attribute(self, node: ast.Attribute) -> None:
        path, root = [node.attr], node.value
        while isinstance(root, ast.Attribute):
            path.append(root.attr)
            root = root.value
        if isinstance(root, ast.Name) and isinstance(node.ctx, ast.Load):
            self.words.append([root.id, *reversed(path)])
        else:
            self.words += ["Attribute", *reversed(path), "of"]
            self.read(root)

    def _call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        first = node.args[0] if node.args else None
        outside = isinstance(first, ast.Constant) and not str(first.value).startswith("distalign")
        if called in ("import_module", "__import__") and not outside:
            raise SourceError(f"{self.module.name} imports a module by a string: use an import statement")
        self.read(node.func)
        if called == "warn":
            return
        for item in (*node.args, *node.keywords):
            self.read(item)
        self.words.append(")")

    def _raise(self, node: ast.Raise) -> None:
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        self.words.append("Raise")
        if error is not None:
            self.read(error)

    def _class(self, node: ast.ClassDef, top: bool) -> None:
        """Fields and methods keep their names: they are what the class offers."""
        self.words.append("ClassDef")
        if not top:
            self.fixed.add(node.name)
            self.words.append(node.name)
        for item in (*node.bases, *node.keywords, *node.decorator_list):
            if not _describes(item):
                self.read(item)
        self.words.append(":")
        for item in node.body:
            names = _defined_names(item)
            self.fixed.update(names)
            self.words += names
            if isinstance(item, ast.AnnAssign):
                self.words += [w for w in _words_of(item.annotation) if w in _ANNOTATIONS_THAT_ACT]
            self.read(item)
        self.words.append("]")

    def resolved(self) -> list[str | tuple[str, str]]:
        out: list[str | tuple[str, str]] = []
        for word in self.words:
            if isinstance(word, list):
                out += self._meaning_of(word)
            else:
                out.append(word)
        return out

    def _meaning_of(self, path: list[str]) -> list[str | tuple[str, str]]:
        name, rest = path[0], [f".{attribute}" for attribute in path[1:]]
        if name in self.module.group_of:
            return [(self.module.name, self.module.group_of[name]), *rest]
        if name in self.imports:
            dotted = self.imports[name]
            while rest and dotted.split(".")[0] == "distalign" and self._is_module(dotted):
                dotted, rest = dotted + rest[0], rest[1:]
            return [_resolve(dotted), *rest]
        if name in self.fixed or name not in self.bound:
            return [name, *rest]
        return [self.bound[name], *rest]

    @staticmethod
    def _is_module(dotted: str) -> bool:
        key = _resolve(dotted)
        return isinstance(key, tuple) and key[1] == _EVERYTHING


def _only_raises(node: ast.AST, block: list[Any]) -> bool:
    """Whether a branch does nothing but put the text of an error together and raise it."""
    words = isinstance(node, ast.If | ast.ExceptHandler) and block and isinstance(block[-1], ast.Raise)
    return bool(words) and all(isinstance(item, ast.Assign | ast.AnnAssign | ast.Expr) for item in block[:-1])


def _words_of(annotation: ast.expr) -> list[str]:
    return [getattr(node, "id", "") or getattr(node, "attr", "") for node in ast.walk(annotation)]


def _describes(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") in DESCRIPTIVE


def _meaning(module: str, name: str, above: tuple[tuple[str, str], ...] = ()) -> tuple[str, int]:
    """Hash of a definition and of all it reaches, and the depth of the outermost caller that it calls again.

    Definitions may call each other in a circle. Inside a circle, a reference to a caller is replaced by the
    number of calls between the two. Such a hash depends on where the circle was entered, so it is not cached.
    """
    key = (module, name)
    if key in above:
        return f"caller {len(above) - above.index(key)}", above.index(key)
    if key in _known_meanings:
        return _known_meanings[key], len(above)
    words, outermost = [], len(above) + 1
    for token in _tokens(module, name):
        if token == key:
            words.append("itself")
        elif isinstance(token, tuple):
            word, depth = _meaning(*token, (*above, key))
            outermost = min(outermost, depth)
            words.append(word)
        else:
            words.append(token)
    found = _hash(*(sorted(words) if name == _EVERYTHING else words))
    if outermost > len(above):
        _known_meanings[key] = found
        return found, len(above)
    return found, outermost


_known_meanings: dict[tuple[str, str], str] = {}
