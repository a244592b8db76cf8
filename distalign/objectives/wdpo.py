"""WDPO: DPO with a gradient penalty, the first-order form of the worst case in a Wasserstein ball."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import InputError, nonnegative, one_of
from distalign.objectives._declare import described, objective
from distalign.objectives.dpo import pair_logits, pair_mean
from distalign.preferences import PreferenceLogProbs


@described(paper="robust")
@objective(data="pairs", coupling="batch", needs=("inputs",), alone="DPO with the norm of its own gradient")
def wdpo(
    batch: PreferenceLogProbs, *, beta: float, radius: float, form: str = "root", through: str = "ratio"
) -> Tensor:
    r"""DPO's loss plus a penalty on the size of its gradient with respect to the policy's inputs.

        root:      L = \sum_i p_i l_i + rho [\sum_i p_i ||grad_z l_i||^2]^{1/2}
        squared:   L = \sum_i p_i l_i + rho \sum_i p_i ||grad_z l_i||^2

    with l_i = softplus(-t_i) the DPO losses and z_i all entries of row i of `inputs` (Euclidean norm over all
    tensors: a prompt that is an input of both responses counts with the gradient it gets from each copy). To
    first order in rho, root is the worst case over a type-2 Wasserstein ball of radius rho around the data in
    z, and squared the worst case priced at W_2^2 / (4 rho); both lie below it by O(rho^2), for l is convex in
    the margin. rho = 0 is DPO.

    `through="ratio"` differentiates policy and reference, as the definition asks: the penalty is 0 at the
    reference policy. `through="policy"` holds the reference constant, as the released code does: the penalty
    pulls towards a policy that ignores its input, not towards the reference.

    Gradients by parameters differentiate twice, inside this call: inputs must require gradients, attention
    kernels must support double backward, and `torch.func` transforms cannot be applied. A root of zero has
    subgradient 0 here.

    Shapes: n pairs in, scalar out; inputs are (n, ...). Units: nats; rho in units of the inputs for root.

    Args:
        batch: n pairs with `inputs`, from whose rows the log-probabilities of the same pair, and of no other,
            were computed.
        beta: as in `dpo`.
        radius: rho, the radius of the ball, at least 0.
        form: "root" (Algorithm 1) or "squared" (released code; one term for each pair, so micro-batches may
            be averaged).
        through: "ratio" or "policy".

    Raises:
        InputError: data are not pairs, inputs are missing or without a gradient, or a hyper-parameter is out
            of range.

    Source: Xu et al. 2025, arXiv 2502.01930, Algorithm 1 (root), its appendix and released code (squared,
        policy). The priced reading of squared is ours.

    Example: one pair with margin <theta, z>, theta = 2, z = 0: l = log 2, grad = -2 sigma(0) = -1, so L = log
    2 + rho.

        >>> import torch
        >>> from distalign.preferences import PreferenceLogProbs
        >>> z = torch.zeros(1, 1, requires_grad=True)
        >>> batch = PreferenceLogProbs((2 * z).flatten(), *torch.zeros(3, 1), inputs=(z,))
        >>> round(wdpo(batch, beta=1.0, radius=0.1, through="policy").item(), 4)
        0.7931
    """
    nonnegative("radius", radius, "it is the radius of the Wasserstein ball, 0 is DPO")
    one_of("form", form, ("root", "squared"))
    one_of("through", through, ("ratio", "policy"))
    if through == "policy":
        batch = replace(batch, ref_chosen=batch.ref_chosen.detach(), ref_rejected=batch.ref_rejected.detach())
    elif not (batch.ref_chosen.requires_grad or batch.ref_rejected.requires_grad):
        raise InputError(
            "through='ratio' differentiates the reference, too, but ref_chosen and ref_rejected are "
            "constants: compute them from the same inputs with gradients on, or say through='policy'"
        )
    losses = -logsigmoid(pair_logits(batch, beta))
    squares = pair_mean(batch, _square_norms(losses, batch.inputs))
    return pair_mean(batch, losses) + radius * (squares if form == "squared" else _root(squares))


def _square_norms(losses: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """(n,) squared Euclidean norm of each loss's gradient by its own row of all inputs."""
    if not (losses.requires_grad and all(tensor.requires_grad for tensor in inputs)):
        raise InputError(
            "inputs must require gradients and the log-probabilities must be computed from them with "
            "gradients on, in evaluation too: call requires_grad_() on the embeddings before the forward "
            "pass"
        )
    found = torch.autograd.grad(losses.sum(), inputs, create_graph=True, allow_unused=True)
    if any(g is None for g in found):
        raise InputError(
            "inputs hold a tensor that no log-probability depends on: pass what the policy was evaluated on"
        )
    return torch.stack([g.flatten(1).square().sum(1) for g in found]).sum(0)


def _root(x: Tensor) -> Tensor:
    """Square root with derivative 0 at 0, where every run of the ratio form starts."""
    return torch.where(x > 0, x.where(x > 0, 1).sqrt(), 0)
