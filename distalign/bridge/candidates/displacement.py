"""Where training has moved a policy: its log-ratios to the reference, as vectors with lengths and angles."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_softmax

from distalign.checks import InputError
from distalign.types import Array


def displacement(log_probs: Array, reference: Array) -> Array:
    r"""(..., S, K) log pi - log pi_ref, less its plain mean over the responses of each prompt.

    The mean holds the normalising constant, which cancels in every margin. Without it the vector of a law is
    unique, and a policy pi \propto pi_ref exp(s d) has displacement s d for a d of mean 0.

    Args:
        log_probs: (..., S, K) log-probabilities, of a path for instance.
        reference: (S, K) those of the reference.

    Source: ours.

    Example:
        >>> displacement(np.log([[0.8, 0.2]]), np.log([[0.5, 0.5]])).round(4).tolist()  # log 2 each way
        [[0.6931, -0.6931]]
    """
    ratio = log_probs - reference
    return ratio - ratio.mean(-1, keepdims=True)


def along(moved: Array, direction: Array) -> tuple[float, float]:
    """Length of `moved` along `direction`, in units of the length of `direction`, and the cosine of both.

    The cosine is NaN where `moved` is 0.

    Example:
        >>> along(np.array([[3.0, 4.0]]), np.array([[6.0, 0.0]]))
        (0.5, 0.6)
    """
    inner, own, other = float((moved * direction).sum()), float((moved**2).sum()), float((direction**2).sum())
    return inner / other, float(inner / np.sqrt(own * other)) if own else float("nan")


def tilted(reference: Array, moved: Array) -> Array:
    """(S, K) log-probabilities of the policy proportional to pi_ref exp(moved).

    Example:
        >>> np.exp(tilted(np.log([[0.5, 0.5]]), np.log([[2.0, 0.5]]))).round(12).tolist()
        [[0.8, 0.2]]
    """
    return log_softmax(reference + moved, axis=-1)


def divergence(log_probs: Array, reference: Array) -> float:
    """KL(pi || pi_ref) in nats, averaged over prompts.

    Example:
        >>> round(divergence(np.log([[0.8, 0.2]]), np.log([[0.5, 0.5]])), 4)
        0.1927
    """
    return float((np.exp(log_probs) * (log_probs - reference)).sum(-1).mean())


def multiple_at(reference: Array, moved: Array, kl: float) -> float:
    """The s >= 0 at which pi_ref exp(s moved), normalised, has divergence `kl`; it grows with s.

    For DPO on data that Bradley-Terry fits this is DPO itself at the strength beta / s.

    Args:
        reference: (S, K) log-probabilities.
        moved: (S, K) displacement, not 0.
        kl: in nats, at least 0 and below -log of the reference's share of the responses that `moved` likes
            best.

    Raises:
        InputError: no multiple moves that far.

    Source: ours; mixing log-probabilities of a policy and its reference is known from decoding.

    Example:
        >>> round(multiple_at(np.log([[0.5, 0.5]]), np.array([[1.0, -1.0]]), 0.1927448), 4)  # log 2
        0.6931
    """

    def excess(s: float) -> float:
        return divergence(tilted(reference, s * moved), reference) - kl

    high = 1.0
    while excess(high) < 0:
        high *= 2
        if high > 1e4:
            raise InputError(
                f"no multiple of this displacement has a divergence of {kl:g} nats: ask for less"
            )
    return float(brentq(excess, 0.0, high, xtol=1e-12))  # type: ignore[arg-type]
