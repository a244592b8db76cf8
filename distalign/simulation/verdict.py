"""What the rows of a study say of a claim, in the words its kind allows.

A study returns `Check`s made by the functions below; the claim's verdict is theirs together. An upper bound
that holds is "not violated", a steeper slope than the guarantee is "respected, faster than guaranteed", and
neither is ever "verified".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from distalign.intervals import mean_interval
from distalign.simulation.rates import log_slope


@dataclass(frozen=True)
class Check:
    """One test inside a claim.

    Attributes:
        name: what was tested, unique within the claim.
        kind: identity, bound, rate, separation or growth.
        outcome: what may be said ("holds", "not violated", "matches -1/2", ...).
        passed: whether that is what the check asks for.
        statistic: the measured number (largest deviation, tightest margin, slope, mean difference, largest
            residual).
        low, high: its interval; NaN where the statistic is an extreme over all rows.
        detail: what a reader needs beside it (tolerance, local slopes, counts).
        excluded: rows left out because they were not finite.
    """

    name: str
    kind: str
    outcome: str
    passed: bool
    statistic: float
    low: float = float("nan")
    high: float = float("nan")
    detail: str = ""
    excluded: int = 0


@dataclass(frozen=True)
class Verdict:
    """The checks of one claim, taken together.

    Attributes:
        leading: the first check that did not pass; if all did, the first of the claim's kind.
        passed: whether every check passed.
        checks: all of them.
    """

    leading: Check
    passed: bool
    checks: tuple[Check, ...]

    @property
    def outcome(self) -> str:
        """What may be said: the words of the leading check."""
        return self.leading.outcome


def judge(kind: str, checks: list[Check]) -> Verdict:
    """The verdict on a claim of `kind`: every check must pass, and its words come from the leading one.

    Example:
        >>> judge("identity", [identity("a", [1e-12], 1e-9), identity("b", [1.0], 1e-9)]).outcome
        'fails'
    """
    failed = [c for c in checks if not c.passed]
    leading = (failed or [c for c in checks if c.kind == kind] or checks)[0]
    return Verdict(leading, not failed, tuple(checks))


def identity(name: str, deviations: ArrayLike, tolerance: float) -> Check:
    """Two independent roads agree: the largest |deviation| is at most `tolerance`. A non-finite deviation
    fails.

    Example:
        >>> identity("sorted = linear program", [1e-12, -3e-11], 1e-9).outcome
        'holds'
    """
    worst = _largest(np.abs(np.asarray(deviations, float)))
    return _check(name, "identity", worst <= tolerance, ("holds", "fails"), worst, f"tolerance {tolerance:g}")


def differs(name: str, deviations: ArrayLike, at_least: float) -> Check:
    """A predicted failure of an identity: the largest |deviation| is at least `at_least`.

    Example:
        >>> differs("0/1 penalty", [0.0, 0.67], 0.1).outcome
        'differs as predicted'
    """
    worst = _largest(np.abs(np.asarray(deviations, float)))
    return _check(
        name,
        "identity",
        at_least <= worst < np.inf,
        ("differs as predicted", "does not differ"),
        worst,
        f"asked for at least {at_least:g}",
    )


def bound(
    name: str, values: ArrayLike, limits: ArrayLike, *, slack: float = 1e-9, vacuous: ArrayLike = False
) -> Check:
    """Every value is at most its limit, up to the relative rounding `slack`; the statistic is the tightest
    margin.

    The margin is (limit - value)/|limit|, smallest over the rows. `vacuous` marks rows whose limit says
    nothing (it exceeds what the value can be at all): they are counted and shown, and a bound that is vacuous
    everywhere does not pass.

    Example:
        >>> bound("distortion <= C", [1.2, 1.0], 1.3).outcome
        'not violated'
    """
    values, limits, empty = np.broadcast_arrays(
        np.asarray(values, float), np.asarray(limits, float), np.asarray(vacuous)
    )
    margins = (limits - values) / np.abs(limits)
    tightest = -_largest(-margins)
    passed = tightest >= -slack and not empty.all()
    detail = f"{margins.size} cases, tightest margin {tightest:.3g}, vacuous in {empty.sum()}"
    return _check(
        name,
        "bound",
        passed,
        ("not violated", "violated" if tightest < -slack else "vacuous"),
        tightest,
        detail,
    )


def rate(
    name: str,
    rows: pd.DataFrame,
    *,
    guarantee: float | None = None,
    matches: float | None = None,
    margin: float = 0.05,
    min_size: float = 0,
    size: str = "size",
    error: str = "error",
    aggregate: str = "mean",
) -> Check:
    """The slope of log error on log n, against a guaranteed exponent or an exact one.

    With `guarantee` g (an upper bound on the error ~ n^g): "respected, faster than guaranteed" if the
    interval ends below g, "respected" if it holds g, "not respected" if it lies above. With `matches` b:
    "matches b" only if the interval holds b and reaches no further than `margin` from it. Sizes below
    `min_size` are dropped by this rule, fixed beforehand in the study, never by eye.

    Args:
        name: what was tested.
        rows: one row a replicate, with columns `size` and `error`.
        guarantee: exponent of an upper bound; give this or `matches`.
        matches: exponent the error should have.
        margin: how wide the interval may reach from `matches`.
        min_size: smallest size of the fit.
        size, error: column names.
        aggregate: `mean` or `rms` over replicates.

    Example:
        >>> rows = pd.DataFrame({"size": [10.0, 100.0, 1000.0], "error": [0.1, 0.031623, 0.01]})
        >>> rate("slope", rows, guarantee=-0.25).outcome
        'respected, faster than guaranteed'
    """
    sizes, errors = rows[size].to_numpy(float), rows[error].to_numpy(float)
    kept = sizes >= min_size
    s = log_slope(sizes[kept], errors[kept], aggregate=aggregate)
    detail = "local slopes " + " ".join(f"{x:.2f}" for x in s.local) + f", n >= {s.sizes[0]:g}"
    if matches is not None:
        passed = s.low <= matches <= s.high and max(s.high - matches, matches - s.low) <= margin
        words = (f"matches {matches:g}", f"does not match {matches:g}")
        return _check(name, "rate", passed, words, s.estimate, detail, s.low, s.high, s.excluded)
    if guarantee is None:
        raise TypeError("give guarantee or matches")
    good = "respected, faster than guaranteed" if s.high < guarantee else "respected"
    return _check(
        name,
        "rate",
        s.low <= guarantee,
        (good, "not respected"),
        s.estimate,
        f"guarantee {guarantee:g}, " + detail,
        s.low,
        s.high,
        s.excluded,
    )


def separation(name: str, differences: ArrayLike) -> Check:
    """Paired differences (worse minus better, one a seed) have a mean whose 99 % interval lies above zero.

    Example:
        >>> separation("A beats B", [0.2, 0.3, 0.25]).outcome
        'shown'
    """
    values = np.asarray(differences, float)
    kept = values[np.isfinite(values)]
    if len(kept) < 3:
        return Check(
            name,
            "separation",
            "not shown",
            False,
            float("nan"),
            detail="fewer than three finite differences",
            excluded=len(values) - len(kept),
        )
    mean, low, high = mean_interval(kept)
    return _check(
        name,
        "separation",
        low > 0,
        ("shown", "not shown"),
        mean,
        f"{len(kept)} paired differences",
        low,
        high,
        len(values) - len(kept),
    )


def growth(name: str, observed: ArrayLike, predicted: ArrayLike, tolerance: float) -> Check:
    """Observed values follow a predicted law: the largest relative residual is at most `tolerance`.

    Example:
        >>> growth("worst family follows the curve", [1.99, 4.02], [2.0, 4.0], 0.01).outcome
        'follows'
    """
    observed, predicted = np.asarray(observed, float), np.asarray(predicted, float)
    worst = _largest(np.abs(observed / predicted - 1))
    return _check(
        name,
        "growth",
        worst <= tolerance,
        ("follows", "does not follow"),
        worst,
        f"largest relative residual, tolerance {tolerance:g}",
    )


def _largest(values: np.ndarray) -> float:
    """The largest value; infinity if there is none or one is not a number, so that no check passes on
    nothing.
    """
    return float(values.max()) if values.size and not np.isnan(values).any() else float("inf")


def _check(
    name: str,
    kind: str,
    passed: bool,
    words: tuple[str, str],
    statistic: float,
    detail: str,
    low: float = float("nan"),
    high: float = float("nan"),
    excluded: int = 0,
) -> Check:
    return Check(
        name, kind, words[0] if passed else words[1], bool(passed), statistic, low, high, detail, excluded
    )
