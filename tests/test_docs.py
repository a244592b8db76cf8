"""The pages written from the results are in step with them, and every public name says what it is, whence,
and for example.
"""

import ast
import importlib
import inspect
import json
import os
import pkgutil
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import distalign
from distalign.checks import InputError
from distalign.claims import CLAIMS

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # analysis is no part of the package

from analysis import adopt, choose, coverage, coverage_items, dictionary, gallery, ledger  # noqa: E402
from analysis.__main__ import PAGES  # noqa: E402

# -- pages --


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_of_the_committed_results(page):
    assert PAGES[page]() == (ROOT / page).read_text(), "run `python -m analysis`"


def test_every_claim_is_on_every_list():
    slugs = {c.slug for c in CLAIMS}
    rows = "\n".join(line for line in ledger.table().splitlines())
    assert [s for s in slugs if f"`{s}`" not in rows] == []
    assert [s for s in slugs if f"### {s}\n" not in ledger.page()] == []
    assert [s for s in slugs if f"(claims.md#{s})" not in coverage.page()] == []


def test_coverage_names_only_claims_of_its_paper_and_always_says_why_not():
    papers = {c.slug: c.paper for c in CLAIMS}
    for paper, items in coverage_items.ITEMS.items():
        labels = [label for label, *_ in items]
        assert len(set(labels)) == len(labels), paper
        for item in items:
            assert all(papers[slug] == paper for slug in item[2]), item
            assert coverage.slugs_of(paper, item) or item[3] or coverage.UNRUN in coverage.row(paper, item), (
                item
            )


def test_an_item_is_found_by_its_whole_number():
    claim = next(c for c in CLAIMS if "Theorem 12" in c.statement)
    assert coverage.named(claim, "Theorem 12")
    assert not coverage.named(claim, "Theorem 1")
    listed = replace(claim, statement="Lemmas 9, 10 and 11, Theorem 2.9")
    assert [n for n in range(20) if coverage.named(listed, f"Lemma {n}")] == [9, 10, 11]
    assert not coverage.named(listed, "Theorem 2")


def test_every_column_of_every_table_is_explained():
    assert dictionary.missing() == [], "add a line to analysis/columns.csv"


def test_a_missing_column_is_named(tmp_path, monkeypatch):
    (tmp_path / "aot_rate.csv").write_text("size,unheard_of\n1,2\n")
    monkeypatch.setattr(dictionary, "TABLES", tmp_path)
    assert dictionary.missing() == ["aot_rate.unheard_of"]


def test_every_line_of_the_glossary_is_used():
    import pandas as pd

    known, used = dictionary.glossary(), set()
    for path in dictionary.TABLES.glob("*.csv"):
        used |= set(dictionary.names(path.stem, known, list(pd.read_csv(path, nrows=0).columns)))
    tables = [*(c.slug for c in CLAIMS), "seeds"]
    coming = tuple(f"{name}." for name in tables if not (dictionary.TABLES / f"{name}.csv").is_file())
    assert [name for name in sorted(known.keys() - used) if not (coming and name.startswith(coming))] == []


@pytest.mark.parametrize("page", [gallery.page, gallery.thumbnails])
def test_every_figure_is_in_the_gallery(page):
    text = page()
    assert [p.stem for p in gallery.FIGURES.glob("*.txt") if f"figures/{p.stem}.png" not in text] == []


def test_the_choice_of_an_objective_rests_on_checks_that_passed():
    import pandas as pd

    checks = pd.read_csv(ROOT / "paper_figures/tables/checks.csv")
    for *_, slug, check, _reading in choose.ROWS:
        found = checks.loc[(checks.slug == slug) & (checks["name"] == check)]
        assert found.passed.tolist() == [True], (slug, check)


# -- adopting newly verified claims --


@pytest.fixture
def home(tmp_path):
    """paper_figures with two claims, and the folder of a run of one of them."""
    first, second = CLAIMS[0].slug, CLAIMS[1].slug
    for folder, slugs, number in (
        (tmp_path / "home/tables", (second,), 1),
        (tmp_path / "out", (first, second), 2),
    ):
        (folder / "tables").mkdir(parents=True)
        for name in ("ledger.csv", "checks.csv", "controls.csv"):
            (folder / name).write_text(
                "slug,number\n" + "".join(f"{s},{number}\n" for s in slugs) + "other,0\n"
            )
        for slug in slugs:
            (folder / "tables" / f"{slug}.csv").write_text("x\n")
        record = {
            "preset": "full",
            "seed": 0,
            "versions": {"numpy": "2"},
            "source": dict.fromkeys(slugs, str(number)),
            "asked": dict.fromkeys(slugs, str(number)),
        }
        (folder / "provenance.json").write_text(json.dumps(record))
    (tmp_path / "home/figures").mkdir()
    return tmp_path


