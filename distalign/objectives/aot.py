"""AOT, alignment by optimal transport: a penalty on violations of first-order stochastic dominance."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import InputError, nonnegative, one_of, positive
from distalign.objectives._declare import described, objective
from distalign.preferences import PreferenceLogProbs, quantile_coupling

PENALTIES = ("logistic", "squared_hinge", "hinge", "least_squares")


@described(paper="aot")
@objective(data="pairs", coupling="batch", alone="DPO with its penalty")
def aot_paired(
    batch: PreferenceLogProbs,
    *,
    penalty: str = "logistic",
    beta: float | None = None,
    margin: float | None = None,
) -> Tensor:
    r"""Paired AOT: the law of the policy's margins should dominate the law of the reference's margins.

        L = \int_0^1 h(Q_U(t) - Q_V(t)) dt,   Q_U and Q_V the quantile functions, over the pairs, of
        U ~ log pi(y+)/pi(y-),   V ~ log pi_ref(y+)/pi_ref(y-)

    Without weights this is (1/n) \sum_i h(u_(i) - v_(i)) with both margins sorted. The penalties, with b the
    margin that is asked for, are

        logistic       h(x) = log(1 + e^{-beta x})
        squared_hinge  h(x) = (b - x)_+^2
        hinge          h(x) = (b - x)_+
        least_squares  h(x) = (b - x)^2

    For these convex h sorting is the optimal coupling, so L is at most the unsorted mean (for logistic: DPO).
    It equals that mean for one pair, at the reference policy, and wherever all reference margins agree. The
    mean of L over micro-batches is at least L of the whole batch: use `distalign.two_pass` where memory holds
    micro-batches only. Where dominance can be reached, the logistic penalty has no finite minimiser.

    Shapes: n pairs in, scalar out. Units: nats for logistic, nats or square nats for the others.

    Args:
        batch: n pairs, weighted or not.
        penalty: h, one of logistic, squared_hinge, hinge and least_squares.
        beta: slope of the logistic penalty, above 0. 0.01 in the paper's experiments.
        margin: b of the hinge and square penalties, at least 0. At b = 0 squared_hinge has no gradient at the
            reference.

    Raises:
        InputError: data are not pairs, the penalty is unknown, or what it needs is missing or out of range.

    Source: Melnyk et al. 2024, arXiv 2406.05882, Definition 2 and Section 3 (hinge: its Appendix F); weights
        are ours.

    Example: margins u = 3, 1, 2 against v = 0, 2, 1 sort to 1, 2, 3 against 0, 1, 2, so every difference is
    1.

        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> u, v, zero = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.0, 2.0, 1.0]), torch.zeros(3)
        >>> batch = PreferenceLogProbs(chosen=u, rejected=zero, ref_chosen=v, ref_rejected=zero)
        >>> aot_paired(batch, penalty="least_squares", margin=3.0).item()
        4.0
        >>> round(aot_paired(batch, beta=1.0).item(), 4)
        0.3133
    """
    h = _penalty(penalty, beta, margin)
    p = None if batch.weights is None else batch.chosen_frequencies
    return _violation(h, batch.margin, batch.ref_margin, p, p)


@described(paper="aot")
@objective(data="classes", coupling="batch", alone="DPO with its penalty")
def aot_unpaired(
    batch: PreferenceLogProbs,
    *,
    penalty: str = "logistic",
    beta: float | None = None,
    margin: float | None = None,
) -> Tensor:
    r"""Unpaired AOT: the law of the chosen log-ratios should dominate the law of the rejected ones.

        L = \int_0^1 h(Q_U(t) - Q_V(t)) dt,   Q_U and Q_V the quantile functions of
        U ~ log pi/pi_ref of chosen responses,   V ~ log pi/pi_ref of rejected responses

    For n = m without weights this is (1/n) \sum_i h(u_(i) - v_(i)) with both lists sorted; otherwise the
    integral is a sum over the merged breakpoints of both quantile functions
    (`distalign.preferences.quantile_coupling`). Penalties, convexity and batches are as in `aot_paired`: on
    pairs L is at most DPO's, and equal to it for one pair and at the reference policy. Adding one constant to
    every log-ratio changes nothing.

    Shapes: n chosen and m rejected responses in, scalar out. Units: nats for logistic, nats or square nats
    for the others.

    Args:
        batch: n chosen and m rejected responses, weighted or not.
        penalty, beta, margin: as in `aot_paired`.

    Raises:
        InputError: a class is empty, the penalty is unknown, or what it needs is missing or out of range.

    Source: Melnyk et al. 2024, arXiv 2406.05882, Definition 1 and Section 3; unequal counts and weights are
        ours.

    Example: u = 1, 3 and v = 2: half of the mass compares 1 with 2, the other half 3 with 2.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> u, v = torch.tensor([3.0, 1.0]), torch.tensor([2.0])
        >>> batch = PreferenceLogProbs(u, v, torch.zeros(2), torch.zeros(1))
        >>> aot_unpaired(batch, penalty="hinge", margin=0.0).item()
        0.5
        >>> round(aot_unpaired(batch, beta=1.0).item(), 4)
        0.8133
    """
    h = _penalty(penalty, beta, margin)
    unweighted = batch.weights is None and batch.rejected_weights is None
    p, q = (None, None) if unweighted else (batch.chosen_frequencies, batch.rejected_frequencies)
    return _violation(h, batch.chosen_ratio, batch.rejected_ratio, p, q)


def _violation(
    h: Callable[[Tensor], Tensor], u: Tensor, v: Tensor, p: Tensor | None, q: Tensor | None
) -> Tensor:
    widths, a, b = quantile_coupling(u, v, p, q, validate=False)  # frequencies sum to 1
    return (widths * h(a - b)).sum()


def _penalty(name: str, beta: float | None, margin: float | None) -> Callable[[Tensor], Tensor]:
    one_of("penalty", name, PENALTIES)
    if name == "logistic":
        if beta is None:
            raise InputError("beta is missing: the logistic penalty needs its slope, for instance beta=0.1")
        positive("beta", beta, "it is the slope of the logistic penalty")
        return lambda x: -logsigmoid(beta * x)
    if margin is None:
        raise InputError(
            f"margin is missing: the {name} penalty needs the difference it asks for, for instance margin=1.0"
        )
    nonnegative("margin", margin, "it is the difference of quantiles the penalty asks for")
    return {
        "squared_hinge": lambda x: (margin - x).relu().square(),
        "hinge": lambda x: (margin - x).relu(),
        "least_squares": lambda x: (margin - x).square(),
    }[name]
