"""How far preferences must move before a trained policy is no better than the reference.

The paper says that DPO can fail badly when preferences shift. Here that is a number (ours): the
break-even radius, the least distance of a law under which the policy's loss reaches log 2, the
reference's under every law (`distalign.theory.robust.break_even`). Populations are random log-linear
Bradley-Terry ones with rewards of several norms; laws are exact.

The run. On each population: DPO, KLDPO at temperature 1, DPO shrunk by 1/2 (which KLDPO is) and by 1/100,
and for each ball the robust optimum at 95 % of its collapse radius. Break-even radii are found by a root
search on the worst-case loss of `distalign.solvers.robust`, in balls of KL, chi-square, Wasserstein order
1 on the finite space and on R^d. A second part has the worst loss of DPO and KLDPO at shares of the
collapse radius.

The second road. For KL the dual of an information projection in one variable and, on the first
populations, cvxpy's program for the worst law at the radius found; for chi-square a closed form; for the
finite Wasserstein ball its dual by bisection. On R^d at order 1 the radius is (log 2 - E l) / (beta
|theta|).

What is seen. At a norm of 2.5 DPO loses to the reference from 0.05 nats on, a quarter of the collapse
radius. KLDPO at temperature 1 withstands 2.2 times as much in KL, and a policy that is hardly trained four
times; nothing withstands more. That is no merit of robust training: DPO shrunk by tau / (1 + tau) does the
same in every ball. What no multiple of DPO reaches are the last 10 to 15 % of a Wasserstein ball's collapse
radius, where the direction matters.

The checks, fixed beforehand. Separations: KLDPO's radius over DPO's, in each ball; the robust optimum of
the ball on R^d over the limit of all multiples of DPO. Identities: KLDPO and shrunk DPO; both roads; the
limit of shrunk DPO's KL radius and the collapse radius. Bounds: no KL radius exceeds the collapse
radius; the optimum for a radius breaks even no earlier than there. Growth: at a norm of 1/4 the radius of
c times DPO is (2 - c)^2 times DPO's, within 2 %.

The planted defects: the radii of the three solvers of worst laws 5 % off; KLDPO without its temperature,
which is DPO; the radii of the three robust fits halved; the limit with the margin in place of half of it;
and the gain of weak preferences not squared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from distalign.oracles.ambiguity import kl_ball_value
from distalign.populations import log_linear_bradley_terry
from distalign.simulation.defects import Defect, argument, no_cell, where
from distalign.simulation.rates import summarise
from distalign.simulation.studies.robust.balls import Ball
from distalign.simulation.studies.robust.balls import ball as ball_around
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.solvers.robust.chi2_ball import chi2_worst_case
from distalign.solvers.robust.chi2_fit import chi2_collapse_radius
from distalign.solvers.robust.kl_ball import kl_worst_case
from distalign.solvers.robust.kl_fit import fit_kl_ball, fit_kl_temperature
from distalign.solvers.robust.wasserstein_ball import wasserstein_worst_case
from distalign.solvers.robust.wasserstein_finite import fit_finite
from distalign.solvers.robust.wasserstein_norm import fit_norm
from distalign.theory.robust import break_even as theory
from distalign.theory.robust.kldpo import shrinkage_factor
from distalign.types import Array

KL, CHI2, FINITE, NORM = "KL", "chi-square", "W1 finite", "W1 on R^d"
BALLS = (KL, CHI2, FINITE, NORM)


def _radii_in(*kinds: str) -> Callable[[Mapping[str, Any]], bool]:
    """The choice of the cells with the radii of these balls."""
    return where(part="radii", ball=set(kinds))


def _full_margin(right: Any) -> Any:
    """`largest_break_even` with the margin where half of it belongs."""
    return lambda margins, p: right(2 * np.asarray(margins), p)


def _not_squared(right: Any) -> Any:
    return lambda factor: right(factor) ** 0.5


DEFECTS = (
    Defect(
        "the radius of the KL ball 5 % too small",
        kl_worst_case,
        argument("radius", lambda r: 0.95 * r),
        _radii_in(KL),
    ),
    Defect(
        "the radius of the chi-square ball 5 % too large",
        chi2_worst_case,
        argument("radius", lambda r: 1.05 * r),
        _radii_in(CHI2),
    ),
    Defect(
        "the radius of the Wasserstein ball 5 % too large",
        wasserstein_worst_case,
        argument("radius", lambda r: 1.05 * r),
        _radii_in(FINITE),
    ),
    Defect(
        "KLDPO without its temperature",
        fit_kl_temperature,
        argument("temperature", lambda t: np.inf),
        _radii_in(*BALLS),
    ),
    *(
        Defect(f"the radius halved: {kind}", fit, argument("radius", lambda r: r / 2), _radii_in(kind))
        for kind, fit in ((KL, fit_kl_ball), (FINITE, fit_finite), (NORM, fit_norm))
    ),
    Defect("the margin in place of half of it", theory.largest_break_even, _full_margin, _radii_in(KL)),
    Defect("the gain of weak preferences not squared", theory.weak_gain, _not_squared, no_cell),
)
PROMPTS, RESPONSES, DIMENSION, BETA = 3, 4, 3, 1.0
TEMPERATURE, HARDLY, SHARE, WEAK = 1.0, 0.01, 0.95, 0.25
SHOWN = 2.5  # norm of the reward for which worst losses are in the table
CHEAP = 4  # times as many populations for the ball on R^d, whose robust loss is a closed form
CROSSED = 3  # populations on which cvxpy solves for the worst law, in each cell


def cells(norms: list[float], shares: list[float], instances: int) -> list[dict[str, Any]]:
    """One cell per ball and norm of the reward for the radii, and one per ball for the worst losses."""
    return [
        *(
            {
                "part": "radii",
                "ball": kind,
                "norm": n,
                "instances": instances * (CHEAP if kind == NORM else 1),
            }
            for kind in BALLS
            for n in norms
        ),
        *(
            {"part": "losses", "ball": kind, "norm": SHOWN, "instances": instances, "shares": shares}
            for kind in BALLS
        ),
    ]


def run(
    rng: np.random.Generator,
    *,
    part: str,
    ball: str,
    norm: float,
    instances: int,
    shares: list[float] | None = None,
) -> dict[str, Any]:
    """Break-even radii of each policy on each population, or worst losses at shares of collapse."""
    rows: list[dict[str, Any]] = []
    for number in range(instances):
        instance = log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=norm, beta=BETA)
        around = ball_around(ball, instance)
        found = _losses(around, shares) if shares is not None else _radii(around, number)
        rows += [{"instance": number, **row} for row in found]
    return dict(pd.DataFrame(rows))


def _policies(around: Ball) -> dict[str, Array]:
    """DPO, KLDPO and two multiples of DPO."""
    fit = partial(fit_kl_temperature, around.v, around.p)
    dpo, kldpo = (fit(temperature=t).theta[0] for t in (np.inf, TEMPERATURE))
    shrunk = shrinkage_factor(TEMPERATURE) * dpo
    return {"DPO": dpo, "KLDPO": kldpo, "shrunk DPO": shrunk, "hardly trained": HARDLY * dpo}


def worst_loss(around: Ball, theta: Array, radius: float) -> float:
    """The largest loss that a law of the ball can give to a policy."""
    if around.kind == CHI2:
        return float(chi2_worst_case(np.logaddexp(0, -around.v @ theta), around.p, radius).value)
    return float(around.value(theta[None], radius)[0])


def break_even(around: Ball, theta: Array) -> float:
    """The radius at which the worst loss of a policy is log 2, by a root search."""

    def excess(log_radius: float) -> float:
        return worst_loss(around, theta, float(np.exp(log_radius))) - theory.LEVEL

    low = high = -5.0
    while excess(high) < 0:
        high += 1.0
    while excess(low) > 0:
        low -= 1.0
    log_radius: Any = brentq(excess, low, high, xtol=1e-13)
    return float(np.exp(log_radius))


def again(around: Ball, theta: Array) -> float:
    """The same radius by theory."""
    losses = np.logaddexp(0, -around.v @ theta)
    if around.kind == FINITE:
        return theory.transport_break_even(losses, around.p, around.cost, 1.0)
    if around.kind == NORM:
        return (theory.LEVEL - float(around.p @ losses)) / (BETA * float(np.linalg.norm(theta)))
    roads: dict[str, Callable[..., float]] = {KL: theory.kl_break_even, CHI2: theory.chi2_break_even}
    return roads[around.kind](losses, around.p)


def collapse(around: Ball) -> float:
    """The radius from which on the robust optimum is the reference."""
    return (
        float(chi2_collapse_radius(around.v, around.p)[0])
        if around.kind == CHI2
        else around.collapse_radius()
    )


def _limit(around: Ball, dpo: Array) -> float:
    """The limit of the break-even radius of c times DPO for c -> 0: the distance to laws with E t <= 0."""
    margins = around.v @ dpo
    if around.kind == NORM:
        return float(around.p @ margins) / (2 * float(np.linalg.norm(dpo)))
    lines = theory.LEVEL - margins / np.abs(margins).max()  # E_Q of it is log 2 where E_Q t is 0
    if around.kind == FINITE:
        return theory.transport_break_even(lines, around.p, around.cost, 1.0)
    return theory.largest_break_even(margins, around.p) if around.kind == KL else np.nan


def _radii(around: Ball, number: int) -> list[dict[str, Any]]:
    """One row per policy of one population."""
    policies, threshold, rows = _policies(around), collapse(around), []
    limit = _limit(around, policies["DPO"])
    if around.kind != CHI2:
        policies["robust"] = around.fit(SHARE * threshold).theta
    for name, theta in policies.items():
        radius = break_even(around, theta)
        crossed = around.kind == KL and name == "DPO" and number < CROSSED
        losses = np.logaddexp(0, -around.v @ theta)
        rows.append(
            {
                "policy": name,
                "radius": radius,
                "collapse": threshold,
                "limit": limit,
                "again": radius / again(around, theta) - 1,
                "program": kl_ball_value(losses, around.p, radius) - theory.LEVEL if crossed else np.nan,
            }
        )
    return rows


def _losses(around: Ball, shares: list[float]) -> list[dict[str, Any]]:
    """Worst loss over the loss at training of DPO and of KLDPO, in balls of shares of the collapse radius."""
    rows, policies, threshold = [], _policies(around), collapse(around)
    for name in ("DPO", "KLDPO"):
        trained = float(around.p @ np.logaddexp(0, -around.v @ policies[name]))
        worst = [worst_loss(around, policies[name], share * threshold) for share in shares]
        rows += [
            {"policy": name, "share": s, "ratio": w / trained, "trained": trained}
            for s, w in zip(shares, worst, strict=True)
        ]
    return rows


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Radii by norm, ball and policy, with their mean multiple of DPO's; mean worst losses over the loss at
    training.
    """
    radii = _with_gain(rows.loc[rows.part == "radii"])
    keys = ["norm", "ball", "policy"]
    means = summarise(radii, keys, "gain").assign(part="radii")
    of_collapse = radii.assign(of_collapse=radii.radius / radii.collapse)
    kept = of_collapse.groupby(keys, as_index=False).agg(
        radius=("radius", "mean"), of_collapse=("of_collapse", "mean")
    )
    means = means.merge(kept, on=keys)
    losses = rows.loc[rows.part == "losses"]
    ratios = summarise(losses, [*keys, "share"], "ratio").assign(part="losses")
    trained = losses.groupby(keys, as_index=False)[["trained"]].mean()
    return pd.concat([means, ratios.merge(trained)], ignore_index=True)


