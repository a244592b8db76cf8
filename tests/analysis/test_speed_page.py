"""The table of benchmarks: ratios are computed from the times, goals from the ratios and the answers."""

import numpy as np
import pandas as pd

from analysis import speed
from benchmarks import results
from benchmarks.timing import Rival, Work, measured


def table(**changes):
    row = {"work": "w", "rival": "r", "kind": "fair", "ours_cpu": 1.0, "theirs_cpu": 3.0, "goal": 2.0}
    return pd.DataFrame([row | {"difference": 0.0, "same": 1e-9} | changes])


def test_a_goal_is_met_by_the_times_and_by_equal_answers():
    assert results.fairest(table())["met"].all()
    assert results.fairest(table())["ratio"].item() == 3.0
    assert not results.fairest(table(theirs_cpu=1.9))["met"].any()
    assert not results.fairest(table(difference=1e-6))["met"].any()


def test_the_fastest_fair_rival_counts():
    rows = pd.concat(
        [table(), table(rival="fast", theirs_cpu=0.5), table(rival="slow", kind="popular", theirs_cpu=0.1)],
        ignore_index=True,
    )
    assert results.fairest(rows)["rival"].tolist() == ["fast"]


def test_every_road_is_run_and_its_share_counts():
    calls = []

    def road(name, answer):
        return lambda: calls.append(name) or answer

    work = Work(
        "w", road("ours", 1.0), [Rival("half", road("half", 1.5), share=0.5, repeats=1)], 1.0, 0.1, repeats=3
    )
    (row,) = measured(work)
    assert calls.count("ours") == 3
    assert calls.count("half") == 1
    assert row["difference"] == 0.5
    assert row["ours_cpu"] <= row["ours_cpu_median"]


def test_page_shows_every_line_with_its_own_ratio():
    page, rows = speed.page(), pd.read_csv(results.TABLE)
    for row in rows.to_dict("records"):
        assert row["work"] in page
        assert row["rival"] in page
    best = results.fairest(rows)
    np.testing.assert_allclose(best["ratio"], best["theirs_cpu"] / best["ours_cpu"])
    steps, grown = pd.read_csv(results.STEPS), results.exponents(pd.read_csv(results.GROWTH))
    for row in steps.to_dict("records"):
        assert row["work"] in page
        if row["kind"] != "agreement":
            assert f"| {row['ours'] / row['theirs']:.2f} |" in page
    assert page.count("**above**") == (~grown["fine"]).sum()
    assert f"Of {len(best)} goals {int(best['met'].sum())} are met" in page
    assert set(rows["kind"]) <= {"fair", "popular", "floor"}
    assert rows.loc[rows["kind"] == "fair", "work"].nunique() == rows["work"].nunique()


def grown(cpu, mb=(20.0, 40.0, 80.0)):
    rows = zip((100, 200, 400), cpu, mb, strict=True)
    return pd.DataFrame(
        [
            {"work": "w", "size": n, "cpu": c, "mb": m, "theory_time": 1.0, "theory_memory": 1.0}
            for n, c, m in rows
        ]
    )


def test_an_exponent_above_the_one_of_theory_is_seen():
    (row,) = results.exponents(grown((1.0, 2.0, 4.0))).to_dict("records")
    np.testing.assert_allclose([row["time"], row["memory"]], 1.0)
    assert row["fine"]
    assert not results.exponents(grown((1.0, 2.5, 6.0)))["fine"].item()
    assert not results.exponents(grown((1.0, 2.0, 4.0), (20.0, 40.0, 120.0)))["fine"].item()
    assert results.exponents(grown((1.0, 2.0, 4.0), (0.1, 1.0, 9.0)))["fine"].item()  # the allocator's
