"""The figure of the README's first screen is of the committed tables as they are, and fit to print."""

import numpy as np
import pandas as pd
from print_faults import KINDS, measured

from analysis import overview
from distalign.figures import described, drawing

ROOT = overview.ROOT


def test_its_table_is_made_of_the_committed_ones():
    committed = pd.read_csv(overview.HOME / "tables" / "overview.csv")
    again = "run `python -m analysis.overview`"
    pd.testing.assert_frame_equal(committed, overview.table(), check_dtype=False, obj=again)
    assert set(committed.world) == {"table", "language model"}
    found = committed[committed.kind == "found"]
    assert len(found) == 12 + 15
    models = found[found.world == "language model"]
    assert ((models.low < models["mean"]) & (models["mean"] < models.high)).all()


def test_no_policy_of_the_table_lies_above_the_frontier():
    made = overview.table()
    made = made[made.world == "table"].set_index("setting")
    line, found = made[made.kind == "predicted"], made[made.kind == "found"]
    assert np.allclose(found["mean"], line["mean"][found.index], atol=1e-6)
    assert (found.kl > line.kl[found.index]).all()
    assert ((found.kl_low <= found.kl) & (found.kl <= found.kl_high)).all()


def test_it_is_fit_to_print_and_stands_in_the_readme():
    table = pd.read_csv(overview.HOME / "tables" / "overview.csv")
    caption = (overview.HOME / "figures" / "overview.txt").read_text(encoding="utf-8").strip()
    assert caption == f"overview. {described('overview')}"
    drawn = measured(drawing("overview")(table), table, caption)
    assert {name: faults for name, fault in KINDS.items() if (faults := fault(drawn))} == {}
    assert "(paper_figures/figures/overview.png)" in (ROOT / "README.md").read_text(encoding="utf-8")[:2000]
