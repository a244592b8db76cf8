"""Weighted atoms of preference data: one type for an exact law and for the counts of a sample.

Because both hold the same atoms, an objective that takes weights is the population objective on the law and
the empirical one on the sample, and replicates are one more axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from distalign.arguments import NONNEGATIVE, checked, whole_number
from distalign.checks import InputError
from distalign.populations._arrays import Integers
from distalign.types import Array

_INDEX = replace(whole_number(0), remedy="responses are numbered from 0")


@checked(
    chosen=_INDEX.of("A"),
    rejected=_INDEX.of("B"),
    weights=NONNEGATIVE.of("... A"),
    rejected_weights=NONNEGATIVE.of("... B").or_none,
)
@dataclass(frozen=True, eq=False)
class Law:
    """A finite measure on preference data.

    Responses are numbered across prompts: response y of prompt s among S prompts of K responses is s K + y.
    An exact law holds probabilities and no replicate axis. A sample holds counts over the *same atoms*, one
    row for each replicate, so a sample of any size has the shape of the law it was drawn from. Weights are
    relative: objectives normalise them.

    Attributes:
        chosen: (A,) response preferred in each atom.
        rejected: (A,) its rejected partner where data are pairs, else (B,) rejected responses.
        weights: (A,) or (R, A) mass of each pair, or of each chosen response.
        rejected_weights: None for pairs; (B,) or (R, B) mass of each rejected response for unpaired data.

    Raises:
        InputError: shapes disagree, or a weight is negative or not finite.

    Example:
        >>> pairs = Law(chosen=[0, 1, 0], rejected=[1, 0, 2], weights=[[2, 1, 1], [4, 0, 0]])
        >>> pairs.paired, pairs.replicates
        (True, 2)
        >>> pairs.unpaired().rejected_weights.tolist()
        [[1.0, 2.0, 1.0], [0.0, 4.0, 0.0]]
    """

    chosen: Integers
    rejected: Integers
    weights: Array
    rejected_weights: Array | None = None

    def __post_init__(self) -> None:
        """Convert to arrays and check shapes and signs."""
        object.__setattr__(self, "chosen", np.asarray(self.chosen, dtype=np.int64))
        object.__setattr__(self, "rejected", np.asarray(self.rejected, dtype=np.int64))
        object.__setattr__(self, "weights", _masses("weights", self.weights, self.chosen))
        if self.rejected_weights is None:
            if self.chosen.shape != self.rejected.shape:
                raise InputError(
                    f"pairs need as many rejected as chosen responses, got {self.rejected.size} and "
                    f"{self.chosen.size}: give rejected_weights for unpaired data"
                )
            return
        object.__setattr__(
            self, "rejected_weights", _masses("rejected_weights", self.rejected_weights, self.rejected)
        )
        if self.weights.shape[:-1] != self.rejected_weights.shape[:-1]:  # type: ignore[union-attr]
            raise InputError("weights and rejected_weights must have the same number of replicates")

    @property
    def paired(self) -> bool:
        """Whether the atoms are pairs (winner, loser) with one weight each."""
        return self.rejected_weights is None

    @property
    def replicates(self) -> int | None:
        """Number of replicates R, or None for a law without a replicate axis."""
        return self.weights.shape[0] if self.weights.ndim == 2 else None

    @property
    def prior(self) -> Array:
        """Share t of chosen responses in the data, () or (R,): 1/2 for pairs, n+/(n+ + n-) for counts."""
        chosen = self.weights.sum(-1)
        return chosen / (
            chosen + (chosen if self.rejected_weights is None else self.rejected_weights.sum(-1))
        )

    def replicate(self, index: int) -> Law:
        """One replicate, without the replicate axis."""
        if self.replicates is None:
            raise InputError("this law has no replicate axis: use it as it is")
        rejected = None if self.rejected_weights is None else self.rejected_weights[index]
        return Law(self.chosen, self.rejected, self.weights[index], rejected)

    def unpaired(self) -> Law:
        """Winners as chosen and losers as rejected responses, without their pairing; equal ones merged."""
        if not self.paired:
            return self
        winners, won = np.unique(self.chosen, return_inverse=True)
        losers, lost = np.unique(self.rejected, return_inverse=True)
        return Law(
            winners, losers, _merge(self.weights, won, winners.size), _merge(self.weights, lost, losers.size)
        )


def _masses(name: str, value: Array, atoms: Integers) -> Array:
    w = np.asarray(value, dtype=np.float64)
    if w.ndim not in (1, 2) or atoms.ndim != 1 or w.shape[-1] != atoms.size:
        raise InputError(f"{name} has shape {w.shape} but there are {atoms.size} atoms: give (A,) or (R, A)")
    if not np.all((w >= 0) & np.isfinite(w)):
        raise InputError(f"{name} must be finite and non-negative: they are masses or counts")
    return w


def _merge(weights: Array, place: Integers, size: int) -> Array:
    """Sum the weights of atoms that share a place."""
    out = np.zeros((*weights.shape[:-1], size))
    np.add.at(out.T, place, weights.T)
    return out
