"""The step gives the gradient of the whole batch for every objective, whatever the micro-batches; averaging
does not.
"""

import threading
from dataclasses import replace
from functools import partial

import pytest
import torch

from distalign import objectives as o
from distalign import step
from distalign.checks import InputError
from distalign.preferences import PreferenceLogProbs as Batch
from distalign.two_pass import joined

SPLITS = ([12], [5, 7], [1, 4, 1, 6], [1] * 12)
PAIRED = {
    "dpo": partial(o.dpo, beta=0.7),
    "cdpo": partial(o.cdpo, beta=0.7, label_smoothing=0.1),
    "rdpo": partial(o.rdpo, beta=0.7, flip_rate=0.1),
    "ipo": partial(o.ipo, beta=0.7),
    "ipo_per_token": partial(o.ipo_per_token, beta=0.7),
    "f_dpo": partial(o.f_dpo, beta=0.7, divergence="jensen_shannon"),
    "chi_po": partial(o.chi_po, beta=0.7, clip=5.0),
    "bpo": partial(o.bpo, beta=0.7),
    "aot_paired": partial(o.aot_paired, beta=0.7),
    "kldpo": partial(o.kldpo, beta=0.7, temperature=0.3),
    "dr_dpo": partial(o.dr_dpo, beta=0.7, temperature=0.5),
    "group_dpo": partial(o.group_dpo, beta=0.7, temperature=0.2),
}
CLASSES = {
    "aot_unpaired": partial(o.aot_unpaired, beta=0.7),
    "kto": partial(o.kto, beta=0.7),
    "bco": partial(o.bco, beta=0.7),
    "ddro": partial(o.ddro, prior=0.5),
    "rdro": partial(o.rdro, alpha=0.4),
    "sft": o.sft,
}


