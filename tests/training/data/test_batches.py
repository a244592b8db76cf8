"""The order of the data: a pure function of seed and step, balanced over classes, the same whatever the
number of processes.
"""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from distalign.checks import InputError
from distalign.objectives import dpo
from distalign.preferences import PreferenceLogProbs
from distalign.training.data import batches as module
from distalign.training.data.batches import (
    Batches,
    MicroBatch,
    reference_batch,
    reference_batches,
    sides,
    split_scores,
)
from distalign.training.data.rows import Example, PreferenceData, scored_count


def pairs(n):
    return PreferenceData.of([Example((1, 2), (3,) * (1 + i % 4), (4, i + 5), line=i + 1) for i in range(n)])


def unpaired(chosen, rejected):
    lines = [Example((1,), (3, i), None) for i in range(chosen)]
    return PreferenceData.of(lines + [Example((1,), None, (4, i)) for i in range(rejected)])


def test_every_pass_meets_each_line_once_and_no_batch_is_short():
    batches = Batches(pairs(10), 4)
    seen = [i for step in range(5) for i in batches.global_batch(step)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert [batches.steps_of(epochs) for epochs in (0.1, 1, 2, 2.1)] == [1, 3, 5, 6]


def test_order_depends_on_the_seed_and_on_nothing_else():
    a, b = Batches(pairs(10), 4, seed=1), Batches(pairs(10), 4, seed=1, world=2, micro_batch_size=2)
    b.global_batch(3)
    assert [a.global_batch(s) for s in range(6)] == [b.global_batch(s) for s in range(6)]
    assert a.global_batch(0) != Batches(pairs(10), 4, seed=2).global_batch(0)


def test_each_process_has_its_part_in_order_and_as_many_passes():
    batches = Batches(pairs(12), 5, world=2, micro_batch_size=1)
    shares = batches.shares(0)
    assert [len(share) for share in shares] == [3, 3]
    assert [
        i for share in shares for part in share if part.counts for i in part.examples
    ] == batches.global_batch(0)
    assert [part.counts for part in shares[0]] == [True, True, False]


def test_both_classes_are_in_every_batch_in_their_proportion():
    batches = Batches(unpaired(40, 8), 6)
    for step in range(40):
        counts = Counter(batches.data.examples[i].chosen is not None for i in batches.global_batch(step))
        assert counts[False] == 1
        assert counts[True] == 5
    assert Counter(i for step in range(8) for i in batches.global_batch(step)) == Counter(range(48))


def test_lines_of_weight_0_are_left_out():
    data = PreferenceData.of([Example((1,), (3,), (4,), weight=float(i % 2)) for i in range(8)])
    assert {i for step in range(4) for i in Batches(data, 3).global_batch(step)} == {1, 3, 5, 7}


def test_what_a_batch_holds_before_it_is_scored_and_how_scores_are_split():
    data = PreferenceData.of(
        [Example((1,), (3,), (4, 5), 2.0), Example((1,), None, (6,), 3.0), Example((1,), (7, 8), None)]
    )
    part = MicroBatch((2, 0, 1))
    reference = torch.tensor([[-1.0, -2.0], [0.0, -3.0], [-4.0, 0.0]])
    found = reference_batch(data, part, reference)
    assert found.ref_chosen.tolist() == [-4.0, -1.0]
    assert found.ref_rejected.tolist() == [-2.0, -3.0]
    assert found.weights.tolist() == [1.0, 2.0]
    assert found.rejected_weights.tolist() == [2.0, 3.0]
    assert found.chosen_tokens.tolist() == [2, 1]
    scores = torch.tensor([10.0, 20.0, 30.0, 40.0])
    assert [x.tolist() for x in split_scores(data, part, scores)] == [[10.0, 20.0], [30.0, 40.0]]
    spare = MicroBatch((2, 0), counts=False)
    assert sides(data, spare) == ([], [])
    assert reference_batch(data, spare, reference).chosen.shape == (0,)
    assert [len(x) for x in split_scores(data, spare, torch.zeros(3))] == [0, 0]


def test_mistakes_get_a_sentence():
    with pytest.raises(InputError, match="the global batch is 4 examples but the training data hold 3"):
        Batches(pairs(3), 4)
    with pytest.raises(InputError, match="less than one example for each of 3 processes"):
        Batches(pairs(3), 2, world=3)
    with pytest.raises(InputError, match="would at times hold no rejected response"):
        Batches(unpaired(40, 2), 6)
    Batches(unpaired(40, 2), 6, needs=("chosen",))


def soft(couples, single=0):
    """Pairs in both orders with weights P and 1 - P, then lines of their own."""
    chances = torch.linspace(0.15, 0.9, couples).tolist()
    lines = []
    for i, p in enumerate(chances):
        lines += [Example((1, i), (3,), (4, 5), weight=p), Example((1, i), (4, 5), (3,), weight=1 - p)]
    return PreferenceData.of(lines + [Example((2, i), (3,), (4,), weight=0.3) for i in range(single)])


@pytest.mark.parametrize("size", [2, 4, 8])
def test_both_orders_of_a_soft_pair_are_in_one_batch(size):
    data = soft(12)
    batches = Batches(data, size)
    for step in range(9):
        rows = batches.global_batch(step)
        assert {i ^ 1 for i in rows} == set(rows)
        assert sum(data.examples[i].weight for i in rows) == pytest.approx(size / 2)
    assert batches.global_batch(0) != batches.global_batch(1)
    assert sorted(i for step in range(24 // size) for i in batches.global_batch(step)) == list(range(24))


def test_soft_labels_do_not_shrink_the_expected_gradient():
    """DPO at its start: the mean over the batches of a pass is the gradient of all pairs."""
    data = soft(12)

    def gradient(rows):
        logits = torch.zeros(12, dtype=torch.float64, requires_grad=True)
        sign = torch.tensor([1.0 - 2.0 * (i % 2) for i in rows], dtype=torch.float64)
        margins = sign * logits[[i // 2 for i in rows]]
        zero = torch.zeros(len(rows), dtype=torch.float64)
        weights = torch.tensor([data.examples[i].weight for i in rows], dtype=torch.float64)
        dpo(PreferenceLogProbs(margins, zero, zero, zero, weights=weights), beta=1.0).backward()
        return logits.grad

    whole = gradient(list(range(24)))
    for size in (2, 4, 8):
        batches = Batches(data, size)
        passes = [gradient(batches.global_batch(step)) for step in range(24 // size)]
        assert torch.stack(passes).mean(0) == pytest.approx(whole, abs=1e-12)
    apart = [gradient([i, (i + 2) % 24]) for i in range(24)]
    assert torch.stack(apart).mean(0) != pytest.approx(whole, abs=1e-3)


def test_lines_that_are_no_couple_are_shuffled_alone():
    batches = Batches(soft(4, single=5), 3)
    assert [len(unit) for unit in batches._units[0]] == [2] * 4 + [1] * 5
    assert sorted(i for step in range(13 // 3) for i in batches.global_batch(step)) != list(range(12))
    unweighted = PreferenceData.of([Example((1,), (3,), (4,)), Example((1,), (4,), (3,))] * 4)
    assert {len(unit) for unit in Batches(unweighted, 2)._units[0]} == {1}


@pytest.mark.parametrize("kind", ["paired", "weights and groups", "unpaired"])
def test_what_is_known_of_an_update_is_that_of_each_micro_batch(kind, monkeypatch):
    """By hand from the examples, and in two copies to the device, however many micro-batches there are."""
    lines = [Example((1,), (3,) * (1 + i), (4, -5, 6)[: 1 + 2 * (i % 2)], line=i + 1) for i in range(7)]
    if kind == "weights and groups":
        lines = [replace(e, weight=0.1 + 0.3 * i, group=i % 2) for i, e in enumerate(lines)]
    if kind == "unpaired":
        lines = [replace(e, **{("chosen", "rejected")[i % 2]: None}) for i, e in enumerate(lines)]
    data = PreferenceData.of(lines, ("a", "b") if "groups" in kind else ())
    reference, copies, moved = torch.randn(7, 2), [], module._moved
    monkeypatch.setattr(module, "_moved", lambda *args: (copies.append(1), moved(*args))[1])
    share = [MicroBatch((5, 1, 2)), MicroBatch((0,)), MicroBatch((0,), counts=False), MicroBatch((6, 3))]
    found = reference_batches(data, share, reference)
    assert len(copies) <= 2
    for part, known in zip(share, found, strict=True):
        for side, column in (("chosen", 0), ("rejected", 1)):
            ones = [i for i in part.examples if part.counts and getattr(lines[i], side) is not None]
            assert getattr(known, f"ref_{side}").tolist() == reference[ones, column].tolist()
            counts = [scored_count(getattr(lines[i], side)) for i in ones]
            assert getattr(known, f"{side}_tokens").tolist() == counts
            weights = known.weights if side == "chosen" else known.rejected_weights
            if "weights" in kind:
                assert torch.equal(weights, torch.tensor([lines[i].weight for i in ones]))
            else:
                assert weights is None
        groups = [lines[i].group for i in part.examples if part.counts]
        assert known.groups is None or known.groups.tolist() == groups


def test_scores_of_pairs_are_views_with_the_same_gradient():
    data, part = pairs(4), MicroBatch((2, 0, 3))
    scores = torch.randn(6, requires_grad=True)
    chosen, rejected = split_scores(data, part, scores)
    assert torch.equal(chosen, scores[[0, 2, 4]])
    assert torch.equal(rejected, scores[[1, 3, 5]])
    (chosen * torch.arange(3) - 7 * rejected).sum().backward()
    assert scores.grad.tolist() == [0, -7, 1, -7, 2, -7]
