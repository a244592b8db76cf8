"""AOT's transport problem has dual potentials that are cumulative derivatives of the penalty, without a gap.

Duality and phi' = h'(u - T(u)) are the paper's; their discrete form, with weights, is ours. The c-transform
that the paper prints has a sign and a variable wrong, as we read it; the usual form is used here.

Samples have generic weights, for which the dual solution is unique up to a constant. One road is
`distalign.theory.aot.dual.potentials`, which integrates h' along the sorted coupling. The other is the
network simplex (POT). The potentials must be feasible, phi_i + psi_j <= h(u_i - v_j), and their value must
be the sorted value of `distalign.objectives.aot_unpaired`: together that proves both optimal. Equal counts
without weights, where there are many dual solutions, must have no gap either, but their potentials are not
compared.

The checks ask for no duality gap, for equal duals where they are unique, and for feasible potentials, each to
1e-9 relative to the largest potential.

The planted defects: slope and margin of the penalties 10 % off in the objective, which opens a gap; and
weights of one class left in the order of the data where the potentials are cumulated, which makes them those
of another problem, or potentials that are not put back into that order, which makes them infeasible. (Along
any staircase of pairs they are feasible, so a wrong staircase does not show there.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import aot_unpaired
from distalign.oracles.transport import optimal_transport
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument
from distalign.simulation.studies.aot.aot_transport import BETA, MARGIN, PENALTIES
from distalign.simulation.verdict import Check, identity
from distalign.theory.aot.dual import potentials

CONVEX = ("logistic", "squared_hinge", "hinge", "least_squares")


def _weights_unsorted(right: Any) -> Any:
    """`potentials` by a developer who did not sort the weights of the rejected with their values."""

    def wrong(u: np.ndarray, v: np.ndarray, penalty: Any, p: np.ndarray, q: np.ndarray) -> Any:
        return right(u, v, penalty, p, q[np.argsort(np.argsort(v))])

    return wrong


def _in_ascending_order(right: Any) -> Any:
    """`potentials` by a developer who did not put those of the chosen back into the order of the data."""

    def wrong(u: np.ndarray, v: np.ndarray, penalty: Any, p: np.ndarray, q: np.ndarray) -> Any:
        order = np.argsort(u)
        return right(u[order], v, penalty, p[order], q)

    return wrong


DEFECTS = (
    Defect("the margin of the penalties 10 % too large", aot_unpaired, argument("margin", lambda x: 1.1 * x)),
    Defect(
        "the slope of the logistic penalty 10 % too large", aot_unpaired, argument("beta", lambda x: 1.1 * x)
    ),
    Defect("weights of the rejected left in the order of the data", potentials, _weights_unsorted),
    Defect("potentials of the chosen returned in ascending order", potentials, _in_ascending_order),
)


def cells(shapes: list[list[int]], replicates: int) -> list[dict[str, Any]]:
    """One cell per penalty and pair of counts, with weights; where counts are equal also without."""
    return [
        {"penalty": h, "chosen": n, "rejected": m, "weighted": w, "replicates": replicates}
        for h in CONVEX
        for n, m in shapes
        for w in ((True, False) if n == m else (True,))
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
    """Distance of the duals, infeasibility and duality gap of each replicate.

    All are relative to the largest potential.
    """
    rows = [_replicate(rng, penalty, chosen, rejected, weighted) for _ in range(replicates)]
    return {"replicate": np.arange(replicates), **{name: [row[name] for row in rows] for name in rows[0]}}


def _replicate(rng: np.random.Generator, penalty: str, n: int, m: int, weighted: bool) -> dict[str, float]:
    """One random instance by both roads."""
    h = PENALTIES[penalty]
    u, v = rng.standard_t(3, n) + 0.5, 1.5 * rng.standard_t(3, m)
    p, q = (rng.dirichlet(np.ones(k)) if weighted else np.full(k, 1 / k) for k in (n, m))
    phi, psi = potentials(u, v, h, p, q)
    oracle = optimal_transport(u, v, h, p, q)
    shift = p @ (oracle.u_potential - phi)  # duals are unique up to one constant
    distance = max(
        np.abs(phi + shift - oracle.u_potential).max(), np.abs(psi - shift - oracle.v_potential).max()
    )
    scale = max(np.abs(phi).max(), np.abs(psi).max(), 1.0)
    infeasibility = (phi[:, None] + psi - h(u[:, None] - v)).max()
    return {
        "distance": distance / scale if weighted else np.nan,
        "infeasibility": max(infeasibility, 0.0) / scale,
        "gap": (_sorted(penalty, u, v, p, q) - p @ phi - q @ psi) / scale,
    }


def _sorted(penalty: str, u: np.ndarray, v: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
    """The sorted value of `aot_unpaired`."""
    a, b, wp, wq = (torch.from_numpy(x) for x in (u, v, p, q))
    batch = PreferenceLogProbs(
        a, b, torch.zeros_like(a), torch.zeros_like(b), weights=wp, rejected_weights=wq
    )
    return float(aot_unpaired(batch, penalty=penalty, beta=BETA, margin=MARGIN))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviations per penalty, counts and weighting."""
    rows = rows.assign(gap=rows.gap.abs())
    grouped = rows.groupby(["penalty", "chosen", "rejected", "weighted"], as_index=False)
    return grouped.agg(
        replicates=("gap", "size"),
        largest_distance=("distance", "max"),
        largest_infeasibility=("infeasibility", "max"),
        largest_gap=("gap", "max"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """No gap, equal duals where they are unique, and feasible potentials."""
    return [
        identity("dual value = sorted value", rows.gap, 1e-9),
        identity("linear program's duals = cumulative derivative", rows.distance[rows.weighted], 1e-9),
        identity("potentials are feasible", rows.infeasibility, 1e-9),
    ]
