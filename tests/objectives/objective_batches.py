"""Random batches for the tests of single objectives."""

from __future__ import annotations

import torch

from distalign.preferences import PreferenceLogProbs as Batch


def pairs(seed: int, n: int = 9, spread: float = 3.0, dtype: torch.dtype = torch.float64, **fields) -> Batch:
    """n pairs with log-ratios of standard deviation `spread`; fields are passed on."""
    return classes(seed, n, n, spread, dtype, **fields)


def classes(
    seed: int, n: int, m: int, spread: float = 3.0, dtype: torch.dtype = torch.float64, **fields
) -> Batch:
    g = torch.Generator().manual_seed(seed)
    ref = [-10 * torch.rand(k, generator=g).to(dtype) for k in (n, m)]
    return Batch(*(r + spread * torch.randn(r.shape, generator=g).to(dtype) for r in ref), *ref, **fields)


def ratios(u, v, dtype: torch.dtype = torch.float64, **fields) -> Batch:
    """A batch with these log-ratios and a reference of log-probability 0."""
    u, v = torch.as_tensor(u, dtype=dtype), torch.as_tensor(v, dtype=dtype)
    return Batch(u, v, torch.zeros_like(u), torch.zeros_like(v), **fields)


def gradients(loss, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives of loss(batch) by chosen and rejected."""
    from dataclasses import replace

    leaves = [x.detach().clone().requires_grad_() for x in (batch.chosen, batch.rejected)]
    found = torch.autograd.grad(
        loss(replace(batch, chosen=leaves[0], rejected=leaves[1])), leaves, allow_unused=True
    )
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found))
