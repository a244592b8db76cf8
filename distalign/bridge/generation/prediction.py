r"""What each method will end at for one language model and one population, before anything is trained.

For every method at a strength, or at the strength at which it spends a given KL, expectations under its
population optimum are read from weighted draws of the reference (`distalign.bridge.generation.tilts`):

* reward: the Bradley-Terry reward that a fit to the users' preferences finds, in logits, minus that of the
  reference. It is what RLHF, DPO and f-DPO maximise.
* average_utility: \sum_k s_k E u_k over types of users k with shares s_k; gain is that minus the
  reference's; worst_off is the smallest E u_k; and there is one for each group.
* kl in nats, and entropy of a text in nats.
* distortion: the largest average utility in the ball KL <= `budget` over the one achieved. The ball is the
  same for all methods; a method that spends more has none.

All are means over prompts. Intervals are 95 % with prompts as clusters (`estimates.over_prompts`); that of
the distortion is of the ratio of means, linearised. worst_off has the interval of the type that is worst off.

Source: ours; distortion and average utility are those of Gölz et al., arXiv 2505.23749.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from distalign.bridge.generation.estimates import over_prompts
from distalign.bridge.generation.methods import DIVERGENCES, SAME, Method, Preferences, methods, spread_of
from distalign.bridge.generation.tilts import SPARE_NATS, Tilt, rlhf
from distalign.bridge.generation.users import Utilities
from distalign.checks import InputError, positive
from distalign.divergences import divergence
from distalign.progress import progress_bar
from distalign.types import Array

LEVEL = 0.95
MEASURES = ("kl", "average_utility", "gain", "worst_off", "reward", "entropy", "distortion")
INSIDE = 1.005
"""A method's KL may be so many times the ball's radius: strengths are found to a tenth of a per cent."""
POINTS = 40
"""Of the frontier."""


@dataclass(frozen=True)
class Prediction:
    """What was found.

    Attributes:
        table: one row a method and strength: method, strength, strength_name, then each of `MEASURES` and
            `group: NAME` with _low and _high; effective_size and largest_weight, the worst over prompts;
            refused, a sentence, and then no numbers.
        frontier: kl, gain, gain_low and gain_high of the largest average utility at each KL.
        notes: sentences that belong beside the numbers.
    """

    table: pd.DataFrame
    frontier: pd.DataFrame
    notes: tuple[str, ...]


def predict(
    utilities: Utilities,
    ref_log_prob: Array,
    *,
    budget: float = 0.5,
    betas: Sequence[float] = (),
    divergences: Sequence[str] = DIVERGENCES,
    progress: bool = False,
) -> Prediction:
    """The table of all methods on draws of the reference.

    Args:
        utilities: what each type of user gets from each draw.
        ref_log_prob: (S, N) log-probabilities of the draws under the reference.
        budget: KL of the ball in nats, a mean over prompts.
        betas: strengths to predict at; none means, for each method, the one at which it spends the budget.
        divergences: of f-DPO.
        progress: show a bar over the methods, once the users' preferences are known.

    Raises:
        InputError: one prompt, fewer draws than the budget needs, average utilities that are the same for
            all draws of a prompt, or a value that is out of range.
    """
    _check(utilities, ref_log_prob, budget, betas)
    for name in divergences:
        divergence(name)
    found = Preferences(utilities)
    known = methods(found, divergences)
    optimum = known[0].spending(budget)
    best = None if optimum[1].refusals() else optimum[1].mean(utilities.average)
    measure = _Measure(found, ref_log_prob, budget, best, {known[0].name: optimum})
    rows = [measure.row(Method("reference", "", lambda _: _even(ref_log_prob)), None)]
    with progress_bar(len(known), "predicting", "method", shown=progress) as bar:
        for method in known:
            several = betas if betas and method.strength and method.name != "optimum" else (None,)
            rows += [measure.row(method, beta) for beta in several]
            bar.update(1)
    return Prediction(
        pd.DataFrame(rows), _frontier(utilities.average, rows, budget), _notes(found, divergences)
    )


def _check(utilities: Utilities, ref_log_prob: Array, budget: float, betas: Sequence[float]) -> None:
    s, n = utilities.values.shape[1:]
    if ref_log_prob.shape != (s, n):
        raise InputError(f"ref_log_prob must be {(s, n)}, one for each draw, got shape {ref_log_prob.shape}")
    if s < 2:
        raise InputError(
            "the draws are of one prompt, which has no interval: draw texts to at least two prompts"
        )
    positive("kl", budget, "it is the radius of the ball in nats")
    for beta in betas:
        positive("beta", beta, "it is the strength of a penalty")
    most = math.log(n) - SPARE_NATS
    if budget > most:
        need = math.ceil(math.exp(min(budget, 40.0) + SPARE_NATS))  # more than anybody draws, but a number
        rather = f", or ask for at most --kl {math.floor(100 * most) / 100:g}" if most >= 0.01 else ""
        raise InputError(
            f"a KL of {budget:g} nats needs {need} draws a prompt (log N - {SPARE_NATS:g}) and there are {n}"
            f": draw them with `distalign generate --samples-per-prompt {need}`{rather}"
        )
    flat = np.flatnonzero(np.ptp(utilities.average, axis=1) <= 1e-12)
    if len(flat):
        raise InputError(
            f"the average utility is the same for all draws of prompt {utilities.prompts[flat[0]]}, so there "
            "is nothing to learn there: leave the prompt out, or use a score that varies"
        )


@dataclass(frozen=True, eq=False)
class _Measure:
    """Makes rows of the table."""

    found: Preferences
    ref_log_prob: Array
    budget: float
    best: Array | None  # (S,) largest average utility in the ball, where the draws carry it
    spent: dict[str, tuple[float, Tilt]]  # what was solved before, by method: strength and weights

    def row(self, method: Method, strength: float | None) -> dict[str, Any]:
        """One method at a strength; None means at the one that spends the budget, or that there is none."""
        named: dict[str, Any] = {
            "method": method.name,
            "strength": strength,
            "strength_name": method.strength,
        }
        try:
            if method.unknown:
                raise InputError(method.unknown)
            if strength is not None or not method.strength:
                tilt = method.target(strength or 0.0)
            else:
                named["strength"], tilt = self.spent.get(method.name) or method.spending(self.budget)
        except InputError as error:
            return {**named, "refused": str(error)}
        named |= {
            "effective_size": float(tilt.effective_size().min()),
            "largest_weight": float(tilt.largest_weight().max()),
        }
        if refusals := tilt.refusals():
            return {**named, "refused": refusals[0].removeprefix(f"{tilt.method}: ")}
        return {**named, **self.measures(tilt), "refused": ""}

    def measures(self, tilt: Tilt) -> dict[str, float]:
        """All measures with their intervals."""
        given, users = self.found.utilities, self.found.utilities.users
        average = tilt.mean(given.average)
        each = np.stack([tilt.mean(one) for one in given.values])
        kl = tilt.kl()
        values = {
            "kl": kl,
            "average_utility": average,
            "gain": average - given.average.mean(1),
            "worst_off": each[each.mean(1).argmin()],
            "reward": tilt.mean(self.found.reward),
            "entropy": tilt.entropy(self.ref_log_prob),
        }
        for group in dict.fromkeys(users.groups or ()):
            inside = np.array([one == group for one in users.groups or ()]) * users.shares
            values[f"group: {group}"] = inside @ each / inside.sum()
        if self.best is not None and kl.mean() <= INSIDE * self.budget:
            ratio = self.best.mean() / average.mean()
            values["distortion"] = ratio + (self.best - ratio * average) / average.mean()
        row = {}
        for name, several in values.items():
            mean = over_prompts(several, level=LEVEL)
            row |= {name: mean.value, f"{name}_low": mean.low, f"{name}_high": mean.high}
        return row


def _even(values: Array) -> Tilt:
    """The reference itself."""
    return Tilt("reference", np.full(values.shape, -np.log(values.shape[1])))


def _frontier(average: Array, rows: Sequence[dict[str, Any]], budget: float) -> pd.DataFrame:
    """The largest average utility from no KL to beyond what all methods spend, where the draws carry it."""
    spent = max([budget, *(row["kl"] for row in rows if not row["refused"])])
    spread = spread_of(average)
    found = [{"kl": 0.0, "gain": 0.0, "gain_low": 0.0, "gain_high": 0.0}]
    for kl in spent * np.linspace(0, 1.25, POINTS + 1)[1:] ** 2:
        tilt = rlhf(average, spread / np.sqrt(2 * kl))
        if tilt.refusals():
            break
        gain = over_prompts(tilt.mean(average) - average.mean(1), level=LEVEL)
        found.append(
            {
                "kl": float(tilt.kl().mean()),
                "gain": gain.value,
                "gain_low": gain.low,
                "gain_high": gain.high,
            }
        )
    return pd.DataFrame(found)


def _notes(found: Preferences, divergences: Sequence[str]) -> tuple[str, ...]:
    notes = ["preferences are Bradley-Terry, so DPO and f-DPO maximise the users' own reward"]
    if found.error > SAME:
        notes = [
            f"preferences are not Bradley-Terry (the fit misses one by up to {found.error:.2g}): DPO and "
            "f-DPO are predicted by the reward that a fit finds, on pairs of draws of the reference"
        ]
    if bounded := [name for name in divergences if divergence(name).link_supremum < math.inf]:
        notes.append(
            f"f-DPO with {', '.join(bounded)} may put mass on the best text however rare, so a text that was "
            "not drawn can change its optimum without a trace in the draws"
        )
    return tuple(notes)
