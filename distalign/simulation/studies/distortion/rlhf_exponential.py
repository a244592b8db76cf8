"""With a KL constraint RLHF loses exponentially in the temperature where NLHF stays within C(b).

The paper's Theorem 6 (the distortion of KL-constrained RLHF and DPO grows like e^{Omega(b)}) is formalised
in Lean with e^b/(44 b) from b = 10. The exact limit e^b/(10 b) of its family, the sharper family
cosh^2(b/2) and the proof that two reachable alternatives lose no more are ours. That nothing at all loses
more under product comparisons is a conjecture of ours and not tested here. The comparisons of these
families fall on what the reference excludes: see rlhf_on_policy.

The paper's family (F3) is held against e^b/(10 b) and a sharper one (F3') against cosh^2(b/2), both with
references that only logarithms hold. The clones of F3 are merged into one alternative; while they are few
the explicit problem with every clone is a second road. The dual inequality that makes cosh^2 exact for two
reachable alternatives is checked on a grid.

The checks ask for both growth laws and the closed form on F3'; that NLHF stays within C(b) on the same
instances, with a certificate; that merged and explicit clones agree; that the rewards' errors are small
beside the gap they must resolve; and that the dual inequality holds.

The planted defects: RLHF keeps the reference as float64 probabilities, which have no logarithm below -745, or
mixes its comparisons with 5 % of uniform ones; the sign of the game's margins in NLHF; a clone too few in the
comparisons; rewards in single precision during the fit; the multiplier of the dual 1 % too large; and the
laws 0.2 and 0.4 % too large.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from distalign.populations.worst_cases_kl import (
    ConstrainedWorstCase,
    exponential_worst_case,
    unsupported_worst_case,
)
from distalign.simulation.defects import Defect, argument, no_cell, result
from distalign.simulation.studies.distortion.constrained import nlhf_distortion, rlhf_distortion
from distalign.simulation.studies.distortion.duals import grid_margins, unsupported_violation
from distalign.simulation.verdict import Check, bound, growth, identity
from distalign.solvers.choice.games import kl_nlhf
from distalign.solvers.choice.reward import newton_step, reward_mle, rlhf
from distalign.theory.distortion.constants import (
    exponential_rlhf_distortion,
    minimax_distortion,
    unsupported_multiplier,
    unsupported_rlhf_distortion,
)

EPSILON = 1e-3
EXPLICIT = 4.5  # the largest temperature whose clones are also kept one by one
UNDERFLOW = -745.0
DEFECTS = (
    Defect(
        "RLHF's reference kept as float64 probabilities: no logarithm below -745",
        rlhf,
        argument("log_reference", lambda q: np.maximum(q, UNDERFLOW)),
    ),
    Defect(
        "RLHF's comparisons mixed with 5 % of uniform ones",
        rlhf,
        argument("comparison", lambda mu: 0.95 * mu + 0.05 / len(mu)),
    ),
    Defect("the sign of the margins in NLHF", kl_nlhf, argument("win", np.transpose)),
    Defect(
        "a clone too few in the comparisons of merged clones",
        exponential_worst_case,
        result(lambda case: case if len(case.comparison) > 3 else replace(case, comparison=_one_less(case))),
    ),
    Defect("rewards in single precision during the fit", newton_step, argument("r", np.float32)),
    Defect(
        "the multiplier of the dual 1 % too large",
        unsupported_multiplier,
        result(lambda r: (1.01 * r[0], r[1])),
    ),
    Defect("e^b/(10 b) 0.2 % too large", exponential_rlhf_distortion, result(lambda x: 1.002 * x), no_cell),
    Defect(
        "cosh^2(b/2) 0.4 % too large",
        unsupported_rlhf_distortion,
        result(lambda x: x * (1 + 4 * EPSILON)),
        no_cell,
    ),
)


def cells(temperatures: list[float]) -> list[dict[str, Any]]:
    """One cell per Bradley-Terry temperature."""
    return [{"bt_temperature": b} for b in temperatures]


def run(rng: np.random.Generator, *, bt_temperature: float) -> dict[str, Any]:
    """Distortion of RLHF and NLHF on both families and, while it is small, on the explicit problem."""
    del rng  # nothing here is random
    b = bt_temperature
    cases = [("F3", exponential_worst_case(b)), ("F3'", unsupported_worst_case(b, EPSILON))]
    if b <= EXPLICIT:
        cases.append(("F3, explicit", exponential_worst_case(b, merged=False)))
    rows = [_solve(name, case) for name, case in cases]
    return {**pd.DataFrame(rows).to_dict("list"), "dual": unsupported_violation(grid_margins(b), b)}


def _solve(name: str, case: ConstrainedWorstCase) -> dict[str, Any]:
    """Distortion of both rules on one case, with what certifies them."""
    loss, gain = nlhf_distortion(case)
    fitted = reward_mle(case.users.win, case.comparison)
    return {
        "family": name,
        "rlhf": rlhf_distortion(case),
        "nlhf": loss,
        "gain": gain,
        "closed_form": case.distortion,
        "alternatives": len(case.comparison),
        "gap": fitted.reward[1] - fitted.reward[0],
        "certificate": fitted.certificate,
    }


def _one_less(case: ConstrainedWorstCase) -> np.ndarray:
    """Comparisons of F3 with n - 1 clones in place of n, merged."""
    clones = case.comparison[2] / case.comparison[0] - 1
    return np.array([1, 1, clones]) / (clones + 2)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Distortion of both rules by family and temperature, beside the laws and the bound."""
    columns = ("alternatives", "rlhf", "nlhf", "closed_form", "gap", "gain", "dual")
    groups = rows.groupby(["family", "bt_temperature"])  # one row each
    summary = groups.agg(**{c: (c, "max") for c in columns}).reset_index()
    b = summary.bt_temperature
    law = np.where(summary.family == "F3'", unsupported_rlhf_distortion(b), exponential_rlhf_distortion(b))
    return summary.assign(law=law, bound=minimax_distortion(b))


