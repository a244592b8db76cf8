"""RLHF on a reward that is clipped to a window before the policy is optimised.

Small differences of reward inside the window, near the data's median, still count.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit

from distalign.arguments import INSIDE_UNIT, MASSES, REAL, checked
from distalign.checks import InputError, above_0, inside_unit, reals
from distalign.solvers.choice.certified import CertifiedPolicy, checked_log_reference
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.solvers.choice.reward import reward_mle


def clipped_rlhf(
    win: ArrayLike,
    comparison: ArrayLike,
    log_reference: ArrayLike,
    kl_budget: float,
    *,
    quantile: float = 0.45,
    window: float = 0.375,
) -> CertifiedPolicy:
    r"""KL-constrained RLHF on the clipped reward  min(max(r, r_min), r_min + window).

    r is the Bradley-Terry fit, and r_min is the root of  E_{y~mu} sigma(r_min - r(y)) = quantile:  a response
    of reward r_min would beat one drawn from the comparisons with this probability. Responses below the
    window are tied, so a response that hardly any comparison favours cannot win because the fit found it a
    little less bad than another such response.

    The clip is **our reading** of Oko et al. (arXiv 2609.12651), whose abstract and a third-party digest were
    seen, not the text. That the window is 2c with c <= 3/16, and that r_min solves a fixed-point equation in
    E_mu sigma(r_min - r), is from the digest; the constant `quantile`, and r rather than the clipped reward
    inside the expectation, are ours.

    Args:
        win: (m, m) P(x preferred to y).
        comparison: (m,) distribution mu of either member of a pair.
        log_reference: (m,) log pi_ref, full support.
        kl_budget: tau in nats; infinity gives pi_ref restricted to the alternatives of highest clipped
            reward.
        quantile: in (0, 1).
        window: width in logits, above 0; infinity with a quantile near 0 is plain RLHF.

    Returns:
        The policy; not certified if the reward fit is not.

    Raises:
        InputError: weights of pairs instead of a distribution, a quantile outside (0, 1), a window not above
            0, and whatever `reward_mle` and `kl_linear_maximisation` refuse.

    Source: our reading of Oko, Ulichney, Haghtalab, Bao, arXiv 2609.12651.

    Example:
        >>> win = [[0.5, 0.6, 0.9], [0.4, 0.5, 0.9], [0.1, 0.1, 0.5]]
        >>> mostly_the_first = [0.98, 0.01, 0.01]
        >>> clipped_rlhf(win, mostly_the_first, np.log([0.02, 0.49, 0.49]), 0.5).policy.round(3).tolist()
        [0.274, 0.363, 0.363]
    """
    inside_unit("quantile", quantile, "0.45 puts the window just below the median of the comparisons")
    above_0("window", window, "it is in logits, infinity for no upper clip")
    if not quantile >= 1e-300:
        raise InputError(f"quantile must be at least 1e-300, got {quantile!r}: below it nothing is clipped")
    mu = reals("comparison", comparison, "(..., m)", "give the distribution of either member of a pair")
    if mu.ndim != 1:
        raise InputError(
            f"comparison must be a distribution over alternatives, got shape {mu.shape}: the clip averages "
            "over mu, which weights of pairs do not have"
        )
    fit = reward_mle(win, mu)
    if not np.isfinite(fit.reward).all():  # the fit failed, and says so
        return CertifiedPolicy(checked_log_reference(log_reference, len(mu)), np.inf, 0.0)
    floor = clip_floor(fit.reward, mu, quantile)
    best = kl_linear_maximisation(np.clip(fit.reward, floor, floor + window), log_reference, kl_budget)
    return best if fit.certified else CertifiedPolicy(best.log_policy, np.inf, best.tolerance)


@checked(
    reward=replace(REAL, words="of size up to {high:g} logits", low=-1e6, high=1e6).of("m"),
    comparison=MASSES.of("m"),
    quantile=replace(INSIDE_UNIT, low=1e-300),
)
def clip_floor(reward: ArrayLike, comparison: ArrayLike, quantile: float) -> float:
    r"""The r_min of `clipped_rlhf`: the root of  E_{y~mu} sigma(r_min - r(y)) = quantile.

    The left side grows with r_min from 0 to 1, so the root is unique.

    Args:
        reward: (m,) rewards in logits.
        comparison: (m,) weights of the expectation, of any positive sum.
        quantile: in (0, 1).

    Raises:
        InputError: an argument is out of range.

    Source: as `clipped_rlhf`.

    Example:
        >>> round(clip_floor([0.0, 2.0], [0.5, 0.5], 0.5), 12)
        1.0
    """
    r, mu = np.asarray(reward, float), np.asarray(comparison, float)
    mu = mu / mu.sum()

    def excess(floor: float) -> float:
        return float(mu @ expit(floor - r)) - quantile

    shift = float(logit(quantile))
    # sigma(low - r) <= quantile <= sigma(high - r) for every r.
    low, high = r.min() + shift - 1e-9, r.max() + shift + 1e-9
    root: float = brentq(excess, low, high, xtol=1e-13)  # type: ignore[assignment]
    return root
