"""All links resolve: from a claim's slug to its code, theory, study, figure, committed table and README
row.
"""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from distalign.bibliography import PAPERS
from distalign.claims import CLAIMS
from distalign.figures import committed
from distalign.intervals import FAMILY
from distalign.simulation.ledger import asked
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
    assert study.DEFECTS
    assert len({d.text for d in study.DEFECTS}) == len(study.DEFECTS)
    assert set(claim.presets) - {"control"} == {"test", "quick", "full"} == {*claim.seconds, "test"}
    assert (ROOT / "paper_figures" / f"{claim.slug}.py").is_file() == claim.figure
    assert claim.papers
    assert f"`{claim.slug}`" in (ROOT / "docs/claims.md").read_text()


def test_slugs_and_papers_are_unique():
    assert len({c.slug for c in CLAIMS}) == len(CLAIMS)
    assert len({p.key for p in PAPERS}) == len(PAPERS)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.slug)
def test_committed_tables_are_of_this_source(claim):
    """A committed number comes from the full preset of the code beside it."""
    record = json.loads((committed(claim.slug).parent / "provenance.json").read_text())
    assert record["preset"] == "full"
    assert record["source"][claim.slug] == source_digest(claim.study), (
        f"run `make full`: {claim.slug} has changed"
    )
    assert record["asked"][claim.slug] == asked(claim, "full"), claim.slug
    assert committed(claim.slug).is_file()


def test_the_family_of_exponents_is_as_large_as_it_is_said_to_be():
    """The level of intervals that must hold an exponent is set for so many of them."""
    checks = pd.read_csv(committed("aot_rate").parent / "checks.csv")
    exponents = checks[checks.outcome.str.contains("match")]
    assert 0.9 * FAMILY <= len(exponents) <= FAMILY


BASE = {"_lazy", "checks", "types"}
FORMULAS = BASE | {"arguments"}
# who may import whom, inside distalign; a room that is named with its folder has a rule of its own
LAYERS = {
    "_lazy": set(),
    "types": set(),
    "checks": set(),
    "arguments": BASE,
    "bibliography": set(),
    "divergences": BASE,
    "sorting": BASE,
    "files": BASE,
    "inputs": BASE,
    "preferences": BASE | {"sorting"},
    "progress": BASE,
    "theory": FORMULAS,
    "objectives": BASE | {"preferences", "divergences"},
    "two_pass": BASE | {"preferences", "objectives"},
    "policy_gradient": BASE | {"divergences"},
    "step": BASE | {"preferences", "objectives", "two_pass"},
    "populations": FORMULAS,
    "policies": BASE | {"preferences", "populations"},
    "oracles": FORMULAS | {"divergences"},
    "solvers": FORMULAS | {"divergences"},
    "solvers.robust": FORMULAS | {"solvers"},
    "solvers.choice": FORMULAS | {"solvers"},
    "claims": BASE | {"bibliography"},
    "citation": BASE | {"bibliography", "claims"},
    "figures": BASE | {"files"},
    "report": BASE | {"files", "figures", "simulation"},
    "intervals": BASE,
    "calibration": BASE | {"preferences"},
    "data_check": BASE | {"intervals", "preferences"},
    "simulation": BASE
    | {
        "bibliography",
        "claims",
        "figures",
        "files",
        "intervals",
        "preferences",
        "divergences",
        "objectives",
        "progress",
        "sorting",
        "two_pass",
        "policy_gradient",
        "theory",
    }
    | {
        "populations",
        "policies",
        "oracles",
        "solvers",
        "solvers.robust",
        "solvers.choice",
        "calibration",
        "data_check",
    },
    "pluralism": BASE
    | {
        "bibliography",
        "figures",
        "files",
        "intervals",
        "inputs",
        "preferences",
        "progress",
        "objectives",
        "populations",
        "policies",
        "solvers",
    }
    | {"solvers.choice", "pluralism.sources", "simulation"},  # the fit of a policy and the resumable sweep
    "pluralism.sources": BASE
    | {"inputs", "files", "populations", "pluralism", "simulation"},  # a fit is kept
    "training.recipe": BASE | {"preferences", "objectives", "policy_gradient", "inputs", "training.data"},
    "training.data": BASE | {"files", "inputs", "preferences", "progress"},
    "training.parallel": BASE | {"two_pass"},
    "training.model": BASE | {"files", "training.data", "training.parallel", "progress"},
    "training.memory": BASE | {"figures", "objectives", "training.recipe", "training.model"},
    "training.evaluation": BASE
    | {
        "report",
        "bibliography",
        "claims",
        "figures",
        "files",
        "intervals",
        "preferences",
        "divergences",
        "objectives",
        "calibration",
    }
    | {"training.recipe", "training.data", "training.parallel", "progress", "training.model"},
    "training": BASE
    | {
        "figures",
        "report",
        "files",
        "preferences",
        "progress",
        "objectives",
        "two_pass",
        "step",
        "data_check",
        "training.recipe",
        "training.data",
    }
    | {"training.parallel", "progress", "training.model", "training.memory", "training.evaluation"},
    "training.demo": BASE
    | {
        "figures",
        "objectives",
        "training",
        "training.recipe",
        "training.data",
        "training.model",
        "training.evaluation",
    },
    "bridge": BASE
    | {
        "calibration",
        "claims",
        "two_pass",
        "preferences",
        "divergences",
        "objectives",
        "theory",
        "populations",
        "policies",
        "solvers",
        "solvers.choice",
    }
    | {
        "solvers.robust",
        "step",
        "simulation",
        "intervals",
        "training",
        "training.data",
        "training.model",
        "training.evaluation",
        "training.demo",
    }
    | {"calibration", "files", "figures", "pluralism", "pluralism.sources", "progress"}
    | {"policy_gradient", "training.recipe", "training.parallel"},
    "integrations": BASE | {"preferences", "objectives", "two_pass"},
    "__main__": {"cli"},
    "cli": BASE
    | {"claims", "citation", "figures", "files", "progress", "report", "pluralism", "simulation", "training"}
    | {"bridge"},
}


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                [node.module] if node.module != "distalign" else [f"distalign.{a.name}" for a in node.names]
            )
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names)


