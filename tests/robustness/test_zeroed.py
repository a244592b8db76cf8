"""A hole of zeros in a file that is read back is never taken for what was written."""

from collections import Counter

import pytest

from tests.robustness.zeroed import GOOD, Artefact, artefacts, verdicts

NAMES = (
    "reference cache",
    "samples.jsonl",
    "samples.parquet",
    "rows of a cell",
    "fit of a survey",
    "penalties of a survey",
    "population of a cell",
    "checkpoint/optimiser-0.safetensors",
    "checkpoint/state.json",
    "checkpoint/metrics.csv",
    "checkpoint/model/config.json",
    "checkpoint/manifest.json",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return {artefact.name: artefact for artefact in artefacts(tmp_path_factory.mktemp("artefacts"))}


@pytest.mark.parametrize("name", NAMES)
def test_a_hole_at_twenty_places(made, name):
    assert set(made) == set(NAMES)
    found = list(verdicts(made[name], seed=19))
    assert len(found) >= min(20, made[name].path.stat().st_size // 2)
    assert {said for _, said in found} <= GOOD, found


def test_a_reader_that_believes_a_hole_is_seen(tmp_path):
    path = tmp_path / "text"
    path.write_text("words " * 20)
    naive = Artefact("text", path, path.read_text, lambda found: found == "words " * 20)
    assert Counter(said for _, said in verdicts(naive, 0)) == {"used": 20}
