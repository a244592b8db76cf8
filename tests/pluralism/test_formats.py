"""Every format of votes, rankings and ratings gives the same votes, and what is ambiguous is refused."""

import gzip
import json
import unicodedata

import numpy as np
import pandas as pd
import pytest

from distalign.checks import InputError
from distalign.pluralism.scenario_file import build, read
from distalign.pluralism.simulation import populations_of
from distalign.pluralism.sources.preflib import read_rankings
from distalign.pluralism.sources.ratings import load_ratings
from distalign.pluralism.sources.survey import load_survey
from distalign.pluralism.sources.votes import load_votes
from distalign.pluralism.survey_fit import fit_users

ROWS = pd.DataFrame(
    {
        "user": ["ann", "bob", "ann", "cy"],
        "first": ["tea", "milk", "milk", "beer"],
        "second": ["milk", "tea", "beer", "tea"],
        "vote": ["first", "second", "equal", "second"],
    }
)
ARENA = {"user": "judge", "first": "model_a", "second": "model_b", "vote": "winner"}


def said(votes):
    return (
        [votes.users[i] for i in votes.user],
        [votes.items[i] for i in votes.first],
        [votes.items[i] for i in votes.second],
        votes.score.tolist(),
    )


WANTED = (ROWS.user.tolist(), ROWS["first"].tolist(), ROWS.second.tolist(), [1, 0, 0.5, 0])


def lines(table, path):
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dict("records")))


WRITERS = {
    "v.csv": lambda t, p: t.to_csv(p, index=False),
    "v.tsv": lambda t, p: t.to_csv(p, index=False, sep="\t"),
    "semicolon.csv": lambda t, p: t.to_csv(p, index=False, sep=";"),
    "bom.csv": lambda t, p: t.to_csv(p, index=False, encoding="utf-8-sig"),
    "v.parquet": lambda t, p: t.to_parquet(p),
    "v.jsonl": lines,
    "v.csv.gz": lambda t, p: p.write_bytes(gzip.compress(t.to_csv(index=False).encode())),
    "gzip_without_its_name.csv": lambda t, p: p.write_bytes(gzip.compress(t.to_csv(index=False).encode())),
    "tabs_without_a_suffix": lambda t, p: t.to_csv(p, index=False, sep="\t"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_votes_in_every_format(tmp_path, name):
    WRITERS[name](ROWS, tmp_path / name)
    assert said(load_votes(tmp_path / name)) == WANTED
    assert read(tmp_path / name) == {"votes": {"file": str(tmp_path / name)}}


def test_zstandard_is_read_or_its_library_named(tmp_path):
    path = tmp_path / "v.csv.zst"
    try:
        import zstandard
    except ImportError:
        path.write_bytes(b"\x28\xb5\x2f\xfd rest")
        with pytest.raises(InputError, match="packed with Zstandard: pip install zstandard"):
            load_votes(path)
        return
    head, *rows = ROWS.to_csv(index=False).encode().splitlines(keepends=True)
    frames = zstandard.compress(head + rows[0]) + zstandard.compress(b"".join(rows[1:]))
    path.write_bytes(frames)
    assert said(load_votes(path)) == WANTED
    many = zstandard.compress(head + b"".join(b"%d,tea,milk,first\n" % i for i in range(50_000)))
    for spoilt, sentence in (
        (many[: len(many) // 2], "cut off"),  # its own reader gave half of the votes
        (many[:-3], "cut off"),
        (many[:4] + b"\xff" * 100, "packing is damaged"),
    ):
        path.write_bytes(spoilt)
        with pytest.raises(InputError, match=sentence):
            load_votes(path)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (ARENA, {"first": "model_a", "second": "model_b", "equal": "tie"}),
        (ARENA, {"first": "model_a", "second": "model_b", "equal": "tie (bothbad)"}),
        ({"user": "annotator", "first": "left", "second": "right", "vote": "choice"}, {"first": "left"}),
        (
            {"user": "annotator_id", "first": "output_1", "second": "output_2", "vote": "preference"},
            {"first": "1.0", "second": "2.0", "equal": "1.5"},
        ),
        ({"user": "Worker ID", "vote": "winner"}, {"first": "A", "second": "B", "equal": "Tie"}),
    ],
)
def test_synonyms(tmp_path, columns, words):
    ROWS.replace({"vote": words}).rename(columns=columns).to_csv(tmp_path / "v.csv", index=False)
    assert said(load_votes(tmp_path / "v.csv")) == WANTED


def test_a_winner_by_its_name_and_a_name_that_is_a_word(tmp_path):
    path = tmp_path / "v.csv"
    ROWS.assign(vote=["tea", "tea", "tie", "tea"]).to_csv(path, index=False)
    assert said(load_votes(path)) == WANTED
    path.write_text("user,first,second,vote\nann,b,a,a\nann,b,a,second\n")  # "a": the word, or the item?
    with pytest.raises(InputError, match="'a' in line 2 is an option's name and a word for another answer"):
        load_votes(path)
    votes = load_votes(path, values={"a": "second"})
    assert (votes.score.tolist(), votes.weight.tolist()) == ([0], [2])


def test_soft_preferences_are_kept_and_other_numbers_refused(tmp_path):
    path = tmp_path / "v.csv"
    soft = ROWS.assign(vote=[1.25, 2, 1.5, 1.9]).rename(columns={"vote": "preference"})
    soft.to_csv(path, index=False)
    np.testing.assert_allclose(load_votes(path).score, [0.75, 0, 0.5, 0.1])
    soft.assign(preference=[0.25, 1, 1.5, 1]).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"a number from 1 .* got '0.25' in line 2"):
        load_votes(path)


def test_columns_and_values_by_hand(tmp_path):
    path = tmp_path / "v.csv"
    rows = pd.concat([ROWS] * 3, ignore_index=True).replace({"vote": {"equal": "unclear"}})
    rows.rename(columns={"user": "labelled by"}).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"no column 'user'; it has 'labelled by'.*--columns user="):
        load_votes(path)
    (spec,) = populations_of((), path, columns=["user=labelled by"], values=["unclear=equal"])
    found = build(spec)
    assert found.people == 3
    again = load_votes(path, None, {"user": "labelled by"}, {"unclear": "equal"})
    assert (said(again), again.weight.tolist()) == (WANTED, [3, 3, 3, 3])
    (tmp_path / "mine.yaml").write_text(
        "votes: {file: v.csv, columns: {user: labelled by}, values: {unclear: skip}}\n"
    )
    left = build(read(tmp_path / "mine.yaml"))
    assert "3 votes were left out, as asked" in left.about[-1]
    for columns, values, sentence in (
        ({"usr": "labelled by"}, {}, "no role 'usr': did you mean user"),
        ({"user": "labeled by"}, {}, "no column 'labeled by': did you mean labelled by"),
        ({"user": "labelled by"}, {"unclear": "even"}, "unclear=even"),
        ({"user": "labelled by"}, {"unclaer": "equal"}, "'unclaer': did you mean unclear"),
    ):
        with pytest.raises(InputError, match=sentence):
            load_votes(path, None, columns, values)
    with pytest.raises(InputError, match="written name=value"):
        populations_of((), path, columns=["user"])


