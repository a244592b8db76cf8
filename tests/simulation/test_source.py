"""The digest of a study: what moves it, what does not, and what it refuses to follow."""

import sys
from pathlib import Path

import pytest

from distalign.simulation import source

sys.path.insert(0, str(Path(__file__).parents[2]))  # analysis is no part of the package

from analysis.adopt import unchanged

STUDY = "distalign.study"
TREE = {
    "study.py": """
        from distalign.solver import LIMIT, solve

        def run(x):
            total = solve(x, slack=1)
            return total[:LIMIT]

        def cells(sizes):
            return sizes

        def table(rows):
            return rows

        def checks(rows):
            return rows > 0

        DEFECTS = (LIMIT,)
    """,
    "solver.py": """
        from __future__ import annotations
        from distalign.tools import scale, described

        LIMIT = 3
        UNUSED = 4

        @described(paper="one")
        def solve(x: list, slack: int = 0) -> list:
            "What it does."
            if slack < 0:
                near = max(slack, -1)
                raise ValueError(f"slack must not be negative: try {near}")
            return [scale(value) + slack for value in x]
    """,
    "tools.py": """
        FACTOR = 2.0

        def described(**facts):
            return lambda f: f

        def scale(value):
            return value * FACTOR

        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)
    """,
}


def digest(folder, monkeypatch, tree=TREE, study=STUDY, ask=source.source_digest.__wrapped__):
    """The digest of a small tree that stands in for the package."""
    import textwrap

    for path in folder.glob("*.py"):
        path.unlink()
    for name, text in tree.items():
        (folder / name).write_text(textwrap.dedent(text))
    monkeypatch.setattr(source, "PACKAGE", folder)
    for cached in (source._module, source._path, source._tokens):
        monkeypatch.setattr(source, cached.__name__, source.functools.cache(cached.__wrapped__))
    monkeypatch.setattr(source, "_known_meanings", {})
    return ask(study)


@pytest.fixture
def edited(tmp_path, monkeypatch):
    def edit(*changes, tree=TREE, **options):
        for file, old, new in changes:
            assert old in tree[file]
            tree = {**tree, file: tree[file].replace(old, new)}
        return digest(tmp_path, monkeypatch, tree, **options)

    return edit


@pytest.mark.parametrize(
    "change",
    [
        ("solver.py", "What it does.", "What else it does."),
        ("solver.py", "LIMIT = 3", "LIMIT = 3  # of them"),
        ("solver.py", "slack must not be negative", "slack is negative: give 0 or more"),
        ("solver.py", "max(slack, -1)", "min(slack, -2)"),
        ("solver.py", "x: list, slack: int", "x: tuple, slack: float"),
        ("solver.py", 'paper="one"', 'paper="another", year=2025'),
        ("solver.py", "@described", "@checked(_sound, slack=NONNEGATIVE)\n        @described"),
        ("solver.py", "value", "number"),
        ("solver.py", "UNUSED = 4", "UNUSED = 5"),
        ("study.py", "total", "answer"),
    ],
)
def test_words_names_and_what_is_not_reached_are_out(edited, change):
    assert edited(change) == edited()


def test_checks_of_a_class_are_out_and_other_decorators_are_not(edited):
    def limit(decorator):
        return "solver.py", "LIMIT = 3", f"{decorator}class LIMIT:\n            value = 3"

    plain = edited(limit(""))
    assert edited(limit("@checked(value=NONNEGATIVE)\n        ")) == plain
    assert edited(limit("@doubled(value=NONNEGATIVE)\n        ")) != plain


@pytest.mark.parametrize(
    "change",
    [
        ("study.py", "total[:LIMIT]", "total[LIMIT:]"),
        ("study.py", "slack=1", "slack=2"),
        (
            "solver.py",
            'raise ValueError(f"slack',
            'pass\n            elif slack > 9:\n                raise ValueError(f"slack',
        ),
        ("solver.py", "LIMIT = 3", "LIMIT = 4"),
        ("solver.py", "slack: int = 0", "slack: int = 1"),
        ("solver.py", "slack < 0", "slack <= 0"),
        ("solver.py", "ValueError", "KeyError"),
        ("solver.py", "scale(value) + slack", "scale(value + slack)"),
        ("tools.py", "FACTOR = 2.0", "FACTOR = 2.5"),
        ("tools.py", "value * FACTOR", "value / FACTOR"),
    ],
)
def test_an_edit_three_calls_away_moves_it(edited, change):
    assert edited(change) != edited()


def test_moving_and_renaming_a_definition_costs_nothing(edited):
    moved = {**TREE, "arithmetic.py": "UNIT = 2.0\n\ndef times(value):\n    return value * UNIT\n"}
    change = (
        "solver.py",
        "import scale, described",
        "import described\n        from distalign.arithmetic import times as scale",
    )
    assert edited(change, tree=moved) == edited()
    through = {
        **TREE,
        "solver.py": TREE["solver.py"].replace("from distalign.tools", "from distalign.front"),
        "front.py": "from distalign.tools import described, scale\n",
    }
    assert edited(tree=through) == edited()


