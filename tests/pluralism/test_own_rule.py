"""One's own rule beside the others, the curve of its error, and figures where no two methods look alike."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from distalign import cli
from distalign.checks import InputError
from distalign.pluralism.choice_problem import ChoiceProblem, choice_problem
from distalign.pluralism.curves import sample_complexity
from distalign.pluralism.figure import distinct, styles_of
from distalign.pluralism.methods import OBJECTIVES, RULES, parse_methods
from distalign.pluralism.own_rules import digest_of
from distalign.pluralism.report import first_screen
from distalign.pluralism.run import apply_methods
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.simulation import simulate

TEA = Scenario([[1.0, 0.0, 0.6], [0.0, 1.0, 0.6], [0.2, 0.9, 0.1]], kl_budget=0.1)


def stay(problem):
    return problem.reference


def borda_again(problem: ChoiceProblem):
    wins = problem.counts.sum(0)
    scores = problem.win.mean(1) if problem.exact else wins.sum(1) / (wins.sum(1) + wins.sum(0))
    best = scores >= scores.max() - 1e-12
    return best / best.sum()


def test_own_rules_are_measured_as_the_others_are():
    table = apply_methods(TEA, [stay, borda_again, "reference", "Borda"]).set_index("method")
    for own, known in (("stay", "reference"), ("borda_again", "Borda")):
        for name in ("average_utility", "worst_off", "distortion", "kl", "kl_limit"):
            assert table.loc[own, name] == pytest.approx(table.loc[known, name], abs=1e-12), (own, name)
    assert table["off_budget"].tolist() == [False, True, False, True]
    assert "left the ball" in table.loc["borda_again", "note"]


@pytest.mark.parametrize(
    "answer", [[0.5, 0.5], [0.5, 0.6, 0.1], [1.5, -0.5, 0.0], [np.nan, 0.5, 0.5], "first", None]
)
def test_an_answer_that_is_no_policy_stops_the_run(answer):
    def wrong(problem):
        return answer

    with pytest.raises(InputError, match="wrong must return 3 probabilities of sum 1"):
        simulate(TEA, [wrong])


def test_names_of_own_rules_are_their_own():
    def nlhf(problem):
        return problem.reference

    with pytest.raises(InputError, match="is called 'nlhf', as a method of distalign is"):
        parse_methods([nlhf], [])
    with pytest.raises(InputError, match="two methods are called '<lambda>'"):
        parse_methods([lambda p: p.reference, lambda p: p.win[0]], [])
    with pytest.raises(InputError, match="a word or a function"):
        parse_methods([3], [])


def test_a_rule_by_module_and_function_on_the_command_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "rules_of_mine.py").write_text("def first(problem):\n    return [1.0, 0.0, 0.0, 0.0]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "distalign",
            "simulate",
            "two_camps",
            "--methods",
            "rules_of_mine:first",
            "NLHF",
            "--json",
            "--workers",
            "1",
        ],
    )
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    shown = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in shown] == ["first", "NLHF"]
    assert (shown[0]["kl_limit"], shown[1]["kl_limit"]) == ("inf", 0.5)
    assert shown[0]["distortion_low"] is None
    for word, sentence in (("no_such_module:f", "cannot be imported"), ("math:pi", "is no function")):
        with pytest.raises(InputError, match=sentence):
            parse_methods([word], [])


def test_a_cell_of_an_own_rule_is_used_again_only_for_the_same_rule(tmp_path):
    def rule_of(share):
        def mixed(problem):
            return share * problem.reference + (1 - share) * np.array([1.0, 0.0, 0.0])

        return mixed

    assert digest_of(rule_of(0.5)) == digest_of(rule_of(0.5))
    one, two = (simulate(TEA, [rule_of(s)], out=tmp_path).table.average_utility[0] for s in (0.5, 0.9))
    assert one != two
    assert len(list((tmp_path / "cells" / "simulate").iterdir())) == 2
    assert simulate(TEA, [rule_of(0.5)], out=tmp_path).table.average_utility[0] == one
    assert len(list((tmp_path / "cells" / "simulate").iterdir())) == 2


def test_own_rules_in_several_processes_and_samples():
    sampled = Scenario(TEA.utilities, n=40)
    one, two = (simulate(sampled, [borda_again, "Borda"], seeds=3, workers=w).table for w in (1, 2))
    pd.testing.assert_frame_equal(one, two)
    assert one.average_utility[0] == pytest.approx(one.average_utility[1])


def test_the_curve_of_a_constant_rule_is_zero_and_of_nlhf_falls_as_the_root():
    still = sample_complexity(stay, TEA, [10, 100, 1000], 3)
    assert still.table["mean"].tolist() == [0, 0, 0]
    assert still.slope is None
    found = sample_complexity("NLHF", TEA, [300, 3000, 30000], 30)
    assert found.slope.low < -0.5 < found.slope.high
    assert found.slope.high < -0.3
    again = sample_complexity("NLHF", TEA, [30000], 30)
    assert again.table["mean"][0] == found.table["mean"][2]  # a size does not depend on the others
    axes = found.plot()
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    loss = sample_complexity("NLHF", TEA, [30000], 5, measure="utility").table["mean"][0]
    exact = apply_methods(TEA, ["NLHF"]).iloc[0]
    assert loss == pytest.approx(exact["best"] - exact["average_utility"], abs=2e-3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sizes": []}, "sizes must be"),
        ({"sizes": [10, 10]}, "sizes must be"),
        ({"sizes": [0]}, "sizes must be a whole number"),
        ({"replicates": 1}, "replicates must be"),
        ({"method": "rules"}, "name one"),
        ({"measure": "error"}, "measure must be one of"),
        ({"method": "longest text"}, "no certified policy on the exact law"),
        ({"method": "RLHF", "sizes": [1]}, "no sample of 1 users has a certified policy"),
    ],
)
def test_what_a_curve_refuses(change, sentence):
    given = {"method": "NLHF", "sizes": [10], "replicates": 2, **change}
    with pytest.raises(InputError, match=sentence):
        sample_complexity(
            given["method"], TEA, given["sizes"], given["replicates"], measure=given.get("measure", "policy")
        )


def test_no_two_methods_look_alike():
    names = [*RULES, *OBJECTIVES, "dpo:beta=0.1", "dpo:beta=1", "mine", "yours"]
    styles = styles_of(names)
    assert len({style[:2] for style in styles.values()}) == len(names)
    assert styles["NLHF"][:2] != styles["dpo"][:2]
    assert styles_of(["dpo"])["dpo"] == styles["dpo"]  # whatever else is drawn
    with pytest.raises(ValueError, match="a and b share the style"):
        distinct({"a": ("red", "o", "-"), "b": ("red", "o", ":")})
    with pytest.raises(InputError, match="no style left"):
        styles_of(map(str, range(100)))


def test_lines_of_a_sweep_differ_and_methods_off_the_budget_are_hollow():
    found = simulate(TEA_SPEC, ["NLHF", "dpo", "Borda"], sweeps=["kl_budget=0.05,0.1,0.2"])
    left = found.plot()[0]
    drawn = {line.get_label(): line for line in left.lines if not line.get_label().startswith("_")}
    assert drawn.pop("the most the ball allows").get_ydata()[0] == 1
    looks = {(line.get_color(), line.get_marker()) for line in drawn.values()}
    assert len(looks) == len(drawn) == 3
    assert drawn["Borda (off the budget)"].get_markerfacecolor() == "white"
    for name in ("NLHF", "dpo"):
        assert drawn[name].get_markerfacecolor() == drawn[name].get_color()
    assert not found.table.loc[found.table.method == "dpo", "off_budget"].any()  # its KL is within 1e-6


TEA_SPEC = {"name": "tea", "users": [{"utilities": row} for row in TEA.utilities.tolist()]}


def test_a_caption_does_not_name_the_first_budget_of_a_sweep(tmp_path):
    simulate(TEA_SPEC, ["NLHF", "Borda"], sweeps=["kl_budget=0.05,0.1,0.2"], out=tmp_path)
    caption = (tmp_path / "figures" / "tea.txt").read_text()
    assert "0.05" not in caption
    assert "KL budget as swept" in caption
    assert "Hollow: off the budget" in caption


def test_the_first_screen_is_short_and_marks_what_is_off_the_budget(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "distalign",
            "simulate",
            "two_camps",
            "spatial",
            "--sweep",
            "kl_budget=0.1,0.5,1",
            "--out",
            str(tmp_path),
        ],
    )
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 140
    assert any("Borda*" in line for line in lines)
    assert not any("NLHF*" in line for line in lines)
    rows = len(pd.read_csv(tmp_path / "summary.csv"))
    assert f"... and {rows - 15} more rows" in "\n".join(lines)
    sampled = simulate({**TEA_SPEC, "n": 50}, ["NLHF"], seeds=4)
    assert "[" in first_screen(sampled.table, [], "out").splitlines()[1]  # the interval


def test_choice_problem_says_its_reference():
    problem = choice_problem(Scenario(TEA.utilities, reference=[0.5, 0.3, 0.2]), None)
    np.testing.assert_allclose(problem.reference, [0.5, 0.3, 0.2])
