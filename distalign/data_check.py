"""Tests, before any training, of the assumptions that density-ratio alignment makes about labelled responses.

RDRO and DDRO reach the law of preferred responses p+ under four assumptions: the reference is the pooled law,
of p+ with weight t and p- with weight 1-t; there is one prior t for all prompts; t is told to them; and each
class has its own mean. Three of the four can be tested from labels and log-ratios alone, for a table and for
a language model alike. A test can refute an assumption but not confirm it.

Source: ours; the assumptions are derived.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from distalign.checks import InputError, inside_unit
from distalign.intervals import wilson
from distalign.preferences import PreferenceLogProbs
from distalign.types import Array

_BALANCED = 0.02  # shares this near to one half change the weight of a class by 8 % at most


@dataclass(frozen=True)
class DataCheck:
    """The result of `check_labels`.

    Attributes:
        chosen, rejected: responses of each class.
        prior: n+ / (n+ + n-), the estimate of t; give it to RDRO as alpha and to DDRO as prior.
        low, high: 99 % Wilson interval of t for independent responses.
        prior_sd: estimated standard deviation of t(x) over prompts, 0 where labels vary less than a common
            prior explains; NaN without prompts of two responses.
        spread: Tarone's score of that variation, standard normal if all prompts have one prior; NaN as above.
        evidence: nats of evidence that the reference is not the pooled law, the sum of `log_ratios`; NaN
            where none were given.
        batch_mean_weight: (1-t)/t, the weight of the rejected class relative to the chosen one in a mean over
            examples; class means have 1, and RDRO is consistent for 1 only.
        empty_class: probability that a micro-batch drawn at random lacks a class; NaN where no size was
            given.
        warnings: one sentence each, with its remedy; empty if nothing speaks against the assumptions.
    """

    chosen: int
    rejected: int
    prior: float
    low: float
    high: float
    prior_sd: float
    spread: float
    evidence: float
    batch_mean_weight: float
    empty_class: float
    warnings: tuple[str, ...]


def counts_by_prompt(prompts: ArrayLike, preferred: ArrayLike) -> tuple[Array, Array]:
    """Chosen and rejected responses of each prompt, prompts in sorted order.

    Args:
        prompts: (N,) any label of the prompt (or of the group of prompts) of each response.
        preferred: (N,) whether it was chosen.

    Raises:
        InputError: shapes differ.

    Example:
        >>> chosen, rejected = counts_by_prompt(["a", "a", "b"], [True, False, False])
        >>> chosen.tolist(), rejected.tolist()
        ([1.0, 0.0], [1.0, 1.0])
    """
    names, labels = np.asarray(prompts), np.asarray(preferred, bool)
    if names.ndim != 1 or names.shape != labels.shape:
        raise InputError(f"prompts and preferred must be (N,) alike, got {names.shape} and {labels.shape}")
    index = np.unique(names, return_inverse=True)[1]
    size = int(index.max(initial=-1)) + 1
    chosen, rejected = (np.bincount(index[kind], minlength=size).astype(float) for kind in (labels, ~labels))
    return chosen, rejected


def check_labels(
    chosen: ArrayLike,
    rejected: ArrayLike,
    *,
    log_ratios: ArrayLike | None = None,
    micro_batch: int | None = None,
    level: float = 0.01,
) -> DataCheck:
    r"""Test labels for what would make RDRO or DDRO miss the law of preferred responses.

    One prior for all prompts is tested by Tarone's score

        Z = (\sum_x (c_x - n_x t)^2 / (t (1-t)) - \sum_x n_x) / sqrt(2 \sum_x n_x (n_x - 1)).       (1)

    Large values mean that t(x) varies. Pairs, with one chosen and one rejected response each, have t(x) = 1/2
    exactly and a negative score.

    The reference is tested by a likelihood ratio. Let f be any probability model that was not fitted to the
    responses at hand, for instance the reference fine-tuned on the *other half* of all responses, chosen and
    rejected alike. If the reference wrote the data, f/p_ref has mean 1 at each of them, so by Markov's
    inequality

        P(\sum log f/p_ref >= log(1/level)) <= level,  whatever f and n are.                        (2)

    The better f describes the data, the more power the test has.

    Args:
        chosen, rejected: (S,) counts of each prompt, or of each group of prompts.
        log_ratios: (N,) log f(y|x) - log p_ref(y|x) of held-out responses of both classes in their natural
            proportion, nats.
        micro_batch: responses drawn at random into one micro-batch.
        level: probability of a false alarm of each test, in (0, 1).

    Raises:
        InputError: counts are misshapen or negative, a class is empty, log-ratios are not finite, or a
            setting out of range.

    Source: Tarone 1979, Biometrika 66 (score); the rest ours.

    Example: ten prompts whose every response is chosen, and ten where none is.
        >>> found = check_labels([4] * 10 + [0] * 10, [0] * 10 + [4] * 10, micro_batch=4)
        >>> found.prior, round(found.prior_sd, 2), round(found.spread, 1), found.empty_class
        (0.5, 0.5, 11.0, 0.125)
        >>> print(*found.warnings[0].split("; "), sep="\n")
        the prior varies with the prompt (standard deviation 0.50): a global alpha is biased
        give each group of prompts its own
    """
    up, down = _counts(chosen, rejected)
    inside_unit("level", level, "0.01 is usual")
    n, m = int(up.sum()), int(down.sum())
    t = n / (n + m)
    sd, spread = _variation(up, down, t)
    evidence = math.nan if log_ratios is None else _sum(log_ratios)
    if micro_batch is not None and micro_batch < 1:
        raise InputError(
            f"micro_batch must be at least 1, got {micro_batch!r}: it is the number of responses in one"
        )
    empty = math.nan if micro_batch is None else t**micro_batch + (1 - t) ** micro_batch
    return DataCheck(
        n,
        m,
        t,
        *wilson(t, n + m, 0.99),
        sd,
        spread,
        evidence,
        (1 - t) / t,
        empty,
        tuple(_warnings(t, sd, spread, evidence, empty, level)),
    )


def ratio_domain(batch: PreferenceLogProbs, *, prior: float) -> dict[str, float]:
    """How many log-ratios of a batch lie beyond the wall pi/p_ref = 1/t, which no p+ can exceed; never NaN.

    This can be logged while training. `rejected_outside` and `chosen_outside` count responses with t e^u >=
    1, at which raw DDRO is infinite or its chosen term meaningless. A chosen share near 1 under RDRO means
    that the reference is not the pooled law.

    Args:
        batch: n chosen and m rejected responses; a class may be empty here, its share is then 0.
        prior: t, share of preferred responses in the data, in (0, 1).

    Raises:
        InputError: the prior is outside (0, 1).

    Example: log 2 nats are the most a response may gain at t = 1/2.
        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> chosen, rejected = torch.tensor([1.0, 0.1]), torch.tensor([0.2])
        >>> batch = PreferenceLogProbs(chosen, rejected, torch.zeros(2), torch.zeros(1))
        >>> for name, value in ratio_domain(batch, prior=0.5).items():
        ...     print(name, value)
        chosen_outside 1.0
        rejected_outside 0.0
        chosen_outside_share 0.5
        rejected_outside_share 0.0
    """
    inside_unit("prior", prior, "it is the share of preferred responses in the data")
    wall = -math.log(prior)
    counts = {"chosen": (batch.chosen_ratio >= wall).sum(), "rejected": (batch.rejected_ratio >= wall).sum()}
    sizes = {"chosen": batch.chosen.shape[0], "rejected": batch.rejected.shape[0]}
    return {
        **{f"{name}_outside": float(count) for name, count in counts.items()},
        **{f"{name}_outside_share": float(count) / max(sizes[name], 1) for name, count in counts.items()},
    }


def _counts(chosen: ArrayLike, rejected: ArrayLike) -> tuple[Array, Array]:
    up, down = np.asarray(chosen, float), np.asarray(rejected, float)
    if up.ndim != 1 or up.shape != down.shape:
        raise InputError(
            f"chosen and rejected must be (S,) alike, one count for each prompt, got {up.shape} and "
            f"{down.shape}"
        )
    for name, x in (("chosen", up), ("rejected", down)):
        if not np.all((x >= 0) & (x == np.round(x)) & np.isfinite(x)):
            raise InputError(f"{name} must hold whole non-negative counts")
        if x.sum() == 0:
            raise InputError(
                f"{name} is empty in the whole data: a density ratio needs responses of both classes; use "
                "sft where only preferred responses are to be had"
            )
    return up, down


def _variation(up: Array, down: Array, t: float) -> tuple[float, float]:
    """Standard deviation of t(x) by moments, and Tarone's score of Eq. (1)."""
    n = up + down
    pairs = float((n * (n - 1)).sum())
    if pairs == 0:
        return math.nan, math.nan
    excess = float(((up - n * t) ** 2).sum() - t * (1 - t) * n.sum())
    return math.sqrt(max(excess, 0) / pairs), excess / (t * (1 - t)) / math.sqrt(2 * pairs)


