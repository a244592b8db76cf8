"""Who prefers what, with the exact law of the data beside its sampler.

A `Population` is a win matrix, a reference and a law of the prompt. From these follow the Borda scores, the
laws of winners and losers, and the data that comparisons or labels produce.

Source: ours; the law of winners and losers follows from independent draws from the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from distalign.arguments import FILLED, UNIT, checked
from distalign.checks import InputError
from distalign.populations._arrays import draw_counts, probabilities
from distalign.populations.law import Law
from distalign.populations.thumbs import Thumbs
from distalign.types import Array


@checked(win=FILLED, reference=UNIT.each, prompts=UNIT.each.or_none)
@dataclass(frozen=True, eq=False)
class Population:
    """Comparisons of two responses drawn independently from a reference, decided by a win matrix.

    A prompt s ~ prompts is drawn, then y, y' ~ p_ref(.|s) independently, and y wins with probability P_s(y,
    y'). Any win matrix with P + P^T = 1 will do: Bradley-Terry, a mixture of users, or a cycle.

    Attributes:
        win: (S, K, K) probability that the row response is preferred to the column response; (K, K) for one
            prompt.
        reference: (S, K) law of each compared response; (K,) for one prompt.
        prompts: (S,) law of the prompt; None means uniform.

    Raises:
        InputError: shapes disagree, a row is no probability, or P + P^T differs from 1.

    Example:
        >>> population = Population(win=[[0.5, 0.8], [0.2, 0.5]], reference=[0.5, 0.5])
        >>> population.borda.tolist(), population.preferred.tolist()
        ([[0.65, 0.35]], [[0.65, 0.35]])
        >>> population.pairs().weights.tolist()
        [0.25, 0.4, 0.1, 0.25]
        >>> counts = population.sample_pairs(10**9, np.random.default_rng(0), replicates=2)
        >>> np.abs(counts.weights / 10**9 - population.pairs().weights).max() < 1e-3
        np.True_
    """

    win: Array
    reference: Array
    prompts: Array = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Add the prompt axis where it is missing, then check shapes and laws."""
        win = _win_matrices(self.win)
        s, k = win.shape[:2]
        reference = np.asarray(self.reference, dtype=np.float64)
        prompts = np.full(s, 1 / s) if self.prompts is None else self.prompts
        object.__setattr__(self, "win", win)
        object.__setattr__(self, "reference", probabilities("reference", np.atleast_2d(reference), (s, k)))
        object.__setattr__(self, "prompts", probabilities("prompts", prompts, (s,)))

    @property
    def borda(self) -> Array:
        r"""Borda score (S, K), q(y) = \sum_{y'} p_ref(y') P(y, y'): the win rate against the reference.

        The response y itself is among those it is compared with.
        """
        return np.einsum("sij,sj->si", self.win, self.reference)

    @property
    def preferred(self) -> Array:
        """(S, K) law of the winner of a comparison, p+ = 2 p_ref q."""
        return 2 * self.reference * self.borda

    @property
    def dispreferred(self) -> Array:
        """Law (S, K) of the loser of a comparison, p- = 2 p_ref (1 - q).

        So p+ + p- = 2 p_ref, whatever P is.
        """
        return 2 * self.reference * (1 - self.borda)

    def thumbs(self, acceptance: Array | None = None) -> Thumbs:
        """Labels on single responses, accepted with probability `acceptance` (S, K).

        The default is the Borda score.

        With the Borda score chosen and rejected responses have the laws `preferred` and `dispreferred`, and
        the prior is 1/2.
        """
        return Thumbs(self.borda if acceptance is None else acceptance, self.reference, self.prompts)

    def pairs(self, *, distinct: bool = False) -> Law:
        """The exact law of (winner, loser): for prompt s, 2 p_i p_j P_ij off the diagonal and p_i^2 on it.

        Both orders of presentation lead to the pair (i, j), hence the factor 2. A response that meets itself
        wins by the flip of a coin, and 2 p_i p_i / 2 is the diagonal. The masses sum to 1.

        Args:
            distinct: condition on two different responses, as if ties had been thrown away. Prompts whose
                reference is concentrated lose more mass, so the law of the prompt changes with it.

        Returns:
            Law over S K^2 atoms, or S K (K - 1) with `distinct`.
        """
        s, k = self.reference.shape
        p = self.reference
        joint = 2 * self.prompts[:, None, None] * p[:, :, None] * p[:, None, :] * self.win
        prompt, i, j = (index.ravel() for index in np.indices((s, k, k)))
        keep = i != j if distinct else np.full(i.size, True)
        weights = joint.ravel()[keep]
        return Law((prompt * k + i)[keep], (prompt * k + j)[keep], weights / weights.sum())

    def sample_pairs(
        self, n: int, rng: np.random.Generator, *, replicates: int = 1, distinct: bool = False
    ) -> Law:
        """Counts of n comparisons over the atoms of `pairs`, for each of `replicates` independent samples.

        `.unpaired()` of the result reads winners as chosen and losers as rejected.
        """
        exact = self.pairs(distinct=distinct)
        return Law(exact.chosen, exact.rejected, draw_counts(exact.weights, n, rng, replicates))


def _win_matrices(win: Any) -> Array:
    """`win` as (S, K, K) float64 after a check of P + P^T = 1 and 0 <= P <= 1.

    Example:
        >>> _win_matrices([[0.5, 0.8], [0.2, 0.5]]).shape
        (1, 2, 2)
    """
    p = np.asarray(win, dtype=np.float64)
    p = p[None] if p.ndim == 2 else p
    if p.ndim != 3 or p.shape[1] != p.shape[2]:
        raise InputError(f"win must have shape (K, K) or (S, K, K), got {p.shape}")
    if not (np.all((p >= 0) & (p <= 1)) and np.allclose(p + p.transpose(0, 2, 1), 1, rtol=0, atol=1e-9)):
        raise InputError(
            "win must hold probabilities with win + win^T = 1 and 1/2 on the diagonal: win[i, j] is the "
            "probability that i is preferred to j"
        )
    return p
