r"""KL-robust DPO on many atoms: Newton's method on the dual, whose last two steps alone see all of them in
float64.

The dual

    lam radius + lam log E_P exp(l / lam),   l = log(1 + exp(-<theta, v>)),                                (1)

is convex in z = (theta, lam) together. What an evaluation costs is an exponential for the margin, a logarithm
and an exponential for the weight of every atom, so the fewer of them in float64 the better. The minimum over
some of the atoms is within a few per cent of that over all; two steps in float32, where these functions take
a quarter of the time, leave an error of about 1e-6, and Newton's method squares it.

Only the float64 evaluation at the end counts as evidence. With Q proportional to P exp(l / lam), the last
entry of the gradient of (1) is radius - KL(Q || P). Where KL(Q || P) is above the radius by rounding, the law
(1 - s) Q + s P,  s = 1 - radius / KL(Q || P),  is inside the ball, because KL is convex: so the primal value
below is that of a law of the ball, and the gap is true.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distalign.types import Array

MANY = 4096  # atoms from which this pays
_SOME = 1250  # atoms that the first steps see


@dataclass(frozen=True)
class Optimum:
    """The minimum of (1) for one law.

    Attributes:
        z: (d + 1,) theta and the multiplier.
        primal: E l under a law of the ball, a lower bound of the robust loss at theta.
        dual: (1), an upper bound of it.
        gradient: Euclidean norm of the gradient of (1).
    """

    z: Array
    primal: float
    dual: float
    gradient: float


def optimum_on_many(x: Array, law: Array, radius: float) -> Optimum | None:
    """The minimum of (1) by Newton's method without safeguards, or None where that does not arrive.

    Args:
        x: (m, d) features of the chosen response minus those of the rejected one, times beta.
        law: (m,) probabilities.
        radius: radius in nats.

    Returns:
        A minimum whose gradient is at most 1e-11, below log 2, the value of a ball that has collapsed.

    Source: arXiv 2502.01930, Lemma 12 for (1); the steps on some atoms and in float32 are ours.

    Example: 3,000 atoms at 1 and 1,000 at -1; as in `fit_kl_ball`, (1 + 1/lam) theta is the log-odds.
        >>> v = np.repeat([[1.0], [-1.0]], [3000, 1000], 0)
        >>> found = optimum_on_many(v, np.full(4000, 1 / 4000), 0.05)
        >>> theta, lam = found.z
        >>> bool(abs((1 + 1 / lam) * theta - np.log(3)) < 1e-9), bool(abs(found.dual - found.primal) < 1e-12)
        (True, True)
    """
    on = law > 0
    atoms, p = (x.T, law) if on.all() else (x[on].T, law[on])
    atoms = np.ascontiguousarray(atoms)
    stride = max(len(p) // max(_SOME, 25 * len(atoms)), 1)
    some = _Dual(np.ascontiguousarray(atoms[:, ::stride]), p[::stride] / p[::stride].sum(), radius)
    single = _Dual(atoms.astype(np.float32), p.astype(np.float32), radius)  # pyright: ignore[reportArgumentType]
    dual = _Dual(atoms, p, radius)
    with np.errstate(all="ignore"):  # what overflows is not finite, and None is returned
        try:
            z = single.stepped(some.stepped(some.start(), 8, 1e-3), 2, 1e-6)
            for _ in range(8):
                at = dual.at(z)
                size = float(np.linalg.norm(at.gradient))
                if not size > 1e-12:
                    break
                z = z - dual.step(at)
        except np.linalg.LinAlgError:
            return None
    if not (size <= 1e-11 and at.z[-1] > 0 and at.value < np.log(2) - 1e-9):  # pyright: ignore[reportPossiblyUnboundVariable]
        return None
    return Optimum(at.z, primal_value(at, p, radius), at.value, size)  # pyright: ignore[reportPossiblyUnboundVariable]


def primal_value(at: _At, p: Array, radius: float) -> float:
    """E l under Q, or under its mixture with P that is inside the ball.

    Source: ours; KL is convex in its first argument.

    Example: the multiplier 1 is that of a larger ball; the law drawn back wins no more than the worst law.
        >>> dual = _Dual(np.array([[1.0, -1.0]]), np.array([0.9, 0.1]), 0.01)
        >>> at = dual.at(np.array([1.0, 1.0]))
        >>> from distalign.solvers.robust.kl_ball import kl_worst_case
        >>> worst = kl_worst_case(at.losses, dual.p, 0.01).value
        >>> bool(at.mean > worst), bool(primal_value(at, dual.p, 0.01) < worst)
        (True, True)
    """
    divergence = radius - float(at.gradient[-1])
    share = max(1 - radius / divergence, 0.0) if divergence > 0 else 0.0
    return (1 - share) * at.mean + share * float(p @ at.losses)


@dataclass(frozen=True)
class _At:
    """The dual at a point z, with what its Hessian needs.

    Attributes:
        z: (d + 1,) theta and lam.
        value: of (1).
        gradient: (d + 1,) of (1).
        mean: E_Q l under the law Q proportional to P exp(l / lam).
        losses, wrong, q, slope: (m,) l, -dl/dmargin, Q and the product of the last two.
    """

    z: Array
    value: float
    gradient: Array
    mean: float
    losses: Array
    wrong: Array
    q: Array
    slope: Array


@dataclass(frozen=True)
class _Dual:
    """The function (1) of z for atoms (d, m) and their law (m,), in the precision of these."""

    atoms: Array
    p: Array
    radius: float

    def start(self) -> Array:
        """DPO's first Newton step, and the multiplier of a small ball there."""
        theta = 2 * np.linalg.solve((self.atoms * self.p) @ self.atoms.T, self.atoms @ self.p)
        losses = np.logaddexp(0, -theta @ self.atoms)
        variance = self.p @ (losses - self.p @ losses) ** 2
        return np.append(theta, np.sqrt(variance / (2 * self.radius)) + 1e-6)  # pyright: ignore[reportReturnType]

    def stepped(self, z: Array, rounds: int, tolerance: float) -> Array:
        """The point after some Newton steps, fewer where no entry of the gradient is above the tolerance."""
        for _ in range(rounds):
            at = self.at(z)
            if np.abs(at.gradient).max() <= tolerance:
                break
            z = z - self.step(at)
        return z

    def at(self, z: Array) -> _At:
        number, lam = self.p.dtype.type, float(z[-1])
        wrong = np.exp(-z[:-1].astype(self.p.dtype) @ self.atoms)
        total = wrong + number(1)
        losses = np.log(total)
        wrong /= total
        top = float(losses.max())
        q = losses - number(top)
        q *= number(1 / lam)
        np.exp(q, out=q)
        q *= self.p
        mass = float(q.sum())
        q *= number(1 / mass)
        mean, log_mean = float(q @ losses), top / lam + np.log(mass)
        slope = q * wrong
        gradient = np.append(-(self.atoms @ slope), self.radius + log_mean - mean / lam)
        return _At(z, lam * (self.radius + log_mean), gradient, mean, losses, wrong, q, slope)

    def step(self, at: _At) -> Array:
        """The Newton step H^-1 g, to be subtracted."""
        number, d, lam = self.p.dtype.type, len(self.atoms), float(at.z[-1])
        hessian = np.empty((d + 1, d + 1))
        weight = at.wrong * number(1 / lam - 1)
        weight += number(1)
        weight *= at.slope
        hessian[:d, :d] = (self.atoms * weight) @ self.atoms.T
        hessian[:d, :d] -= np.outer(at.gradient[:d], at.gradient[:d]) / lam
        centred = at.losses - number(at.mean)
        hessian[:d, d] = hessian[d, :d] = (self.atoms @ (at.slope * centred)) / lam**2
        hessian[d, d] = float(at.q @ (centred * centred)) / lam**3
        return np.linalg.solve(hessian, at.gradient)  # pyright: ignore[reportReturnType]
