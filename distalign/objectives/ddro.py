"""DDRO, direct density ratio optimisation: the policy itself models the density ratio p+/p-."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import inside_unit, one_of
from distalign.objectives._classes import class_means
from distalign.objectives._declare import described, objective
from distalign.objectives._exponential import bounded_exp
from distalign.preferences import PreferenceLogProbs

RATIO_LOSSES = ("label_mle", "logistic", "lsif", "kliep")
STABILISERS = ("none", "floor", "linear_ratio", "linear_log_ratio", "squash")


@described(paper="density_ratio", defaults={"prior": 0.5})
@objective(data="classes", coupling="class", infinite=True)
def ddro(
    batch: PreferenceLogProbs,
    *,
    prior: float,
    ratio_loss: str = "label_mle",
    stabiliser: str = "none",
    epsilon: float = 0.05,
) -> Tensor:
    r"""Direct density ratio optimisation: a Bregman loss on r = p+/p-, which policy and reference imply.

    If the reference is the pooled law t p+ + (1-t) p-, then pi/pi_ref = e^u models p+/p_ref, t e^u is the
    probability that a response is preferred, and r = (1-t) e^u / (1 - t e^u). With u, v the log-ratios of
    chosen and rejected responses the losses (`ratio_loss`) are

        label_mle:  L = -t \sum_i p_i log(t e^{u_i}) - (1-t) \sum_j q_j log(1 - t e^{v_j})
        logistic:   L = \sum_i p_i log(1 + 1/r(u_i)) + \sum_j q_j log(1 + r(v_j))
        lsif:       L = -\sum_i p_i r(u_i) + \sum_j q_j r(v_j)^2 / 2
        kliep:      L = -\sum_i p_i log r(u_i) + \sum_j q_j r(v_j)

    label_mle is the likelihood of the labels (log-binomial regression). Each loss is minimised by pi = p+
    where pi_ref is the pooled law, t its prior for every prompt, and the policy can be p+. All of them need t
    e^u < 1: one response may gain no more than log(1/t) nats, over all its tokens. A stabiliser changes log(1
    - t e^u) beyond the wall t e^u = 1 - e:

        none              no change: the loss is +inf where a rejected response (for losses of r: any
                          response) has t e^u >= 1, and those responses have no gradient; a line search
                          turns back, but a trainer should not use it
        floor             log e: there is no restoring force, so iterates stay outside
        linear_ratio      linear in e^u, C1: the force grows like e^u / e
        linear_log_ratio  linear in u, C1: the force on a rejected response is at most
                          (1-t) (1-e) / e with label_mle
        squash            log(t e^u) becomes log sigma(u + log t) everywhere: there is no wall, but the
                          minimiser is another policy

    Exponentials above e^20 are continued linearly, so a stabilised loss is finite at any length (lsif with
    linear_ratio may reach +inf in float32) and never NaN.

    Shapes: n chosen and m rejected responses in, scalar out. Units: nats for label_mle and logistic.

    Args:
        batch: n chosen and m rejected responses.
        prior: t, the share of preferred responses in the data the reference stands for, in (0, 1).
        ratio_loss: label_mle, logistic, lsif or kliep.
        stabiliser: none, floor, linear_ratio, linear_log_ratio or squash.
        epsilon: e, the distance to the wall at which floor, linear_ratio and linear_log_ratio set in, in
            (0, 1).

    Raises:
        InputError: a class is empty, or a hyper-parameter is out of range.

    Source: Higuchi & Suzuki 2025, arXiv 2505.07558; parametrisation and losses are derived from the
        abstract's description, and the stabilisers are ours.

    Example: t = 1/2, e^u = 4/3 and e^v = 2/3, so t e^u = 2/3, t e^v = 1/3 and L = -log(2/3).
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> u, v = torch.tensor([4 / 3]).log(), torch.tensor([2 / 3]).log()
        >>> batch = PreferenceLogProbs(u, v, *torch.zeros(2, 1))
        >>> round(ddro(batch, prior=0.5).item(), 4), ddro(batch, prior=0.75, ratio_loss="lsif").item()
        (0.4055, inf)
    """
    inside_unit("prior", prior, "it is the share of preferred responses in the data")
    inside_unit(
        "epsilon", epsilon, "it is the distance to the wall at which the stabiliser sets in, 0.05 is usual"
    )
    one_of("ratio_loss", ratio_loss, RATIO_LOSSES)
    one_of("stabiliser", stabiliser, STABILISERS)
    a, b = batch.chosen_ratio + math.log(prior), batch.rejected_ratio + math.log(prior)
    of_chosen, of_rejected = _terms(ratio_loss, prior)
    chosen, rejected = (of(*_logs(x, stabiliser, epsilon)) for of, x in ((of_chosen, a), (of_rejected, b)))
    if stabiliser == "none":
        rejected = rejected.where(b < 0, math.inf)
        chosen = chosen if ratio_loss == "label_mle" else chosen.where(a < 0, math.inf)
    return sum(class_means(batch, chosen, rejected), start=torch.zeros_like(a[0]))


def _logs(a: Tensor, stabiliser: str, epsilon: float) -> tuple[Tensor, Tensor]:
    """log(t rho) and log(1 - t rho) for a = log(t rho), the second continued beyond the wall as the
    stabiliser says.
    """
    if stabiliser == "squash":
        return logsigmoid(a), logsigmoid(-a)
    if stabiliser == "none":
        return a, _log_complement(a.where(a < 0, -1))
    wall = math.log1p(-epsilon)
    excess = (a - wall).where(a > wall, 0)
    growth = {
        "floor": torch.zeros_like,
        "linear_ratio": lambda x: bounded_exp(x) - 1,
        "linear_log_ratio": lambda x: x,
    }
    return a, _log_complement(a.clamp(max=wall)) - (1 - epsilon) / epsilon * growth[stabiliser](excess)


def _log_complement(a: Tensor) -> Tensor:
    """log(1 - e^a) for a < 0, accurate at both ends."""
    near = a > -math.log(2)
    return torch.where(near, torch.log(-torch.expm1(a)), torch.log1p(-torch.exp(a.where(~near, -1))))


def _terms(
    name: str, t: float
) -> tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]:
    """Loss of a chosen and of a rejected response as functions of log(t rho) and log(1 - t rho)."""

    def log_r(a: Tensor, c: Tensor) -> Tensor:
        return a - c + math.log((1 - t) / t)

    return {
        "label_mle": (lambda a, c: -t * a, lambda a, c: -(1 - t) * c),
        "logistic": (lambda a, c: -logsigmoid(log_r(a, c)), lambda a, c: -logsigmoid(-log_r(a, c))),
        "lsif": (lambda a, c: -bounded_exp(log_r(a, c)), lambda a, c: bounded_exp(log_r(a, c)).square() / 2),
        "kliep": (lambda a, c: -log_r(a, c), lambda a, c: bounded_exp(log_r(a, c))),
    }[name]
