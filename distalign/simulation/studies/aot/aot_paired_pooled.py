"""Paired AOT in small batches trains better with the reference's quantiles of all data than of the batch.

One data set of N pairs is cut into batches of b. The margins U of the policy are always sorted within a
batch. The margins V of the reference do not depend on the policy, so their quantiles may be those of the
batch (as in the paper and in public code), of the whole data set ("pooled"), or of the next batch
("other"). At b = N all three are the same.

Each averaged objective is minimised (the lowest of several certified Newton runs) and the policy is judged
by the population's sorted cost. Its regret is the share lost of what training can gain,

    (L(theta_b) - L*) / (L(reference) - L*).    (1)

Policies are log-linear, so that margins are linear in theta, u = v + <theta, psi(y+) - psi(y-)>.
Populations are random, one a replicate.

What decides is not the bias of the value but how the bias changes with the policy. In a batch the value is
exact at the reference, where U = V pair by pair, and too large elsewhere: the objective tilts to the
reference, and training stops short. Pooled, the value is too large by nearly the same everywhere: near the
reference pooling makes the value *worse*, and still trains better. Quantiles of other pairs have little
tilt, too, and more bias than pooled ones at every policy (Jensen). All of this is ours.

The checks ask in small batches, for both penalties, that pooling has less regret than the batch's own
quantiles, that its value has *more* bias at the reference, and that other pairs have more bias at the
optimum than pooled ones. The tilt (bias at the optimum minus bias at the reference) is in the table. Two
identities must hold exactly: the value in a batch is right at the reference, and with one batch of all data
the arms agree.

The planted defects: paired AOT without its sort, which is DPO; a mean over pairs that divides by n - 1; and
the cost of unpaired AOT, which is that against pooled quantiles, doubled or halved. None of them makes the
training hard.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import vmap

from distalign.objectives import aot_paired, aot_unpaired
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, result
from distalign.simulation.multistart import lowest, values
from distalign.simulation.rates import summarise
from distalign.simulation.studies.aot import toy
from distalign.simulation.studies.aot.mistakes import pair_by_pair
from distalign.simulation.verdict import Check, identity, separation


def _over_n_minus_1(right: Any) -> Any:
    """`aot_paired` whose mean over n pairs divides by n - 1."""

    def wrong(batch: PreferenceLogProbs, **options: Any) -> Tensor:
        n = len(batch.chosen)
        return right(batch, **options) * n / (n - 1)

    return wrong


DEFECTS = (
    Defect("paired AOT without its sort, which is DPO", aot_paired, pair_by_pair),
    Defect("the mean of paired AOT divides by n - 1", aot_paired, _over_n_minus_1),
    Defect("the cost of unpaired AOT doubled", aot_unpaired, result(lambda x: 2 * x)),
    Defect("the cost of unpaired AOT halved", aot_unpaired, result(lambda x: x / 2)),
)
SMALL = (4, 8)
PENALTIES: dict[str, dict[str, Any]] = {
    "least squares": {"penalty": "least_squares", "margin": 1.0},
    "logistic": {"beta": 1.0},
}
ARMS, QUANTITIES = ("batch", "pooled", "other"), ["regret", "bias_reference", "bias_optimum", "tilt"]
GRID = toy.polar(np.linspace(0.5, 4.0, 8), 12)


def cells(batches: list[int], pairs: int, instances: int, blocks: int) -> list[dict[str, Any]]:
    """One cell per penalty and block of populations.

    All batch sizes cut the same data, and one batch of all data comes last.
    """
    return [
        {"penalty": h, "batches": [*batches, pairs], "instances": instances, "block": i}
        for h in PENALTIES
        for i in range(blocks)
    ]


def run(
    rng: np.random.Generator,
    *,
    penalty: str,
    batches: list[int],
    instances: int,
    block: int,
) -> dict[str, Any]:
    """What each arm trains, by batch size.

    The columns are the regret (1) of the policy and the bias of the value at the reference and at the
    optimum.
    """
    pair_tables = toy.paired_tables([toy.draw(rng) for _ in range(instances)])
    drawn = torch.from_numpy(
        np.stack([rng.choice(len(w), size=max(batches), p=w) for w in pair_tables[2].numpy()])
    )
    exact = partial(_population, penalty=penalty)
    best = lowest(exact, pair_tables, GRID, keep=6)
    points = torch.stack([torch.zeros_like(best.theta), best.theta], 1)
    truth = values(exact, pair_tables, points)
    rows = []
    for b, arm in product(batches, ARMS):
        loss = partial(_averaged, penalty=penalty, b=b, arm=arm)
        bias = (values(loss, (*pair_tables, drawn), points) - truth).numpy()
        trained = lowest(loss, (*pair_tables, drawn), torch.stack([best.theta, best.theta / 2], 1), keep=2)
        regret = (values(exact, pair_tables, trained.theta[:, None])[:, 0] - best.value) / (
            truth[:, 0] - best.value
        )
        rows.append(
            {
                "instance": block * instances + np.arange(instances),
                "size": b,
                "share": b / max(batches),
                "arm": arm,
                "regret": np.where(trained.converged & best.converged, regret, np.nan),
                "bias_reference": bias[:, 0],
                "bias_optimum": bias[:, 1],
                "tilt": bias[:, 1] - bias[:, 0],
            }
        )
    return dict(pd.concat([pd.DataFrame(row) for row in rows]))


def _population(theta: Tensor, delta: Tensor, margin: Tensor, weights: Tensor, *, penalty: str) -> Tensor:
    """The sorted cost of the exact law."""
    zero = torch.zeros_like(margin)
    batch = PreferenceLogProbs(margin + delta @ theta, zero, margin, zero, weights, validate=False)
    return aot_paired(batch, **PENALTIES[penalty])


def _averaged(
    theta: Tensor,
    delta: Tensor,
    margin: Tensor,
    weights: Tensor,
    drawn: Tensor,
    *,
    penalty: str,
    b: int,
    arm: str,
) -> Tensor:
    """Mean over batches of the sorted cost.

    The reference's quantiles are those of the batch, of all data, or of the next batch, according to
    `arm`.
    """
    index = drawn.reshape(-1, b)
    v = margin[index]
    u = v + delta[index] @ theta
    if arm == "pooled":
        counts = torch.zeros_like(margin).index_add(0, drawn, torch.ones_like(drawn, dtype=margin.dtype))
        all_references = margin.repeat(len(index), 1), counts.repeat(len(index), 1)
        return vmap(partial(_against_all, penalty=penalty))(u, *all_references).mean()
    return vmap(partial(_against_batch, penalty=penalty))(u, v if arm == "batch" else v.roll(1, 0)).mean()


def _against_batch(u: Tensor, v: Tensor, *, penalty: str) -> Tensor:
    """Paired AOT of one batch against these reference margins."""
    zero = torch.zeros_like(u)
    return aot_paired(PreferenceLogProbs(u, zero, v, zero, validate=False), **PENALTIES[penalty])


def _against_all(u: Tensor, v: Tensor, counts: Tensor, *, penalty: str) -> Tensor:
    """The same against the reference margins of all data, of which each occurs `counts` times."""
    zeros = torch.zeros_like(u), torch.zeros_like(v)
    batch = PreferenceLogProbs(
        u, v, *zeros, weights=torch.ones_like(u), rejected_weights=counts, validate=False
    )
    return aot_unpaired(batch, **PENALTIES[penalty])


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean of regret and biases with intervals, by penalty, arm and batch size."""
    summaries = [
        summarise(rows, ["penalty", "arm", "size"], quantity).assign(quantity=quantity)
        for quantity in QUANTITIES
    ]
    return pd.concat(summaries, ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """What pooling gains in training and why, where it does not gain, and two exact limits."""
    separations = []
    for h in PENALTIES:
        small_batches = rows.loc[(rows.penalty == h) & rows["size"].isin(SMALL)]
        mean = small_batches.pivot_table(index="instance", columns="arm", values=QUANTITIES, dropna=False)
        separations += [
            separation(f"{h}, small b: regret, batch minus pooled", mean.regret.batch - mean.regret.pooled),
            separation(
                f"{h}, small b: bias of the value at the reference, pooled minus batch",
                mean.bias_reference.pooled - mean.bias_reference.batch,
            ),
            separation(
                f"{h}, small b: bias of the value at the optimum, other pairs minus pooled",
                mean.bias_optimum.other - mean.bias_optimum.pooled,
            ),
        ]
    one_batch = rows[rows.share == 1].groupby(["penalty", "instance"]).bias_optimum
    return [
        *separations,
        identity(
            "value in a batch is exact at the reference", rows.bias_reference[rows.arm == "batch"], 1e-12
        ),
        identity("one batch of all data: all arms agree", one_batch.max() - one_batch.min(), 1e-9),
    ]
