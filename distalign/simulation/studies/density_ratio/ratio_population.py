"""Which objectives have the law of preferred responses as their minimiser on the exact law of the data, and
which end elsewhere.

The claim. Consistency of DDRO and RDRO for p+ is the papers'; which losses have p+ as their minimiser at
the population, and which nearby ones do not, is derived here. SFT on the chosen is among the first. What
fails does so by its own target: another mixing parameter, a mean over examples, another prior, a stabiliser
that is not the identity.

The run. Labels from one reference and many random acceptances of the same prior t, one cell per prior. Each
objective is minimised over all policies on the exact law.

The two roads. Newton's method on the torch loss, certified by gradient and curvature; and coefficients of
each loss by hand, whose forces must balance where Newton's method ends, up to a multiple of the policy that
keeps its mass at 1.

The checks:

- identities: three forms of RDRO with class means, four ratio losses of DDRO and SFT end at p+; so does
  RDRO with a mean over examples at t = 1/2;
- they differ from p+ by at least 0.001 in every problem: RDRO with alpha = t + 0.1, RDRO with a mean over
  examples at other t, DDRO with prior t + 0.1, DDRO with a squashed log-ratio;
- for each of those that differ, the forces by hand balance at its minimiser; for those that reach p+ they
  balance there.

The planted defects: alpha or the prior is 5 % too large in a loss; either is cut at one half, as if no data
could have more chosen than rejected responses; a mean over examples counts rows of the law instead of adding
up their weights, which makes it class means; SFT forgets the weights; the option of the squashed log-ratio
is lost; or the coefficients by hand take t 5 % too
small.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import ddro, rdro, sft
from distalign.objectives._classes import pooled_mean
from distalign.policies import Tabular
from distalign.populations import Law
from distalign.simulation.defects import Defect, argument
from distalign.simulation.fit import Objective, fit
from distalign.simulation.studies.density_ratio.estimators import acceptance, mean_over_rows, total_variation
from distalign.simulation.verdict import Check, differs, identity
from distalign.theory.density_ratio.losses import coefficients


def _balanced(cell: Mapping[str, Any]) -> bool:
    return cell["prior"] == 0.5


def _unbalanced(cell: Mapping[str, Any]) -> bool:
    return cell["prior"] != 0.5


DEFECTS = (
    Defect("alpha of the RDRO loss 5 % too large", rdro, argument("alpha", lambda x: 1.05 * x), _balanced),
    Defect(
        "alpha of the RDRO loss cut at one half", rdro, argument("alpha", lambda x: min(x, 0.5)), _balanced
    ),
    Defect("prior of the DDRO loss 5 % too large", ddro, argument("prior", lambda x: 1.05 * x), _unbalanced),
    Defect(
        "prior of the DDRO loss cut at one half", ddro, argument("prior", lambda x: min(x, 0.5)), _balanced
    ),
    Defect(
        "squashed log-ratio forgotten",
        ddro,
        argument("stabiliser", lambda x: "none" if x == "squash" else x),
        _unbalanced,
    ),
    Defect("a mean over examples counts rows", pooled_mean, mean_over_rows, _unbalanced),
    Defect("SFT forgets the weights", sft, lambda _: lambda batch: -batch.chosen.mean(), _unbalanced),
    Defect(
        "coefficients by hand with t 5 % too small",
        coefficients,
        argument("t", lambda t: 0.95 * t),
        _unbalanced,
    ),
)
TOLERANCE, APART, FORCE = 1e-8, 1e-3, 1e-6
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
}
REACH = (*FORMS, *RATIOS, "SFT on the chosen")
MISS = {  # the loss by hand, how far the share told lies above t, and whether one mean is taken
    "RDRO, alpha = t + 0.1": ("rdro logistic", 0.1, False),
    "RDRO, mean over examples": ("rdro logistic", 0.0, True),
    "DDRO, prior t + 0.1": ("ddro label_mle", 0.1, False),
    "DDRO, squashed log-ratio": ("ddro squash", 0.0, False),
}


def cells(priors: list[float], problems: int, responses: int) -> list[dict[str, Any]]:
    """One cell per prior."""
    return [{"prior": t, "problems": problems, "responses": responses} for t in priors]


def losses(t: float) -> dict[str, Objective]:
    """Every objective by name, told the prior t or something else."""
    return {
        **{name: partial(rdro, alpha=t, form=form) for name, form in FORMS.items()},
        **{name: partial(ddro, prior=t, ratio_loss=ratio) for name, ratio in RATIOS.items()},
        "SFT on the chosen": sft,
        "RDRO, alpha = t + 0.1": partial(rdro, alpha=t + 0.1),
        "RDRO, mean over examples": partial(rdro, alpha=t, reduction="batch_mean"),
        "DDRO, prior t + 0.1": partial(ddro, prior=t + 0.1),
        "DDRO, squashed log-ratio": partial(ddro, prior=t, stabiliser="squash"),
    }


def run(rng: np.random.Generator, *, prior: float, problems: int, responses: int) -> dict[str, Any]:
    """Total variation between each objective's certified minimiser and p+, and the largest relative force
    there.

    The distance is not finite where there is no certificate.
    """
    ref = rng.dirichlet(np.full(responses, 3.0))
    q = acceptance(rng.normal(size=(problems, responses)), ref, prior)
    law, p_plus = Law(np.arange(responses), np.arange(responses), ref * q, ref * (1 - q)), ref * q / prior
    p_minus = ref * (1 - q) / (1 - prior)
    tables = []
    for name, loss in losses(prior).items():
        minimisers = fit(Tabular(ref), loss, law)
        end = minimisers.probs[:, 0]
        if name in BY_HAND:
            force = _imbalance(BY_HAND[name], p_plus, p_minus, p_plus, ref, prior)
        elif name in MISS:
            by_hand, above, one_mean = MISS[name]
            weights = (2 * prior, 2 * (1 - prior)) if one_mean else (1.0, 1.0)
            force = _imbalance(by_hand, weights[0] * p_plus, weights[1] * p_minus, end, ref, prior + above)
        else:
            force = np.nan
        tables.append(
            pd.DataFrame(
                {
                    "objective": name,
                    "problem": np.arange(problems),
                    "error": np.where(minimisers.converged, total_variation(end, p_plus), np.nan),
                    "force": force,
                    "start": total_variation(ref, p_plus),
                }
            )
        )
    return dict(pd.concat(tables, ignore_index=True))


def _imbalance(
    loss: str, chosen: np.ndarray, rejected: np.ndarray, policy: np.ndarray, ref: np.ndarray, told: float
) -> np.ndarray:
    """The largest force on a response at a policy, relative to the coefficients by hand that it is made of.

    The force is the sum of the coefficients, weighed by the classes, less the share of the response in the
    sum of all forces: the derivative by a parameter of the softmax. It is infinite outside the
    domain of the ratio losses of DDRO, t pi/p_ref < 1.
    """
    inside = ((told * policy / ref).max(-1) < 1) | (loss == "ddro squash" or loss.startswith("rdro"))
    rho = np.where(inside[:, None], policy / ref, 1)
    up, down = (w * c for w, c in zip((chosen, rejected), coefficients(loss, rho, told), strict=True))
    total = (up + down).sum(-1, keepdims=True)
    relative = np.abs(up + down - policy * total) / (np.abs(up) + np.abs(down))
    return np.where(inside, relative.max(-1), np.inf)


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
            "forces by hand balance at p+", rows.loc[rows.objective.isin(REACH), "force"].dropna(), 1e-10
        ),
        *(
            identity(f"{name}: forces by hand balance at its minimiser", mine.force, FORCE)
            for name, mine in rows.loc[rows.objective.isin([*MISS])].groupby("objective")
        ),
    ]
