"""Evaluation on held-out preferences: every metric with its interval, and what length alone would achieve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.intervals import t_interval, wilson
from distalign.objectives import declared
from distalign.preferences import PreferenceLogProbs
from distalign.training.data.rows import PreferenceData, scored_count
from distalign.training.evaluation.dictionary import AT_LEAST_0, METRICS
from distalign.training.evaluation.intervals import cluster_errors
from distalign.training.evaluation.measures import MATCHED, HeldOut, length_difference, rewards, statistics
from distalign.training.evaluation.samples import Samples
from distalign.training.model.scoring import Scores, score_examples

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from distalign.training.model.scorer import Scorer
    from distalign.training.parallel import World


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        table: one row a metric: metric, value, standard error, 95 and 99 % interval, n, clusters, unit, and
            what the interval is.
        responses: one row a held-out response: rewards, lengths, cluster. Figures are drawn from it.
        notes: sentences that belong beside the numbers.
    """

    table: pd.DataFrame
    responses: pd.DataFrame
    notes: tuple[str, ...]

    def values(self) -> dict[str, float]:
        """Metric to value."""
        return dict(zip(self.table.metric, self.table.value, strict=True))

    def plot(self, figure: str = "dominance") -> Axes:
        """The axes of one figure; `axes.figure` is the figure itself.

        Args:
            figure: `dominance` (quantiles of chosen and rejected rewards), or of pairs `calibration` (share
                right against confidence) or `length` (share right against the ratio of lengths).

        Raises:
            InputError: another figure, or data that do not have what it shows.
        """
        from distalign.training.evaluation.report import drawn

        return drawn(self, figure).axes[0]


def evaluate(
    scorer: Scorer,
    data: PreferenceData,
    reference: Scores,
    objective: partial[Tensor],
    *,
    samples: Samples | None = None,
    token_budget: int = 4096,
    resamples: int = 200,
    seed: int = 0,
    world: World | None = None,
    progress: bool = False,
) -> Evaluation:
    """Score held-out data and measure everything that `METRICS` names.

    The objective sees the whole set as one batch, so its value does not depend on how the set was cut for
    scoring, and each distinct sequence is scored once, however many pairs share it.

    Args:
        scorer: the policy.
        data: held-out data.
        reference: log-probabilities of `score_examples` under the reference.
        objective: what was trained, options bound.
        samples: responses drawn from the policy, for entropy, distinct n-grams and the divergence to the
            reference.
        token_budget: padded tokens of a micro-batch.
        resamples: of the cluster bootstrap behind the intervals; 0 leaves them out.
        seed: of the bootstrap.
        world: processes that share out the scoring; each calls this and gets the whole evaluation.
        progress: show a bar.

    Raises:
        InputError: the objective cannot read the data, or reference scores have other counts than the data.
    """
    policy = score_examples(scorer, data.examples, token_budget=token_budget, world=world, progress=progress)
    return evaluation(
        held_out(data, policy, reference, objective),
        objective,
        samples=samples,
        resamples=resamples,
        seed=seed,
    )