def test_two_columns_that_fit_are_not_chosen_between(tmp_path):
    path = tmp_path / "v.csv"
    two = ROWS.rename(columns={"user": "annotator"}).assign(judge="gpt")
    two.to_csv(path, index=False)
    with pytest.raises(InputError, match="'annotator', 'judge' could each be the user"):
        load_votes(path)
    assert said(load_votes(path, columns={"user": "annotator"})) == WANTED


def test_weights_count(tmp_path):
    """Three rows of weight two are the six rows; the weight column was ignored before."""
    rng = np.random.default_rng(0)
    names = np.array(["tea", "milk", "beer"])
    pairs = np.array([rng.permutation(3)[:2] for _ in range(60)])
    table = pd.DataFrame(
        {
            "user": rng.integers(5, size=60).astype(str),
            "first": names[pairs[:, 0]],
            "second": names[pairs[:, 1]],
            "vote": np.where(pairs[:, 0] > pairs[:, 1], "first", "second"),
        }
    )
    table.assign(count=1 + np.arange(60) % 4).to_csv(tmp_path / "w.csv", index=False)
    weighted = load_votes(tmp_path / "w.csv")
    repeated = table.loc[np.repeat(np.arange(60), 1 + np.arange(60) % 4)]
    repeated.to_csv(tmp_path / "r.csv", index=False)
    plain = load_votes(tmp_path / "r.csv")
    from distalign.pluralism import survey_fit

    def solved(votes):
        problem = survey_fit._problem(survey_fit._by_user(votes), own=True)
        return survey_fit._fit(problem, (1.0, 1.0), np.zeros(problem.design.parameters), 1e-9)[0]

    np.testing.assert_allclose(solved(weighted), solved(plain), atol=1e-7)
    assert fit_users(weighted).held_out > np.log(0.5)
    assert f"sum to {len(repeated)}" in " ".join(weighted.told)
    for bad, sentence in ((0, "must be above 0"), ("x", "holds 'x' in line 2")):
        table.assign(weight=[bad] + [1] * 59).to_csv(tmp_path / "w.csv", index=False)
        with pytest.raises(InputError, match=sentence):
            load_votes(tmp_path / "w.csv")
    table.assign(weight=1, count=1).to_csv(tmp_path / "w.csv", index=False)
    with pytest.raises(InputError, match="'weight', 'count' could each be the weight"):
        load_votes(tmp_path / "w.csv")


