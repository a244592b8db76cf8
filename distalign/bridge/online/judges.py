r"""What the texts of an update are worth: a reward of each, or who is preferred to whom.

A reward r is turned into preferences by the Bradley-Terry model,  P(y > y') = sigma(r - r'),  and a file of
users by `distalign.bridge.generation.users`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distalign.bridge.generation.scores import Score, score_of
from distalign.bridge.generation.users import Scale, Users, read_users, utilities_of
from distalign.bridge.online.texts import Texts
from distalign.checks import InputError
from distalign.training.evaluation.samples import Sample, Samples, read_samples
from distalign.training.recipe_online import OnlineRecipe
from distalign.types import Array

_AT_ONCE = 16
"""Texts that a score sees at once, as by default in `distalign score`: a reward model's memory."""


@dataclass(frozen=True)
class Reward:
    """A score as a reward.

    Attributes:
        score: of `distalign.bridge.generation.scores`.
    """

    score: Score

    @property
    def identity(self) -> str:
        """What is computed."""
        return self.score.identity

    def rewards(self, texts: Texts) -> Array:
        """(S, K) the reward of each text.

        Raises:
            InputError: the score has several outputs, gives another number of values, or one that is not
                finite.
        """
        return _scores(self.score, texts).reshape(texts.shape)


def bradley_terry(rewards: Array) -> Array:
    """(S, K, K) margins 2 sigma(r_j - r_k) - 1 of (S, K) rewards.

    Example:
        >>> bradley_terry(np.log([[3.0, 1.0]])).round(12).tolist()
        [[[0.0, 0.5], [-0.5, 0.0]]]
    """
    return np.tanh((rewards[:, :, None] - rewards[:, None, :]) / 2)


@dataclass(frozen=True)
class Preference:
    """A function of prompts, first and second responses to the probability that the first is preferred.

    Every pair is asked once, the earlier text first. The texts of a prompt are drawn independently, so either
    text of a pair is as likely to come first: a function that favours the first place acts, in expectation,
    as the mean of its answers in both orders.

    Attributes:
        score: the function, under the name that the recipe gives it.
    """

    score: Score

    @property
    def identity(self) -> str:
        """What is computed."""
        return self.score.identity

    def margins(self, texts: Texts) -> Array:
        """(S, K, K) 2 P(y_j preferred to y_k) - 1, antisymmetric.

        Raises:
            InputError: the function gives another number of values, or one outside [0, 1].
        """
        s, k = texts.shape
        first, second = np.array(list(itertools.combinations(range(k), 2))).T
        ones = [texts.samples[i * k + j] for i in range(s) for j in first]
        others = [texts.samples[i * k + j].response for i in range(s) for j in second]
        compute: Any = self.score.compute
        found = compute([one.prompt for one in ones], [one.response for one in ones], others)
        chances = _numbers(self.score.name, found, ones)
        if not ((chances >= 0) & (chances <= 1)).all():
            raise InputError(
                f"preference {self.score.name} returned numbers from {chances.min():g} to {chances.max():g}: "
                "return probabilities that the first response is preferred, between 0 and 1"
            )
        margins = np.zeros((s, k, k))
        margins[:, first, second] = 2 * chances.reshape(s, -1) - 1
        return margins - margins.transpose(0, 2, 1)


@dataclass(frozen=True)
class Population:
    """Users of a file, whose utilities are mixtures of scores.

    Attributes:
        users: the types.
        scores: those that they care for.
        scale: of the reference draws.
    """

    users: Users
    scores: tuple[Score, ...]
    scale: Scale

    @property
    def identity(self) -> str:
        """What is computed."""
        return repr((self.users, [score.identity for score in self.scores], self.scale))

    def margins(self, texts: Texts) -> Array:
        """(S, K, K) 2 P(y_j preferred to y_k) - 1 of the population, antisymmetric.

        Raises:
            InputError: as `Reward.rewards`.
        """
        columns = {score.name: _scores(score, texts) for score in self.scores}
        rows = tuple(
            replace(row, scores={name: float(values[i]) for name, values in columns.items()})
            for i, row in enumerate(texts.samples)
        )
        about = {score.name: score.identity for score in self.scores}
        win = utilities_of(Samples(rows, {"scores": about}), self.users, self.scale).win()
        return win - win.transpose(0, 2, 1)


Judge = Reward | Preference | Population


def judge_of(recipe: OnlineRecipe) -> Judge:
    """The reward or the preference that a recipe names.

    Raises:
        InputError: there is no such score or file, a package is missing, or a score that users care for
            cannot be computed by its name.
    """
    from pathlib import Path

    how: dict[str, Any] = {"dtype": recipe.dtype, "trust_remote_code": recipe.trust_remote_code}
    if recipe.reward is not None:
        return Reward(score_of(recipe.reward, **how))
    assert recipe.preference is not None
    if recipe.reference_samples is None:
        found = score_of(recipe.preference) if ":" in recipe.preference else None
        if found is None or found.compute is None:
            raise InputError(
                f"preference {recipe.preference!r} must be module:function, a .yaml file of users, or the "
                "example readers"
            )
        return Preference(found)
    users, reference = read_users(recipe.preference), read_samples(Path(recipe.reference_samples))
    scores = tuple(_by_name(name, recipe, how) for name in users.scores)
    scale = Scale.of(reference, users.scores)
    for score in scores:
        if scale.about.get(score.name) != score.identity:
            raise InputError(
                f"score {score.name!r} of {recipe.reference_samples} is {scale.about.get(score.name)!r}, and "
                f"here it is {score.identity!r}: score the reference's draws in the same way"
            )
    return Population(users, scores, scale)


def _by_name(name: str, recipe: OnlineRecipe, how: dict[str, Any]) -> Score:
    try:
        return score_of(name, **how)
    except InputError as error:
        raise InputError(
            f"users of {recipe.preference} care for score {name!r}, which has to be computed for every text "
            f"by that name: {error}"
        ) from error


def _scores(score: Score, texts: Texts) -> Array:
    """(S * K,) one score of every text."""
    if score.compute is None:
        return texts.lengths.astype(float).ravel()
    parts = []
    for start in range(0, len(texts.samples), _AT_ONCE):
        rows = texts.samples[start : start + _AT_ONCE]
        found = score.compute([row.prompt for row in rows], [row.response for row in rows])
        parts.append(_numbers(score.name, found, rows))
    return np.concatenate(parts)


def _numbers(name: str, found: Any, rows: Sequence[Sample]) -> Array:
    """(n,) finite numbers, one for each row."""
    try:
        values = np.asarray(found, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} returned no numbers ({error}): return one for each text") from error
    if values.shape not in ((len(rows),), (len(rows), 1)):
        raise InputError(
            f"{name} returned an array of shape {values.shape} for {len(rows)} texts: return one number for "
            "each"
        )
    values = values.ravel()
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(
            f"{name} is {values[bad]} for the response {rows[bad].response[:40]!r} to "
            f"{str(rows[bad].prompt)[:40]!r}: return finite numbers"
        )
    return values
