"""The figures: paper_figures/README.md has each with its caption and its command, docs/gallery.md has them
small, a click away from their captions.
"""

from pathlib import Path

from analysis.ledger import NAMES, plain
from distalign.claims import CLAIMS

FIGURES = Path(__file__).parents[1] / "paper_figures" / "figures"
HEAD = """# Figures

<!-- Written by `python -m analysis` from the captions in `figures/`: do not edit. -->

Each figure is drawn by `<slug>.py` from `tables/<slug>.csv`, without any computation; `distalign figure
<slug>` draws it again, `distalign verify <slug> --preset full` computes the table. Marker and line tell the
methods apart in grey. What the columns mean stands in the [data dictionary](../docs/data_dictionary.md), what
the papers say and what is ours in [the claims](../docs/claims.md)."""


def entry(slug: str) -> str:
    """One figure."""
    caption = (FIGURES / f"{slug}.txt").read_text(encoding="utf-8").strip().removeprefix(f"{slug}. ")
    drawn = f"distalign figure {slug}" if slug in {c.slug for c in CLAIMS} else f"python -m analysis.{slug}"
    return "\n\n".join(
        [
            f"### {slug}",
            f"![{slug}](figures/{slug}.png)",
            plain(caption),
            f"[PDF](figures/{slug}.pdf) · [table](tables/{slug}.csv) · [drawn by]({slug}.py) · `{drawn}`",
        ]
    )


def by_paper() -> dict[str, list[str]]:
    """Slugs of the committed figures by the name of their paper, in the order of the ledger."""
    drawn = {path.stem for path in FIGURES.glob("*.txt")}
    found = {name: [c.slug for c in CLAIMS if c.paper == p and c.slug in drawn] for p, name in NAMES.items()}
    found["Across the papers"] = sorted(drawn - {c.slug for c in CLAIMS})
    return {name: slugs for name, slugs in found.items() if slugs}


def page() -> str:
    """paper_figures/README.md."""
    parts = [HEAD]
    for name, slugs in by_paper().items():
        parts += [f"## {name}", *map(entry, slugs)]
    return "\n\n".join(parts) + "\n"


def thumbnails() -> str:
    """docs/gallery.md."""
    titles = {c.slug: c.title for c in CLAIMS}
    parts = [
        "# Gallery",
        "<!-- Written by `python -m analysis`: do not edit. -->",
        "A click leads to the figure with its caption, which has the intervals, its table and the command "
        "that draws it; what it tests stands in [the claims](claims.md).",
    ]
    for name, slugs in by_paper().items():
        small = [
            f"[![{slug}](../paper_figures/figures/{slug}.png)](../paper_figures/README.md#{slug})\n"
            f"{plain(titles.get(slug, slug))}"
            for slug in slugs
        ]
        parts += [f"## {name}", "\n\n".join([":::{container} thumbnails", *small, ":::"])]
    return "\n\n".join(parts) + "\n"
