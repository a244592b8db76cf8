"""Votes that were given again: counted or merged, whatever the file's length, and the same fit either way."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from distalign import cli
from distalign.checks import InputError
from distalign.pluralism import simulate, survey_fit
from distalign.pluralism.report import first_screen, repeated
from distalign.pluralism.scenario_file import build, read
from distalign.pluralism.simulation import populations_of
from distalign.pluralism.sources import distinct, tables
from distalign.pluralism.sources.votes import Votes, load_votes

ITEMS = ("beer", "caf\u00e9", "milk", "tea")
TURNED = {"first": "second", "second": "first", "equal": "equal"}


def table(rows, people, seed=0):
    """Votes of few people, many of them given again, some with the options the other way round.

    Each person has an order of the items and follows it in nine votes of ten.
    """
    rng = np.random.default_rng(seed)
    pair = np.array([rng.permutation(len(ITEMS))[:2] for _ in range(rows)])
    user = rng.integers(people, size=rows)
    order = rng.standard_normal((people, len(ITEMS))) + np.arange(len(ITEMS))
    own = np.where(order[user, pair[:, 0]] > order[user, pair[:, 1]], "first", "second")
    other = rng.choice(["first", "second", "equal"], size=rows)
    return pd.DataFrame(
        {
            "user": user.astype(str),
            "first": np.array(ITEMS)[pair[:, 0]],
            "second": np.array(ITEMS)[pair[:, 1]],
            "vote": np.where(rng.random(rows) < 0.9, own, other),
        }
    )


def counted(rows, weight, join):
    """{(user, low, high, winner): weight}, by pandas alone."""
    turned = rows["first"] > rows["second"]
    low, high = rows["first"].where(~turned, rows["second"]), rows["second"].where(~turned, rows["first"])
    answer = rows["vote"].where(~turned, rows["vote"].map(TURNED))
    return weight.groupby([rows["user"], low, high, answer]).agg(join).to_dict()


def as_counted(votes):
    weight = np.ones(len(votes.score)) if votes.weight is None else votes.weight
    found = {}
    for u, a, b, s, w in zip(votes.user, votes.first, votes.second, votes.score, weight, strict=True):
        names, score = (votes.items[a], votes.items[b]), s
        if names[0] > names[1]:
            names, score = names[::-1], 1 - s
        key = (votes.users[u], *names, {1.0: "first", 0.0: "second", 0.5: "equal"}[score])
        assert key not in found
        found[key] = w
    return found


def same(a, b):
    for name in ("user", "first", "second", "score", "weight"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert (a.users, a.items, a.told) == (b.users, b.items, b.told)


@pytest.fixture
def in_parts(monkeypatch):
    """Makes reading take five rows at a time, and look for repeats when it holds more than sixteen."""

    def small():
        monkeypatch.setattr(tables, "ROWS_AT_ONCE", 5)
        monkeypatch.setattr(distinct, "HELD", 16)

    return small


def test_a_vote_given_again_counts_or_is_merged(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text(
        "user,first,second,vote\nann,tea,milk,first\nbob,tea,milk,first\nann,milk,tea,second\n"
        "ann,tea,milk,second\nann ,tea,milk,first\nbob,milk,beer,equal\nbob,beer,milk,equal\n"
    )
    votes = load_votes(path)
    assert [votes.users[u] for u in votes.user] == ["ann", "bob", "ann", "bob"]
    assert votes.score.tolist() == [1, 1, 0, 0.5]
    assert votes.weight.tolist() == [3, 1, 1, 2]
    assert votes.told[-1] == (
        "3 rows repeat an earlier one: the same user, pair and answer. They count as more votes."
    )
    merged = load_votes(path, repeats="merge")
    assert merged.weight is None
    assert (merged.user.tolist(), merged.score.tolist()) == (votes.user.tolist(), votes.score.tolist())
    assert merged.told[-1].endswith("They were merged: each such vote stands once.")


@pytest.mark.parametrize("repeats", ["count", "merge"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["v.csv", "v.csv.gz", "v.parquet", "v.jsonl"])
def test_reading_in_parts_changes_nothing_and_pandas_agrees(tmp_path, in_parts, name, weighted, repeats):
    rows, path = table(400, 6), tmp_path / name
    rng = np.random.default_rng(1)
    weight = pd.Series(rng.integers(1, 9, size=400) / 4 if weighted else np.ones(400))
    written = rows.assign(weight=weight) if weighted else rows
    if name.endswith("jsonl"):
        written.to_json(path, lines=True, orient="records")
    elif name.endswith("parquet"):
        written.to_parquet(path, row_group_size=70)
    else:
        text = written.to_csv(index=False).encode()
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    whole = load_votes(path, repeats=repeats)
    wanted = counted(rows, weight, "sum" if repeats == "count" else "max")
    assert as_counted(whole) == wanted
    assert any(f"{400 - len(wanted)} rows repeat" in told for told in whole.told)
    in_parts()
    same(load_votes(path, repeats=repeats), whole)


def test_without_repeats_the_rows_stay_as_they_are(tmp_path, in_parts):
    path, rows = tmp_path / "v.csv", table(300, 100)
    low = rows[["first", "second"]].min(axis=1)
    rows = rows.loc[~pd.DataFrame({"u": rows["user"], "l": low, "h": rows[["first", "second"]].max(axis=1)})
                    .duplicated()]  # fmt: skip
    rows.to_csv(path, index=False)
    in_parts()
    votes = load_votes(path)
    assert votes.weight is None
    assert [votes.users[u] for u in votes.user] == rows["user"].tolist()
    assert [votes.items[i] for i in votes.first] == rows["first"].tolist()
    assert not votes.told


def test_what_is_held_grows_with_the_different_votes_only(tmp_path, in_parts, monkeypatch):
    in_parts()
    held, plain = [], distinct._once
    monkeypatch.setattr(distinct, "_once", lambda part, join: held.append(len(part.row)) or plain(part, join))
    sizes = {}
    for rows in (2_000, 20_000):
        table(rows, 3).to_csv(tmp_path / "v.csv", index=False)
        held.clear()
        votes = load_votes(tmp_path / "v.csv")
        sizes[rows] = max(held)
        assert votes.weight.sum() == rows
    different = 3 * 6 * 3 * 2  # people, pairs, answers, and either order of the options
    assert max(sizes.values()) <= distinct.GROWTH * different + tables.ROWS_AT_ONCE


def test_repeats_of_another_topic_leave_no_weights(tmp_path, in_parts):
    rows = table(200, 3).assign(topic="often")
    few = table(200, 3).drop_duplicates(["user"]).assign(topic="once", first="tea", second="milk")
    pd.concat([rows, few]).to_csv(tmp_path / "v.csv", index=False)
    whole = load_votes(tmp_path / "v.csv", "once")
    in_parts()
    same(load_votes(tmp_path / "v.csv", "once"), whole)
    assert whole.weight is None
    assert load_votes(tmp_path / "v.csv", "often").weight.max() > 1


GOOD = table(60, 2).to_csv(index=False).splitlines()
SPOILT = {
    "an empty user": lambda lines: [*lines[:41], ",tea,milk,first", *lines[41:]],
    "an empty item": lambda lines: [*lines[:33], "1, ,milk,first", *lines[33:]],
    "no meaning": lambda lines: [*lines[:50], "1,tea,milk,hm", *lines[50:], "1,tea,milk,hm"],
    "no vote": lambda lines: [*lines[:50], "1,tea,milk", *lines[50:]],
    "with itself": lambda lines: [*lines[:22], "1,tea,tea,first", *lines[22:]],
    "both faults, the later one told first": lambda lines: [
        *lines[:22],
        "1,tea,tea,first",
        *lines[22:],
        "1,tea,milk,hm",
    ],
    "too long": lambda lines: [*lines, "1,tea,milk,first,more"],
    "too long at first": lambda lines: [lines[0], "1,tea,milk,first,more", *lines[1:]],
    "all too long": lambda lines: [lines[0], *(line + ",more" for line in lines[1:])],
    "an open quote": lambda lines: [*lines, '1,"tea,milk,first'],
    "no UTF-8": lambda lines: [*lines, "1,t\udce9a,milk,first"],
    "a zero byte": lambda lines: [*lines, "1,t\0a,milk,first"],
    "no rows": lambda lines: lines[:1],
    "two groups": lambda lines: [*lines, "1,rum,gin,first"],
    "blank lines": lambda lines: [*lines[:20], "", "", *lines[20:], "1,tea,milk,hm"],
}


@pytest.mark.parametrize("fault", SPOILT)
def test_errors_are_those_of_a_file_read_whole(tmp_path, in_parts, fault, monkeypatch):
    path = tmp_path / "v.csv"
    path.write_text("\n".join(SPOILT[fault](GOOD)) + "\n", errors="surrogateescape")
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 10**9)
    with pytest.raises(InputError) as whole:
        load_votes(path)
    in_parts()
    with pytest.raises(InputError) as parts:
        load_votes(path)
    assert str(parts.value) == str(whole.value)


@pytest.mark.parametrize(("bad", "sentence"), [("0", "holds 0 in line 46"), ("x", "holds 'x' in line 46")])
def test_a_bad_weight_is_found_in_its_line(tmp_path, in_parts, bad, sentence):
    rows = table(60, 2).assign(count="2")
    rows.loc[44, "count"] = bad
    rows.to_csv(tmp_path / "v.csv", index=False)
    in_parts()
    with pytest.raises(InputError, match=sentence):
        load_votes(tmp_path / "v.csv")


def test_words_that_are_numbers_missing_or_categories(tmp_path, in_parts):
    """A whole column decides how its numbers are written: 3.0 is user 3 even where one has none."""
    rows, path = table(120, 5), tmp_path / "v.parquet"
    kinds = {
        "whole": rows["user"].astype(int),
        "with a point": rows["user"].astype(float),
        "categories": rows["user"].astype("category"),
    }
    in_parts()
    for user in kinds.values():
        rows.assign(user=user).to_parquet(path)
        assert load_votes(path).users == ("0", "1", "2", "3", "4")
    halves = rows["user"].astype(float)
    halves[119] = 2.5
    rows.assign(user=halves).to_parquet(path)
    assert load_votes(path).users == ("0.0", "1.0", "2.0", "2.5", "3.0", "4.0")
    halves[70] = None
    rows.assign(user=halves).to_parquet(path)
    with pytest.raises(InputError, match="'user' is empty in row 71"):
        load_votes(path)


def one_a_row(rows):
    """The votes as they were read before: every row stands for itself."""
    users, items = sorted(set(rows["user"])), sorted(ITEMS)
    codes = [
        rows[name].map(names.index).to_numpy()
        for name, names in (("user", users), ("first", items), ("second", items))
    ]
    score = rows["vote"].map({"first": 1.0, "second": 0.0, "equal": 0.5}).to_numpy()
    return Votes(*codes, score, tuple(users), tuple(items))


def test_the_objective_of_the_fit_is_that_of_the_rows(tmp_path):
    rows = table(3000, 8)
    rows.to_csv(tmp_path / "v.csv", index=False)
    found = {}
    for name, votes in (("once", load_votes(tmp_path / "v.csv")), ("each", one_a_row(rows))):
        problem = survey_fit._problem(survey_fit._by_user(votes), own=True)
        x = np.random.default_rng(2).standard_normal(problem.design.parameters)
        value, slope = problem.loss(problem.design.differences(x))
        gradient = problem.design.summed(problem.weighted(slope))
        best, _ = survey_fit._fit(problem, (0.3, 1.0), np.zeros(len(x)), 1e-10)
        found[name] = (len(votes.score), value, gradient, best)
    assert found["once"][0] < found["each"][0] / 5
    assert found["once"][1] == pytest.approx(found["each"][1], rel=1e-12)
    for once, each in zip(found["once"][2:], found["each"][2:], strict=True):
        np.testing.assert_allclose(once, each, rtol=1e-9, atol=1e-9)


def test_a_vote_and_its_repeats_are_dealt_to_one_fold(tmp_path, monkeypatch):
    rows = table(500, 30)
    rows.to_csv(tmp_path / "v.csv", index=False)
    votes, dealt = survey_fit._by_user(load_votes(tmp_path / "v.csv")), []
    plain = survey_fit._best
    monkeypatch.setattr(survey_fit, "_best", lambda *given: dealt.append(given[1]) or plain(*given))
    survey_fit.choose_penalties(votes)
    pairs = {}
    for u, a, b, fold in zip(votes.user, votes.first, votes.second, dealt[0], strict=True):
        assert pairs.setdefault((u, frozenset((a, b))), fold) == fold
    assert len(set(dealt[0])) == 5
    assert (np.diff([fold for _, fold in sorted(pairs.items(), key=str)]) != 0).any()


def test_few_votes_given_often_are_enough(tmp_path):
    """Five rows of two different votes could be fitted, and still can."""
    (tmp_path / "v.csv").write_text("user,first,second,vote\n" + "a,x,y,first\n" * 3 + "b,y,x,first\n" * 2)
    assert build({"votes": {"file": str(tmp_path / "v.csv")}}).people == 2


def test_sentences_count_votes_and_not_rows(tmp_path):
    rows = table(300, 4)
    rows.to_csv(tmp_path / "v.csv", index=False)
    texts = pd.DataFrame({"item": ITEMS, "text": ["x" * k for k in (4, 1, 2, 3)]})
    texts.to_csv(tmp_path / "t.csv", index=False)
    given = {"file": str(tmp_path / "v.csv"), "items": str(tmp_path / "t.csv")}
    about = build({"votes": given}).about
    assert "4 users calibrated on 300 votes" in about[0]
    length = dict(zip(texts["item"], texts["text"].str.len(), strict=True))
    decided = rows.loc[rows["vote"] != "equal"]
    won = decided["first"].where(decided["vote"] == "first", decided["second"]).map(length)
    lost = decided["first"].where(decided["vote"] == "second", decided["second"]).map(length)
    assert f"won {100 * (won > lost).mean():.1f} % of the {len(decided)} decided" in " ".join(about)
    merged = build({"votes": {**given, "repeats": "merge"}}).about
    assert f"calibrated on {len(counted(rows, pd.Series(np.ones(300)), 'sum'))} votes" in merged[0]


def test_the_option_everywhere_and_bad_words(tmp_path):
    path = tmp_path / "v.csv"
    table(300, 4).to_csv(path, index=False)
    (tmp_path / "mine.yaml").write_text("votes: {file: v.csv, repeats: merge}\n")
    by_file = build(read(tmp_path / "mine.yaml"))
    (spec,) = populations_of((), path, repeats="merge")
    assert spec["votes"]["repeats"] == "merge"
    np.testing.assert_array_equal(build(spec).utilities, by_file.utilities)
    assert "They were merged" in " ".join(by_file.about)
    for call in (
        lambda: load_votes(path, repeats="drop"),
        lambda: build({"votes": {"file": str(path), "repeats": "drop"}}),
        lambda: populations_of((), path, repeats="drop"),
    ):
        with pytest.raises(InputError, match="repeats must be one of 'count', 'merge', got 'drop'"):
            call()
    with pytest.raises(InputError, match="--repeats belong to --votes"):
        populations_of(("two_camps",), repeats="merge")
    (tmp_path / "d.soc").write_text(
        "# NUMBER ALTERNATIVES: 2\n# NUMBER VOTERS: 3\n# ALTERNATIVE NAME 1: tea\n"
        "# ALTERNATIVE NAME 2: milk\n3: 1,2\n"
    )
    with pytest.raises(InputError, match="repeats are for tables of votes"):
        load_votes(tmp_path / "d.soc", repeats="merge")


def test_another_option_never_takes_the_results_of_the_first(tmp_path):
    path, out = tmp_path / "v.csv", tmp_path / "out"
    table(400, 6).to_csv(path, index=False)

    def run(repeats):
        (spec,) = populations_of((), path, repeats=repeats)
        found = simulate([spec], ["Borda", "NLHF"], out=out, bootstrap=0)
        files = {"fits": len([*out.rglob("fit-*.npz")]), "cells": len([*out.rglob("*.parquet")])}
        return found.table["average_utility"].tolist(), files

    first, once = run("count")
    second, twice = run("merge")
    assert first != second
    assert (once, twice) == ({"fits": 1, "cells": 1}, {"fits": 2, "cells": 2})
    assert run("count") == (first, twice)


def test_the_first_screen_says_how_many(tmp_path, capsys, monkeypatch):
    path = tmp_path / "v.csv"
    rows = table(300, 4)
    rows.to_csv(path, index=False)
    given = ["--votes", str(path), "--methods", "Borda", "--bootstrap", "0", "--workers", "1"]
    command = ["distalign", "simulate", *given, "--repeats", "merge", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    shown = capsys.readouterr().out
    again = 300 - len(counted(rows, pd.Series(np.ones(300)), "sum"))
    assert f"v: {again} rows repeat an earlier one: the same user, pair and answer. They were merged" in shown
    report = (tmp_path / "out" / "report.md").read_text()
    assert f"{again} rows repeat an earlier one" in report
    assert "--repeats merge" in (tmp_path / "out" / "index.html").read_text()
    found = simulate(["two_camps", "spatial"], ["Borda"])
    assert not repeated(found.populations.values())
    screen = first_screen(found.table, [], "out", ["a: once", "b: twice"])
    assert screen.splitlines()[-1] == "a: once (and of 1 other populations: out/report.md)"


def test_training_pairs_carry_the_count_as_weight(tmp_path):
    from distalign.pluralism.exchange import write_preferences

    (tmp_path / "v.csv").write_text("user,first,second,vote\n" + "a,x,y,first\n" * 3 + "b,y,x,first\n")
    (tmp_path / "t.csv").write_text("item,text\nx,One.\ny,Two.\n")
    told = write_preferences(tmp_path / "v.csv", tmp_path / "t.csv", "?", tmp_path / "p.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [(row["chosen"], row["weight"]) for row in rows] == [("One.", 3.0), ("Two.", 1.0)]
    assert told[-1].startswith("4 votes of 2 people on 2 texts became 2 weighted pairs")
