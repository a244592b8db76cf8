"""The sorted AOT value is the optimal transport cost for every convex penalty, any counts and any weights.

That sorting solves one-dimensional optimal transport with a convex cost is Theorem 2.9 of Santambrogio, as
the paper uses it; unequal counts and weights are ours.

The fast road is `distalign.objectives.aot_unpaired`, called through the seam as a trainer would. The oracle
is the linear program over all couplings, by POT. Samples have heavy tails, ties and different scales.

The checks ask that both agree to 1e-9 for the four convex penalties. The 0/1 penalty 1{u < v} is not
convex, and there sorting must miss the optimum visibly.

The planted defects: slope and margin of the penalties 10 % off; one class left unsorted; and weights left in
the order of the data while values are sorted. An oracle that sorts, as a solver for convex costs may, cannot
be told from the sorted value, and the 0/1 penalty is there to tell it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives.aot import aot_unpaired
from distalign.oracles.transport import Transport, optimal_transport, transport_cost
from distalign.preferences import PreferenceLogProbs, quantile_coupling
from distalign.simulation.defects import Defect, argument
from distalign.simulation.studies.aot.mistakes import rejected_unsorted, weights_in_order_of_data
from distalign.simulation.verdict import Check, differs, identity
from distalign.sorting import _cumulative

BETA, MARGIN = 0.7, 0.5
PENALTIES = {
    "logistic": lambda x: np.logaddexp(0, -BETA * x),
    "squared_hinge": lambda x: np.clip(MARGIN - x, 0, None) ** 2,
    "hinge": lambda x: np.clip(MARGIN - x, 0, None),
    "least_squares": lambda x: (MARGIN - x) ** 2,
    "zero_one": lambda x: (x < 0).astype(float),
}


def _sorting(right: Any) -> Any:
    """`optimal_transport` by a developer who took the cost for convex."""

    def wrong(u: Any, v: Any, cost: Any, p: Any, q: Any) -> Any:
        u, v, p, q = (torch.from_numpy(x) for x in (u, v, p, q))
        widths, x, y = (part.numpy() for part in quantile_coupling(u, v, p, q))
        return Transport(float(widths @ cost(x - y)), np.empty(0), np.empty(0), np.empty(0))

    return wrong


DEFECTS = (
    Defect("the margin of the penalties 10 % too large", aot_unpaired, argument("margin", lambda x: 1.1 * x)),
    Defect(
        "the slope of the logistic penalty 10 % too large", aot_unpaired, argument("beta", lambda x: 1.1 * x)
    ),
    Defect("the rejected class left unsorted", quantile_coupling, rejected_unsorted),
    Defect("weights left in the order of the data", _cumulative, weights_in_order_of_data),
    Defect("an oracle that sorts, too", optimal_transport, _sorting),
)


def cells(shapes: list[list[int]], replicates: int) -> list[dict[str, Any]]:
    """One cell per penalty and pair of counts, with and without weights."""
    return [
        {"penalty": h, "chosen": n, "rejected": m, "weighted": w, "replicates": replicates}
        for h in PENALTIES
        for n, m in shapes
        for w in (False, True)
    ]


def run(
    rng: np.random.Generator,
    *,
    penalty: str,
    chosen: int,
    rejected: int,
    weighted: bool,
    replicates: int,
) -> dict[str, Any]:
    """Value of both roads on samples with heavy tails, ties and different scales."""
    h = PENALTIES[penalty]
    sorted_values, program_values = [], []
    for _ in range(replicates):
        u = np.round(rng.standard_t(3, chosen) + 0.5, 2)
        v = np.round(1.5 * rng.standard_t(3, rejected), 2)
        p = rng.dirichlet(np.ones(chosen)) if weighted else np.full(chosen, 1 / chosen)
        q = rng.dirichlet(np.ones(rejected)) if weighted else np.full(rejected, 1 / rejected)
        program_values.append(transport_cost(u, v, h, p, q))
        sorted_values.append(_sorted(penalty, u, v, *((p, q) if weighted else (None, None))))
    return {"replicate": np.arange(replicates), "sorted": sorted_values, "linear_program": program_values}


def _sorted(penalty: str, u: np.ndarray, v: np.ndarray, p: np.ndarray | None, q: np.ndarray | None) -> float:
    """The penalty averaged over the sorted coupling; `aot_unpaired` where the penalty is one of its own."""
    a, b, wp, wq = (None if x is None else torch.from_numpy(x) for x in (u, v, p, q))
    assert a is not None
    assert b is not None
    if penalty == "zero_one":
        width, x, y = quantile_coupling(a, b, wp, wq)
        return float((width * (x < y)).sum())
    batch = PreferenceLogProbs(a, b, torch.zeros_like(a), torch.zeros_like(b), wp, wq, validate=False)
    return float(aot_unpaired(batch, penalty=penalty, beta=BETA, margin=MARGIN))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviation of the two roads and mean sorted value, per penalty, counts and weighting."""
    rows = rows.assign(deviation=(rows["sorted"] - rows["linear_program"]).abs())
    grouped = rows.groupby(["penalty", "chosen", "rejected", "weighted"], as_index=False)
    return grouped.agg(
        replicates=("deviation", "size"),
        largest_deviation=("deviation", "max"),
        mean_value=("sorted", "mean"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Equality for the convex penalties, a visible gap for the 0/1 penalty."""
    deviation = (rows["sorted"] - rows["linear_program"]) / rows["linear_program"].clip(lower=1.0)
    convex = rows.penalty != "zero_one"
    return [
        identity("sorted value = linear program", deviation[convex], 1e-9),
        differs("0/1 penalty: sorting is not optimal", deviation[~convex], 0.05),
    ]
