"""Token ids of preference data.

The reader of files hands them to the scorer, the reference cache and the loop.

A response may hold tokens that are read but not scored: what a user says between two answers of the
assistant. Such a token t stands in it as its complement ~t = -t - 1, which is negative. So whatever tells
responses apart by their tokens tells these apart, too, and code that forgets the difference fails at a
negative id instead of scoring it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from distalign.checks import InputError

Tokens = tuple[int, ...]


def unscored(tokens: Iterable[int]) -> Tokens:
    """These tokens as tokens that are read but not scored.

    Example:
        >>> unscored((5, 0)), token_ids(unscored((5, 0)))
        ((-6, -1), [5, 0])
    """
    return tuple(token if token < 0 else ~token for token in tokens)


def token_ids(response: Iterable[int]) -> list[int]:
    """The vocabulary's ids of a response, scored or not: what the model reads."""
    return [token if token >= 0 else ~token for token in response]


def scored_count(response: Iterable[int]) -> int:
    """How many tokens of a response are scored.

    Example:
        >>> scored_count((7, *unscored((8, 9)), 4))
        2
    """
    return sum(token >= 0 for token in response)


@dataclass(frozen=True)
class TokenRow:
    """A prompt and the K >= 1 responses that share it.

    Attributes:
        prompt: token ids up to where the responses start; may be empty only if no token precedes a response.
        responses: K tuples of token ids; a token that is not scored stands as its complement.
    """

    prompt: Tokens
    responses: tuple[Tokens, ...]


@dataclass(frozen=True)
class Example:
    """One tokenised line of data.

    Attributes:
        prompt: token ids up to where the completion starts, with the beginning-of-text token or chat
            template.
        chosen: completion tokens with the end-of-text or end-of-turn token; None if this line has only a
            rejected one. Tokens that are not scored stand as their complements.
        rejected: the same of the rejected completion; None if this line has only a chosen one.
        weight: of the line in the objective.
        group: index into `PreferenceData.groups`.
        user: who judged, if the data say so.
        line: number in the source, from 1, for messages.
    """

    prompt: Tokens
    chosen: Tokens | None
    rejected: Tokens | None
    weight: float = 1.0
    group: int = 0
    user: str | None = None
    line: int = 0

    def row(self) -> TokenRow:
        """The prompt with the sides that are there, chosen first.

        Example:
            >>> Example((1, 2), (3,), (4, 5)).row().responses, Example((1, 2), None, (4, 5)).row().responses
            (((3,), (4, 5)), ((4, 5),))
        """
        return TokenRow(self.prompt, tuple(side for side in (self.chosen, self.rejected) if side is not None))


@dataclass(frozen=True)
class PreferenceData:
    """Tokenised preference data; `PreferenceData.of` makes one from examples.

    Attributes:
        examples: in the order of the source.
        paired: every example has both sides.
        groups: names behind `Example.group`.
        report: counts: lines read and kept, lines dropped by reason, prompts and completions truncated.
        digest: hex digest of token ids, weights and groups: what a cache or a model card names.
        has_weights: the source gave weights.
        has_groups: the source gave groups.
    """

    examples: Sequence[Example]
    paired: bool
    groups: tuple[str, ...]
    report: Mapping[str, int]
    digest: str
    has_weights: bool
    has_groups: bool

    @cached_property
    def names(self) -> tuple[bytes, ...]:
        """16 bytes for each example, of its token ids and of which sides it has: what a cache calls it."""
        stored = getattr(self.examples, "names", None)  # of `distalign.training.data.stored`
        return tuple(map(name_of, self.examples)) if stored is None else stored()

    def kinds(self) -> Iterable[tuple[bool, bool, bool]]:
        """Of each example: whether it has a weight above 0, a chosen and a rejected side."""
        stored = getattr(self.examples, "kinds", None)  # of `distalign.training.data.stored`
        if stored is not None:
            return stored()
        return ((e.weight > 0, e.chosen is not None, e.rejected is not None) for e in self.examples)

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        groups: Sequence[str] = (),
        report: Mapping[str, int] | None = None,
        has_weights: bool | None = None,
    ) -> PreferenceData:
        """Data of these examples.

        Args:
            examples: at least one.
            groups: their names; empty if the data have none.
            report: counts to carry along.
            has_weights: None: whether some weight differs from 1.

        Raises:
            InputError: no example, an example with no side or an empty side, a weight that is negative or not
                finite, or a group without a name.

        Example:
            >>> data = PreferenceData.of([Example((1,), (2,), (3,)), Example((1,), (2,), None)])
            >>> data.paired, data.digest == PreferenceData.of(data.examples[::-1]).digest
            (False, False)
        """
        examples = tuple(examples)
        if not examples:
            raise InputError("the data hold no example: give at least one pair or one labelled completion")
        digest, names = hashlib.sha256(), [*groups] or [""]
        for example in examples:
            check_example(example, len(names))
            digest_example(digest, example, names)
        paired = all(example.chosen is not None and example.rejected is not None for example in examples)
        weighted = any(example.weight != 1.0 for example in examples) if has_weights is None else has_weights
        return cls(
            examples,
            paired,
            tuple(groups),
            dict(report or {}),
            digest.hexdigest(),
            weighted,
            bool(groups),
        )


def name_of(example: Example) -> bytes:
    """16 bytes of its token ids and of which sides it has."""
    sides = (example.prompt, example.chosen, example.rejected)
    return hashlib.sha256(repr(sides).encode()).digest()[:16]


def prompt_digest(example: Example) -> bytes:
    """SHA-256 of the token ids of its prompt: 32 bytes where a tuple takes 8 a token."""
    return hashlib.sha256(repr(example.prompt).encode()).digest()


def check_example(example: Example, groups: int) -> None:
    """Raise unless data of so many groups, at least 1, may hold the example."""
    sides = [side for side in (example.chosen, example.rejected) if side is not None]
    where = f"line {example.line}" if example.line else "an example"
    if not sides or not all(map(scored_count, sides)):
        raise InputError(
            f"{where} has no completion or an empty one: give chosen, rejected or both at least one token to "
            "score"
        )
    if not 0 <= example.weight < math.inf:
        raise InputError(
            f"weight of {where} must be a finite number of at least 0, got {example.weight!r}: correct or "
            "drop it"
        )
    if not 0 <= example.group < groups:
        raise InputError(
            f"group of {where} is {example.group}, but {groups} groups are named: name every group"
        )


def digest_example(digest: hashlib._Hash, example: Example, groups: Sequence[str]) -> None:
    """Add to a digest of data the token ids, which sides are there, weight and name of the group.

    Line numbers and users are left out.
    """
    sides = (example.prompt, example.chosen, example.rejected)
    lengths = [-1 if side is None else len(side) for side in sides]
    tokens = [token for side in sides if side is not None for token in side]
    name = groups[example.group].encode()
    digest.update(np.array([*lengths, *tokens, len(name)], "<i8").tobytes())
    digest.update(np.array(example.weight, "<f8").tobytes() + name)
