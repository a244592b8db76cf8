"""Every claim, small: the verdict it expects, each check seen to fail, the headline by the code it names."""

import importlib
import inspect
import os
import random

import pandas as pd
import pytest

from distalign.claims import CLAIMS
from distalign.figures import committed, drawing
from distalign.simulation import ledger, sweep
from distalign.simulation.verification import worker_count

# Of a claim whose digest is the committed one (tests/map refuses others) this computes what the committed
# controls hold. By default as many claims are drawn as fit into the seconds, others when a table changes.
SECONDS = 80
TABLES = committed("provenance").with_suffix(".json").read_bytes()
DRAWN = random.Random(TABLES).sample(CLAIMS, len(CLAIMS))
SOME = [
    c for i, c in enumerate(DRAWN) if sum(before.seconds["quick"] for before in DRAWN[: i + 1]) <= SECONDS
]
SMALL = [pytest.param(c, id=c.slug, marks=() if c in SOME else pytest.mark.exhaustive) for c in CLAIMS]


@pytest.fixture(scope="module", params=SMALL)
def entry(request, tmp_path_factory):
    claim, folder = request.param, tmp_path_factory.mktemp("cells")
    plan = ledger.plan([claim], "test", seed=0)[claim.slug]
    sweep.run(plan.all, folder, workers=1 if "PYTEST_XDIST_WORKER" in os.environ else worker_count(0))
    return ledger.entry(claim, plan, folder)


def test_claim(entry):
    assert entry.verdict.passed, [c for c in entry.verdict.checks if not c.passed]
    assert entry.verdict.outcome == entry.claim.expects
    assert len({c.name for c in entry.verdict.checks}) == len(entry.verdict.checks)
    assert not entry.unseen
    assert entry.as_expected


def test_headline_fails_on_a_defect_in_the_code_that_the_claim_names(entry):
    module, _, name = entry.claim.code.rpartition(".")
    code = inspect.unwrap(getattr(importlib.import_module(module), name))
    study = importlib.import_module(entry.claim.study)
    here = [d.text for d in study.DEFECTS if inspect.unwrap(d.of) is code]
    assert set(here) & set(entry.fails_on(entry.verdict.leading.name)), here


def test_figure_is_drawn_from_the_table_alone(entry, tmp_path):
    if not entry.claim.figure:
        return
    path = tmp_path / "table.csv"
    entry.table.to_csv(path, index=False)
    check_labels(drawing(entry.claim.slug)(pd.read_csv(path)))


def check_labels(figure):
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    assert figure.legends or any(axes.get_legend() for axes in figure.axes)


def test_every_committed_figure_has_its_labels():
    for claim in CLAIMS:
        if claim.figure:
            check_labels(drawing(claim.slug)(pd.read_csv(committed(claim.slug))))
