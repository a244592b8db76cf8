"""Masters keep what half precision drops; for float32 the optimiser is torch's; schedules are functions of
the step.
"""

import pytest
import torch

from distalign.checks import InputError
from distalign.training.optimiser import MasterAdamW, learning_rate


def parameters(dtype, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.nn.Parameter(torch.randn(shape, generator=draw).to(dtype))
        for name, shape in (("weight", (6, 4)), ("bias", (4,)), ("norm", (6,)))
    }


def run(parameters, steps=5, grads=1, dtype=torch.float32, **options):
    """Updates from gradients that depend on the step only, given in so many parts."""
    optimiser = MasterAdamW(parameters.items(), **options)
    draw = torch.Generator().manual_seed(1)
    for step in range(steps):
        for _ in range(grads):
            sum(
                (p * torch.randn(p.shape, generator=draw).to(p.dtype)).sum() for p in parameters.values()
            ).backward()
        optimiser.step(0.01 * (step + 1))
    return optimiser


def test_float32_is_torchs_adamw_with_decay_on_matrices_only():
    mine, theirs = parameters(torch.float32), parameters(torch.float32)
    run(mine, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.3)
    groups = [
        {"params": [theirs["weight"]], "weight_decay": 0.3},
        {"params": [theirs["bias"], theirs["norm"]], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.0, betas=(0.8, 0.9), eps=1e-6)
    draw = torch.Generator().manual_seed(1)
    for step in range(5):
        for group in adamw.param_groups:
            group["lr"] = 0.01 * (step + 1)
        sum((p * torch.randn(p.shape, generator=draw)).sum() for p in theirs.values()).backward()
        adamw.step()
        adamw.zero_grad()
    for name in mine:
        assert torch.equal(mine[name], theirs[name]), name


def test_half_precision_follows_a_float32_copy():
    half, full = parameters(torch.bfloat16), parameters(torch.bfloat16)
    full = {name: torch.nn.Parameter(p.detach().float()) for name, p in full.items()}
    optimiser, reference = MasterAdamW(half.items()), MasterAdamW(full.items())
    draw = torch.Generator().manual_seed(2)
    for _ in range(40):
        directions = {name: torch.randn(p.shape, generator=draw).bfloat16() for name, p in half.items()}
        sum((half[n] * directions[n]).sum() for n in half).backward()
        sum((full[n] * directions[n].float()).sum() for n in full).backward()
        optimiser.step(1e-4)
        reference.step(1e-4)
    for name in half:
        assert torch.equal(optimiser.masters[name], full[name]), name
        assert torch.equal(half[name], full[name].bfloat16()), name


def test_small_updates_are_lost_without_a_master():
    """The negative control: AdamW on the bfloat16 parameter itself stands still."""
    alone = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    adamw = torch.optim.AdamW([alone], lr=1e-3, weight_decay=0.0)
    mastered = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimiser = MasterAdamW([("w", mastered)])
    for _ in range(20):
        for p in (alone, mastered):
            (3 * p).sum().backward()
        adamw.step()
        adamw.zero_grad()
        optimiser.step(1e-3)
    assert torch.equal(alone.detach(), torch.ones(4, dtype=torch.bfloat16))
    torch.testing.assert_close(optimiser.masters["w"], torch.full((4,), 0.98), rtol=1e-4, atol=0)


def test_gradients_of_many_micro_batches_add_up_in_float32():
    """256 gradients of 1/256 after one of 1: bfloat16 stays at 1, the master's sum is 2."""
    plain = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    mastered = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    optimiser = MasterAdamW([("w", mastered)])
    for factor in (1.0, *[1 / 512] * 512):
        for p in (plain, mastered):
            (factor * p).sum().backward()
    assert plain.grad is not None
    assert plain.grad.item() == 1.0
    assert mastered.grad is None
    assert optimiser.gradients()[0].item() == 2.0


def test_norm_and_clipping():
    p = torch.nn.Parameter(torch.zeros(2))
    q = torch.nn.Parameter(torch.zeros(1))
    optimiser = MasterAdamW([("p", p), ("q", q)])
    (3 * p[0] + 4 * p[1]).backward()
    norm = optimiser.norm()
    assert norm.item() == 5.0
    optimiser.clip(norm, 1.0)
    torch.testing.assert_close(optimiser.gradients()[0], torch.tensor([0.6, 0.8]))
    assert optimiser.gradients()[1].item() == 0.0
    optimiser.clip(torch.tensor(1.0), 2.0)
    torch.testing.assert_close(optimiser.gradients()[0], torch.tensor([0.6, 0.8]))
    optimiser.forget()
    assert p.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_and_loaded_it_goes_on_to_the_same_bits(dtype):
    straight = parameters(dtype)
    run(straight, steps=5)
    stopped = parameters(dtype)
    tensors = {name: t.clone() for name, t in run(stopped, steps=3).tensors().items()}
    again = parameters(dtype, seed=9)
    optimiser = MasterAdamW(again.items())
    optimiser.load(tensors)
    draw = torch.Generator().manual_seed(1)
    for step in range(5):
        noise = {name: torch.randn(p.shape, generator=draw).to(p.dtype) for name, p in again.items()}
        if step >= 3:
            sum((again[n] * noise[n]).sum() for n in again).backward()
            optimiser.step(0.01 * (step + 1))
    for name in straight:
        assert torch.equal(straight[name], again[name]), name


def test_mistakes_get_a_sentence():
    frozen = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    with pytest.raises(InputError, match="no parameter requires a gradient: set lora_rank"):
        MasterAdamW([("w", frozen)])
    with pytest.raises(InputError, match=r"master.w has shape none but the model's has \(1,\)"):
        MasterAdamW([("w", torch.nn.Parameter(torch.zeros(1)))]).load({})
    with pytest.raises(InputError, match="lr_scheduler_type must be one of"):
        learning_rate(0, 1, peak=1.0, kind="linaer")


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_schedules_climb_stay_within_the_peak_and_fall(kind):
    rates = [learning_rate(s, 50, peak=2.0, kind=kind, warmup_ratio=0.1) for s in range(50)]
    assert rates[0] == 0.4
    assert rates[4] == rates[5] == max(rates) == 2.0
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert learning_rate(50, 50, peak=2.0, kind=kind, warmup_ratio=0.1) == pytest.approx(
        2.0 if kind == "constant" else 0.0
    )
