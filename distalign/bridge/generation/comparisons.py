r"""Win rates of one model's texts against another's on the same prompts.

Comparison i is of two texts to prompt x_i. Its win w_i is 1 where ours is better, 0 where theirs is, 1/2 for
a tie, and d_i = log length of ours - log length of theirs, lengths in characters (an empty text counts as
one). Every prompt has weight 1, shared by its comparisons. The win rate is the weighted mean of w. The win
rate at equal length is

    sigma(a),  (a, b) = argmax \sum_i c_i [w_i log sigma(a + b d_i) + (1 - w_i) log sigma(-a - b d_i)],    (1)

with c_i the weight: a logistic regression of the win on d, read off at d = 0. It is what the win rate would
be if all texts that are compared were equally long and length acted as the regression says. It is the idea of
AlpacaEval 2's length-controlled win rate without its two other features (an effect of the instruction, and
tanh of a standardised difference), so the two numbers are not comparable.

Prompts are clusters. The interval of (1) is that of the mean of jackknife pseudo-values over prompts on the
logit scale, each by one Newton step from the full fit.

Source: Dubois et al. 2024, arXiv 2404.04475 (controlling for length); form (1) and its interval are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from distalign.checks import InputError
from distalign.intervals import mean_interval, wilson
from distalign.training.evaluation.measures import RIDGE, correctness, logistic
from distalign.types import Array

PAIRS = 4096
"""About so many pairs of texts of a prompt are compared, where more could be."""


@dataclass(frozen=True)
class Comparisons:
    """Comparisons of ours with theirs.

    Attributes:
        prompt: (n,) which prompt, from 0 to S - 1; each has at least one comparison.
        win: (n,) 1, 1/2 or 0.
        log_length_ratio: (n,) log length of ours minus log length of theirs.
    """

    prompt: NDArray[np.int64]
    win: Array
    log_length_ratio: Array

    @property
    def prompts(self) -> int:
        """Number S of prompts."""
        return int(self.prompt.max()) + 1

    @property
    def weights(self) -> Array:
        """(n,) one over the number of comparisons of the same prompt."""
        return 1 / np.bincount(self.prompt)[self.prompt]

    def by_prompt(self, values: Array) -> Array:
        """(S,) mean over the comparisons of each prompt."""
        return np.bincount(self.prompt, self.weights * values).astype(float)


@dataclass(frozen=True)
class Rate:
    """A share with what its interval is made of.

    Attributes:
        value: the share, in [0, 1].
        terms: (S,) one number a prompt, whose mean is the share, or its logit.
        on_logit: whether the terms are logits.
    """

    value: float
    terms: Array
    on_logit: bool = False

    def interval(self, level: float) -> tuple[float, float]:
        """Interval with prompts as clusters: Student's t, widened for skewness.

        Where all prompts have the same share, 0 and 1 among others, their spread says nothing, and the
        interval is Wilson's of as many trials: of all laws on [0, 1] with this mean, that of zeros and ones
        has the largest variance.
        """
        if np.ptp(self.terms) < 1e-12:
            return wilson(self.value, len(self.terms), level)
        _, low, high = mean_interval(self.terms, level=level)
        if self.on_logit:
            return float(expit(low)), float(expit(high))
        return max(low, 0.0), min(high, 1.0)


def by_score(
    ours: Sequence[tuple[Array, Sequence[str]]], theirs: Sequence[tuple[Array, Sequence[str]]]
) -> Comparisons:
    """All pairs of texts of each prompt, the larger score wins; a fixed design of about 4,096 where more.

    The design deals theirs out to ours in turn, counted around, so that two texts of one side differ by at
    most one in how often they are compared.

    Args:
        ours, theirs: for each prompt, scores and texts.

    Raises:
        InputError: as `Comparisons` need: fewer than two prompts, or a score that is not finite.

    Example:
        >>> found = by_score([(np.array([1.0]), ["ab"])] * 2, [(np.array([1.0, 0.0]), ["a", "abcd"])] * 2)
        >>> found.win.tolist(), found.log_length_ratio.round(3).tolist()
        ([0.5, 1.0, 0.5, 1.0], [0.693, -0.693, 0.693, -0.693])
    """
    parts = []
    for s, ((a, mine), (b, other)) in enumerate(zip(ours, theirs, strict=True)):
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise InputError(f"a text of prompt {s} has a score that is not finite: score all texts")
        i, j = _design(len(a), len(b))
        gap = _log_lengths(mine)[i] - _log_lengths(other)[j]
        parts.append((np.full(len(i), s), correctness(a[i] - b[j]), gap))
    return checked(Comparisons(*(np.concatenate(column) for column in zip(*parts, strict=True))))


def checked(found: Comparisons) -> Comparisons:
    """The comparisons, if they are of at least two prompts.

    Raises:
        InputError: one prompt.
    """
    if found.prompts < 2:
        raise InputError(
            "the texts are of one prompt, which has no interval: generate texts to at least two prompts"
        )
    return found


def log_length_ratio(ours: str, theirs: str) -> float:
    """Log length of our text minus log length of theirs.

    Example:
        >>> log_length_ratio("abc", "")
        1.0986122886681098
    """
    return float(np.subtract(*_log_lengths((ours, theirs))))


def win_rate(found: Comparisons) -> Rate:
    """Mean over prompts of the share of comparisons won, a tie counting one half.

    Example:
        >>> win_rate(Comparisons(np.array([0, 0, 1]), np.array([1, 0, 1.0]), np.zeros(3))).value
        0.75
    """
    share = found.by_prompt(found.win)
    return Rate(float(share.mean()), share)


def equal_length_win_rate(found: Comparisons) -> Rate:
    """Win rate at equal length by equation (1).

    The slope has a weak ridge, 0.005 b^2 for d in units of its root mean square. Where one side wins
    everything the regression has no finite answer, and the win rate itself is returned.

    Raises:
        InputError: length decides every comparison, so none says what would be at equal length.

    Example: ours are twice as long in one half and win there; where they are half as long they lose as often.
        >>> d = np.array([1, 1, 1, -1, -1, -1]) * np.log(2)
        >>> found = Comparisons(np.arange(6), np.array([1, 1, 0, 0, 0, 1.0]), d)
        >>> round(equal_length_win_rate(found).value, 6)
        0.5
    """
    plain, d = win_rate(found), found.log_length_ratio
    if plain.value in (0.0, 1.0):
        return plain
    won, lost = (d[found.win == side] for side in (1.0, 0.0))
    sure = len(won) + len(lost) == len(d) and np.ptp(d) > 0
    if sure and (won.min() >= lost.max() or won.max() <= lost.min()):
        raise InputError(
            "length decides every comparison, so the win rate at equal length is not known: compare more "
            "texts, or texts of more similar lengths"
        )
    w = found.weights
    scaled = d / (float(np.sqrt(w @ d**2 / w.sum())) or 1.0)
    x = np.stack([np.ones_like(d), scaled], 1)
    fitted = logistic(x, found.win, w, free=1)
    p = expit(x @ fitted)
    gradient = np.stack([np.bincount(found.prompt, w * (found.win - p) * x[:, k]) for k in (0, 1)], 1)
    bend = w * p * (1 - p)
    cells = [np.bincount(found.prompt, bend * x[:, j] * x[:, k]) for j in (0, 1) for k in (0, 1)]
    hessians = np.stack(cells, 1).reshape(-1, 2, 2)
    left = hessians.sum(0) + np.diag([1e-6, RIDGE]) - hessians
    moved = np.linalg.solve(left, gradient[:, :, None])[:, 0, 0]
    terms = (found.prompts - 1) * moved
    return Rate(float(expit(fitted[0])), terms - terms.mean() + fitted[0], on_logit=True)


def _design(n: int, m: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the pairs that are compared."""
    if n < m:
        j, i = _design(m, n)
        return i, j
    each = min(m, -(-PAIRS // n))
    return np.repeat(np.arange(n), each), np.arange(n * each) % m


def _log_lengths(texts: Sequence[str]) -> Array:
    return np.log(np.maximum([len(text) for text in texts], 1))
