"""The gallery paper_figures/README.md: every committed figure with its caption and its command."""

from pathlib import Path

from analysis.ledger import NAMES, plain
from distalign.claims import CLAIMS

FIGURES = Path(__file__).parents[1] / "paper_figures" / "figures"
HEAD = """# Figures

Written by `python -m analysis` from the captions in `figures/`: do not edit. Each figure is drawn by
`<slug>.py` from `tables/<slug>.csv`, without any computation; `distalign figure <slug>` draws it again,
`distalign verify <slug> --preset full` computes the table. Marker and line tell the methods apart in grey.
What the columns of the tables mean stands in [docs/data_dictionary.md](../docs/data_dictionary.md), what the
papers say and what is ours in [docs/claims.md](../docs/claims.md)."""


def entry(slug: str) -> str:
    """One figure."""
    caption = (FIGURES / f"{slug}.txt").read_text(encoding="utf-8").strip().removeprefix(f"{slug}. ")
    return "\n\n".join(
        [
            f"### {slug}",
            f"![{slug}](figures/{slug}.png)",
            plain(caption),
            f"[PDF](figures/{slug}.pdf) · [table](tables/{slug}.csv) · [drawn by]({slug}.py) · "
            f"`distalign figure {slug}`",
        ]
    )


def page() -> str:
    """paper_figures/README.md."""
    drawn = {path.stem for path in FIGURES.glob("*.txt")}
    parts = [HEAD]
    for paper, name in NAMES.items():
        mine = [c.slug for c in CLAIMS if c.paper == paper and c.slug in drawn]
        parts += [f"## {name}", *map(entry, mine)] if mine else []
    known = {c.slug for c in CLAIMS}
    if others := sorted(drawn - known):
        parts += ["## Across the papers", *map(entry, others)]
    return "\n\n".join(parts) + "\n"
