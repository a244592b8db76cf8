"""The mutation run itself: which mistakes it makes, where it plants them, which tests it asks."""

import ast
import inspect

import pytest

from distalign.theory.distortion import constants
from tests.mutants.changes import draw, mutants_in, mutants_of
from tests.mutants.reach import asked_of, claims_of

SOURCE = '''
def f(x, y: int = 3):
    """A docstring with 1 number."""
    if not x <= 2 and y:
        raise ValueError(f"{x + 1}")
    return max(x.sum(), -0.5) * y
'''
EXPECTED = [
    ("And -> Or", "not x <= 2 or y"),
    ("not x -> bool(x)", "not not x <= 2 and y"),
    ("LtE -> Lt", "not x < 2 and y"),
    ("2 -> 3", "not x <= 3 and y"),
    ("Mult -> Div", "max(x.sum(), -0.5) / y"),
    ("max -> min", "min(x.sum(), -0.5) * y"),
    (".sum -> .mean", "max(x.mean(), -0.5) * y"),
    ("-x -> x", "max(x.sum(), +0.5) * y"),
    ("0.5 -> 0.55", "max(x.sum(), -0.55) * y"),
]


def test_every_mutant_of_a_function_is_one_small_mistake():
    tree = ast.parse(SOURCE).body[0]
    whole = ast.unparse(tree)
    found = [(m.mutation, ast.unparse(m.spoilt())) for m in mutants_of("f.py", "f", tree)]
    assert [text for text, _ in found] == [text for text, _ in EXPECTED]
    for (_, spoilt), (_, line) in zip(found, EXPECTED, strict=True):
        (changed,) = {*spoilt.splitlines()} - {*whole.splitlines()}
        assert changed.strip() in (f"if {line}:", f"return {line}")


def test_a_mutant_is_planted_in_the_function_that_everybody_calls(monkeypatch):
    right = constants.borda_distortion(1.5)
    inner = inspect.unwrap(constants.borda_distortion)  # what `checked` stands above
    monkeypatch.setattr(inner, "__code__", inner.__code__)
    next(m for m in mutants_in("theory") if m.function == "borda_distortion").plant()
    assert constants.borda_distortion(1.5) != right
    monkeypatch.undo()
    assert constants.borda_distortion(1.5) == right


def test_a_draw_is_that_of_its_seed_and_even_over_packages():
    first = draw(60, 3)
    assert first == draw(60, 3) != draw(60, 4)
    packages = [m.file.split("/")[1] for m in first]
    assert {packages.count(p) for p in packages} == {10}


@pytest.mark.parametrize(
    ("line", "budget", "expected"),
    [(4, 9.0, ["b", "a"]), (4, 1.5, ["b"]), (6, 9.0, ["c"]), (5, 9.0, ["b", "a"])],
)
def test_the_tests_that_reach_a_line_come_quickest_first(line, budget, expected):
    tree = ast.parse(SOURCE).body[0]
    mutant = next(m for m in mutants_of("f.py", "f", tree))
    object.__setattr__(mutant, "line", line)
    known = {"seconds": {"a": 2.0, "b": 1.0, "c": 5.0}, "lines": {"f.py": {"4": ["a", "b"], "6": ["c"]}}}
    assert asked_of(mutant, known, budget)[0] == expected


def test_claims_are_those_whose_study_reaches_the_function():
    mutant = next(m for m in mutants_in("simulation") if m.file.endswith("/borda_distortion.py"))
    assert claims_of(mutant, 3) == ["tests/simulation/test_studies.py::test_claim[borda_distortion]"]
