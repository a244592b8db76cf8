"""The tiled head equals log_softmax of the full logits, value and gradient, in less memory; bfloat16 logits
do not.
"""

from __future__ import annotations

import pytest
import torch

from distalign.checks import InputError
from distalign.training.model import head
from distalign.training.model.head import log_probs, plain_log_probs
from distalign.training.model.logits import LogitMap, fitted

N, H, V = 29, 16, 101


def case(dtype=torch.float64, bias=True, spread=3.0):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return (
        spread * normal(N, H),
        normal(V, H),
        torch.randint(0, V, (N,), generator=generator),
        normal(V) if bias else None,
    )


def gradients(f, *inputs):
    leaves = [x.clone().requires_grad_() for x in inputs if x is not None]
    out = f(*leaves)
    weights = torch.linspace(-1, 2, len(out), dtype=out.dtype)
    return out.detach(), torch.autograd.grad((weights * out).sum(), leaves)


@pytest.mark.parametrize("chunk_tokens", [1, 3, 10, 512])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_log_softmax(chunk_tokens, bias):
    hidden, weight, targets, offset = case(bias=bias)
    given = (hidden, weight) + ((offset,) if bias else ())
    value, slopes = gradients(
        lambda h, w, b=None: log_probs(h, w, targets, b, chunk_tokens=chunk_tokens), *given
    )
    wanted, wanted_slopes = gradients(lambda h, w, b=None: plain_log_probs(h, w, targets, b), *given)
    torch.testing.assert_close(value, wanted, rtol=1e-13, atol=1e-12)
    for got, want in zip(slopes, wanted_slopes, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("logit_map", [LogitMap(0.25), LogitMap(1.0, 5.0), LogitMap(1.7, 4.0)])
def test_scaled_and_capped_logits_have_exact_gradients(logit_map):
    given = case()
    targets, leaves = given[2], (given[0], given[1], given[3])

    def tiled(h, w, b):
        return log_probs(h, w, targets, b, logit_map=logit_map, chunk_tokens=3)

    def full(h, w, b):
        return plain_log_probs(h, w, targets, b, logit_map=logit_map)

    torch.testing.assert_close(gradients(tiled, *leaves), gradients(full, *leaves), rtol=1e-12, atol=1e-12)
    few = [x[:5].clone().requires_grad_() for x in leaves]
    assert torch.autograd.gradcheck(
        lambda h, w, b: log_probs(h, w, targets[:5] % 5, b, logit_map=logit_map, chunk_tokens=1), few
    )
    left_out = gradients(lambda h, w, b: log_probs(h, w, targets, b), *leaves)[0]  # negative control
    assert (left_out - gradients(full, *leaves)[0]).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_done_to_logits_is_found_from_its_numbers(dtype):
    raw = (4 * torch.randn(20, 500, generator=torch.Generator().manual_seed(3))).to(dtype)
    config = {"text": {"soft_cap": 30.0, "other_cap": 20.0, "wide": 512}, "scale": 12.0, "base": 256}
    for wanted in (LogitMap(), LogitMap(12.0), LogitMap(1 / 12), LogitMap(0.5), LogitMap(1.0, 30.0)):
        assert fitted(raw, wanted(raw), config) == wanted
    assert fitted(raw, raw**2, config) is None
    assert fitted(raw, raw + 1, config) is None


def test_narrow_tiles_of_a_cpu_give_the_same(monkeypatch):
    hidden, weight, targets, offset = case()
    wide = gradients(lambda *x: log_probs(x[0], x[1], targets, x[2]), hidden, weight, offset)
    monkeypatch.setattr(head, "_CACHED_LOGITS", 7 * N)
    narrow = gradients(lambda *x: log_probs(x[0], x[1], targets, x[2]), hidden, weight, offset)
    torch.testing.assert_close(narrow, wide, rtol=1e-12, atol=1e-12)


def test_gradcheck():
    hidden, weight, targets, offset = (x[:5] if x.dim() > 1 or len(x) == N else x for x in case())
    leaves = [x.clone().requires_grad_() for x in (hidden, weight, offset[:5])]
    assert torch.autograd.gradcheck(lambda h, w, b: log_probs(h, w, targets % 5, b, chunk_tokens=1), leaves)


def test_gradcheck_sees_a_wrong_slope(monkeypatch):
    """Negative control: a target whose column is off by one."""
    true = head._columns
    monkeypatch.setattr(head, "_columns", lambda targets, tile: true((targets + 1) % 5, tile))
    hidden, weight, targets, _ = case()
    value = log_probs(hidden[:5], weight[:5], targets[:5] % 5)
    assert (value - plain_log_probs(hidden[:5], weight[:5], targets[:5] % 5)).abs().max() > 0.1


@pytest.mark.parametrize("frozen", ["weight", "hidden"])
def test_only_what_is_asked_for_is_computed(frozen):
    hidden, weight, targets, _ = case()
    leaf = (hidden if frozen == "weight" else weight).clone().requires_grad_()
    out = log_probs(*((leaf, weight) if frozen == "weight" else (hidden, leaf)), targets)
    saved = [x for x in out.grad_fn.saved_tensors if x is not None]
    if frozen == "weight":
        assert [tuple(x.shape) for x in saved] == [(N, H)]  # its own slope, neither head nor logits
    wanted = plain_log_probs(*((leaf, weight) if frozen == "weight" else (hidden, leaf)), targets)
    got = torch.autograd.grad(out.sum(), leaf)[0]
    torch.testing.assert_close(got, torch.autograd.grad(wanted.sum(), leaf)[0], rtol=1e-11, atol=1e-11)


def test_same_bits_with_gradients_on_and_off():
    hidden, weight, targets, _ = case(torch.float32)
    with torch.no_grad():
        off = log_probs(hidden, weight, targets, chunk_tokens=3)
    on = log_probs(hidden.requires_grad_(), weight.requires_grad_(), targets, chunk_tokens=3)
    assert torch.equal(on.detach(), off)


def test_extreme_logits_stay_finite():
    hidden, weight, targets, _ = case(torch.float32, spread=1e4)
    value, slopes = gradients(lambda h, w: log_probs(h, w, targets, chunk_tokens=2), hidden, weight)
    assert all(x.isfinite().all() for x in (value, *slopes))
    torch.testing.assert_close(
        value.double(), plain_log_probs(hidden.double(), weight.double(), targets), rtol=1e-5, atol=0.05
    )


def test_second_derivatives_are_refused():
    hidden, weight, targets, _ = case()
    value = log_probs(hidden.requires_grad_(), weight, targets).sum()
    with pytest.raises(InputError, match="head='plain'"):
        torch.autograd.grad(value, hidden, create_graph=True)


def test_float32_logits_of_a_bfloat16_model_keep_what_bfloat16_logits_lose():
    """Hidden 512, logits of scale 15, responses of 512 tokens: errors against float64 of the same bfloat16
    numbers.
    """
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(2 * 512, 512, generator=generator).bfloat16()
    weight = (15 / 512**0.5 * torch.randn(2000, 512, generator=generator)).bfloat16()
    likely = (hidden @ weight.T).float().topk(20).indices
    targets = likely[torch.arange(1024), torch.randint(0, 20, (1024,), generator=generator)]
    truth = plain_log_probs(hidden.double(), weight.double(), targets).view(2, 512).sum(1)
    kept = log_probs(hidden, weight, targets).view(2, 512).double().sum(1)
    lost = log_probs(hidden, weight, targets, fp32_logits=False).view(2, 512).double().sum(1)
    assert (kept - truth).abs().max() < 2e-3
    assert (lost - truth).abs().max() > 0.05


def test_gradients_of_a_bfloat16_head_are_rounded_once():
    hidden, weight, targets, _ = case(torch.bfloat16, bias=False)
    _, slopes = gradients(lambda h, w: log_probs(h, w, targets, chunk_tokens=2), hidden, weight)
    _, truth = gradients(lambda h, w: plain_log_probs(h, w, targets), hidden.double(), weight.double())
    for got, want in zip(slopes, truth, strict=True):
        assert got.dtype == torch.bfloat16
        assert (got.double() - want).norm() < 2**-8 * want.norm()


def test_half_precision_gives_float32():
    hidden, weight, targets, _ = case(torch.bfloat16)
    for value in (
        log_probs(hidden, weight, targets),
        log_probs(hidden, weight, targets, fp32_logits=False),
        plain_log_probs(hidden, weight, targets),
    ):
        assert value.dtype == torch.float32
