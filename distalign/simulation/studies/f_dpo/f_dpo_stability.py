"""Log-ratios of hundreds of nats must not give a loss of NaN or infinity, or a gradient of zero.

Long sequences have such log-ratios. The claim is ours; the paper has no such statement. The suite is every
pair of log-ratios from {-1000, -100, 0, 100, 1000} in four number types. The truth is the loss as the paper
has it, taken in decimal arithmetic of 50 digits.

`distalign.objectives.f_dpo` must be finite everywhere, have gradients of the right sign wherever the true
one is not below the type's smallest normal number, and be the truth where no link is continued. A float16
gradient may be infinite where the true one is beyond 65504; that is counted.

Beside it stand two twins written by us. `direct` takes the formulas in u = e^rho. `clamped` is what TRL
1.16 computes: 1 - e^-rho unprotected for the forward KL, the exponent of alpha cut at 80 (at 11 in
float16), no entry for float64. That TRL's own code returns the same is a test, so that the ledger does not
depend on TRL. A cut keeps the loss finite but takes the gradient from exactly the worst pairs.

The checks ask of ours that the loss is the truth where no link is continued, and that there are no infinite
losses, no infinite or lost gradients and no wrong signs. The table counts for each implementation how many
pairs go wrong; a test asks that the twins do go wrong.

The planted defects: beta 10 % too large; links not continued at all, clamped in place of continued, or
continued with the slope's sign wrong; and a link computed in single precision.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.checks import InputError
from distalign.divergences import Divergence
from distalign.divergences import divergence as named
from distalign.objectives import f_dpo
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.verdict import Check, identity

RATIOS = (-1000.0, -100.0, 0.0, 100.0, 1000.0)
TYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
PUBLISHED = ("reverse_kl", "forward_kl", "alpha:0.3", "jensen_shannon")
DIVERGENCES = (*PUBLISHED, "alpha:0.7", "squared_hellinger", "jeffreys", "chi2_plus_kl")
CLAMPS = {"float16": 11.0, "bfloat16": 80.0, "float32": 80.0}


def _clamped_link(self: Divergence, log_u: Tensor) -> Tensor:
    """`continued_link` without the continuation: no gradient beyond the range."""
    return self.link(log_u.clamp(*self.exact))


DEFECTS = (
    Defect(
        "beta 10 % too large in the loss",
        f_dpo,
        argument("beta", lambda b: 1.1 * b),
        where(implementation="ours", divergence="reverse_kl"),
    ),
    Defect(
        "links that are not continued",
        Divergence.continued_link,
        lambda right: lambda self, log_u: self.link(log_u),
        where(implementation="ours", divergence="forward_kl"),
    ),
    Defect(
        "links clamped in place of continued",
        Divergence.continued_link,
        lambda right: _clamped_link,
        where(implementation="ours", divergence="forward_kl"),
    ),
    Defect(
        "links continued with the wrong sign of the slope",
        Divergence.continued_link,
        lambda right: lambda self, log_u: 2 * _clamped_link(self, log_u) - right(self, log_u),
        where(implementation="ours", divergence="jeffreys"),
    ),
    Defect(
        "the link in single precision",
        Divergence.continued_link,
        result(lambda link: link.float().to(link.dtype)),
        where(implementation="ours", divergence="jensen_shannon"),
    ),
)


def cells(betas: list[float]) -> list[dict[str, Any]]:
    """One cell per implementation, divergence and strength."""
    pairs = [("ours", f) for f in DIVERGENCES] + [
        (twin, f) for twin in ("direct", "clamped") for f in PUBLISHED
    ]
    return [{"implementation": i, "divergence": f, "beta": beta} for i, f in pairs for beta in betas]


def run(rng: np.random.Generator, *, implementation: str, divergence: str, beta: float) -> dict[str, Any]:
    """Loss and both gradients of every pair of log-ratios in every type, beside the truth.

    Nothing here is random.
    """
    rows, (low, high) = [], named(divergence).exact
    for chosen in RATIOS:
        for rejected in RATIOS:
            truth = _truth(divergence, beta, chosen, rejected)
            for name, dtype in TYPES.items():
                pair = [torch.tensor([x], dtype=dtype, requires_grad=True) for x in (chosen, rejected)]
                computed = _evaluated(implementation, divergence, beta, name, pair)
                rows.append(
                    {
                        "dtype": name,
                        "chosen": chosen,
                        "rejected": rejected,
                        **_judged(computed, truth, dtype, all(low <= x <= high for x in (chosen, rejected))),
                    }
                )
    return {name: [row[name] for row in rows] for name in rows[0]}


def _evaluated(
    implementation: str, name: str, beta: float, dtype: str, pair: list[Tensor]
) -> tuple[float, ...]:
    """Loss and gradients; NaN where the implementation has no answer for the type."""
    if implementation == "ours":
        zero = torch.zeros_like(pair[0])
        try:
            loss = f_dpo(PreferenceLogProbs(pair[0], pair[1], zero, zero), beta=beta, divergence=name)
        except InputError:  # the objective refuses to return a loss that is not finite
            return math.inf, math.nan, math.nan
    elif implementation == "clamped" and name.startswith("alpha") and dtype not in CLAMPS:
        return math.nan, math.nan, math.nan
    else:
        score = {"direct": direct, "clamped": clamped}[implementation]
        loss = -logsigmoid(beta * (score(name, pair[0]) - score(name, pair[1]))).mean()
    loss.backward()
    return loss.item(), *(float("nan") if x.grad is None else x.grad.item() for x in pair)


def direct(name: str, rho: Tensor) -> Tensor:
    """f'(u) with u = e^rho taken first."""
    u = rho.exp()
    if name == "jensen_shannon":
        return (2 * u / (1 + u)).log()
    if name.startswith("alpha"):
        a = float(name.partition(":")[2])
        return (1 - u ** (-a)) / a
    return u.log() if name == "reverse_kl" else -1 / u


