"""The identities behind density-ratio alignment, each by two roads, on random preferences of any kind.

The claim is ours; the identities are derived here. Winners and losers of pairs drawn from the reference
(under any win matrix), and thumbs on single responses, are the two sides of the mixture

    t p+ + (1 - t) p- = p_ref,                                                                     (1)

with t = 1/2 for pairs whatever the win matrix.

The run. Random win matrices and random label probabilities, one cell per number of responses.

The two roads. Laws by summing exact tables, against (1); autograd of the torch losses against coefficients
worked out by hand; DDRO with the prior-weighted logistic loss against the Bernoulli log-likelihood of the
labels.

The checks, all identities to rounding:

- p+ + p- = 2 p_ref for winners and losers; t p+/p_ref is the probability of being preferred; p+/p_ref and
  p+/p- imply each other, and p+/p_ref is at most 1/t;
- DDRO is the likelihood of the labels; at t = 1/2 its logistic form is twice that, and RDRO at the
  reference is 2 log 2;
- for each of three forms of RDRO and five of DDRO, autograd gives the coefficients by hand.

The defect puts the prior of the other class, 1 - t, into the predictions. Every identity that contains t
then fails (pairs and the one half are told 0.7).
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
    tables = []
    for i in range(problems):
        ref = rng.dirichlet(np.full(responses, 2.0))
        odds = np.triu(4 * rng.normal(size=(responses, responses)), 1)
        pair_population = Population(1 / (1 + np.exp(odds.T - odds)), ref)
        labels = Thumbs(rng.uniform(0.05, 0.9, (1, responses)), ref[None], np.ones(1))
        t = 1 - labels.prior if defect else labels.prior
        deviations = {
            "winners and losers": _winners_and_losers(pair_population, 0.7 if defect else 0.5),
            "thumbs": _thumbs(labels, t),
            "ratios": _ratios_imply_each_other(labels, t),
            "label likelihood": _label_likelihood(labels, t),
            "one half": _one_half(rng, 0.7 if defect else 0.5),
            **{name: _autograd_against_coefficients(name, rng, labels.prior, t) for name in LOSSES},
        }
        tables.append(
            pd.DataFrame({"problem": i, "identity": list(deviations), "deviation": list(deviations.values())})
        )
    return dict(pd.concat(tables, ignore_index=True))


def _winners_and_losers(people: Population, t: float) -> float:
    """Equation (1) at t = 1/2, with p+ and p- summed from the exact law of pairs, whatever the win matrix;
    p+ is also 2 p_ref times Borda's rate.
    """
    law = people.pairs().unpaired()
    p_plus, p_minus = law.weights, np.asarray(law.rejected_weights)
    borda = 2 * people.reference[0] * people.borda[0]
    return float(
        max(np.abs(t * p_plus + (1 - t) * p_minus - people.reference[0]).max(), np.abs(p_plus - borda).max())
    )


def _thumbs(labels: Thumbs, t: float) -> float:
    """t p+/p_ref is q, the probability that a response is chosen."""
    law = labels.law()
    up = law.weights / law.weights.sum()
    return float(np.abs(t * up / labels.reference[0] - labels.acceptance[0]).max())


def _ratios_imply_each_other(labels: Thumbs, t: float) -> float:
    """rho = r/(1-t+t r) is p+/p_ref and at most 1/t; r = (1-t) rho/(1-t rho) returns to p+/p-."""
    law = labels.law()
    p_plus, p_minus = (
        law.weights / law.weights.sum(),
        np.asarray(law.rejected_weights) / np.asarray(law.rejected_weights).sum(),
    )
    r = p_plus / p_minus
    rho = r / (1 - t + t * r)
    r_from_rho = (1 - t) * rho / (1 - t * rho)
    return float(
        max(
            np.abs(rho - p_plus / labels.reference[0]).max(),
            np.abs(r_from_rho / r - 1).max(),
            max(rho.max() * t - 1, 0),
        )
    )


def _label_likelihood(labels: Thumbs, t: float) -> float:
    """DDRO's label_mle against minus the mean log-likelihood of the labels, at p+ moved halfway to the
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
    by_hand = -law.weights @ bernoulli.logpmf(1, success) - weights @ bernoulli.logpmf(0, success)
    return abs(float(ddro(batch, prior=prior)) - float(by_hand))


def _one_half(rng: np.random.Generator, t: float) -> float:
    """At t = 1/2 the unit-weight logistic loss is twice the label likelihood; at the reference RDRO is 2
    log 2.
    """
    u, v = torch.from_numpy(rng.uniform(-2, 0.6, (2, 5))).clamp(max=-np.log(t) - 0.05)
    batch, start = PreferenceLogProbs(u, v, 0 * u, 0 * v), PreferenceLogProbs(0 * u, 0 * v, 0 * u, 0 * v)
    gap = float(ddro(batch, prior=t, ratio_loss="logistic") - 2 * ddro(batch, prior=t))
    return max(abs(gap), abs(float(rdro(start, alpha=float(rng.uniform(0.1, 0.9)))) - 2 * np.log(2)))


def _autograd_against_coefficients(name: str, rng: np.random.Generator, prior: float, t: float) -> float:
    """Autograd of one loss against its coefficients by hand, relative to 1 plus their size."""
    method, form = name.split()
    if method == "rdro":
        loss = partial(rdro, alpha=prior, form=form)
    else:
        loss = partial(
            ddro, prior=prior, **({"stabiliser": form} if form == "squash" else {"ratio_loss": form})
        )
    largest_log_ratio = -np.log(max(t, prior)) - 0.02 if method == "ddro" and form != "squash" else 3.0
    log_ratios = [torch.from_numpy(rng.uniform(-4, largest_log_ratio, 5)).requires_grad_() for _ in range(2)]
    zero = torch.zeros(5, dtype=torch.float64)
    gradients = torch.autograd.grad(
        loss(PreferenceLogProbs(log_ratios[0], log_ratios[1], zero, zero)), log_ratios
    )
    by_hand = [coefficients(name, np.exp(x.detach().numpy()), t)[i] for i, x in enumerate(log_ratios)]
    return max(
        float(np.abs((5 * s.numpy() - h) / (1 + np.abs(h))).max())
        for s, h in zip(gradients, by_hand, strict=True)
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
