"""A small recurrent language model in minibatches, measured by KL to p+ where p+ is known.

The claim is ours; it is an illustration with 32 seeds for the smallest n and eight for the others, one
learning rate that is not tuned and one family of scores, not a benchmark. RDRO with class means is nearer p+
than SFT while labels are few, and at every n nearer than RDRO with one mean over examples, whose own samples
would be chosen more often all the same. p+ is a bounded tilt of the reference, not the optimum of a reward.

The run. The reference is a frozen recurrent model, and its own samples carry labels, chosen with
probability q(y). Then p+ = p_ref q / t exactly, though nothing can be enumerated. Each objective trains a
copy of the reference by Adam.

The two roads. KL(p+ || pi) and the rate at which the policy's own samples would be chosen are means over
samples of held-out truth. Beside the trained models stand the reference, p+ itself and the limit of one
mean over examples over all policies, which the exact solver computes from the reference's draws.

The checks, all separations over seeds:

- KL to p+: one mean over examples minus class means at the largest n; SFT minus RDRO at n = 2048;
- the rate of being chosen: one mean over examples minus class means, and its limit minus p+, so the rate
  hides the bias;
- DDRO with a floor minus RDRO: log10 of the largest over the median gradient norm (the ratio itself spreads
  over two decades, so that a mean of it says little).

DDRO is a row of the table and no check: with either stabiliser it is level with RDRO on some seeds and
sizes and behind on others.

The planted defects: RDRO's reduction not passed on, so that it always is one mean; DDRO squashed,
whatever stabiliser is asked for; and the share of the batch not passed on to the exact solver, so that the
limit of one mean is that of class means.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from distalign.objectives import ddro, rdro, sft
from distalign.policies.recurrent import Recurrent
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument
from distalign.simulation.fit import Objective
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, separation
from distalign.solvers.density_ratio import rdro_policy

PRIOR, STRENGTH, SHARPNESS = 0.4, 1.4, 4.0
BATCH, RATE, HELD_OUT, CALIBRATION, BINS = 128, 1e-3, 4096, 8192, 64
RAW, ONE_MEAN, LIMIT = "DDRO, floor", "RDRO, mean over examples", "limit of the mean over examples"
LOSSES: dict[str, Objective] = {
    "SFT": sft,
    RAW: partial(ddro, prior=PRIOR, stabiliser="floor", epsilon=1e-6),
    "DDRO, linear in log-ratio": partial(ddro, prior=PRIOR, stabiliser="linear_log_ratio"),
    "RDRO": partial(rdro, alpha=PRIOR),
    ONE_MEAN: partial(rdro, alpha=PRIOR, reduction="batch_mean"),
}
FEW = 2048
DEFECTS = (
    Defect(
        "one mean over examples whatever is asked of RDRO",
        rdro,
        argument("reduction", lambda r: "batch_mean"),
    ),
    Defect("DDRO squashed, whatever is asked for", ddro, argument("stabiliser", lambda name: "squash")),
    Defect(
        "the share of the batch not passed on to the solver", rdro_policy, argument("share", lambda a: 0.5)
    ),
)


@dataclass(frozen=True, eq=False)
class LabelledReference:
    """A reference model whose samples carry labels.

    Attributes:
        reference: the frozen model p_ref.
        chosen: q, (n, L) tokens -> (n,) probabilities of being chosen, with E_{p_ref} q = t.
    """

    reference: Recurrent
    chosen: Callable[[Tensor], Tensor]

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(n, L) sequences of the reference and (n,) labels."""
        y = self.reference.sample(n, generator)
        return y, torch.rand(n, generator=generator) < self.chosen(y)


