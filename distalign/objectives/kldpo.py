"""KLDPO: DPO against the worst preference law in a Kullback-Leibler ball around the data."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import InputError, nonnegative, one_of, positive
from distalign.objectives._declare import described, objective
from distalign.objectives.dpo import pair_logits, pair_mean
from distalign.preferences import PreferenceLogProbs

_LOG_CLAMP = math.log(10)
_HALVINGS = 48


@described(paper="robust", defaults={"temperature": 1.0})
@objective(data="pairs", coupling="batch", alone="DPO")
def kldpo(
    batch: PreferenceLogProbs,
    *,
    beta: float,
    temperature: float | None = None,
    radius: float | None = None,
    weights: str = "normalised",
) -> Tensor:
    r"""DPO's loss under the worst re-weighting of the data, priced or bounded by its KL divergence.

        temperature tau:   L = sup_Q { E_Q l - tau KL(Q || P) } = tau log \sum_i p_i exp(l_i / tau)
        radius rho:        L = sup { E_Q l : KL(Q || P) <= rho }
                             = inf_{lam > 0} { lam rho + lam log \sum_i p_i exp(l_i / lam) }

    with l_i = softplus(-t_i) the DPO losses and P their weights p. Gradients are those of E_Q l at the worst
    law, Q \propto p exp(l / tau) (Danskin's theorem). For tau -> infinity and for rho = 0 this is DPO; for
    tau -> 0 and for rho >= -log P(l = max l) it is the largest loss. Under Bradley-Terry the minimiser is
    DPO's, shrunk to the reference: its log-ratios are multiplied by tau / (1 + tau), for a ball with the
    ball's own tau.

    The radius form has a kink where all losses agree, which is where training starts: there (losses equal up
    to rounding) the value is DPO's and the subgradient returned is DPO's. The worst law depends on the ranks
    of the losses and not on their scale, so noise above rounding is amplified in the first steps.

    `weights="released"` is the loss of the authors' code, \sum_i p_i w_i l_i with w_i = min(exp((l_i - mean
    l) / tau), 10) a constant for the gradient. These weights are not normalised, so their mean multiplies the
    learning rate; for one pair the loss is DPO.

    Shapes: n pairs in, scalar out. Units: nats, tau, rho and lam included.

    Args:
        batch: n pairs: all of the global batch, for every weight depends on all losses.
        beta: as in `dpo`.
        temperature: tau, the price of a nat, above 0; exactly one of temperature and radius is given.
        radius: rho, the radius of the ball in nats, at least 0.
        weights: "normalised", or "released" (with a temperature only).

    Raises:
        InputError: data are not pairs, a hyper-parameter is out of range, or not exactly one of tau and rho
            is given.

    Source: Xu et al. 2025, arXiv 2502.01930, Algorithm 2 (temperature), Lemma 12 (dual of the ball) and the
        released code. The shrinkage is ours.

    Example: losses log 2 and log 4 (t = 0 and -log 3) with tau = 1: log of the mean of 2 and 4.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> batch = PreferenceLogProbs(-torch.tensor([1.0, 3.0]).log(), *torch.zeros(3, 2))
        >>> round(kldpo(batch, beta=1.0, temperature=1.0).exp().item(), 5)
        3.0
    """
    losses = -logsigmoid(pair_logits(batch, beta))
    one_of("weights", weights, ("normalised", "released"))
    if (temperature is None) == (radius is None):
        raise InputError(
            "give exactly one of temperature and radius: one prices the worst case, the other bounds it"
        )
    if radius is not None:
        nonnegative("radius", radius, "it is the Kullback-Leibler radius of the ball in nats, 0 is DPO")
        if weights == "released":
            raise InputError(
                "weights='released' is a form with a temperature: give temperature instead of radius"
            )
        return _ball(losses, batch.chosen_frequencies, radius) if radius else pair_mean(batch, losses)
    assert temperature is not None
    positive("temperature", temperature, "it is the price of one nat, large values are DPO")
    if weights == "normalised":
        return _penalised(losses, batch.chosen_frequencies.log(), temperature)
    centred = (losses - pair_mean(batch, losses)) / temperature
    return pair_mean(batch, centred.clamp(max=_LOG_CLAMP).exp().detach() * losses)


def _penalised(losses: Tensor, log_p: Tensor, tau: Tensor | float) -> Tensor:
    return tau * torch.logsumexp(log_p + losses / tau, 0)


def _ball(losses: Tensor, p: Tensor, radius: float) -> Tensor:
    """Dual value in float64; no branch looks at a value, so that replicates may be batched."""
    rounding = 16 * torch.finfo(losses.dtype).eps
    x, q = losses.double(), p.double()
    # Frequencies of float32 sum to 1 up to 1e-8 only, which a small radius, and so a large multiplier, turns
    # into a loss of a hundredth.
    p = q if p.dtype == torch.float64 else q / q.sum()
    fixed = x.detach()
    largest, least = fixed.where(p > 0, -math.inf).amax(), fixed.where(p > 0, math.inf).amin()
    rounding = rounding * (1 + largest.abs())
    top = p * (fixed >= largest - rounding)
    mass = top.sum()
    # KL(Q_lam || P) <= (range / lam)^2 / 8, so the multiplier lies below this.
    end = (largest - least).clamp(min=1e-9 * rounding) / math.sqrt(8 * radius)
    dual = largest + _dual(x - largest, p.log(), radius, end)
    mean = (p * x).sum()  # no ball's worst law is better than its centre: a dual below it is rounding
    dual = torch.where(dual < mean, mean, dual)
    return torch.where(mass.log() + radius >= 0, (top / mass * x).sum(), dual).to(losses.dtype)


def _dual(x: Tensor, log_p: Tensor, radius: float, end: Tensor) -> Tensor:
    """lam rho + lam log E exp(x / lam) at its minimum over lam below `end`, right to second derivatives."""
    low, high = (end * 1e-9).log(), end.log()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        rising = _slope(x.detach(), log_p, radius, middle.exp())[0] > 0
        low, high = low.where(rising, middle), middle.where(rising, high)
    root = high.exp()
    # The root as a function of x to first order: a Newton step of value 0. Gradients need none of it, the
    # slope being 0 at the root; Hessians do.
    slope, spread = _slope(x, log_p, radius, root)
    lam = root - root * (slope - slope.detach()) / spread.detach().where(spread > 1e-12, math.inf)
    return lam * radius + _penalised(x, log_p, lam)


def _slope(x: Tensor, log_p: Tensor, radius: float, lam: Tensor) -> tuple[Tensor, Tensor]:
    """Derivative of the dual by lam, rho - KL(Q_lam || P), and lam times its second derivative, Var_Q(x) /
    lam^2.
    """
    scaled = x / lam
    total = torch.logsumexp(log_p + scaled, 0)
    q = (log_p + scaled - total).exp()
    mean = (q * scaled).sum()
    return radius + total - mean, (q * (scaled - mean) ** 2).sum()
