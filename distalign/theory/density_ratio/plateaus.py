"""The policies at which KTO and BCO end; neither is the law p+ of preferred responses.

With a the share of chosen responses in the data, m = a c+ + (1-a) c- is the pooled mass of a response and a
c+ its chosen part. All policies are allowed. Exact laws give the limits; class frequencies of a sample give
the estimates.

Source: ours (derived from the losses of `distalign.objectives.kto` and `.bco`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logsumexp

from distalign.arguments import INSIDE_UNIT, MASSES, NONNEGATIVE, POSITIVE, POSITIVE_LAW, checked
from distalign.checks import InputError, inside_unit, positive
from distalign.types import Array

_OUTER, _INNER, _NEWTON, _HALVINGS = 60, 12, 25, 8


@checked(
    chosen=NONNEGATIVE.of("... K"),
    rejected=NONNEGATIVE.of("... K"),
    ref=POSITIVE_LAW.of("... K"),
    beta=INSIDE_UNIT.meaning("the limit is derived for slopes below 1, 0.1 is usual"),
)
def kto_policy(chosen: ArrayLike, rejected: ArrayLike, ref: ArrayLike, beta: float) -> Array:
    r"""The limit of every minimising sequence of KTO with weights 1 and z = 0, for beta in (0, 1).

    With w = a c+ - (1-a) c- the loss is a constant minus

        \sum_y w_y sigma(beta log pi/p_ref).                                                (1)

    A response with w <= 0 gets no mass, which costs an infinite log-ratio: there is no minimiser among
    positive policies, but there is one limit. Where w > 0 the sum (1) is strictly concave in pi, so the limit
    is unique: with u = log pi/p_ref,

        w sigma'(beta u) e^{-u} / p_ref  is the same for all these responses.               (2)

    z = max(0, mean log-ratio) is 0 there, for that mean tends to minus infinity. The policy is found by
    bisection on the common value of (2), with a Newton iteration for u inside.

    Args:
        chosen: (..., K) masses a c+ of chosen responses, or their counts.
        rejected: (..., K) masses (1-a) c-, on the same scale.
        ref: (K,) reference probabilities, above 0.
        beta: slope of the utility.

    Raises:
        InputError: beta is outside (0, 1), or no response is chosen more than rejected.

    Example: the mass goes to the responses chosen more often than rejected, here in their reference's
    proportions.

        >>> kto_policy([0.15, 0.15, 0.2], [0.1, 0.1, 0.3], [0.25, 0.25, 0.5], 0.1).round(12).tolist()
        [0.5, 0.5, 0.0]
    """
    inside_unit("beta", beta, "the limit is derived for slopes below 1, 0.1 is usual")
    w, q = np.asarray(chosen, float) - np.asarray(rejected, float), np.asarray(ref, float)
    if not (w > 0).any(-1).all():
        raise InputError(
            "chosen must exceed rejected at some response of every data set: else KTO has nowhere to put mass"
        )
    gain = np.log(np.where(w > 0, w, 1) / q)

    def log_ratio(level: Array) -> Array:
        u = np.zeros_like(gain)
        for _ in range(_INNER):  # concave and decreasing, slope between beta - 1 and -beta - 1
            slope = beta - 1 - 2 * beta * expit(beta * u)
            u = u - (gain + (beta - 1) * u - 2 * np.logaddexp(0, beta * u) - level[..., None]) / slope
        return np.where(w > 0, u, -np.inf)

    low, high = gain.min(-1) - 60, gain.max(-1) + 60
    for _ in range(_OUTER):
        middle = (low + high) / 2
        heavy = (q * np.exp(np.minimum(log_ratio(middle), 50))).sum(-1) >= 1
        low, high = np.where(heavy, middle, low), np.where(heavy, high, middle)
    policy = q * np.exp(np.minimum(log_ratio(low), 50))
    return policy / policy.sum(-1, keepdims=True)


@checked(
    chosen=MASSES.of("... K"),
    rejected=NONNEGATIVE.of("... K"),
    ref=POSITIVE_LAW.of("... K"),
    beta=POSITIVE,
)
def bco_policy(
    chosen: ArrayLike, rejected: ArrayLike, ref: ArrayLike, beta: float
) -> tuple[Array, NDArray[np.bool_]]:
    r"""The equilibrium of BCO that is found from the reference, with the shift d held constant.

    The loss holds the shift d = beta \sum_y m_y u_y, the mean reward, constant, so there is no function it
    minimises. At an equilibrium the gradient g satisfies

        g_y = beta [m_y sigma(beta u_y - d) - a c+_y],   g_y = pi_y \sum g.                 (1)

    Newton's method solves these K equations; a step is halved until the residual falls. If d were the
    normaliser for which \sum g = 0, pi would be p_ref (p+/p-)^{1/beta}.

    Args:
        chosen: (..., K) masses a c+ of chosen responses, or their counts.
        rejected: (..., K) masses (1-a) c-, on the same scale.
        ref: (K,) reference probabilities, above 0.
        beta: scale of the reward, above 0.

    Returns:
        (..., K) policies, and (...) whether the residual is below 1e-11.

    Raises:
        InputError: beta is not above 0, or ref is not positive.

    Example: p+ and p- that mirror each other around a uniform reference: d is the normaliser, so pi is p_ref
    p+/p-.

        >>> policy, solved = bco_policy([0.3, 0.2], [0.2, 0.3], [0.5, 0.5], 1.0)
        >>> policy.round(12).tolist(), bool(solved)
        ([0.692307692308, 0.307692307692], True)
    """
    positive("beta", beta, "it is the scale of the reward")
    up, down = np.broadcast_arrays(np.asarray(chosen, float), np.asarray(rejected, float))
    q = np.asarray(ref, float)
    if not (q > 0).all():
        raise InputError("ref must be positive: a response the reference never gives has no log-ratio")
    total = (up + down).sum(-1, keepdims=True)
    up, mass = np.atleast_2d(up / total), np.atleast_2d((up + down) / total)
    theta = np.zeros_like(up)
    residual, jacobian = _equilibrium(theta, up, mass, q, beta)
    for _ in range(_NEWTON):
        step = -(np.linalg.pinv(jacobian) @ residual[..., None])[..., 0]
        size = np.ones((len(theta), 1))
        for _ in range(_HALVINGS):
            worse = np.abs(_equilibrium(theta + size * step, up, mass, q, beta)[0]).max(-1) > np.abs(
                residual
            ).max(-1)
            size = np.where(worse[:, None], size / 2, size)
        theta = theta + size * step
        residual, jacobian = _equilibrium(theta, up, mass, q, beta)
        if np.abs(residual).max() < 1e-14:
            break
    policy = q * np.exp(theta - np.asarray(logsumexp(np.log(q) + theta, axis=-1, keepdims=True)))
    return policy.reshape(np.shape(chosen)), (np.abs(residual).max(-1) < 1e-11).reshape(np.shape(chosen)[:-1])


def _equilibrium(theta: Array, up: Array, mass: Array, q: Array, beta: float) -> tuple[Array, Array]:
    """The residual (R, K) of Eq. (1) of `bco_policy`, g - pi sum g, and its (R, K, K) Jacobian.

    theta are logits over the reference.
    """
    u = theta - np.asarray(logsumexp(np.log(q) + theta, axis=-1, keepdims=True))
    policy, s = q * np.exp(u), expit(beta * (u - (mass * u).sum(-1, keepdims=True)))
    g = beta * (mass * s - up)
    slope = beta**2 * mass * s * (1 - s)
    inner = (
        np.eye(len(q)) * slope[..., None] - slope[..., None] * mass[..., None, :]
    )  # of g in u, its shift moving along
    chain = np.eye(len(q)) - policy[..., None, :]  # of u in theta
    moved = inner @ chain
    pull = g.sum(-1)[..., None, None]
    jacobian = moved - policy[..., None] * (moved.sum(-2, keepdims=True) + pull * chain)
    return g - policy * g.sum(-1, keepdims=True), jacobian