class Network(torch.nn.Module):
    """Log-probabilities below 0 from features, with a nonlinearity."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
        ).double()

    def forward(self, x):
        return -torch.nn.functional.softplus(6 * self.layers(x).flatten()) - 1


def features(n, seed):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, Z, REF = features(12, 1), features(12, 2), -features(12, 3).abs() - 1
WEIGHTS = torch.rand(12, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
TOKENS = torch.arange(12) % 5 + 1


def known(i, j, paired, weighted):
    """Placeholders for the policy are the reference."""
    chosen, rejected = REF[i, 0], REF[j, 1]
    weights = (
        {"weights": WEIGHTS[i, 0], "rejected_weights": None if paired else WEIGHTS[j, 1]} if weighted else {}
    )
    return Batch(
        chosen,
        rejected,
        chosen,
        rejected,
        **weights,
        groups=i % 3,
        chosen_tokens=TOKENS[i],
        rejected_tokens=TOKENS[j],
    )


def flat(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def whole(objective, i, j, paired, weighted):
    model = Network()
    batch = replace(known(i, j, paired, weighted), chosen=model(X[i]), rejected=model(Z[j]))
    loss = objective(batch)
    loss.backward()
    return loss.detach(), flat(model), batch.detached()


def stepped(objective, parts, paired, weighted):
    model = Network()
    found = step.backward(
        objective,
        lambda part: (model(X[part[0]]), model(Z[part[1]])),
        parts,
        [known(*part, paired, weighted) for part in parts],
    )
    return found, flat(model)


def agree(objective, parts, paired, weighted=True):
    """Relative error of the gradient; loss and scores are asserted."""
    i, j = (torch.cat(side) for side in zip(*parts))
    loss, gradient, batch = whole(objective, i, j, paired, weighted)
    found, mine = stepped(objective, parts, paired, weighted)
    torch.testing.assert_close(found.loss, loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.batch.chosen, batch.chosen, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(found.batch.rejected, batch.rejected, rtol=1e-14, atol=1e-14)
    return float((mine - gradient).norm() / gradient.norm())


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", PAIRED)
def test_pairs(name, weighted):
    for sizes in SPLITS:
        assert (
            agree(PAIRED[name], [(rows, rows) for rows in torch.arange(12).split(sizes)], True, weighted)
            < 1e-12
        )


@pytest.mark.parametrize("name", CLASSES)
def test_classes_in_any_numbers(name):
    """Nine chosen and five rejected; one micro-batch without a chosen response, one with as many of both, one
    empty.
    """
    parts = list(zip(torch.arange(9).split([3, 0, 5, 0, 1]), torch.arange(5).split([1, 2, 1, 0, 1])))
    assert agree(CLASSES[name], parts, False) < 1e-12


def test_averaging_over_unequal_micro_batches_fails_here():
    """The planted defect: gradient accumulation as usually done, a mean of means, for an objective that does
    not couple.
    """
    i = torch.arange(12)
    gradient = whole(PAIRED["dpo"], i, i, True, False)[1]
    model = Network()
    parts = torch.arange(12).split([1, 4, 1, 6])
    for rows in parts:
        batch = replace(known(rows, rows, True, False), chosen=model(X[rows]), rejected=model(Z[rows]))
        (PAIRED["dpo"](batch) / len(parts)).backward()
    assert float((flat(model) - gradient).norm() / gradient.norm()) > 0.05


class Rendezvous:
    """Threads in the place of processes: each brings its batch and gets all of them, in order of rank."""

    def __init__(self, world):
        self.brought, self.barrier = [None] * world, threading.Barrier(world)

    def gather(self, rank):
        def gather(local):
            self.brought[rank] = local
            self.barrier.wait()
            whole, ends = joined(self.brought), [0, 0]
            for other in self.brought[:rank]:
                ends = [ends[0] + len(other.chosen), ends[1] + len(other.rejected)]
            self.barrier.wait()
            return (
                whole,
                slice(ends[0], ends[0] + len(local.chosen)),
                slice(ends[1], ends[1] + len(local.rejected)),
            )

        return gather


def world_gradient(objective, ranks, paired):
    """Sum of the gradients of all ranks, each of which has its own list of micro-batches."""
    meeting, found = Rendezvous(len(ranks)), [None] * len(ranks)
    models = [Network() for _ in ranks]  # not in the threads: they share one generator of random numbers

    def one(rank):
        model = models[rank]
        step.backward(
            objective,
            lambda part: (model(X[part[0]]), model(Z[part[1]])),
            ranks[rank],
            [known(*part, paired, True) for part in ranks[rank]],
            gather=meeting.gather(rank),
        )
        found[rank] = flat(model)

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(len(ranks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return torch.stack(found).sum(0)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("name", ["dpo", "kldpo", "aot_paired", "kto", "rdro"])
def test_any_number_of_processes(name, world):
    """In threads here; by torch.distributed in tests/test_two_pass.py and test_two_processes.py."""
    paired, objective, i = name in PAIRED, (PAIRED | CLASSES)[name], torch.arange(12)
    j = i if paired else i[:7]
    ranks = [[] for _ in range(world)]
    sizes = [2, 1, 3, 1, 4, 1]
    for k, part in enumerate(zip(i.split(sizes), j.split(sizes if paired else [1, 2, 0, 1, 2, 1]))):
        ranks[k * world // len(sizes)].append(part)
    gradient = whole(objective, i, j, paired, True)[1]
    assert (world_gradient(objective, ranks, paired) - gradient).norm() < 1e-12 * gradient.norm()


def test_order_does_not_matter():
    order = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    for objective in (*PAIRED.values(), *CLASSES.values()):
        if objective is PAIRED["ipo_per_token"]:
            continue
        one, first = stepped(objective, [(torch.arange(12), torch.arange(12))], True, True)
        two, second = stepped(objective, [(rows, rows) for rows in order.split(5)], True, True)
        torch.testing.assert_close(two.loss, one.loss, rtol=1e-12, atol=1e-12)
        assert (first - second).norm() < 1e-11 * first.norm()


def test_separable_objectives_score_once_and_coupled_ones_twice():
    for objective, passes in (
        (PAIRED["dpo"], 1),
        (PAIRED["aot_paired"], 2),
        (CLASSES["rdro"], 1),
        (CLASSES["kto"], 2),
    ):
        model, calls = Network(), []

        def score(rows, model=model, calls=calls):
            calls.append(rows)
            return model(X[rows]), model(Z[rows])

        parts = torch.arange(12).split(4)
        step.backward(objective, score, parts, [known(rows, rows, True, False) for rows in parts])
        assert len(calls) == 3 * passes


def test_a_score_that_is_not_finite_reaches_the_loss_when_values_are_unchecked():
    rows = torch.arange(4)
    for objective in (PAIRED["dpo"], PAIRED["aot_paired"]):
        nan = (X[rows] * torch.nan).sum(1).requires_grad_()
        found = step.backward(
            objective,
            lambda r, nan=nan: (nan, Z[r].sum(1).requires_grad_()),
            [rows],
            [replace(known(rows, rows, True, False), validate=False)],
        )
        assert not torch.isfinite(found.loss)


def test_mistakes_get_a_sentence():
    rows = torch.arange(2)
    with pytest.raises(InputError, match="known has 0 parts for 1 micro-batches: give one for each"):
        step.backward(PAIRED["dpo"], lambda r: r, [rows], [])
    with pytest.raises(InputError, match="wdpo reads gradients by its inputs"):
        step.backward(
            partial(o.wdpo, beta=1.0, radius=0.1), lambda r: r, [rows], [known(rows, rows, True, False)]
        )
    assert joined([known(rows, rows, True, False)]).validate
