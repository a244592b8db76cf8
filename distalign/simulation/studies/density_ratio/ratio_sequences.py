"""From tables to sequences: the torch losses of language models, on policies that sum log-probabilities
over tokens.

The claim. Consistency for p+ is the papers'; exponent, constants and comparisons are derived or measured
here. RDRO and SFT fall like n^{-1/2} with the sandwich's constants. RDRO has no better rate and no better
constant than DDRO, which is behind it on few data, ahead on many, and ends elsewhere where its stabiliser
sets in below the truth. p+ is a bounded tilt of the reference, not the optimum of a reward.

The run. All 4^6 sequences are enumerated, so distances are exact. p+ and p- are Markov; the reference is
their mixture and is not Markov; policies are Markov. Each objective is minimised by L-BFGS through the same
functions that train a language model.

The two roads. Errors of the fitted policies, against constants of the sandwich covariance over Markov
policies (`distalign.theory.density_ratio.stress`).

The checks:

- rates and growth: RDRO and SFT fall like n^{-1/2} with their asymptotic constants, from n = 8192 on;
- separations: at the largest n SFT is behind RDRO, RDRO behind DDRO made linear beyond its domain, and DDRO
  made linear below the truth behind the same made linear above it; at the smallest n DDRO is behind RDRO;
- a bound: DDRO's constant is at most RDRO's, and RDRO's at most SFT's;
- an identity: the gradient of the torch objectives vanishes at the fits.

The defect averages log-ratios over the tokens in place of their sum. The losses then model the sixth root
of the ratio, so RDRO and DDRO do not end at p+.
"""

# pyright: reportCallIssue=false
# A starred split has no fixed length for the type checker.

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize

from distalign.objectives import ddro, rdro, sft
from distalign.populations import Thumbs
from distalign.populations.sequences import Sequences, markov_labels
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.fit import Objective
from distalign.simulation.rates import log_slope, summarise
from distalign.simulation.studies.density_ratio.estimators import blocks, frequencies, total_variation
from distalign.simulation.verdict import Check, bound, growth, identity, rate, separation
from distalign.theory.density_ratio.stress import parametric_constants
from distalign.types import Array

DEFECT = "log-ratios averaged over the tokens in place of their sum"
# The share of chosen, the difference of the logits of p+ and p-, the least size of the rates, and tolerances
# of constants and gradients.
PRIOR, DIFFERENCE, MIN_SIZE, TOLERANCE, STILL = 0.5, 0.3, 8192, 0.06, 2e-5
WALL, EARLY_WALL = 0.995, 0.95  # where the stabiliser sets in; t p+/p_ref is at most 0.986
EARLY = "DDRO, early wall"
LOSSES: dict[str, Objective] = {
    "SFT": sft,
    "RDRO": partial(rdro, alpha=PRIOR),
    **{
        name: partial(ddro, prior=PRIOR, stabiliser="linear_log_ratio", epsilon=1 - wall)
        for name, wall in (("DDRO", WALL), (EARLY, EARLY_WALL))
    },
}
FITTED_IN_ALL = ("SFT", "RDRO")


def cells(sizes: list[int], replicates: int, few: int) -> list[dict[str, Any]]:
    """One cell for each number of labelled sequences; DDRO, which is slow to fit, on the first `few`
    replicates.
    """
    return [{"size": n, "replicates": replicates, "few": few} for n in sizes]


@cache
def sequences_and_labels() -> tuple[Sequences, Thumbs]:
    """The sequences and their labels; fixed seed."""
    space = Sequences(4, 6)
    return space, markov_labels(space, np.random.default_rng(9), difference=DIFFERENCE, prior=PRIOR)


@cache
def constants() -> dict[str, float]:
    """Limits of sqrt(n) E TV over Markov policies."""
    space, truth = sequences_and_labels()
    scores = space.scores(space.project(truth.preferred[0]))
    return {
        name: parametric_constants(
            name.lower(), truth.preferred[0], truth.dispreferred[0], PRIOR, PRIOR, scores
        )[0]
        for name in ("SFT", "RDRO", "DDRO")
    }


def run(
    rng: np.random.Generator, *, size: int, replicates: int, few: int, defect: bool = False
) -> dict[str, Any]:
    """Total variation to p+ of each method's minimiser on each replicate, and the gradient left."""
    _, truth = sequences_and_labels()
    sample = truth.sample(size, rng, replicates=replicates)
    chosen_freq, rejected_freq = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    rows = []
    for i in range(replicates):
        for name in LOSSES if i < few else FITTED_IN_ALL:
            law, gradient_left = fit_markov_policy(name, chosen_freq[i], rejected_freq[i], per_token=defect)
            rows.append(
                {
                    "method": name,
                    "replicate": i,
                    "gradient": gradient_left,
                    "unseen": (chosen_freq[i] + rejected_freq[i] == 0).mean(),
                    "error": float(total_variation(law, truth.preferred[0])),
                    "predicted": constants().get(name, np.nan) / np.sqrt(size),
                }
            )
    return dict(pd.DataFrame(rows))