def test_names_are_brought_to_one_form_and_repeats_counted(tmp_path):
    path, accent = tmp_path / "v.csv", "caf\u00e9"
    path.write_text(
        f"user,first,second,vote\nann,{accent},tea,first\n"
        f"ann ,tea, {unicodedata.normalize('NFD', accent)},second\nbob,tea,{accent},first\n",
        encoding="utf-8",
    )
    votes = load_votes(path)
    assert (votes.users, votes.items) == (("ann", "bob"), (accent, "tea"))
    told = " ".join(votes.told)
    assert "2 names had blanks" in told
    assert "1 rows repeat an earlier one" in told


def test_no_column_of_a_utilities_table_is_an_alternative_by_mistake(tmp_path):
    table = pd.DataFrame({"id": [0, 1], "tea": [1, 0.5], "milk": [0, 1], "n": [3, 1]})
    for name in ("u.csv", "u.tsv", "u.parquet", "u.jsonl"):
        WRITERS["v" + name[1:]](table, tmp_path / name)
        found = build(read(tmp_path / name))
        assert (found.alternatives, found.weights.tolist()) == (("tea", "milk"), [0.75, 0.25])
        assert found.utilities.tolist() == [[1, 0], [0.5, 1]]
        assert "'n' was read as the weights" in found.about[0]
        assert "'id'" in found.about[0]
    table.to_csv(tmp_path / "index.csv")  # pandas adds a column without a name
    assert build(read(tmp_path / "index.csv")).alternatives == ("tea", "milk")
    table.assign(weight=1).to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(InputError, match="could each be the weight"):
        build(read(tmp_path / "two.csv"))
    (tmp_path / "comma.csv").write_text("tea;milk\n0,5;1\n0;1\n")
    with pytest.raises(InputError, match="'0,5' in line 2: write decimal points"):
        build(read(tmp_path / "comma.csv"))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.xlsx", b"PK\x03\x04...", "looks like an Excel workbook or a zip archive: save"),
        ("a.csv", b"PK\x03\x04...", "looks like an Excel workbook"),
        ("a.npz", b"PK\x03\x04...", "zip archive"),
        ("a.npy", b"\x93NUMPY...", "looks like a numpy array"),
        ("a.db", b"SQLite format 3\x00", "looks like an SQLite database"),
        ("a.feather", b"ARROW1...", "Feather"),
        ("a.wmd", b"# FILE NAME: a.wmd\n", "matching data"),
        ("a.json", b"[1, 2]", "must be a YAML mapping"),
        ("a.jsonl", b'[{"user": 1}]', "one JSON array"),
        ("a.csv", "user,first\n".encode("utf-16"), "UTF-16"),
        ("a.csv", b"user,first,second,vote\n\xe9,a,b,first\n", "no UTF-8 text"),
        ("a.html", b"<html>", "HTML or XML"),
        ("a.csv", b"user,first,first,vote\n", "two columns 'first'"),
        ("a.csv", b"user,first,second,vote\nann,a,b,first,more\n", "cannot be read as table"),
        ("a.soc", b"4\n1,tea\n2,milk\n", "format before 2022"),
        ("empty.csv", b"", "is empty"),
    ],
)
def test_other_kinds_are_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        build(read(tmp_path / name))


HEAD = (
    "# FILE NAME: drinks.toi\n# NUMBER ALTERNATIVES: 3\n# NUMBER VOTERS: 7\n"
    "# ALTERNATIVE NAME 1: tea\n# ALTERNATIVE NAME 2: milk\n# ALTERNATIVE NAME 3: beer\n"
)


