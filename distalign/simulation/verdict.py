"""What the rows of a study say of a claim, in the words that the kind of the claim allows.

A study returns `Check`s, which the functions below make from its rows. All of them together are the verdict
on the claim (`judge`). A finite computation never proves a theorem, so each kind of check has its own words,
and none of them is "verified":

* An identity *holds* where two independent computations of one quantity agree up to a tolerance, else it
  *fails*. Where theory predicts that two quantities differ, they *differ as predicted* or not.
* A bound is *not violated* where every value lies on the right side of its limit. The check reports the
  tightest margin, for a bound far from every value has hardly been tested. A bound is *vacuous* where it says
  less than is known without it, and does not pass where it is vacuous everywhere.
* A rate is the slope of log error on log n. A guarantee is an upper bound on the error. It is *respected*
  where the interval of the slope holds the guaranteed exponent, and *respected, faster than guaranteed* where
  the whole interval lies below it. An interval that also holds half of the guaranteed exponent is *too wide
  to tell*, for it could not have shown a violation. An exact exponent *matches* only where the interval at
  the level of the whole ledger holds it and the 99 % interval is narrow, because a wide interval would hold
  any exponent.
* A separation is *shown* where the interval of the paired differences lies above zero by more than rounding,
  else *not shown*, which does not mean that there is none.
* A law of growth *follows* or *does not follow* a predicted curve, up to a relative residual.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from distalign.intervals import mean_interval
from distalign.simulation.rates import log_slope

ROUNDING = 1e-9
"""What two computations of one number may differ by without meaning anything."""


@dataclass(frozen=True)
class Check:
    """One test inside a claim.

    Attributes:
        name: what was tested, unique within the claim.
        kind: identity, bound, rate, separation or growth.
        outcome: what may be said ("holds", "not violated", "matches -1/2", ...).
        passed: whether the outcome is the one that the check asks for.
        statistic: the measured number: the largest deviation, the tightest margin, the slope, the mean
            difference or the largest residual.
        low, high: the interval of the statistic; NaN where the statistic is an extreme over all rows.
        detail: what a reader needs beside the statistic: the tolerance, local slopes, counts.
        excluded: number of rows left out because they were not finite.
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
        leading: the first check that did not pass; if all passed, the first check of the claim's kind.
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
    """The verdict on a claim of `kind`.

    A claim passes only if every one of its checks passes. The words of the verdict are those of the leading
    check.

    Example:
        >>> judge("identity", [identity("a", [1e-12], 1e-9), identity("b", [1.0], 1e-9)]).outcome
        'fails'
    """
    failed = [c for c in checks if not c.passed]
    leading = (failed or [c for c in checks if c.kind == kind] or checks)[0]
    return Verdict(leading, not failed, tuple(checks))


def identity(name: str, deviations: ArrayLike, tolerance: float) -> Check:
    """Check that two independent computations agree: the largest |deviation| is at most `tolerance`.

    A deviation that is not finite fails the check.

    Args:
        name: what was tested.
        deviations: differences of the two computations, of any shape.
        tolerance: largest |deviation| that passes, in the same unit.

    Example:
        >>> identity("sorted = linear program", [1e-12, -3e-11], 1e-9).outcome
        'holds'
    """
    worst = _largest(np.abs(np.asarray(deviations, float)))
    return _check(name, "identity", worst <= tolerance, ("holds", "fails"), worst, f"tolerance {tolerance:g}")