def fit_markov_policy(name: str, up: Array, down: Array, *, per_token: bool = False) -> tuple[Array, float]:
    """(K,) minimiser over Markov policies, and the largest entry of the gradient there.

    L-BFGS starts from the Markov projection of the reference. SFT's minimiser is in closed form.
    """
    space, truth = sequences_and_labels()
    start = space.project(up if name == "SFT" else truth.reference[0])
    evaluate = partial(_evaluate, LOSSES[name], up, down, per_token)
    if name != "SFT":
        start = minimize(
            evaluate,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 1000, "maxfun": 1500, "gtol": STILL / 2, "ftol": 0, "maxcor": 30},
        ).x
    return (space.log_probs(torch.from_numpy(start)).exp().numpy(), float(np.abs(evaluate(start)[1]).max()))


def _evaluate(
    objective: Objective, up: Array, down: Array, per_token: bool, logits: Array
) -> tuple[float, Array]:
    """Value and gradient of a torch objective at logits (D,)."""
    space, truth = sequences_and_labels()
    point = torch.from_numpy(logits).requires_grad_()
    chosen, rejected = np.flatnonzero(up), np.flatnonzero(down)
    scale, log_reference = 1 / space.length if per_token else 1.0, np.log(truth.reference[0])
    policy = scale * space.log_probs(point, np.concatenate([chosen, rejected]))
    loss = objective(
        PreferenceLogProbs(
            *policy.split([len(chosen), len(rejected)]),
            *(torch.from_numpy(scale * log_reference[i]) for i in (chosen, rejected)),
            torch.from_numpy(up[chosen]),
            torch.from_numpy(down[rejected]),
        )
    )
    return loss.item(), torch.autograd.grad(loss, point)[0].numpy()


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error with its interval, its prediction and slope, sequences never seen, and the largest gradient
    left.
    """
    more = rows.groupby(["method", "size"], as_index=False).agg(
        predicted=("predicted", "first"), unseen=("unseen", "mean"), gradient=("gradient", "max")
    )
    slopes = [
        {"method": m, "slope": s.estimate, "slope_low": s.low, "slope_high": s.high}
        for m, mine in rows.loc[rows["size"] >= MIN_SIZE].groupby("method")
        for s in [log_slope(mine["size"].to_numpy(float), mine.error.to_numpy(float))]
    ]
    return summarise(rows, ["method", "size"]).merge(more).merge(pd.DataFrame(slopes))


def checks(rows: pd.DataFrame) -> list[Check]:
    """Exponent and constants of RDRO and SFT; DDRO behind on few data and ahead on many."""
    in_regime = rows.loc[(rows["size"] >= MIN_SIZE) & rows.method.isin(FITTED_IN_ALL)]
    ratio = in_regime.assign(ratio=in_regime.error / in_regime.predicted).groupby("method").ratio.mean()
    at_largest, at_smallest = (
        {name: x[0] for name, x in blocks(rows.loc[rows["size"] == n], tuple(LOSSES), "error").items()}
        for n in (rows["size"].max(), rows["size"].min())
    )
    ddro_replicates, limit_constants = len(at_largest["DDRO"]), constants()
    return [
        *(
            rate(
                f"{name}: total variation to p+",
                rows.loc[rows.method == name],
                matches=-0.5,
                margin=0.05,
                min_size=MIN_SIZE,
            )
            for name in FITTED_IN_ALL
        ),
        growth("RDRO and SFT: mean error = asymptotic constant", ratio, np.ones(len(ratio)), TOLERANCE),
        separation("SFT minus RDRO, largest n", at_largest["SFT"] - at_largest["RDRO"]),
        separation(
            "RDRO minus DDRO made linear beyond its domain, largest n",
            at_largest["RDRO"][:ddro_replicates] - at_largest["DDRO"],
        ),
        separation(
            "DDRO made linear beyond its domain minus RDRO, smallest n",
            at_smallest["DDRO"] - at_smallest["RDRO"][:ddro_replicates],
        ),
        separation(
            "DDRO made linear below the truth minus above it, largest n",
            at_largest[EARLY] - at_largest["DDRO"],
        ),
        bound(
            "DDRO's constant <= RDRO's <= SFT's",
            [limit_constants["DDRO"], limit_constants["RDRO"]],
            [limit_constants["RDRO"], limit_constants["SFT"]],
        ),
        identity("gradient of the torch objectives at the ends", rows.gradient, STILL),
    ]
