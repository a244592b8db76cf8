"""The balls that the robust studies compare, and a metric on comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from distalign.populations import LogLinearBradleyTerry
from distalign.solvers.robust import (
    collapse,
    kl_ball,
    kl_fit,
    wasserstein_ball,
    wasserstein_euclidean,
    wasserstein_finite,
    wasserstein_norm,
)
from distalign.types import Array

FLIP_COST = 1.0  # kappa of a label
BALLS = ("KL", "W1 finite", "W2 finite", "W1 on R^d", "W2 on R^d")


def metric(instance: LogLinearBradleyTerry, flip_cost: float = FLIP_COST) -> Array:
    r"""(m, m) distance between comparisons: |(psi_w, psi_l) - (psi_w', psi_l')|_2, or turned at the price of
    a flip.

    The comparison (a1, a2, y) is (a2, a1, 1 - y). With |(psi_1, psi_2) - (psi_1', psi_2')|_2 + kappa 1[y !=
    y'] between presentations, two comparisons are at the least over theirs: winner to winner, or winner to
    loser at kappa more.
    """
    law, psi = (
        instance.population.pairs(distinct=True),
        instance.features.reshape(-1, instance.features.shape[-1]),
    )
    won, lost = psi[law.chosen], psi[law.rejected]
    straight = _squares(won, won) + _squares(lost, lost)
    turned = _squares(won, lost) + _squares(lost, won)
    return np.minimum(np.sqrt(straight), np.sqrt(turned) + flip_cost)


def _squares(a: Array, b: Array) -> Array:
    return ((a[:, None] - b) ** 2).sum(2)


@dataclass(frozen=True)
class Fit:
    """A robust fit of one law: (d,) theta, value and lower bound of its certificate, whether it is certified,
    and its law.
    """

    theta: Array
    value: float
    lower: float
    solved: bool
    worst: Array


@dataclass(frozen=True)
class Ball:
    """A kind of ball around the law p of atoms v, with the metric where there is one."""

    kind: str
    v: Array
    p: Array
    distance: Array
    beta: float

    @property
    def order(self) -> int:
        """Order of the Wasserstein distance (1 for KL, where it means nothing)."""
        return 2 if self.kind.startswith("W2") else 1

    @property
    def cost(self) -> Array:
        """(m, m) distance to the order."""
        return self.distance**self.order

    def value(self, theta: Array, radius: float) -> Array:
        """(R,) robust losses at (R, d) parameters."""
        losses = np.logaddexp(0, -self.beta * theta @ self.v.T)
        if self.kind == "KL":
            return kl_ball.kl_worst_case(losses, self.p, radius).value
        if self.kind == "W2 on R^d":
            return wasserstein_euclidean.robust_loss(theta, self.v, self.p, radius=radius, beta=self.beta)
        if self.kind == "W1 on R^d":
            return losses @ self.p + radius * self.beta * np.linalg.norm(theta, axis=1)
        return wasserstein_ball.wasserstein_worst_case(
            losses, self.p, self.cost, radius=radius, order=self.order
        ).value

    def fit(self, radius: float) -> Fit:
        """The robust optimum."""
        p = self.p[None]
        settings: dict[str, Any] = {"radius": radius, "beta": self.beta}
        if self.kind == "KL":
            kl = kl_fit.fit_kl_ball(self.v, p, **settings)
            return Fit(
                kl.theta[0],
                float(kl.dual[0]),
                float(kl.primal[0]),
                bool(kl.solved[0]),
                kl_ball.kl_worst_case(
                    np.logaddexp(0, -self.beta * self.v @ kl.theta[0]), self.p, radius
                ).weights,
            )
        if self.kind == "W2 on R^d":
            found = wasserstein_euclidean.fit_euclidean(self.v, p, **settings)
        elif self.kind == "W1 on R^d":
            found = wasserstein_norm.fit_norm(self.v, p, **settings)
        else:
            found = wasserstein_finite.fit_finite(self.v, p, self.cost, order=self.order, **settings)
        return Fit(
            found.theta[0],
            float(found.value[0]),
            float(found.dual_value[0]),
            bool(found.solved[0]),
            found.worst_case[0],
        )

    def collapse_radius(self) -> float:
        """The radius from which on the robust optimum is the reference policy itself."""
        if self.kind == "KL":
            return float(collapse.collapse_radius(self.v, self.p)[0])
        if self.kind.endswith("R^d"):
            return float(collapse.euclidean_collapse_radius(self.v, self.p, order=self.order)[0])
        return float(collapse.wasserstein_collapse_radius(self.v, self.p, self.cost, order=self.order)[0])


def ball(kind: str, instance: LogLinearBradleyTerry) -> Ball:
    """A ball around the exact law of comparisons of an instance."""
    law, psi = (
        instance.population.pairs(distinct=True),
        instance.features.reshape(-1, instance.features.shape[-1]),
    )
    return Ball(kind, psi[law.chosen] - psi[law.rejected], law.weights, metric(instance), instance.beta)
