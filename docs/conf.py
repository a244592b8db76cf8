"""Sphinx: pages by need, the generated ones, and one page a module from its docstrings. Nothing is fetched
while building or reading: MathJax is a file of the package `sphinx-mathjax-offline`, of the extra `docs`.
"""

import functools
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from equations import is_equation, to_tex  # noqa: E402
from generated import write_commands, write_modules, write_names, write_notebooks  # noqa: E402

project = "distalign"
author = "The distalign developers"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
extensions += ["myst_parser"]
mathjax_path = "tex-svg.js"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme = "furo"
html_title = "distalign"
html_copy_source = False
html_show_copyright = False  # LICENSE says it
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_attr_annotations = False
napoleon_use_ivar = True  # attributes of a dataclass are listed once
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]
exclude_patterns = ["_static"]
suppress_warnings = ["myst.header"]  # notebooks skip levels of headings
HIDDEN = ("simulation/studies", "bridge/studies", "__main__")  # a study is documented by its claim


def modules() -> dict[str, list[str]]:
    """Public modules by package, in alphabetical order; `distalign` stands for those at the top."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "distalign").rglob("*.py")):
        inside = path.relative_to(ROOT / "distalign").with_suffix("")
        public = not inside.name.startswith("_") and not str(inside).startswith(HIDDEN)
        public &= inside.parts[0] != "claims" or inside.name == "claim"  # the others are data
        if inside.name == "__init__" and not str(inside).startswith(HIDDEN):
            found.setdefault(".".join(("distalign", *inside.parts[:-1])), [])
        if public and (len(inside.parts) == 1 or (path.parent / "__init__.py").is_file()):
            found.setdefault(".".join(("distalign", *inside.parts[:-1])), []).append(
                ".".join(("distalign", *inside.parts))
            )
    return found


@functools.cache
def documented() -> set[str]:
    """Every module that the reference has."""
    return {name for names in modules().values() for name in names}


def write_pages(_app: object) -> None:
    """The pages that are written while the site is built."""
    write_modules(modules())
    write_names()
    write_commands()
    write_notebooks()


def mathjax() -> Path:
    """MathJax as one file that needs no fonts and no network."""
    found = importlib.util.find_spec("sphinx-mathjax-offline")
    if found is None or found.origin is None:
        raise SystemExit("the site needs MathJax: run pip install -c constraints.txt -e '.[docs]'")
    return Path(found.origin).parent / "static" / "mathjax" / "tex-svg.js"


def with_mathjax(_app: object, config: Any) -> None:
    """MathJax among the files of the site."""
    config.html_static_path.append(str(mathjax()))


MATHEMATICS = [
    "objectives",
    "theory",
    "solvers",
    "oracles",
    "populations",
    "policies",
    "divergences",
    "preferences",
    "sorting",
    "calibration",
    "data_check",
    "two_pass",
    "policy_gradient",
]
"""Rooms whose indented paragraphs are equations."""


def as_plain_text(
    _app: object, _what: str, name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Docstrings are sentences and equations in plain text, not markup.

    A paragraph that is indented is an equation, which is set as one, or a table, which keeps its lines;
    elsewhere bars, stars and underscores outside of code stand for themselves.
    """
    out: list[str] = []
    formulas = [*name.split("."), ""][1] in MATHEMATICS
    for paragraph in "\n".join(lines).split("\n\n"):
        code = paragraph.lstrip().startswith(">>>")
        if not code and paragraph.strip() and all(line.startswith("  ") for line in paragraph.splitlines()):
            if formulas and is_equation(paragraph):
                tex = to_tex(paragraph).replace("\n", "\n   ")
                out.append(f".. math::\n   :no-wrap:\n\n   \\[{tex}\\]")
            else:
                out += [*([] if out[-1:] and out[-1].startswith("  ") else ["::"]), paragraph]
        else:
            if paragraph.startswith("Source:"):  # its lines are indented below the first
                paragraph = " ".join(paragraph.split())
            out.append(paragraph if code else escaped(paragraph))
    lines[:] = "\n\n".join(out).split("\n")


