"""Pages of the site that are written while it is built: a page a module, the commands, the notebooks.

A page that has not changed is not touched, so that it is not built again.
"""

import contextlib
import inspect
import io
import os
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent


def write_page(path: Path, text: str) -> None:
    """Write `text` unless it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_modules(packages: dict[str, list[str]]) -> None:
    """One page a module, with its functions and classes, and one a package that lists them.

    Args:
        packages: names of the modules by package.
    """
    folder = DOCS / "api"
    for package, names in packages.items():
        for name in names:
            page = [
                name,
                "=" * len(name),
                "",
                f".. automodule:: {name}",
                "   :members:",
                "   :show-inheritance:",
            ]
            write_page(folder / f"{name}.rst", "\n".join(page) + "\n")
        inside = "".join(f"   {name.removeprefix(package + '.')} <{name}>\n" for name in names)
        write_page(
            folder / f"{package}.package.rst",
            f"{package}\n{'=' * len(package)}\n\n.. automodule:: {package}\n   :no-members:\n\n"
            + (f".. toctree::\n   :maxdepth: 1\n\n{inside}" if names else ""),
        )
    listed = "".join(f"   {package} <{package}.package>\n" for package in packages)
    write_page(folder / "index.rst", f"Modules\n=======\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}")
    kept = {
        "index",
        *(f"{package}.package" for package in packages),
        *(name for names in packages.values() for name in names),
    }
    for path in folder.glob("*.rst"):
        if path.stem not in kept:  # of a module that is gone
            path.unlink()


def write_names() -> None:
    """docs/api/objectives.md and docs/api/names.md: what is public, each with its first sentence."""
    import distalign
    from distalign import objectives
    from distalign.bibliography import PAPERS

    rows = []
    for name in objectives.names():
        loss = getattr(objectives, name)
        kind, paper = objectives.declared(loss), objectives.description_of(loss).paper
        source = ", ".join(f"[{p.arxiv}](https://arxiv.org/abs/{p.arxiv})" for p in PAPERS if p.name == paper)
        rows.append(f"| {linked(loss)} | {first_sentence(loss)} | {kind.data} | {kind.coupling} | {source} |")
    page = [
        "# Objectives",
        "Each is a function of a batch of log-probabilities and of keyword arguments. *Data* says what it "
        "reads, *tied* what its terms are tied by: a batch that is tied needs the whole global batch "
        "([why](../understanding.md#why-micro-batched-aot-is-dpo)).",
        "| objective | what it does | data | tied | paper |\n|---|---|---|---|---|\n" + "\n".join(rows),
    ]
    write_page(DOCS / "api/objectives.md", "\n\n".join(page) + "\n")
    found = [getattr(distalign, name) for name in distalign.__all__]
    listed = "\n".join(f"| {linked(x)} | {first_sentence(x)} |" for x in found if hasattr(x, "__qualname__"))
    page = [
        "# Names of the package",
        "What `from distalign import ...` gives. The rooms below it (`distalign.objectives`, "
        "`distalign.populations`, ...) have their own lists among the [modules](index.rst).",
        f"| name | what it is |\n|---|---|\n{listed}",
    ]
    write_page(DOCS / "api/names.md", "\n\n".join(page) + "\n")


def linked(value: Any) -> str:
    """A link to the entry of a function or class in the reference."""
    role = "class" if inspect.isclass(value) else "func"
    return f"{{py:{role}}}`~{value.__module__}.{value.__qualname__}`"


def first_sentence(value: Any) -> str:
    """The first sentence of a docstring, whose signs stand for themselves."""
    text = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=\w{3}\.) (?=[A-Z])", text)[0]
    return re.sub(r"(\*\w+\*)|([\\*_|<])", lambda m: m[1] or f"\\{m[2]}", sentence)


def write_commands() -> None:
    """docs/api/commands.md: what `--help` says of each command, which the parser itself prints."""
    from distalign import cli

    groups = re.findall(r"^  (\w+) +((?:\w+, )*\w+)$", cli.MAP, re.MULTILINE)
    parts = [
        "# Commands",
        "What `distalign` and `distalign COMMAND --help` print. A mistake is one sentence and exit status 2.",
        f"```text\n{cli.MAP}\n```",
    ]
    for group, names in groups:
        parts.append(f"## {group.capitalize()}")
        parts += [f"### distalign {name}\n\n```text\n{helped(name)}\n```" for name in names.split(", ")]
    write_page(DOCS / "api/commands.md", "\n\n".join(parts) + "\n")


def helped(command: str) -> str:
    """Help of a command at the width of the page."""
    from distalign import cli

    before, columns = sys.argv, os.environ.get("COLUMNS")
    sys.argv, os.environ["COLUMNS"] = ["distalign", command, "--help"], "86"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
            cli.main()
    finally:
        sys.argv = before
        os.environ.pop("COLUMNS")
        os.environ.update({"COLUMNS": columns} if columns else {})
    lines = re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue()).splitlines()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)).strip()


def write_notebooks() -> None:
    """docs/notebooks: each committed notebook with its outputs as a page, its pictures beside it."""
    from nbconvert import MarkdownExporter

    for path in sorted((DOCS.parent / "notebooks").glob("*.ipynb")):
        names = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
        text, resources = MarkdownExporter().from_filename(str(path), resources=names)
        for name, data in resources["outputs"].items():
            picture = DOCS / "notebooks" / name
            picture.parent.mkdir(parents=True, exist_ok=True)
            if not picture.is_file() or picture.read_bytes() != data:
                picture.write_bytes(data)
        write_page(DOCS / "notebooks" / f"{path.stem}.md", as_page(text, path.stem))


def as_page(text: str, name: str) -> str:
    """A converted notebook without what only a notebook needs, and with a line that says where it lies."""
    text = re.sub(r"<style scoped>.*?</style>\n*", "", text, flags=re.DOTALL)
    text = re.sub(r'<table border="1" class="dataframe">', '<table class="docutils dataframe">', text)
    head, _, rest = text.lstrip().partition("\n")
    where = f"*`notebooks/{name}.ipynb` as it was run; `notebooks/{name}.py` is the same as a script.*"
    return f"{head}\n\n{where}\n{rest}"
