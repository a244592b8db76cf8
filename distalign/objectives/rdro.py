"""RDRO, relative density ratio optimisation: the policy models the bounded ratio p+ over the pooled law."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import inside_unit, one_of
from distalign.objectives._classes import class_means, pooled_mean
from distalign.objectives._declare import described, objective
from distalign.objectives._exponential import bounded_exp
from distalign.preferences import PreferenceLogProbs

FORMS = ("logistic", "rulsif", "rkliep")


@described(paper="density_ratio", defaults={"alpha": 0.5})
@objective(data="classes", coupling="class")
def rdro(
    batch: PreferenceLogProbs, *, alpha: float, form: str = "logistic", reduction: str = "class_mean"
) -> Tensor:
    r"""Relative density ratio optimisation: classify "preferred" against "pooled" by log pi/pi_ref.

        logistic:  L = \sum_i p_i [(1 + alpha) softplus(u_i) - u_i] + (1 - alpha) \sum_j q_j softplus(v_j)
        rulsif:    L = \sum_i p_i [alpha e^{2 u_i} / 2 - e^{u_i}] + (1 - alpha) \sum_j q_j e^{2 v_j} / 2
        rkliep:    L = \sum_i p_i [alpha e^{u_i} - u_i] + (1 - alpha) \sum_j q_j e^{v_j}

    These are three losses of the ratio of p+ to alpha p+ + (1-alpha) p-, which is at most 1/alpha; `logistic`
    is a logistic regression. If that mixture is pi_ref, the minimiser over all policies is p+.

    Only the logistic form has bounded coefficients of the gradient: (1 + alpha) sigma(u) - 1, in (-1, alpha),
    for a chosen response and (1 - alpha) sigma(v), in (0, 1 - alpha), for a rejected one. Those of the other
    two grow like e^{2u} and e^u, although the true ratio is bounded. Every form pulls a chosen response back
    above u = log(1/alpha). On exact laws the masses of rkliep sum to E_{pi_ref} e^u = 1, so it is SFT there;
    on a sample it is not. Exponentials above e^20 are continued linearly.

    `reduction="batch_mean"` weighs each class by its share a of the batch, as a trainer does that averages
    examples: the minimiser then is p+ only for a = 1/2 (or with weights 1/a and 1/(1-a)). Class means need
    the global totals of both classes.

    Shapes: n chosen and m rejected responses in, scalar out; no length normalisation and no beta. Units:
    nats.

    Args:
        batch: n chosen and m rejected responses.
        alpha: share of preferred responses in the mixture that the reference stands for, in (0, 1).
        form: logistic, rulsif or rkliep.
        reduction: "class_mean" or "batch_mean".

    Raises:
        InputError: a class is empty, or a hyper-parameter is out of range.

    Source: Takahashi et al. 2026, arXiv 2604.04410; the loss is derived from logistic density-ratio
        estimation, and which reduction the paper prints is not known. `rulsif` is the loss of Yamada et al.
        2013, arXiv 1106.4729, on the policy's ratio; this and `rkliep` are ours.

    Example: at the reference L is 2 log 2 for any alpha; u = v = log 3 with alpha = 1/2 gives 2 log 4 - log
    3.

        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> round(rdro(PreferenceLogProbs(*torch.zeros(4, 3)), alpha=0.39).item(), 4)
        1.3863
        >>> batch = PreferenceLogProbs(*torch.tensor([[3.0], [3.0], [1.0], [1.0]]).log())
        >>> round(rdro(batch, alpha=0.5).exp().item(), 4)
        5.3333
    """
    inside_unit("alpha", alpha, "it is the share of preferred responses in the data")
    one_of("form", form, FORMS)
    one_of("reduction", reduction, ("class_mean", "batch_mean"))
    chosen, rejected = _terms(form, batch.chosen_ratio, batch.rejected_ratio, alpha)
    if reduction == "batch_mean":
        return pooled_mean(batch, chosen, rejected)
    of_chosen, of_rejected = class_means(batch, chosen, rejected)
    return of_chosen + of_rejected


def _terms(form: str, u: Tensor, v: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Losses of the chosen and of the rejected responses."""
    if form == "logistic":
        return -(1 + alpha) * logsigmoid(-u) - u, -(1 - alpha) * logsigmoid(-v)
    rho, sigma = bounded_exp(u), bounded_exp(v)
    if form == "rulsif":
        return alpha * rho.square() / 2 - rho, (1 - alpha) * sigma.square() / 2
    return alpha * rho - u, (1 - alpha) * sigma
