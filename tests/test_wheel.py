"""The wheel, away from the repository: what `pip install distalign` gives is whole.

Dependencies are those of this environment; `make wheel` does the same in an environment that was empty.
"""

import os
import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from build import ProjectBuilder
from build.env import DefaultIsolatedEnv

from distalign.claims import CLAIMS

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def ran(*words, **options):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """An empty folder, and the installed wheel before everything else on the path."""
    folder = tmp_path_factory.mktemp("wheel")
    built = ran("-m", "build", "--wheel", "--outdir", str(folder), str(ROOT))
    if built.returncode:
        pytest.skip(
            f"the wheel's build backend could not be fetched: {built.stderr.strip().splitlines()[-1:]}"
        )
    (wheel,) = folder.glob("*.whl")
    ran(
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(folder / "site"),
        str(wheel),
        check=True,
    )
    (folder / "empty").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "site"),
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": "1",
    }
    return {"cwd": folder / "empty", "env": environment}


def test_it_carries_tables_and_captions_and_no_pictures(outside):
    carried = Path(outside["env"]["PYTHONPATH"]) / "distalign" / "paper_figures"
    assert (carried / "tables" / "aot_rate.csv").is_file()
    assert (carried / "figures" / "aot_rate.txt").is_file()
    kinds = {path.suffix for path in carried.rglob("*") if path.is_file()}
    assert kinds <= {".py", ".pyc", ".csv", ".json", ".txt"}
    (wheel,) = outside["cwd"].parent.glob("*.whl")
    assert wheel.stat().st_size < 1.85e6  # 1.80 MB, of which the code is most; 9.9 MB with pictures


def test_its_tables_are_those_that_are_drawn_with_six_digits(outside):
    carried = Path(outside["env"]["PYTHONPATH"]) / "distalign" / "paper_figures" / "tables"
    whole = ROOT / "paper_figures" / "tables"
    drawn = {c.slug for c in CLAIMS if c.figure} | {"overview"}
    assert {path.stem for path in carried.glob("*.csv")} == drawn | {"ledger", "few_defects"}
    for name in ("ledger.csv", "few_defects.csv"):
        assert (carried / name).read_bytes() == (whole / name).read_bytes()
    for slug in drawn:
        short, exact = (pd.read_csv(folder / f"{slug}.csv") for folder in (carried, whole))
        pd.testing.assert_frame_equal(short, exact, rtol=5e-6, atol=0)
    digits = re.findall(r"\d+\.\d+", (carried / "ratio_stability.csv").read_text(encoding="utf-8"))
    assert max(len(number.strip("0.").replace(".", "")) for number in digits) == 6


class Hook:
    """In place of hatchling's, which only the environment of a build has."""

    __class_getitem__ = classmethod(lambda cls, _item: cls)


def test_the_package_index_is_shown_no_link_that_leads_nowhere(outside, monkeypatch):
    (told,) = Path(outside["env"]["PYTHONPATH"]).glob("distalign-*.dist-info/METADATA")
    shown = told.read_text(encoding="utf-8").partition("\n\n")[2]
    assert shown.startswith("# distalign")
    assert "(https://arxiv.org/abs/2406.05882)" in shown
    assert [link for link in re.findall(r"\]\(([^)]+)\)", shown) if "://" not in link] == []
    for room, name in (("builders.hooks", "BuildHookInterface"), ("metadata", "MetadataHookInterface")):
        place = f"hatchling.{room}.plugin.interface"
        monkeypatch.setitem(sys.modules, place, SimpleNamespace(**{name: Hook}))
    built = runpy.run_path(str(ROOT / "hatch_build.py"))["for_the_index"]
    assert built("![a](p/a.png) [b](docs/b.md#c) [d](https://d)") == " b [d](https://d)"
    assert built("![a](p/a.png) [b](docs/b.md#c)", "https://host/x") == (
        "![a](https://host/x/raw/HEAD/p/a.png) [b](https://host/x/blob/HEAD/docs/b.md#c)"
    )


def test_it_is_the_wheel_that_runs(outside):
    place = ran("-c", "import distalign; print(distalign.__file__)", **outside).stdout
    assert outside["env"]["PYTHONPATH"] in place


def test_type_checkers_are_told_of_the_annotations(outside):
    assert (Path(outside["env"]["PYTHONPATH"]) / "distalign/py.typed").is_file()


def test_ls_verify_figure_cite(outside):
    listed = ran("-m", "distalign", "ls", **outside)
    assert "aot_rate" in listed.stdout, listed.stderr
    verified = ran("-m", "distalign", "verify", "aot_null", "--workers", "1", **outside)
    assert verified.returncode == 0, verified.stderr
    assert (outside["cwd"] / "out/verify/figures/aot_null.png").is_file()
    drawn = ran("-m", "distalign", "figure", "aot_rate", **outside)
    assert drawn.returncode == 0, drawn.stderr
    assert (outside["cwd"] / "out/figures/aot_rate.pdf").is_file()
    assert "melnyk2024aot" in ran("-m", "distalign", "cite", "out/verify", **outside).stdout


def test_recipes_are_shipped(outside):
    assert "llama31_8b_kldpo_lora" in ran("-m", "distalign", "recipes", "ls", **outside).stdout


def test_the_editable_install_of_make_venv_can_be_built(tmp_path, outside):
    """hatchling builds wheels of moved `sources`, and refuses editable ones of the same table."""
    with DefaultIsolatedEnv() as environment:
        backend = ProjectBuilder.from_isolated_env(environment, ROOT)
        environment.install(backend.build_system_requires)
        wheel = backend.build("editable", tmp_path)
    with zipfile.ZipFile(wheel) as files:
        (named,) = (name for name in files.namelist() if name.endswith(".pth"))
        assert Path(files.read(named).decode().strip()) == ROOT
