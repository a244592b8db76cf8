"""What rules do to a population: against hand computation, deterministic, and written whole from a file of votes."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from distalign.checks import InputError
from distalign.populations import BradleyTerryUsers
from distalign.populations.worst_cases import borda_worst_case
from distalign.simulation.simulate import simulate
from distalign.simulation.simulate_votes import draw, run_simulation
from distalign.theory.distortion import minimax_distortion

CAMPS = BradleyTerryUsers([[1.0, 0.0, 0.6], [0.0, 1.0, 0.7], [0.1, 0.9, 0.2]], [0.4, 0.4, 0.2], 5.0)


def test_table_on_a_small_population():
    table, details = simulate(CAMPS, kl_budget=0.3, bootstrap=20)
    table = table.set_index("method")
    assert table.certified.all()
    assert table.loc["reference", "average_utility"] == pytest.approx(CAMPS.average_utility.mean())
    assert table.loc["optimum", "distortion"] == 1
    assert (table.distortion >= 1).all()
    assert (table.loc[["RLHF", "NLHF", "optimum"], "kl"] <= 0.3 + 1e-9).all()
    assert table.loc["NLHF", "distortion"] <= table.bound.iloc[0] == pytest.approx(float(minimax_distortion(5.0)))
    winner = details.policies["Borda"].policy
    assert table.loc["Borda", "average_utility"] == pytest.approx(CAMPS.average_utility @ winner)
    assert table.loc["Borda", "tenth_percentile"] == pytest.approx((CAMPS.utilities @ winner).min())
    np.testing.assert_allclose(details.win, CAMPS.win)


def test_intervals_are_deterministic_and_hold_what_they_estimate():
    users = BradleyTerryUsers(np.random.default_rng(0).random((40, 4)), np.full(40, 1 / 40), 5.0)
    first, again, other = (simulate(users, bootstrap=40, seed=seed)[0] for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first.filter(regex="_low|_high").equals(other.filter(regex="_low|_high"))
    rows = first[first.method.isin(["reference", "optimum"])]
    assert ((rows.average_utility_low <= rows.average_utility) & (rows.average_utility <= rows.average_utility_high)).all()


def test_one_kind_of_user_has_no_interval():
    table, _ = simulate(BradleyTerryUsers([[0.0, 0.3, 1.0]], [1.0], 4.0), bootstrap=3)
    np.testing.assert_allclose(table.average_utility_low, table.average_utility_high, atol=1e-12)
    assert table.set_index("method").loc["maximal lottery", "distortion"] == 1


def test_the_worst_case_of_borda_shows_only_with_its_comparisons():
    """simulate compares all pairs alike, so on family F2 RLHF and NLHF both stay below C."""
    table, _ = simulate(borda_worst_case(10.0).users, bootstrap=2)
    assert table.set_index("method").loc["Borda", "distortion"] < minimax_distortion(10.0)


def test_arguments_out_of_range_are_named():
    with pytest.raises(InputError, match=r"utilities in \[0, 1\]"):
        simulate(BradleyTerryUsers([[0.0, 2.0]], [1.0], 1.0))
    with pytest.raises(InputError, match="reference"):
        simulate(CAMPS, reference=[0.5, 0.5, 0.0])
    with pytest.raises(InputError, match="bootstrap"):
        simulate(CAMPS, bootstrap=1)
    with pytest.raises(InputError, match="kl_budget"):
        simulate(CAMPS, kl_budget=-1)


def test_figure_shows_an_infinite_distortion():
    table, _ = simulate(CAMPS, bootstrap=2)
    figure = draw(table.assign(distortion=[np.inf, *table.distortion[1:]]))
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
    pd.DataFrame(rows, columns=["user", "topic", "first", "second", "vote"]).to_csv(tmp_path / "votes.csv", index=False)
    pd.DataFrame({"item": list("abcd"), "text": ["x" * n for n in (5, 9, 3, 1)]}).to_csv(tmp_path / "items.csv", index=False)
    return tmp_path


def test_everything_is_written_and_agrees(votes):
    table = run_simulation(votes / "votes.csv", votes / "out", votes / "items.csv", "debate", bootstrap=10)
    out = votes / "out"
    assert {p.name for p in out.iterdir()} == {"simulation.csv", "simulation.pdf", "simulation.png", "simulation.txt",
                                               "win_matrix.csv", "policies.csv", "report.md"}
    pd.testing.assert_frame_equal(pd.read_csv(out / "simulation.csv"), table)
    win = pd.read_csv(out / "win_matrix.csv").set_index("item")
    np.testing.assert_allclose(win.to_numpy() + win.to_numpy().T, 1, atol=1e-12)
    policies = pd.read_csv(out / "policies.csv")
    np.testing.assert_allclose(policies[table.method].sum(), 1, atol=1e-12)
    np.testing.assert_allclose(policies[table.method].T @ policies.average_utility, table.average_utility, atol=1e-12)
    assert policies["longest text"].tolist() == [0, 1, 0, 0]
    assert policies["Borda"].tolist() == [1, 0, 0, 0]
    report = (out / "report.md").read_text()
    assert "semi-synthetic" in report
    assert "True utilities are unobserved" in report
    assert "the longer text won" in report


def test_two_runs_write_the_same_bytes(votes):
    for name in ("one", "two"):
        run_simulation(votes / "votes.csv", votes / name, bootstrap=5)
    for path in (votes / "one").iterdir():
        assert path.read_bytes() == (votes / "two" / path.name).read_bytes()


def test_bad_input_stops_before_anything_is_written(votes):
    items = pd.read_csv(votes / "items.csv")
    items.iloc[:3].to_csv(votes / "short.csv", index=False)
    items.drop(columns="text").to_csv(votes / "bare.csv", index=False)
    with pytest.raises(InputError, match="no text for 1 of the 4 items"):
        run_simulation(votes / "votes.csv", votes / "out", votes / "short.csv")
    with pytest.raises(InputError, match="column 'text'"):
        run_simulation(votes / "votes.csv", votes / "out", votes / "bare.csv")
    with pytest.raises(InputError, match="is a file"):
        run_simulation(votes / "votes.csv", votes / "items.csv")
    with pytest.raises(InputError, match="kl_budget"):
        run_simulation(votes / "votes.csv", votes / "out", kl_budget=-1)
    assert not (votes / "out").exists()


def test_real_votes(data_folder, tmp_path):
    folder = data_folder / "ukp_convarg1"
    table = run_simulation(folder / "votes.csv.gz", tmp_path / "out", folder / "arguments.csv.gz",
                           "ban-plastic-water-bottles_no-bad-for-the-economy", bootstrap=10).set_index("method")
    assert table.certified.all()
    assert table.loc["NLHF", "distortion"] <= table.bound.iloc[0]
    reference, nlhf, optimum = table.loc[["reference", "NLHF", "optimum"], "average_utility"]
    assert reference < nlhf <= optimum
