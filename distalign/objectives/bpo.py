"""BPO, Bregman preference optimisation: match the ratio of a pair's two orders in a Bregman divergence."""

from __future__ import annotations

import numbers

import torch
from torch import Tensor
from torch.nn.functional import softplus

from distalign.checks import InputError, one_of
from distalign.objectives._declare import described, objective
from distalign.objectives._exponential import STEEP, bounded_exp
from distalign.objectives.dpo import pair_logits, pair_mean
from distalign.preferences import PreferenceLogProbs

GENERATORS = ("logistic", "kliep", "lsif", "sba")
SCALE = 4.0  # s of the paper, with which the gradient of sba at the reference is DPO's


@described(paper="bpo", defaults={"generator": "sba"})
@objective(data="pairs", coupling="pair")
def bpo(batch: PreferenceLogProbs, *, beta: float, generator: str = "sba", power: float = 0.5) -> Tensor:
    r"""Bregman preference optimisation: the policy's ratio R of a pair is matched to P(l > w) / P(w > l).

        L = \sum_i p_i [h'(R_i) R_i - h(R_i) - h'(1/R_i)],   R_i = e^{-t_i},   t_i = beta (u_i - v_i)

    for a strictly convex h, less the value at R = 1 where that is a constant:

        logistic:  h = [R log R - (1 + R) log(1 + R)] / 2   log(1 + R), which is DPO
        kliep:     h = R log R - R                          R + log R
        lsif:      h = (R - 1)^2                            R^2 - 2 / R
        sba:       h = (R^{1+k} - R) / (4 k (1 + k))        [(R^{1+k} - 1) / (1 + k) + (1 - R^-k) / k] / 4

    with k = `power`. sba is the scaled Basu power divergence; k = 0 is a quarter of kliep, k = 1 an eighth
    of lsif and k = -1/2 the exponential loss e^{-t/2}, each up to a constant. The gradient in R is G(R) = R
    h''(R) + h''(1/R) / R^2 > 0, for sba (R^k + R^{-k-1}) / 4: as large as DPO's at the reference.

    Where a pair is preferred with probability p every h has its minimum at t = logit p, as DPO does, so under
    Bradley-Terry all of them have one minimiser over all policies. Elsewhere h decides: each is a
    Bradley-Terry fit in which a pair weighs G(R) / sigma(t) as much as in DPO. For k >= 0, kliep and lsif, L
    falls without limit where one response won all its comparisons, and for k > 0 it is not convex in t.
    Exponentials above e^20 are continued linearly.

    Shapes: n pairs in, scalar out. Units: none; may be negative.

    Args:
        batch: n pairs.
        beta: strength of the pull to the reference, above 0.
        generator: logistic, kliep, lsif or sba.
        power: k of sba, above -1 and at most 4; the others do not read it.

    Raises:
        InputError: data are not pairs, or a hyper-parameter is out of range.

    Source: Kim et al. 2025, arXiv 2505.19601: Theorem 3 for the loss, Table 2 for the instances, Section 3.3
        for s = 4, read in a stored copy. The weights and what follows them are ours.

    Example: R = 1/4 for one pair at beta = 1: log(5/4), 1/4 - log 4, 1/16 - 8, and with k = 1 an eighth of
    1/16 - 1 + 2 - 8.

        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> batch = PreferenceLogProbs(*torch.tensor([[2.0], [0.5], [1.0], [1.0]], dtype=torch.float64).log())
        >>> [round(bpo(batch, beta=1.0, generator=g, power=1.0).item(), 4) for g in GENERATORS]
        [0.2231, -1.1363, -7.9375, -0.8672]
    """
    one_of("generator", generator, GENERATORS)
    t = pair_logits(batch, beta)
    if generator == "logistic":
        return pair_mean(batch, softplus(-t))
    if generator == "kliep":
        return pair_mean(batch, bounded_exp(-t) - t)
    if generator == "lsif":
        return pair_mean(batch, bounded_exp(-2 * t) - 2 * bounded_exp(t))
    if not (isinstance(power, numbers.Real) and not isinstance(power, bool) and -1 < power <= 4):
        raise InputError(
            f"power must lie in (-1, 4], got {power!r}: -0.5 is near DPO, 0.5 favours sure pairs"
        )
    falling = -t if abs(power) < 1e-12 else -_bounded_expm1(power * t) / power
    return pair_mean(batch, (_bounded_expm1(-(1 + power) * t) / (1 + power) + falling) / SCALE)


def _bounded_expm1(x: Tensor) -> Tensor:
    """`bounded_exp` less 1, accurate next to 0."""
    low = x.clamp(max=STEEP)
    return torch.expm1(low) + low.exp() * (x - low)
