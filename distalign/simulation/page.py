"""The page that `distalign verify` ends in: one file that holds the ledger, the numbers and the figures.

Each claim is a row, each of its checks a cell with the number of planted defects on which the check failed.
A check that never failed has shown nothing, so these cells stand out as much as a check that did not pass.
Below are, for each claim, what is tested, the numbers, the figure and the command, and at the top what
differs from the committed ledger.

Nothing is fetched when the page is read, and nothing on it depends on the time, the machine or the folder.

Source: ours.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import groupby
from pathlib import Path

import pandas as pd

from distalign.bibliography import PAPERS
from distalign.files import write_text
from distalign.simulation.committed import committed_ledger
from distalign.simulation.ledger import Entry, frame, number
from distalign.simulation.source import versions
from distalign.simulation.verdict import Check

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
a { color: #00558c; }
table { border-collapse: collapse; }
th { text-align: left; font-weight: 600; }
th, td { padding: .2rem .6rem .2rem 0; vertical-align: top; }
.map { table-layout: fixed; width: 100%; }
.map th:nth-child(1) { width: 12rem; } .map th:nth-child(2) { width: 20rem; }
.map th:nth-child(3) { width: 9.5rem; }
.map tr:hover td { background: #f3f7fa; }
tr.paper th { padding-top: .9rem; }
.numbers td, .numbers th, .changed td, .changed th { border-bottom: 1px solid #ddd; }
.cell { display: inline-block; min-width: 1.5em; margin: 0 2px 2px 0; padding: 0 .25em; text-align: center;
  font-size: .8rem; border: 1px solid #0072b2; text-decoration: none; color: #fff; background: #0072b2; }
.cell.some { background: #cfe5f3; color: #1a1a1a; }
.cell.unseen { background: #fff; color: #1a1a1a; border: 1px dashed #1a1a1a; }
.cell.failed { background: #d55e00; border-color: #d55e00; color: #fff; font-weight: 700; }
.no { color: #a33f00; font-weight: 700; }
details { border-top: 1px solid #ddd; padding: .5rem 0; }
summary { cursor: pointer; }
.wide { overflow-x: auto; } .wide table { font-size: .85rem; border: 0; }
.wide th, .wide td { border: 0; border-bottom: 1px solid #ddd; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: .85rem/1.4 ui-monospace, monospace; }
img { max-width: 100%; max-height: 27rem; height: auto; }
.figure { overflow-x: auto; margin: 1em 0; } .figure img { max-width: none; max-height: none; }
.whole td { white-space: nowrap; } .whole th:nth-child(n+3) { min-width: 6rem; }
code { font: .87em ui-monospace, monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .6rem 0; }
dt { color: #555; } dd { margin: 0; }
@media print {
  details, tr, .figure { break-inside: avoid; } h1, h2, h3 { break-after: avoid; }
  .figure, .wide { overflow: visible; } .figure img { max-width: 100%; max-height: 21cm; }
  .wide .whole { font-size: .53rem; }
}
"""
_SCRIPT = """
function reveal() {
  var at = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (at && at.tagName === "DETAILS") { at.open = true; at.scrollIntoView(); }
}
addEventListener("hashchange", reveal); reveal();
"""

FEW = 3
"""So many claims are shown open, each with its figure; of more the reader chooses."""


@dataclass(frozen=True)
class Change:
    """A claim that the committed ledger tells otherwise.

    Attributes:
        slug: the claim.
        before: the verdict and number of the committed ledger; empty where it has no such claim.
        now: those of this run.
        verdict: whether the verdict differs, and not the number alone.
    """

    slug: str
    before: str
    now: str
    verdict: bool


def changes(
    entries: Sequence[Entry], committed: Mapping[str, Mapping[str, str]], *, numbers: bool
) -> list[Change]:
    """The claims whose verdict, or number to three digits, is not that of the committed ledger.

    Args:
        entries: of this run.
        committed: rows of the committed ledger by slug (`distalign.simulation.committed`).
        numbers: whether numbers are compared, too. Those of another preset or seed are of other samples.
    """
    found = []
    for _, row in frame(entries).iterrows():
        old = committed.get(str(row["slug"]))
        before = "" if old is None else _told(old["verdict"], _as_numbers(old))
        now = _told(str(row["verdict"]), row)
        other = old is None or old["verdict"] != row["verdict"]
        if other or (numbers and before != now):
            found.append(Change(str(row["slug"]), before, now, other))
    return found


