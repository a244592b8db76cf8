r"""DPO and two-stage RLHF in a log-linear class of one parameter that does not hold the reward.

Policies are  pi_theta(y) \propto ref(y) exp(theta psi_y),  rewards r_y, comparisons Bradley-Terry with
log-odds r_y - r_y', and mu_yy' is how often the pair is shown. DPO's population loss is least where

    sum_{y, y'} mu_yy' [sigma(r_y - r_y') - sigma(beta theta (psi_y - psi_y'))] (psi_y - psi_y') = 0,      (1)

which depends on mu unless r = beta theta psi + const. Its left side falls in theta, so theta has the sign
that it has at 0. RLHF knows r whatever mu is, and maximises E r - beta KL(pi_theta || ref), which asks for

    Cov(r, psi) = beta theta Var(psi)  under pi_theta.                                                     (2)

Source: that DPO in a parametric class depends on the law of the pairs, and may reverse preferences and lose
reward, is described in the abstract of Gopalan, Chowdhury and Banerjee, arXiv 2510.20413; these formulas are
elementary and ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logsumexp

from distalign.arguments import MASSES, POSITIVE, POSITIVE_LAW, REAL, checked
from distalign.types import Array

_REWARD = replace(REAL, words="of size up to {high:g} nats", low=-15, high=15).of("K")
_FEATURE = REAL.solvable.of("K")
_PAIRS = replace(MASSES, remedy="divide the counts by their total", high=1e9).of("K K")
_STRENGTH = POSITIVE.solvable


def _kinds(reward: Array, feature: Array, pairs: Array) -> Array:
    """(K, K) the sign of (r_y - r_y') (psi_y - psi_y') where the pair is shown, else 0."""
    agree = np.sign(np.subtract.outer(reward, reward)) * np.sign(np.subtract.outer(feature, feature))
    return agree * (np.asarray(pairs, float) > 1e-12 * np.max(pairs))


def _compared(feature: Array, pairs: Array, beta: float) -> str:
    """A relation: a pair of different features is shown, and theta has digits."""
    gaps = np.abs(np.subtract.outer(feature, feature))
    shown = gaps[np.asarray(pairs, float) > 0]
    if not (shown.size and shown.max() > 0):
        return "pairs shows only pairs of one feature: show a pair of different features"
    scale = beta * float(gaps.max())
    fine = 1e-6 <= scale <= 1e4 and shown.max() >= 1e-3 * gaps.max()
    return (
        ""
        if fine
        else f"beta times the range of feature must be from 1e-6 to 1e4, got {scale:.3g}: rescale it"
    )


def _both_kinds(reward: Array, feature: Array, pairs: Array) -> str:
    """A relation: discordant and concordant pairs are shown."""
    kinds = _kinds(reward, feature, pairs)
    there = (kinds < 0).any() and (kinds > 0).any()
    return "" if there else "pairs must show discordant and concordant pairs: show one of each kind"


def _on_a_grid(reward: Array, feature: Array, beta: float) -> str:
    """A relation: a grid of half a logit, or of 4,001 values, holds all theta that can be best."""
    gaps, slopes = (np.abs(np.subtract.outer(x, x)) for x in (feature, reward))
    if not gaps.max() > 0:
        return "feature must tell two responses apart: give values that differ"
    logits = float((slopes[gaps > 0] / gaps[gaps > 0]).max() * gaps.max() / beta)
    size = float(np.abs(reward).max()) / beta
    if not 0 < logits <= 1e5:
        return f"theta may reach {logits:.3g} logits of feature, and not from 0 to 100,000: take another beta"
    fine = 1 + size <= 1000 and size <= 1e7 * logits
    return "" if fine else "reward is so large beside its differences that digits are lost: subtract its mean"


@checked(_compared, reward=_REWARD, feature=_FEATURE, pairs=_PAIRS, beta=_STRENGTH)
def dpo_parameter(reward: Array, feature: Array, pairs: Array, beta: float) -> float:
    """theta of (1), by bracketing, to 1e-14 or its last digits.

    Args:
        reward: (K,) r, in nats.
        feature: (K,) psi.
        pairs: (K, K) mu, symmetric; its diagonal is not read. It must show a pair of different features.
        beta: KL strength.

    Example:
        >>> reward, pairs = np.array([2.0, 0.0]), np.ones((2, 2))
        >>> round(dpo_parameter(reward, np.array([1.0, 0.0]), pairs, 0.5), 9)
        4.0
    """
    gaps, wins = np.subtract.outer(feature, feature), expit(np.subtract.outer(reward, reward))

    def slope(theta: float) -> float:
        return float((pairs * (wins - expit(beta * theta * gaps)) * gaps).sum())

    end = 1.0
    while slope(end) * slope(-end) > 0:
        end *= 2
    root: Any = brentq(slope, -end, end, xtol=1e-14)
    return float(root)


@checked(_both_kinds, reward=_REWARD, feature=_FEATURE, pairs=_PAIRS)
def reversal_share(reward: Array, feature: Array, pairs: Array) -> float:
    """The share of discordant pairs at which DPO's theta is 0, all pairs of a kind keeping their proportions.

    A pair is discordant if the response of the larger reward has the smaller feature. Below this share theta
    is positive, above it negative.

    Args:
        reward: (K,) r.
        feature: (K,) psi.
        pairs: (K, K) mu, symmetric, that shows pairs of both kinds.

    Source: ours: (1) at theta = 0 is linear in mu.

    Example: the discordant pair (0, 2) has half the log-odds and so on; equal terms need equal shares.
        >>> reward, feature = np.array([1.0, 0.0, 0.0]), np.array([0.0, -1.0, 1.0])
        >>> round(reversal_share(reward, feature, np.ones((3, 3))), 9)
        0.5
    """
    terms = (expit(np.subtract.outer(reward, reward)) - 0.5) * np.subtract.outer(feature, feature)
    discordant, concordant = terms < 0, terms > 0
    against = -(pairs * terms)[discordant].sum() / pairs[discordant].sum()
    in_favour = (pairs * terms)[concordant].sum() / pairs[concordant].sum()
    return float(in_favour / (in_favour + against))


@checked(
    _on_a_grid,
    reward=REAL.solvable.of("K"),
    feature=_FEATURE,
    reference=POSITIVE_LAW.of("K"),
    beta=_STRENGTH,
)
def rlhf_parameter(reward: Array, feature: Array, reference: Array, beta: float) -> float:
    """theta of (2), the largest of the E r - beta KL that it holds at: RLHF with the exact reward.

    The objective may have several local maxima. Those that a grid of half a logit, of 4,001 values at least,
    tells apart are found as roots, and the best is taken.

    Args:
        reward: (K,) r.
        feature: (K,) psi, not all equal.
        reference: (K,) ref.
        beta: KL strength, above 0.

    Source: ours.

    Example:
        >>> reference = np.array([0.5, 0.5])
        >>> round(rlhf_parameter(np.array([2.0, 0.0]), np.array([1.0, 0.0]), reference, 0.5), 9)
        4.0
    """
    # The slope is Cov(r, psi) - beta theta Var(psi), a sum over pairs of p_i p_j g (d - beta theta g), where
    # g and d are differences in psi and r. So it vanishes only up to the steepest d / g over beta, and by
    # pairs its sign keeps its digits where p is nearly sure of one response.
    i, j = np.triu_indices(len(feature), 1)
    g, d = feature[i] - feature[j], reward[i] - reward[j]
    end = 1.01 * float(np.abs(d[g != 0] / g[g != 0]).max()) / beta + 1e-12
    grid = np.linspace(-end, end, max(4001, int(4 * end * np.ptp(feature)) + 1))

    def slope(theta: Array) -> Array:
        logits = np.log(reference) + np.multiply.outer(theta, feature)
        both = np.where(g != 0, logits[..., i] + logits[..., j], -np.inf)
        weights = np.exp(both - both.max(-1, keepdims=True))
        return (weights * g * (d - beta * np.multiply.outer(theta, g))).sum(-1)

    rising = slope(grid) > 0
    tops = np.flatnonzero(rising[:-1] & ~rising[1:])
    roots = np.array([brentq(slope, grid[i], grid[i + 1], xtol=1e-14) for i in tops])
    return float(roots[np.argmax(_objective(roots, reward, feature, reference, beta))])


@checked(theta=REAL, feature=REAL.of("K"), reference=POSITIVE_LAW.of("K"))
def tilted(theta: float, feature: Array, reference: Array) -> Array:
    """pi_theta, (K,).

    Example:
        >>> tilted(0.0, np.array([1.0, 0.0]), np.array([0.25, 0.75])).round(9).tolist()
        [0.25, 0.75]
    """
    logits = np.log(reference) + theta * feature
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def _objective(theta: Array, reward: Array, feature: Array, reference: Array, beta: float) -> Array:
    """E r - beta KL at many theta, by KL = theta E psi - log E_ref exp(theta psi)."""
    logits = np.log(reference) + theta[:, None] * feature
    log_sum = logsumexp(logits, axis=1)
    p = np.exp(logits - log_sum[:, None])  # pyright: ignore[reportArgumentType, reportCallIssue]
    return p @ reward - beta * (theta * (p @ feature) - log_sum)
