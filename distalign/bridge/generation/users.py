r"""Types of users whose utilities of texts are mixtures of scores.

User k prefers y to y' given x with chance sigma(b_k (u_k(x, y) - u_k(x, y'))), and

    u_k(x, y) = sigma( \sum_j w_kj z_j(x, y) ),   z_j = (s_j - m_j) / d_j,                                 (1)

with m_j and d_j the mean and the standard deviation of score j over all reference draws of the training
prompts, pooled. So utilities lie in [0, 1] on one scale for all users and prompts, a text of average scores
has 1/2, and distortion means what it means for `distalign simulate`. The file is the one that `simulate`
reads: `users` with `mixture: {score: weight}`, `weight`, `bt_temperature` and `group`.

Source: the choice model is Gölz et al., arXiv 2505.23749, Section 2; (1) is ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from distalign.bridge.generation.draws import rows_by_prompt
from distalign.bridge.generation.tilts import win_matrix
from distalign.checks import InputError
from distalign.pluralism.scenario_checks import names, temperatures, weights
from distalign.pluralism.scenario_file import read
from distalign.pluralism.sources.users import types_from_list
from distalign.training.evaluation.samples import Samples
from distalign.types import Array

EXAMPLE = Path(__file__).with_name("readers.yaml")
"""A population whose users care for sentiment and length."""


@dataclass(frozen=True, eq=False)
class Users:
    """Types of users.

    Attributes:
        mixtures: for each of K types, the weight of each score by its name; a weight of -1 wants less of it.
        shares: (K,) relative sizes, scaled to sum 1; None means equal ones.
        temperatures: (K,) Bradley-Terry temperatures b, or one number for all.
        groups: of each type, or None.
        name: of the population.

    Raises:
        InputError: an attribute is out of range.

    Example:
        >>> users = Users(({"sentiment": 1.0}, {"length": -1.0}), shares=[3, 1])
        >>> users.scores, users.shares.tolist(), users.temperatures.tolist()
        (('sentiment', 'length'), [0.75, 0.25], [5.0, 5.0])
    """

    mixtures: tuple[Mapping[str, float], ...]
    shares: Any = None
    temperatures: Any = 5.0
    groups: tuple[str, ...] | None = None
    name: str = "population"

    def __post_init__(self) -> None:
        """Check every attribute and replace it by its array or tuple."""
        for k, mixture in enumerate(self.mixtures, 1):
            if not isinstance(mixture, Mapping) or not mixture or not all(map(_is_weight, mixture.values())):
                raise InputError(
                    f"mixture of user {k} must map names of scores to finite numbers, as in {{sentiment: "
                    f"1}}, got {mixture!r}"
                )
            if not any(mixture.values()):
                raise InputError(f"mixture of user {k} has only weights of 0, so that user wants nothing")
        size = len(self.mixtures)
        object.__setattr__(self, "mixtures", tuple(dict(mixture) for mixture in self.mixtures))
        object.__setattr__(self, "shares", weights(self.shares, size))
        object.__setattr__(self, "temperatures", temperatures(self.temperatures, size))
        object.__setattr__(self, "groups", names("groups", self.groups, size))

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores that some type cares for, in order of appearance."""
        return tuple(dict.fromkeys(name for mixture in self.mixtures for name in mixture))


