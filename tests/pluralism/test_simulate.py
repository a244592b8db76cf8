"""What methods do to a population: two roads to each number, nothing uncertified shown, and files written
whole.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from scipy.stats import t

from distalign.checks import InputError
from distalign.pluralism import methods as simulate_methods
from distalign.pluralism.choice_problem import ChoiceProblem, choice_problem
from distalign.pluralism.figure import draw_population
from distalign.pluralism.methods import (
    OBJECTIVES,
    RULES,
    apply_method,
    parse_methods,
    source_of,
)
from distalign.pluralism.report import first_screen
from distalign.pluralism.run import apply_methods
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.scenario_file import build, read
from distalign.pluralism.simulation import file_name, populations_of, simulate
from distalign.populations.worst_cases import borda_worst_case
from distalign.solvers.choice.certified import CertifiedPolicy
from distalign.solvers.choice.reward import borda
from distalign.theory.distortion.constants import minimax_distortion

CAMPS = Scenario(
    [[1.0, 0.0, 0.6], [0.0, 1.0, 0.7], [0.1, 0.9, 0.2]],
    [0.4, 0.4, 0.2],
    5.0,
    kl_budget=0.3,
    groups=["tea", "milk", "milk"],
)
LAST = CAMPS.average_utility


def by_method(scenario, methods=(), **more):
    return apply_methods(scenario, methods, **more).set_index("method")


def test_table_on_a_small_population():
    table = by_method(CAMPS)
    assert table.certified.all()
    assert list(table.index) == [name for name in RULES if name != "longest text"]
    assert table.loc["reference", "average_utility"] == pytest.approx(LAST.mean())
    assert table.loc["optimum", "distortion"] == 1
    assert (table.distortion >= 1).all()
    assert (table.loc[["RLHF", "clipped RLHF", "NLHF", "optimum"], "kl"] <= 0.3 + 1e-9).all()
    assert (
        table.loc["NLHF", "distortion"]
        <= table.bound.iloc[0]
        == pytest.approx(float(minimax_distortion(5.0)))
    )
    for method, row in table.iterrows():
        policy = np.array(row["policy"])
        assert row["average_utility"] == pytest.approx(LAST @ policy), method
        get = CAMPS.utilities @ policy
        assert row["worst_off"] == pytest.approx(get.min())
        assert row["group: milk"] == pytest.approx((0.4 * get[1] + 0.2 * get[2]) / 0.6)
        change = CAMPS.utilities @ (policy - 1 / 3)
        assert row["change: milk"] == pytest.approx((0.4 * change[1] + 0.2 * change[2]) / 0.6)
        stay = LAST.mean()
        assert row["gain"] == pytest.approx((LAST @ policy - stay) / (_best(0.3) - stay), rel=1e-4, abs=1e-12)
        assert row["better_off"] == pytest.approx(CAMPS.weights[change > 1e-9].sum())
        assert row["worse_off"] == pytest.approx(CAMPS.weights[change < -1e-9].sum())
        within = 0.3 if row["kl_limit"] < np.inf else np.inf
        assert row["distortion"] == pytest.approx(_best(within) / (LAST @ policy), rel=1e-5)
    np.testing.assert_allclose(
        table.loc["random dictator", "policy"], CAMPS.weights @ softmax(5 * CAMPS.utilities, 1)
    )


def _best(budget):
    """max AvgUtil over the ball, by a grid over tilts of the uniform reference: not the solver's road."""
    if budget == np.inf:
        return LAST.max()
    p = softmax(np.geomspace(1e-3, 1e3, 200_000)[:, None] * LAST, 1)
    kl = np.log(3) + np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0).sum(1)
    return (p @ LAST)[kl <= budget].max()


def test_the_loud_minority_reaches_its_golden_constants():
    table = by_method(build(read("loud_minority")))
    assert table.loc["RLHF", "distortion"] == pytest.approx(6.724, abs=1e-3)
    assert table.loc["NLHF", "distortion"] == pytest.approx(1, abs=1e-6)
    assert table.loc["RLHF", "group: majority"] < 1e-3 < 0.16 < table.loc["NLHF", "group: majority"]


def test_borda_needs_its_comparisons_to_be_at_its_worst():
    case = borda_worst_case(10.0)
    u, w = case.users.utilities, case.users.weights
    bad = by_method(Scenario(u, w, 10.0, pairs=case.comparison), ["Borda", "RLHF, no KL"])
    np.testing.assert_allclose(bad.distortion, 8.0215830108, rtol=1e-9)
    assert by_method(Scenario(u, w, 10.0), ["Borda"]).distortion.iloc[0] < minimax_distortion(10.0)