def _with_gain(radii: pd.DataFrame) -> pd.DataFrame:
    """The radii with their multiple of DPO's radius on the same population and in the same ball."""
    keys = ["norm", "instance", "ball"]
    own = radii.loc[radii.policy == "DPO", [*keys, "radius"]].rename(columns={"radius": "of_dpo"})
    merged = radii.merge(own, on=keys)
    return merged.assign(gain=merged.radius / merged.of_dpo)


def checks(rows: pd.DataFrame) -> list[Check]:
    """What withstands more, by how much, and that shrinking does the same."""
    radii = _with_gain(rows.loc[rows.part == "radii"])
    by_policy = radii.pivot(index=["norm", "instance", "ball"], columns="policy", values="radius")
    in_kl, dpo = radii.loc[radii.ball == KL], radii.loc[radii.policy == "DPO"]
    robust = radii.loc[radii.policy == "robust"]
    weak = radii.loc[(radii.norm == WEAK) & radii.ball.isin([KL, CHI2])]
    factors = {"KLDPO": shrinkage_factor(TEMPERATURE), "hardly trained": HARDLY}
    trained = weak.loc[weak.policy.isin(list(factors))]
    relative = np.log(by_policy.KLDPO / by_policy.DPO)
    return [
        *(
            separation(
                f"{kind}: log of KLDPO's break-even radius over DPO's", relative.xs(kind, level="ball")
            )
            for kind in BALLS
        ),
        separation(
            "W1 on R^d: robust optimum's radius less the limit of multiples of DPO, over collapse",
            ((robust.radius - robust.limit) / robust.collapse)[robust.ball == NORM],
        ),
        identity(
            "KLDPO's radius = that of DPO shrunk by tau / (1 + tau), every ball",
            by_policy.KLDPO / by_policy["shrunk DPO"] - 1,
            1e-6,
        ),
        *(
            identity(f"{kind}: root search on the worst loss = dual", radii.again[radii.ball == kind], 1e-6)
            for kind in (KL, CHI2, FINITE)
        ),
        identity("KL: cvxpy's worst loss at DPO's radius = log 2", radii.program.dropna(), 1e-5),
        identity(
            "KL: limit for c -> 0 = collapse radius", (dpo.limit / dpo.collapse - 1)[dpo.ball == KL], 1e-8
        ),
        bound("KL: break-even radius <= collapse radius", in_kl.radius, in_kl.collapse),
        *(
            bound(f"{kind}: radius that was trained for <= break-even radius", SHARE * of.collapse, of.radius)
            for kind, of in robust.groupby("ball")
        ),
        growth(
            "weak preferences: radius of c times DPO over DPO's = (2 - c)^2",
            trained.gain,
            theory.weak_gain(trained.policy.map(factors).to_numpy(float)),  # pyright: ignore[reportArgumentType]
            0.02,
        ),
    ]