def escaped(paragraph: str) -> str:
    """A paragraph in which only code spans, bullets and doctests are markup."""
    text, prompt, example = paragraph.partition(">>>")
    parts = re.split(r"(``[^`]+``|`[^`]+`)", text)
    parts[::2] = [re.sub(r"(\||(?<=\S)\*|\*(?=\S)|_(?![a-zA-Z0-9]))", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [
        part + "\\ " if after[:1].isalnum() else part
        for part, after in zip(parts[1::2], parts[2::2], strict=True)
    ]
    return "".join(parts) + prompt + example


PAGES = {"paper_figures/README.md": "figures", "CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
"""Pages of this site that include a file from elsewhere."""


def within_docs(_app: object, relative: Path | None, name: str, content: list[str]) -> None:
    """The links of a page, or of a file that a page includes, lead to what this site has of their targets.

    Args:
        relative: the included file, from docs/; None for the page itself.
        name: of the page.
        content: its text, which is replaced.
    """
    if relative is None and "/" in name:
        return  # written for this site by generated.py
    folder = (ROOT / "docs" / (relative or f"{name}.md")).resolve().parent
    content[0] = relinked(content[0], folder.relative_to(ROOT))


def relinked(text: str, folder: Path = Path()) -> str:
    """`text` with its relative links turned to what this site has: a page, a module of the reference, or the
    file itself to load. A link to anything else, a folder for instance, is left as plain text.

    Args:
        text: Markdown.
        folder: from the root of the repository, in which the text lies.
    """

    def target(match: re.Match[str]) -> str:
        words, link = match[1], match[2]
        if "://" in link or link.startswith("#"):
            return match[0]
        file, _, anchor = link.partition("#")
        path = Path(os.path.normpath(folder / file)).as_posix()
        after = f"#{anchor}" if anchor else ""
        module = path.removesuffix(".py").replace("/", ".")
        if path in PAGES:
            return f"[{words}]({PAGES[path]}.md{after})"
        if path == "README.md":
            return f"[{words}](index.md{after})"
        if path.startswith("notebooks/") and path.endswith(".ipynb"):
            return f"[{words}]({path.removesuffix('.ipynb')}.md{after})"
        if path.startswith("docs/") and path.endswith(".md"):
            return f"[{words}]({path.removeprefix('docs/')}{after})"
        if module in documented() and path.endswith(".py"):
            return f"{{py:mod}}`{words.replace('`', '')} <{module}>`"
        return f"[{words}](../{path})" if (ROOT / path).is_file() else words

    return re.sub(r"(?<!!)\[(!\[[^\]]*\]\([^)]*\)|[^\]]+)\]\(([^)\s]+)\)", target, text)


def breakable(_app: object, _page: str, _template: str, context: dict[str, Any], _doctree: object) -> None:
    """Names of code may be broken after a point, an underscore or a slash, and nowhere else."""

    def broken(name: re.Match[str]) -> str:
        return re.sub(r"(?<=\w)([._/])(?=\w)", r"\1<wbr>", name[0])

    if "body" in context:
        context["body"] = re.sub(r'(?<=<span class="pre">)[^<]+', broken, context["body"])


def setup(app: object) -> None:
    """Connect what stands above."""
    app.connect("config-inited", with_mathjax)  # type: ignore[attr-defined]
    app.connect("builder-inited", write_pages)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", as_plain_text, 400)  # type: ignore[attr-defined]
    app.connect("html-page-context", breakable)  # type: ignore[attr-defined]
    app.connect("include-read", within_docs)  # type: ignore[attr-defined]
    app.connect(  # type: ignore[attr-defined]
        "source-read", lambda app, name, content: within_docs(app, None, name, content)
    )
