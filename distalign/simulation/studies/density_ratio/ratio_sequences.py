"""From tables to sequences: the torch losses of language models, on policies that sum log-probabilities over
tokens.

All 4^6 sequences are enumerated, so that distances are exact. p+ and p- are Markov, the reference is their
mixture and is not; policies are Markov, and each objective is minimised by L-BFGS through the same functions
that train a language model.
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
CERTAIN = ("SFT", "RDRO")


def cells(sizes: list[int], replicates: int, few: int) -> list[dict[str, Any]]:
    """One cell for each number of labelled sequences; DDRO, which is slow to fit, on the first `few`
    replicates.
    """
    return [{"size": n, "replicates": replicates, "few": few} for n in sizes]


@cache
def problem() -> tuple[Sequences, Thumbs]:
    """The sequences and their labels; fixed seed."""
    space = Sequences(4, 6)
    return space, markov_labels(space, np.random.default_rng(9), difference=DIFFERENCE, prior=PRIOR)


@cache
def constants() -> dict[str, float]:
    """Limits of sqrt(n) E TV over Markov policies."""
    space, truth = problem()
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
    _, truth = problem()
    sample = truth.sample(size, rng, replicates=replicates)
    up, down = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    rows = []
    for i in range(replicates):
        for name in LOSSES if i < few else CERTAIN:
            law, left = fit(name, up[i], down[i], per_token=defect)
            rows.append(
                {
                    "method": name,
                    "replicate": i,
                    "gradient": left,
                    "unseen": (up[i] + down[i] == 0).mean(),
                    "error": float(total_variation(law, truth.preferred[0])),
                    "predicted": constants().get(name, np.nan) / np.sqrt(size),
                }
            )
    return dict(pd.DataFrame(rows))


def fit(name: str, up: Array, down: Array, *, per_token: bool = False) -> tuple[Array, float]:
    """(K,) minimiser from the Markov projection of the reference, and the largest entry of the gradient
    there; SFT's minimiser is in closed form."""
    space, truth = problem()
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
    space, truth = problem()
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
    late = rows.loc[(rows["size"] >= MIN_SIZE) & rows.method.isin(CERTAIN)]
    ratio = late.assign(ratio=late.error / late.predicted).groupby("method").ratio.mean()
    last, first = (
        {name: x[0] for name, x in blocks(rows.loc[rows["size"] == n], tuple(LOSSES), "error").items()}
        for n in (rows["size"].max(), rows["size"].min())
    )
    few, limit = len(last["DDRO"]), constants()
    return [
        *(
            rate(
                f"{name}: total variation to p+",
                rows.loc[rows.method == name],
                matches=-0.5,
                margin=0.05,
                min_size=MIN_SIZE,
            )
            for name in CERTAIN
        ),
        growth("RDRO and SFT: mean error = asymptotic constant", ratio, np.ones(len(ratio)), TOLERANCE),
        separation("SFT minus RDRO, largest n", last["SFT"] - last["RDRO"]),
        separation(
            "RDRO minus DDRO made linear beyond its domain, largest n", last["RDRO"][:few] - last["DDRO"]
        ),
        separation(
            "DDRO made linear beyond its domain minus RDRO, smallest n", first["DDRO"] - first["RDRO"][:few]
        ),
        separation("DDRO made linear below the truth minus above it, largest n", last[EARLY] - last["DDRO"]),
        bound(
            "DDRO's constant <= RDRO's <= SFT's",
            [limit["DDRO"], limit["RDRO"]],
            [limit["RDRO"], limit["SFT"]],
        ),
        identity("gradient of the torch objectives at the ends", rows.gradient, STILL),
    ]
