r"""Policy gradients of RLHF and of regularised NLHF, from texts that the policy itself has drawn.

With K texts y_1, ..., y_K of the policy pi to each of S prompts, drawn independently at temperature 1,

    gradient of J  =  E (1 / (S K)) \sum_{s,k} A_sk  d log pi(y_sk | x_s) / d theta                       (1)

for advantages A that are plain numbers. What a text is worth is compared with the *other* texts to the same
prompt (leave-one-out baselines, RLOO): a number that does not depend on y_k has E[b d log pi(y_k)] = 0, and
so leaves (1) without bias. A mean over all K texts holds y_k itself and would shrink the gradient by the
factor 1 - 1/K.

For a penalty D_f(pi || pi_ref) = \sum_y pi_ref(y) f(rho(y)), rho = pi / pi_ref, the chain rule gives

    d D_f / d theta  =  \sum_y f'(rho(y)) d pi(y) / d theta  =  E_pi[f'(rho) d log pi / d theta],          (2)

exactly: no term is lost although rho depends on theta. So f'(rho) is a cost like any other, and its constant
drops out of the baseline.

Here f is the function of the whole response, not a sum over its tokens. The samples have to be those of the
policy that is differentiated: texts of another temperature, or of the policy a few updates ago, make (1)
another gradient.

Source: leave-one-out baselines: Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free!"; for
language models Ahmadian et al. 2024, arXiv 2402.14740. Equation (2) for any f, and the baseline of a game,
are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distalign.checks import InputError, positive
from distalign.divergences import Divergence
from distalign.divergences import divergence as named

_LARGEST = 500.0  # nats: beyond, an estimated divergence is cut, which no gradient sees


@dataclass(frozen=True)
class PolicyGradient:
    """What a step of policy gradient needs.

    Attributes:
        advantages: (S, K) float64, A of equation (1).
        value: () float64, an unbiased estimate of the objective J at these weights.
    """

    advantages: Tensor
    value: Tensor


def rlhf(reward: Tensor, log_ratio: Tensor, *, beta: float, divergence: str = "reverse_kl") -> PolicyGradient:
    r"""Reinforcement learning from human feedback: reward less the price of leaving the reference.

        J = E_x { E_pi[r(x, y)] - beta D_f(pi || pi_ref) },
        A_k = h_k - (1 / (K - 1)) \sum_{j != k} h_j,   h = r - beta f'(rho)

    With the reverse KL the optimum is pi_ref exp(r / beta) / Z, DPO's and PPO's. Where |f'(rho)| would
    pass e^20 or so, f' is continued linearly in log rho (`Divergence.continued_link`).

    Shapes: S prompts with K >= 2 texts each. Units: of the reward.

    Args:
        reward: (S, K) r of texts drawn from the policy.
        log_ratio: (S, K) log pi - log pi_ref of these texts, in nats; no gradient passes through it.
        beta: price of the divergence in units of reward, above 0.
        divergence: f, a name of `distalign.divergences`.

    Raises:
        InputError: fewer than two texts a prompt, shapes differ, beta is out of range or no such divergence.

    Source: Stiennon et al. 2020, arXiv 2009.01325; gradient: see the module.

    Example: the KL is 0, so a text's advantage is its reward less that of the other.
        >>> found = rlhf(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2), beta=0.1)
        >>> found.advantages.tolist(), found.value.item()
        ([[1.0, -1.0]], 0.5)
    """
    positive("beta", beta, "it is the price of the divergence in units of reward")
    ratio, f = _checked(log_ratio), named(divergence)
    gain = _alike("reward", reward, ratio)
    worth = gain - beta * f.continued_link(ratio)
    return PolicyGradient(worth - mean_of_others(worth), gain.mean() - beta * estimated_divergence(ratio, f))


def nlhf(margins: Tensor, log_ratio: Tensor, *, strength: float, mixture: float = 0.0) -> PolicyGradient:
    r"""Nash learning from human feedback by self-play: both players are the policy as it is now.

        game:  p' M q - lambda KL(p || pi_ref) + lambda KL(q || pi_ref),   M = 2P - 1,
        A_k = m_k - lambda (l_k - (1 / (K - 1)) \sum_{j != k} l_j),   l = log rho,
        m_k = (1 / (K - 1)) \sum_{j != k} M(y_k, y_j)

    (1) is then the first player's gradient at p = q = pi, the opponent held fixed; it vanishes at the game's
    equilibrium p = softmax(log pi_ref + M p / lambda), which is
    `distalign.solvers.choice.games.regularised_nlhf` at the same strength.

    The margins have no baseline, for theirs is 0: the texts other than y_k play each other, and what one of
    them wins another loses. The mean of the other m_j is no baseline, for each m_j holds M(y_j, y_k), which
    depends on y_k; it would stretch the gradient of the game by the factor K / (K - 1).

    With `mixture` above 0 the opponent is that of Nash-MD: `against_mixture`.

    Shapes: S prompts with K >= 2 texts each. Units: margins, between -1 and 1.

    Args:
        margins: (S, K, K) 2 P(y_j preferred to y_k) - 1 in row j and column k, antisymmetric.
        log_ratio: (S, K) log pi - log pi_ref of these texts, in nats.
        strength: lambda, above 0, in units of M: for payoffs P and weight tau, as in Nash-MD, it is 2 tau.
        mixture: share of the reference in the opponent, from 0 (self-play) to 1 (the reference).

    Raises:
        InputError: fewer than two texts a prompt, shapes differ, margins are not antisymmetric, or the
            strength or the mixture is out of range.

    Source: Munos et al. 2023, arXiv 2312.00886, for the game; the gradient is ours.

    Example: the first text is preferred in three of four comparisons.
        >>> margins = torch.tensor([[[0.0, 0.5], [-0.5, 0.0]]])
        >>> nlhf(margins, torch.zeros(1, 2), strength=1.0).advantages.tolist()
        [[0.5, -0.5]]
    """
    positive("strength", strength, "it is the price of a nat in units of 2P - 1")
    ratio = _checked(log_ratio)
    m = margins.detach().double()
    if m.shape != (*ratio.shape, ratio.shape[1]):
        raise InputError(
            f"margins must have shape {(*ratio.shape, ratio.shape[1])}, one for each pair of texts, got "
            f"{tuple(m.shape)}"
        )
    if not bool((m == -m.transpose(1, 2)).all()):
        raise InputError(
            "margins must be antisymmetric: what one text wins the other loses; ask each pair once"
        )
    if mixture != 0:
        return against_mixture(m, ratio, strength=strength, mixture=mixture)
    won = m.sum(2) / (ratio.shape[1] - 1)
    cost = strength * ratio
    value = -strength * estimated_divergence(ratio, "reverse_kl")
    return PolicyGradient(won - (cost - mean_of_others(cost)), value)


def against_mixture(margins: Tensor, log_ratio: Tensor, *, strength: float, mixture: float) -> PolicyGradient:
    r"""Nash-MD's opponent: a geometric mixture of the policy as it is now and the reference.

        opponent  pi_b  =  pi^{1 - b} pi_ref^b / Z,   b the mixture,   Z = E_pi[w],  w = rho^{-b},
        A_k = (1 / (K - 1)) \sum_{j != k} w_j (M(y_k, y_j) - lambda l_k) + lambda w'_k l'_k,

    with w'_k and l'_k the means over the other texts as the baseline.

    The law is that of whole texts, as in the paper's theory: the texts y_j of the policy stand for those of
    the opponent with the weights w_j, and no second model has to write. Mixing the logits of the next token
    instead, as TRL's former trainer does, gives another law. With A, (1) is Z(x) times the gradient of

        \sum_y pi(y) (M pi_b)(y) - lambda KL(pi || pi_ref),   pi_b held fixed,

    exactly, prompt by prompt: dividing by an estimate of Z would bias it. Z is at most 1, and E_pi[w^2] <= 1
    for b <= 1/2; above, few texts may carry the weight.

    Where it vanishes pi_b is the equilibrium of the regularised game at strength lambda / (1 - b), and pi the
    reply to it, pi_ref exp(M pi_b / lambda) / Z'. So with a mixture that stays the policy does not end at the
    equilibrium at lambda, as self-play does. Nash-MD's theorem has steps that fall, and b with them.

    Shapes: S prompts with K >= 2 texts each. Units: margins, between -1 and 1. `value` is the objective with
    weights that are normalised over the texts: its bias is of order 1/K.

    Args:
        margins: (S, K, K) as `nlhf` takes them.
        log_ratio: (S, K) log pi - log pi_ref of these texts, in nats.
        strength: lambda, above 0.
        mixture: b, above 0 and at most 1.

    Raises:
        InputError: strength or mixture is out of range.

    Source: the opponent is that of Munos et al. 2023, arXiv 2312.00886 (Nash-MD); estimator and fixed point
        are ours.

    Example: at the reference all weights are 1, and it is self-play.
        >>> margins = torch.tensor([[[0.0, 0.5], [-0.5, 0.0]]]).double()
        >>> against_mixture(margins, torch.zeros(1, 2), strength=1.0, mixture=0.5).advantages.tolist()
        [[0.5, -0.5]]
    """
    positive("strength", strength, "it is the price of a nat in units of 2P - 1")
    if not 0 < mixture <= 1:
        raise InputError(
            f"mixture must lie in [0, 1], got {mixture!r}: it is the share of the reference in the opponent, "
            "0 is self-play"
        )
    ratio = _checked(log_ratio)
    count = ratio.shape[1]
    weight = (-mixture * ratio).clamp(max=_LARGEST).exp()
    others = ~torch.eye(count, dtype=torch.bool, device=ratio.device)
    pairs = (margins.double() - strength * ratio[:, :, None]) * weight[:, None, :] * others
    baseline = strength * mean_of_others(weight) * mean_of_others(ratio)
    normalised = (margins.double() * weight[:, None, :]).sum((1, 2)) / (weight.sum(1) * (count - 1))
    value = normalised.mean() - strength * estimated_divergence(ratio, "reverse_kl")
    return PolicyGradient(pairs.sum(2) / (count - 1) + baseline, value)


def mean_of_others(values: Tensor) -> Tensor:
    """(S, K) mean of the K - 1 other values of each row: the leave-one-out baseline.

    Example:
        >>> mean_of_others(torch.tensor([[1.0, 2.0, 6.0]])).tolist()
        [[4.0, 3.5, 1.5]]
    """
    return (values.sum(1, keepdim=True) - values) / (values.shape[1] - 1)


def estimated_divergence(log_ratio: Tensor, f: str | Divergence) -> Tensor:
    """() D_f(pi || pi_ref) = E_pi[f(rho) / rho] from texts of pi: unbiased, and no term is below 0.

    Args:
        log_ratio: (S, K) log pi - log pi_ref of texts drawn from pi.
        f: a divergence or its name.

    Example: the policy has doubled the odds of what it drew: log 2 - 1 + 1/2.
        >>> round(estimated_divergence(torch.tensor([[2.0, 2.0]]).log(), "reverse_kl").item(), 6)
        0.193147
    """
    u = np.exp(log_ratio.detach().double().cpu().numpy().clip(-_LARGEST, _LARGEST))
    return torch.as_tensor(np.mean(named(f).f(u) / u), dtype=torch.float64)


def _checked(log_ratio: Tensor) -> Tensor:
    if log_ratio.dim() != 2 or log_ratio.shape[1] < 2:
        raise InputError(
            f"log_ratio must have shape (S, K) with K of at least 2, got {tuple(log_ratio.shape)}: a text is "
            "compared with the others to its prompt"
        )
    return log_ratio.detach().double()


def _alike(name: str, values: Tensor, ratio: Tensor) -> Tensor:
    if values.shape != ratio.shape:
        raise InputError(
            f"{name} must have shape {tuple(ratio.shape)}, one for each text, got {tuple(values.shape)}"
        )
    return values.detach().to(ratio)
