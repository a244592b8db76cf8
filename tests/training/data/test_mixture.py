"""Mixtures: how much of each source is in them, which lines, and what is wrong with a file that names one."""

import pytest
from preference_rows import LABELLED, PAIR, TOKENIZER, write

from distalign.checks import InputError
from distalign.training.data.load import load_preferences
from distalign.training.data.mixture import Mixture, read_mixture

LINES = [[f"a{i}" for i in range(60)], [f"b{i}" for i in range(100)]]


def mixed(folder, text):
    (folder / "mix.yaml").write_text(text)
    return folder / "mix.yaml"


@pytest.mark.parametrize("shares", [(0.5, 0.5), (3, 1), (0.1, 0.9)])
def test_shares_are_met_by_as_many_lines_as_can_be_without_repeats(shares):
    first, second = Mixture({"a": shares[0], "b": shares[1]}).drawn(LINES)
    assert len(first) / (len(first) + len(second)) == pytest.approx(shares[0] / sum(shares), abs=0.01)
    assert len(first) == 60 or len(second) == 100
    for part, lines in zip((first, second), LINES):
        assert len(set(part)) == len(part)
        assert part == [line for line in lines if line in set(part)]  # in the order of the source


def test_passes_repeat_lines_and_draw_the_rest_by_the_seed():
    def drawn(seed):
        return Mixture({"a": 2.5, "b": 0.25}, by="passes", seed=seed).drawn(LINES)

    first, second = drawn(0)
    counts = [first.count(line) for line in LINES[0]]
    assert (sorted(set(counts)), len(first), len(second)) == ([2, 3], 150, 25)
    assert drawn(0) == [first, second]
    assert drawn(1)[1] != second


def test_the_draw_of_one_source_does_not_depend_on_the_others():
    alone = Mixture({"a": 0.5, "b": 1.0}, by="passes").drawn(LINES)[0]
    assert Mixture({"a": 0.5, "c": 0.7}, by="passes").drawn([LINES[0], LINES[1][:40]])[0] == alone


def test_a_mixture_is_read_as_its_sources_are(tmp_path):
    write(tmp_path, [PAIR | {"prompt": f"q{i}", "group": "x"} for i in range(8)], "a.jsonl")
    write(tmp_path, [PAIR | {"group": "y"}, PAIR | {"group": "y", "chosen": " no"}], "b.jsonl")
    source = mixed(tmp_path, "sources: {a.jsonl: 0.8, b.jsonl: 0.2}\n")
    data = load_preferences(source, TOKENIZER, skip_bad_rows=True)
    assert data.groups == ("x", "y")
    assert [example.group for example in data.examples] == [0] * 4 + [1]
    counts = {key.rsplit("/")[-1]: n for key, n in data.report.items()}
    assert (counts["read"], counts["kept"], counts["dropped_identical"]) == (10, 5, 1)
    assert (counts["a.jsonl"], counts["b.jsonl"]) == (4, 1)
    with pytest.raises(InputError, match=r"b\.jsonl, line 2: chosen equals rejected"):
        load_preferences(source, TOKENIZER)


def test_paired_and_labelled_sources_mix(tmp_path):
    write(tmp_path, [PAIR], "a.jsonl")
    write(tmp_path, LABELLED, "b.jsonl")
    data = load_preferences(mixed(tmp_path, "sources: {a.jsonl: 1, b.jsonl: 1}\nby: passes\n"), TOKENIZER)
    assert not data.paired
    assert len(data.examples) == 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("by: share\n", "must hold `sources:`"),
        ("sources: [a.jsonl]\n", "must hold `sources:`"),
        ("sources: {a.jsonl: 1}\nweights: 2\n", "it has the key 'weights'"),
        ("sources: {a.jsonl: 1}\nby: chance\n", "must be one of 'share', 'passes', got 'chance'"),
        ("sources: {a.jsonl: 1}\nseed: -1\n", "seed in .* must be a whole number"),
        ("sources: {a.jsonl: 0}\n", "share of a.jsonl in .* must be a finite number above 0"),
        ("sources: {a.jsonl: much}\n", "the share of a.jsonl must be a number, got 'much'"),
        ("sources: {none.jsonl: 1}\n", "none.jsonl does not exist"),
        ("sources: {a.jsonl: 0.1}\nby: passes\n", "leaves no line of .*a.jsonl, which has 1"),
        ("sources: {a.jsonl: 1, a.jsonl: 2}\n", "stands twice"),
    ],
)
def test_bad_mixtures(tmp_path, text, sentence):
    write(tmp_path, [PAIR], "a.jsonl")
    with pytest.raises(InputError, match=sentence):
        load_preferences(mixed(tmp_path, text), TOKENIZER)


def test_sources_are_found_beside_the_file_or_where_they_are_named(tmp_path, monkeypatch):
    write(tmp_path, [PAIR], "a.jsonl")
    monkeypatch.chdir(tmp_path.parent)
    found = read_mixture(mixed(tmp_path, "sources: {a.jsonl: 1, owner/name: 2}\n"))
    assert list(found.sources) == [str(tmp_path / "a.jsonl"), "owner/name"]