@pytest.mark.parametrize("sampled", [False, True])
def test_dpo_at_the_beta_that_spends_the_budget_is_rlhf(sampled):
    """Two roads: an objective minimised by Newton's method in a table, against the reward fit and its
    tilt.
    """
    scenario = Scenario(
        CAMPS.utilities,
        CAMPS.weights,
        5.0,
        reference=[0.2, 0.3, 0.5],
        kl_budget=0.2,
        n=4000 if sampled else None,
    )
    table = by_method(scenario, ["RLHF", "dpo", "f_dpo"], seed=3)
    np.testing.assert_allclose(table.loc["dpo", "policy"], table.loc["RLHF", "policy"], atol=1e-6)
    assert table.loc["dpo", "kl"] == pytest.approx(0.2, rel=1e-6)
    assert np.abs(np.subtract(table.loc["f_dpo", "policy"], table.loc["RLHF", "policy"])).max() > 1e-3


def test_every_objective_answers_or_says_why_not():
    table = by_method(CAMPS, ["objectives"])
    assert list(table.index) == list(OBJECTIVES)
    assert table[~table.certified].index.isin(["wdpo", "chi2_dpo", "ipo_per_token", "kto"]).all()
    assert table.loc["wdpo", "note"].startswith("wdpo perturbs the features")
    assert table.loc[~table.certified, ["average_utility", "distortion"]].isna().all(axis=None)
    matched = table[table.note.str.startswith("beta ")]
    assert set(matched.index) >= {
        "dpo",
        "cdpo",
        "rdpo",
        "ipo",
        "f_dpo",
        "chi_po",
        "bpo",
        "kldpo",
        "bco",
        "aot_paired",
        "group_dpo",
    }
    np.testing.assert_allclose(matched.kl, 0.3, rtol=2e-6)
    assert (table.loc[["sft", "ddro", "rdro"], "kl_limit"] == np.inf).all()
    assert (
        by_method(Scenario(CAMPS.utilities), ["group_dpo"]).note.iloc[0].startswith("group_dpo weighs groups")
    )


def test_group_dpo_reads_the_groups_of_users():
    """At a low temperature it trains for the group that is worst served, here the smaller one."""
    plain, robust = (
        by_method(CAMPS, [f"group_dpo:temperature={t},beta=0.3"])["group: tea"].iloc[0] for t in (100.0, 0.05)
    )
    assert robust > plain


def test_a_given_beta_is_kept_and_its_policy_known():
    win = expit(0.7)
    two = Scenario([[0.7, 0.0]], bt_temperature=1.0)
    row = by_method(two, ["dpo:beta=0.5"]).iloc[0]
    assert row["policy"][0] / row["policy"][1] == pytest.approx(
        (win / (1 - win)) ** 2
    )  # pi ~ pi_ref exp(r / beta)
    assert row["kl_limit"] == np.inf


def test_lambda_sets_the_budget_by_its_own_equation():
    scenario = Scenario(CAMPS.utilities, CAMPS.weights, kl_strength=0.3, reference=[0.2, 0.3, 0.5])
    row = by_method(scenario, ["NLHF"]).iloc[0]
    p = np.array(row["policy"])
    z = np.log(p) - scenario.log_reference - (2 * scenario.win - 1) @ p / 0.3
    np.testing.assert_allclose(z, z.mean(), atol=1e-6)
    assert row["kl"] == pytest.approx(row["kl_limit"])
    other = np.log(p) - scenario.log_reference - (2 * scenario.win - 1) @ p / 0.31
    assert np.ptp(other) > 1e-3


def test_borda_of_a_sample_tends_to_borda():
    scenario = Scenario(CAMPS.utilities, CAMPS.weights, pairs=[0.7, 0.2, 0.1], n=1)
    exact = ChoiceProblem(scenario, scenario.joint, np.ones(3) / 3, 1.0, False)  # the law in place of counts
    found = apply_method(parse_methods(["Borda"], [])[0], exact).solution
    np.testing.assert_array_equal(found.log_policy, borda(scenario.win, scenario.pairs).log_policy)
    np.testing.assert_allclose(exact.win, scenario.win, atol=1e-14)


