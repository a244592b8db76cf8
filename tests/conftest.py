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
