"""The regularised equilibria of a preference game as their strength goes to zero: what `games.kl_nlhf` follows.

For an antisymmetric margin matrix M and lambda > 0 the game  p1' M p2 - lambda KL(p1 || pi_ref) + lambda KL(p2 || pi_ref)
has one equilibrium, symmetric:  p = softmax(log pi_ref + z),  z = M p / lambda.  KL(p || pi_ref) does not increase with
lambda. In units: with payoffs P instead of M = 2P - 1, halve lambda.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distalign.solvers.certified import Array, in_ball, kl_divergence, normalised


def spend_budget(margins: Array, log_reference: Array, budget: float) -> Array:
    """Follow the regularised equilibria from lambda >= 4 downwards until the budget is spent or nothing is left to gain.

    Usually log lambda is the step. Where a tiny change of lambda moves all the mass (an alternative of log pi_ref = -10^4
    enters) the step is log KL, in which the path is tame: there lambda is an unknown of Newton's method like z.

    Args:
        margins: (m, m) antisymmetric, of largest entry 1.
        log_reference: (m,) log pi_ref.
        budget: tau in nats, above 0, possibly infinite.

    Returns:
        (m,) the log-policy reached: in the ball up to rounding, and an equilibrium of the ball if the path did not stall,
        which is the caller's to check.

    Source: ours; the correspondence of lambda and tau is Proposition 13 of Gölz et al., arXiv 2505.23749.

    Example:
        >>> p = np.exp(spend_budget(np.array([[0.0, 1.0], [-1.0, 0.0]]), np.log([0.5, 0.5]), 0.1))
        >>> p.round(6).tolist()
        [0.719795, 0.280205]
    """
    path = _Path(margins, log_reference, budget)
    here, step = path.start(), 1.0
    for _ in range(120):
        if path.gain(here) <= 1e-10 or step < 1e-9:
            break
        there = path.newton(path.point(here.log_lambda - step, here.z))
        if there is None or not in_ball(there.log_p, log_reference, budget):
            there = path.raise_kl(here, steep=there is None and step < 0.02)
        here, step = (there, min(2 * step, 1.0)) if there else (here, step / 2)
    return here.log_p


@dataclass(frozen=True)
class _Equilibrium:
    """z = M softmax(log pi_ref + z) / lambda, with log_lambda = log lambda, its log-policy p and KL(p || pi_ref)."""

    log_lambda: float
    z: Array
    log_p: Array
    kl: float


@dataclass(frozen=True)
class _Path:
    """The game; its margins have largest entry 1, so that tolerances are relative."""

    margins: Array
    log_reference: Array
    budget: float

    def start(self) -> _Equilibrium:
        """The equilibrium at a lambda where KL <= (range of z)^2 / 8 <= 1/(2 lambda^2) <= budget (Hoeffding)."""
        log_lambda = float(np.log(max(4.0, 1 / np.sqrt(2 * self.budget))))
        found = self.newton(self.point(log_lambda, np.zeros(len(self.margins))))
        assert found is not None, "at lambda >= 4 the map z -> M p / lambda is a contraction"
        return found

    def raise_kl(self, here: _Equilibrium, steep: bool) -> _Equilibrium | None:
        """The equilibrium that spends the budget, or if `steep` one on the way there; None below the rounding of KL."""
        if here.kl < 1e-12:
            return None
        far = min(float(np.log(self.budget / here.kl)), 4.0)
        for h in (far, far / 8, far / 64) if steep else (far,):
            there = self.newton(here, min(self.budget, here.kl * np.exp(h)))
            if there is not None:
                return there
        return None

    def newton(self, at: _Equilibrium, kl: float | None = None) -> _Equilibrium | None:
        """The equilibrium at the same lambda, or that of the given KL, by Newton's method with backtracking from `at`."""
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
        size, p = len(at.z), np.exp(at.log_p)
        value = self.margins @ p / np.exp(at.log_lambda)
        jacobian = np.zeros((size + 1, size + 1))
        jacobian[:size, :size] = np.eye(size) - (self.margins * p / np.exp(at.log_lambda) - np.outer(value, p))
        jacobian[:size, size] = value
        if kl is None:
            jacobian[size, size] = 1
        else:
            jacobian[size, :size] = p * (at.z - p @ at.z) / at.kl
        try:
            right = np.append(at.z - value, 0 if kl is None else np.log(at.kl / kl))
            return np.asarray(np.linalg.solve(jacobian, right), float)
        except np.linalg.LinAlgError:
            return None

    def _error(self, at: _Equilibrium, kl: float | None) -> float:
        """Range of the residual of z (a constant in z is immaterial) plus the distance of log KL from its target."""
        residual = at.z - self.margins @ np.exp(at.log_p) / np.exp(at.log_lambda)
        return float(np.ptp(residual)) + (0.0 if kl is None else abs(np.log(max(at.kl, 1e-300) / kl)))

    def point(self, log_lambda: float, z: Array) -> _Equilibrium:
        log_p = normalised(self.log_reference + z)
        return _Equilibrium(log_lambda, z, log_p, kl_divergence(log_p, self.log_reference))

    def gain(self, at: _Equilibrium) -> float:
        """An upper bound on what an opponent in the ball can still gain: lambda (tau - KL), and max M p for any ball."""
        at_most = float((self.margins @ np.exp(at.log_p)).max())
        return min(at_most, np.exp(at.log_lambda) * abs(self.budget - at.kl))