def evaluation(
    held: HeldOut,
    objective: partial[Tensor],
    *,
    samples: Samples | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> Evaluation:
    """`evaluate` from scores that were computed before: no model is needed."""
    measure = partial(statistics, objective=objective)
    values, errors = measure(held), cluster_errors(held, measure, resamples, seed)
    clusters = len(np.unique(np.concatenate([held.chosen_clusters, held.rejected_clusters])))
    rows = [
        _row(name, value, errors.get(name), _count(name, held), clusters, held)
        for name, value in values.items()
    ]
    if samples is not None:
        rows += [
            _row(name, value, error, n, len(samples.prompts), None)
            for name, value, error, n in samples.statistics()
        ]
    return Evaluation(
        pd.DataFrame(rows), _responses(held, objective), _notes(held, objective, clusters, samples)
    )


def held_out(data: PreferenceData, policy: Scores, reference: Scores, objective: partial[Tensor]) -> HeldOut:
    """Scores with lengths, weights and clusters: groups where the data have them, prompts otherwise.

    Raises:
        InputError: counts disagree, or the data are unpaired and the objective compares pairs.
    """
    chosen = [e for e in data.examples if e.chosen is not None]
    rejected = [e for e in data.examples if e.rejected is not None]
    for name, scores in (("policy", policy), ("reference", reference)):
        if (len(scores[0]), len(scores[1])) != (len(chosen), len(rejected)):
            raise InputError(
                f"{name} has {len(scores[0])} + {len(scores[1])} scores but the data hold {len(chosen)} "
                f"chosen and {len(rejected)} rejected responses: score these very data"
            )
    if declared(objective).data == "pairs" and not data.paired:
        raise InputError(
            f"{objective.func.__name__} compares pairs but the held-out data are unpaired: give prompt, "
            "chosen, rejected"
        )
    names: dict[Any, int] = {}
    clusters = [
        np.array([names.setdefault(e.group if data.has_groups else e.prompt, len(names)) for e in side], int)
        for side in (chosen, rejected)
    ]
    weights = [torch.tensor([e.weight for e in side], dtype=torch.float64) for side in (chosen, rejected)]
    batch = PreferenceLogProbs(
        policy[0],
        policy[1],
        reference[0],
        reference[1],
        weights=weights[0] if data.has_weights or not data.paired else None,
        rejected_weights=None if data.paired else weights[1],
        groups=torch.tensor([e.group for e in chosen]) if data.has_groups else None,
        chosen_tokens=torch.tensor([scored_count(e.chosen or ()) for e in chosen]),
        rejected_tokens=torch.tensor([scored_count(e.rejected or ()) for e in rejected]),
    )
    return HeldOut(batch, data.paired, clusters[0], clusters[1])


def _row(
    name: str, value: float, error: float | None, n: int, clusters: int, held: HeldOut | None
) -> dict[str, float | str | int]:
    unit, _ = METRICS[name]
    row: dict[str, float | str | int] = {
        "metric": name,
        "value": value,
        "standard_error": math.nan if error is None else error,
    }
    share, independent = unit == "share", held is not None and clusters == n == len(held.chosen_clusters)
    kind = "none" if error is None or not math.isfinite(value) else "t on clusters"
    if kind != "none" and independent and share and held is not None and held.batch.weights is None:
        kind = "Wilson"
    elif kind != "none" and share and error is not None and error < 1e-9 and min(value, 1 - value) < 1e-9:
        kind = "Wilson on clusters"  # no spread to see: as many trials as clusters
    for level in (0.95, 0.99):
        low = high = math.nan
        if kind.startswith("Wilson"):
            low, high = wilson(value, clusters if kind == "Wilson on clusters" else n, level)
        elif kind != "none" and error is not None:
            low, high = t_interval(value, error, clusters, level)
        if unit in ("share", "probability"):
            low, high = max(low, 0.0), min(high, 1.0)
        if name in AT_LEAST_0:
            low = max(low, 0.0)
        row |= {f"low_{level:.0%}".rstrip("%"): low, f"high_{level:.0%}".rstrip("%"): high}
    return row | {"n": n, "clusters": clusters, "unit": unit, "interval": kind}


def _count(name: str, held: HeldOut) -> int:
    """How many pairs or responses a metric is of."""
    if name == "accuracy_matched_length":
        return int((np.abs(length_difference(held.batch)) <= MATCHED).sum())
    pooled = name in ("log_mean_ratio", "effective_share", "beyond_wall", "auc") or not held.paired
    return len(held.batch.chosen) + (len(held.batch.rejected) if pooled else 0)


def _responses(held: HeldOut, objective: partial[Tensor]) -> pd.DataFrame:
    batch, (u, v) = held.batch, rewards(held.batch, objective)
    sides = []
    for name, reward, ratio, tokens, cluster, weight in (
        (
            "chosen",
            u,
            batch.chosen_ratio,
            batch.chosen_tokens,
            held.chosen_clusters,
            batch.chosen_frequencies,
        ),
        (
            "rejected",
            v,
            batch.rejected_ratio,
            batch.rejected_tokens,
            held.rejected_clusters,
            batch.rejected_frequencies,
        ),
    ):
        assert tokens is not None
        sides.append(
            pd.DataFrame(
                {
                    "line": np.arange(len(reward)),
                    "side": name,
                    "reward": reward.numpy(),
                    "log_ratio": ratio.double().numpy(),
                    "tokens": tokens.numpy(),
                    "cluster": cluster,
                    "frequency": weight.double().numpy(),
                }
            )
        )
    return pd.concat(sides, ignore_index=True)


def _notes(
    held: HeldOut, objective: partial[Tensor], clusters: int, samples: Samples | None
) -> tuple[str, ...]:
    notes = []
    if "inputs" in declared(objective).needs:
        notes.append(
            f"loss is that of DPO: the penalty of {objective.func.__name__} reads gradients by embeddings"
        )
    if clusters < 2:
        notes.append("all responses belong to one cluster: no interval can be given")
    elif clusters < 10:
        notes.append(f"only {clusters} clusters: intervals rest on few independent units")
    if samples is not None:
        notes += samples.notes()
    return tuple(notes)
