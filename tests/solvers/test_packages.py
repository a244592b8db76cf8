"""What the packages of solvers and oracles offer, and that offering it costs no heavy import."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import distalign

PACKAGES = ("solvers", "solvers.robust", "solvers.choice", "oracles")
# whatever `distalign` itself imports, the packages are imported below an empty parent
ALONE = """
import sys, types
parent = types.ModuleType("distalign")
parent.__path__ = [{path!r}]
sys.modules["distalign"] = parent
for package in {packages}:
    __import__("distalign." + package)
{more}
print([m for m in ("torch", "cvxpy", "ot", "pandas") if m in sys.modules])
"""


def loaded_alone(more=""):
    code = ALONE.format(path=str(Path(distalign.__file__).parent), packages=PACKAGES, more=more)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_packages_are_light():
    assert loaded_alone() == "[]"


def test_a_light_name_stays_light_and_a_heavy_one_is_seen():
    assert loaded_alone("from distalign.oracles import nearest_dominating") == "[]"
    assert "'ot'" in loaded_alone("from distalign.oracles import transport_cost")
    assert loaded_alone("from distalign.solvers import regularised_policy") == "['torch']"


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_offered_is_defined_in_the_package(package):
    module = import_module(f"distalign.{package}")
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name).__module__.startswith(module.__name__), name


def test_names_loaded_late_are_those_offered():
    oracles, solvers = import_module("distalign.oracles"), import_module("distalign.solvers")
    assert set(solvers._MODULE_OF) <= set(solvers.__all__)
    for package in (oracles, solvers):
        with pytest.raises(AttributeError, match="unheard_of"):
            package.unheard_of  # noqa: B018