def test_adopted_lines_take_their_place(home):
    first, second = CLAIMS[0].slug, CLAIMS[1].slug
    assert adopt.adopt(home / "out", home / "home") == sorted((first, second))
    assert (home / "home/tables/ledger.csv").read_text() == f"slug,number\n{first},2\n{second},2\nother,0\n"
    record = json.loads((home / "home/tables/provenance.json").read_text())
    assert record["source"] == record["asked"] == {first: "2", second: "2"}
    assert (home / f"home/tables/{first}.csv").is_file()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"preset": "quick"}, "preset quick"),
        ({"seed": 1}, "seed 1"),
        ({"versions": {"numpy": "3"}}, "versions"),
    ],
)
def test_numbers_of_another_kind_are_not_adopted(change, sentence, home):
    path = home / "out/provenance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    before = (home / "home/tables/ledger.csv").read_text()
    with pytest.raises(InputError, match=sentence):
        adopt.adopt(home / "out", home / "home")
    assert (home / "home/tables/ledger.csv").read_text() == before


def test_adopting_what_is_committed_changes_nothing():
    for name in ("ledger.csv", "checks.csv"):
        text = (dictionary.TABLES / name).read_text()
        assert adopt.merged(text, text, {c.slug for c in CLAIMS[::3]}) == text


# -- docstrings --

CONF = runpy.run_path(str(ROOT / "docs/conf.py"))
# Modules whose functions are mathematics: each names its source, or says "ours", itself or for its whole
# module, and has an example that is run. Classes carry results of such functions, whose examples show them.
MATHEMATICS = tuple(CONF["MATHEMATICS"])  # whose docstrings are set as equations


def modules():
    """Public modules but for claims, which are data, and studies, which are documented by their claims."""
    for found in pkgutil.walk_packages(distalign.__path__, "distalign."):
        parts = found.name.split(".")[1:]
        if not any(p.startswith("_") for p in parts) and "studies" not in parts and parts[0] != "claims":
            yield importlib.import_module(found.name)


def public(module):
    """Functions and classes that a module defines and does not mark as its own."""
    for name, value in vars(module).items():
        mine = getattr(value, "__module__", None) == module.__name__
        if mine and not name.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value)):
            yield name, value


READERS = "distalign.populations.scenario_"  # these modules read a user's file: no mathematics
NO_EXAMPLE = {
    "distalign.two_pass.gather_global": "needs several processes; tests/test_two_pass.py starts them"
}
NAMES = [(module, name, value) for module in modules() for name, value in public(module)]
FUNCTIONS = [
    (module, name, value)
    for module, name, value in NAMES
    if module.__name__.split(".")[1] in MATHEMATICS
    and inspect.isfunction(value)
    and not module.__name__.startswith(READERS)
]


def says_whence(text):
    return re.search(r"\bSource:|\b[Oo]urs\b", text) is not None


def test_every_docstring_rule_can_fail():
    assert not says_whence("Sourced from hours of work.")
    assert says_whence("All of it is ours.")
    assert says_whence("Source: textbook.")


def test_every_public_name_says_what_it_is():
    assert len(NAMES) > 400
    assert [f"{m.__name__}.{name}" for m, name, value in NAMES if not (value.__doc__ or "").strip()] == []


def test_every_function_of_mathematics_says_whence():
    silent = [
        f"{m.__name__}.{name}"
        for m, name, value in FUNCTIONS
        if not says_whence(value.__doc__ or "") and not says_whence(m.__doc__ or "")
    ]
    assert silent == []


def test_every_function_of_mathematics_has_an_example():
    assert len(FUNCTIONS) > 150
    silent = {f"{m.__name__}.{name}" for m, name, value in FUNCTIONS if ">>>" not in (value.__doc__ or "")}
    assert sorted(silent - NO_EXAMPLE.keys()) == []
    assert NO_EXAMPLE.keys() <= silent


def test_every_public_module_is_in_the_reference():
    listed = {
        name for names in runpy.run_path(str(ROOT / "docs/conf.py"))["modules"]().values() for name in names
    }
    assert sorted({m.__name__ for m in modules()} - listed - packages()) == []


