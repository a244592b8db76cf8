"""Gradient norms of density-ratio losses in stochastic training, and where training ends, on sequences that
can be enumerated.

The claim. RDRO's abstract says that the ratio p+/p- is unstable and can diverge while the relative one is
bounded. It is shown here as gradient norms before clipping, with our stabilisers of DDRO. Bounded gradients
come from RDRO's logistic form, not from the bounded ratio: least squares on the same ratio can explode. SFT
is as steady; DDRO with a linear continuation is as accurate while p+ and p- overlap; and small norms are no
accuracy (KTO).

The run. Sequences of 6 tokens out of 4. p+ and p- are Markov with logits A + delta D and A - delta D, the
reference is exactly their mixture, and the policy is a Markov table for each position that starts at the
reference's projection, so p+ is in its reach. Training takes fresh batches of 32 chosen and 32 rejected
sequences, by Adam, without clipping. All runs share one A and D. Norms are those of the whole parameter
before the step.

The two roads. Norms are measured in training, and at policies that are made to have large ones; RDRO's are
also bounded by theory, at sqrt(2 L). For one token that is the largest |c (e_y - p) - d (e_z - p)| over laws
p, tokens y and z, and the coefficients c in (-alpha, 1) and -d in (alpha - 1, 0) of RDRO: a convex function
of all three, so it is largest at a vertex, at p = e_z and c = 1. A gradient is a mean of such sums over L
tokens. Where training ends is measured by exact sums over the 4,096 sequences, which no loss sees.

The checks:

- bounds: RDRO's norms are at most sqrt(2 L), in training and at policies that lie more and more on the
  rejected sequence, where they come as near to it as one likes; in training the largest is at most 20 times
  the run's median;
- separations of the largest norm: that of DDRO with a floor and of DDRO by least squares exceeds three times
  RDRO's at every delta >= 0.3, and that of RDRO by least squares does so at the largest;
- separations of the final total variation: KTO is behind RDRO at every delta; DDRO by least squares by more
  than 0.05, and DDRO with a floor, once p+ and p- are far apart (delta >= 0.3).

"At every delta" is judged by the smallest of a replicate's differences. The table has KTO's norms, the
smallest.

The planted defects: RDRO's loss 10 % too large, of another form than the one asked for, or with chosen and
rejected exchanged; and DDRO with one stabiliser, squash or linear in the log-ratio, whatever is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap

from distalign.intervals import mean_interval
from distalign.objectives import ddro, kto, rdro, sft
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.fit import Objective
from distalign.simulation.studies.density_ratio.estimators import total_variation
from distalign.simulation.verdict import Check, bound, separation
from distalign.types import Array

TOKENS, LENGTH, PRIOR, BATCH, RATE = 4, 6, 0.5, 32, 0.02
# largest norm over the median that RDRO may have; delta from which on p+ and p- are far apart; steps per bin
LARGEST_OVER_MEDIAN, FAR, BIN = 20.0, 0.3, 10
# times RDRO's largest norm that others exceed, and total variation by which DDRO by least squares is behind
LARGER, BEHIND = 3.0, 0.05
LOSSES: dict[str, Objective] = {
    "SFT": sft,
    "RDRO": partial(rdro, alpha=PRIOR),
    "RDRO, least squares": partial(rdro, alpha=PRIOR, form="rulsif"),
    "DDRO, floor": partial(ddro, prior=PRIOR, stabiliser="floor", epsilon=1e-6),
    "DDRO, linear in the ratio": partial(ddro, prior=PRIOR, stabiliser="linear_ratio"),
    "DDRO, linear in its logarithm": partial(ddro, prior=PRIOR, stabiliser="linear_log_ratio"),
    "DDRO, least squares": partial(ddro, prior=PRIOR, ratio_loss="lsif", stabiliser="floor", epsilon=1e-3),
    "KTO": partial(kto, beta=0.1),
}
SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


SEARCHED = "RDRO, searched"
GAPS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0)  # nats by which the policy of the search prefers its tokens


def cells(deltas: list[float], steps: int, runs: int) -> list[dict[str, Any]]:
    """One cell per distance of p+ from p- and loss, each with batches of its own."""
    return [
        {"delta": d, "method": name, "steps": steps, "runs": runs}
        for d in deltas
        for name in (*LOSSES, SEARCHED)
    ]


@cache
def sequences() -> NDArray[Any]:
    """(V^L, L) place of each token of each sequence in a table (L, V, V) of position, token before, token."""
    tokens = np.indices((TOKENS,) * LENGTH).reshape(LENGTH, -1).T
    before = np.pad(tokens[:, :-1], ((0, 0), (1, 0)))
    return (np.arange(LENGTH) * TOKENS + before) * TOKENS + tokens


@cache
def laws(delta: float) -> tuple[Array, Array, Array]:
    """p+ and p- over all sequences, and the logits (L, V, V) of the Markov projection of their mixture; fixed
    seed.
    """
    rng = np.random.default_rng(5)
    a, d = rng.normal(size=(2, LENGTH, TOKENS, TOKENS))
    p_plus, p_minus = (
        np.exp(log_probs(torch.from_numpy(a + s * delta * d)[None])[0].numpy()) for s in (1, -1)
    )
    mass = np.bincount(
        sequences().ravel(), np.repeat(PRIOR * p_plus + (1 - PRIOR) * p_minus, LENGTH), LENGTH * TOKENS**2
    )
    with np.errstate(divide="ignore"):
        logits = np.log(mass).reshape(LENGTH, TOKENS, TOKENS)
    logits[0, 1:] = 0  # the first token has one token before it
    return p_plus, p_minus, logits


def log_probs(theta: Tensor, which: Tensor | None = None) -> Tensor:
    """(R, ...) log-probability of sequences at logits (R, L, V, V): of all, or of those numbered `which` (R,
    n).
    """
    table = torch.log_softmax(theta, -1).flatten(1)
    place = torch.from_numpy(sequences())
    if which is None:
        return table[:, place].sum(-1)
    return table.gather(1, place[which].flatten(1)).unflatten(1, (-1, LENGTH)).sum(-1)


def run(rng: np.random.Generator, *, delta: float, method: str, steps: int, runs: int) -> dict[str, Any]:
    """Gradient norm of every run and step, and the total variation to p+ at the end of the run.

    Of the search: the norm for each pair of a chosen and a rejected sequence (in place of runs) and each gap
    (in place of steps).
    """
    p_plus, p_minus, start = laws(delta)
    reference = torch.from_numpy(np.log(PRIOR * p_plus + (1 - PRIOR) * p_minus))
    if method == SEARCHED:
        norms, error = _searched(rng, reference, runs), np.full(runs, np.nan)
    else:
        batches = [
            torch.from_numpy(np.searchsorted(np.cumsum(p)[:-1], rng.random((steps, runs, BATCH))))
            for p in (p_plus, p_minus)
        ]
        theta = torch.from_numpy(start).expand(runs, -1, -1, -1).clone().requires_grad_()
        norms = _train_all_runs(theta, LOSSES[method], reference, batches)
        error = total_variation(log_probs(theta.detach()).exp().numpy(), p_plus)
    step, replicate = np.indices(norms.shape).reshape(2, -1)
    return {"replicate": replicate, "step": step, "norm": norms.ravel(), "error": np.tile(error, len(norms))}


def _searched(rng: np.random.Generator, reference: Tensor, pairs: int) -> Array:
    """(gaps, pairs) norms of RDRO's gradient where the policy prefers the tokens of the rejected sequence.

    The two sequences differ in every token.
    """
    tokens = rng.integers(TOKENS, size=(pairs, LENGTH))
    others = (tokens + rng.integers(1, TOKENS, size=(pairs, LENGTH))) % TOKENS
    powers = TOKENS ** np.arange(LENGTH - 1, -1, -1)
    chosen, rejected = (torch.from_numpy((x @ powers)[:, None]) for x in (tokens, others))
    places = torch.from_numpy(sequences())
    # After the tokens of either sequence those of the rejected one are preferred.
    after_chosen = places[chosen[:, 0]] + torch.from_numpy(others - tokens)
    preferred = torch.cat([places[rejected[:, 0]], after_chosen], 1)
    norms = []
    for gap in GAPS:
        theta = torch.zeros(pairs, LENGTH * TOKENS**2, dtype=torch.float64).scatter_(1, preferred, gap)
        theta = theta.reshape(pairs, LENGTH, TOKENS, TOKENS).requires_grad_()
        norms.append(_gradient_norms(theta, LOSSES["RDRO"], reference, chosen, rejected))
    return np.stack(norms)


def _gradient_norms(
    theta: Tensor, loss: Objective, reference: Tensor, chosen: Tensor, rejected: Tensor
) -> Array:
    """(R,) norms of the gradient of every run, which is left in `theta.grad`."""
    loss_per_run = vmap(lambda c, r, rc, rr: loss(PreferenceLogProbs(c, r, rc, rr, validate=False)))
    loss_per_run(
        log_probs(theta, chosen), log_probs(theta, rejected), reference[chosen], reference[rejected]
    ).sum().backward()
    assert theta.grad is not None
    return theta.grad.flatten(1).norm(dim=1).numpy()


def _train_all_runs(theta: Tensor, loss: Objective, reference: Tensor, batches: list[Tensor]) -> Array:
    """Adam on every run at once, in place; returns (steps, R) gradient norms."""
    optimiser = torch.optim.Adam([theta], lr=RATE)
    norms = []
    for chosen, rejected in zip(*batches):
        optimiser.zero_grad()
        norms.append(_gradient_norms(theta, loss, reference, chosen, rejected))
        optimiser.step()
    return np.stack(norms)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Summary of each loss; largest norms of the runs over bins of steps; norms that a share of all steps
    exceeds.
    """
    summary, curves, tails = [], [], []
    for delta, name in product(np.unique(rows.delta), LOSSES):
        mine = rows.loc[(rows.delta == delta) & (rows.method == name)]
        largest, errors = (
            mine.groupby("replicate").norm.max(),
            mine.groupby("replicate").error.first().to_numpy(float),
        )
        mean, low, high = mean_interval(errors)
        up, down, _ = laws(float(delta))
        one = {"delta": delta, "method": name}
        summary.append(
            {
                "part": "summary",
                **one,
                "mean": mean,
                "low": low,
                "high": high,
                "median_norm": mine.norm.median(),
                "p99_norm": mine.norm.quantile(0.99),
                "max_norm": mine.norm.max(),
                "least_run_max": largest.min(),
                "apart": float(total_variation(up, down)),
                "sup_ratio": (up / down).max(),
            }
        )
        binned = mine.groupby(mine.step // BIN * BIN).norm
        curves.append(
            pd.DataFrame(
                {"part": "curve", **one, "step": binned.max().index, "norm": binned.max().to_numpy()}
            )
        )
        exceeded = mine.norm.quantile(1 - np.array(SHARES)).to_numpy()
        tails.append(pd.DataFrame({"part": "tail", **one, "share": SHARES, "norm": exceeded}))
    return pd.concat([pd.DataFrame(summary), *curves, *tails], ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """RDRO's norms are bounded and within a factor of their median, DDRO's are not; and where each loss
    ends.
    """
    by_run = rows.groupby(["method", "delta", "replicate"])
    runs = by_run.agg(largest=("norm", "max"), median=("norm", "median"), error=("error", "first"))
    limit = np.sqrt(2 * LENGTH)
    excess = {m: np.log10(runs.loc[m].largest / runs.loc["RDRO"].largest) for m in LOSSES}
    behind = {m: runs.loc[m].error - runs.loc["RDRO"].error for m in LOSSES}
    trained = runs.loc["RDRO"]
    return [
        bound(
            "RDRO's norms <= sqrt(2 L), in training and searched",
            rows.norm[rows.method.isin(("RDRO", SEARCHED))],
            limit,
        ),
        bound(
            "RDRO's largest norm in training <= 20 x the run's median",
            trained.largest,
            LARGEST_OVER_MEDIAN * trained["median"],
        ),
        *(
            separation(
                f"largest norm of {m} over {LARGER:g} times RDRO's, log10, delta >= {FAR}",
                _smallest(excess[m], FAR) - np.log10(LARGER),
            )
            for m in ("DDRO, floor", "DDRO, least squares")
        ),
        separation(
            "... of RDRO by least squares, largest delta",
            _smallest(excess["RDRO, least squares"], rows.delta.max()) - np.log10(LARGER),
        ),
        separation("final total variation, KTO minus RDRO", _smallest(behind["KTO"])),
        separation(
            f"final total variation, DDRO by least squares minus RDRO, above {BEHIND}, delta >= {FAR}",
            _smallest(behind["DDRO, least squares"], FAR) - BEHIND,
        ),
        separation(
            f"final total variation, DDRO with a floor minus RDRO, delta >= {FAR}",
            _smallest(behind["DDRO, floor"], FAR),
        ),
    ]


def _smallest(of_runs: pd.Series, least: float = 0.0) -> pd.Series:
    """The smallest value of each replicate over the deltas from `least` on."""
    return of_runs[of_runs.index.get_level_values("delta") >= least].groupby("replicate").min()


def _other_ddro(stabiliser: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """DDRO with this stabiliser and defaults else, whatever is asked for."""

    def wrong(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda batch, *, prior, **options: right(batch, prior=prior, stabiliser=stabiliser)

    return wrong


def _exchanged(batch: PreferenceLogProbs) -> PreferenceLogProbs:
    """The batch with chosen and rejected responses exchanged."""
    sides = batch.rejected, batch.chosen, batch.ref_rejected, batch.ref_chosen
    return PreferenceLogProbs(*sides, validate=False)


DEFECTS = (
    Defect(
        "RDRO's loss 10 % too large", rdro, result(lambda loss: 1.1 * loss), where(delta=1.0, method=SEARCHED)
    ),
    Defect(
        "RDRO by least squares for the logistic form",
        rdro,
        argument("form", lambda form: "rulsif"),
        where(delta=1.0, method="RDRO"),
    ),
    Defect(
        "the form not passed on to RDRO",
        rdro,
        argument("form", lambda form: "logistic"),
        where(delta=1.0, method="RDRO, least squares"),
    ),
    Defect(
        "RDRO that takes the rejected for the chosen",
        rdro,
        argument("batch", lambda b: _exchanged(b)),
        where(delta=1.0, method="RDRO"),
    ),
    Defect(
        "DDRO squashed, whatever is asked for",
        ddro,
        _other_ddro("squash"),
        where(delta=1.0, method={"DDRO, floor", "DDRO, least squares"}),
    ),
    Defect(
        "DDRO linear in the log-ratio, whatever is asked for",
        ddro,
        _other_ddro("linear_log_ratio"),
        where(delta=0.3, method={"DDRO, floor", "DDRO, least squares"}),
    ),
)
