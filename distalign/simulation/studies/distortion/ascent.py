"""Gradient ascent over whole alignment problems, for NLHF and for RLHF alike.

A problem is everything that an adversary may choose: utilities and weights of three types of users, the
reference, the weights of the pairs that are compared, and the KL budget, which is what a policy of strength s
spends. The log of the distortion is raised: by Adam from many random problems at once, then by L-BFGS from
the best one, because the worst problems lie on narrow ridges where users almost tie.

Both rules solve equations: NLHF the fixed point z = s M softmax(log pi_ref + z), RLHF the first-order
conditions of the Bradley-Terry fit. They are solved by Newton's method from the solution of the step before,
and differentiated by one more Newton step with its Jacobian held fixed, whose derivative is that of the
implicit function theorem. The best policy of the ball is pi_ref e^{t A}/Z for average utilities A, and the
derivative of its utility is that of the Lagrangian  pi . A + (tau - KL(pi || pi_ref))/t,  pi and t held fixed
(the envelope theorem).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from distalign.populations import BradleyTerryUsers
from distalign.types import Array

NLHF, INDEPENDENT, ANY = RULES = ("NLHF", "RLHF, independent pairs", "RLHF, any pairs")
TYPES = 3
_RATE, _NEWTON, _SOLVED, _TIGHT = 0.1, 20, 1e-8, 1e-10
# Genes: logits of utilities, log-weights, log(-log) of the reference, log-weights of pairs, log s.
# Independent pairs need references of e^-10^6 for their worst; the others stay where `kl_nlhf` is certified.
_LIMITS = ((-21.0, 21.0), (-20.0, 20.0), (-4.0, 9.0), (-14.0, 14.0), (-4.0, 16.0))
_LIMITS_INDEPENDENT = (*_LIMITS[:2], (-4.0, 14.0), *_LIMITS[3:])
_SCALES = (3.0, 2.0, 1.0, 1.0, 2.0)


@dataclass(frozen=True, eq=False)
class SearchedProblem:
    """A problem that the ascent ended at.

    Attributes:
        users: types with their utilities, weights and temperature.
        pairs: (m, m) symmetric weights of pairs.
        log_reference: (m,) log pi_ref.
        kl_budget: in nats.
        distortion: as the ascent computed it.
    """

    users: BradleyTerryUsers
    pairs: Array
    log_reference: Array
    kl_budget: float
    distortion: float


def ascend(
    rng: np.random.Generator,
    rule: str,
    bt_temperature: float,
    size: int,
    *,
    least: float,
    starts: int,
    steps: int,
    evaluations: int,
) -> SearchedProblem:
    """The worst problem that an ascent from random problems finds.

    Args:
        rng: makes the starts.
        rule: one of `RULES`.
        bt_temperature: b.
        size: m, number of responses.
        least: smallest utility that users may have.
        starts: number of random problems.
        steps: of Adam, all problems at once.
        evaluations: of L-BFGS, from the best of them.
    """
    shapes = ((starts, TYPES, size), (starts, TYPES), (starts, size), (starts, size, size), (starts,))
    genes = [
        torch.tensor(scale * rng.standard_normal(shape), requires_grad=True)
        for scale, shape in zip(_SCALES, shapes, strict=True)
    ]
    search = _Search(rule, bt_temperature, least)
    return _polish(_adam(genes, search, steps), search, evaluations)


class _Search:
    """The value of problems, which remembers the solution of the rule's equations from call to call."""

    def __init__(self, rule: str, bt_temperature: float, least: float):
        self.rule, self.b, self.least = rule, bt_temperature, least
        self.limits = _LIMITS_INDEPENDENT if rule == INDEPENDENT else _LIMITS
        self.solution = torch.zeros(1, 1, dtype=torch.float64)

    def decode(self, genes: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Utilities, weights, log-reference, and weights of pairs, of largest 1."""
        logits, log_weights, reference, pairs, _ = genes
        log_reference = torch.log_softmax(-torch.exp(reference), 1)
        if self.rule == INDEPENDENT:
            one = pairs.diagonal(dim1=1, dim2=2)
            log_pairs = one[:, :, None] + one[:, None, :]
        else:
            log_pairs = (pairs + pairs.mT) / 2
        log_pairs = log_pairs.masked_fill(torch.eye(logits.shape[2], dtype=torch.bool), -torch.inf)
        weights = torch.exp(log_pairs - log_pairs.amax((1, 2), keepdim=True))
        utilities = self.least + (1 - self.least) * torch.sigmoid(logits)
        return utilities, torch.softmax(log_weights, 1), log_reference, weights

    def value(self, genes: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(S,) log distortion, differentiable; KL budgets; and which problems were solved."""
        utilities, weights, q, pairs = self.decode(genes)
        gaps = self.b / 2 * (utilities[:, :, :, None] - utilities[:, :, None, :])
        margins = torch.einsum("sk,skxy->sxy", weights, torch.tanh(gaps))
        average = torch.einsum("sk,skx->sx", weights, utilities)
        start = self.solution.expand_as(q)
        if self.rule == NLHF:
            z, solved = _equilibrium(margins, q, torch.exp(genes[4]), start)
            found = z
        else:
            found, solved = _reward(margins, pairs, start)
            z = torch.exp(genes[4])[:, None] * found
        self.solution = torch.where(solved[:, None], found.detach(), start)
        policy = torch.log_softmax(q + z, 1)
        p = torch.exp(policy)
        spent = (p * (policy - q)).sum(1)
        value = torch.log(_best_in_ball(average, q, spent)) - torch.log((p * average).sum(1))
        return value, spent, solved & torch.isfinite(value)


def _adam(genes: list[Tensor], search: _Search, steps: int) -> list[Tensor]:
    """The genes of the worst problem that many ascents have passed."""
    best, solution, worst = [g.detach()[:1].clone() for g in genes], search.solution, -np.inf
    optimizer = torch.optim.Adam(genes, lr=_RATE)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = _RATE * min(1.0, 2 * (1 - step / steps))
        optimizer.zero_grad()
        value, _, solved = search.value(genes)
        value = torch.where(solved, value, -1.0)
        top = int(value.argmax())
        if float(value[top].detach()) > worst:
            best, worst = [g.detach()[top : top + 1].clone() for g in genes], float(value[top].detach())
            solution = search.solution[top : top + 1]
        (-value).sum().backward()
        for gene in genes:
            if gene.grad is not None:  # NLHF has none with respect to the pairs
                gene.grad.nan_to_num_(0.0, 0.0, 0.0)
        optimizer.step()
        with torch.no_grad():
            for gene, (low, high) in zip(genes, search.limits, strict=True):
                gene.clamp_(low, high)
    search.solution = solution
    return best


def _polish(genes: list[Tensor], search: _Search, evaluations: int) -> SearchedProblem:
    """The problem where L-BFGS from these genes of one problem has ended."""
    sizes = [g.numel() for g in genes]

    def parts(x: Array) -> list[Tensor]:
        pieces = np.split(x, np.cumsum(sizes)[:-1])
        return [torch.tensor(p).reshape(g.shape) for p, g in zip(pieces, genes, strict=True)]

    def loss(x: Array) -> tuple[float, Array]:
        given = [p.requires_grad_() for p in parts(x)]
        value, solved = _settled(search, given)
        if not solved:
            return 1.0, np.zeros_like(x)
        (-value).backward()
        slopes = [torch.zeros_like(g) if g.grad is None else g.grad for g in given]
        return -value.item(), torch.cat([s.ravel() for s in slopes]).numpy()

    limits = [pair for pair, n in zip(search.limits, sizes, strict=True) for _ in range(n)]
    options = {"maxfun": evaluations, "maxiter": evaluations, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-12}
    start = torch.cat([g.ravel() for g in genes]).numpy()
    end = parts(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits, options=options).x)
    value, _ = _settled(search, end)
    utilities, weights, q, pairs = (x[0].numpy() for x in search.decode(end))
    users = BradleyTerryUsers(utilities, weights, search.b)
    return SearchedProblem(users, pairs, q, float(search.value(end)[1][0]), float(torch.exp(value)))


