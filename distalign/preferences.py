"""The batch of log-probabilities that passes from a policy to an objective, and the metrics computed from it.

A policy (a table, a log-linear model, a language model) fills a `PreferenceLogProbs`; an objective reads it
and returns a scalar. An objective sees no trainer, tokenizer or device, which is why one objective serves a
simulation with an exact answer and a language model alike.

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from distalign.checks import InputError, moderate, positive
from distalign.sorting import quantile_coupling

__all__ = ["PreferenceLogProbs", "metrics", "quantile_coupling"]

_LOG_PROBS = ("chosen", "rejected", "ref_chosen", "ref_rejected")
_PER_CHOSEN = ("chosen", "ref_chosen", "weights", "groups", "chosen_tokens")
_PER_REJECTED = ("rejected", "ref_rejected", "rejected_weights", "rejected_tokens")


@dataclass(frozen=True)
class PreferenceLogProbs:
    """Log-probabilities of preferred and dispreferred responses under a policy and its reference.

    Shapes: n chosen and m rejected responses. Pairs have n == m, and entry i of both belongs to pair i;
    unpaired data may have any n and m. Units: nats, summed over the tokens of the completion. Tensors are
    float32 or float64; float16 and bfloat16 are raised to float32 on entry, because the spacing of bfloat16
    at -300 nats is 2 nats, which would make ties in every sort.

    Attributes:
        chosen: (n,) log pi(y+ | x).
        rejected: (m,) log pi(y- | x).
        ref_chosen: (n,) log pi_ref(y+ | x).
        ref_rejected: (m,) log pi_ref(y- | x).
        weights: (n,) non-negative relative weights of the pairs, or of the chosen responses where data are
            unpaired; None means equal weights. With an exact law as weights an objective becomes the
            population objective.
        rejected_weights: (m,) the same for rejected responses; None means `weights` for pairs and equal
            weights otherwise.
        groups: (n,) integer group of each pair, read by group-robust objectives only.
        chosen_tokens, rejected_tokens: (n,), (m,) completion lengths, read by per-token objectives only.
        inputs: tensors of first dimension n (features or token embeddings of each pair) from which the
            log-probabilities were computed with gradients on; read only by objectives over a Wasserstein
            ball.
        validate: check values (finite, weights usable) as well as shapes. Off only inside `torch.func`
            transforms, where values cannot be looked at.

    Raises:
        InputError: a tensor has a wrong shape or dtype, holds NaN or infinity, or weights are negative or all
            zero.

    Example:
        >>> batch = PreferenceLogProbs(
        ...     chosen=torch.tensor([-1.0, -2.0]), rejected=torch.tensor([-3.0, -2.5]),
        ...     ref_chosen=torch.tensor([-1.5, -2.0]), ref_rejected=torch.tensor([-2.0, -2.5]))
        >>> batch.chosen_ratio.tolist(), batch.rejected_ratio.tolist()
        ([0.5, 0.0], [-1.0, 0.0])
    """

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    weights: Tensor | None = None
    rejected_weights: Tensor | None = None
    groups: Tensor | None = None
    chosen_tokens: Tensor | None = None
    rejected_tokens: Tensor | None = None
    inputs: tuple[Tensor, ...] = ()
    validate: bool = field(default=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise half precision to float32, then check shapes and, with `validate`, values."""
        for name in _LOG_PROBS:
            object.__setattr__(self, name, _log_prob(name, getattr(self, name)))
        self._check_shapes()
        if self.validate:
            self._check_values()

    def _check_shapes(self) -> None:
        for names, size, other in (
            (_PER_CHOSEN, self.chosen.shape[0], "chosen"),
            (_PER_REJECTED, self.rejected.shape[0], "rejected"),
        ):
            for name in names:
                value = getattr(self, name)
                if value is not None and tuple(value.shape) != (size,):
                    raise InputError(
                        f"{name} has shape {tuple(value.shape)} but {other} has {size} entries: give one "
                        f"value for each {other} response"
                    )
        for tensor in self.inputs:
            if tensor.dim() < 2 or tensor.shape[0] != self.chosen.shape[0]:
                raise InputError(
                    f"inputs must have one row per pair, ({self.chosen.shape[0]}, ...), got "
                    f"{tuple(tensor.shape)}"
                )

    def _check_values(self) -> None:
        for name in _LOG_PROBS:
            value = getattr(self, name).detach()
            if torch.isfinite(value.sum()):
                continue  # one pass over the data; the places are looked for only where it fails
            bad = (~torch.isfinite(value)).nonzero().flatten()
            if bad.numel():
                raise InputError(
                    f"{name} is not finite in {bad.numel()} entries, first at index {int(bad[0])}: look for "
                    "an empty completion, an overflow in the model, or a response of probability zero"
                )
        for name, like in (("weights", self.chosen), ("rejected_weights", self.rejected)):
            w = getattr(self, name)
            if w is None or not w.numel():
                continue
            cast = w.detach().to(like.dtype)  # as the objectives will read them
            if not (bool((cast >= 0).all()) and 0 < float(cast.sum()) < float("inf")):
                kind = str(like.dtype).removeprefix("torch.")
                raise InputError(
                    f"{name} must be finite, non-negative and not all zero in {kind}, and so must be their "
                    "sum: they are relative frequencies, so divide them by their largest"
                )

    @property
    def is_paired(self) -> bool:
        """Whether there are as many rejected responses as chosen ones."""
        return self.chosen.shape[0] == self.rejected.shape[0]

    @property
    def chosen_ratio(self) -> Tensor:
        """(n,) log-ratio log pi/pi_ref of the chosen responses."""
        return self.chosen - self.ref_chosen

    @property
    def rejected_ratio(self) -> Tensor:
        """(m,) log-ratio log pi/pi_ref of the rejected responses."""
        return self.rejected - self.ref_rejected

    @property
    def margin(self) -> Tensor:
        """(n,) log pi(y+) - log pi(y-) of each pair."""
        return self.chosen - self.rejected

    @property
    def ref_margin(self) -> Tensor:
        """(n,) log pi_ref(y+) - log pi_ref(y-) of each pair."""
        return self.ref_chosen - self.ref_rejected

    @property
    def chosen_frequencies(self) -> Tensor:
        """(n,) the weights of the chosen responses (or pairs), normalised to sum 1."""
        return _normalised(self.weights, self.chosen)

    @property
    def rejected_frequencies(self) -> Tensor:
        """(m,) the weights of the rejected responses, normalised to sum 1."""
        w = self.rejected_weights
        if w is None and self.is_paired:
            w = self.weights
        return _normalised(w, self.rejected)

    def detached(self) -> PreferenceLogProbs:
        """The same numbers without their graph."""
        return replace(self, **{name: getattr(self, name).detach() for name in _LOG_PROBS}, inputs=())


