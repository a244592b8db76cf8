r"""Where AuxDPO ends in a log-linear class, how far from RLHF, and what its variables cost on samples.

Policies are pi_theta(y|s) \propto ref(y|s) exp <theta, psi(s, y)>, comparisons are Bradley-Terry with
log-odds r_y - r_y', and x_c is x less its mean under ref(.|s). AuxDPO fits beta <theta, psi> + delta with E
psi_c delta = 0, and ends at

    theta = E[psi_c psi_c^T]^{-1} E[psi_c r] / beta,                                                       (1)

the regression of the reward on the features under the reference: a natural-gradient step from the reference.
RLHF ends where E_theta psi_c (r - beta <theta, psi>) = 0 with means under its own policy. For one feature
expansion at theta = 0 gives, with e = r - beta theta psi the residual of (1) and v = Var psi,

    beta^2 (theta_RLHF - theta) -> Cov(psi, r) E[e_c psi_c^2] / v^2,   beta -> infinity,                   (2)

under the reference. On n comparisons delta takes up what the features do not explain, and theta is (1) at the
Bradley-Terry fit over all responses, so

    n Cov(theta_n) -> P C P^T,   P = E[psi_c psi_c^T]^{-1} Psi_c^T diag(ref) / beta,                       (3)

with C the limit covariance of that fit. Where the class holds the reward DPO is its maximum likelihood fit,
with the inverse of beta^2 sum_{y < y'} q P (1 - P) g g^T, g = psi_y - psi_y': never more than (3).

Source: ours; the method is that of Gopalan, Chowdhury and Banerjee, arXiv 2510.20413, whose text was not
seen.
"""

from __future__ import annotations

import numpy as np

from distalign.arguments import COVARIANCE, LAW, MASSES, POSITIVE, POSITIVE_LAW, REAL, checked, dimensions
from distalign.types import Array


def _varied(features: Array) -> str:
    """A relation: no combination of the features is the same for all responses of each prompt."""
    x = np.asarray(features, float)
    x = (x - x.mean(-2, keepdims=True)).reshape(-1, x.shape[-1])
    rank, d = dimensions(x), x.shape[1]
    return "" if rank == d else f"features vary in {rank} of {d} dimensions: leave out redundant features"


def _not_constant(feature: Array) -> str:
    """A relation: the feature is not the same for all responses."""
    return _varied(np.asarray(feature, float)[:, None])


@checked(
    _varied,
    reward=REAL.of("S K"),
    features=REAL.of("S K d"),
    reference=POSITIVE_LAW.of("S K"),
    prompts=LAW.of("S"),
    beta=POSITIVE,
)
def natural_step(reward: Array, features: Array, reference: Array, prompts: Array, beta: float) -> Array:
    """theta (d,) of (1), over S prompts.

    Args:
        reward: (S, K) r.
        features: (S, K, d) psi, of which no combination is constant on every prompt.
        reference: (S, K) ref.
        prompts: (S,) law of the prompts.
        beta: strength of the pull to the reference.

    Source: ours.

    Example: a reward in the class comes back.
        >>> features, reference = np.array([[[1.0], [0.0], [3.0]]]), np.array([[0.2, 0.3, 0.5]])
        >>> natural_step(2 * features[..., 0], features, reference, np.ones(1), 0.5).round(9).tolist()
        [4.0]
    """
    weights = prompts[:, None] * reference
    centred = features - (reference[..., None] * features).sum(1, keepdims=True)
    fisher = np.einsum("sk,skd,ske->de", weights, centred, centred)
    return np.asarray(np.linalg.solve(fisher, np.einsum("sk,skd,sk->d", weights, centred, reward)) / beta)


@checked(_not_constant, reward=REAL.of("K"), feature=REAL.of("K"), reference=POSITIVE_LAW.of("K"))
def distance_to_rlhf(reward: Array, feature: Array, reference: Array) -> float:
    """The limit (2) of beta^2 (theta_RLHF - theta), for one prompt and one feature.

    Args:
        reward: (K,) r.
        feature: (K,) psi, not constant.
        reference: (K,) ref.

    Source: ours.

    Example: a reward in the class has no residual.
        >>> feature = np.array([1.0, 0.0, 3.0])
        >>> abs(distance_to_rlhf(2 * feature, feature, np.array([0.2, 0.3, 0.5]))) < 1e-12
        True
    """
    x, r = feature - reference @ feature, reward - reference @ reward
    variance, covariance = float(reference @ x**2), float(reference @ (x * r))
    return covariance * float(reference @ ((r - covariance / variance * x) * x**2)) / variance**2


@checked(
    _varied,
    features=REAL.of("K d"),
    reference=POSITIVE_LAW.of("K"),
    covariance=COVARIANCE.of("K K"),
    beta=POSITIVE,
)
def auxiliary_covariance(features: Array, reference: Array, covariance: Array, beta: float) -> Array:
    """Limit (3), (d, d), of n Cov(theta_n) of AuxDPO, for one prompt.

    Args:
        features: (K, d) psi, of which no combination is constant.
        reference: (K,) ref.
        covariance: (K, K) C, of `distalign.theory.f_dpo.asymptotics.reward_covariance`.
        beta: strength of the pull to the reference.

    Source: ours (the delta method).

    Example: with two responses and one feature nothing is left to delta.
        >>> fitted = np.array([[1.0, -1.0], [-1.0, 1.0]])  # the difference has variance 4
        >>> features, reference = np.array([[1.0], [0.0]]), np.array([0.5, 0.5])
        >>> auxiliary_covariance(features, reference, fitted, 1.0).round(9).tolist()
        [[4.0]]
    """
    centred = features - reference @ features
    step = np.linalg.solve((centred.T * reference) @ centred, centred.T * reference) / beta
    return step @ covariance @ step.T


@checked(_varied, features=REAL.of("K d"), pairs=MASSES.of("K K"), beta=POSITIVE)
def dpo_covariance(features: Array, pairs: Array, beta: float) -> Array:
    """Limit (d, d) of n Cov(theta_n) of DPO where the class holds the reward: the inverse information.

    Args:
        features: (K, d) psi.
        pairs: (K, K) law of (winner, loser); its diagonal is not read.
        beta: strength of the pull to the reference.

    Source: textbook (logistic regression).

    Example:
        >>> dpo_covariance(np.array([[1.0], [0.0]]), np.array([[0.0, 0.5], [0.5, 0.0]]), 1.0).tolist()
        [[4.0]]
    """
    i, j = np.triu_indices(len(features), 1)
    both = pairs[i, j] + pairs[j, i]
    information = np.divide(pairs[i, j] * pairs[j, i], both, out=np.zeros_like(both), where=both > 0)
    gaps = beta * (features[i] - features[j])
    return np.asarray(np.linalg.inv((gaps.T * information) @ gaps), float)