def read_users(source: str | Path) -> Users:
    """The users of a population file, or of the example `readers`.

    Args:
        source: a file that `distalign simulate` reads, whose users have a `mixture`; utilities beside it are
            left to `simulate`.

    Raises:
        InputError: there is no such file, it is of another kind, a key is unknown, users have no mixtures, or
            a value is out of range.

    Example:
        >>> users = read_users("readers")
        >>> users.groups, users.shares.round(2).tolist()
        (('glad', 'glad', 'sober'), [0.5, 0.2, 0.3])
    """
    path = EXAMPLE if str(source) == EXAMPLE.stem and not Path(source).exists() else source
    spec = read(path)
    shared = spec.get("bt_temperature")
    common = {} if shared is None else {"bt_temperature": shared}
    try:
        types = types_from_list(spec.get("users"), common, "mixture", "{score: weight}")
        own = types.get("bt_temperature", shared)
        return Users(
            tuple(row["mixture"] for row in spec["users"]),
            types["weights"],
            Users.temperatures if own is None else own,
            types["groups"],
            str(spec.get("name", Path(path).stem)),
        )
    except InputError as error:
        raise InputError(f"population {source}: {error}") from error


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of scores over reference draws of the training prompts.

    Attributes:
        mean, deviation: by the name of the score.
        about: what each score is, as `distalign score` noted it.
    """

    mean: Mapping[str, float]
    deviation: Mapping[str, float]
    about: Mapping[str, str]

    @classmethod
    def of(cls, samples: Samples, scores: Iterable[str]) -> Scale:
        """The scale of some scores on these samples.

        Raises:
            InputError: a score is missing, or the same for all of them.
        """
        mean, deviation = {}, {}
        for name in scores:
            values = table_of(samples, name)
            if np.ptp(values) == 0:
                raise InputError(
                    f"score {name!r} is {values.flat[0]:g} for all reference draws, so it has no standard "
                    "deviation: score something that varies, or take it out of the mixtures"
                )
            mean[name], deviation[name] = float(values.mean()), float(values.std())
        return cls(mean, deviation, dict(samples.settings.get("scores", {})))


@dataclass(frozen=True, eq=False)
class Utilities:
    """What each type of user gets from each draw.

    Attributes:
        values: (K, S, N) u_k in [0, 1].
        users: the types.
        prompts: (S,) index of each prompt in the file it came from.
    """

    values: Array
    users: Users
    prompts: tuple[int, ...]

    @property
    def average(self) -> Array:
        """(S, N) average utility, types weighted by their shares."""
        return np.einsum("k,ksn->sn", self.users.shares, self.values)

    def win(self) -> Array:
        """(S, N, N) preferences of the population: `distalign.bridge.generation.tilts.win_matrix`."""
        return win_matrix(self.values, self.users.shares, self.users.temperatures)

    def up(self) -> Array:
        r"""(S, N) probability of a thumb up:  \sum_k s_k sigma(b_k (u_k - 1/2)).

        A thumb is an answer to a comparison with a text of average scores, whose utility is 1/2.
        """
        b = self.users.temperatures[:, None, None]
        return np.einsum("k,ksn->sn", self.users.shares, expit(b * (self.values - 0.5)))


def utilities_of(samples: Samples, users: Users, scale: Scale | None = None) -> Utilities:
    """(1) on scored draws.

    Args:
        samples: of `distalign score`.
        users: the types.
        scale: of the reference draws of the training prompts; None takes that of `samples`, which must then
            be these draws.

    Raises:
        InputError: the samples or the scale lack a score, a score of the samples is another one than that of
            the scale, or prompts have different numbers of texts.
    """
    missing = [name for name in users.scores if name not in samples.rows[0].scores] if samples.rows else []
    if missing:
        raise InputError(
            f"population {users.name} cares for {', '.join(map(repr, missing))}, which the samples lack "
            f"(they have {', '.join(map(repr, samples.rows[0].scores)) or 'no scores'}): add it with "
            "`distalign score --score NAME=...`"
        )
    scale = scale or Scale.of(samples, users.scores)
    about = samples.settings.get("scores", {})
    for name in users.scores:
        if name not in scale.mean:
            raise InputError(
                f"the reference draws lack score {name!r}: score them as the samples were scored"
            )
        if scale.about.get(name) != about.get(name):
            raise InputError(
                f"score {name!r} of the reference draws is another one ({scale.about.get(name)}) than that "
                f"of the samples ({about.get(name)}): score both in the same way"
            )
    z = {name: (table_of(samples, name) - scale.mean[name]) / scale.deviation[name] for name in users.scores}
    mixed = [sum(weight * z[name] for name, weight in mixture.items()) for mixture in users.mixtures]
    return Utilities(expit(np.stack(mixed)), users, tuple(rows_by_prompt(samples)))


def table_of(samples: Samples, score: str) -> Array:
    """(S, N) one score of the draws of each prompt.

    Raises:
        InputError: the samples lack it, it is not finite, or prompts have different numbers of texts.
    """
    several = rows_by_prompt(samples)
    lacking = [row for rows in several.values() for row in rows if score not in row.scores]
    if lacking:
        raise InputError(
            f"samples lack score {score!r} (they have {', '.join(map(repr, lacking[0].scores)) or 'none'}): "
            "add it with `distalign score`"
        )
    values = np.array([[row.scores[score] for row in rows] for rows in several.values()], float)
    if not np.isfinite(values).all():
        raise InputError(f"score {score!r} is not finite for some texts: score them anew")
    return values


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