def _sum(log_ratios: ArrayLike) -> float:
    values = np.asarray(log_ratios, float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InputError(
            "log_ratios must be (N,) finite values log f - log p_ref: look for responses of probability zero"
        )
    return float(values.sum())


def _warnings(t: float, sd: float, spread: float, evidence: float, empty: float, level: float) -> list[str]:
    from scipy.stats import norm

    found = []
    if math.isnan(spread):
        found.append(
            "no prompt has two responses: whether the prior varies with the prompt cannot be tested; group "
            "the prompts"
        )
    elif spread > norm.isf(level):
        found.append(
            f"the prior varies with the prompt (standard deviation {sd:.2f}): a global alpha is biased; give "
            "each group of prompts its own"
        )
    if evidence >= math.log(1 / level):
        found.append(
            f"the reference cannot be the pooled law ({evidence:.1f} nats of evidence): fine-tune it on all "
            "responses, chosen and rejected, before training"
        )
    if abs(t - 0.5) > _BALANCED:
        found.append(
            f"classes are not balanced (share of chosen {t:.3f}): a mean over examples weighs the rejected "
            f"class {(1 - t) / t:.2f} times as much as the chosen one, which biases RDRO; use class means"
        )
    if empty > level:
        found.append(
            f"a micro-batch lacks a class with probability {empty:.2g}: divide by the totals of the global "
            "batch (distalign.two_pass), not by those of the micro-batch"
        )
    return found
