"""Chi-square DPO: DPO against the worst preference law in a chi-square ball around the data."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import nonnegative
from distalign.objectives._declare import described, objective
from distalign.objectives.dpo import pair_logits, pair_mean
from distalign.preferences import PreferenceLogProbs


@described(paper="dro_rebel", defaults={"radius": 0.1})
@objective(data="pairs", coupling="batch", alone="DPO")
def chi2_dpo(batch: PreferenceLogProbs, *, beta: float, radius: float) -> Tensor:
    r"""DPO's loss under the worst re-weighting of the data in a chi-square ball.

        L = sup { E_Q l : E_P (dQ/dP - 1)^2 / 2 <= rho }
          = inf_eta { eta + sqrt(1 + 2 rho) sqrt(\sum_i p_i (l_i - eta)_+^2) }
          = m + sqrt(((1 + 2 rho) A - 1) v)

    with l_i = softplus(-t_i) the DPO losses and P their weights p. In the last form A, m and v are the mass
    of the pairs with l_i > eta, and the mean and the variance of their losses. As long as that is all pairs,
    L is E_P l + sqrt(2 rho Var_P l), a penalty on the standard deviation; beyond, easy pairs get no weight.
    Gradients are those of E_Q l at the worst law, Q \propto p (l - eta)_+ (Danskin's theorem). For rho = 0
    this is DPO, and from rho >= (1 / P(l = max l) - 1) / 2 on it is the largest loss. The factor 1/2 makes a
    small radius mean the same as for `kldpo`, where the ball is one of KL.

    The loss has a kink where all losses agree, which is where training starts: there (losses equal up to
    rounding) the value is DPO's and the subgradient returned is DPO's.

    Shapes: n pairs in, scalar out. Units: nats; rho has none.

    Args:
        batch: n pairs: all of the global batch, for every weight depends on all losses.
        beta: as in `dpo`.
        radius: rho, the radius of the ball, at least 0.

    Raises:
        InputError: data are not pairs, or a hyper-parameter is out of range.

    Source: Sahu and Wells 2025, arXiv 2509.19104 (abstract: chi-square balls for preferences, by a
        one-dimensional dual); the dual is Duchi and Namkoong's, arXiv 1810.08750. Their loss is a regression
        of relative rewards: chi-square DPO itself, and the closed form, are ours.

    Example: losses log 2 and log 4 (t = 0 and -log 3), mean 1.5 log 2, standard deviation 0.5 log 2.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> batch = PreferenceLogProbs(-torch.tensor([1.0, 3.0]).log(), *torch.zeros(3, 2))
        >>> round(chi2_dpo(batch, beta=1.0, radius=0.08).item() / 0.69315, 4)  # 1.5 + 0.4 * 0.5
        1.7
    """
    nonnegative("radius", radius, "it is the chi-square radius of the ball, 0 is DPO")
    losses = -logsigmoid(pair_logits(batch, beta))
    return _ball(losses, batch.chosen_frequencies, radius) if radius else pair_mean(batch, losses)


def _ball(losses: Tensor, p: Tensor, radius: float) -> Tensor:
    """The closed form, in float64; no branch looks at a value, so that replicates may be batched."""
    rounding = 16 * torch.finfo(losses.dtype).eps
    x, q = losses.double(), p.double()
    p = q if p.dtype == torch.float64 else q / q.sum()
    fixed = x.detach()
    largest, least = fixed.where(p > 0, -torch.inf).amax(), fixed.where(p > 0, torch.inf).amin()
    rounding = rounding * (1 + largest.abs())
    # Losses equal up to rounding count as equal: their order is noise.
    gaps = torch.where(fixed >= largest - rounding, 0, fixed - largest)
    on = p * (fixed >= largest + _least_kept(gaps, p, radius) - rounding)
    mass = on.sum()
    mean = (on * x).sum() / mass
    variance = (on * (x - mean) ** 2).sum() / mass
    price = 2 * radius * mass - (p - on).sum()
    spread = (variance * price).where((largest - least > 2 * rounding) & (variance > rounding**2), 0)
    root = spread.where(spread > 0, 1).sqrt().where(spread > 0, 0)
    return (mean + root).to(losses.dtype)


def _least_kept(gaps: Tensor, p: Tensor, radius: float) -> Tensor:
    """The least loss that the worst law gives mass to, as its gap to the largest, at most 0."""
    ordered, order = gaps.where(p > 0, -torch.inf).sort(descending=True)
    p = p.gather(0, order)
    finite = ordered.where(p > 0, 0)
    mass, first, second = p.cumsum(0), (p * finite).cumsum(0), (p * finite**2).cumsum(0)
    # c = (1 + 2 rho) A - 1 as what is left out, which for a small radius is more exact than 1 - A.
    price = 2 * radius * mass - (p.flip(0).cumsum(0).flip(0) - p).clamp(min=0)
    mean = first / mass
    spread = (second / mass - mean**2).clamp(min=0)
    eta = mean - (spread / price.where(price > 0, 1)).sqrt()
    following = torch.cat([ordered[1:], ordered.new_full((1,), -torch.inf)])
    # The right pairs are the fewest whose eta is not below the next loss; equal losses stay together.
    right = (price > 0) & (eta >= following) & (ordered > following)
    return ordered.where(right, -torch.inf).amax()