def _log_prob(name: str, value: Tensor) -> Tensor:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise InputError(
            f"{name} must be a floating-point tensor of log-probabilities, got {type(value).__name__}"
        )
    if value.dim() != 1:
        raise InputError(
            f"{name} must have one dimension, got shape {tuple(value.shape)}: sum over the tokens of each "
            "completion first"
        )
    return value if value.dtype in (torch.float32, torch.float64) else value.float()


def _normalised(weights: Tensor | None, like: Tensor) -> Tensor:
    if weights is None:
        return torch.full_like(like, 1 / max(like.shape[0], 1))
    w = weights.to(like.dtype)
    return w / w.sum()


def metrics(batch: PreferenceLogProbs, *, beta: float = 1.0) -> dict[str, float]:
    r"""Every metric of a batch: rewards, margins, accuracy, stochastic dominance, displacement.

    Rewards are beta * log-ratio. Let U and V be the laws of the chosen and rejected rewards and Q their
    quantile functions. First-order dominance of the chosen asks Q_U(t) >= Q_V(t) for all t, and its
    violations are

        dominance_w1       = \int (Q_V - Q_U)_+ dt, in units of reward
        dominance_w2       = sqrt(\int (Q_V - Q_U)_+^2 dt)
        violated_quantiles = |{t : Q_U(t) < Q_V(t)}|

    exact for unequal counts and weights. `margin` and `accuracy` need pairs and are left out for unpaired
    data; a tie counts one half. `displacement` is the weighted mean chosen log-ratio (below 0: training
    lowers the probability of the very responses people preferred).

    Args:
        batch: log-probabilities of n chosen and m rejected responses.
        beta: scale of the reward, above 0.

    Returns:
        Plain floats by name, computed on `batch` without gradients.

    Raises:
        InputError: beta is not a finite number above 0, or so large that a reward overflows.

    Example:
        >>> zero = torch.zeros(2)
        >>> batch = PreferenceLogProbs(torch.tensor([0.5, 0.1]), torch.tensor([0.2, 0.4]), zero, zero)
        >>> m = metrics(batch)
        >>> round(m["accuracy"], 3), round(m["dominance_w1"], 3), m["violated_quantiles"]
        (0.5, 0.05, 0.5)
    """
    positive("beta", beta, "it is the scale of the reward")
    moderate("beta", beta, "it is the scale of the reward")
    batch = batch.detached()
    p, q = batch.chosen_frequencies.double(), batch.rejected_frequencies.double()
    u, v = beta * batch.chosen_ratio.double(), beta * batch.rejected_ratio.double()
    widths, qu, qv = quantile_coupling(u, v, p, q)
    gap = (qv - qu).clamp(min=0)
    out = {
        "rewards/chosen": (p * u).sum(),
        "rewards/rejected": (q * v).sum(),
        "dominance_w1": (widths * gap).sum(),
        "dominance_w2": (widths * gap.square()).sum().sqrt(),
        "violated_quantiles": (widths * (gap > 0)).sum(),
        "displacement": (p * u).sum() / beta,
    }
    if batch.is_paired:
        margin = u - v
        out["rewards/margins"] = (p * margin).sum()
        out["accuracy"] = (p * ((margin > 0).double() + 0.5 * (margin == 0))).sum()
    return {name: float(value) for name, value in out.items()}
