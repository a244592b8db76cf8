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

- DDRO is the likelihood of the labels; at t = 1/2 its logistic form is twice that;
- p+ + p- = 2 p_ref for winners and losers; t p+/p_ref is the probability of being preferred; p+/p_ref and
  p+/p- imply each other, and p+/p_ref is at most 1/t;
- for each of three forms of RDRO and five of DDRO, autograd gives the coefficients by hand.

The planted defects: the prior of DDRO or the alpha of RDRO is 5 % too large, responses that meet themselves
are dropped from the law of pairs, or the prior of the labels is a plain mean over responses, which forgets
the reference.
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
from distalign.simulation.defects import Defect, argument
from distalign.simulation.verdict import Check, identity
from distalign.theory.density_ratio.losses import LOSSES, coefficients

DEFECTS = (
    Defect("prior of the DDRO loss 5 % too large", ddro, argument("prior", lambda x: 1.05 * x)),
    Defect("alpha of the RDRO loss 5 % too large", rdro, argument("alpha", lambda x: 1.05 * x)),
    Defect("pairs of a response with itself dropped", Population.pairs, argument("distinct", lambda _: True)),
    Defect(
        "prior of the labels as a plain mean over responses",
        Thumbs.prior.fget,  # type: ignore[arg-type]
        lambda _: lambda labels: float(labels.acceptance.mean()),
    ),
)
TOLERANCE = 1e-12


def cells(problems: int, responses: list[int]) -> list[dict[str, Any]]:
    """One cell per number of responses."""
    return [{"responses": k, "problems": problems} for k in responses]


def run(rng: np.random.Generator, *, responses: int, problems: int) -> dict[str, Any]:
    """Largest deviation of each identity on each random problem."""
    tables = []
    for i in range(problems):
        ref = rng.dirichlet(np.full(responses, 2.0))
        odds = np.triu(4 * rng.normal(size=(responses, responses)), 1)
        pair_population = Population(1 / (1 + np.exp(odds.T - odds)), ref)
        labels = Thumbs(rng.uniform(0.05, 0.9, (1, responses)), ref[None], np.ones(1))
        t = labels.prior
        deviations = {
            "label likelihood": _label_likelihood(labels, t),
            "winners and losers": _winners_and_losers(pair_population),
            "thumbs": _thumbs(labels, t),
            "ratios": _ratios_imply_each_other(labels, t),
            "one half": _one_half(rng),
            **{name: _autograd_against_coefficients(name, rng, t) for name in LOSSES},
        }
        tables.append(
            pd.DataFrame({"problem": i, "identity": list(deviations), "deviation": list(deviations.values())})
        )
    return dict(pd.concat(tables, ignore_index=True))


def _winners_and_losers(people: Population) -> float:
    """Equation (1) at t = 1/2, with p+ and p- summed from the exact law of pairs, whatever the win matrix;
    p+ is also 2 p_ref times Borda's rate.
    """
    law = people.pairs().unpaired()
    p_plus, p_minus = law.weights, np.asarray(law.rejected_weights)
    borda = 2 * people.reference[0] * people.borda[0]
    return float(
        max(np.abs((p_plus + p_minus) / 2 - people.reference[0]).max(), np.abs(p_plus - borda).max())
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
    law, ref = labels.law(), labels.reference[0]
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
    by_hand = -law.weights @ bernoulli.logpmf(1, success) - weights @ bernoulli.logpmf(0, success)
    return abs(float(ddro(batch, prior=t)) - float(by_hand))


def _one_half(rng: np.random.Generator) -> float:
    """At t = 1/2 the unit-weight logistic loss of DDRO is twice the label likelihood."""
    u, v = torch.from_numpy(rng.uniform(-2, 0.6, (2, 5)))
    batch = PreferenceLogProbs(u, v, 0 * u, 0 * v)
    return abs(float(ddro(batch, prior=0.5, ratio_loss="logistic") - 2 * ddro(batch, prior=0.5)))


def _autograd_against_coefficients(name: str, rng: np.random.Generator, t: float) -> float:
    """Autograd of one loss against its coefficients by hand, relative to 1 plus their size."""
    method, form = name.split()
    if method == "rdro":
        loss = partial(rdro, alpha=t, form=form)
    else:
        loss = partial(ddro, prior=t, **({"stabiliser": form} if form == "squash" else {"ratio_loss": form}))
    largest_log_ratio = -np.log(t) - 0.02 if method == "ddro" and form != "squash" else 3.0
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
        "label likelihood": "DDRO = likelihood of the labels",
        "winners and losers": "p+ + p- = 2 p_ref for winners and losers, any win matrix",
        "thumbs": "t p+/p_ref = P(preferred | y)",
        "ratios": "p+/p_ref and p+/p- imply each other, p+/p_ref <= 1/t",
        "one half": "t = 1/2: logistic DDRO = 2 label likelihood",
        **{loss: f"{loss}: autograd = coefficients by hand" for loss in LOSSES},
    }
    return [
        identity(text, rows.loc[rows.identity == name, "deviation"], TOLERANCE)
        for name, text in names.items()
    ]
