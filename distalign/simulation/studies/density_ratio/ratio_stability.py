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
sequences, by Adam, without clipping. All runs share one A and D, all losses the same batches. Norms are
those of the whole parameter before the step.

The two roads. Norms are measured in training; RDRO's are also bounded by theory, at sqrt(2 L) (2 - alpha).
Where training ends is measured by exact sums over the 4,096 sequences, which no loss sees.

The checks, at every delta:

- separations of the largest norm: DDRO with a floor and DDRO by least squares exceed RDRO, RDRO exceeds
  KTO, and at the largest delta RDRO by least squares exceeds the logistic form;
- separations of the final total variation: KTO and DDRO by least squares are behind RDRO, and so is DDRO
  with a floor once p+ and p- are far apart (delta >= 0.3);
- bounds: RDRO's norms are at most sqrt(2 L) (2 - alpha), and its largest at most 20 times the run's median.

The defect takes RDRO's least-squares form in place of its logistic one. Its norms have no bound, so both
bounds are violated.
"""

from __future__ import annotations

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
from distalign.simulation.fit import Objective
from distalign.simulation.studies.density_ratio.estimators import total_variation
from distalign.simulation.verdict import Check, bound, separation
from distalign.types import Array

DEFECT = "RDRO's least-squares form in place of its logistic one"
TOKENS, LENGTH, PRIOR, BATCH, RATE = 4, 6, 0.5, 32, 0.02
# largest norm over the median that RDRO may have; delta from which on p+ and p- are far apart; steps per bin
LARGEST_OVER_MEDIAN, FAR, BIN = 20.0, 0.3, 10
RULSIF = partial(rdro, alpha=PRIOR, form="rulsif")
LOSSES: dict[str, Objective] = {
    "SFT": sft,
    "RDRO": partial(rdro, alpha=PRIOR),
    "RDRO, least squares": RULSIF,
    "DDRO, floor": partial(ddro, prior=PRIOR, stabiliser="floor", epsilon=1e-6),
    "DDRO, linear in the ratio": partial(ddro, prior=PRIOR, stabiliser="linear_ratio"),
    "DDRO, linear in its logarithm": partial(ddro, prior=PRIOR, stabiliser="linear_log_ratio"),
    "DDRO, least squares": partial(ddro, prior=PRIOR, ratio_loss="lsif", stabiliser="floor", epsilon=1e-3),
    "KTO": partial(kto, beta=0.1),
}
SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


def cells(deltas: list[float], steps: int, runs: int) -> list[dict[str, Any]]:
    """One cell per distance of p+ from p-."""
    return [{"delta": d, "steps": steps, "runs": runs} for d in deltas]


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


def run(
    rng: np.random.Generator, *, delta: float, steps: int, runs: int, defect: bool = False
) -> dict[str, Any]:
    """Gradient norm of every loss, run and step, and the total variation to p+ at the end of the run."""
    p_plus, p_minus, start = laws(delta)
    reference = torch.from_numpy(np.log(PRIOR * p_plus + (1 - PRIOR) * p_minus))
    batches = [
        torch.from_numpy(np.searchsorted(np.cumsum(p)[:-1], rng.random((steps, runs, BATCH))))
        for p in (p_plus, p_minus)
    ]
    tables = []
    for name, loss in LOSSES.items():
        theta = torch.from_numpy(start).expand(runs, -1, -1, -1).clone().requires_grad_()
        norms = _train_all_runs(theta, RULSIF if defect and name == "RDRO" else loss, reference, batches)
        error = total_variation(log_probs(theta.detach()).exp().numpy(), p_plus)
        step, replicate = np.indices(norms.shape).reshape(2, -1)
        tables.append(
            pd.DataFrame(
                {
                    "method": name,
                    "replicate": replicate,
                    "step": step,
                    "norm": norms.ravel(),
                    "error": np.tile(error, steps),
                }
            )
        )
    return dict(pd.concat(tables, ignore_index=True))


def _train_all_runs(theta: Tensor, loss: Objective, reference: Tensor, batches: list[Tensor]) -> Array:
    """Adam on every run at once, in place; returns (steps, R) gradient norms."""
    optimiser = torch.optim.Adam([theta], lr=RATE)
    loss_per_run = vmap(lambda c, r, rc, rr: loss(PreferenceLogProbs(c, r, rc, rr, validate=False)))
    norms = []
    for chosen, rejected in zip(*batches):
        optimiser.zero_grad()
        loss_per_run(
            log_probs(theta, chosen), log_probs(theta, rejected), reference[chosen], reference[rejected]
        ).sum().backward()
        assert theta.grad is not None
        norms.append(theta.grad.flatten(1).norm(dim=1).numpy())
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
    by_run = rows.groupby(["delta", "method", "replicate"])
    runs = by_run.agg(largest=("norm", "max"), median=("norm", "median"), error=("error", "first"))
    rdro_runs = runs.xs("RDRO", level="method")
    limit = np.sqrt(2 * LENGTH) * (2 - PRIOR)
    out = []
    for delta in np.unique(rows.delta):
        log_norms = {m: np.log10(runs.loc[(delta, m), "largest"].to_numpy(float)) for m in LOSSES}
        error = {m: runs.loc[(delta, m), "error"].to_numpy(float) for m in LOSSES}
        out += [
            separation(f"delta {delta}: log10 largest norm, {m} minus RDRO", log_norms[m] - log_norms["RDRO"])
            for m in ("DDRO, floor", "DDRO, least squares")
        ]
        out += [
            separation(
                f"delta {delta}: log10 largest norm, RDRO minus KTO", log_norms["RDRO"] - log_norms["KTO"]
            ),
            separation(f"delta {delta}: final total variation, KTO minus RDRO", error["KTO"] - error["RDRO"]),
            separation(
                f"delta {delta}: final total variation, DDRO by least squares minus RDRO",
                error["DDRO, least squares"] - error["RDRO"],
            ),
        ]
        if delta >= FAR:
            out.append(
                separation(
                    f"delta {delta}: final total variation, DDRO with a floor minus RDRO",
                    error["DDRO, floor"] - error["RDRO"],
                )
            )
        if delta == rows.delta.max():
            out.append(
                separation(
                    "largest delta: log10 largest norm, RDRO by least squares minus logistic",
                    log_norms["RDRO, least squares"] - log_norms["RDRO"],
                )
            )
    return [
        *out,
        bound("RDRO's norms <= sqrt(2 L) (2 - alpha)", rdro_runs.largest, limit),
        bound(
            "RDRO's largest norm <= 20 x the run's median",
            rdro_runs.largest,
            LARGEST_OVER_MEDIAN * rdro_runs["median"],
        ),
    ]