def differs(name: str, deviations: ArrayLike, at_least: float) -> Check:
    """Check that an identity fails as predicted: the largest |deviation| is finite and at least `at_least`.

    Args:
        name: what was tested.
        deviations: differences of the two quantities, of any shape.
        at_least: smallest |deviation| that passes.

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
    """Check that every value is at most its limit; the statistic is the tightest margin.

    The margin of a row is (limit - value)/|limit|, and the tightest one is the smallest over the rows. A
    bound that is vacuous everywhere does not pass.

    Args:
        name: what was tested.
        values: what is bounded.
        limits: the bounds, broadcast against `values`.
        slack: rounding that is allowed, as a share of the limit.
        vacuous: which rows have a limit that says nothing, because the value cannot exceed it whatever
            happens. They are counted and shown.

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
    """Compare the slope of log error on log n with a guaranteed exponent, or with an exact one.

    With `guarantee` g, an upper bound on the error ~ n^g: "respected, faster than guaranteed" if the interval
    ends below g, "respected" if it holds g, "not respected" if it lies above. An interval that also holds
    half of the guaranteed exponent could not have told a violation, so it is "too wide to tell" and does not
    pass.

    With `matches` b: "matches b" if the interval at the level of the whole ledger
    (`distalign.intervals.SIMULTANEOUS`) holds b and the 99 % interval reaches no further than `margin`
    from b. So a package whose exponents are all right is told so in 99 of 100 ledgers, and a wrong exponent
    is still seen.

    Sizes below `min_size` are dropped by this rule, fixed beforehand in the study, never by eye.

    Args:
        name: what was tested.
        rows: one row a replicate, with columns `size` and `error`.
        guarantee: exponent of an upper bound on the error; give this or `matches`.
        matches: exponent that the error should have.
        margin: how far the interval may reach from `matches`.
        min_size: smallest size that takes part in the fit.
        size, error: names of the columns.
        aggregate: `mean` or `rms` of the errors over replicates.

    Raises:
        TypeError: neither `guarantee` nor `matches` is given.
        InputError: as `distalign.simulation.rates.log_slope`.

    Example:
        >>> sizes = np.repeat([10.0, 100.0, 1000.0], 2)
        >>> rate("slope", pd.DataFrame({"size": sizes, "error": sizes**-0.5}), guarantee=-0.25).outcome
        'respected, faster than guaranteed'
    """
    sizes, errors = rows[size].to_numpy(float), rows[error].to_numpy(float)
    large = sizes >= min_size
    s = log_slope(sizes[large], errors[large], aggregate=aggregate)
    detail = "local slopes " + " ".join(f"{x:.2f}" for x in s.local) + f", n >= {s.sizes[0]:g}"
    if matches is not None:
        passed = s.family[0] <= matches <= s.family[1] and max(s.high - matches, matches - s.low) <= margin
        words = (f"matches {matches:g}", f"does not match {matches:g}")
        detail += f", at the level of the ledger [{s.family[0]:.3g}, {s.family[1]:.3g}]"
        return _check(name, "rate", passed, words, s.estimate, detail, s.low, s.high, s.excluded)
    if guarantee is None:
        raise TypeError("give guarantee or matches")
    if s.low > guarantee:
        outcome = "not respected"
    elif not s.high < guarantee / 2:
        outcome = "too wide to tell"
    else:
        outcome = "respected, faster than guaranteed" if s.high < guarantee else "respected"
    detail = f"guarantee {guarantee:g}, {detail}"
    passed = outcome.startswith("respected")
    return Check(name, "rate", outcome, passed, s.estimate, s.low, s.high, detail, s.excluded)


def separation(name: str, differences: ArrayLike) -> Check:
    """Check that paired differences have a mean whose 99 % interval lies above zero, by more than rounding.

    Two computations of the same number differ by rounding, often with the same sign in every replicate, so
    the interval must end above `ROUNDING`. With fewer than three finite differences the outcome is "not
    shown".

    Args:
        name: what was tested.
        differences: (N,) the worse minus the better, one difference a seed, in a unit in which differences of
            1e-9 mean nothing (nats, shares, utilities).

    The interval is that of `distalign.intervals`: with three seeds it is Student's on two degrees of
    freedom, so a study needs enough seeds for its effect, or the verdict is "not shown".

    Example:
        >>> separation("A beats B", [0.2, 0.21, 0.2, 0.22]).outcome
        'shown'
        >>> separation("A beats itself, computed twice", [7e-13, 6e-13, 8e-13, 7e-13]).outcome
        'not shown'
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
        low > ROUNDING,
        ("shown", "not shown"),
        mean,
        f"{len(kept)} paired differences",
        low,
        high,
        len(values) - len(kept),
    )


def growth(name: str, observed: ArrayLike, predicted: ArrayLike, tolerance: float) -> Check:
    """Check that observed values follow a predicted law: no relative residual exceeds `tolerance`.

    Args:
        name: what was tested.
        observed: what was measured.
        predicted: what the law says, not 0, of the same shape.
        tolerance: largest |observed/predicted - 1| that passes.

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
    """The largest value, or infinity.

    Infinity stands for no values at all and for values that are not numbers, so that no check passes on
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
    """A check whose outcome is the first of `words` if it passed, and the second if not."""
    return Check(
        name, kind, words[0] if passed else words[1], bool(passed), statistic, low, high, detail, excluded
    )
