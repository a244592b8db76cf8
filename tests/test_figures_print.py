"""Every figure as it is printed: drawn once from its committed table, laid out, and measured."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from print_faults import KINDS, measured

from distalign.claims import CLAIMS
from distalign.figures import COLUMN, PAGE, committed, drawing, legend_below, letter, new, points
from distalign.simulation.ledger import caption_of

SLUGS = [c.slug for c in CLAIMS if c.figure]
HOME = committed("aot_rate").parents[1]


@cache
def caption(slug):
    return (HOME / "figures" / f"{slug}.txt").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("slug", SLUGS)
def test_figure_is_fit_to_print(slug):
    table = pd.read_csv(committed(slug))
    drawn = measured(drawing(slug)(table), table, caption(slug))
    assert {name: faults for name, fault in KINDS.items() if (faults := fault(drawn))} == {}


def test_captions_are_those_of_the_drawing_files_and_of_the_ledger():
    ledger = pd.read_csv(HOME / "tables" / "ledger.csv").set_index("slug")
    checks = pd.read_csv(HOME / "tables" / "checks.csv").set_index(["slug", "name"])
    record = json.loads((HOME / "tables" / "provenance.json").read_text(encoding="utf-8"))
    for slug in SLUGS:
        name = ledger.check[slug]
        leading = pd.concat(
            [checks.loc[(slug, name)], pd.Series({"name": name, "checks": ledger.checks[slug]})]
        )
        wanted = caption_of(slug, leading, record["preset"], record["seed"], record["source"][slug])
        assert caption(slug) == wanted


def test_a_figure_has_the_width_of_a_column_or_of_the_page():
    assert [new(panels=n)[0].get_figwidth() for n in (1, 2, 3)] == [COLUMN, PAGE, PAGE]


TABLE = pd.DataFrame({"size": [1.0, 2.0, 3.0], "mean": [1.5, 2.5, 3.5], "low": 1.0, "high": [2.0, 3.0, 4.0]})


def fair(panels=2):
    """A figure without a fault, to plant faults in."""
    figure, axes = new(panels=panels)
    for panel in axes:
        points(panel, TABLE["size"], TABLE, color="#0072B2", marker="o", label="first")
        panel.set(xlabel="n", ylabel="mean")
    legend_below(figure)
    letter(figure)
    return figure


PLANTED = {
    "width": lambda f: f.set_figwidth(5),
    "small_text": lambda f: f.axes[0].annotate("small", (2, 1.2), fontsize=5),
    "legend_over_data": lambda f: f.axes[0].legend(loc="upper right", markerscale=9),
    "text_over_text": lambda f: [f.axes[0].text(1.5, 3.5, text) for text in ("one", "two")],
    "text_over_markers": lambda f: f.axes[0].text(2, 2.5, "on a marker", va="center", ha="center"),
    "outside": lambda f: f.axes[0].set_title("a title that is much too long for its panel " * 3),
    "letters": lambda f: f.axes[1].set_title("", loc="left"),
    "same_look": lambda f: f.axes[0].plot([1, 2], [2, 3], "o", color="#D55E00"),
    "intervals_not_drawn": lambda f: [c.remove() for c in list(f.axes[0].collections)],
    "series_not_seen": lambda f: f.axes[0].plot([1, 2], [np.nan, np.nan], color="#D55E00"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_is_seen(kind):
    figure = fair()
    told = "Bars: 99 % intervals."
    assert KINDS[kind](measured(figure, TABLE, told)) == []
    if kind in PLANTED:
        PLANTED[kind](figure)
    told = {"long_caption": "exact " * 81, "caption_silent": "Nothing is said."}.get(kind, told)
    assert KINDS[kind](measured(figure, TABLE, told)) != []
