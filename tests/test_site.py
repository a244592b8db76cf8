"""The site as a reader sees it, in headless Chromium: no table or code wider than its column, every equation
set, thumbnails in a grid, the search finds. Skipped where there is no Chromium, and what looks at built pages
where `make docs` has not been run.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = Path(os.environ.get("DISTALIGN_SITE", ROOT / "out/docs"))
NAMES = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next((p for p in map(shutil.which, NAMES) if p), None)
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
built = pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="run `make docs` first")

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--window-size=1280,1000")
FLAGS += ("--virtual-time-budget=20000",)
MEASURE = """
<script>
addEventListener("load", () => setTimeout(() => {
  const wide = [...document.querySelectorAll("article table, body > table")].map(table => {
    const column = table.closest("article") || document.body;
    const room = column.getBoundingClientRect().right - table.getBoundingClientRect().left;
    const width = Math.max(table.scrollWidth, table.getBoundingClientRect().width);
    return [width - room, table.innerText.slice(0, 60)];
  }).filter(found => found[0] > 1);
  const told = {
    wide, tables: document.querySelectorAll("table").length,
    beyond: document.documentElement.scrollWidth - innerWidth,
    unset: document.querySelectorAll("mjx-merror, [data-mml-node=merror]").length,
    equations: document.querySelectorAll("mjx-container").length,
    pictures: [...document.querySelectorAll(".thumbnails img")].map(i => i.getBoundingClientRect().width),
    found: document.querySelectorAll("ul.search li").length,
  };
  document.body.innerHTML = "<pre id=told></pre>";
  document.getElementById("told").textContent = JSON.stringify(told);
}, DELAY));
</script>
"""


def measured(page, folder, *, delay=200, query=""):
    """What Chromium, 1,280 pixels wide, finds on a page; the page is copied beside itself with a script."""
    copy = folder / f"measured_{page.name}"
    copy.write_text(page.read_text(encoding="utf-8") + MEASURE.replace("DELAY", str(delay)), encoding="utf-8")
    try:
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"{copy.as_uri()}{query}"],
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        copy.unlink()
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told, done.stderr[-2000:]
    return json.loads(told[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@in_a_browser
def test_a_table_that_is_too_wide_is_found(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><table><tr><td>" + "x" * 400 + "</td></tr></table>")
    assert len(measured(page, tmp_path)["wide"]) == 1
    page.write_text("<!DOCTYPE html><table><tr><td>x</td></tr></table>")
    assert measured(page, tmp_path)["wide"] == []


PAGES = [
    *[
        "index",
        "start",
        "how_to",
        "choosing",
        "populations",
        "data",
        "fine_tuning",
        "understanding",
        "claims",
        "gallery",
        "worlds",
    ],
    *[
        "coverage",
        "controls",
        "data_dictionary",
        "models",
        "speed",
        "real_votes",
        "intervals",
        "api/objectives",
        "api/commands",
    ],
    *(f"notebooks/{path.stem}" for path in sorted((ROOT / "notebooks").glob("*.py"))),
    *[
        "api/distalign.objectives.kldpo",
        "api/distalign.solvers.kkt",
        "api/distalign.theory.density_ratio.asymptotics",
    ],
]


@in_a_browser
@built
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_column_and_every_equation_is_set(name):
    page = SITE / f"{name}.html"
    told = measured(page, page.parent, delay=1500)
    assert told["wide"] == []
    assert told["beyond"] <= 0
    assert told["unset"] == 0
    written = len(re.findall(r'class="math notranslate', page.read_text(encoding="utf-8")))
    assert told["equations"] == written
    assert not told["pictures"] or max(told["pictures"]) < 260


@in_a_browser
@built
def test_the_search_finds_an_objective():
    told = measured(SITE / "search.html", SITE, delay=3000, query="?q=kldpo")
    assert told["found"] > 3


@built
def test_nothing_is_fetched():
    for page in (SITE / "index.html", SITE / "understanding.html", SITE / "search.html"):
        scripts = re.findall(
            r'(?:<script[^>]*src|<link[^>]*href)="([^"]+)"', page.read_text(encoding="utf-8")
        )
        assert scripts
        assert [s for s in scripts if "://" in s] == []
    assert (SITE / "_static/tex-svg.js").is_file()
