"""What several test folders share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real preference data: $DISTALIGN_DATA, or shared/data beside the checkout; skips without
    one.
    """
    named = os.environ.get("DISTALIGN_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: set DISTALIGN_DATA to a folder with ukp_convarg1/votes.csv.gz")
    return folder


def pytest_collection_modifyitems(items):
    """Two processes share the suite (`make test`): a file stays on one of them, so that its fixtures are made
    once, unless its tests name groups of their own.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
