"""Write every generated page from the claims and the committed tables: `python -m analysis`."""

from analysis import (
    choose,
    controls,
    coverage,
    dictionary,
    gallery,
    intervals,
    ledger,
    models,
    mutants,
    real_votes,
    speed,
    worlds,
)

ROOT = ledger.ROOT


PAGES = {
    "docs/choosing.md": choose.page,
    "docs/claims.md": ledger.page,
    "docs/controls.md": controls.page,
    "paper_figures/tables/few_defects.csv": controls.few,
    "docs/coverage.md": coverage.page,
    "docs/worlds.md": worlds.page,
    "docs/real_votes.md": real_votes.page,
    "docs/intervals.md": intervals.page,
    "docs/models.md": models.page,
    "docs/speed.md": speed.page,
    "docs/mutants.md": mutants.page,
    "docs/data_dictionary.md": dictionary.page,
    "docs/gallery.md": gallery.thumbnails,
    "paper_figures/README.md": gallery.page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / name).write_text(page(), encoding="utf-8")
