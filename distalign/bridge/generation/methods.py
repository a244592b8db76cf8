r"""The methods of the papers as weights on draws of the reference, at a strength or at the KL they may spend.

A trained policy has one strength (beta or lambda) for all prompts, so what it spends is a mean over prompts,

    KL = \sum_x rho(x) KL(pi(. | x) || pi_ref(. | x)),                                                     (1)

and the strength at which a method spends a given number of nats is the root of (1) in the strength. The ball
in which methods are compared is the ball of (1), too: its best policy is w \propto exp(u / lambda) with u the
average utility and one lambda for all prompts.

Source: ours; the tilts are those of `distalign.bridge.generation.tilts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import expit

from distalign.bridge.generation.tilts import (
    Tilt,
    bradley_terry_reward,
    f_dpo,
    ipo,
    kldpo,
    nlhf,
    p_plus,
    rlhf,
    win_matrix,
)
from distalign.bridge.generation.users import Utilities
from distalign.checks import InputError
from distalign.types import Array

MEMORY = 4e9
"""Bytes that the win matrices of all prompts may take."""
SAME = 1e-6
"""Largest error of a preference that counts as Bradley-Terry."""
DIVERGENCES = ("forward_kl", "jensen_shannon", "alpha:0.5")
TEMPERATURE = 1.0
"""Of KLDPO."""


@dataclass(frozen=True, eq=False)
class Preferences:
    """What users prefer among the draws of each prompt.

    Attributes:
        utilities: of each type of user.

    Raises:
        InputError: the win matrices of all prompts would take more than 4 GB.
    """

    utilities: Utilities

    def __post_init__(self) -> None:
        """Check the size."""
        _, s, n = self.utilities.values.shape
        if 8.0 * s * n * n > MEMORY:
            raise InputError(
                f"preferences between {n} draws of each of {s} prompts take {8e-9 * s * n * n:.1f} GB, more "
                f"than {MEMORY / 1e9:g}: use fewer draws a prompt or fewer prompts"
            )

    @cached_property
    def wins(self) -> list[Array]:
        """For each prompt the (1, N, N) win matrix."""
        users = self.utilities.users
        return [
            win_matrix(self.utilities.values[:, s : s + 1], users.shares, users.temperatures)
            for s in range(self.utilities.values.shape[1])
        ]

    @cached_property
    def reward(self) -> Array:
        """(S, N) the Bradley-Terry reward that a fit finds, in logits, of mean 0 over the draws."""
        return np.concatenate([bradley_terry_reward(win) for win in self.wins])

    @cached_property
    def borda(self) -> Array:
        """(S, N) chance of being preferred to a draw of the reference."""
        return np.concatenate([win.mean(2) for win in self.wins])

    @cached_property
    def error(self) -> float:
        """Largest error of the Bradley-Terry fit over all pairs of draws, in probability."""
        gaps = (
            win[0] - expit(r[:, None] - r[None, :]) for win, r in zip(self.wins, self.reward, strict=True)
        )
        return float(max(np.abs(gap).max() for gap in gaps))


@dataclass(frozen=True)
class Method:
    """A method whose population optimum is known.

    Attributes:
        name: as tables show it.
        strength: what its strength is called, beta or lambda; empty if it has none.
        target: strength to weights on the draws.
        spread: standard deviation of what it divides by its strength, from which the search for a strength
            starts.
        unknown: why no optimum is known on these preferences; empty if one is.
    """

    name: str
    strength: str
    target: Callable[[float], Tilt]
    spread: float = 1.0
    unknown: str = ""

    def spending(self, budget: float) -> tuple[float, Tilt]:
        """The strength at which equation (1) is `budget` nats to a relative 1e-3, and the weights there.

        Raises:
            InputError: no strength between a hundredth and a hundred times the usual one spends it.
        """
        seen: dict[float, Tilt] = {}

        def excess(x: float) -> float:
            seen[x] = self.target(float(np.exp(x)))
            return float(np.log(max(seen[x].kl().mean(), 1e-300) / budget))

        middle = float(np.log(max(self.spread, 1e-12) / np.sqrt(2 * budget)))
        why = f"{self.name} spends {budget:g} nats at no {self.strength} near {np.exp(middle):.3g}"
        for half in (0.25, 1.0, 4.6):
            try:
                ends = excess(middle - half), excess(middle + half)
            except InputError as error:
                why = str(error)
                continue
            if ends[0] * ends[1] <= 0:
                bracket = (middle - half, middle + half)
                found = float(root_scalar(excess, bracket=bracket, method="brentq", xtol=2e-4).root)
                if found not in seen:
                    excess(found)
                return float(np.exp(found)), seen[found]
        raise InputError(f"{why}; ask for another KL, or name a strength")


def methods(found: Preferences, divergences: Sequence[str] = DIVERGENCES) -> list[Method]:
    """All methods on these preferences, the optimum first.

    Args:
        found: what users prefer.
        divergences: of f-DPO, names of `distalign.divergences`.

    Raises:
        InputError: the Bradley-Terry fit did not converge.
    """
    reward, average, logits = found.reward, found.utilities.average, spread_of(found.reward)
    shrunk = TEMPERATURE / (1 + TEMPERATURE)

    def penalised(f: str) -> Method:
        return Method(f"f-DPO ({f})", "beta", lambda beta: f_dpo(reward, beta, f), logits)

    def by_prompt(target: Callable[[Array], Tilt]) -> Tilt:
        several = [target(win) for win in found.wins]
        return Tilt(several[0].method, np.concatenate([one.log_weights for one in several]))

    unknown = (
        "preferences are not Bradley-Terry, and no closed form of KLDPO is known there: give users of one "
        "kind, or train it and judge its texts"
    )
    return [
        Method("optimum", "lambda", lambda strength: rlhf(average, strength), spread_of(average)),
        Method("DPO, RLHF", "beta", lambda beta: rlhf(reward, beta), logits),
        *(penalised(f) for f in divergences),
        Method("IPO", "beta", lambda beta: by_prompt(lambda win: ipo(win, beta)), spread_of(found.borda)),
        Method(
            f"KLDPO (temperature {TEMPERATURE:g})",
            "beta",
            lambda beta: kldpo(reward, beta, TEMPERATURE),
            logits * shrunk,
            unknown if found.error > SAME else "",
        ),
        Method("p+ (SFT, DDRO, RDRO)", "", lambda _: by_prompt(p_plus)),
        Method(
            "NLHF",
            "lambda",
            lambda strength: by_prompt(lambda win: nlhf(win, strength=strength)),
            2 * spread_of(found.borda),
        ),
    ]


def spread_of(values: Array) -> float:
    """Root mean square over prompts of the standard deviation of (S, N) values inside each."""
    return float(np.sqrt(values.var(axis=1).mean()))
