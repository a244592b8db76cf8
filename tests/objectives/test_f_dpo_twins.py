"""The twin of TRL that f_dpo_stability puts in its table is what TRL computes, NaN and infinity included."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import logsigmoid

from distalign.divergences import divergence
from distalign.simulation.studies.f_dpo.f_dpo_stability import (
    PUBLISHED,
    RATIOS,
    TYPES,
    clamped,
    direct,
    run,
    table,
)

pytest.importorskip("trl")
from trl_losses import trl_dpo

TRL = {
    "reverse_kl": {},
    "forward_kl": {"divergence": "forward_kl"},
    "jensen_shannon": {"divergence": "js_divergence"},
    "alpha:0.3": {"divergence": "alpha_divergence", "coefficient": 0.7},
}


def loss_and_gradients(loss, dtype, chosen, rejected):
    leaves = [torch.tensor([x], dtype=dtype, requires_grad=True) for x in (chosen, rejected)]
    value = loss(*leaves)
    value.backward()
    return [value.item(), *(leaf.grad.item() for leaf in leaves)]


def same(a, b, dtype):
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(
        torch.tensor(a).double(), torch.tensor(b).double(), rtol=8 * eps, atol=1e-30, equal_nan=True
    )


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("dtype", [t for n, t in TYPES.items() if n != "float64"], ids=str)
def test_twin_is_trl(name, dtype):
    def ours(chosen, rejected):
        return -logsigmoid(0.1 * (clamped(name, chosen) - clamped(name, rejected))).mean()

    def theirs(chosen, rejected):
        zero = torch.zeros_like(chosen)
        return trl_dpo(chosen, rejected, zero, zero, beta=0.1, **TRL[name])

    for chosen in (*RATIOS, -1.0, 2.0):
        for rejected in (*RATIOS, 0.5):
            same(*(loss_and_gradients(f, dtype, chosen, rejected) for f in (ours, theirs)), dtype)


@pytest.mark.parametrize("twin", ["direct", "clamped"])
@pytest.mark.parametrize("name", ["forward_kl", "alpha:0.3"])
def test_the_twins_go_wrong(twin, name):
    rows = pd.DataFrame(run(np.random.default_rng(0), implementation=twin, divergence=name, beta=0.1))
    assert table(rows.assign(implementation=twin, divergence=name, beta=0.1)).wrong.sum() > 0


def test_trl_has_no_clamp_for_float64():
    zero = torch.zeros(1, dtype=torch.float64)
    with pytest.raises(KeyError):
        trl_dpo(zero, zero, zero, zero, **TRL["alpha:0.3"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_direct_form_is_the_link_where_nothing_overflows(name):
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    gaps = direct(name, x) - divergence(name).link(x)
    torch.testing.assert_close(gaps, gaps[0].expand(13))


@pytest.mark.parametrize("name", ["forward_kl", "alpha:0.3", "jeffreys", "chi2_plus_kl"])
def test_small_derivatives_keep_their_digits_in_float32(name):
    """torch's derivative of expm1 is expm1 + 1, which rounds to 0 from e^-17 on."""
    f, x = divergence(name), torch.tensor([-12.0, 12.0, 25.0], requires_grad=True)
    slope = torch.autograd.grad(f.link(x).sum(), x)[0]
    torch.testing.assert_close(slope, f.weight(x.detach()), rtol=1e-5, atol=0)
