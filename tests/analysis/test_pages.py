"""The generated pages hold no word that a program should have replaced."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # analysis is no part of the package

from analysis.__main__ import PAGES  # noqa: E402

UNFILLED = re.compile(
    r"(?<![\w\\^`:])\{[A-Za-z_][\w.]*\}|\{\{|\}\}|\bMISSING\b|\bTODO\b|\| *(?:nan|None) *\|"
)


def unfilled(text):
    """The placeholders left in a page: a name in braces, and what stands for a value that is not there."""
    return [found.group() for found in UNFILLED.finditer(text)]


@pytest.mark.parametrize("page", PAGES)
def test_no_page_holds_an_unfilled_placeholder(page):
    assert unfilled(PAGES[page]()) == []


def test_the_placeholder_test_can_fail():
    assert unfilled("none runs here; {BENCHMARK} |") == ["{BENCHMARK}"]
    assert unfilled("at {row.name}: {{x}}") == ["{row.name}", "{{", "}}"]
    assert unfilled("| MISSING | nan | a nanosecond, none of it |") == ["MISSING", "| nan |"]
    assert unfilled(r"the ball {pi : KL <= tau}, $\sqrt{x}$, p_{s,y}, x^{n}, `{n}`") == []
