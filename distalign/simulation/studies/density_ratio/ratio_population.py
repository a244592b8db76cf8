"""Which objectives have the law of preferred responses as their minimiser on the exact law of the data, and
which end elsewhere.

The claim. Consistency of DDRO and RDRO for p+ is the papers'; which losses have p+ as their minimiser at
the population, and which nearby ones do not, is derived here. SFT on the chosen is among the first. What
fails does so by its own target: another mixing parameter, a mean over examples, another prior, a stabiliser
that is not the identity.

The run. Labels from one reference and many random acceptances of the same prior t, one cell per prior. Each
objective is minimised over all policies on the exact law.

The two roads. Newton's method on the torch loss, certified by gradient and curvature; and coefficients of
each loss by hand, whose forces must balance at p+.

The checks:

- identities: SFT, three forms of RDRO with class means and four ratio losses of DDRO end at p+; so does
  RDRO with a mean over examples at t = 1/2;
- they differ from p+ by at least 0.001 in every problem: RDRO with alpha = t + 0.2, RDRO with a mean over
  examples at other t, DDRO with prior 0.7 t, DDRO with a squashed log-ratio;
- the forces by hand balance at p+ for those that reach it, and do not with a squashed log-ratio.

The defect takes a mean over examples in place of RDRO's class means. The three forms of RDRO then do not
end at p+ unless t = 1/2.
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
    """Total variation between each objective's certified minimiser and p+, and the largest relative force
    at p+.

    The distance is not finite where there is no certificate. The force on a response is the sum of its
    coefficients by hand, weighed by p+ and p-.
    """
    ref = rng.dirichlet(np.full(responses, 3.0))
    q = acceptance(rng.normal(size=(problems, responses)), ref, prior)
    law, p_plus = Law(np.arange(responses), np.arange(responses), ref * q, ref * (1 - q)), ref * q / prior
    tables = []
    for name, loss in losses(prior, defect=defect).items():
        minimisers = fit(Tabular(ref), loss, law)
        error = np.where(minimisers.converged, total_variation(minimisers.probs[:, 0], p_plus), np.nan)
        tables.append(
            pd.DataFrame(
                {
                    "objective": name,
                    "problem": np.arange(problems),
                    "error": error,
                    "force": np.nan,
                    "start": total_variation(ref, p_plus),
                }
            )
        )
        if name in BY_HAND:
            chosen_force, rejected_force = (
                w * c
                for w, c in zip(
                    (p_plus, ref * (1 - q) / (1 - prior)),
                    coefficients(BY_HAND[name], p_plus / ref, prior),
                    strict=True,
                )
            )
            tables[-1]["force"] = (
                np.abs(chosen_force + rejected_force) / (np.abs(chosen_force) + np.abs(rejected_force))
            ).max(-1)
    return dict(pd.concat(tables, ignore_index=True))


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
    """Eight objectives reach p+; four do not, but that a mean over examples does for balanced classes."""
    balanced_mean = (rows.objective == "RDRO, mean over examples") & (rows.prior == 0.5)
    smallest_distance = {
        name: rows.loc[(rows.objective == name) & ~balanced_mean, "error"].to_numpy(float).min()
        for name in MISS
    }
    return [
        *(
            identity(f"{name}: distance to p+", rows.loc[rows.objective == name, "error"], TOLERANCE)
            for name in REACH
        ),
        identity(
            "RDRO, mean over examples at t = 1/2: distance to p+", rows.loc[balanced_mean, "error"], TOLERANCE
        ),
        *(differs(f"{name}: smallest distance to p+", [x], APART) for name, x in smallest_distance.items()),
        identity(
            "forces by hand balance at p+", rows.loc[rows.objective.isin(REACH), "force"].dropna(), 1e-12
        ),
        differs(
            "forces by hand at p+ with a squashed log-ratio",
            rows.loc[rows.objective == MISS[-1], "force"],
            APART,
        ),
    ]