def test_a_sample_without_a_finite_reward_has_no_rlhf():
    scenario = Scenario([[1.0, 0.0, 0.5]], bt_temperature=60.0, n=30)
    table = by_method(scenario, ["RLHF", "NLHF", "clipped RLHF"])
    assert table.certified.tolist() == [False, True, False]
    assert "wins determine no rewards" in table.loc["RLHF", "note"]
    assert np.isnan(table.loc["RLHF", "distortion"])


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(np.full((3, 4), 0.5)),
        Scenario([[0.0, 0.0]]),
        Scenario([[0.0, 0.3, 1.0]], bt_temperature=4.0),
        Scenario([[1.0, 0.0]], kl_budget=np.inf),
        Scenario(CAMPS.utilities, kl_budget=0.0),
        Scenario([[0.2, 0.9]] * 2, n=5),
        Scenario(CAMPS.utilities, kl_strength=1e4),
        Scenario(np.full((2, 3), 0.5), kl_strength=0.1),
    ],
    ids=[
        "ties",
        "all zero",
        "one user",
        "no constraint",
        "budget 0",
        "few",
        "dear lambda",
        "ties with lambda",
    ],
)
def test_degenerate_populations_are_defined(scenario):
    table = by_method(scenario, ["rules", "longest text", "dpo", "sft"])
    shown = table.loc[table.certified]
    assert (shown.distortion >= 1).all()
    assert {"reference", "NLHF", "maximal lottery", "optimum"} <= set(shown.index)
    assert (table.certified | (table.note != "")).all()
    if scenario.kl_budget == 0:
        np.testing.assert_allclose(
            np.stack(shown.loc[shown.kl_limit == 0, "policy"].tolist()), 1 / 3, atol=1e-12
        )
    if scenario.utilities.max() == 0:
        assert (shown.distortion == 1).all()


def test_nothing_uncertified_is_shown_and_nothing_outside_the_ball(monkeypatch):
    """Negative controls: a solver that fails is counted, one that cheats is an error."""
    point = np.array([0.0, -np.inf, -np.inf])
    failed = (True, lambda p: CertifiedPolicy(point, 1e-3, 1e-9), None)
    monkeypatch.setitem(simulate_methods.RULES, "NLHF", failed)
    row = apply_methods(CAMPS, ["NLHF"]).iloc[0]
    assert not row["certified"]
    assert np.isnan(row[["average_utility", "worst_off", "distortion", "kl"]].tolist()).all()
    assert "certificate exceeds" in row["note"]
    monkeypatch.setitem(
        simulate_methods.RULES, "NLHF", (True, lambda p: CertifiedPolicy(point, 0.0, 1e-9), None)
    )
    with pytest.raises(InputError, match="outside the ball"):
        apply_methods(CAMPS, ["NLHF"])