def test_another_callee_of_the_same_shape_is_seen(edited):
    """Two functions alike but for the constant that they name."""
    both = {
        **TREE,
        "tools.py": TREE["tools.py"]
        + """
        THIRD = 3.0

        def triple(value):
            return value * THIRD
    """,
    }
    swapped = ("solver.py", "import scale, described", "import triple as scale, described")
    assert edited(swapped, tree=both) != edited(tree=both)


def test_a_local_name_like_that_of_a_definition_keeps_the_reference(edited):
    """In `[LIMIT for LIMIT in x]` the name is local, elsewhere in the function it is not: the reference must
    count.
    """
    shadow = ("study.py", "return total[:LIMIT]", "return total[:LIMIT] + [LIMIT for LIMIT in x]")
    assert edited(shadow, ("solver.py", "LIMIT = 3", "LIMIT = 4")) != edited(shadow)


@pytest.mark.parametrize("first", ["even", "odd"])
def test_definitions_that_call_each_other(edited, first):
    """The digest of one study does not depend on which study was asked before."""
    call = (
        (
            "study.py",
            "from distalign.solver import LIMIT, solve",
            f"from distalign.solver import LIMIT, solve\n        from distalign.tools import {first}",
        ),
        ("study.py", "return sizes", f"return {first}(sizes)"),
    )
    alone = edited(*call)

    def after_the_other(study):
        source._meaning("distalign.tools", "odd" if first == "even" else "even")
        return source.source_digest.__wrapped__(study)

    assert edited(*call, ask=after_the_other) == alone
    assert edited(*call, ("tools.py", "n != 0", "n > 0")) != alone


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ("study.py", "return total", "return __import__('distalign.tools') or total"),
            "imports a module by a string",
        ),
        (
            ("study.py", "return total", "return importlib.import_module(x) or total"),
            "imports a module by a string",
        ),
        (
            ("study.py", "import LIMIT, solve", "import LIMIT, solve, absent as solve"),
            "absent cannot be followed",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused(edited, change, says):
    with pytest.raises(source.SourceError, match=says):
        edited(change)


def test_a_module_used_as_a_value_stands_for_all_it_holds(edited):
    whole = (
        "study.py",
        "from distalign.solver import LIMIT, solve",
        "from distalign import tools\n        from distalign.solver import LIMIT, solve",
    )
    read = ("study.py", "return sizes", "return getattr(tools, 'odd')(sizes)")
    assert edited(whole, read, ("tools.py", "n != 0", "n > 0")) != edited(whole, read)


def test_the_subset_rule(edited):
    """Code that is only passed on by a new function leaves all definitions that were reached reached, word
    for word.
    """
    reached = {"ask": source.definitions_reached}
    before = edited(**reached)
    front = {
        **TREE,
        "solver.py": TREE["solver.py"]
        + """
        def fit(x, slack):
            return solve(x, slack)
    """,
    }
    call = (("study.py", "LIMIT, solve", "LIMIT, fit"), ("study.py", "solve(x", "fit(x"))
    assert edited(*call, tree=front) != edited()
    assert set(before) <= set(edited(*call, tree=front, **reached))
    assert not set(before) <= set(
        edited(*call, ("solver.py", "LIMIT = 3", "LIMIT = 4"), tree=front, **reached)
    )


def test_rows_do_not_grow_old_by_another_test_of_them(edited):
    """What is kept of a run is named by the digest of `run` alone."""

    def rows(study):
        return source.source_digest.__wrapped__(study, ("run",))

    judged_anew = ("study.py", "rows > 0", "rows >= 0")
    assert edited(judged_anew, ask=rows) == edited(ask=rows)
    assert edited(judged_anew) != edited()
    assert edited(("tools.py", "FACTOR = 2.0", "FACTOR = 2.5"), ask=rows) != edited(ask=rows)


def test_the_digest_of_a_real_study_is_quick_and_follows_what_it_runs():
    names = source.definitions_reached("distalign.simulation.studies.aot.aot_rate").values()
    assert "distalign.objectives.aot.aot_unpaired" in names
    assert not [name for name in names if "kldpo" in name]


def test_a_table_keeps_its_place_only_where_code_was_added():
    before = {"a": ("1", {"x": "solve", "y": "run"}), "b": ("2", {"x": "solve"}), "c": ("3", {"x": "solve"})}
    after = {
        "a": ("4", {"x": "solve", "y": "run", "z": "fit"}),
        "b": ("5", {"z": "fit"}),
        "c": ("6", {"x": "solve"}),
    }
    kept, gone = unchanged(before, after, {"a": "1", "b": "2", "c": "0"})
    assert kept == {"a": "4"}
    assert gone == {"b": ["solve"], "c": ["its table was older than its code there, too"]}
