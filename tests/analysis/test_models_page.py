"""The table of architectures is what is measured; the measuring sees a planted defect."""

import os
import subprocess
import sys
import warnings

import pandas as pd
import pytest

from tests.analysis.test_pages import ROOT  # isort: skip  # puts analysis on the path
from analysis import models

with warnings.catch_warnings():  # third-party deprecations at import are not this test's concern
    warnings.simplefilter("ignore")
    import peft  # noqa: F401

from distalign.training.model import probes
from distalign.training.model.shared_prompt import Sharing

pytestmark = pytest.mark.filterwarnings("ignore")  # of third parties, about models that few people use
FEW = ["llama", "gemma3", "gpt_neo", "phi3, longrope"]


def committed():
    return pd.read_csv(models.TABLE, keep_default_na=False)


def measured(names):
    """In this process: a fork of one in which other tests have started threads can wait for ever."""
    return models.table(models.measure(name, half_too=False) for name in names)


def test_no_architecture_of_the_table_is_wrong_or_ends_without_a_sentence():
    table = committed()
    assert len(table) > 195
    assert not table.kind.isin(["wrong", "crash"]).any()
    assert (table.kind[table.kind.str.startswith("exact")] == "exact").sum() > 90
    assert (table.reason[table.kind == "refused"] != "").all()
    assert models.TABLE.parent == ROOT / "docs"


def test_a_few_architectures_measured_anew_are_as_in_the_table():
    found, table = measured(FEW), committed().set_index("architecture")
    assert found.kind.tolist() == table.kind[FEW].tolist() == ["exact", "exact", "exact unshared", "exact"]


def test_the_sweep_sees_windows_that_are_not_kept(monkeypatch):
    """Planted: a plain causal mask for every layer, and no probe that would notice."""
    monkeypatch.setattr(Sharing, "of_a_text", lambda *ignored: None)
    assert measured(["gemma3"]).kind.tolist() == ["exact unshared"]  # the probe notices
    monkeypatch.setattr(probes, "_differ", lambda *ignored: False)
    assert measured(["gemma3"]).kind.tolist() == ["wrong"]


@pytest.mark.exhaustive
@pytest.mark.timeout(7200)
def test_every_architecture_measured_anew_is_as_in_the_table(tmp_path):
    """About ten minutes. After a change of transformers or of the scorer: `python -m analysis.models`."""
    code = "from analysis.models import *; table(sweep(None, False)).to_csv('found.csv', index=False)"
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=path, check=True)
    found, table = pd.read_csv(tmp_path / "found.csv", keep_default_na=False), committed()
    assert found.architecture.tolist() == table.architecture.tolist()
    assert found.kind.tolist() == table.kind.tolist()
    assert not found.kind.isin(["wrong", "crash"]).any()