def packages():
    return {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "distalign").rglob("__init__.py")}


def test_docstrings_are_no_markup():
    conf = runpy.run_path(str(ROOT / "docs/conf.py"))
    assert (
        conf["escaped"]("|x| of `|y|` and p*(y), `A`s, theta_ ")
        == r"\|x\| of `|y|` and p\*(y), `A`\ s, theta\_ "
    )
    lines = ["An equation:", "", "    L = |x|_1", "", "Example:", "    >>> 1 * 1", "    1"]
    conf["as_plain_text"](None, "function", "f", None, None, lines)
    assert lines == ["An equation:", "", "::", "", "    L = |x|_1", "", "Example:", "    >>> 1 * 1", "    1"]


LINK = re.compile(r"(?<!!)\[(!\[[^\]]*\]\([^)]*\)|[^\]]+)\]\(([^)\s]+)\)")
SITE = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", *(ROOT / name for name in CONF["PAGES"])]


GENERATED = ROOT / "docs/generated.py"


def on_the_site(path):
    """Text of a page as the site has it."""
    content = [path.read_text(encoding="utf-8")]
    inside = os.path.relpath(path, ROOT / "docs")
    if path.parent.name == "docs":
        CONF["within_docs"](None, None, path.stem, content)
    else:
        CONF["within_docs"](None, Path(inside), "", content)
    return content[0]


@pytest.mark.parametrize("path", SITE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_link_becomes_dead_text(path):
    """Every link of a page is one on the site, too, but for those to folders."""
    before, after = path.read_text(encoding="utf-8"), on_the_site(path)
    named = [link.partition("#")[0] for _, link in LINK.findall(before)]
    folders = sum((path.parent / name).is_dir() for name in named if name)
    roles = re.findall(r"\{py:mod\}`[^`]*<([\w.]+)>`", after)
    assert len(LINK.findall(after)) + len(roles) == len(LINK.findall(before)) - folders
    assert set(roles) <= CONF["documented"]()
    linked = [link.partition("#")[0] for _, link in LINK.findall(after)]
    files = {link for link in linked if link and "://" not in link}
    included = {f"{name}.md" for name in (*CONF["PAGES"].values(), "index")}
    written = {name.removeprefix("docs/") for name in PAGES}
    built = {f"notebooks/{p.stem}.md" for p in (ROOT / "notebooks").glob("*.ipynb")}  # with the site
    built |= set(re.findall(r'write_page\(DOCS / "([\w/]+\.md)"', GENERATED.read_text(encoding="utf-8")))
    kept = files - included - written - built
    assert [f for f in kept if not (ROOT / "docs" / f).is_file()] == []


def test_links_lead_to_a_page_a_module_or_a_file():
    relinked, docs = CONF["relinked"], Path("docs")
    assert relinked("[a](docs/claims.md#y) ![i](p.png)") == "[a](claims.md#y) ![i](p.png)"
    assert relinked("[a](claims.md#y)", docs) == "[a](claims.md#y)"
    assert relinked("[g](../paper_figures/README.md)", docs) == "[g](figures.md)"
    assert relinked("[![g](p.png)](../paper_figures/README.md#y)", docs) == "[![g](p.png)](figures.md#y)"
    assert relinked("[c](../distalign/checks.py)", docs) == "{py:mod}`c <distalign.checks>`"
    study = "distalign/simulation/studies/aot/aot_rate.py"
    assert relinked(f"[s](../{study})", docs) == f"[s](../{study})"
    assert relinked("[d](aot_rate.py)", Path("paper_figures")) == "[d](../paper_figures/aot_rate.py)"
    assert relinked("[b](c.py) [n](notebooks) [u](https://x.org) [h](#h)") == "b n [u](https://x.org) [h](#h)"


def test_conf_needs_no_network():
    tree = ast.parse((ROOT / "docs/conf.py").read_text())
    assert "intersphinx" not in ast.unparse(tree)


def test_names_of_code_break_after_points_underscores_and_slashes():
    context = {
        "body": '<p>a.b <span class="pre">distalign.aot_rate</span> <span class="pre">--x .5</span></p>'
    }
    CONF["breakable"](None, "", "", context, None)
    broken = '<span class="pre">distalign.<wbr>aot_<wbr>rate</span> <span class="pre">--x .5</span>'
    assert context["body"] == f"<p>a.b {broken}</p>"
