"""Ten points that every objective keeps; `python -m tests.contract.table` prints them as a table."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from contract_cases import CASES
from contract_kit import (
    DPO,
    THETA_REF,
    Batch,
    Case,
    hand_batch,
    linear_batch,
    random_batch,
    rows_of,
    shape,
    smooth_problem,
)
from contract_ranks import run_rank, two_pass_gradient, whole_gradient
from torch.autograd import gradcheck
from torch.func import vmap

from distalign import objectives
from distalign.checks import InputError
from distalign.objectives import declared
from distalign.two_pass import score_gradients, two_pass_backward

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def applies(case: Case, point: int) -> None:
    if point in case.skip:
        pytest.skip(case.skip[point])


def test_every_objective_has_a_row():
    named = {
        case.loss.func.__name__ if isinstance(case.loss, partial) else case.loss.__name__ for case in CASES
    }
    assert named == set(objectives.names())


@every_case
def test_01_value_by_hand(case):
    value = case.loss(hand_batch(case))
    assert value.shape == ()
    assert value.item() == pytest.approx(case.hand, abs=1e-9, rel=1e-9)


@every_case
def test_02_limits(case):
    applies(case, 2)
    batch = linear_batch(THETA_REF + 0.5, seed=2) if case.reads_inputs else random_batch(2)
    for limit in case.limits:
        one = rows_of(batch, torch.arange(1), torch.arange(1)) if limit.cut else batch
        assert limit.loss(one).item() == pytest.approx(
            limit.factor * limit.equals(one).item(), abs=limit.tolerance
        ), limit.what
    assert case.limits


@every_case
def test_03_gradient_at_random(case):
    leaves, f = smooth_problem(case, 3, 0.4)
    assert gradcheck(f, leaves)
    if case.frozen:
        batch = random_batch(3, *shape(case))
        ours, held = score_gradients(case.loss, batch), score_gradients(case.frozen(batch), batch)
        torch.testing.assert_close(ours, held)


@every_case
def test_03_gradient_at_the_reference(case):
    leaves, f = smooth_problem(case, 4, 0.0)
    if not case.kink:
        assert gradcheck(f, leaves)
        return
    value = f(*leaves)
    gradients = torch.autograd.grad(value, leaves)
    generator, jump = torch.Generator().manual_seed(0), 0.0
    for _ in range(20):
        directions = [torch.randn(x.shape, generator=generator).double() for x in leaves]
        moved = [f(*(x + step * d for x, d in zip(leaves, directions))) for step in (1e-6, -1e-6)]
        forward, backward = ((after - value).item() / 1e-6 for after in moved)
        along = sum((g * d).sum().item() for g, d in zip(gradients, directions))
        assert forward >= along - 1e-5
        assert backward >= -along - 1e-5
        jump = max(jump, forward + backward)
    assert jump > 1e-2  # a kink indeed


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_03_log_ratios_of_a_thousand(case, dtype):
    if case.reads_inputs:
        theta = torch.tensor([1.0], dtype=dtype, requires_grad=True)
        z = torch.tensor([[-1000.0], [1000.0]], dtype=dtype)[None].requires_grad_()
        score, ref = z @ theta, z @ torch.zeros(1, dtype=dtype)
        value = case.loss(Batch(score[:, 0], score[:, 1], ref[:, 0], ref[:, 1], inputs=(z,)))
        gradient = torch.autograd.grad(value, theta)[0]
        assert torch.isfinite(value)
        assert gradient > 0
        return
    grid = torch.tensor([[-1000, 1000, -1000, 1000], [1000, -1000, -1000, 1000]], dtype=dtype)
    for columns in (slice(None), slice(0, 1), slice(1, 2), slice(2, 3)):
        u, v = (x[columns].clone().requires_grad_() for x in grid)
        n = len(u)
        value = case.loss(
            Batch(
                u,
                v,
                torch.zeros(n),
                torch.zeros(n),
                groups=torch.arange(n) % 2,
                chosen_tokens=torch.ones(n),
                rejected_tokens=torch.ones(n),
            )
        )
        gradients = dict(zip(("chosen", "rejected"), torch.autograd.grad(value, (u, v), allow_unused=True)))
        assert torch.isfinite(value) or (case.barrier and value == torch.inf)
        assert all(g is None or bool(torch.isfinite(g).all()) for g in gradients.values())
        if columns == slice(0, 1):
            for name in case.pulls:
                assert gradients[name] is not None, name
                assert gradients[name].item() * (-1 if name == "chosen" else 1) > 0, name


@every_case
def test_03_replicates_under_vmap(case):
    if case.reads_inputs:
        pytest.skip("torch.autograd.grad inside the objective cannot be batched by torch.func")
    batch = random_batch(5, *shape(case))
    weights = torch.rand(3, 6, generator=torch.Generator().manual_seed(6)).double()
    weights[1, 2] = 0

    def value(scores, w):
        q = None if batch.is_paired else 1 + w[:5]
        return case.loss(
            replace(
                batch, chosen=scores[:6], rejected=scores[6:], weights=w, rejected_weights=q, validate=False
            )
        )

    scores = torch.cat([batch.chosen, batch.rejected])
    for transform in (lambda f: f, torch.func.grad, lambda f: torch.func.jacrev(torch.func.grad(f))):
        batched = vmap(transform(value), in_dims=(None, 0))(scores, weights)
        torch.testing.assert_close(batched, torch.stack([transform(value)(scores, w) for w in weights]))
        assert torch.isfinite(batched).all()


@every_case
def test_04_order_weights_and_monotonicity(case):
    g = torch.Generator().manual_seed(7)
    n, m = shape(case)
    order = torch.randperm(n, generator=g)
    if case.reads_inputs:
        theta = THETA_REF + 0.5
        values = [case.loss(linear_batch(theta, 8, o)).item() for o in (None, order.tolist())]
        assert values[0] == pytest.approx(values[1], rel=1e-12)
        return
    batch = random_batch(8, n, m, weighted=True)
    other = order if n == m else torch.randperm(m, generator=g)
    assert case.loss(batch).item() == pytest.approx(case.loss(rows_of(batch, order, other)).item(), rel=1e-12)
    counts, rejected_counts = (torch.arange(k) % 3 + 1 for k in (n, m))
    counted = replace(batch, weights=counts.double(), rejected_weights=rejected_counts.double())
    repeated = rows_of(
        replace(batch, weights=None, rejected_weights=None),
        torch.arange(n).repeat_interleave(counts),
        torch.arange(m).repeat_interleave(rejected_counts),
    )
    assert case.loss(counted).item() == pytest.approx(case.loss(repeated).item(), rel=1e-12)
    if case.monotone:
        _, by_chosen, by_rejected = score_gradients(case.loss, batch)
        assert by_chosen.max() <= 1e-15
        assert by_rejected.min() >= -1e-15


@every_case
def test_05_minimiser(case):
    applies(case, 5)
    assert case.minimiser, f"say where {case.name} is minimised: minimiser=..., or skip={{5: reason}}"
    case.minimiser(case)


@every_case
def test_06_two_pass_in_one_process(case):
    if case.reads_inputs:
        with pytest.raises(InputError, match=r"wdpo .*adversarially"):
            two_pass_backward(case.loss, lambda rows: rows, [])
    applies(case, 6)
    torch.testing.assert_close(two_pass_gradient(case), whole_gradient(case), rtol=1e-12, atol=1e-14)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(run_rank, (str(folder),), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt") for rank in (0, 1)]


@every_case
def test_06_two_pass_in_two_processes(case, two_ranks):
    applies(case, 6)
    for found in two_ranks:
        torch.testing.assert_close(found[case.name], whole_gradient(case), rtol=1e-12, atol=1e-14)


@every_case
def test_07_language_model(case):
    """A language model that says one token, with the table in its last layer, against the table itself."""
    applies(case, 7)
    g = torch.Generator().manual_seed(9)
    table = torch.randn(3, 4, generator=g).double()
    head = torch.nn.Linear(3, 4, bias=False).double()
    head.weight.data.copy_(table.T)
    model = torch.nn.Sequential(torch.nn.Embedding.from_pretrained(torch.eye(3).double()), head)
    (n, m), ref = shape(case), torch.log_softmax(table + 0.2 * torch.randn(3, 4, generator=g).double(), 1)
    prompts, tokens = (torch.randint(k, (max(n, m), 2), generator=g) for k in (3, 4))

    def value(log_probs):
        columns = [x[prompts[:k, i], tokens[:k, i]] for x in (log_probs, ref) for i, k in ((0, n), (1, m))]
        lengths = {"chosen_tokens": torch.ones(n), "rejected_tokens": torch.ones(m)}
        return case.loss(Batch(*columns, groups=torch.arange(n) % 2, **lengths))

    table.requires_grad_()
    by_table, by_model = (
        value(torch.log_softmax(table, 1)),
        value(torch.log_softmax(model(torch.arange(3)), 1)),
    )
    assert by_table.item() == pytest.approx(by_model.item(), rel=1e-13)
    torch.testing.assert_close(
        torch.autograd.grad(by_table, table)[0], torch.autograd.grad(by_model, head.weight)[0].T
    )


@every_case
def test_08_robust(case):
    applies(case, 8)
    if case.robust is None:
        pytest.skip("not a robust objective")
    option, sign = case.robust.option, case.robust.sign
    batch = (
        linear_batch(THETA_REF + 0.7, seed=10)
        if case.reads_inputs
        else random_batch(10, spread=2.0, weighted=True)
    )
    values = [case.loss(batch, **{option: x}).item() for x in (0.02, 0.1, 0.5, 2.0, 8.0)]
    direction = {"radius": 1, "temperature": -1}[option] * sign
    assert all(direction * (b - a) > -1e-12 for a, b in pairwise(values))
    assert sign * (min(values, key=lambda x: sign * x) - DPO(batch).item()) > -1e-12
    assert max(values) - min(values) > 1e-3
    case.robust.check(case, batch)


@every_case
def test_09_bad_input_gets_a_sentence(case):
    good = linear_batch(THETA_REF + 0.5, 11) if case.reads_inputs else random_batch(11, *shape(case))
    case.loss(good)
    for bad in case.bad:
        with pytest.raises(InputError) as error:
            case.loss(good, **bad)
        assert next(iter(bad)) in str(error.value)
        assert len(str(error.value).split()) > 6
    d, name = (
        declared(case.loss),
        case.loss.func.__name__ if isinstance(case.loss, partial) else case.loss.__name__,
    )
    wrong = {
        "pairs": (4, 5, "pairs"),
        "classes": (4, 0, "rejected is empty"),
        "chosen": (0, 4, "chosen is empty"),
    }[d.data]
    with pytest.raises(InputError, match=rf"{name}.*{wrong[2]}"):
        case.loss(random_batch(11, *wrong[:2]))
    for field in d.needs:
        with pytest.raises(InputError, match=rf"{name} reads {field}, which the batch does not have: \w+"):
            case.loss(replace(good, **{field: () if field == "inputs" else None}))


@every_case
def test_10_docstring(case):
    function = case.loss.func if isinstance(case.loss, partial) else case.loss
    text = inspect.getdoc(function) or ""
    for part in ("L = ", "Shapes:", "Units:", "Raises:\n    InputError:", "Source:", "Example:", ">>> "):
        assert part in text, part
    parameters = list(inspect.signature(function).parameters.values())[1:]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
    assert all(p.name in text for p in parameters)
