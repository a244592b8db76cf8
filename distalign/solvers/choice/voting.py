"""Voting rules beside Borda (`distalign.solvers.choice.reward`): Copeland, plurality and random dictator.

Copeland sees only who beats whom, the other two only the first choices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distalign.checks import laws
from distalign.solvers.choice.certified import CertifiedPolicy, checked_win, normalised
from distalign.types import Array


def copeland(win: ArrayLike) -> CertifiedPolicy:
    """The Copeland rule: uniform over the alternatives that beat most others; a tie (within 1e-14) counts one
    half.

    Args:
        win: (m, m) P(x preferred to y).

    Raises:
        InputError: not a win matrix.

    Source: Copeland 1951; under Bradley-Terry users its distortion is at most 2 C(b) (Alipour and Goyal,
        arXiv 2602.11152, abstract), and exactly Bd(b) in the worst case (ours, claim `copeland_lower`).

    Example:
        >>> copeland([[0.5, 0.6, 0.6], [0.4, 0.5, 0.9], [0.4, 0.1, 0.5]]).policy.tolist()
        [1.0, 0.0, 0.0]
    """
    return _uniform_over_best(copeland_scores(win))


def copeland_scores(win: ArrayLike) -> Array:
    """How many alternatives each alternative beats, (m,); a tie counts one half.

    Source: Copeland 1951.

    Example:
        >>> copeland_scores([[0.5, 0.5, 0.6], [0.5, 0.5, 0.9], [0.4, 0.1, 0.5]]).tolist()
        [1.5, 1.5, 0.0]
    """
    lead = checked_win(win) - 0.5
    np.fill_diagonal(lead, -1)
    return (lead > 1e-14).sum(1) + 0.5 * (np.abs(lead) <= 1e-14).sum(1)


def plurality(first_choices: ArrayLike) -> CertifiedPolicy:
    """The plurality rule: uniform over the alternatives most often ranked first (within 1e-14).

    Args:
        first_choices: (m,) share of users whose first choice each alternative is; exact for users who rank by
            Plackett-Luce in `distalign.populations.plackett_luce.first_choices`.

    Raises:
        InputError: shares that are not a distribution.

    Source: standard; under Plackett-Luce users its distortion is at least of order min(e^b, m) (Alipour and
        Goyal, arXiv 2602.11152, abstract).

    Example:
        >>> plurality([0.4, 0.35, 0.25]).policy.tolist()
        [1.0, 0.0, 0.0]
    """
    return _uniform_over_best(_shares(first_choices))


def random_dictator(first_choices: ArrayLike) -> CertifiedPolicy:
    """Random dictatorship: a user drawn at random decides.

    So the probability of an alternative is its share of first choices.

    Under Bradley-Terry users it is also what a pairwise-calibrated ensemble of rewards chooses, one reward
    drawn at random and its best alternative taken: let the rewards be u_k(x) + G(x) / b, with a user k drawn
    from the population and G independent standard Gumbel variables. Then the share of rewards that prefer x
    to y is the win rate of x against y, on every pair. Other ensembles are calibrated as well and choose
    otherwise, for pairs do not tell what comes first.

    Args:
        first_choices: (m,) as for `plurality`.

    Raises:
        InputError: shares that are not a distribution.

    Source: Gibbard 1977; under Plackett-Luce users its distortion is of order m (Alipour and Goyal, arXiv
        2602.11152, abstract). Pairwise calibration: Halpern, Micha, Procaccia and Shapira, arXiv 2506.06298,
        abstract; that this ensemble is calibrated is ours (the Gumbel form of the Luce model).

    Example:
        >>> random_dictator([0.5, 0.25, 0.25]).policy.tolist()
        [0.5, 0.25, 0.25]
    """
    with np.errstate(divide="ignore"):
        return CertifiedPolicy(np.log(_shares(first_choices)), 0.0, 0.0)


def _uniform_over_best(scores: Array) -> CertifiedPolicy:
    """The uniform distribution over the alternatives of highest score, ties within 1e-14 included."""
    return CertifiedPolicy(normalised(np.where(scores >= scores.max() - 1e-14, 0.0, -np.inf)), 0.0, 0.0)


def _shares(first_choices: ArrayLike) -> Array:
    """The shares of first choices, checked to be a distribution."""
    sentence = (
        "first_choices must hold one share for each alternative, none negative, of sum 1: divide counts of "
        "first choices by the number of users"
    )
    shares = laws("first_choices", first_choices, "(m,)", sentence=sentence)
    return shares / shares.sum()
