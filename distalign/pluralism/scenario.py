"""A scenario: who the users are, what they are asked, and how far a policy may move from its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distalign.checks import InputError, positive
from distalign.pluralism.scenario_checks import (
    UNIFORM,
    is_name,
    log_reference,
    names,
    pairs,
    temperatures,
    utilities,
    weights,
)
from distalign.populations._arrays import draw_counts
from distalign.populations.bradley_terry import BradleyTerryUsers
from distalign.types import Array

SMALLEST_BUDGET = 1e-12
USERS_AT_ONCE = 2**15


@dataclass(frozen=True, eq=False)
class Scenario:
    r"""Users with utilities in [0, 1], the comparisons they answer, and the ball a policy must stay in.

    A user of type k prefers x to y with probability sigma(b_k (u_k(x) - u_k(y))). Pairs {x, y} are drawn with
    weights W(x, y). They are mu(x) mu(y) where `pairs` is a distribution mu or the name of one, and any
    symmetric matrix otherwise.

    Attributes:
        utilities: (K, m) in [0, 1], one row a type of user.
        weights: (K,) relative sizes of the types; None means equal ones.
        bt_temperature: the Bradley-Terry temperature b, one number for all types or one for each.
        pairs: "uniform", "on-policy" (mu = the reference), (m,) mu, or (m, m) symmetric weights of pairs.
        reference: (m,) probabilities; None means uniform.
        log_reference: (m,) log-probabilities in place of `reference`, for probabilities that float64 cannot
            hold.
        kl_budget: tau in nats, the radius of {pi : KL(pi || pi_ref) <= tau}. It may be 0 (only the reference
            is allowed) or infinite (every lottery is allowed), and is at least 1e-12 otherwise.
        kl_strength: lambda in place of the budget (`lambda` in files), in units of margins 2P - 1. The budget
            becomes the KL that lambda-regularised NLHF spends, so that all methods get the same ball.
        comparisons_per_user: number d of comparisons that each user answers.
        n: number of users asked, each a fresh draw; None means infinitely many.
        people: number of people the types were estimated from, if they were estimated; a bootstrap draws them
            again.
        name: what tables and figures call the scenario.
        alternatives: (m,) names of the alternatives.
        groups: (K,) the group of each type.
        texts: (m,) texts of the alternatives.
        about: sentences on where the utilities come from; they open the report.

    Raises:
        InputError: one of the attributes is out of range.

    Source: the model is Gölz et al., arXiv 2505.23749, Section 2. A temperature for each type, and
    `kl_strength` as a way to set the budget, are ours.

    Example:
        >>> tea = Scenario([[1.0, 0.0, 0.6], [0.0, 1.0, 0.6]], bt_temperature=[5.0, 1.0])
        >>> tea.average_utility.tolist(), round(tea.bound, 3)
        ([0.5, 0.5, 0.6], 5.41)
        >>> float((tea.win + tea.win.T).max().round(12)), tea.joint.shape
        (1.0, (1, 3, 3))
    """

    utilities: Any
    weights: Any = None
    bt_temperature: Any = 5.0
    pairs: Any = UNIFORM
    reference: Any = None
    log_reference: Any = None
    kl_budget: float = 1.0
    kl_strength: float | None = None
    comparisons_per_user: int = 1
    n: int | None = None
    people: int | None = None
    name: str = "population"
    alternatives: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    texts: Sequence[str] | None = None
    about: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check every attribute and replace it by its array, tuple or number."""
        u = utilities(self.utilities)
        types, size = u.shape
        q = log_reference(self.reference, self.log_reference, size)
        plain = {
            "utilities": u,
            "weights": weights(self.weights, types),
            "reference": None,
            "log_reference": q,
            "bt_temperature": temperatures(self.bt_temperature, types),
            "pairs": pairs(self.pairs, q),
            "alternatives": names("alternatives", self.alternatives, size)
            or tuple(f"a{i + 1}" for i in range(size)),
            "groups": names("groups", self.groups, types),
            "texts": names("texts", self.texts, size),
            "about": tuple(self.about),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        if len(set(plain["alternatives"])) < size:
            raise InputError("alternatives must have different names")
        self._check_meeting()
        self._check_numbers()

    @property
    def size(self) -> int:
        """Number m of alternatives."""
        return self.utilities.shape[1]

    @property
    def product(self) -> bool:
        """Whether the two alternatives of a pair are drawn independently."""
        return self.pairs.ndim == 1

    @cached_property
    def pair_weights(self) -> Array:
        """(m, m) symmetric weights W of sum 1; the diagonal weighs pairs of an alternative with itself."""
        return np.outer(self.pairs, self.pairs) if self.product else self.pairs

    @cached_property
    def win(self) -> Array:
        """(m, m) P(x preferred to y) in the population."""
        return self._wins(np.arange(len(self.weights)))

    @property
    def average_utility(self) -> Array:
        """(m,) utilitarian welfare of each alternative."""
        return self.weights @ self.utilities

    @cached_property
    def at_reference(self) -> Array:
        """(K,) expected utility of each type under the reference policy."""
        return self.utilities @ np.exp(self.log_reference)

    @property
    def group_names(self) -> tuple[str, ...]:
        """The groups, sorted; one without a name where none are given."""
        return tuple(sorted(set(self.groups))) if self.groups else ("",)

    @cached_property
    def group_of(self) -> NDArray[np.intp]:
        """(K,) index of each type's group."""
        place = {name: i for i, name in enumerate(self.group_names)}
        return np.array([place[g] for g in self.groups or [""] * len(self.weights)])

    @property
    def bound(self) -> float:
        r"""The distortion that NLHF and the maximal lottery never exceed.

            max_k b_k / (4 s(min_k b_k)),   s(t) = tanh(t/2)/2

        For one temperature b it is C(b). The general form is ours: it follows from s(b (x - y)) <= b x/4 -
        s(b) y for x, y in [0, 1], averaged over users.
        """
        b = self.bt_temperature
        return float(b.max() / (2 * np.tanh(b.min() / 2)))

    @cached_property
    def joint(self) -> Array:
        """(G, m, m) law of (group, winner, loser): 2 W(x, y) P_g(x, y) times the share of the group.

        It sums to 1.
        """
        if self.groups is None:
            return 2 * self.pair_weights[None] * self.win
        inside = [np.flatnonzero(self.group_of == g) for g in range(len(self.group_names))]
        return np.stack([2 * self.pair_weights * self.weights[s].sum() * self._wins(s) for s in inside])

    def answers_of(self, some: slice | NDArray[np.intp]) -> BradleyTerryUsers:
        """Some users as they answer: utilities in logits, at temperature 1, weights of sum 1."""
        logits = self.bt_temperature[some, None] * self.utilities[some]
        return BradleyTerryUsers(logits, self.weights[some] / self.weights[some].sum(), 1.0)

    def _wins(self, some: NDArray[np.intp]) -> Array:
        """(m, m) the win matrix of some users, a block of them at a time, so that memory stays bounded."""
        total, found = self.weights[some].sum(), np.zeros((self.size, self.size))
        for start in range(0, len(some), USERS_AT_ONCE):
            part = some[start : start + USERS_AT_ONCE]
            found += self.weights[part].sum() / total * self.answers_of(part).win
        return found

    def sample(self, rng: np.random.Generator) -> Array:
        """(G, m, m) counts of (group, winner, loser) from n fresh users.

        The type of a user is drawn once and is the same for all `comparisons_per_user` answers. An
        alternative that is compared with itself wins once.

        Raises:
            InputError: the scenario has no n.
        """
        if self.n is None:
            raise InputError("n is missing: a sample needs a number of users")
        counts = np.zeros_like(self.joint)
        for kind, users in enumerate(rng.multinomial(self.n, self.weights)):
            if users:
                law = 2 * self.pair_weights * self.answers_of(slice(kind, kind + 1)).win
                drawn = draw_counts(law.ravel() / law.sum(), int(users) * self.comparisons_per_user, rng, 1)
                counts[self.group_of[kind]] += drawn[0].reshape(law.shape)
        return counts

    def resampled(self, rng: np.random.Generator, size: int | None = None) -> Scenario:
        """The same scenario for people drawn again with replacement; each keeps his utilities.

        Args:
            rng: draws them.
            size: how many; None means as many as there are.

        Raises:
            InputError: the types were not estimated from people.
        """
        if self.people is None:
            raise InputError(
                "people is missing: types that are not estimated from people cannot be drawn again"
            )
        size = self.people if size is None else size
        weights = rng.multinomial(size, self.weights) / size
        drawn = weights > 0
        groups = None if self.groups is None else [g for g, d in zip(self.groups, drawn, strict=True) if d]
        return replace(
            self,
            utilities=self.utilities[drawn],
            weights=weights[drawn],
            groups=groups,
            bt_temperature=self.bt_temperature[drawn],
        )

    def _check_meeting(self) -> None:
        zero = np.argwhere(np.triu(self.pair_weights <= 0, 1))
        if len(zero):
            x, y = (self.alternatives[i] for i in zero[0])  # type: ignore[index]
            raise InputError(
                f"pairs gives no weight to the pair ({x}, {y}): nobody is asked about it, so neither its win "
                "probability nor a reward difference is learned; give every pair of different alternatives a "
                "weight above 0, 1e-9 for one that is practically never asked"
            )

    def _check_numbers(self) -> None:
        if not is_name(self.name):
            raise InputError(
                f"name must be a word or a number, got {str(self.name)[:60]!r}: put it in quotes"
            )
        object.__setattr__(self, "name", str(self.name))
        budget = self.kl_budget
        if isinstance(budget, bool) or not isinstance(budget, int | float) or not budget >= 0:
            raise InputError(
                f"kl_budget must be at least 0 nats (.inf for no constraint), got {self.kl_budget!r}"
            )
        if 0 < self.kl_budget < SMALLEST_BUDGET:
            raise InputError(
                f"kl_budget must be 0 or at least {SMALLEST_BUDGET:g} nats, got {self.kl_budget!r}: a "
                "smaller KL is lost in the rounding of float64; 0 allows the reference only"
            )
        if isinstance(self.kl_strength, bool):
            raise InputError(
                f"lambda must be a finite number above 0, got {self.kl_strength!r}: give a number"
            )
        if self.kl_strength is not None:
            positive(
                "lambda",
                self.kl_strength,
                "it is the price of a nat in units of margins 2P - 1; leave it out to give kl_budget instead",
            )
        for name in ("comparisons_per_user", "n", "people"):
            value = getattr(self, name)
            counted = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if value is not None and not (counted and 1 <= value < np.inf and value == np.floor(value)):
                raise InputError(
                    f"{name} must be an integer of at least 1, got {str(value)[:60]!r}: it counts people or "
                    "answers"
                )
            object.__setattr__(self, name, None if value is None else int(value))
