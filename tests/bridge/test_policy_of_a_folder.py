"""`--policy lm:DIR`: every claim on a language model runs on the model of a folder, beside frozen weights."""

import pytest

from distalign.claims import CLAIMS
from distalign.claims.policy import with_policy
from distalign.simulation import sweep
from tests.training.tiny import save_tiny

# A sample that covers what once failed: prompts of different lengths, inputs that ask for no gradient, more
# prompts than are written for a model of texts.
SAMPLE = {
    ("lm_f_dpo_frontier", ""),
    ("lm_aot_unpaired", ""),
    ("free_distortion", "DPO"),
    ("free_shift", "WDPO"),
    ("free_dominance", "paired"),
}
CLAIMED = [claim for claim in CLAIMS if claim.world == "language model" and claim.slug != "free_oracle"]


def cells(claim):
    """The first cell of each method; `quick`, but for the number of updates."""
    preset = dict(claim.presets["quick"])
    if "steps" in preset:
        preset["steps"] = 4
    found = {}
    for cell in sweep.cells_of(claim.slug, claim.study, preset, 0):
        found.setdefault(str(cell.arguments.get("method", cell.arguments.get("divergence", ""))), cell)
    return found


CASES = [
    pytest.param(claim, method, marks=() if (claim.slug, method) in SAMPLE else pytest.mark.exhaustive)
    for claim in CLAIMED
    for method in cells(claim)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("of texts") / "model"
    save_tiny(folder)
    return folder


@pytest.mark.parametrize(("claim", "method"), CASES, ids=lambda value: getattr(value, "slug", value))
def test_runs(folder, claim, method):
    said = []
    (claim,) = with_policy([claim], f"lm:{folder}", said.append)
    rows = sweep.computed(cells(claim)[method])
    assert len(rows)
    assert bool(said) == (claim.slug in ("lm_f_dpo_frontier", "lm_aot_unpaired", "free_dominance"))


def test_the_sample_is_of_cases():
    assert {(claim.slug, method) for claim in CLAIMED for method in cells(claim)} >= SAMPLE