@pytest.mark.parametrize("suffix", ["soc", "soi", "toc", "toi", "toi.gz", "txt"])
def test_rankings(tmp_path, suffix):
    path = tmp_path / f"drinks.{suffix}"
    text = (HEAD + "4: 1,{2,3}\n2: 3,2,1\n1: 2,1\n").encode()
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    assert read(path) == {"votes": {"file": str(path)}}
    votes = load_votes(path)
    assert len(votes.users) == 7
    assert len(votes.score) == 4 * 3 + 2 * 3 + 1
    wins = np.zeros((3, 3))
    np.add.at(wins, (votes.first, votes.second), votes.score)
    np.add.at(wins, (votes.second, votes.first), 1 - votes.score)
    tea, milk, beer = (votes.items.index(name) for name in ("tea", "milk", "beer"))
    assert (wins[tea, milk], wins[milk, tea]) == (4, 3)
    assert (wins[milk, beer], wins[beer, milk]) == (2, 4)
    assert (wins[tea, beer], wins[beer, tea]) == (4, 2)
    assert np.bincount(votes.user).tolist() == [3] * 6 + [1]
    assert "pairwise breaking" in votes.told[0]
    assert load_survey(str(path)).people == 7


@pytest.mark.parametrize(
    ("orders", "sentence"),
    [
        ("4: 1,2,3\n", "the file is cut off"),
        ("7: 1,2,2\n", "line 7 names an alternative twice"),
        ("7: 1,2,4\n", "none of 1 to 3"),
        ("7: 1,,2\n", "line 7 is no order"),
        ("7, 1, 2, 3\n", "line 7 is no order"),
    ],
)
def test_bad_rankings(tmp_path, orders, sentence):
    (tmp_path / "d.soc").write_text(HEAD + orders)
    with pytest.raises(InputError, match=sentence):
        read_rankings(tmp_path / "d.soc")


def test_ratings_become_utilities_or_pairs(tmp_path):
    path = tmp_path / "r.tsv"
    table = pd.DataFrame(
        [
            (u, i, r)
            for u, rs in (("ann", (5, 1, 3)), ("bob", (2, 4, 4)), ("cy", (5, 5, 1)))
            for i, r in zip("xyz", rs, strict=True)
        ],
        columns=["userId", "movieId", "rating"],
    ).rename(columns={"userId": "user_id"})
    table.to_csv(path, index=False, sep="\t")
    assert read(path) == {"ratings": {"file": str(path)}}
    whole = build(read(path))
    assert whole.utilities.tolist() == [[1, 0, 0.5], [0.25, 0.75, 0.75], [1, 1, 0]]
    assert (whole.people, whole.alternatives) == (3, ("x", "y", "z"))
    table.drop(index=5).to_csv(path, index=False, sep="\t")  # bob did not rate z
    pairs = build(read(path))
    assert "8 ratings became 7 votes" in pairs.about[-1]
    order = (pairs.utilities[0] * pairs.bt_temperature[0]).argsort()
    assert order.tolist()[-1] == 0  # ann likes x best
    with pytest.raises(InputError, match="lacks 1 of the 9 ratings"):
        load_ratings(str(path), "utilities")
    pd.concat([table, table.iloc[:1]]).to_csv(path, index=False, sep="\t")
    with pytest.raises(InputError, match="'ann' rated 'x' twice, again in line 11"):
        load_ratings(str(path), "pairs")
    with pytest.raises(InputError, match="it looks like ratings"):
        load_votes(path)


def test_pairs_of_ratings_are_those_of_a_loop(tmp_path):
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"user": rng.integers(20, size=200), "item": rng.integers(9, size=200)})
    table = table.drop_duplicates().assign(rating=lambda t: rng.integers(1, 6, size=len(t)))
    table.to_csv(tmp_path / "r.csv", index=False)
    from distalign.pluralism.sources.ratings import _pairs

    user, item, rating = (table[c].to_numpy() for c in table)
    names = tuple(map(str, range(20)))
    votes = _pairs(user, item, rating.astype(float), names, tuple(map(str, range(9))), tmp_path)
    expected = {}
    for k in range(20):
        mine = [(i, r) for u, i, r in zip(user, item, rating, strict=True) if u == k]
        for i, r in mine:
            for j, s in mine:
                if i < j:
                    expected[str(k), i, j] = 1.0 if r > s else 0.0 if r < s else 0.5
    found = {}
    for k, i, j, v in zip(votes.user, votes.first, votes.second, votes.score, strict=True):
        found[votes.users[k], min(i, j), max(i, j)] = v if i < j else 1 - v
    assert found == expected
