"""AuxDPO's auxiliary variables for a log-linear class: rewards that no step of the policy would answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distalign.checks import InputError, positive
from distalign.policies.log_linear import LogLinear


def with_auxiliary(policy: LogLinear, *, beta: float, prompts: Any = None) -> LogLinear:
    r"""The class of a policy enlarged by auxiliary variables, in which DPO is AuxDPO.

    DPO in the class of `policy` fits rewards beta <theta, psi>. AuxDPO fits beta <theta, psi> + delta, where
    delta is a reward of every response of every prompt that has no covariance with the features under the
    reference,

        A delta = 0,   A_{(s, y)} = prompts(s) p_ref(y|s) [psi(s, y) - E_{p_ref} psi(s, .)],               (1)

    and throws delta away. Since A psi = F, the Fisher information of the class at the reference, is regular
    on the directions that change the policy, each reward is beta <theta, psi> + delta plus a constant for
    each prompt in exactly one way, with

        theta = F^{-1} A r / beta.                                                                         (2)

    So where comparisons connect all responses of a prompt, the enlarged class holds every reward, theta is
    (2) however often the pairs are shown, and (2) is a natural-gradient step of length 1/beta from the
    reference, the first order of RLHF. Where they do not, delta and theta are not determined, and `fit` does
    not certify a solution. The class returned is log-linear in psi and an orthonormal basis of (1), over
    beta: the first d parameters of a fit are theta, the policy is that of `policy` there, and the others
    times the basis are delta.

    Args:
        policy: the class, of S prompts, K responses and d features.
        beta: strength of the pull to the reference that DPO is given, above 0.
        prompts: (S,) law of the prompts; None for equal shares.

    Returns:
        A log-linear class with d parameters of `policy`, then S K less the rank of A further ones.

    Raises:
        InputError: beta is not above 0, or prompts is no law of S prompts.

    Source: Gopalan, Chowdhury and Banerjee, arXiv 2510.20413, as two public summaries describe it: the null
        space of A, exact for small classes and a penalty for language models, which is not here. The text was
        not seen; (2) for log-linear classes is ours.

    Example: three responses and one feature leave three dimensions less one.
        >>> small = LogLinear([[1.0], [-1.0], [0.0]], [0.25, 0.25, 0.5])
        >>> basis = with_auxiliary(small, beta=0.5).features[0, :, 1:]
        >>> tuple(basis.shape), bool((basis[0] - basis[1]).abs().max() < 1e-12)
        ((3, 2), True)
    """
    positive("beta", beta, "it is the strength of the pull to the reference, 0.1 is usual")
    psi, reference = policy.features, policy.log_reference.exp()
    s, k, d = psi.shape
    shares = torch.as_tensor([1 / s] * s if prompts is None else prompts, dtype=torch.float64)
    if shares.shape != (s,) or not bool((shares >= 0).all() and abs(shares.sum() - 1) < 1e-6):
        raise InputError(f"prompts must be ({s},) probabilities of sum 1, got shape {tuple(shares.shape)}")
    centred = psi - (reference[..., None] * psi).sum(1, keepdim=True)
    weighted: Tensor = shares[:, None, None] * reference[..., None] * centred
    _, sizes, rows = torch.linalg.svd(weighted.reshape(s * k, d).T, full_matrices=True)
    basis = rows[int((sizes > 1e-12 * sizes.max()).sum()) :]
    auxiliary = basis.T.reshape(s, k, -1) / beta
    return LogLinear(torch.cat([psi, auxiliary], -1), reference)
