"""The page docs/coverage.md: what of the papers runs here, by which slug, and why the rest does not."""

import re

from analysis.coverage_items import ITEMS, Item
from analysis.gallery import FIGURES
from analysis.ledger import NAMES, plain
from distalign.bibliography import PAPERS
from distalign.claims import CLAIMS, Claim

UNRUN = "no claim runs it"
HEAD = """# Coverage: what of the papers runs here

<!-- Written by `python -m analysis` from `analysis/coverage_items.py` and the claims: do not edit. -->

Every numbered theorem, lemma, corollary, proposition, figure and table, as far as we know them; a label in
parentheses is a description where the number is unknown to us. `distalign verify <slug>` runs a claim; its
figure stands in the [gallery](../paper_figures/README.md). Where no claim runs an item, the reason stands
beside it. What is ours and in no paper has a list of its own at the end."""
TABLE = "| item | content | claims | figures | remark, or why not |\n|---|---|---|---|---|\n"


def named(claim: Claim, label: str) -> bool:
    """Whether a claim's statement names a numbered item, alone or in a list (`Theorem 1` is not in
    `Theorem 12`).
    """
    found = re.fullmatch(r"([A-Z][a-z]+) (\w+)", label)
    if found is None:
        return False
    kind, number = found.groups()
    return re.search(rf"\b{kind}s? (?:\d+(?:,| and|, and) )*{number}\b(?!\.\d)", claim.statement) is not None


def slugs_of(paper: str, item: Item) -> list[str]:
    """The claims that run an item: those listed, and those that name it and are not wholly ours."""
    label, _, listed, _ = item
    mine = [c for c in CLAIMS if c.paper == paper]
    return [c.slug for c in mine if c.slug in listed or (c.source != "ours" and named(c, label))]


def row(paper: str, item: Item) -> str:
    """One item."""
    label, content, _, remark = item
    slugs = slugs_of(paper, item)
    figures = {path.stem for path in FIGURES.glob("*.png")}
    shown = ", ".join(f"[{s}](claims.md#{s})" for s in slugs)
    drawn = ", ".join(f"[figure](../paper_figures/README.md#{s})" for s in slugs if s in figures)
    return (
        f"| {label} | {plain(content)} | {shown} | {drawn} | {plain(remark) if slugs or remark else UNRUN} |"
    )


def ours(paper: str) -> list[str]:
    """Claims of which nothing, or not all, is in the paper."""
    mine = [c for c in CLAIMS if c.paper == paper and "ours" in c.source]
    return [
        f"- [{c.slug}](claims.md#{c.slug}) ({'ours' if c.source == 'ours' else 'in part ours'}): "
        f"{plain(c.statement)}."
        for c in mine
    ]


def page() -> str:
    """docs/coverage.md."""
    parts = [HEAD]
    for paper, items in ITEMS.items():
        seen = "; ".join(dict.fromkeys(p.seen for p in PAPERS if p.name == paper))
        parts += [
            f"## {NAMES[paper]}",
            f"Text seen: {seen}.",
            TABLE + "\n".join(row(paper, i) for i in items),
        ]
    parts += [
        "## What is ours",
        'No paper states what follows, as far as we have read; "in part" where a statement of the '
        "paper is among it. None of it is peer reviewed.",
    ]
    for paper, name in NAMES.items():
        parts += [f"### {name}", "\n".join(ours(paper))]
    return "\n\n".join(parts) + "\n"
