"""The five kinds of ball that the robust studies compare, behind one interface, and a metric on comparisons.

A ball is the ambiguity set of a robust loss: all laws within a radius of the law of comparisons. The kinds
are the Kullback-Leibler ball (KL), Wasserstein balls of order 1 and 2 whose laws live on the finite set of
comparisons, and Wasserstein balls of order 1 and 2 whose laws may move features anywhere in R^d. A study
loops over `BALLS` and asks each `Ball` for its robust loss, its robust optimum and its collapse radius.
"""

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

FLIP_COST = 1.0  # kappa: what flipping a label adds to the distance, in units of the features
BALLS = ("KL", "W1 finite", "W2 finite", "W1 on R^d", "W2 on R^d")


def metric(instance: LogLinearBradleyTerry, flip_cost: float = FLIP_COST) -> Array:
    """(m, m) distances between comparisons, the smaller of two ways to match winner and loser.

    A presentation (a1, a2, y) of a comparison says that a1 won if y = 1, so (a2, a1, 1 - y) is the same
    comparison. Between presentations the distance is |(psi_1, psi_2) - (psi_1', psi_2')|_2 + kappa 1[y !=
    y'], kappa being `flip_cost`. The distance of two comparisons is the least over their presentations:
    winner is matched to winner,

        |(psi_w, psi_l) - (psi_w', psi_l')|_2,

    or winner to loser at kappa more.
    """
    law, psi = (
        instance.population.pairs(distinct=True),
        instance.features.reshape(-1, instance.features.shape[-1]),
    )
    psi_won, psi_lost = psi[law.chosen], psi[law.rejected]
    matched_in_order = _squared_distances(psi_won, psi_won) + _squared_distances(psi_lost, psi_lost)
    matched_across = _squared_distances(psi_won, psi_lost) + _squared_distances(psi_lost, psi_won)
    return np.minimum(np.sqrt(matched_in_order), np.sqrt(matched_across) + flip_cost)


def _squared_distances(a: Array, b: Array) -> Array:
    return ((a[:, None] - b) ** 2).sum(2)


@dataclass(frozen=True)
class RobustFit:
    """The robust optimum of one law: parameter, certificate and worst case.

    Attributes:
        theta: (d,) the minimiser of the robust loss.
        value: the robust loss there, an upper bound of the optimum.
        lower: the lower bound of the optimum that the certificate gives.
        solved: whether the certificate closed the gap between the two.
        worst: the worst law of the ball at theta (its weights, or the moves of the atoms on R^d).
    """

    theta: Array
    value: float
    lower: float
    solved: bool
    worst: Array


@dataclass(frozen=True)
class Ball:
    """A ball of one kind around the law of comparisons of an instance.

    Attributes:
        kind: one of `BALLS`.
        v: (m, d) features of the chosen minus those of the rejected response.
        p: (m,) probabilities of the comparisons, the centre of the ball.
        distance: (m, m) metric between comparisons; only the finite Wasserstein balls use it.
        beta: KL strength of the loss log(1 + exp(-beta theta.v)).
    """

    kind: str
    v: Array
    p: Array
    distance: Array
    beta: float

    @property
    def order(self) -> int:
        """Order of the Wasserstein distance. It is 1 for KL, where it has no meaning."""
        return 2 if self.kind.startswith("W2") else 1

    @property
    def cost(self) -> Array:
        """(m, m) cost of transport: the distance to the power of the order."""
        return self.distance**self.order

    def value(self, theta: Array, radius: float) -> Array:
        """(R,) robust losses at the R parameters theta (R, d)."""
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

    def fit(self, radius: float) -> RobustFit:
        """The minimiser of the robust loss over all parameters, with its certificate."""
        p = self.p[None]
        settings: dict[str, Any] = {"radius": radius, "beta": self.beta}
        if self.kind == "KL":
            kl_optimum = kl_fit.fit_kl_ball(self.v, p, **settings)
            return RobustFit(
                kl_optimum.theta[0],
                float(kl_optimum.dual[0]),
                float(kl_optimum.primal[0]),
                bool(kl_optimum.solved[0]),
                kl_ball.kl_worst_case(
                    np.logaddexp(0, -self.beta * self.v @ kl_optimum.theta[0]), self.p, radius
                ).weights,
            )
        if self.kind == "W2 on R^d":
            wasserstein_fit = wasserstein_euclidean.fit_euclidean(self.v, p, **settings)
        elif self.kind == "W1 on R^d":
            wasserstein_fit = wasserstein_norm.fit_norm(self.v, p, **settings)
        else:
            wasserstein_fit = wasserstein_finite.fit_finite(
                self.v, p, self.cost, order=self.order, **settings
            )
        return RobustFit(
            wasserstein_fit.theta[0],
            float(wasserstein_fit.value[0]),
            float(wasserstein_fit.dual_value[0]),
            bool(wasserstein_fit.solved[0]),
            wasserstein_fit.worst_case[0],
        )

    def collapse_radius(self) -> float:
        """The radius from which on the robust optimum is the reference policy itself."""
        if self.kind == "KL":
            return float(collapse.collapse_radius(self.v, self.p)[0])
        if self.kind.endswith("R^d"):
            return float(collapse.euclidean_collapse_radius(self.v, self.p, order=self.order)[0])
        return float(collapse.wasserstein_collapse_radius(self.v, self.p, self.cost, order=self.order)[0])


def ball(kind: str, instance: LogLinearBradleyTerry) -> Ball:
    """The ball of one kind around the exact law of comparisons of an instance."""
    law, psi = (
        instance.population.pairs(distinct=True),
        instance.features.reshape(-1, instance.features.shape[-1]),
    )
    return Ball(kind, psi[law.chosen] - psi[law.rejected], law.weights, metric(instance), instance.beta)
