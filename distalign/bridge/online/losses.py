"""What is differentiated on a micro-batch: the policy gradient of its texts, or a loss of their pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor

from distalign import policy_gradient
from distalign.preferences import PreferenceLogProbs
from distalign.training.recipe import Recipe, objective_of
from distalign.training.recipe_checks import ON_OWN_TEXTS

Loss = Callable[[Tensor, Tensor, Tensor, np.ndarray], Tensor]
"""(n, K) log pi, (n, K) log pi_ref, rewards or margins, (n, K) lengths -> () mean over the n prompts."""


def of_micro_batch(recipe: Recipe) -> Loss:
    """What a recipe differentiates, on whole prompts with all their texts."""
    if recipe.objective in ON_OWN_TEXTS:
        return partial(_surrogate, method_of(recipe))
    return partial(_pair_loss, objective_of(recipe))


def method_of(recipe: Recipe) -> partial[policy_gradient.PolicyGradient]:
    """The recipe's method of policy gradient, its options bound."""
    return cast("partial[policy_gradient.PolicyGradient]", objective_of(recipe))


def _surrogate(
    method: partial[policy_gradient.PolicyGradient],
    live: Tensor,
    reference: Tensor,
    worth: Tensor,
    lengths: np.ndarray,
) -> Tensor:
    """() minus the mean of advantage times log pi, whose gradient is minus that of the objective."""
    advantages = method(worth, (live.detach().double() - reference.double())).advantages
    return -(advantages.to(live) * live).mean()


def _pair_loss(
    objective: partial[Tensor], live: Tensor, reference: Tensor, worth: Tensor, lengths: np.ndarray
) -> Tensor:
    """() the objective on all pairs of texts of one prompt, in both orders with weights P and 1 - P."""
    return objective(fresh_pairs(live, reference, worth, lengths))


def fresh_pairs(live: Tensor, reference: Tensor, margins: Tensor, lengths: np.ndarray) -> PreferenceLogProbs:
    """All pairs of texts to the same prompt, softly labelled: n K (K - 1) of them.

    Every pair stands in both orders, with the weights P and 1 - P, so the loss is the expectation of the loss
    of drawn labels.

    Args:
        live: (n, K) log pi of the texts.
        reference: (n, K) log pi_ref.
        margins: (n, K, K) 2 P(y_j preferred to y_k) - 1.
        lengths: (n, K) tokens.
    """
    first, second = np.array(list(itertools.permutations(range(live.shape[1]), 2))).T
    weights = (1 + margins[:, first, second]) / 2
    tokens = torch.from_numpy(lengths).to(live.device)

    def side(values: Tensor, which: np.ndarray) -> Tensor:
        return values[:, which].flatten()

    return PreferenceLogProbs(
        side(live, first),
        side(live, second),
        side(reference, first),
        side(reference, second),
        weights=weights.flatten(),
        chosen_tokens=side(tokens, first),
        rejected_tokens=side(tokens, second),
        validate=False,
    )
