r"""The regularised equilibria of a preference game as their strength falls to zero: the path that
`distalign.solvers.choice.games.kl_nlhf` follows.

For an antisymmetric margin matrix M and lambda > 0, the game

    max over p1, min over p2 of  p1' M p2 - lambda KL(p1 || pi_ref) + lambda KL(p2 || pi_ref)              (1)

has one equilibrium. It is symmetric, and the fixed point of the best reply:

    p = softmax(log pi_ref + z),   z = M p / lambda.                                                       (2)

KL(p || pi_ref) does not increase with lambda, so the equilibrium of a KL budget tau is found on the path of
(2) as lambda falls: where KL(p || pi_ref) = tau, or at the end of the path, which is a maximal lottery.

The homotopy. At lambda >= 4 the right side of (2) is a contraction in z, and Newton's method finds the
equilibrium from z = 0. From there lambda is lowered, and Newton's method starts each time at the last z. Two
parameters of the path are used in turn. As a rule it is log lambda. Where a tiny change of lambda moves all
the mass, as when an alternative of log pi_ref = -10^4 enters, it is log KL, in which the path is tame: then
log lambda is one more unknown, and the equation

    log KL(p || pi_ref) = a target                                                                         (3)

is solved together with (2). A step that fails is halved, and one that succeeds is doubled.

Newton's equation. The residual z - M p / lambda of (2) has the Jacobian

    I - M (diag p - p p') / lambda.                                                                        (4)

With s = sqrt(p), S = diag(s) and the projection Q = I - s s', it turns into a system with the matrix

    I - K,   K = Q S M S Q / lambda,                                                                       (5)

for w = Q S v. K is antisymmetric, so I - K is never singular, whatever lambda, and its condition number is
sqrt(1 + |K|^2). Small systems are solved densely, large ones by GMRES as long as that converges.

Units: with payoffs P instead of M = 2P - 1, halve lambda.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse.linalg import LinearOperator, gmres

from distalign.solvers.choice.certified import divergence, in_ball, normalised
from distalign.solvers.choice.skew_games import lottery_on, some_lottery
from distalign.types import Array

# log lambda below which it pays to ask whether the lottery at the end of the path is in the ball
_LATE = np.log(0.01)
_MASSLESS = -80.0  # log-probability below which an alternative moves no other
_DENSE = 150  # alternatives with mass, up to which a linear system is solved densely


def spend_budget(margins: Array, log_reference: Array, budget: float) -> Array:
    """Follow the path (2) from lambda >= 4 downwards until the budget is spent or nothing is left to gain.

    The first attempt solves (2) and (3) for the budget at once. Otherwise the path is followed in steps of
    log lambda, and of log KL where those fail. Late on the path its end, the maximal lottery, is taken if it
    is unique and lies in the ball.

    Args:
        margins: (m, m) antisymmetric, of largest entry 1.
        log_reference: (m,) log pi_ref.
        budget: tau in nats, above 0, possibly infinite.

    Returns:
        (m,) the log-policy reached: in the ball up to rounding, and an equilibrium of the ball if the path
        did not stall, which is the caller's to check.

    Source: ours; the correspondence of lambda and tau is Proposition 13 of Gölz et al., arXiv 2505.23749.

    Example:
        >>> p = np.exp(spend_budget(np.array([[0.0, 1.0], [-1.0, 0.0]]), np.log([0.5, 0.5]), 0.1))
        >>> p.round(6).tolist()
        [0.719795, 0.280205]
    """
    path = _Path(margins, log_reference, budget)
    # There  KL <= (range of z)^2 / 8 <= 1/(2 lambda^2) <= budget  (Hoeffding).
    here = path.start(max(4.0, 1 / np.sqrt(2 * budget)))
    # One stretch of Newton's method to the budget often succeeds.
    here = (path.raise_kl(here, steep=False, longest=np.inf) if budget < np.inf else None) or here
    step, asked = 1.0, False
    for _ in range(200):
        # Late on the path: is its end the answer?
        if not asked and here.log_lambda < _LATE:
            end, asked = path.unique_lottery(), True
            if end is not None and in_ball(end, log_reference, budget):
                return end
        if path.gain(here) <= 1e-10 or step < 1e-9:
            break
        there = path.newton(path.point(here.log_lambda - step, here.z))
        if there is None or not in_ball(there.log_p, log_reference, budget):
            there = path.raise_kl(here, steep=there is None and step < 0.02)
        here, step = (there, min(2 * step, 1.0)) if there else (here, step / 2)
    return here.log_p


def at_strength(margins: Array, log_reference: Array, strength: float) -> Array:
    """The regularised equilibrium (2) of one lambda, by following the path down to it.

    Where a step in log KL passes it by, the next such step is at most half as long.

    Args:
        margins: (m, m) antisymmetric, of largest entry 1.
        log_reference: (m,) log pi_ref.
        strength: lambda, above 0.

    Returns:
        (m,) the log-policy reached; whether it is the equilibrium is the caller's to check.

    Source: ours.

    Example:
        >>> p = np.exp(at_strength(np.array([[0.0, 1.0], [-1.0, 0.0]]), np.log([0.5, 0.5]), 2.0))
        >>> float(round(2 * np.log(p[0] / p[1]), 9))
        1.0
    """
    path, target = _Path(margins, log_reference, np.inf), float(np.log(strength))
    here, step, longest = path.start(max(strength, 4.0)), 1.0, 4.0
    for _ in range(200):
        if here.log_lambda <= target or step < 1e-9 or longest < 1e-9:
            break
        there = path.newton(path.point(max(here.log_lambda - step, target), here.z))
        if there is None and step < 0.02:
            there = path.raise_kl(here, steep=True, longest=longest)
            if there is not None and there.log_lambda < target:
                there, longest = None, longest / 2
        here, step = (there, min(2 * step, 1.0)) if there else (here, step / 2)
    return here.log_p


@dataclass(frozen=True)
class _Equilibrium:
    """A point (lambda, z) with what follows from it; an equilibrium where it solves (2).

    Attributes:
        log_lambda: log lambda.
        z: (m,) the unknown of (2).
        log_p: (m,) log-policy softmax(log pi_ref + z).
        pull: (m,) M p.
        kl: KL(p || pi_ref) in nats.
    """

    log_lambda: float
    z: Array
    log_p: Array
    pull: Array
    kl: float


@dataclass(frozen=True)
class _Path:
    """The path of one game; its margins have largest entry 1, so that tolerances are relative."""

    margins: Array
    log_reference: Array
    budget: float

    def start(self, strength: float) -> _Equilibrium:
        """The equilibrium at a lambda of at least 4, by Newton's method from the reference policy."""
        found = self.newton(self.point(float(np.log(strength)), np.zeros(len(self.margins))))
        assert found is not None, "at lambda >= 4 the map z -> M p / lambda is a contraction"
        return found

    def unique_lottery(self) -> Array | None:
        """The log-policy of the only maximal lottery, the end of the path; None if there are others."""
        only = lottery_on(self.margins, some_lottery(self.margins) > 1e-9)
        with np.errstate(divide="ignore"):
            return None if only is None else np.log(only)

    def raise_kl(self, here: _Equilibrium, steep: bool, longest: float = 4.0) -> _Equilibrium | None:
        """The equilibrium of the KL that is the budget, or nearer by if `steep`; None where none was found.

        `longest` bounds the step in log KL. Below the rounding of KL there is nothing to aim at.
        """
        if here.kl < 1e-12:
            return None
        far = min(float(np.log(self.budget / here.kl)), longest)
        for h in (far, far / 8, far / 64) if steep else (far,):
            there = self.newton(here, min(self.budget, here.kl * np.exp(h)))
            if there is not None:
                return there
        return None

    def newton(self, at: _Equilibrium, kl: float | None = None) -> _Equilibrium | None:
        """The equilibrium at the lambda of `at`, or that of the given KL; None where none was found.

        It is sought by Newton's method with backtracking, from `at`.
        """
        error = self._error(at, kl)
        for _ in range(20):
            floor = 4e-16 * np.abs(at.z).max()
            if error <= max(1e-12, floor):
                return at
            direction = self._direction(at, kl)
            if direction is None:
                return None
            longest = 1 / max(1.0, abs(direction[-1]))
            for size in longest * 0.5 ** np.arange(8):
                trial = self._settled(
                    self.point(at.log_lambda - size * direction[-1], at.z - size * direction[:-1])
                )
                after = self._error(trial, kl)
                if after < (1 - 0.1 * size) * error:
                    at, error = trial, after
                    break
            else:
                return at if error <= max(1e-9, 100 * floor) else None
        return None

    def _direction(self, at: _Equilibrium, kl: float | None) -> Array | None:
        """Newton's step for (z, log lambda); without a target KL, (3), log lambda stays where it is."""
        value, p = at.pull / np.exp(at.log_lambda), np.exp(at.log_p)
        if kl is None:
            found = self._solve(at, (at.z - value)[:, None])
            return None if found is None else np.append(found, 0.0)
        found = self._solve(at, np.stack([at.z - value, value], 1))
        if found is None:
            return None
        # Changes of z for the residual of (2) and for a unit of log lambda; (3) says how much of the latter.
        of_z, of_lambda = found.T
        slope = p * (at.z - p @ at.z) / at.kl
        spent = slope @ of_lambda
        last = (slope @ of_z - np.log(at.kl / kl)) / spent if spent != 0 else np.nan
        return np.append(of_z - last * of_lambda, last) if np.isfinite(last) else None

    def _solve(self, at: _Equilibrium, right: Array) -> Array | None:
        """The columns v with  v - M (diag p - p p') v / lambda = right,  the system (4).

        w = Q S v satisfies  (I - K) w = Q S right,  the system (5), and v = right + M S w / lambda.
        Alternatives of mass below 1e-24 leave no trace in it. None if it could not be solved.
        """
        s, lam = np.exp(at.log_p / 2)[:, None], np.exp(at.log_lambda)
        on = np.flatnonzero(s > 1e-12)
        start = s * right - s * (s.T @ (s * right))
        w = self._krylov(s[:, 0], lam, start) if len(on) > _DENSE else None
        if w is None:
            w = np.zeros_like(right)
            w[on] = _dense(self.margins[np.ix_(on, on)] / lam, s[on, 0], start[on])
        found = right + self.margins @ (s * w) / lam
        return found if np.isfinite(found).all() else None

    def _krylov(self, s: Array, lam: float, start: Array) -> Array | None:
        """The solution w of (5) by GMRES, which needs no matrix; None if it stalls, as for small lambda."""

        def applied(w: Array) -> Array:
            pulled = s * (self.margins @ (s * (w - s * (s @ w))))
            return w - (pulled - s * (s @ pulled)) / lam

        operator = LinearOperator((len(s), len(s)), matvec=applied, dtype=np.float64)  # type: ignore[call-arg]
        columns = [gmres(operator, column, rtol=1e-3, restart=40, maxiter=1) for column in start.T]
        return None if any(failed for _, failed in columns) else np.stack([found for found, _ in columns], 1)

    def _error(self, at: _Equilibrium, kl: float | None) -> float:
        """The range of the residual of (2), where a constant is immaterial, plus the residual of (3)."""
        residual = at.z - at.pull / np.exp(at.log_lambda)
        return float(np.ptp(residual)) + (0.0 if kl is None else abs(np.log(max(at.kl, 1e-300) / kl)))

    def point(self, log_lambda: float, z: Array) -> _Equilibrium:
        """The point (lambda, z) with its policy, M p and KL."""
        log_p = normalised(self.log_reference + z)
        return _Equilibrium(
            log_lambda, z, log_p, self.margins @ np.exp(log_p), divergence(log_p, self.log_reference)
        )

    def _settled(self, at: _Equilibrium) -> _Equilibrium:
        """The point with z = M p / lambda for the alternatives without mass, which move no other.

        At a small lambda their z is as large as 1/lambda, and its second-order error alone would forbid
        steps that are good for all the others.
        """
        without = at.log_p < _MASSLESS
        if not without.any():
            return at
        value = at.pull / np.exp(at.log_lambda)
        most = int(at.log_p.argmax())
        z = np.where(without, value + at.z[most] - value[most], at.z)
        log_p = normalised(self.log_reference + z)
        if (log_p[without] >= _MASSLESS).any():
            return self.point(at.log_lambda, z)
        return replace(at, z=z, log_p=log_p)

    def gain(self, at: _Equilibrium) -> float:
        """An upper bound on what an opponent in the ball can gain: lambda (tau - KL), or max M p if lower."""
        return min(float(at.pull.max()), np.exp(at.log_lambda) * abs(self.budget - at.kl))


def _dense(scaled_margins: Array, s: Array, start: Array) -> Array:
    """The solution w of (5) by a dense solve; NaN where that fails."""
    skew = s[:, None] * scaled_margins * s
    skew -= np.outer(s, s @ skew)
    skew -= np.outer(skew @ s, s)
    try:
        return np.asarray(np.linalg.solve(np.eye(len(s)) - skew, start), float)
    except np.linalg.LinAlgError:  # impossible but for overflow
        return np.full(len(s), np.nan)
