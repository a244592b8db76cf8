"""Every sequence of a short length over a small vocabulary, where all distances between policies are exact.

A policy gives each token its own logits for each position and previous token. So log pi(y) is a sum over
tokens as for a language model, and all V^L sequences can still be enumerated.

Source: ours.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from distalign.arguments import INSIDE_UNIT, REAL, RNG, checked, instance, whole_number
from distalign.checks import InputError, inside_unit
from distalign.populations.thumbs import Thumbs
from distalign.types import Array

_MOST = 65_536


@checked(vocabulary=whole_number(2, _MOST), length=whole_number(1, 16))
@dataclass(frozen=True, eq=False)
class Sequences:
    r"""All K = V^L sequences, and Markov policies over them.

        log pi(y) = log a(y_1) + \sum_l log b_l(y_l | y_{l-1})

    Logits are a vector of D = V + (L - 1) V^2 numbers: blocks of V, one for the first token, then one for
    each position and previous token. A constant added to one block changes nothing.

    Attributes:
        vocabulary: V, at least 2.
        length: L, at least 1; V^L is at most 65,536.
        tokens: (K, L) the sequences in lexicographic order.
        pieces: (K, D) which conditional probabilities each sequence is the product of, 0 or 1.

    Raises:
        InputError: too few tokens, or too many sequences.

    Example:
        >>> space = Sequences(vocabulary=2, length=3)
        >>> space.tokens.shape, space.pieces.shape, space.pieces.sum(1).tolist()[:2]
        ((8, 3), (8, 10), [3.0, 3.0])
        >>> round(space.log_probs(torch.randn(10).double()).exp().sum().item(), 12)
        1.0
    """

    vocabulary: int = 4
    length: int = 6
    tokens: np.ndarray = field(init=False, repr=False)
    pieces: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the sizes and enumerate the sequences."""
        v, size = self.vocabulary, self.length
        if v < 2 or size < 1 or v**size > _MOST:
            raise InputError(
                f"vocabulary must be at least 2, length at least 1 and vocabulary ** length at most {_MOST}, "
                f"got {v} and {size}"
            )
        tokens = np.array(list(itertools.product(range(v), repeat=size)))
        places = np.concatenate(
            [tokens[:, :1], v + (np.arange(size - 1) * v + tokens[:, :-1]) * v + tokens[:, 1:]], axis=1
        )
        pieces = np.zeros((len(tokens), v + (size - 1) * v**2))
        np.put_along_axis(pieces, places, 1.0, axis=1)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "pieces", pieces)

    def log_probs(self, logits: Tensor, rows: np.ndarray | slice = slice(None)) -> Tensor:
        """log pi of all sequences (K,), or of `rows`, at logits (D,), in nats summed over the tokens."""
        return (
            torch.from_numpy(self.pieces[rows])
            @ logits.reshape(-1, self.vocabulary).log_softmax(-1).flatten()
        )

    def project(self, law: Array) -> Array:
        """Logits (D,) of the Markov policy nearest to a law (K,) in KL(law || .).

        It has the conditional frequencies of the law.

        On frequencies of chosen sequences this is SFT's minimiser. What has frequency 0 gets logit -700, and
        a block never reached is uniform.
        """
        mass = (law @ self.pieces).reshape(-1, self.vocabulary)
        total = mass.sum(1, keepdims=True)
        share = np.divide(mass, total, out=np.full_like(mass, 1 / self.vocabulary), where=total > 0)
        return np.log(np.maximum(share, 1e-304)).flatten()

    def scores(self, logits: Array) -> Array:
        """(K, D) d log pi(y) / d logits."""
        share = np.exp(logits.reshape(-1, self.vocabulary))
        share = (share / share.sum(1, keepdims=True)).flatten()
        reached = (
            self.pieces.reshape(len(self.pieces), -1, self.vocabulary).sum(-1).repeat(self.vocabulary, axis=1)
        )
        return self.pieces - reached * share


@checked(
    space=instance(Sequences),
    rng=RNG,
    difference=replace(REAL, words="from {low:g} to {high:g}", remedy="it is in logits", low=-5, high=5),
    prior=INSIDE_UNIT,
)
def markov_labels(
    space: Sequences, rng: np.random.Generator, *, difference: float, prior: float = 0.5
) -> Thumbs:
    """Labels whose laws p+ and p- are Markov, with logits A + difference D and A - difference D.

    A and D are standard normal. The reference is the mixture t p+ + (1 - t) p-, which is not Markov: no
    policy of `space` is the reference.

    Args:
        space: the sequences.
        rng: draws A and D.
        difference: how far p+ and p- are apart, logits, from -5 to 5.
        prior: t, in (0, 1).

    Raises:
        InputError: prior outside (0, 1), or a difference outside [-5, 5].

    Example:
        >>> labels = markov_labels(Sequences(3, 4), np.random.default_rng(0), difference=0.3)
        >>> labels.reference.shape, round(labels.prior, 12)
        ((1, 81), 0.5)
    """
    inside_unit("prior", prior, "it is the share of preferred responses")
    mean, direction = rng.normal(size=(2, space.pieces.shape[1]))
    up, down = (
        space.log_probs(torch.from_numpy(mean + sign * difference * direction)).exp().numpy()
        for sign in (1, -1)
    )
    reference = prior * up + (1 - prior) * down
    return Thumbs((prior * up / reference)[None], (reference / reference.sum())[None], np.ones(1))
