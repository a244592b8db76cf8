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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Processes that share the suite (`make test`) take whole files, so that fixtures are made once, and the
    claims of test_studies one by one.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFileOrClaim(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return nodeid.rpartition("[")[2] if file.endswith("test_studies.py") else file

    return ByFileOrClaim(config, log)
