"""The policy class of the robust theorems: log-probabilities that are linear in features.

Differences of log-ratios are linear in the parameter there, so DPO-like losses are convex.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from distalign.checks import InputError
from distalign.policies.tabular import log_probabilities


@dataclass(frozen=True, eq=False)
class LogLinear:
    r"""The policy class pi_theta(y|s) \propto p_ref(y|s) exp(<theta, psi(s, y)>).

    theta is measured from the reference. The log-ratios of two responses of one prompt differ by exactly
    <theta, psi(s, y) - psi(s, y')>: the partition function cancels, and DPO-like losses of pairs are convex
    in theta. Directions of theta that are orthogonal to all those differences change nothing.

    Args:
        features: (S, K, d) psi, or (K, d) for one prompt.
        reference: (S, K) reference probabilities, or (K,) for one prompt; positive, rows of sum 1.

    Raises:
        InputError: shapes disagree, a feature is not finite, or the reference is no positive law.

    Example:
        >>> policy = LogLinear([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [0.2, 0.3, 0.5])
        >>> policy.log_probs(torch.tensor([1.0, 0.0]).double()).exp().round(decimals=3).tolist()
        [[0.405, 0.223, 0.372]]
    """

    features: Any
    reference: Any
    log_reference: Tensor = field(init=False, repr=False)
    directions: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check shapes and find the directions that the features of some prompt distinguish."""
        psi = torch.as_tensor(self.features, dtype=torch.float64)
        psi = psi[None] if psi.dim() == 2 else psi
        log_reference = log_probabilities(self.reference)
        if psi.dim() != 3 or psi.shape[:2] != log_reference.shape or not bool(torch.isfinite(psi).all()):
            raise InputError(
                f"features must be finite of shape (S, K, d) with (S, K) = {tuple(log_reference.shape)}, got "
                f"{tuple(psi.shape)}"
            )
        object.__setattr__(self, "features", psi)
        object.__setattr__(self, "log_reference", log_reference)
        object.__setattr__(self, "directions", _row_space((psi - psi.mean(1, keepdim=True)).flatten(0, 1)))

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.features.shape[-1]

    def log_probs(self, theta: Tensor) -> Tensor:
        """(S, K) log pi_theta at the parameter (d,)."""
        return torch.log_softmax(self.log_reference + self.features @ theta, -1)


def _row_space(matrix: Tensor) -> Tensor:
    """An orthonormal basis (d, r) of the span of the matrix's rows."""
    _, sizes, rows = torch.linalg.svd(matrix, full_matrices=False)
    if not bool(sizes.max() > 0):
        raise InputError(
            "features are the same for every response of a prompt: no parameter changes the policy"
        )
    return rows[sizes > 1e-12 * sizes.max()].T.contiguous()
