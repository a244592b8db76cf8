r"""What an evaluation measures on held-out data.

Rewards are those that the objective implies (`distalign.objectives.described`): beta log pi/pi_ref, for
f-DPO and chi-PO beta f'(pi/pi_ref), and the plain log-ratio for objectives without beta. Because every
measure reads the weights, a bootstrap is a change of weights.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from distalign.calibration import binned_calibration_error, pair_error
from distalign.objectives import SmallBatchWarning, declared, description_of, dpo
from distalign.preferences import PreferenceLogProbs, metrics
from distalign.types import Array

MATCHED = math.log(1.25)
"""Two responses are matched in length where neither is more than a quarter longer than the other."""

RIDGE = 0.01  # of a coefficient per standard deviation: keeps perfectly separated pairs finite


@dataclass(frozen=True)
class HeldOut:
    """Scored held-out data.

    Attributes:
        batch: n chosen and m rejected responses with lengths; unpaired data carry `rejected_weights` of their
            own.
        paired: whether entry i of both classes is one comparison (equal counts alone do not say so).
        chosen_clusters, rejected_clusters: (n,), (m,) integers from 0; responses of one cluster depend on
            each other.
    """

    batch: PreferenceLogProbs
    paired: bool
    chosen_clusters: NDArray[np.int64]
    rejected_clusters: NDArray[np.int64]


def statistics(held: HeldOut, objective: partial[Tensor]) -> dict[str, float]:
    """Every measure that data and log-probabilities determine.

    `distalign.training.evaluation.dictionary.METRICS` says what each is.

    Raises:
        InputError: the objective cannot read the batch.
    """
    batch = held.batch.detached()
    u, v = rewards(batch, objective)
    out = {"loss": held_out_loss(batch, objective), **of_rewards(batch, u, v)}
    if not len(v):
        return out | _of_ratios(batch, objective)
    if held.paired:
        out |= _of_pairs(batch, (u - v).numpy())
    else:
        out = {name: value for name, value in out.items() if name not in ("accuracy", "rewards/margins")}
        out["auc"] = area(
            u.numpy(), v.numpy(), batch.chosen_frequencies.numpy(), batch.rejected_frequencies.numpy()
        )
    return out | _of_ratios(batch, objective)


def of_rewards(batch: PreferenceLogProbs, u: Tensor, v: Tensor) -> dict[str, float]:
    """`distalign.metrics` of rewards u and v, with the displacement of log-ratios.

    Where there are no rejected responses these are the metrics of the chosen ones.

    Example:
        >>> none = torch.zeros(0)
        >>> batch = PreferenceLogProbs(torch.tensor([-1.0]), none, torch.tensor([-1.5]), none)
        >>> of_rewards(batch, batch.chosen_ratio, batch.rejected_ratio)
        {'rewards/chosen': 0.5, 'displacement': 0.5}
    """
    p = batch.chosen_frequencies
    measured = {"rewards/chosen": float((p * u).sum())}
    if len(v):  # rewards stand in the place of log-ratios
        zero_u, zero_v = torch.zeros_like(u), torch.zeros_like(v)
        measured = metrics(replace(batch, chosen=u, rejected=v, ref_chosen=zero_u, ref_rejected=zero_v))
    return measured | {"displacement": float((p * batch.chosen_ratio).sum())}


def rewards(batch: PreferenceLogProbs, objective: partial[Tensor]) -> tuple[Tensor, Tensor]:
    """((n,), (m,)) rewards that the objective implies, in float64.

    Example: for f-DPO with forward KL, f'(e^u) - f'(1) = 1 - e^-u.
        >>> from distalign.objectives import f_dpo
        >>> batch = PreferenceLogProbs(*torch.tensor([[2.0], [0.5], [1.0], [1.0]]).log())
        >>> [round(r.item(), 6) for r in rewards(batch, partial(f_dpo, beta=0.5, divergence="forward_kl"))]
        [0.25, -0.5]
    """
    reward, options = description_of(objective).reward, objective.keywords
    u, v = batch.chosen_ratio.detach().double(), batch.rejected_ratio.detach().double()
    return reward(u, batch.chosen_tokens, options), reward(v, batch.rejected_tokens, options)


def held_out_loss(batch: PreferenceLogProbs, objective: partial[Tensor]) -> float:
    """The objective on the whole set as one batch.

    Of wdpo, whose penalty reads embeddings, it is the DPO loss inside it.
    """
    if "inputs" in declared(objective).needs:
        objective = partial(dpo, beta=objective.keywords["beta"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallBatchWarning)
        return float(objective(batch))


def area(u: Array, v: Array, p: Array, q: Array) -> float:
    """P(U > V) + P(U = V) / 2 for independent U and V of weights p and q: the area under the ROC curve.

    Example:
        >>> area(np.array([1.0, 0.0]), np.array([0.0, -1.0]), np.full(2, 0.5), np.full(2, 0.5))
        0.875
    """
    order = np.argsort(v)
    below = np.concatenate([[0.0], np.cumsum(q[order])])
    places = (np.searchsorted(v[order], u, side) for side in ("left", "right"))
    return float(p @ (sum(below[place] for place in places) / 2))


def logistic(features: ArrayLike, outcome: ArrayLike, weights: ArrayLike, free: int = 0) -> Array:
    """(k,) coefficients of a weighted logistic regression with a weak ridge.

    The ridge is on all but the first `free` coefficients.

    Args:
        features: (n, k), without an intercept of their own.
        outcome: (n,) in [0, 1].
        weights: (n,) with sum about n.
        free: leading coefficients without a ridge worth naming.

    Example: three of four correct, at any value of the second feature.
        >>> x = np.array([[1.0, 1.0], [1.0, -1.0]] * 4)
        >>> logistic(x, [1, 1, 1, 1, 1, 1, 0, 0], np.ones(8), free=1).round(3)
        array([1.099, 0.   ])
    """
    x, y, w = (np.asarray(a, float) for a in (features, outcome, weights))
    ridge = np.where(np.arange(x.shape[1]) < free, 1e-6, RIDGE)
    coefficients = np.zeros(x.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(x @ coefficients, -50, 50)))
        gradient = x.T @ (w * (p - y)) + ridge * coefficients
        hessian = (x.T * (w * p * (1 - p))) @ x + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        coefficients = coefficients - step * min(1.0, 2 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-9:
            break
    return coefficients


def length_difference(batch: PreferenceLogProbs) -> Array:
    """(n,) log of the chosen response's tokens over the rejected one's."""
    assert batch.chosen_tokens is not None
    assert batch.rejected_tokens is not None
    return (batch.chosen_tokens.double().log() - batch.rejected_tokens.double().log()).numpy()


def correctness(margin: Array) -> Array:
    """1 where the margin is above 0, 1/2 where it is 0, else 0."""
    return (margin > 0) + 0.5 * (margin == 0)


def _of_pairs(batch: PreferenceLogProbs, margin: Array) -> dict[str, float]:
    p, longer = batch.chosen_frequencies.double().numpy(), length_difference(batch)
    correct, w = correctness(margin), p * np.count_nonzero(p)
    matched = np.abs(longer) <= MATCHED
    scaled = longer / (math.sqrt(float(p @ longer**2)) or 1.0)
    at_equal = logistic(np.stack([np.ones_like(scaled), scaled], 1), correct, w, free=1)[0]
    both = np.stack([margin / (math.sqrt(float(p @ margin**2)) or 1.0), scaled], 1)
    slopes = logistic(both, np.ones_like(margin), w)
    confidence = 1 / (1 + np.exp(-np.minimum(np.abs(margin), 700)))
    return {
        "calibration_per_token": pair_error(batch),
        "calibration_preference": float(binned_calibration_error(confidence, correct, p)),
        "longer_wins": float(p @ correctness(longer)),
        "accuracy_equal_length": float(1 / (1 + np.exp(-at_equal))),
        "accuracy_matched_length": float(p[matched] @ correct[matched] / p[matched].sum())
        if p[matched].sum()
        else math.nan,
        "slope_margin": float(slopes[0]),
        "slope_length": float(slopes[1]),
    }


def _of_ratios(batch: PreferenceLogProbs, objective: partial[Tensor]) -> dict[str, float]:
    """Diagnostics of the pooled responses' log-ratios, all stable for ratios of any size."""
    chosen, rejected = batch.chosen_ratio.double(), batch.rejected_ratio.double()
    w, v = batch.weights, batch.rejected_weights
    v = w if v is None and batch.is_paired else v
    weights = torch.cat(
        [torch.ones_like(r) if own is None else own.double() for r, own in ((chosen, w), (rejected, v))]
    )
    ratio, log_w = torch.cat([chosen, rejected]), weights.log()
    total, first, second = (torch.logsumexp(log_w + k * ratio, 0) for k in (0, 1, 2))
    share = float(weights[: len(chosen)].sum() / weights.sum())
    prior = objective.keywords.get("prior", objective.keywords.get("alpha", share))
    return {
        "log_mean_ratio": float(first - total),
        "effective_share": float((2 * first - second - total).exp()),
        "beyond_wall": float((weights * (ratio > -math.log(prior))).sum() / weights.sum()),
    }
