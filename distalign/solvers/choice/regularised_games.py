"""The regularised equilibria of a preference game as their strength goes to zero: what `games.kl_nlhf`
follows.

For an antisymmetric margin matrix M and lambda > 0 the game  p1' M p2 - lambda KL(p1 || pi_ref) + lambda
KL(p2 || pi_ref)
has one equilibrium, symmetric:  p = softmax(log pi_ref + z),  z = M p / lambda.  KL(p || pi_ref) does not
    increase with
lambda. In units: with payoffs P instead of M = 2P - 1, halve lambda.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator, gmres

from distalign.solvers.choice.certified import in_ball, kl_divergence, normalised
from distalign.solvers.choice.skew_games import lottery_on, some_lottery
from distalign.types import Array

_LATE = np.log(
    0.01
)  # log lambda below which it pays to ask whether the lottery at the end of the path is in the ball
_DENSE = 150  # alternatives with mass, up to which a linear system is solved densely


def spend_budget(margins: Array, log_reference: Array, budget: float) -> Array:
    """Follow the regularised equilibria from lambda >= 4 downwards until the budget is spent or nothing is
    left to gain.

    The first attempt goes to the budget at once. Otherwise log lambda is the step; where a tiny change of
    lambda moves all the mass (an alternative of log pi_ref = -10^4 enters) it is log KL, in which the path is
    tame: there lambda is an unknown of Newton's method like z. Late on the path its end, the maximal lottery,
        is taken if it is unique and in the ball.

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
    here = path.start(
        max(4.0, 1 / np.sqrt(2 * budget))
    )  # KL <= (range of z)^2 / 8 <= 1/(2 lambda^2) <= budget (Hoeffding)
    here = (
        path.raise_kl(here, steep=False, longest=np.inf) if budget < np.inf else None
    ) or here  # often at once
    step, asked = 1.0, False
    for _ in range(200):
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
    """The regularised equilibrium of one lambda, by the same road.

    Where the steps in log KL pass it by, the stretch between the last two stops is halved.

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
    """z = M softmax(log pi_ref + z) / lambda, with log_lambda = log lambda, its log-policy p, M p and KL(p ||
    pi_ref).
    """

    log_lambda: float
    z: Array
    log_p: Array
    pull: Array
    kl: float


@dataclass(frozen=True)
class _Path:
    """The game; its margins have largest entry 1, so that tolerances are relative."""

    margins: Array
    log_reference: Array
    budget: float

    def start(self, strength: float) -> _Equilibrium:
        """The equilibrium at a lambda of at least 4, from the reference."""
        found = self.newton(self.point(float(np.log(strength)), np.zeros(len(self.margins))))
        assert found is not None, "at lambda >= 4 the map z -> M p / lambda is a contraction"
        return found

    def unique_lottery(self) -> Array | None:
        """The logarithms of the maximal lottery, where the path ends if it is the only one; None if there are
        others.
        """
        only = lottery_on(self.margins, some_lottery(self.margins) > 1e-9)
        with np.errstate(divide="ignore"):
            return None if only is None else np.log(only)

    def raise_kl(self, here: _Equilibrium, steep: bool, longest: float = 4.0) -> _Equilibrium | None:
        """The equilibrium that spends the budget, or if `steep` one on the way there; None below the rounding
        of KL.
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
        """The equilibrium at the same lambda, or that of the given KL, by Newton's method with backtracking
        from `at`.
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
                trial = self.point(at.log_lambda - size * direction[-1], at.z - size * direction[:-1])
                after = self._error(trial, kl)
                if after < (1 - 0.1 * size) * error:
                    at, error = trial, after
                    break
            else:
                return at if error <= max(1e-9, 100 * floor) else None
        return None

    def _direction(self, at: _Equilibrium, kl: float | None) -> Array | None:
        """Newton's step for (z, log lambda); with no target KL the last unknown stays where it is."""
        value, p = at.pull / np.exp(at.log_lambda), np.exp(at.log_p)
        if kl is None:
            found = self._solve(at, (at.z - value)[:, None])
            return None if found is None else np.append(found, 0.0)
        found = self._solve(at, np.stack([at.z - value, value], 1))
        if found is None:
            return None
        of_z, of_lambda = found.T
        slope = p * (at.z - p @ at.z) / at.kl
        spent = slope @ of_lambda
        last = (slope @ of_z - np.log(at.kl / kl)) / spent if spent != 0 else np.nan
        return np.append(of_z - last * of_lambda, last) if np.isfinite(last) else None

    def _solve(self, at: _Equilibrium, right: Array) -> Array | None:
        """The columns v with  v - M (diag p - p p') v / lambda = right.

        With s = sqrt(p), S = diag(s) and Q = I - s s' the vector w = Q S v satisfies  (I - K) w = Q S right,
        where K = Q S M S Q / lambda is antisymmetric: that system is never singular, whatever lambda, and its
        condition is sqrt(1 + |K|^2). Alternatives of mass below 1e-24 leave no trace in it. None if it could
        not be solved.
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
        """w by GMRES, which needs no matrix; None if it stalls, as it does for small lambda."""

        def applied(w: Array) -> Array:
            pulled = s * (self.margins @ (s * (w - s * (s @ w))))
            return w - (pulled - s * (s @ pulled)) / lam

        operator = LinearOperator((len(s), len(s)), matvec=applied, dtype=np.float64)  # type: ignore[call-arg]
        columns = [gmres(operator, column, rtol=1e-3, restart=40, maxiter=1) for column in start.T]
        return None if any(failed for _, failed in columns) else np.stack([found for found, _ in columns], 1)

    def _error(self, at: _Equilibrium, kl: float | None) -> float:
        """Range of the residual of z (a constant in z is immaterial) plus the distance of log KL from its
        target.
        """
        residual = at.z - at.pull / np.exp(at.log_lambda)
        return float(np.ptp(residual)) + (0.0 if kl is None else abs(np.log(max(at.kl, 1e-300) / kl)))

    def point(self, log_lambda: float, z: Array) -> _Equilibrium:
        log_p = normalised(self.log_reference + z)
        return _Equilibrium(
            log_lambda, z, log_p, self.margins @ np.exp(log_p), kl_divergence(log_p, self.log_reference)
        )

    def gain(self, at: _Equilibrium) -> float:
        """An upper bound on what an opponent in the ball can still gain: lambda (tau - KL), and max M p for
        any ball.
        """
        return min(float(at.pull.max()), np.exp(at.log_lambda) * abs(self.budget - at.kl))


def _dense(scaled_margins: Array, s: Array, start: Array) -> Array:
    skew = s[:, None] * scaled_margins * s
    skew -= np.outer(s, s @ skew)
    skew -= np.outer(skew @ s, s)
    try:
        return np.asarray(np.linalg.solve(np.eye(len(s)) - skew, start), float)
    except np.linalg.LinAlgError:  # impossible but for overflow
        return np.full(len(s), np.nan)
