"""What the rows of the contract are made of: cases, limits, the three hand-computed pairs, and random
batches.

The pairs have log-ratios u = 1, 0, -1 and v = -1, 0, 2, so u - v = 2, 0, -3; their reference margins are 1,
-2, 0, so the policy's are 3, -2, -3. Values by hand are worked out with `math`, not torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from distalign import objectives as o
from distalign.objectives import declared
from distalign.preferences import PreferenceLogProbs as Batch

Loss = Callable[[Batch], Tensor]

U, V = (1.0, 0.0, -1.0), (-1.0, 0.0, 2.0)
REF_CHOSEN, REF_REJECTED = (-1.0, -3.0, -2.0), (-2.0, -1.0, -2.0)
TOKENS, REJECTED_TOKENS, GROUPS = (1, 2, 4), (1, 1, 2), (0, 0, 1)
DPO = partial(o.dpo, beta=1.0)


@dataclass(frozen=True)
class Limit:
    """Point 2: on any batch `loss` is `factor` times `equals`, up to `tolerance`; `cut` takes the first pair
    only.
    """

    what: str
    loss: Loss
    equals: Loss
    tolerance: float = 1e-12
    factor: float = 1.0
    cut: bool = False


@dataclass(frozen=True)
class Robust:
    """Point 8: what makes the adversary stronger or dearer, and the supremum that the loss claims to be.

    Attributes:
        option: the hyper-parameter, "radius" (of the adversary's ball) or "temperature" (its price).
        sign: +1 where the adversary raises the loss, -1 where it lowers it.
        check: compares the case on a batch with the supremum by another road.
    """

    option: str
    sign: int
    check: Callable[[Case, Batch], None]


@dataclass(frozen=True)
class Case:
    """One row of the contract; a point that does not apply to it is named in `skip`, with the reason.

    Attributes:
        name: as it is printed.
        loss: the objective with its hyper-parameters.
        hand: point 1, its value on the three pairs.
        limits: point 2.
        kink: point 3, whether the reference policy is a kink, where only a subgradient exists.
        frozen: point 3, batch -> the loss with what the objective detaches held at that batch, where it
            detaches something.
        pulls: point 3, which log-probabilities of a pair that is wrong by 2000 nats must have a gradient; for
            the others the truth itself is 0 in float32.
        barrier: point 3, whether such a pair lies outside the loss's domain, where it is +inf and has no
            gradient.
        monotone: point 4, whether more log-ratio of chosen and less of rejected never costs.
        minimiser: point 5, a check of where the case is minimised by another road (`contract_minimisers`).
        robust: point 8, for a robust objective (`contract_robust`).
        bad: point 9, hyper-parameters out of range.
        skip: reasons by point.
    """

    name: str
    loss: Loss
    hand: float
    limits: tuple[Limit, ...] = ()
    kink: bool = False
    frozen: Callable[[Batch], Loss] | None = None
    pulls: tuple[str, ...] = ("chosen", "rejected")
    barrier: bool = False
    monotone: bool = False
    minimiser: Callable[[Case], None] | None = None
    robust: Robust | None = None
    bad: tuple[dict[str, Any], ...] = ({"beta": 0.0}, {"beta": math.nan})
    skip: dict[int, str] = field(default_factory=dict)

    @property
    def reads_inputs(self) -> bool:
        return "inputs" in declared(self.loss).needs


def sp(x: float) -> float:
    return math.log1p(math.exp(x))


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mean(*x: float) -> float:
    return sum(x) / len(x)


def of_pairs(h: Callable[[float, float], float]) -> float:
    return mean(*map(h, U, V))


def of_classes(h: Callable[[float], float], k: Callable[[float], float]) -> float:
    return mean(*map(h, U)) + mean(*map(k, V))


LOSSES = tuple(sp(v - u) for u, v in zip(U, V))  # DPO's at beta = 1


def dpo_losses(b: Batch, beta: float = 1.0) -> Tensor:
    return softplus(-beta * (b.chosen_ratio - b.rejected_ratio))


def hand_batch(case: Case) -> Batch:
    """The three pairs; where inputs are read they are u and v themselves, theta is 2 and the reference's
    theta is 1.
    """
    u, v, ref_chosen, ref_rejected = (
        torch.tensor(x, dtype=torch.float64) for x in (U, V, REF_CHOSEN, REF_REJECTED)
    )
    if case.reads_inputs:
        z = torch.stack([u, v], 1).requires_grad_()
        return Batch(2 * z[:, 0], 2 * z[:, 1], z[:, 0], z[:, 1], inputs=(z,))
    return Batch(
        ref_chosen + u,
        ref_rejected + v,
        ref_chosen,
        ref_rejected,
        groups=torch.tensor(GROUPS),
        chosen_tokens=torch.tensor(TOKENS),
        rejected_tokens=torch.tensor(REJECTED_TOKENS),
    )


def random_batch(seed: int, n: int = 6, m: int = 6, spread: float = 0.4, weighted: bool = False) -> Batch:
    """float64; log-ratios of standard deviation `spread`, 0 for the reference policy; lengths and groups
    always given.
    """
    g = torch.Generator().manual_seed(seed)
    ref_chosen, ref_rejected = (
        -3 * torch.rand(n, generator=g).double(),
        -3 * torch.rand(m, generator=g).double(),
    )
    u, v = torch.randn(n, generator=g).double(), torch.randn(m, generator=g).double()
    w, q = torch.rand(n, generator=g).double(), torch.rand(m, generator=g).double()
    return Batch(
        ref_chosen + spread * u,
        ref_rejected + spread * v,
        ref_chosen,
        ref_rejected,
        weights=w if weighted else None,
        rejected_weights=(w if n == m else q) if weighted else None,
        groups=torch.arange(n) % 2,
        chosen_tokens=torch.arange(n) % 3 + 1,
        rejected_tokens=torch.arange(m) % 2 + 1,
    )


PER_REJECTED = ("rejected", "ref_rejected", "rejected_weights", "rejected_tokens")
THETA_REF = torch.tensor([0.3, -0.2], dtype=torch.float64)


def linear_batch(theta: Tensor, seed: int, order: list[int] | None = None) -> Batch:
    """Six pairs with inputs (6, 2, 2) and log-probabilities <theta, input>, also for the reference."""
    z = (
        torch.randn(6, 2, 2, generator=torch.Generator().manual_seed(seed))
        .double()[order or range(6)]
        .requires_grad_()
    )
    scores, ref = z @ theta, z @ THETA_REF
    return Batch(scores[:, 0], scores[:, 1], ref[:, 0], ref[:, 1], inputs=(z,))


def shape(case: Case) -> tuple[int, int]:
    """Counts of chosen and rejected responses: unequal where the objective takes them."""
    return (6, 6) if declared(case.loss).data == "pairs" else (6, 5)


def rows_of(batch: Batch, chosen: Tensor, rejected: Tensor) -> Batch:
    """The batch with these rows in this order."""
    changes = {}
    for f in fields(batch):
        value = getattr(batch, f.name)
        if isinstance(value, Tensor):
            changes[f.name] = value[rejected if f.name in PER_REJECTED else chosen]
    return replace(batch, **changes)


def smooth_problem(case: Case, seed: int, spread: float) -> tuple[list[Tensor], Callable[..., Tensor]]:
    """Leaves and the loss as a function of them, what is detached held fixed."""
    if case.reads_inputs:
        theta = (THETA_REF + spread * torch.tensor([1.0, 2.0])).requires_grad_()
        return [theta], lambda t: case.loss(linear_batch(t, seed))
    batch = random_batch(seed, *shape(case), spread=spread)
    loss = case.frozen(batch) if case.frozen else case.loss
    leaves = [batch.chosen.requires_grad_(), batch.rejected.requires_grad_()]
    return leaves, lambda c, r: loss(replace(batch, chosen=c, rejected=r))
