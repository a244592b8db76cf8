"""What several test folders share."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from distalign import cli


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """The command line inside this process, in an empty folder."""

    def called(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["distalign", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return SimpleNamespace(returncode=left.value.code, stdout=captured.out, stderr=captured.err)

    return called


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
    """Processes that share the suite begin with the files that have slow tests, so that they end together."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Processes that share the suite (`make test`) take whole files, so that fixtures are made once, and the
    claims of test_studies one by one, in the order in which they were collected.
    """
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False

    class ByFileOrClaim(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return nodeid.rpartition("[")[2] if file.endswith("test_studies.py") else file

    return ByFileOrClaim(config, log)