def _settled(search: _Search, genes: list[Tensor]) -> tuple[Tensor, bool]:
    """The value of one problem, from a solution of its equations to the last digits, and whether there is
    one.
    """
    value, solved = torch.zeros(1), torch.zeros(1, dtype=torch.bool)
    for _ in range(4):
        before = search.solution
        value, _, solved = search.value(genes)
        if solved and (search.solution - before).abs().max() <= _TIGHT * search.solution.abs().max():
            break
    return value[0], bool(solved)


def _equilibrium(m: Tensor, q: Tensor, s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The fixed point z = s M softmax(q + z), and for which problems it was reached."""
    eye = torch.eye(m.shape[1], dtype=m.dtype)

    def residual(z: Tensor) -> Tensor:
        return z - s[:, None] * (m @ torch.softmax(q + z, 1)[:, :, None])[:, :, 0]

    def jacobian(z: Tensor) -> Tensor:
        p = torch.softmax(q + z, 1)
        return eye - s[:, None, None] * (m @ (torch.diag_embed(p) - p[:, :, None] * p[:, None, :]))

    length = torch.full_like(z[:, :1], torch.inf)
    with torch.no_grad():
        for _ in range(_NEWTON):
            step = _solve(jacobian(z), residual(z))
            length = step.abs().amax(1, keepdim=True)
            z = z - step * torch.clamp((2 + z.abs().amax(1, keepdim=True) / 2) / length, max=1.0)
            if bool((length < _TIGHT).all()):
                break
        fixed, solved = jacobian(z), _small(length, z)
    return z - _solve(fixed, residual(z)), solved


def _reward(m: Tensor, pairs: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """The Bradley-Terry reward of sum 0, and for which problems it was reached."""
    gauge = torch.ones(m.shape[1:], dtype=m.dtype)

    def fitted(r: Tensor) -> Tensor:
        return torch.tanh((r[:, :, None] - r[:, None, :]) / 2)

    def jacobian(r: Tensor) -> Tensor:
        w = pairs * (1 - fitted(r) ** 2) / 4
        return torch.diag_embed(w.sum(2)) - w + gauge * w.amax((1, 2), keepdim=True)

    def residual(r: Tensor) -> Tensor:
        return (pairs * (fitted(r) - m)).sum(2) / 2

    length = torch.full_like(r[:, :1], torch.inf)
    with torch.no_grad():
        for _ in range(_NEWTON):
            step = _solve(jacobian(r), residual(r))
            length = (step.amax(1) - step.amin(1))[:, None]
            r = r - step * torch.where(length > 0, torch.log1p(length) / length.clamp(min=1e-300), 1.0)
            if bool((length < _TIGHT).all()):
                break
        fixed, solved = jacobian(r), _small(length, r)
    return r - _solve(fixed, residual(r)), solved


def _small(step: Tensor, solution: Tensor) -> Tensor:
    """For which problems a step is small beside the solution."""
    return (step[:, 0] <= _SOLVED * (1 + solution.abs().amax(1))) & torch.isfinite(solution).all(1)


def _solve(a: Tensor, y: Tensor) -> Tensor:
    """a^{-1} y, problem by problem; not finite where a is singular."""
    return torch.linalg.solve_ex(a, y[:, :, None])[0][:, :, 0]


def _best_in_ball(average: Tensor, q: Tensor, spent: Tensor) -> Tensor:
    """(S,) highest average utility within KL(pi || pi_ref) <= spent, with the derivative of the Lagrangian.

    The log-strength is found by sections into sixteen, nine times.
    """
    with torch.no_grad():
        centred = average - average.amax(1, keepdim=True)
        scale = (-centred).amax(1, keepdim=True).clamp(min=1e-300)
        low, width = torch.full_like(scale, -12.0), 48.0
        sections = torch.arange(16, dtype=q.dtype)
        for _ in range(9):
            strength = low + width / 16 * sections
            tilted = q[:, None] + torch.exp(strength)[:, :, None] * (centred / scale)[:, None]
            tilted = torch.log_softmax(tilted, 2)
            inside = (torch.exp(tilted) * (tilted - q[:, None])).sum(2) <= spent[:, None]
            low = low + width / 16 * (inside.sum(1, keepdim=True) - 1).clamp(min=0)
            width = width / 16
        best = torch.log_softmax(q + torch.exp(low) * centred / scale, 1)
        p, price = torch.exp(best), (scale * torch.exp(-low))[:, 0]
    return (p * average).sum(1) + price * (spent - (p * (best - q)).sum(1))