def test_intervals_are_deterministic_and_hold_what_they_estimate():
    u = np.random.default_rng(0).random((40, 4))
    first, again, other = (
        apply_methods(Scenario(u, people=40), bootstrap=40, seed=seed) for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first.filter(regex="_low|_high").equals(other.filter(regex="_low|_high"))
    rows = first[first.method.isin(["reference", "optimum"])]
    assert (
        (rows.average_utility_low <= rows.average_utility)
        & (rows.average_utility <= rows.average_utility_high)
    ).all()
    assert apply_methods(Scenario(u), bootstrap=40).average_utility_low.isna().all()


def test_intervals_over_people_are_students_with_the_error_of_the_bootstrap():
    u = np.random.default_rng(1).random((12, 3))
    row = apply_methods(
        Scenario(u, people=12, kl_budget=0.3), ["reference", "RLHF"], bootstrap=800
    ).set_index("method")
    stays, rlhf = row.loc["reference"], row.loc["RLHF"]
    exact = t.ppf(0.975, 11) * u.mean(1).std(ddof=1) / np.sqrt(12)  # the reference's utility is a mean of 12
    np.testing.assert_allclose(stays.average_utility_high - stays.average_utility, exact, rtol=0.07)
    np.testing.assert_allclose(stays.average_utility - stays.average_utility_low, exact, rtol=0.07)
    # Distortion is never below 1 and larger in a sample: percentiles of resamples begin above the truth.
    assert rlhf.distortion_low == 1.0
    assert rlhf.distortion < rlhf.distortion_high
    assert 0 <= rlhf.tenth_percentile_low <= rlhf.tenth_percentile_high <= 1


def test_intervals_of_many_people_are_those_of_all_of_them(monkeypatch):
    """100 of 1,600 people are drawn: intervals are as wide as if all were, and four times wider unscaled."""
    scenario = Scenario(np.random.default_rng(0).random((1600, 3)), people=1600, kl_budget=0.1)

    def width():
        row = by_method(scenario, ["reference"], bootstrap=300).loc["reference"]
        assert row["average_utility_low"] < row["average_utility"] < row["average_utility_high"]
        return row["average_utility_high"] - row["average_utility_low"]

    whole = width()
    monkeypatch.setattr("distalign.pluralism.run.PEOPLE_DRAWN", 100)
    assert width() == pytest.approx(whole, rel=0.25)


def test_names_and_options_are_checked_before_anything_runs():
    assert [m.label for m in parse_methods(["maximal-lottery", "MAXIMAL LOTTERY", "rlhf_no_kl"], [])] == [
        "maximal lottery",
        "RLHF, no KL",
    ]
    for words, sentence in (
        (["NHLF"], "did you mean NLHF"),
        (["qqq"], "unknown method 'qqq': rules, objectives"),
        (["Borda:beta=1"], "takes no options"),
        (["dpo:beta"], "written name=value"),
        (["dpo:beat=1"], "did you mean beta"),
        (["dpo:beta=-1"], "beta must be"),
        (["f_dpo:divergence=chi"], "divergence"),
        (["cdpo:label_smoothing=0.7"], "label_smoothing"),
    ):
        with pytest.raises(InputError, match=sentence):
            parse_methods(words, [])
    with pytest.raises(InputError, match="bootstrap"):
        apply_methods(CAMPS, bootstrap=1)


def test_rules_that_need_independent_pairs_are_declined_without_them():
    correlated = Scenario(CAMPS.utilities, pairs=1 - np.eye(3))
    table = by_method(correlated)
    assert table[~table.certified].index.tolist() == ["Borda", "clipped RLHF"]
    assert "alternatives drawn independently" in table.loc["Borda", "note"]


def test_every_method_names_its_source():
    told = {m.label: source_of(m) for m in parse_methods(["all"], [])}
    assert [label for label, text in told.items() if not text] == ["reference"]
    assert "2505.23749" in told["NLHF"]


def test_figure_shows_an_infinite_distortion():
    table = apply_methods(CAMPS, ["reference", "NLHF"]).assign(distortion=[np.inf, 1.2])
    figure = draw_population(table)
    assert [t.get_text() for t in figure.axes[1].texts] == ["inf"]


@pytest.fixture
def votes(tmp_path):
    rng = np.random.default_rng(0)
    utilities = np.array([2.0, 1.0, 0.0, -1.0]) + rng.standard_normal((12, 4))
    rows = []
    for user in range(12):
        for _ in range(25):
            a, b = rng.permutation(4)[:2]
            won = rng.random() < expit(utilities[user, a] - utilities[user, b])
            rows.append((f"u{user}", "debate", "abcd"[a], "abcd"[b], "first" if won else "second"))
    pd.DataFrame(rows, columns=["user", "topic", "first", "second", "vote"]).to_csv(
        tmp_path / "votes.csv", index=False
    )
    pd.DataFrame({"item": list("abcd"), "text": ["x" * n for n in (5, 9, 3, 1)]}).to_csv(
        tmp_path / "items.csv", index=False
    )
    return tmp_path


def test_votes_become_tables_a_figure_and_a_report(votes):
    table = simulate(
        populations_of((), votes / "votes.csv", votes / "items.csv", "debate"),
        out=votes / "out",
        bootstrap=10,
    ).table
    out = votes / "out"
    assert {p.name for p in out.iterdir()} == {
        "cells",
        "figures",
        "groups.csv",
        "index.html",
        "policies.csv",
        "report.md",
        "simulation.csv",
        "summary.csv",
        "win_matrix.csv",
    }
    assert {p.name for p in (out / "figures").iterdir()} == {
        f"debate{view}.{kind}"
        for view in ("", "--frontier", "--groups", "--wins")
        for kind in ("csv", "pdf", "png", "txt")
    }
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "summary.csv").drop(columns="note"), table.drop(columns="note")
    )
    win = pd.read_csv(out / "win_matrix.csv").pivot(
        index="alternative", columns="over", values="win_probability"
    )
    np.testing.assert_allclose(win.to_numpy() + win.to_numpy().T, 1, atol=1e-12)
    policies = pd.read_csv(out / "policies.csv").pivot(
        index="method", columns="alternative", values="probability"
    )
    np.testing.assert_allclose(policies.sum(axis=1), 1, atol=1e-12)
    assert policies.loc["longest text"].tolist() == [0, 1, 0, 0]
    assert policies.loc["Borda"].tolist() == [1, 0, 0, 0]
    report = (out / "report.md").read_text()
    for phrase in (
        "Semi-synthetic",
        "True utilities are unobserved",
        "It is not the distortion of the people",
        "the longer text won",
        "golz2025distortion",
        "arXiv 2505.23749, Section 2 and Proposition 13",
    ):
        assert phrase in report, phrase