def labelled_reference(seed: int) -> LabelledReference:
    """A reference of random weights, and q = sigma(score) of bigram scores whose mean over the reference is
    0.4.

    The scores are standardised on draws of the reference, and bisection finds the shift that gives the
    mean.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reference = Recurrent(sharpness=SHARPNESS).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(reference.vocabulary, reference.vocabulary, generator=generator)

    def score(y: Tensor) -> Tensor:
        return table[y[:, :-1], y[:, 1:]].sum(1)

    h = score(reference.sample(CALIBRATION, generator)).double()
    h, middle, scale = (h - h.mean()) / h.std(), h.mean(), h.std()
    low, high, shift = -20.0, 20.0, 0.0
    for _ in range(60):
        shift = (low + high) / 2
        low, high = (shift, high) if torch.sigmoid(STRENGTH * h + shift).mean() < PRIOR else (low, shift)

    def chosen(y: Tensor) -> Tensor:
        return torch.sigmoid(STRENGTH * (score(y) - middle) / scale + shift)

    return LabelledReference(reference, chosen)


def cells(sizes: list[int], epochs: list[int], seeds: list[int]) -> list[dict[str, Any]]:
    """One cell for each number of labelled sequences and each of its seeds."""
    return [
        {"size": n, "epochs": e, "seed": s}
        for n, e, many in zip(sizes, epochs, seeds, strict=True)
        for s in range(many)
    ]


def run(rng: np.random.Generator, *, size: int, epochs: int, seed: int) -> dict[str, Any]:
    """KL(p+ || pi), rate of being chosen and gradient norms of each objective, with reference, p+ and a
    limit beside them.
    """
    truth = labelled_reference(seed)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    tokens, label = truth.draw(size, generator)
    held_out, held_out_chosen = truth.draw(HELD_OUT, generator)
    p_plus_samples = held_out[held_out_chosen]
    of_reference = truth.reference.log_probs(p_plus_samples)
    log_p_plus = of_reference + truth.chosen(p_plus_samples).log() - np.log(PRIOR)
    rows = [
        {
            "method": "reference",
            "kl": float((log_p_plus - of_reference).mean()),
            "rate": float(truth.chosen(held_out).mean()),
        },
        {"method": "p+", "kl": 0.0, "rate": float(truth.chosen(p_plus_samples).mean())},
        limit_of_one_mean(truth.chosen(held_out).numpy()),
    ]
    order = torch.Generator()
    for name, objective in LOSSES.items():
        policy, norms = train_from_reference(
            truth.reference, objective, tokens, label, epochs, order.manual_seed(seed)
        )
        with torch.no_grad():
            kl = (log_p_plus - policy.log_probs(p_plus_samples)).mean()
        own_samples = policy.sample(HELD_OUT, order)
        rows.append(
            {
                "method": name,
                "kl": float(kl),
                "rate": float(truth.chosen(own_samples).mean()),
                "norm": float(np.median(norms)),
                "largest_norm": float(np.max(norms)),
            }
        )
    return dict(pd.DataFrame(rows))


def limit_of_one_mean(q: np.ndarray) -> dict[str, Any]:
    """Where RDRO with one mean over examples ends over all policies.

    The exact solver is applied to the reference's draws, binned by q.
    """
    q = np.sort(q.astype(float)).reshape(BINS, -1).mean(1)
    p_plus, p_minus = q / q.sum(), (1 - q) / (1 - q).sum()
    solution = rdro_policy(p_plus, p_minus, np.full(BINS, 1 / BINS), alpha=q.mean(), share=q.mean())
    policy = solution.policy if solution.solved else np.full(BINS, np.nan)
    return {"method": LIMIT, "kl": float(p_plus @ np.log(p_plus / policy)), "rate": float(policy @ q)}


def train_from_reference(
    reference: Recurrent,
    objective: Objective,
    tokens: Tensor,
    label: Tensor,
    epochs: int,
    generator: torch.Generator,
) -> tuple[Recurrent, list[float]]:
    """Train a copy of the reference by Adam with a cosine schedule.

    Returns:
        The policy, and the norm of every gradient, none of them clipped.
    """
    policy = copy.deepcopy(reference).requires_grad_(True)
    base = torch.cat([reference.log_probs(part) for part in tokens.split(HELD_OUT)])
    batches, norms = len(tokens) // BATCH, []
    optimiser = torch.optim.Adam(policy.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    for _ in range(epochs):
        for index in torch.randperm(len(tokens), generator=generator).split(BATCH)[:batches]:
            up, down = index[label[index]], index[~label[index]]
            logs = policy.log_probs(tokens[torch.cat([up, down])])
            loss = objective(PreferenceLogProbs(logs[: len(up)], logs[len(up) :], base[up], base[down]))
            optimiser.zero_grad()
            loss.backward()
            norms.append(
                float(
                    torch.nn.utils.get_total_norm([p.grad for p in policy.parameters() if p.grad is not None])
                )
            )
            optimiser.step()
            schedule.step()
    return policy, norms


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean KL and mean difference of KL to RDRO's, with intervals; rate of being chosen, median and largest
    gradient norm.
    """
    of_rdro = rows.loc[rows.method == "RDRO", ["size", "seed", "kl"]].rename(columns={"kl": "rdro"})
    paired = rows.merge(of_rdro, on=["size", "seed"]).assign(minus=lambda x: x.kl - x.rdro)
    minus = summarise(paired, ["method", "size"], column="minus").rename(
        columns={"mean": "minus_rdro", "low": "minus_rdro_low", "high": "minus_rdro_high"}
    )
    more = rows.groupby(["method", "size"], as_index=False).agg(
        rate=("rate", "mean"),
        rate_sd=("rate", "std"),
        norm=("norm", "median"),
        largest_norm=("largest_norm", "max"),
    )
    return (
        summarise(rows, ["method", "size"], column="kl")
        .merge(minus[["method", "size", "minus_rdro", "minus_rdro_low", "minus_rdro_high"]])
        .merge(more)
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Class means against one mean at the largest n, and against SFT where labels are few; what the rate
    hides.
    """
    rows = rows.assign(spike=rows.largest_norm / rows.norm)
    largest, fewest = (rows.loc[rows["size"] == n] for n in (rows["size"].max(), FEW))
    kl, rate, spike = (
        largest.pivot(index="seed", columns="method", values=column) for column in ("kl", "rate", "spike")
    )
    kl_few = fewest.pivot(index="seed", columns="method", values="kl")
    return [
        separation("one mean over examples minus class means, KL to p+", kl[ONE_MEAN] - kl["RDRO"]),
        separation(f"SFT minus RDRO, KL to p+, n = {FEW}", kl_few["SFT"] - kl_few["RDRO"]),
        separation(
            "one mean over examples minus class means, rate of being chosen", rate[ONE_MEAN] - rate["RDRO"]
        ),
        separation(
            "limit of one mean over examples minus p+, rate of being chosen", rate[LIMIT] - rate["p+"]
        ),
        separation(
            "DDRO with a floor minus RDRO, log10 of largest over median gradient norm",
            np.log10(spike[RAW]) - np.log10(spike["RDRO"]),
        ),
    ]
