r"""AOT's hinge penalties are distances to the set of laws that dominate the rejected one.

With (x)_+ the positive part and margin 0,

    \int (Q_V - Q_U)_+^p = min { W_p^p(U, U') : U' >= V },    (1)

where U' >= V is dominance. The projection is the paper's (its Appendix F). Its form with weights, and the
minimiser, whose quantiles are max(Q_U, Q_V), are ours.

Three roads lead to (1), for p = 1 (hinge) and p = 2 (squared hinge): the sorted value of
`distalign.objectives.aot_unpaired`; a linear program over all laws U' that dominate V by their distribution
functions, which knows nothing of quantiles; and the transport program from U to the claimed nearest law.

The checks ask that the linear program has the sorted value, for each p; that the claimed law lies at that
distance; and, for p = 2, where the nearest law is unique, that the program finds that one.

The planted defects: a margin of 0.01 where none is asked for, which moves the values; and weights left in the
order of the data while values are sorted, which moves the claimed law with them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import aot_unpaired
from distalign.oracles.dominance import nearest_dominating
from distalign.oracles.transport import transport_cost
from distalign.preferences import PreferenceLogProbs, quantile_coupling
from distalign.simulation.defects import Defect, argument
from distalign.simulation.studies.aot.mistakes import weights_in_order_of_data
from distalign.simulation.verdict import Check, identity
from distalign.sorting import _cumulative

DEFECTS = (
    Defect("a margin of 0.01 in place of 0", aot_unpaired, argument("margin", lambda x: x + 0.01)),
    Defect("weights left in the order of the data", _cumulative, weights_in_order_of_data),
)
PENALTIES = {1: "hinge", 2: "squared_hinge"}


def cells(shapes: list[list[int]], replicates: int) -> list[dict[str, Any]]:
    """One cell per power and pair of counts."""
    return [
        {"power": p, "chosen": n, "rejected": m, "replicates": replicates}
        for p in PENALTIES
        for n, m in shapes
    ]


def run(
    rng: np.random.Generator, *, power: int, chosen: int, rejected: int, replicates: int
) -> dict[str, Any]:
    """Value by each road and the distance between the nearest laws, on weighted samples whose laws cross."""
    rows = [_replicate(rng, power, chosen, rejected) for _ in range(replicates)]
    return {"replicate": np.arange(replicates), **{name: [row[name] for row in rows] for name in rows[0]}}


def _replicate(rng: np.random.Generator, power: int, n: int, m: int) -> dict[str, float]:
    """One random instance by all three roads."""
    u, v = rng.normal(0.2, 1.0, n), rng.normal(0.0, 1.5, m)
    p, q = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    value, weights, nearest = _by_quantiles(u, v, p, q, power)
    atoms = np.unique(np.concatenate([u, v]))
    # The program is also offered the values between neighbours, so that nothing but the cost can tell it that
    # the atoms of U and V suffice.
    program = nearest_dominating(u, v, power, p, q, np.concatenate([atoms, (atoms[1:] + atoms[:-1]) / 2]))
    claimed_cdf = (nearest[None, :] <= program.support[:, None]) @ weights
    # W_1 of the claimed law and the program's: the area between their distribution functions.
    law_distance = float(np.abs(claimed_cdf - np.cumsum(program.weights))[:-1] @ np.diff(program.support))
    return {
        "value": value,
        "program": program.cost,
        "to_claimed": transport_cost(u, nearest, lambda x: np.abs(x) ** power, p, weights / weights.sum()),
        "law_distance": law_distance if power == 2 else np.nan,
    }


def _by_quantiles(
    u: np.ndarray, v: np.ndarray, p: np.ndarray, q: np.ndarray, power: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """AOT's value, and the widths and values of max(Q_U, Q_V)."""
    a, b, wp, wq = (torch.from_numpy(x) for x in (u, v, p, q))
    batch = PreferenceLogProbs(
        a, b, torch.zeros_like(a), torch.zeros_like(b), weights=wp, rejected_weights=wq
    )
    widths, qu, qv = quantile_coupling(a, b, wp, wq)
    value = float(aot_unpaired(batch, penalty=PENALTIES[power], margin=0.0))
    return value, widths.numpy(), torch.maximum(qu, qv).numpy()


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviations per power and counts."""
    rows = rows.assign(
        program=(rows.value - rows.program).abs(), claimed=(rows.value - rows.to_claimed).abs()
    )
    return rows.groupby(["power", "chosen", "rejected"], as_index=False).agg(
        replicates=("value", "size"),
        mean_value=("value", "mean"),
        largest_from_program=("program", "max"),
        largest_from_claimed=("claimed", "max"),
        largest_law_distance=("law_distance", "max"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The value by linear program and by transport, per power, and for p = 2 the law itself."""
    return [
        *(
            identity(
                f"p = {p}: sorted value = least distance to a dominating law",
                of_power.value - of_power.program,
                1e-7,
            )
            for p, of_power in rows.groupby("power")
        ),
        identity("max(Q_U, Q_V) lies at that distance", rows.value - rows.to_claimed, 1e-9),
        # By strong convexity an optimum good to 1e-10 fixes the law to about the root of that.
        identity(
            "p = 2: the program's nearest law is max(Q_U, Q_V), by W_1", rows.law_distance.dropna(), 1e-4
        ),
    ]
