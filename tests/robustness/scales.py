"""Every row of the objectives' contract over number types and scales: 78,336 calls.

Log-ratios from 1e-6 to 1,000 nats, log-probabilities down to -10,000, one to 64 pairs; without weights, with
weights, and with repeated log-ratios and weights of 0. Each call must give a finite value and gradient
(`+inf` outside of a barrier's domain; a gradient above 65,504 cannot stand in float16). A value in half or
single precision must be that of the same numbers in double precision, up to `ROUNDINGS` rounding errors of
its inputs, each as large as the gradient makes it. In double precision the gradient must be that of a central
difference.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distalign.objectives import declared
from distalign.preferences import PreferenceLogProbs as Batch

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from contract_cases import CASES
from contract_kit import THETA_REF, Case

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
SPREADS = (1e-6, 1e-3, 1e-1, 1.0, 10.0, 50.0, 200.0, 1000.0)
OFFSETS = (0.0, -30.0, -1000.0, -10_000.0)
COUNTS = (1, 2, 7, 64)
KINDS = ("plain", "weighted", "ties and zero weights")
ROUNDINGS = 32
SCORES = ("chosen", "rejected", "ref_chosen", "ref_rejected")


def calls() -> Iterator[tuple[Any, ...]]:
    """Arguments of `fault`."""
    for case in CASES:
        for dtype in DTYPES:
            for spread in SPREADS:
                for offset in OFFSETS:
                    for n in COUNTS:
                        for kind in KINDS:
                            yield case, dtype, spread, offset, n, kind


def scales_rows() -> Iterator[dict[str, object]]:
    """A row for each row of the contract and kind of fault."""
    found: Counter[tuple[str, str]] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case, *at in calls():
            found[case.name, fault(case, *at) or "right"] += 1
    for (name, verdict), count in sorted(found.items()):
        yield {"table": "scales", "name": name, "verdict": verdict, "count": count}


def fault(case: Case, dtype: torch.dtype, spread: float, offset: float, n: int, kind: str) -> str:
    """What is wrong with one call, or nothing."""
    leaves, batch = drawn(case, dtype, spread, offset, n, kind)
    value = case.loss(batch)
    if case.barrier and value == torch.inf:
        return ""
    finite = [torch.isfinite(g) for g in gradients(value, leaves)]
    if case.reads_inputs or dtype == torch.float64:
        if not (torch.isfinite(value) and all(bool(f.all()) for f in finite)):
            return "not finite"
        skipped = case.reads_inputs or kind.startswith("ties")  # a tie is a kink of a sort
        return "" if skipped else gradient_fault(case, batch, spread, kind)
    wide = replace(batch, **{name: getattr(batch, name).detach().double() for name in SCORES})
    ours = [wide.chosen.requires_grad_(), wide.rejected.requires_grad_()]
    truth = case.loss(wide)
    held = [g.abs() < 0.99 * torch.finfo(dtype).max for g in gradients(truth, ours)]
    if not (torch.isfinite(value) and all(bool((f | ~h).all()) for f, h in zip(finite, held, strict=True))):
        return "not finite"
    allowed = ROUNDINGS * (torch.finfo(torch.float32).eps * reach(truth, ours, wide) + 1e-38)
    return "value" if (value.double() - truth).abs() > allowed else ""


def gradient_fault(case: Case, batch: Batch, spread: float, kind: str) -> str:
    """Whether a central difference contradicts the gradient along a direction of signs."""
    if case.frozen and kind != "plain":
        return ""  # what is held is written for pairs without weights
    loss = case.frozen(batch) if case.frozen else case.loss
    leaves = [batch.chosen, batch.rejected]
    value = loss(batch)
    slopes = gradients(value, leaves)
    signs = [torch.where(torch.arange(len(x)) % 2 == 0, 1.0, -1.0).double() for x in leaves]
    step = 1e-4 * min(spread, 1.0)
    moved = [
        loss(replace(batch, chosen=leaves[0] + s * signs[0], rejected=leaves[1] + 0.5 * s * signs[1])).item()
        for s in (step, -step)
    ]
    along = (slopes[0] @ signs[0] + 0.5 * slopes[1] @ signs[1]).item()
    size = sum(float(g.abs().sum()) for g in slopes)
    allowed = 1e-4 * size + 16 * torch.finfo(torch.float64).eps * float(reach(value, leaves, batch)) / step
    return "gradient" if abs((moved[0] - moved[1]) / (2 * step) - along) > allowed + 1e-300 else ""


def reach(value: Tensor, leaves: list[Tensor], batch: Batch) -> Tensor:
    """By how much the value moves at most if every log-probability moves by its own size, and the value."""
    slopes = gradients(value, leaves)
    sizes = (batch.chosen.abs() + batch.ref_chosen.abs(), batch.rejected.abs() + batch.ref_rejected.abs())
    return (value.abs() + sum((g.abs() * s).sum() for g, s in zip(slopes, sizes, strict=True))).detach()


def gradients(value: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Zeros where the value does not depend on a leaf."""
    found = torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)]


def drawn(
    case: Case, dtype: torch.dtype, spread: float, offset: float, n: int, kind: str
) -> tuple[list[Tensor], Batch]:
    """Leaves, and a batch of log-probabilities rounded to `dtype`; linear in inputs where these are read."""
    draw = torch.Generator().manual_seed(KINDS.index(kind))
    m = n if declared(case.loss).data == "pairs" or n == 1 else n - 1

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=draw, dtype=torch.float64)

    def weights(count: int) -> Tensor | None:
        w = torch.rand(count, generator=draw) + 0.1
        w[0] = 0.0 if kind.startswith("ties") and count > 1 else w[0]
        return None if kind == "plain" else w

    if case.reads_inputs:
        z = (spread * normal(n, 2, 2)).to(dtype)
        z = (z if dtype == torch.float64 else z.float()).requires_grad_()
        theta = (THETA_REF + 1).to(z.dtype).requires_grad_()
        scores, ref = z @ theta, z @ THETA_REF.to(z.dtype)
        pairs = scores[:, 0], scores[:, 1], ref[:, 0], ref[:, 1]
        return [theta], Batch(*pairs, weights=weights(n), inputs=(z,))
    ref = offset - 3 * normal(n).abs(), offset - 3 * normal(m).abs()
    ratios = spread * normal(n), spread * normal(m)
    if kind.startswith("ties"):
        ratios = ratios[0][torch.arange(n) // 2], ratios[1][torch.arange(m) // 2]
    leaves = [(r + x).to(dtype).requires_grad_() for r, x in zip(ref, ratios, strict=True)]
    w = weights(n)
    batch = Batch(
        *leaves,
        *(r.to(dtype) for r in ref),
        weights=w,
        rejected_weights=w if n == m else weights(m),
        groups=torch.arange(n) % 2,
        chosen_tokens=torch.arange(n) % 3 + 1,
        rejected_tokens=torch.arange(m) % 2 + 1,
    )
    return leaves, batch