def checks(rows: pd.DataFrame) -> list[Check]:
    """Both growth laws, NLHF within C(b), the reduction exact, gaps resolved, and the dual inequality."""
    paper, sharp = rows[rows.family == "F3"], rows[rows.family == "F3'"]
    explicit = rows[rows.family == "F3, explicit"].set_index("bt_temperature")
    merged = paper.set_index("bt_temperature").loc[explicit.index]
    relative_differences = [explicit[c] / merged[c] - 1 for c in ("rlhf", "nlhf", "gap")]
    return [
        growth(
            "distortion of RLHF on F3 = max(e^b/(10 b), 1)",
            paper.rlhf,
            exponential_rlhf_distortion(paper.bt_temperature),
            1e-3,
        ),
        growth(
            "distortion of RLHF on F3' = cosh^2(b/2)",
            sharp.rlhf,
            unsupported_rlhf_distortion(sharp.bt_temperature),
            2 * EPSILON,
        ),
        identity("distortion of RLHF on F3' = its closed form", sharp.rlhf / sharp.closed_form - 1, 1e-9),
        bound(
            "distortion of NLHF on the same instances <= C(b)",
            rows.nlhf,
            minimax_distortion(rows.bt_temperature),
            slack=1e-8,
        ),
        identity(
            "no opponent in the ball gains on NLHF (share of the largest margin)",
            np.maximum(rows.gain, 0),
            1e-8,
        ),
        identity(
            "clones merged = clones one by one (RLHF, NLHF, reward gap)", np.array(relative_differences), 1e-7
        ),
        bound(
            "error of the rewards, as a share of the gap it must resolve, <= 1e-4",
            rows.certificate,
            1e-4 * rows.gap,
        ),
        bound("a + v [s(b(c-y)) - s(b(a-y))] <= cosh^2(b/2) c on a grid", 1 + rows.dual, 1.0, slack=1e-12),
    ]
