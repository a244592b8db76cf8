"""All links resolve: from a claim's slug to its code, theory, study, figure, committed table and README row."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from distalign.bibliography import PAPERS
from distalign.claims import CLAIMS
from distalign.figures import committed
from distalign.simulation.source import source_digest

ROOT = Path(__file__).parents[2]


def resolve(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.slug)
def test_every_link_of_a_claim(claim):
    assert callable(resolve(claim.code))
    assert callable(resolve(claim.theory))
    study = importlib.import_module(claim.study)
    assert all(callable(getattr(study, f)) for f in ("cells", "run", "table", "checks"))
    assert study.DEFECT
    assert set(claim.presets) == {"test", "quick", "full"} == {*claim.seconds, "test"}
    assert (ROOT / "paper_figures" / f"{claim.slug}.py").is_file() == claim.figure
    assert claim.papers
    assert f"`{claim.slug}`" in (ROOT / "README.md").read_text()


def test_slugs_and_papers_are_unique():
    assert len({c.slug for c in CLAIMS}) == len(CLAIMS)
    assert len({p.key for p in PAPERS}) == len(PAPERS)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.slug)
def test_committed_tables_are_of_this_source(claim):
    """A committed number comes from the full preset of the code beside it."""
    record = json.loads((committed(claim.slug).parent / "provenance.json").read_text())
    assert record["preset"] == "full"
    assert record["source"][claim.slug] == source_digest(claim.study), f"run `make full`: {claim.slug} has changed"
    assert committed(claim.slug).is_file()


LAYERS = {  # who may import whom, inside distalign
    "checks": set(), "bibliography": set(), "divergences": {"checks"}, "sorting": {"checks"},
    "preferences": {"checks", "sorting"}, "theory": {"checks"},
    "objectives": {"checks", "preferences", "divergences"}, "two_pass": {"checks", "preferences", "objectives"},
    "populations": {"checks"}, "policies": {"checks", "preferences", "populations"},
    "oracles": {"checks", "divergences"}, "solvers": {"checks", "divergences"}, "claims": {"checks", "bibliography"},
    "citation": {"checks", "bibliography", "claims"},
    "files": {"checks"}, "figures": {"checks", "files"}, "calibration": {"checks", "preferences"},
    "data_check": {"checks", "preferences"},
    "simulation": {"checks", "bibliography", "claims", "preferences", "divergences", "objectives", "theory", "populations",
                   "policies", "oracles", "solvers", "figures", "files", "two_pass", "calibration", "data_check"},
    "training": {"checks", "claims", "bibliography", "preferences", "divergences", "objectives", "two_pass", "files", "figures",
                 "calibration", "populations", "data_check"},
    "bridge": {"checks", "preferences", "divergences", "objectives", "theory", "populations", "policies", "solvers",
               "simulation", "training"},
    "integrations": {"checks", "preferences", "objectives", "two_pass"},
    "__main__": {"cli"},
    "cli": {"checks", "claims", "citation", "figures", "populations", "simulation", "training", "bridge"},
}


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ([node.module] if node.module != "distalign" else [f"distalign.{a.name}" for a in node.names])
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names)


def backward_arrows(layers):
    found = []
    for path in sorted((ROOT / "distalign").rglob("*.py")):
        layer = path.relative_to(ROOT / "distalign").parts[0].removesuffix(".py")
        if layer == "__init__":
            continue
        for name in imports_of(path):
            target = name.split(".")[1] if name.startswith("distalign.") else None
            if target and target != layer and target not in layers[layer]:
                found.append(f"{path.name} -> {name}")
    return found


def test_arrows_point_one_way():
    assert backward_arrows(LAYERS) == []


def test_the_arrow_test_can_fail():
    assert backward_arrows({**LAYERS, "preferences": set()})


def test_import_is_light():
    heavy = ("transformers", "cvxpy", "ot", "pandas")
    code = f"import sys, distalign, distalign.objectives; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