def room_of(module):
    """The most particular room of LAYERS that holds a module of distalign."""
    parts = module.split(".")[1:]
    if parts[:1] == ["training"] and len(parts) > 1 and parts[1].startswith("recipe"):
        return "training.recipe"
    return next(
        (".".join(parts[:n]) for n in (2, 1) if ".".join(parts[:n]) in LAYERS), parts[0] if parts else ""
    )


def backward_arrows(layers, tree=ROOT / "distalign"):
    found = []
    for path in sorted(tree.rglob("*.py")):
        parts = path.relative_to(tree).with_suffix("").parts
        if parts == ("__init__",):
            continue
        room = room_of(".".join(("distalign", *(part for part in parts if part != "__init__"))))
        for name in imports_of(path):
            target = room_of(name) if name.startswith("distalign.") else None
            if target and target != room and target not in layers[room]:
                found.append(f"{path.relative_to(tree)} -> {name}")
    return found


def test_arrows_point_one_way():
    assert backward_arrows(LAYERS) == []


def test_the_arrow_test_can_fail(tmp_path):
    """Seen on a rule that forbids too much, and on an arrow from the seam up into each new room."""
    assert backward_arrows({**LAYERS, "preferences": set()})
    for room in (
        "training.model.scorer",
        "pluralism.scenario",
        "solvers.choice.games",
        "bridge.candidates.policies",
    ):
        (tmp_path / "preferences.py").write_text(f"def late():\n    from distalign.{room} import anything\n")
        assert backward_arrows(LAYERS, tmp_path) == [f"preferences.py -> distalign.{room}"]
    (tmp_path / "preferences.py").unlink()
    (tmp_path / "training" / "data").mkdir(parents=True)
    (tmp_path / "training" / "data" / "rows.py").write_text(
        "from distalign.training.model.scorer import Scorer\n"
    )
    assert backward_arrows(LAYERS, tmp_path) == ["training/data/rows.py -> distalign.training.model.scorer"]


def test_import_is_light():
    heavy = ("transformers", "cvxpy", "ot", "pandas")
    code = f"import sys, distalign, distalign.objectives; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
