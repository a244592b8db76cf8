"""Labels on single responses: the data model behind every unpaired objective.

A `Thumbs` knows the laws p+ and p- of responses that got a thumb up or down, the prior of a thumb up, and how
to draw samples of random or of fixed class sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distalign.arguments import FILLED, UNIT, checked
from distalign.checks import InputError
from distalign.populations._arrays import draw_counts, probabilities
from distalign.populations.law import Law
from distalign.types import Array


@checked(acceptance=FILLED, reference=UNIT.each, prompts=UNIT.each)
@dataclass(frozen=True, eq=False)
class Thumbs:
    r"""A response is drawn from the reference and gets a thumb up with probability q.

    The prompt is drawn first: s ~ prompts, y ~ p_ref(.|s). With t(s) = \sum_y p_ref(y|s) q(s,y), Bayes' rule
    gives

        p+(y|s) = p_ref(y|s) q(s,y) / t(s),   p-(y|s) = p_ref(y|s) (1 - q(s,y)) / (1 - t(s)),

    so that p_ref = t p+ + (1 - t) p- and t p+/p_ref = q exactly (the structural assumption of density-ratio
    alignment). With q the Borda score these are the laws of winner and loser of a comparison, and t = 1/2.

    Attributes:
        acceptance: (S, K) q in [0, 1].
        reference: (S, K) p_ref.
        prompts: (S,) law of the prompt.

    Raises:
        InputError: shapes disagree, q leaves [0, 1], or a prompt has only thumbs up or only thumbs down.

    Source: derived; arXiv 2505.07558 and 2604.04410 assume the mixture identity.

    Example:
        >>> thumbs = Thumbs(acceptance=[[0.2, 0.8]], reference=[[0.5, 0.5]], prompts=[1.0])
        >>> float(thumbs.prior), thumbs.preferred.tolist()
        (0.5, [[0.2, 0.8]])
    """

    acceptance: Array
    reference: Array
    prompts: Array

    def __post_init__(self) -> None:
        """Check shapes and ranges."""
        q = np.asarray(self.acceptance, dtype=np.float64)
        if q.ndim != 2 or not np.all((q >= 0) & (q <= 1)):
            raise InputError("acceptance must be an (S, K) array of probabilities in [0, 1]")
        object.__setattr__(self, "acceptance", q)
        object.__setattr__(self, "reference", probabilities("reference", self.reference, q.shape))
        object.__setattr__(self, "prompts", probabilities("prompts", self.prompts, q.shape[:1]))
        if not np.all((self.priors > 0) & (self.priors < 1)):
            raise InputError(
                "acceptance must leave each prompt both labels: some prompt is always or never accepted"
            )

    @property
    def priors(self) -> Array:
        """(S,) probability t(s) of a thumb up for each prompt."""
        return (self.reference * self.acceptance).sum(-1)

    @property
    def prior(self) -> float:
        """Probability t of a thumb up."""
        return float(self.prompts @ self.priors)

    @property
    def preferred(self) -> Array:
        """(S, K) law p+ of a response that got a thumb up."""
        return self.reference * self.acceptance / self.priors[:, None]

    @property
    def dispreferred(self) -> Array:
        """(S, K) law p- of a response that got a thumb down."""
        return self.reference * (1 - self.acceptance) / (1 - self.priors)[:, None]

    def law(self) -> Law:
        """The exact law: chosen masses sum to t and rejected masses to 1 - t, over all S K responses."""
        atoms = np.arange(self.reference.size)
        pooled = self.prompts[:, None] * self.reference
        return Law(atoms, atoms, (pooled * self.acceptance).ravel(), (pooled * (1 - self.acceptance)).ravel())

    def sample(self, n: int, rng: np.random.Generator, *, replicates: int = 1) -> Law:
        """Counts of n labelled responses: the number of thumbs up is random, n+ ~ Binomial(n, t)."""
        exact = self.law()
        joint = np.concatenate([exact.weights, _rejected(exact)])
        up, down = np.split(draw_counts(joint, n, rng, replicates), 2, axis=-1)
        return Law(exact.chosen, exact.rejected, up, down)

    def sample_classes(
        self, n_chosen: int, n_rejected: int, rng: np.random.Generator, *, replicates: int = 1
    ) -> Law:
        """Counts of fixed numbers of draws, n_chosen of p+ and independently n_rejected of p-.

        Where n_chosen/(n_chosen + n_rejected) differs from t, an objective must be told t, for the counts no
        longer tell it.
        """
        exact = self.law()
        up = draw_counts(exact.weights / self.prior, n_chosen, rng, replicates)
        down = draw_counts(_rejected(exact) / (1 - self.prior), n_rejected, rng, replicates)
        return Law(exact.chosen, exact.rejected, up, down)


def _rejected(law: Law) -> Array:
    assert law.rejected_weights is not None
    return law.rejected_weights
