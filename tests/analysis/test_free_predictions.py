"""The table of predicted and measured numbers of models that write freely."""

import re

import pandas as pd
import pytest

from analysis.free_predictions import MEASURES, Measure, _line, section
from distalign.claims import CLAIMS


def checks(**values):
    return pd.DataFrame([{"slug": "free_shift", "name": "both roads agree", "outcome": "holds"} | values])


def test_every_claim_on_free_writing_has_a_line():
    slugs = {claim.slug for claim in CLAIMS if claim.folder == "free"}
    assert {m.slug for m in MEASURES} | {"free_oracle"} == slugs


def test_numbers_are_those_of_the_row_asked_for_and_a_missing_road_is_left_blank():
    table = pd.DataFrame({"method": ["A", "B"], "predicted": [1.0, 2.0], "mean": [1.25, 3.0]})
    line = _line(Measure("free_shift", "of_B", {"method": "B"}), table, "holds, 0.5")
    assert line == "| [`free_shift`](claims.md#free_shift) | of\\_B | 2 | 3 |  | holds, 0.5 |"
    with pytest.raises(LookupError, match="0 rows"):
        _line(Measure("free_shift", "C", {"method": "C"}), table, "")


def test_the_committed_tables_have_every_row_that_is_asked_for():
    found = section(checks(statistic=0.637, low=float("nan"), high=float("nan")))
    assert found.count("free_f_dpo_frontier.md") == 0
    assert found.count("[`free_f_dpo_frontier`]") == 10
    assert not re.search(r"\bnan\b", found)
