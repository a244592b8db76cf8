"""Scores of texts: functions of tokens for the tiny writer, a sentiment lexicon for a model of words.

A score is standardised on draws of the reference to the training prompts (`standardised`): mean 0 over all of
them, and standard deviation 1 within a prompt on average. A utility in [0, 1] is a logistic function of it
(`utility`), and a reward in logits is a multiple of that, so that no optimum rests on a few texts far out.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from distalign.bridge.generation.writer import Texts, Writer
from distalign.checks import InputError
from distalign.types import Array

CLASSES = 64
"""Tokens that agree modulo this number count as one in `token_score`."""
STEEPNESS = 2.0

Raw = Callable[[Texts], Array]


@dataclass(frozen=True)
class Score:
    """A standardised score of texts: (raw - mean) / spread.

    Attributes:
        raw: the score as it is, (S, N) of texts.
        mean, spread: of the draws that it is standardised on.
    """

    raw: Raw
    mean: float
    spread: float

    def __call__(self, texts: Texts) -> Array:
        """(S, N) standardised scores."""
        return (self.raw(texts) - self.mean) / self.spread


def standardised(raw: Raw, texts: Texts) -> Score:
    """The score with mean 0 on these texts, and mean variance 1 within their prompts.

    Args:
        raw: the score.
        texts: draws of the reference to the training prompts.

    Raises:
        InputError: the score is not finite on the texts, or the same for all texts of each prompt.

    Example:
        >>> length = standardised(lambda t: t.lengths.astype(float), Texts(np.array([[[5, -1], [5, 6]]])))
        >>> length(Texts(np.array([[[7, 8]]]))).tolist()
        [[1.0]]
    """
    values = raw(texts)
    spread = float(np.sqrt(values.var(1).mean()))
    if not np.isfinite(spread) or spread == 0:
        raise InputError(
            "the score is constant or not finite on the draws, so it cannot be standardised: score something "
            "that texts differ in"
        )
    return Score(raw, float(values.mean()), spread)


def token_score(seed: int) -> Raw:
    """A random score that is linear in the tokens of a text and in its pairs of neighbours.

    Both kinds of coefficients are standard normal.

    Args:
        seed: of the coefficients.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(66,)))
    one, two = np.append(rng.normal(size=CLASSES), 0.0), np.zeros((CLASSES + 1, CLASSES + 1))
    two[:-1, :-1] = rng.normal(size=(CLASSES, CLASSES))

    def raw(texts: Texts) -> Array:
        place = np.where(texts.tokens >= 0, texts.tokens % CLASSES, CLASSES)  # after its end a text scores 0
        return one[place].sum(2) + two[place[..., :-1], place[..., 1:]].sum(2)

    return raw


def sentiment(writer: Writer) -> Raw:
    """The compound score, -1 to 1, of the lexicon vaderSentiment on the words of a text.

    Args:
        writer: with a tokenizer.

    Raises:
        InputError: vaderSentiment is not installed.
    """
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError:
        raise InputError("a sentiment score needs vaderSentiment: pip install 'distalign[texts]'") from None
    analyse = SentimentIntensityAnalyzer().polarity_scores

    def raw(texts: Texts) -> Array:
        return np.array([[analyse(text)["compound"] for text in row] for row in writer.decode(texts)])

    return raw


def utility(score: Array, steepness: float = STEEPNESS) -> Array:
    """Utilities in [0, 1]: sigma(steepness score).

    Example:
        >>> utility(np.array([0.0, np.log(3.0) / 2])).round(9).tolist()
        [0.5, 0.75]
    """
    return expit(steepness * score)