def test_two_runs_write_the_same_bytes(votes):
    for name in ("one", "two"):
        simulate(populations_of((), votes / "votes.csv"), ["NLHF", "dpo"], out=votes / name, bootstrap=3)
    for path in (votes / "one").rglob("*.*"):
        if path.suffix != ".parquet":
            assert path.read_bytes() == (votes / "two" / path.relative_to(votes / "one")).read_bytes(), (
                path.name
            )


def test_bad_input_stops_before_anything_is_written(votes):
    items = pd.read_csv(votes / "items.csv")
    items.iloc[:3].to_csv(votes / "short.csv", index=False)
    items.drop(columns="text").to_csv(votes / "bare.csv", index=False)
    file, out = votes / "votes.csv", votes / "out"
    with pytest.raises(InputError, match="no text for 1 of the 4 items"):
        simulate(populations_of((), file, votes / "short.csv"), out=out)
    with pytest.raises(InputError, match="column 'text'"):
        simulate(populations_of((), file, votes / "bare.csv"), out=out)
    with pytest.raises(InputError, match="is a file"):
        simulate(populations_of((), file), out=votes / "items.csv")
    with pytest.raises(InputError, match="kl_budget"):
        simulate(populations_of((), file), out=out, settings={"kl_budget": -1})
    with pytest.raises(InputError, match="no population"):
        simulate([], out=out)
    with pytest.raises(InputError, match="belong to --votes"):
        populations_of((), None, votes / "items.csv")
    assert not out.exists()


def test_file_names_are_safe():
    assert file_name("a.b/c d") == "a-b-c-d"


def test_real_votes(data_folder, tmp_path):
    folder = data_folder / "ukp_convarg1"
    table = simulate(
        populations_of(
            (),
            folder / "votes.csv.gz",
            folder / "arguments.csv.gz",
            "ban-plastic-water-bottles_no-bad-for-the-economy",
        ),
        out=tmp_path / "out",
        bootstrap=10,
    ).table.set_index("method")
    assert (table.uncertified == 0).all()
    assert table.loc["NLHF", "distortion"] <= table.bound.iloc[0]
    reference, nlhf, optimum = table.loc[["reference", "NLHF", "optimum"], "average_utility"]
    assert reference < nlhf <= optimum


def test_a_real_conversation(data_folder):
    scenario = build(read(data_folder / "polis" / "vtaiwan.uberx"))
    table = by_method(scenario, bootstrap=0)
    assert table.certified.all()
    assert table.loc["NLHF", "distortion"] <= table.bound.iloc[0]
    assert choice_problem(scenario, None).win.shape == (12, 12)


def exceeds(scenario, methods):
    """Methods whose distortion is above what NLHF and the maximal lottery guarantee, and solves without a
    certificate.
    """
    table = by_method(scenario, methods)
    assert (table.distortion.dropna() >= 1).all()
    return list(table.index[table.distortion > table.bound * (1 + 1e-8)]), int((~table.certified).sum())


def test_random_populations_are_solved_and_keep_the_guarantee():
    """Own temperatures, peaked references, correlated pairs, any budget; Borda at its worst shows that the
    check can fail.
    """
    rng = np.random.default_rng(5)
    for _ in range(40):
        types, size = int(rng.integers(1, 8)), int(rng.integers(2, 9))
        pairs = rng.random((size, size)) + 1e-6
        scenario = Scenario(
            rng.random((types, size)) ** rng.choice([0.3, 1, 4]),
            rng.random(types) + 0.01,
            np.exp(rng.uniform(-1, 3.5, types)),
            pairs=pairs + pairs.T,
            reference=rng.dirichlet(np.ones(size)),
            kl_budget=float(rng.choice([0, 0.01, 0.1, 1, 10, np.inf])),
        )
        assert exceeds(scenario, ["NLHF", "maximal lottery"]) == ([], 0)
    case = borda_worst_case(10.0)
    worst = Scenario(case.users.utilities, case.users.weights, 10.0, pairs=case.comparison)
    assert exceeds(worst, ["Borda", "NLHF"]) == (["Borda"], 0)


def test_the_first_screen_has_room_for_every_population():
    found = simulate(["two_camps", "loud_minority", "spatial"], bootstrap=0)
    lines = first_screen(found.table, found.fields, "out").splitlines()
    assert len(lines) <= 20
    for name in ("two camps", "loud minority", "spatial"):
        assert sum(line.startswith(name) for line in lines) == 5
    assert sum(" NLHF " in line for line in lines) == 3
