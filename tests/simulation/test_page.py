"""The page of `verify`: each check a cell, what stands on it is what the entries say, and nothing else is
needed to read it.
"""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from distalign.claims import claims
from distalign.simulation.ledger import Entry, frame
from distalign.simulation.page import FEW, changes, page, write_page
from distalign.simulation.verdict import Check, Verdict
from distalign.simulation.verification import verify

VOID = {"meta", "img", "br", "link"}
PICTURE = b"\x89PNG picture"


class Read(HTMLParser):
    """Elements with their attributes and text; raises on a tag that is closed but not open."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def named(self, tag, **attributes):
        return [
            e for e in self.elements if e["tag"] == tag and all(e.get(k) == v for k, v in attributes.items())
        ]


def check(name, passed=True, statistic=1.5, **others):
    return Check(name, "bound", "not violated" if passed else "violated", passed, statistic, **others)


def entry(slug, names, failing, passed=True):
    """An entry with one check a name and one defect a row of `failing`, which lists the checks it fails."""
    (claim,) = claims((slug,))
    claim = replace(claim, expects="not violated")
    verdict = {"": [], **{f"defect {i}": listed for i, listed in enumerate(failing)}}
    controls = {}
    for text, listed in verdict.items():
        made = tuple(check(name, name not in listed) for name in names)
        controls[text] = Verdict(made[0], not listed, made)
    made = tuple(check(name, passed or name != names[0]) for name in names)
    return Entry(claim, Verdict(made[0], passed, made), controls, pd.DataFrame({"x": [1]}))


@pytest.fixture
def entries():
    return [
        entry("aot_bound", ["first", "second", "third"], [["first", "second"], ["first"]]),
        entry("dro_bounds", ["only"], [["only"]], passed=False),
    ]


def committed(entries):
    """What is committed if it is what the entries say."""
    rows = frame(entries).to_dict(orient="records")
    return {r["slug"]: {k: "" if v != v else str(v) for k, v in r.items()} for r in rows}


def shown(entries, preset="full", seed=0, ledger=None, figures=None):
    ledger = committed(entries) if ledger is None else ledger
    return page(entries, preset, seed, committed=ledger, figures=figures or {})


def test_each_check_is_a_cell_with_the_number_of_defects_on_which_it_failed(entries):
    read = Read(shown(entries))
    cells = [(c["text"], c["class"], c["href"]) for c in read.named("a") if "cell" in c.get("class", "")]
    assert cells == [
        ("2", "cell", "#aot_bound"),
        ("1", "cell some", "#aot_bound"),
        ("0", "cell unseen", "#aot_bound"),
        ("✗", "cell failed", "#dro_bounds"),
    ]
    assert read.named("a", title="second: not violated; failed on 1 of 2 defects")


def test_the_head_counts_what_is_as_expected_and_what_was_seen_to_fail(entries):
    read = Read(shown(entries))
    assert read.named("h1")[0]["text"].startswith("0 of 2 claims")  # an unseen check, a failed check
    assert any(p["text"].startswith("3 of 4 checks were seen to fail") for p in read.named("p"))
    told = [p["text"] for p in read.named("p") if p["text"].startswith("Not as expected:")]
    assert told == ["Not as expected: aot_bound (not violated), dro_bounds (violated)."]


def test_one_claim_is_named_in_the_head_and_few_are_shown_open(entries):
    (head,) = Read(shown(entries[1:])).named("h1")
    assert head["text"] == "dro_bounds: violated, not as expected"
    many = [entry("aot_bound", ["a"], [["a"]])] * (FEW + 1)
    for listed, is_open in ((entries, True), (many, False)):
        assert {"open" in d for d in Read(shown(listed)).named("details")} == {is_open}


def test_a_click_leads_to_statement_numbers_figure_and_command(entries):
    text = shown(entries, figures={"aot_bound": PICTURE})
    read = Read(text)
    told = {d["id"]: d["text"] for d in read.named("details")}
    assert list(told) == ["aot_bound", "dro_bounds"]
    claim = entries[0].claim
    for words in (claim.title, claim.statement, claim.prediction, claim.code, claim.theory, "1.5"):
        assert words in told["aot_bound"]
    assert "distalign verify aot_bound --preset full" in told["aot_bound"]
    assert "--seed" not in told["aot_bound"]
    assert "defect 0; defect 1" in told["aot_bound"]
    (image,) = read.named("img")
    kind, _, data = image["src"].partition(",")
    assert (kind, base64.b64decode(data)) == ("data:image/png;base64", PICTURE)
    targets = {a["href"] for a in read.named("a")}
    assert targets == {"#aot_bound", "#dro_bounds"}
    assert "distalign verify aot_bound --preset quick --seed 3" in shown(entries, "quick", 3)


def test_the_page_refers_to_no_other_file(entries):
    read = Read(shown(entries, figures={"aot_bound": PICTURE}))
    links = [e.get("href") or e.get("src") for e in read.elements]
    assert [x for x in links if x and not x.startswith(("#", "data:"))] == []
    assert not read.named("link")
    assert "url(" not in shown(entries)
    assert "@import" not in shown(entries)


def test_names_are_no_markup(entries):
    bad = '<script>alert("x")</script>&'
    made = entry("aot_bound", [bad], [[bad]])
    made = replace(made, claim=replace(made.claim, statement=bad, prediction=bad, title=bad))
    read = Read(shown([made], ledger={}))
    assert len(read.named("script")) == 1
    assert len(read.named("details")) == 1
    assert bad in read.named("details")[0]["text"]


def test_what_differs_from_the_committed_ledger_is_told(entries):
    ledger = committed(entries)
    assert changes(entries, ledger, numbers=True) == []
    assert "Nothing differs" in shown(entries)
    ledger["aot_bound"]["verdict"] = "violated"
    ledger["dro_bounds"]["statistic"] = "1.4"
    both = changes(entries, ledger, numbers=True)
    assert [(c.slug, c.before, c.now, c.verdict) for c in both] == [
        ("aot_bound", "violated (1.5)", "not violated (1.5)", True),
        ("dro_bounds", "violated (1.4)", "violated (1.5)", False),
    ]
    assert [c.slug for c in changes(entries, ledger, numbers=False)] == ["aot_bound"]
    (table,) = Read(shown(entries, ledger=ledger)).named("table", **{"class": "changed"})
    assert "violated (1.4)" in table["text"]
    assert "1.4" not in Read(shown(entries, "quick", ledger=ledger)).named("table")[0]["text"]
    del ledger["aot_bound"]
    assert changes(entries, ledger, numbers=True)[0].before == ""
    assert "not in it" in shown(entries, ledger=ledger)


def test_numbers_that_agree_to_three_digits_do_not_differ(entries):
    ledger = committed(entries)
    ledger["aot_bound"]["statistic"] = "1.5001"
    assert changes(entries, ledger, numbers=True) == []


def test_verify_writes_the_page_with_its_figure(tmp_path):
    found = verify("aot_null", preset="test", out=tmp_path, workers=1)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    read = Read(text)
    cells = [a for a in read.named("a") if a.get("class", "").startswith("cell")]
    assert len(cells) == len(found.checks)
    assert [int(c["text"]) for c in cells] == found.checks.fails_on.tolist()
    (image,) = read.named("img")
    assert (
        base64.b64decode(image["src"].partition(",")[2]) == (tmp_path / "figures/aot_null.png").read_bytes()
    )
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b|" + re.escape(str(tmp_path)), text)
    assert write_page(found.entries, tmp_path, "test", 0).read_text(encoding="utf-8") == text
