"""The identities behind density-ratio alignment, each by two roads, on random preferences of any kind.

Winners and losers of pairs drawn from the reference (any win matrix), and thumbs on single responses, are the
two sides of the mixture p_ref = t p+ + (1-t) p-. Autograd of the torch losses against coefficients worked out
by hand; DDRO with the prior-weighted logistic loss against the Bernoulli log-likelihood of the labels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import bernoulli

from distalign.objectives import ddro, rdro
from distalign.populations import Population, Thumbs
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.verdict import Check, identity
from distalign.theory.density_ratio.losses import LOSSES, coefficients

DEFECT = "the prior of the other class, 1 - t, in the predictions"
TOLERANCE = 1e-12


def cells(problems: int, responses: list[int]) -> list[dict[str, Any]]:
    """One cell per number of responses."""
    return [{"responses": k, "problems": problems} for k in responses]


def run(rng: np.random.Generator, *, responses: int, problems: int, defect: bool = False) -> dict[str, Any]:
    """Largest deviation of each identity on each random problem."""
    parts = []
    for i in range(problems):
        ref = rng.dirichlet(np.full(responses, 2.0))
        odds = np.triu(4 * rng.normal(size=(responses, responses)), 1)
        people = Population(1 / (1 + np.exp(odds.T - odds)), ref)
        labels = Thumbs(rng.uniform(0.05, 0.9, (1, responses)), ref[None], np.ones(1))
        t = 1 - labels.prior if defect else labels.prior
        found = {
            "winners and losers": _pairs(people, 0.7 if defect else 0.5),
            "thumbs": _thumbs(labels, t),
            "ratios": _ratios(labels, t),
            "label likelihood": _likelihood(labels, t),
            "one half": _one_half(rng, 0.7 if defect else 0.5),
            **{name: _coefficients(name, rng, labels.prior, t) for name in LOSSES},
        }
        parts.append(pd.DataFrame({"problem": i, "identity": list(found), "deviation": list(found.values())}))
    return dict(pd.concat(parts, ignore_index=True))


def _pairs(people: Population, t: float) -> float:
    """t p+ + (1-t) p- = p_ref at t = 1/2, with p+ and p- summed from the exact law of pairs, whatever the win
    matrix.
    """
    law = people.pairs().unpaired()
    up, down = law.weights, np.asarray(law.rejected_weights)
    borda = 2 * people.reference[0] * people.borda[0]
    return float(max(np.abs(t * up + (1 - t) * down - people.reference[0]).max(), np.abs(up - borda).max()))


def _thumbs(labels: Thumbs, t: float) -> float:
    """t p+/p_ref = q, the probability of the label."""
    law = labels.law()
    up = law.weights / law.weights.sum()
    return float(np.abs(t * up / labels.reference[0] - labels.acceptance[0]).max())


def _ratios(labels: Thumbs, t: float) -> float:
    """rho = r/(1-t+t r) is p+/p_ref and at most 1/t; r = (1-t) rho/(1-t rho) returns to p+/p-."""
    law = labels.law()
    up, down = (
        law.weights / law.weights.sum(),
        np.asarray(law.rejected_weights) / np.asarray(law.rejected_weights).sum(),
    )
    r = up / down
    rho = r / (1 - t + t * r)
    back = (1 - t) * rho / (1 - t * rho)
    return float(
        max(
            np.abs(rho - up / labels.reference[0]).max(),
            np.abs(back / r - 1).max(),
            max(rho.max() * t - 1, 0),
        )
    )


def _likelihood(labels: Thumbs, t: float) -> float:
    """DDRO's label_mle against minus the mean log-likelihood of the labels, at the truth moved halfway to the
    reference.
    """
    law, ref, prior = labels.law(), labels.reference[0], labels.prior
    policy = (labels.preferred[0] + ref) / 2
    log_probs, weights = torch.from_numpy(np.log(policy)), np.asarray(law.rejected_weights)
    log_ref = torch.from_numpy(np.log(ref))
    batch = PreferenceLogProbs(
        log_probs,
        log_probs,
        log_ref,
        log_ref,
        weights=torch.from_numpy(law.weights),
        rejected_weights=torch.from_numpy(weights),
    )
    success = t * policy / ref
    if np.any(success >= 1):
        return float("inf")
    hand = -law.weights @ bernoulli.logpmf(1, success) - weights @ bernoulli.logpmf(0, success)
    return abs(float(ddro(batch, prior=prior)) - float(hand))


def _one_half(rng: np.random.Generator, t: float) -> float:
    """At t = 1/2 the unit-weight logistic loss is twice the label likelihood; at the reference RDRO is 2 log
    2.
    """
    u, v = torch.from_numpy(rng.uniform(-2, 0.6, (2, 5))).clamp(max=-np.log(t) - 0.05)
    batch, start = PreferenceLogProbs(u, v, 0 * u, 0 * v), PreferenceLogProbs(0 * u, 0 * v, 0 * u, 0 * v)
    gap = float(ddro(batch, prior=t, ratio_loss="logistic") - 2 * ddro(batch, prior=t))
    return max(abs(gap), abs(float(rdro(start, alpha=float(rng.uniform(0.1, 0.9)))) - 2 * np.log(2)))


def _coefficients(name: str, rng: np.random.Generator, prior: float, t: float) -> float:
    """Autograd against the coefficients by hand, relative to 1 + their size."""
    method, form = name.split()
    if method == "rdro":
        loss = partial(rdro, alpha=prior, form=form)
    else:
        loss = partial(
            ddro, prior=prior, **({"stabiliser": form} if form == "squash" else {"ratio_loss": form})
        )
    top = -np.log(max(t, prior)) - 0.02 if method == "ddro" and form != "squash" else 3.0
    leaves = [torch.from_numpy(rng.uniform(-4, top, 5)).requires_grad_() for _ in range(2)]
    zero = torch.zeros(5, dtype=torch.float64)
    slopes = torch.autograd.grad(loss(PreferenceLogProbs(leaves[0], leaves[1], zero, zero)), leaves)
    hand = [coefficients(name, np.exp(x.detach().numpy()), t)[i] for i, x in enumerate(leaves)]
    return max(
        float(np.abs((5 * s.numpy() - h) / (1 + np.abs(h))).max()) for s, h in zip(slopes, hand, strict=True)
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Largest deviation of each identity for each number of responses."""
    return rows.groupby(["identity", "responses"], as_index=False).agg(
        deviation=("deviation", "max"), problems=("problem", "size")
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Every identity to rounding."""
    names = {
        "winners and losers": "p+ + p- = 2 p_ref for winners and losers, any win matrix",
        "thumbs": "t p+/p_ref = P(preferred | y)",
        "ratios": "p+/p_ref and p+/p- imply each other, p+/p_ref <= 1/t",
        "label likelihood": "DDRO = likelihood of the labels",
        "one half": "t = 1/2: logistic DDRO = 2 label likelihood; RDRO at the reference = 2 log 2",
        **{loss: f"{loss}: autograd = coefficients by hand" for loss in LOSSES},
    }
    return [
        identity(text, rows.loc[rows.identity == name, "deviation"], TOLERANCE)
        for name, text in names.items()
    ]
