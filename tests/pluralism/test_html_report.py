"""The page of `simulate`: what stands on it is what the tables say, names and texts are escaped, and it
refers to nothing outside of itself.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from distalign import Scenario, cli, simulate
from distalign.pluralism.result import VIEWS

SPITE = '<img src=x onerror="alert(1)">'
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "chromium-headless-shell")


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def hostile(**more):
    return Scenario(
        [[1.0, 0.0, 0.6], [0.0, 1.0, 0.6], [0.9, 0.2, 0.5]],
        name=f"pop {SPITE}",
        alternatives=[f"a {SPITE}", "b & c", "d"],
        texts=[f"text {SPITE}", "</td></table><script>alert(2)</script>", "plain"],
        groups=[f"g {SPITE}", "h", "h"],
        about=(f"about {SPITE}",),
        **more,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    found = simulate(hostile(people=30), ["reference", "Borda", "NLHF"], bootstrap=4, out=folder)
    return found, (folder / "index.html").read_text(encoding="utf-8"), folder


def test_names_and_texts_are_escaped_and_nothing_is_fetched(made):
    read = Reader(made[1])
    assert not [tag for tag, _ in read.tags if tag in ("script", "link", "iframe")]
    images = [attributes for tag, attributes in read.tags if tag == "img"]
    assert len(images) == len(VIEWS)
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    assert not [a for _, a in read.tags if "href" in a or "onerror" in a]
    text = "".join(read.words)
    for said in ("pop", "a", "text", "g", "about"):
        assert f"{said} {SPITE}" in text, said
    assert "</td></table><script>alert(2)</script>" in text


def test_the_page_holds_population_methods_choices_citations_and_command(made):
    found, page, _ = made
    text = "".join(Reader(page).words)
    (row,) = found.table.loc[found.table.method == "NLHF"].to_dict("records")
    for measure in ("gain", "average_utility", "worst_off", "distortion"):
        low, high = row[f"{measure}_low"], row[f"{measure}_high"]
        assert f"{row[measure]:.4f} [{low:.4f}, {high:.4f}]" in text, measure
    for phrase in (
        "distalign.simulate([Scenario(name=",
        "golz2025distortion",
        "It is not the distortion of the people",
        "Who wins and who loses",
        "share of users",
        "66.7%",
    ):
        assert phrase in text, phrase
    policy = found.rows.set_index("method").policy["Borda"]
    assert max(policy) == 1
    best = found.populations[f"pop {SPITE}"].alternatives[int(np.argmax(policy))]
    assert f"Borda1.000{best}" in text  # the cells of one row


def test_changes_are_against_the_same_group_under_the_reference(made):
    found = made[0]
    groups = found.groups
    stay = groups.loc[groups.method == "reference"]
    assert (stay[["change", "change_low", "change_high"]].abs() < 1e-12).all().all()
    at = stay.set_index("group").utility
    others = groups.loc[groups.method != "reference"]
    np.testing.assert_allclose(others.change, others.utility - at[others.group].to_numpy(), atol=1e-12)
    assert others.change_low.notna().all()


def test_every_view_can_be_drawn_and_a_frontier_is_not_exceeded(made):
    found = made[0]
    assert [len(found.plot(view=view)) for view in VIEWS] == [2, 2, 2, 2]  # the heat map has a scale
    curve = found.plot(view="frontier")[0].lines[0]
    on = np.interp(found.table.kl, curve.get_xdata(), curve.get_ydata())
    assert (found.table.average_utility <= on + 2e-3).all()  # the line is drawn from sixty points
    drawn = found.plot(view="wins")[0].images[0].get_array()
    assert (np.diff(np.asarray(drawn).mean(1)) <= 0).all()


def test_the_command_says_nothing_of_the_folder(tmp_path, monkeypatch):
    words = ["two_camps", "--methods", "NLHF", "--kl-budget", "0.3", "--out", str(tmp_path), "--workers=1"]
    monkeypatch.setattr(sys, "argv", ["distalign", "simulate", *words])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    text = "".join(Reader((tmp_path / "index.html").read_text(encoding="utf-8")).words)
    assert "Made by distalign simulate two_camps --methods NLHF --kl-budget 0.3\n" in text


def test_a_method_far_off_the_budget_leaves_room_for_the_others():
    """On a linear scale of KL up to 2.4e5 nats, all that keeps to a budget of 1 nat was one point."""
    for name, scale in (("loud_minority", "symlog"), ("two_camps", "linear")):
        found = simulate(name, ["Borda", "NLHF", "clipped RLHF"])
        axes = found.plot(view="frontier")[0]
        assert axes.get_xscale() == scale, name
        spent = axes.transData.transform(
            [(x, 0.0) for x in (0.0, found.table["kl"].min(), axes.get_xlim()[1])]
        )
        assert spent[1, 0] - spent[0, 0] > 0.1 * (spent[2, 0] - spent[0, 0])
        curve = axes.lines[0]
        on = np.interp(found.table.kl, curve.get_xdata(), curve.get_ydata())
        assert (found.table.average_utility <= on + 2e-3).all()


def browser():
    """The program that `DISTALIGN_BROWSER` names, or a Chromium on the path; None where there is none."""
    named = os.environ.get("DISTALIGN_BROWSER")
    return named or next((found for name in BROWSERS if (found := shutil.which(name))), None)


def test_the_page_in_a_browser(made, tmp_path):
    """Every picture is decoded, nothing ran, and something is drawn."""
    program = browser()
    if program is None:
        pytest.skip("no Chromium is installed: DISTALIGN_BROWSER=/path/to/chromium names one")
    probe = tmp_path / "probe.html"
    told = (
        "<script>addEventListener('load', () => { document.title = [...document.images]"
        ".filter(i => i.naturalWidth > 100).length + ' of ' + document.images.length; });</script>"
    )
    probe.write_text(made[1].replace("</body>", told + "</body>"), encoding="utf-8")
    flags = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}"]
    dumped = subprocess.run(
        [*flags, "--dump-dom", probe.as_uri()], capture_output=True, check=True, timeout=60
    )
    title = re.search("<title>(.*)</title>", dumped.stdout.decode())
    assert title is not None
    assert title[1] == f"{len(VIEWS)} of {len(VIEWS)}"
    shot = tmp_path / "shot.png"
    page = (made[2] / "index.html").as_uri()
    drawn = [*flags, "--window-size=1000,2000", f"--screenshot={shot}", page]
    subprocess.run(drawn, capture_output=True, check=True, timeout=60)
    assert struct.unpack(">II", shot.read_bytes()[16:24]) == (1000, 2000)
    assert shot.stat().st_size > 50_000  # a blank page is packed into a tenth of that


ROOM = """
<script>
addEventListener('load', () => {
  const told = {
    beyond: document.documentElement.scrollWidth - innerWidth,
    inch: Math.min(...[...document.images].map(i => 200 * i.getBoundingClientRect().width / i.naturalWidth)),
    line: Math.max(...[...document.querySelectorAll('.whole td')].map(c => c.getBoundingClientRect().height)),
    cut: Math.max(...[...document.querySelectorAll('.wide')].map(t => t.scrollWidth - t.clientWidth)),
  };
  document.body.innerHTML = '<pre id=told>' + JSON.stringify(told) + '</pre>';
});
</script>
"""


@pytest.mark.parametrize(("width", "inch"), [(1280, 120), (500, 80)])
def test_the_page_has_room(made, tmp_path, width, inch):
    """Figures are drawn at a size in which text of 7 points is read, rows are one line, nothing is beyond."""
    program = browser()
    if program is None:
        pytest.skip("no Chromium is installed: DISTALIGN_BROWSER=/path/to/chromium names one")
    probe = tmp_path / "probe.html"
    probe.write_text(made[1].replace('loading="lazy"', "").replace("</body>", ROOM + "</body>"), "utf-8")
    flags = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}"]
    dumped = subprocess.run(
        [*flags, f"--window-size={width},1000", "--dump-dom", probe.as_uri()],
        capture_output=True,
        check=True,
        timeout=60,
    )
    found = re.search('<pre id="told">(.*)</pre>', dumped.stdout.decode())
    assert found is not None
    told = json.loads(found[1])
    assert told["beyond"] <= 0
    assert told["inch"] >= inch
    assert told["line"] < 32
    if width == 1280:
        assert told["cut"] <= 1