def page(
    entries: Sequence[Entry],
    preset: str,
    seed: int,
    *,
    committed: Mapping[str, Mapping[str, str]],
    figures: Mapping[str, bytes],
) -> str:
    """The page as HTML that refers to no other file.

    Args:
        entries: one a claim.
        preset, seed: of the run.
        committed: rows of the committed ledger by slug.
        figures: the PNG of each claim that has one.
    """
    checks = sum(len(e.verdict.checks) for e in entries)
    unseen = sum(len(e.unseen) for e in entries)
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items())
    few = len(entries) <= FEW
    parts = [
        f"<h1>{_heading(entries)}</h1>",
        f"<p>{_of(checks - unseen, checks)} checks were seen to fail on a planted defect. Preset "
        f"{escape(preset)}, root seed {seed}; {escape(libraries)}.</p>",
        _unexpected(entries),
        _difference(entries, preset, seed, committed),
        "<h2>Claims and their checks</h2>",
        _legend(),
        _map(entries),
        "<h2>One by one</h2>",
        *(_details(e, preset, seed, figures.get(e.claim.slug), shown=few) for e in entries),
    ]
    return document("distalign verify", [*parts, f"<script>{_SCRIPT}</script>"])


def document(title: str, parts: Sequence[str]) -> str:
    """An HTML file in the style of these pages, which refers to no other file.

    Args:
        title: of the window; it is escaped here.
        parts: HTML of the body, one after the other.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def image(about: str, png: bytes) -> str:
    """A picture inside the page, with what it shows for those who do not see it."""
    data = base64.b64encode(png).decode()
    return f'<p><img loading="lazy" alt="{escape(about)}" src="data:image/png;base64,{data}"></p>'


def write_page(entries: Sequence[Entry], out: Path, preset: str, seed: int) -> Path:
    """Write index.html below `out`, with the figures that `distalign.simulation.ledger.write` left there.

    Returns:
        The file.
    """
    drawn = {e.claim.slug: out / "figures" / f"{e.claim.slug}.png" for e in entries if e.claim.figure}
    figures = {slug: path.read_bytes() for slug, path in drawn.items() if path.is_file()}
    path = out / "index.html"
    write_text(path, page(entries, preset, seed, committed=committed_ledger(), figures=figures))
    return path


# -- parts --


def _heading(entries: Sequence[Entry]) -> str:
    if len(entries) == 1:
        (e,) = entries
        end = "as expected" if e.as_expected else "not as expected"
        return f"{escape(e.claim.slug)}: {escape(e.verdict.outcome)}, {end}"
    return (
        f"{_of(sum(e.as_expected for e in entries), len(entries))} claims have the verdict that they expect"
    )


def _difference(
    entries: Sequence[Entry], preset: str, seed: int, committed: Mapping[str, Mapping[str, str]]
) -> str:
    same = preset == "full" and seed == 0  # what is committed
    found = changes(entries, committed, numbers=same)
    compared = "verdicts and numbers" if same else "verdicts (numbers of another preset or seed differ)"
    head = f"<h2>Beside the committed ledger</h2>\n<p>Compared are {compared}. "
    if not found:
        return head + "Nothing differs.</p>"
    rows = "".join(
        f'<tr><td><a href="#{escape(c.slug)}">{escape(c.slug)}</a></td>'
        f"<td>{escape(c.before) or 'not in it'}</td>"
        f"<td{' class=no' if c.verdict and c.before else ''}>{escape(c.now)}</td></tr>"
        for c in found
    )
    return (
        f"{head}{_of(len(found), len(entries))} claims differ.</p>\n"
        f'<table class="changed"><tr><th>claim</th><th>committed</th><th>this run</th></tr>{rows}</table>'
    )


def _unexpected(entries: Sequence[Entry]) -> str:
    """The claims that did not end as they expect, or nothing."""
    told = [
        f'<a href="#{escape(e.claim.slug)}">{escape(e.claim.slug)}</a> ({escape(e.verdict.outcome)})'
        for e in entries
        if not e.as_expected
    ]
    return f"<p><span class=no>Not as expected:</span> {', '.join(told)}.</p>" if told else ""


def _legend() -> str:
    return (
        "<p>A cell is a check; its number says on how many of the claim's planted defects it failed. "
        '<span class="cell">2</span> failed on all defects, <span class="cell some">1</span> on some, '
        '<span class="cell unseen">0</span> on none: it may be unable to fail. '
        '<span class="cell failed">&#10007;</span> did not pass in this run.</p>'
    )


def _map(entries: Sequence[Entry]) -> str:
    """Claims x checks."""
    rows = []
    for paper, listed in groupby(entries, key=lambda e: e.claim.paper):
        titles = "; ".join(p.title.replace("{", "").replace("}", "") for p in PAPERS if p.name == paper)
        rows.append(f'<tr class="paper"><th colspan="4">{escape(titles or paper)}</th></tr>')
        for e in listed:
            slug = escape(e.claim.slug)
            cells = "".join(_cell(e, check) for check in e.verdict.checks)
            outcome = escape(e.verdict.outcome)
            rows.append(
                f'<tr><td><a href="#{slug}">{slug}</a></td><td>{escape(e.claim.title)}</td>'
                f"<td>{outcome if e.as_expected else f'<span class=no>{outcome}</span>'}</td>"
                f'<td class="checks">{cells}</td></tr>'
            )
    head = "<tr><th>claim</th><th>about</th><th>verdict</th><th>checks</th></tr>"
    return f'<table class="map">{head}{"".join(rows)}</table>'


def _cell(e: Entry, check: Check) -> str:
    """One check as a cell: the number of defects on which it failed, and in words when pointed at."""
    failed, defects = len(e.fails_on(check.name)), len(e.controls) - 1
    kind = (
        " failed" if not check.passed else " unseen" if not failed else "" if failed == defects else " some"
    )
    told = f"{check.name}: {check.outcome}; failed on {failed} of {defects} defects"
    text = str(failed) if check.passed else "&#10007;"
    return f'<a class="cell{kind}" href="#{escape(e.claim.slug)}" title="{escape(told)}">{text}</a>'


def _details(e: Entry, preset: str, seed: int, figure: bytes | None, *, shown: bool) -> str:
    """What is tested, the numbers, the figure and the command of one claim."""
    slug, command = e.claim.slug, f"distalign verify {e.claim.slug} --preset {preset}"
    command += f" --seed {seed}" if seed else ""
    listed = {
        "statement": escape(e.claim.statement),
        "source": escape(e.claim.source),
        "predicted": escape(e.claim.prediction),
        "expected": escape(e.claim.expects),
        "code under test": f"<code>{escape(e.claim.code)}</code>",
        "prediction from": f"<code>{escape(e.claim.theory)}</code>",
        "command": f"<code>{escape(command)}</code>",
    }
    told = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in listed.items())
    rows = "".join(_numbers(e, check) for check in e.verdict.checks)
    picture = image(e.claim.title, figure) if figure else ""
    mark = "" if e.as_expected else " <span class=no>not as expected</span>"
    return (
        f'<details id="{escape(slug)}"{" open" if shown else ""}>'
        f"<summary><b>{escape(slug)}</b> {escape(e.claim.title)}: {escape(e.verdict.outcome)}{mark}"
        f"</summary>\n<dl>{told}</dl>\n"
        '<table class="numbers"><tr><th>check</th><th>outcome</th><th>number</th>'
        '<th title="rows that were not finite">left out</th>'
        f"<th>failed on the defects</th></tr>{rows}</table>\n{picture}</details>"
    )


def _numbers(e: Entry, check: Check) -> str:
    failing = "; ".join(e.fails_on(check.name)) or "none"
    name = f"{check.name} ({check.detail})" if check.detail else check.name
    mark = "" if check.passed else " class=no"
    return (
        f"<tr><td>{escape(name)}</td><td{mark}>{escape(check.outcome)}</td>"
        f"<td>{escape(number(pd.Series(asdict(check))))}</td><td>{check.excluded}</td>"
        f"<td>{escape(failing)}</td></tr>"
    )


def _of(some: int, all_of_them: int) -> str:
    return f"{some} of {all_of_them}"


def _told(verdict: str, row: pd.Series) -> str:
    return f"{verdict} ({number(row)})"


def _as_numbers(row: Mapping[str, str]) -> pd.Series:
    """Statistic and interval of a row of text; an empty cell is NaN."""
    return pd.Series({name: float(row.get(name) or "nan") for name in ("statistic", "low", "high")})
