r"""Where dominance is out of reach the hinge gives up few quantiles by much, its square many by little.

Paired AOT runs on exact laws with policies of four parameters. There Q_U(t) >= Q_V(t) + margin cannot hold
for all t, because a pair that people judge differently pulls its margin both ways. With the shortfall

    x(t) = (margin - Q_U(t) + Q_V(t))_+    (1)

at the minimiser of each penalty, four things are measured: the share of quantiles that fall short (x > 0);
by how much they do on average; the share that meets the margin exactly; and the effective share

    (\int x)^2 / \int x^2.    (2)

For the last there is a theorem (ours): the hinge minimises \int x and the squared hinge \int x^2, so the
effective share of the hinge is at most that of the squared hinge, whatever the population. Least squares
also punishes quantiles that exceed the margin, and leaves most of them short. That the hinge is sparse is
the paper's remark (its Appendix F); the measures are ours.

Squared hinge and least squares are minimised by Newton's method, the hinge by linear programs
(`distalign.oracles.aot_hinge`), each also from the others' minimisers.

The checks ask that the hinge leaves fewer quantiles short than the squared hinge and least squares more
than that; that the hinge's shortfall is larger where it is short; that it meets the margin exactly on a
larger share; and that the hinge is lowest under its own penalty, which shows that the linear programs found
what they looked for. The theorem on (2) is in the table: no mistake in the package was found that breaks it.

The planted defects: the margin of the hinge's linear program 1 % off, with which no quantile meets the margin
exactly, or halved; and the margin of the squared hinge forgotten, or four times too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from distalign.objectives import aot_paired
from distalign.oracles.aot_hinge import hinge_minimum
from distalign.preferences import PreferenceLogProbs, quantile_coupling
from distalign.simulation.defects import Defect, argument
from distalign.simulation.multistart import lowest, values
from distalign.simulation.rates import summarise
from distalign.simulation.studies.aot import toy
from distalign.simulation.verdict import Check, bound, separation


def _margin_times(factor: float) -> Any:
    """`aot_paired` whose squared hinge asks for another margin."""

    def wrong(right: Any) -> Any:
        def changed(batch: PreferenceLogProbs, *, penalty: str, margin: float) -> Tensor:
            return right(
                batch, penalty=penalty, margin=margin * (factor if penalty == "squared_hinge" else 1)
            )

        return changed

    return wrong


DEFECTS = (
    Defect("the margin of the hinge 1 % too large", hinge_minimum, argument("target", lambda x: 1.01 * x)),
    Defect("the margin of the hinge halved", hinge_minimum, argument("target", lambda x: x / 2)),
    Defect("no margin in the squared hinge", aot_paired, _margin_times(0)),
    Defect("the margin of the squared hinge four times too large", aot_paired, _margin_times(4)),
)
DIMENSION, MARGIN, RANDOM_STARTS, ROUNDS = 4, 0.5, 28, 5
PENALTIES = ("hinge", "squared_hinge", "least_squares")
MEASURES = ("short", "effective", "met", "depth")
LEVELS = (np.arange(400) + 0.5) / 400
# Nats within which a quantile counts as meeting the margin: far above rounding, far below any gap.
TOUCH = 1e-7


def cells(instances: int, blocks: int) -> list[dict[str, Any]]:
    """One cell per block of random populations."""
    return [{"instances": instances, "block": i} for i in range(blocks)]


def run(rng: np.random.Generator, *, instances: int, block: int) -> dict[str, Any]:
    """The measures at the minimiser of each penalty in each population.

    The first population also gives the curve of its quantiles' gap.
    """
    populations = [toy.draw(rng, DIMENSION) for _ in range(instances)]
    tables = toy.paired_tables(populations)
    minimisers = _minimisers(rng, tables, torch.from_numpy(np.stack([p.theta_star for p in populations])))
    frames = []
    for penalty, theta in minimisers.items():
        costs = {f"cost_{h}": _costs(tables, theta, h) for h in PENALTIES}
        measured = [_measures(*_gaps(theta[i], *(t[i] for t in tables))) for i in range(instances)]
        frames.append(
            pd.DataFrame(
                {
                    "part": "measures",
                    "penalty": penalty,
                    "instance": block * instances + np.arange(instances),
                    **costs,
                }
            ).join(pd.DataFrame(measured))
        )
        if block == 0:
            widths, gap = _gaps(theta[0], *(t[0] for t in tables))
            curve = gap[np.searchsorted(np.cumsum(widths), LEVELS).clip(max=len(gap) - 1)]
            frames.append(
                pd.DataFrame({"part": "curve", "penalty": penalty, "instance": 0, "t": LEVELS, "gap": curve})
            )
    return dict(pd.concat(frames, ignore_index=True))


def _gaps(theta: Tensor, delta: Tensor, margin: Tensor, weights: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Widths of the intervals on which Q_U - Q_V is constant, and its values there."""
    p = weights / weights.sum()
    widths, u, v = quantile_coupling(margin + delta @ theta, margin, p, p, validate=False)
    return widths.numpy(), (u - v).numpy()