def clamped(name: str, rho: Tensor) -> Tensor:
    """What TRL 1.16 computes for the pairs' scores, in its own dtype, up to how it is written."""
    if name == "jensen_shannon":
        return math.log(2) + logsigmoid(rho)
    if name.startswith("alpha"):
        a = float(name.partition(":")[2])
        cut = CLAMPS[str(rho.dtype).removeprefix("torch.")]
        return ((-a * rho).float().clamp(max=cut).exp() - 1).to(rho.dtype) / -a
    return rho if name == "reverse_kl" else 1 - (-rho).exp()


def _truth(name: str, beta: float, chosen: float, rejected: float) -> tuple[Decimal, Decimal, Decimal]:
    """Loss and gradients in decimal arithmetic; the exponents of Decimal reach far beyond e^(e^7)."""
    with localcontext() as context:
        context.prec = 50
        b, (g, w), (h, v) = Decimal(beta), _link(name, Decimal(chosen)), _link(name, Decimal(rejected))
        t = b * (g - h)
        tail = (-abs(t)).exp() if abs(t) < 10**6 else Decimal(0)  # e^(-10^6) is 0 in every type
        loss = max(-t, Decimal(0)) + ((1 + tail).ln() if tail > Decimal("1e-25") else tail)
        pull = b * (tail if t > 0 else Decimal(1)) / (1 + tail)
        return loss, -pull * w, pull * v


def _link(name: str, x: Decimal) -> tuple[Decimal, Decimal]:
    """f'(e^x) and its derivative by x."""
    u, one = x.exp(), Decimal(1)
    if name == "jensen_shannon":
        return (2 * u / (1 + u)).ln() if x > 0 else Decimal(2).ln() + x - (1 + u).ln(), one / (1 + u)
    if name == "jeffreys":
        return x + 1 - 1 / u, 1 + 1 / u
    if name == "chi2_plus_kl":
        return x + u - 1, 1 + u
    if name == "reverse_kl":
        return x, one
    a, c = {"forward_kl": ("1", 1), "squared_hellinger": ("0.5", Decimal("0.5"))}.get(
        name, (name.partition(":")[2], one)
    )
    a = Decimal(a)
    decay = (-a * x).exp()
    return c * (1 - decay) / a, c * decay


def _judged(
    got: tuple[float, ...], true: tuple[Decimal, ...], dtype: torch.dtype, inside: bool
) -> dict[str, Any]:
    """What is wrong with a loss and its gradients, if anything."""
    info, gradients = torch.finfo(dtype), list(zip(got[1:], true[1:], strict=True))
    beyond = dtype == torch.float16 and any(not math.isfinite(g) and abs(t) > info.max for g, t in gradients)
    finite = all(math.isfinite(g) or (beyond and abs(t) > info.max) for g, t in gradients)
    vanished = any(g == 0 and abs(t) >= info.tiny for g, t in gradients)
    flipped = any(g * math.copysign(1.0, t) < 0 for g, t in gradients)
    error = float("nan")
    # Outside of the exact range the link is continued, and the loss is meant to differ from the truth.
    if inside and math.isfinite(got[0]):
        # A loss of e^-t is known to t roundings, so the error is also divided by the loss's logarithm.
        floor = max(true[0], Decimal(info.tiny))
        error = float(abs(Decimal(got[0]) - true[0]) / floor / (1 + abs(floor.ln())))
    return {
        "loss": got[0],
        "infinite_loss": not math.isfinite(got[0]),
        "infinite_gradient": not finite,
        "vanished": vanished,
        "wrong_sign": flipped,
        "beyond_float16": beyond,
        "error": error,
    }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """How many of the pairs go wrong, and how, per implementation, divergence, type and strength."""
    rows = rows.assign(wrong=_wrong(rows))
    grouped = rows.groupby(["implementation", "divergence", "dtype", "beta"], sort=False, as_index=False)
    return grouped.agg(
        pairs=("loss", "size"),
        wrong=("wrong", "sum"),
        infinite_loss=("infinite_loss", "sum"),
        infinite_gradient=("infinite_gradient", "sum"),
        vanished_gradient=("vanished", "sum"),
        beyond_float16=("beyond_float16", "sum"),
        largest_relative_error=("error", "max"),
    )


def _wrong(rows: pd.DataFrame) -> pd.Series:
    """Whether anything is wrong, row by row."""
    return rows.infinite_loss | rows.infinite_gradient | rows.vanished | rows.wrong_sign


def checks(rows: pd.DataFrame) -> list[Check]:
    """Our loss is the truth, and nothing goes wrong in it."""
    ours = rows[rows.implementation == "ours"]
    return [
        identity(
            "loss = truth where no link is continued", ours[ours.dtype != "float64"].error.dropna(), 1e-6
        ),
        identity("... in float64", ours[ours.dtype == "float64"].error.dropna(), 1e-13),
        identity("infinite losses", ours.infinite_loss, 0),
        identity("infinite gradients", ours.infinite_gradient, 0),
        identity("gradients lost where the truth has one", ours.vanished, 0),
        identity("gradients of wrong sign", ours.wrong_sign, 0),
    ]
