"""Two passes give the gradient of the whole batch, in one process and in two; averaging over micro-batches
does not.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from distalign import objectives as o
from distalign.checks import InputError
from distalign.preferences import PreferenceLogProbs as Batch
from distalign.two_pass import gather_global, joined, score_gradients, two_pass_backward

AOT = partial(o.aot_unpaired, beta=1.0)
COUPLED = {
    "aot_paired": partial(o.aot_paired, beta=1.0),
    "aot_unpaired": AOT,
    "kldpo": partial(o.kldpo, beta=1.0, temperature=0.3),
    "kldpo ball": partial(o.kldpo, beta=1.0, radius=0.2),
    "dr_dpo": partial(o.dr_dpo, beta=1.0, temperature=0.5),
    "group_dpo": partial(o.group_dpo, beta=1.0, temperature=0.2),
}


class Network(torch.nn.Module):
    """A small scorer with a nonlinearity, in float32 as models are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 6 * self.layers(x).flatten()


def features(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


X, Z, REF = features(12, 1), features(12, 2), features(12, 3)
GROUPS, WEIGHTS = torch.arange(12) % 3, torch.rand(12, generator=torch.Generator().manual_seed(4))


def score(model: Network, rows: torch.Tensor) -> Batch:
    return Batch(
        model(X[rows]), model(Z[rows]), REF[rows, 0], REF[rows, 1], weights=WEIGHTS[rows], groups=GROUPS[rows]
    )


def flat(model: Network) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def whole(loss, scores) -> tuple[torch.Tensor, torch.Tensor]:
    model = Network()
    value = loss(scores(model))
    value.backward()
    return value.detach(), flat(model)


@pytest.mark.parametrize("name", COUPLED)
@pytest.mark.parametrize("size", [1, 3, 5, 12])
def test_gradient_of_the_whole_batch_whatever_the_micro_batch(name, size):
    model, rows = Network(), torch.arange(12)
    loss = two_pass_backward(COUPLED[name], partial(score, model), rows.split(size))
    value, gradient = whole(COUPLED[name], lambda m: score(m, rows))
    torch.testing.assert_close(loss, value)
    assert (flat(model) - gradient).norm() < 1e-5 * gradient.norm()


@pytest.mark.parametrize("name", COUPLED)
def test_averaging_over_micro_batches_is_another_gradient(name):
    """The negative control: what gradient accumulation does, with the right share of the weights for each
    part.
    """
    model = Network()
    for rows in torch.arange(12).split(3):
        (COUPLED[name](score(model, rows)) * WEIGHTS[rows].sum() / WEIGHTS.sum()).backward()
    gradient = whole(COUPLED[name], lambda m: score(m, torch.arange(12)))[1]
    assert (flat(model) - gradient).norm() > 0.03 * gradient.norm()


def test_averaging_is_right_for_what_does_not_couple():
    model, loss = Network(), partial(o.dpo, beta=1.0)
    for rows in torch.arange(12).split(3):
        (loss(score(model, rows)) * WEIGHTS[rows].sum() / WEIGHTS.sum()).backward()
    torch.testing.assert_close(flat(model), whole(loss, lambda m: score(m, torch.arange(12)))[1])


def unpaired(model: Network, rows: tuple[torch.Tensor, torch.Tensor]) -> Batch:
    i, j = rows
    return Batch(model(X[i]), model(Z[j]), REF[i, 0], REF[j, 1])


def test_classes_may_come_in_any_numbers():
    """Eight chosen and five rejected, in parts one of which happens to hold as many of both, and one none of
    one kind.
    """
    i, j = torch.arange(8), torch.arange(5)
    model = Network()
    loss = two_pass_backward(
        AOT, partial(unpaired, model), list(zip(i.split([3, 1, 4, 0]), j.split([0, 1, 3, 1])))
    )
    value, gradient = whole(AOT, lambda m: unpaired(m, (i, j)))
    torch.testing.assert_close(loss, value)
    assert (flat(model) - gradient).norm() < 1e-5 * gradient.norm()


def test_gradients_add_to_what_is_there_and_scale():
    model, rows = Network(), [torch.arange(12)]
    two_pass_backward(AOT, partial(score, model), rows)
    once = flat(model).clone()
    two_pass_backward(AOT, partial(score, model), rows, scale=2.0)
    torch.testing.assert_close(flat(model), 3 * once)


def test_memory_holds_one_graph_at_a_time():
    """Pass 1 runs without gradients, pass 2 scores one micro-batch and lets it go."""
    model, seen = Network(), []

    def watched(rows):
        seen.append(torch.is_grad_enabled())
        return score(model, rows)

    two_pass_backward(AOT, watched, torch.arange(12).split(4))
    assert seen == [False] * 3 + [True] * 3


def test_weights_that_a_part_leaves_out_are_written_out_when_parts_are_joined():
    """Three parts of a batch: pairs, whose rejected share the pairs' weights, and an unpaired rest."""
    one = torch.ones(1)
    pair = Batch(one, one, one, one, weights=2 * one)
    rest = Batch(one, torch.ones(2), one, torch.ones(2), weights=3 * one)
    both = joined([pair, rest])
    assert both.weights.tolist() == [2, 3]
    assert both.rejected_weights.tolist() == [2, 1, 1]
    other = joined([replace(rest, weights=None, rejected_weights=torch.tensor([0.5, 0.25]))])
    assert other.weights.tolist() == [1]


def test_mistakes_get_a_sentence():
    one = torch.ones(1)
    with pytest.raises(InputError, match="micro_batches is empty: give at least one"):
        two_pass_backward(AOT, lambda rows: rows, [])
    with pytest.raises(InputError, match="weights is given for some micro-batches only"):
        joined([Batch(one, one, one, one, weights=one), Batch(one, one, one, one)])
    with pytest.raises(InputError, match="gather_global needs a process group"):
        gather_global(Batch(one, one, one, one))
    with pytest.raises(InputError, match=r"wdpo reads gradients by its inputs.*moved adversarially"):
        two_pass_backward(partial(o.wdpo, beta=1.0, radius=0.1), lambda rows: rows, [one])


def test_derivatives_by_scores_are_those_of_the_objective():
    batch = score(Network(), torch.arange(12)).detached()
    leaves = [batch.chosen.clone().requires_grad_(), batch.rejected.clone().requires_grad_()]
    value = AOT(replace(batch, chosen=leaves[0], rejected=leaves[1]))
    with torch.no_grad():
        found = score_gradients(AOT, batch)
    torch.testing.assert_close(found, (value.detach(), *torch.autograd.grad(value, leaves)))


RANKS = {0: [torch.arange(1), torch.arange(1, 5)], 1: [torch.arange(5, 12)]}
UNPAIRED_RANKS = {
    0: [(torch.arange(6), torch.arange(1)), (torch.arange(6, 7), torch.arange(0))],
    1: [(torch.arange(7, 8), torch.arange(1, 5))],
}


def run(rank: int, folder: str) -> None:
    """One of two ranks: with its own counts, then under the averaging of DistributedDataParallel."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {}
    for name, loss in COUPLED.items():
        model = Network()
        value = two_pass_backward(loss, partial(score, model), RANKS[rank], gather=gather_global)
        gradient = flat(model)
        dist.all_reduce(gradient)
        found[name] = value, gradient
    model = Network()
    value = two_pass_backward(
        AOT, partial(unpaired, model), UNPAIRED_RANKS[rank], gather=gather_global, scale=2.0
    )
    gradient = flat(model)
    dist.all_reduce(gradient)
    found["averaged"] = value, gradient / 2
    batch, *mine = gather_global(score(Network(), torch.cat(RANKS[rank])).detached())
    found["gathered"] = (
        batch.groups,
        batch.weights,
        torch.tensor([[place.start, place.stop] for place in mine]),
    )
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes(tmp_path):
    torch.multiprocessing.spawn(run, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, loss in COUPLED.items():
            value, gradient = whole(loss, lambda m: score(m, torch.arange(12)))
            torch.testing.assert_close(found[name][0], value)
            assert (found[name][1] - gradient).norm() < 1e-5 * gradient.norm()
        value, gradient = whole(AOT, lambda m: unpaired(m, (torch.arange(8), torch.arange(5))))
        assert (found["averaged"][1] - gradient).norm() < 1e-5 * gradient.norm()
        groups, weights, places = found["gathered"]
        assert torch.equal(groups, GROUPS)
        assert groups.dtype == GROUPS.dtype
        assert torch.equal(weights, WEIGHTS)
        assert places.tolist() == [[0, 5] if rank == 0 else [5, 12]] * 2