def _measures(widths: np.ndarray, gap: np.ndarray) -> dict[str, Any]:
    """The four measures of the shortfall (1); `depth` is its mean where it is above 0."""
    shortfall = np.clip(MARGIN - gap, 0, None)
    return {
        "short": widths[shortfall > TOUCH].sum(),
        "effective": (widths @ shortfall) ** 2 / (widths @ shortfall**2),
        "met": widths[np.abs(gap - MARGIN) <= TOUCH].sum(),
        "depth": widths @ shortfall / widths[shortfall > TOUCH].sum(),
    }


def _cost(theta: Tensor, delta: Tensor, margin: Tensor, weights: Tensor, *, penalty: str) -> Tensor:
    """Paired AOT on the exact law of pairs."""
    zero = torch.zeros_like(margin)
    batch = PreferenceLogProbs(margin + delta @ theta, zero, margin, zero, weights, validate=False)
    return aot_paired(batch, penalty=penalty, margin=MARGIN)


def _costs(tables: Sequence[Tensor], theta: Tensor, penalty: str) -> Tensor:
    """(R,) costs at one theta for each population."""
    return values(partial(_cost, penalty=penalty), tables, theta[:, None])[:, 0]


def _minimisers(rng: np.random.Generator, tables: Sequence[Tensor], star: Tensor) -> dict[str, Tensor]:
    """(R, d) best theta found for each penalty.

    The searches go on until neither of the two hinges can gain by starting from the other's minimiser.
    """
    multiples = torch.tensor([0.25, 0.5, 1.0, 2.0], dtype=torch.float64)
    random = torch.from_numpy(rng.normal(size=(len(star), RANDOM_STARTS, DIMENSION)))
    starts = torch.cat([multiples[:, None] * star[:, None], random], 1)
    minimisers = {h: lowest(partial(_cost, penalty=h), tables, starts, keep=8).theta for h in PENALTIES[1:]}
    minimisers["hinge"] = _hinge(tables, torch.stack([star, *minimisers.values()], 1))
    for _ in range(ROUNDS):
        current = torch.stack([minimisers[h] for h in PENALTIES], 1)
        minimisers["squared_hinge"] = lowest(
            partial(_cost, penalty="squared_hinge"), tables, current, keep=3
        ).theta
        improvable = _costs(tables, minimisers["hinge"], "hinge") > _costs(
            tables, minimisers["squared_hinge"], "hinge"
        )
        if not improvable.any():
            break
        minimisers["hinge"][improvable] = _hinge(
            [t[improvable] for t in tables], minimisers["squared_hinge"][improvable][:, None]
        )
    return {h: minimisers[h] for h in PENALTIES}


def _hinge(tables: Sequence[Tensor], starts: Tensor) -> Tensor:
    """(R, d) lowest answer of the linear programs that start from (R, G, d)."""
    arrays = [t.numpy() for t in (*tables, starts)]
    lowest_answers = [
        min(
            (hinge_minimum(v, d, w / w.sum(), MARGIN, start) for start in own_starts),
            key=lambda answer: answer[1],
        )[0]
        for d, v, w, own_starts in zip(*arrays, strict=True)
    ]
    return torch.from_numpy(np.stack(lowest_answers))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean of each measure with its interval per penalty, and the gap of one population's quantiles."""
    measures = rows.loc[rows.part == "measures"]
    means = [summarise(measures, ["penalty"], m).assign(part="measures", quantity=m) for m in MEASURES]
    return pd.concat(
        [*means, rows.loc[rows.part == "curve", ["part", "penalty", "t", "gap"]]], ignore_index=True
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Shares of quantiles, and the size of what is given up."""
    by_penalty = rows.loc[rows.part == "measures"].pivot(index="instance", columns="penalty")
    short, met, depth = (by_penalty[m] for m in ("short", "met", "depth"))
    return [
        separation(
            "share of quantiles short of the margin, squared hinge minus hinge",
            short.squared_hinge - short.hinge,
        ),
        separation("the same, least squares minus squared hinge", short.least_squares - short.squared_hinge),
        separation(
            "mean shortfall where short, hinge minus squared hinge", depth.hinge - depth.squared_hinge
        ),
        separation(
            "share that meets the margin exactly, hinge minus squared hinge", met.hinge - met.squared_hinge
        ),
        bound(
            "hinge is lowest under its own penalty",
            by_penalty["cost_hinge"]["hinge"],
            by_penalty["cost_hinge"].min(axis=1),
        ),
    ]
