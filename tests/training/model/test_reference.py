"""The cache of reference log-probabilities: what hits, what misses, what is scored where."""

from pathlib import Path

import pytest
import torch

from distalign.progress import Lines
from distalign.training.data.batches import Batches, MicroBatch, sides
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.model import reference
from distalign.training.model.reference import ReferenceCache, reference_scores
from distalign.training.parallel import World

ALONE = World(0, 1, torch.device("cpu"))
KEY = {"weights": "abc", "dtype": "float32"}


def examples(n, start=0):
    return [Example((1, i), (3, i), (4,), line=i + 1) for i in range(start, start + n)]


class Scores:
    """Minus the sum of tokens; remembers what it was asked."""

    def __init__(self, data):
        self.data, self.asked = data, []

    def __call__(self, part):
        self.asked.append(part.examples)
        chosen, rejected = sides(self.data, part)
        one = [-float(sum(self.data.examples[i].chosen)) for i in chosen]
        return torch.tensor(one), torch.tensor(
            [-float(sum(self.data.examples[i].rejected)) for i in rejected]
        )


def fill(folder, data, steps=2, key=None, say=lambda line: None, **options):
    score = Scores(data)
    batches = Batches(data, 4, micro_batch_size=2, **options)
    cache = ReferenceCache(folder, key or KEY, say)
    table = reference_scores(data, batches, steps, score, cache, ALONE)
    return table, score.asked


def test_lines_are_scored_in_the_micro_batches_of_training_and_only_those_it_meets(tmp_path):
    data = PreferenceData.of(examples(9))
    table, asked = fill(tmp_path, data)
    batches = Batches(data, 4, micro_batch_size=2)
    assert asked == [part.examples for s in range(2) for part in batches.shares(s)[0]]
    met = batches.global_batch(0) + batches.global_batch(1)
    assert table[met].tolist() == [[-float(3 + i), -4.0] for i in met]
    assert table[[i for i in range(9) if i not in met]].tolist() == [[0.0, 0.0]]


def test_the_bar_counts_the_lines_that_are_scored_and_no_others(tmp_path, monkeypatch):
    data, bars = PreferenceData.of(examples(40)), []

    class Bar(Lines):
        def __init__(self, total, what, unit, *, shown):
            super().__init__(total, what, unit, lambda line: None)
            bars.append(self)

    monkeypatch.setattr(reference, "progress_bar", Bar)
    fill(tmp_path, data, steps=2)
    fill(tmp_path, data, steps=5)
    assert [(bar.done, bar.total) for bar in bars] == [(8, 8), (12, 12)]


def test_a_second_run_scores_nothing_whatever_its_seed(tmp_path):
    data, lines = PreferenceData.of(examples(8)), []
    table, _ = fill(tmp_path, data)
    again, asked = fill(tmp_path, data, seed=5, say=lines.append)
    assert asked == []
    assert torch.equal(table, again)
    assert "8 of 8 lines found" in lines[0]


def test_another_key_misses_and_says_so(tmp_path):
    data, lines = PreferenceData.of(examples(8)), []
    fill(tmp_path, data)
    for change in ({"weights": "other"}, {"dtype": "bfloat16"}):
        _, asked = fill(tmp_path, data, key=KEY | change, say=lines.append)
        assert sum(map(len, asked)) == 8
    assert "another model, dtype or attention, which do not apply here: of 8 lines" in lines[0]
    assert fill(tmp_path, data)[1] == []


def test_changed_and_new_lines_alone_are_scored(tmp_path):
    fill(tmp_path, PreferenceData.of(examples(8)))
    changed = [*examples(7), Example((1, 7), (3, 7, 7), (4,)), *examples(3, 20)]
    table, asked = fill(tmp_path, PreferenceData.of(changed), steps=3)
    assert sorted(i for part in asked for i in part) == [7, 8, 9, 10]
    assert table[7].tolist() == [-17.0, -4.0]
    assert fill(tmp_path, PreferenceData.of(examples(8)))[1] == []


def test_a_line_that_occurs_twice_is_scored_twice_and_found_twice(tmp_path):
    data = PreferenceData.of(examples(4) + examples(4))
    assert sum(map(len, fill(tmp_path, data)[1])) == 8
    assert fill(tmp_path, data)[1] == []
    assert fill(tmp_path, PreferenceData.of(examples(4) * 3), steps=3)[1] == []


def test_unpaired_lines(tmp_path):
    data = PreferenceData.of(
        [Example((1,), (2, i), None) for i in range(4)] + [Example((1,), None, (5, i)) for i in range(4)]
    )
    table, _ = fill(tmp_path, data)
    assert table[:4, 1].tolist() == table[4:, 0].tolist() == [0.0] * 4
    assert table[4:, 1].tolist() == [-5.0, -6.0, -7.0, -8.0]
    assert torch.equal(fill(tmp_path, data)[0], table)


def test_a_cut_file_is_scored_anew(tmp_path):
    data, lines = PreferenceData.of(examples(8)), []
    fill(tmp_path, data)
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:40])
    assert sum(map(len, fill(tmp_path, data, say=lines.append)[1])) == 8
    assert "is damaged" in lines[0]
    assert fill(tmp_path, data)[1] == []


