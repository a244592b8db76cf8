r"""The exact minimisers of density-ratio alignment over all laws on K responses, many data sets at once.

Data enter as class frequencies c+ and c- (or as exact laws); rho = pi / p_ref is the modelled ratio. Both
objectives are sums over responses of functions of rho(y), tied together only by  sum_y p_ref rho = 1.  So
once the multiplier mu of that constraint is known, stationarity is a quadratic equation for each response,
and mu is found by bisection. No optimiser is needed, and thousands of replicates are solved at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distalign.checks import InputError, inside_unit, laws, moderate, one_of, reals, together
from distalign.types import Array

_Mask = NDArray[np.bool_]
_Domain = Literal["everywhere", "rejected"]

_ROUNDS = 60


@dataclass(frozen=True)
class Ratios:
    """Fitted policies.

    Attributes:
        policy: (..., K) probabilities.
        multiplier: (...) multiplier of the normalisation; 0 for an exact law.
        solved: (...) whether the stationarity conditions hold; where False `policy` is the normalised plug-in
            p_ref c+ / (alpha c+ + (1 - alpha) c-), a consistent estimator but not the minimiser.
    """

    policy: Array
    multiplier: Array
    solved: _Mask


def rdro_policy(
    chosen: ArrayLike, rejected: ArrayLike, ref: ArrayLike, *, alpha: ArrayLike, share: ArrayLike = 0.5
) -> Ratios:
    r"""The RDRO policy: a stationary point of  c+.[(1 + alpha) softplus(u) - u] + (1 - alpha) c-.softplus(u).

    Here u = log pi/p_ref. With m = alpha c+ + (1 - alpha) c- the condition is  mu p_ref rho^2 + (m + mu
    p_ref) rho - c+ = 0  for each response, with root  rho = 2 c+ / (b + sqrt(b^2 + 4 mu p_ref c+)),  b = m +
    mu p_ref, which decreases in mu. Real roots need mu above some negative number. Where even that number
    leaves too little mass, which happens for sparse data only, this branch has no solution and the plug-in is
    returned. The objective is convex in each u but not in pi: this is the stationary point that tends to p+;
    responses never chosen get probability 0, and mass that seen responses leave over goes to unseen ones.

    A mean over examples instead of classes weighs the chosen term by their share a of the batch and the
    rejected term by 1 - a: c+ and c- become a c+ and (1 - a) c- throughout, and the limit is p+ for a = 1/2
    only.

    Args:
        chosen: (..., K) frequencies of the chosen responses, of sum 1.
        rejected: (..., K) frequencies of the rejected responses, of sum 1.
        ref: (K,) reference probabilities, above 0.
        alpha: (...) share of chosen responses in the mixture p_ref = alpha p+ + (1 - alpha) p-, in (0, 1).
        share: (...) weight a of the chosen class in the loss: 1/2 for class means, else the batch mean of
            such a batch.

    Raises:
        InputError: shapes differ, frequencies do not sum to 1, or alpha or share is outside (0, 1).

    Source: the loss is that of arXiv 2604.04410; the exact solution is ours.

    Example:
        >>> fit = rdro_policy([0.7, 0.3], [0.3, 0.7], [0.5, 0.5], alpha=0.5)  # exact laws: p+ comes back
        >>> fit.policy.round(12).tolist(), bool(fit.solved)
        ([0.7, 0.3], True)
    """
    up, down, q = _frequencies(chosen, rejected, ref)
    t, a = _inside("alpha", alpha), _inside("share", share)
    up, down = 2 * a * up, 2 * (1 - a) * (1 - t) * down  # down with its factor 1 - alpha
    m = t * up + down
    unseen = (up == 0) & (down == 0)
    unseen_mass = (unseen * q).sum(-1, keepdims=True)

    def ratio(mu: Array) -> Array:
        b = m + mu * q
        root = np.sqrt(np.maximum(b**2 + 4 * mu * q * up, 0))
        rho = np.divide(2 * up, b + root, out=np.zeros_like(b), where=up > 0)
        # An unseen response costs nothing: below mu = 0 all mass would go there, at 0 what the others leave.
        return np.where(unseen & (mu < 0), 1 / np.where(unseen_mass > 0, unseen_mass, 1), rho)

    edge = np.where(up > 0, (2 * np.sqrt(up * (up + m)) - m - 2 * up) / q, -np.inf).max(-1)
    # mu is at most the mass of c+.
    policy, mu, solved = _normalised(ratio, q, edge, 2 * a[..., 0] + np.zeros_like(edge))
    # A response never chosen but rejected stays at 0 only while that is locally best.
    solved &= ((up > 0) | unseen | (down + mu[..., None] * q >= 0)).all(-1)
    plug_in = np.divide(q * up, m, out=np.zeros_like(m), where=up > 0)
    return Ratios(np.where(solved[..., None], policy, plug_in / plug_in.sum(-1, keepdims=True)), mu, solved)


def ddro_policy(
    chosen: ArrayLike,
    rejected: ArrayLike,
    ref: ArrayLike,
    *,
    prior: ArrayLike,
    domain: _Domain = "everywhere",
) -> Ratios:
    r"""The DDRO policy: it minimises  -t c+.log rho - (1 - t) c-.log(1 - t rho)  over  0 <= rho <= 1/t.

    This is DDRO with the prior-weighted logistic loss, the likelihood of the label. By default its domain
    t rho <= 1 holds at every response, the ideal form of the method. The data enforce it only at responses
    that were rejected, and `domain="rejected"` is the minimiser of that loss as it stands. Both are convex in
    rho. With m = t c+ + (1 - t) c- and x = mu p_ref the condition is  t x rho^2 - (t m + x) rho + t c+ = 0.

    Args:
        chosen: (..., K) frequencies of the chosen responses, of sum 1.
        rejected: (..., K) frequencies of the rejected responses, of sum 1.
        ref: (K,) reference probabilities, above 0.
        prior: (...) t, share of chosen responses in the mixture p_ref = t p+ + (1 - t) p-, in (0, 1).
        domain: where t rho <= 1 holds, "everywhere" or where responses were "rejected".

    Raises:
        InputError: shapes differ, frequencies do not sum to 1, prior is outside (0, 1), or an unknown domain.

    Source: arXiv 2505.07558 in our reading; the restricted solution is ours.

    Example:
        >>> fit = ddro_policy([0.7, 0.3], [0.3, 0.7], [0.5, 0.5], prior=0.5)
        >>> fit.policy.round(12).tolist(), bool(fit.solved)
        ([0.7, 0.3], True)
    """
    one_of("domain", domain, ("everywhere", "rejected"))
    up, down, q = _frequencies(chosen, rejected, ref)
    t = _inside("prior", prior)
    m = t * up + (1 - t) * down
    wall = 1 / t if domain == "everywhere" else np.where(down > 0, 1 / t, 1 / q)  # no probability exceeds 1

    def ratio(mu: Array) -> Array:
        x = mu * q
        b = t * m + x
        root = np.sqrt(np.maximum(b**2 - 4 * t**2 * x * up, 0))
        low = np.divide(2 * t * up, b + root, out=np.zeros_like(b), where=(b >= 0) & (up > 0))
        high = np.divide(b - root, 2 * t * x, out=low, where=(b < 0) & (x != 0))
        if domain == "rejected":
            # Not rejected: t up / rho = x.
            free = np.divide(t * up, x, out=np.full_like(x, np.inf), where=x > 0)
            high = np.where(down > 0, high, free)
        return np.minimum(high, wall)

    # The mass is at most 2 t / mu above 0, and at least (1 - K t (1 - t) / |mu|) / t below it.
    return Ratios(*_normalised(ratio, q, np.full(m.shape[:-1], -float(len(q))), np.full(m.shape[:-1], 2.0)))


def _normalised(
    ratio: Callable[[Array], Array], q: Array, low: Array, high: Array
) -> tuple[Array, Array, _Mask]:
    """The law of mass 1, its multiplier and whether there is one, by bisection of the mass sum_y q rho(mu).

    The mass decreases in mu. At a jump the laws on its two sides are mixed, which are both optimal.
    """
    solved = ratio(low[..., None]) @ q >= 1 - 1e-12
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        heavy = ratio(middle[..., None]) @ q >= 1
        low, high = np.where(heavy, middle, low), np.where(heavy, high, middle)
    more, less = q * ratio(low[..., None]), q * ratio(high[..., None])
    excess, lack = more.sum(-1) - 1, 1 - less.sum(-1)
    share = np.clip(np.divide(lack, excess + lack, out=np.ones_like(lack), where=excess + lack > 0), 0, 1)[
        ..., None
    ]
    policy = share * more + (1 - share) * less
    return policy / policy.sum(-1, keepdims=True), low, solved


def _frequencies(chosen: ArrayLike, rejected: ArrayLike, ref: ArrayLike) -> tuple[Array, Array, Array]:
    """The three laws as arrays of one length, checked to be laws."""
    up, down = together(
        chosen=laws("chosen", chosen, "(..., K)"), rejected=laws("rejected", rejected, "(..., K)")
    )
    q = laws("ref", ref, "(K,)")
    if up.shape[-1:] != q.shape or not (q > 0).all():
        raise InputError(
            f"ref must be (K,) positive probabilities for frequencies (..., K), got {q.shape} and {up.shape}"
        )
    return up, down, q


def _inside(name: str, value: ArrayLike) -> Array:
    """The shares as (..., 1), one for each data set, checked to lie in (0, 1)."""
    shares = reals(name, value, "(...)", "it is a share of chosen responses")
    if shares.size:
        for extreme in (shares.min(), shares.max()):
            inside_unit(name, float(extreme), "it is a share of chosen responses")
        moderate(name, shares.min(), "it is a share of chosen responses")
    return shares[..., None]
