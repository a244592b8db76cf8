"""Who reaches the law of preferred responses on the exact law of the data, and who provably ends elsewhere.

Each objective is minimised over all policies by Newton's method on the torch loss, certified by gradient and
curvature. The labels come from one reference and many random acceptances of the same prior t. SFT on the
chosen reaches p+, too; what fails does so by its own target: another mixing parameter, a mean over examples,
another prior, a stabiliser that is not the identity.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import ddro, rdro, sft
from distalign.policies import Tabular
from distalign.populations import Law
from distalign.simulation.fit import Objective, fit
from distalign.simulation.studies.density_ratio.estimators import acceptance, total_variation
from distalign.simulation.verdict import Check, differs, identity
from distalign.theory.density_ratio.losses import coefficients

DEFECT = "a mean over examples in place of RDRO's class means"
TOLERANCE, APART = 1e-8, 1e-3
FORMS = {"RDRO, logistic": "logistic", "RDRO, RuLSIF": "rulsif", "RDRO, relative KLIEP": "rkliep"}
RATIOS = {
    "DDRO, label likelihood": "label_mle",
    "DDRO, logistic": "logistic",
    "DDRO, LSIF": "lsif",
    "DDRO, KLIEP": "kliep",
}
BY_HAND = {
    **{name: f"rdro {form}" for name, form in FORMS.items()},
    **{name: f"ddro {x}" for name, x in RATIOS.items()},
    "DDRO, squashed log-ratio": "ddro squash",
}
REACH = ("SFT on the chosen", *FORMS, *RATIOS)
MISS = ("RDRO, alpha = t + 0.2", "RDRO, mean over examples", "DDRO, prior 0.7 t", "DDRO, squashed log-ratio")


def cells(priors: list[float], problems: int, responses: int) -> list[dict[str, Any]]:
    """One cell per prior."""
    return [{"prior": t, "problems": problems, "responses": responses} for t in priors]


def losses(t: float, *, defect: bool = False) -> dict[str, Objective]:
    """Every objective by name, told the prior t or something else."""
    reduction = "batch_mean" if defect else "class_mean"
    return {
        "SFT on the chosen": sft,
        **{name: partial(rdro, alpha=t, form=form, reduction=reduction) for name, form in FORMS.items()},
        **{name: partial(ddro, prior=t, ratio_loss=ratio) for name, ratio in RATIOS.items()},
        "RDRO, alpha = t + 0.2": partial(rdro, alpha=t + 0.2),
        "RDRO, mean over examples": partial(rdro, alpha=t, reduction="batch_mean"),
        "DDRO, prior 0.7 t": partial(ddro, prior=0.7 * t),
        "DDRO, squashed log-ratio": partial(ddro, prior=t, stabiliser="squash"),
    }


def run(
    rng: np.random.Generator, *, prior: float, problems: int, responses: int, defect: bool = False
) -> dict[str, Any]:
    """Total variation between each objective's certified minimiser and p+, not finite where there is no
    certificate; and the largest relative force on a response at p+, by its coefficients by hand weighed by p+
    and p-."""
    ref = rng.dirichlet(np.full(responses, 3.0))
    q = acceptance(rng.normal(size=(problems, responses)), ref, prior)
    law, target = Law(np.arange(responses), np.arange(responses), ref * q, ref * (1 - q)), ref * q / prior
    parts = []
    for name, loss in losses(prior, defect=defect).items():
        found = fit(Tabular(ref), loss, law)
        error = np.where(found.converged, total_variation(found.probs[:, 0], target), np.nan)
        parts.append(
            pd.DataFrame(
                {
                    "objective": name,
                    "problem": np.arange(problems),
                    "error": error,
                    "force": np.nan,
                    "start": total_variation(ref, target),
                }
            )
        )
        if name in BY_HAND:
            up, down = (
                w * c
                for w, c in zip(
                    (target, ref * (1 - q) / (1 - prior)),
                    coefficients(BY_HAND[name], target / ref, prior),
                    strict=True,
                )
            )
            parts[-1]["force"] = (np.abs(up + down) / (np.abs(up) + np.abs(down))).max(-1)
    return dict(pd.concat(parts, ignore_index=True))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Smallest and largest distance to p+ of each objective at each prior, beside that of the reference."""
    return rows.groupby(["objective", "prior"], as_index=False).agg(
        smallest=("error", "min"),
        mean=("error", "mean"),
        largest=("error", "max"),
        reference=("start", "mean"),
        problems=("problem", "size"),
        uncertified=("error", lambda e: int(e.isna().sum())),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Eight objectives reach p+; four do not in any problem, and a mean over examples does for balanced
    classes.
    """
    equal = (rows.objective == "RDRO, mean over examples") & (rows.prior == 0.5)
    least = {
        name: rows.loc[(rows.objective == name) & ~equal, "error"].to_numpy(float).min() for name in MISS
    }
    return [
        *(
            identity(f"{name}: distance to p+", rows.loc[rows.objective == name, "error"], TOLERANCE)
            for name in REACH
        ),
        identity("RDRO, mean over examples at t = 1/2: distance to p+", rows.loc[equal, "error"], TOLERANCE),
        *(differs(f"{name}: smallest distance to p+", [x], APART) for name, x in least.items()),
        identity(
            "forces by hand balance at p+", rows.loc[rows.objective.isin(REACH), "force"].dropna(), 1e-12
        ),
        differs(
            "forces by hand at p+ with a squashed log-ratio",
            rows.loc[rows.objective == MISS[-1], "force"],
            APART,
        ),
    ]