def test_the_same_scores_are_the_same_bytes_whatever_the_key(tmp_path):
    """safetensors writes entries of its metadata in a random order."""
    key = dict.fromkeys("abcdefgh", "x")
    data, found = PreferenceData.of(examples(8)), set()
    for k in range(4):
        fill(tmp_path / str(k), data, key=key)
        found.add(ReferenceCache(tmp_path / str(k), key).path.read_bytes())
    assert len(found) == 1


def test_a_kill_while_filling_loses_one_block_at_most(tmp_path):
    data = PreferenceData.of(examples(520))

    class Dies(Scores):
        def __call__(self, part: MicroBatch):
            if len(self.asked) == 200:
                raise KeyboardInterrupt
            return super().__call__(part)

    batches, cache = Batches(data, 4, micro_batch_size=2), ReferenceCache(Path(tmp_path), KEY)
    with pytest.raises(KeyboardInterrupt):
        reference_scores(data, batches, 130, Dies(data), cache, ALONE)
    assert sum(map(len, fill(tmp_path, data, steps=130)[1])) == 520 - 256


def test_writing_costs_in_proportion_to_the_data(tmp_path, monkeypatch):
    """With a write a block, 100 blocks of 400 lines were 20,200 lines written."""
    data, written = PreferenceData.of(examples(400)), []
    monkeypatch.setattr(reference, "_BLOCK", 1)
    store = ReferenceCache.store
    monkeypatch.setattr(
        ReferenceCache,
        "store",
        lambda cache, rows, table, scored: (
            written.append(int(scored.sum())),
            store(cache, rows, table, scored),
        ),
    )
    fill(tmp_path, data, steps=100)
    assert sum(written) < 10 * 400
    assert written[-1] == 400
    assert fill(tmp_path, data, steps=100)[1] == []


def test_a_kill_loses_at_most_an_eighth_and_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "_BLOCK", 1)
    data, lines = PreferenceData.of(examples(400)), []
    batches, scores = Batches(data, 4, micro_batch_size=4), Scores(data)

    def killed(part):
        if len(scores.asked) == 77:
            raise KeyboardInterrupt
        return scores(part)

    cache = ReferenceCache(tmp_path, KEY)
    with pytest.raises(KeyboardInterrupt):
        reference_scores(data, batches, 100, killed, cache, ALONE)
    fill(tmp_path, data, steps=100, say=lines.append)
    found = int(lines[0].split()[1])
    assert 77 * 4 * 8 / 9 - 4 <= found <= 77 * 4


def by_dictionaries(names, scores, data):
    """`load` as it was written first: one line after the other."""
    cached, table, scored, occurrence = {}, torch.zeros(len(data.names), 2).double(), [], {}
    for name, score in zip(names, scores):
        cached.setdefault(name, []).append(score)
    for i, name in enumerate(data.names):
        found = cached.get(name)
        scored.append(found is not None)
        if found:
            k = occurrence[name] = occurrence.get(name, -1) + 1
            table[i] = torch.tensor(found[min(k, len(found) - 1)])
    return table, torch.tensor(scored)


def test_repeated_lines_have_their_scores_in_order(tmp_path):
    """Random lines, each stored any number of times and asked for any number of times; by another road."""
    draw = torch.Generator().manual_seed(0)
    cache, kept = ReferenceCache(tmp_path, KEY), {}
    for _ in range(6):
        picks = torch.randint(0, 12, (9,), generator=draw).tolist()
        data = PreferenceData.of([Example((1, i), (3, i), (4,)) for i in picks])
        table = torch.randn(9, 2, generator=draw).double()
        scored = torch.rand(9, generator=draw) < 0.8
        cache.store(data, table, scored)
        fresh = {}
        for name, scores, there in zip(data.names, table.tolist(), scored.tolist()):
            if there:
                fresh.setdefault(name, []).append(scores)
        kept |= {name: s for name, s in fresh.items() if len(s) >= len(kept.get(name, ()))}
        asked = PreferenceData.of(
            [Example((1, i), (3, i), (4,)) for i in torch.randint(0, 14, (20,), generator=draw).tolist()]
        )
        flat = [(name, s) for name, scores in kept.items() for s in scores]
        wanted = by_dictionaries(*zip(*flat), asked)
        assert all(map(torch.equal, cache.load(asked), wanted))


def test_a_second_start_lays_nothing_out(tmp_path, monkeypatch):
    """Whether every line was met, or as many as a few updates meet; lines without weight are never met."""
    lines = [*examples(40), *(Example((9, i), (3,), (4,), weight=0.0) for i in range(5))]
    data = PreferenceData.of(lines)
    for steps in (3, 25):
        fill(tmp_path, data, steps=steps)
        with monkeypatch.context() as patch:
            patch.setattr(Batches, "shares", None)
            fill(tmp_path, data, steps=steps)


def test_only_what_a_block_scores_is_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "_BLOCK", 1)
    data, sent = PreferenceData.of(examples(40)), []
    monkeypatch.setattr(World, "sum", lambda world, tensors: sent.append([t.shape[0] for t in tensors]))
    fill(tmp_path, data, steps=25)
    assert sent[1:] == [[4]] * 10  # after `load_everywhere`
