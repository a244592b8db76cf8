"""Prompts that differ in their share of chosen responses: one alpha for all is biased, one for each prompt
is not.

The claim is ours. Class means over all prompts and one alpha need one share t of chosen responses for all
prompts. Where the share t(x) varies, RDRO and DDRO end elsewhere than p+; SFT does not, and pairs have t(x)
= 1/2 by design. The distance of the limit to p+ grows with the spread of t(x), to first order as p+ moved
by t(x)/t - 1.

The run. Every prompt's reference is its own mixture with its own t(x). The losses are class means over the
responses of all prompts, as a trainer takes them, so a prompt with few chosen responses has little weight
among the chosen and much among the rejected. Size 0 computes limits at every spread; the other cells draw
samples at one spread.

The two roads. Over all policies the problem falls apart into prompts, each with its weights of the classes,
which the exact solver takes. Where t(x) is far below t it has no solution, as with one mean over all
examples, and the limit is Newton's minimiser from the reference; where both exist they must agree. Limits
are predicted to first order by theory.

The checks:

- a separation: at the largest n SFT is behind RDRO with each prompt's own alpha;
- growth: samples of RDRO with one alpha stop at Newton's limit; at small spread the limits are their first
  order;
- identities: with one prior RDRO and DDRO end at p+; SFT and RDRO with each prompt's own alpha do at every
  spread; limits are Newton's;
- a bound: the score of the data check exceeds its threshold 2.33 in every sample;
- rates: RDRO with each prompt's own alpha and SFT fall like n^{-1/2}.

The planted defects: alpha 10 % too small in the RDRO solver, 5 % too large in its torch loss, as the prior in
DDRO's; labels smoothed by 0.05; a first order 5 % too large; and the labels of all prompts pooled
for the data check.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.data_check import check_labels
from distalign.objectives import ddro, rdro, sft
from distalign.policies import Tabular
from distalign.populations import Thumbs
from distalign.simulation.defects import Defect, argument, result
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import (
    acceptance,
    blocks,
    frequencies,
    labels_smoothed,
    total_variation,
)
from distalign.simulation.verdict import Check, bound, growth, identity, rate, separation
from distalign.solvers.density_ratio import rdro_policy
from distalign.theory.density_ratio.stress import first_order_limit
from distalign.types import Array


def _limits_only(cell: Mapping[str, Any]) -> bool:
    return cell["size"] == 0


def _samples_only(cell: Mapping[str, Any]) -> bool:
    return cell["size"] > 0


def _pooled(right: Any) -> Any:
    """`check_labels` by a developer who hands it the mean counts of all prompts."""
    return lambda *counts, **options: right(*(np.full_like(x, x.mean().round()) for x in counts), **options)


DEFECTS = (
    Defect("alpha of the RDRO solver 10 % too small", rdro_policy, argument("alpha", lambda x: 0.9 * x)),
    Defect("alpha of the RDRO loss 5 % too large", rdro, argument("alpha", lambda x: 1.05 * x), _limits_only),
    Defect("prior of the DDRO loss 5 % too large", ddro, argument("prior", lambda x: 1.05 * x), _limits_only),
    Defect("labels smoothed by 0.05", Thumbs.sample, labels_smoothed, _samples_only),
    Defect("first order 5 % too large", first_order_limit, result(lambda x: 1.05 * x), _limits_only),
    Defect("labels of all prompts pooled for the data check", check_labels, _pooled, _samples_only),
)
ONE, OWN = "RDRO", "RDRO, each prompt its own alpha"
# Spreads of the samples and of first order, prior, responses, tolerance of identities, and sizes of rates and
# of the plateau.
SAMPLED, SMALL, PRIOR, RESPONSES, SAME, MIN_SIZE, PLATEAU = 0.25, 0.01, 0.39, 8, 1e-8, 1_000_000, 100_000_000
CLOSE = 0.02


def cells(sizes: list[int], replicates: int, spreads: list[float], prompts: int) -> list[dict[str, Any]]:
    """Samples at one spread of the logit of t(x), and limits (size 0) at every spread."""
    return [
        *({"spread": SAMPLED, "size": n, "replicates": replicates, "prompts": prompts} for n in sizes),
        *({"spread": s, "size": 0, "replicates": 0, "prompts": prompts} for s in spreads),
    ]


@cache
def population(spread: float, prompts: int) -> Thumbs:
    """Prompts with logit t(x) = logit 0.39 + spread z(x), z having mean 0 and variance 1.

    The seed is fixed, so only t(x) moves with the spread.
    """
    rng = np.random.default_rng(30)
    z = rng.normal(size=prompts)
    logits = np.log(PRIOR / (1 - PRIOR)) + spread * (z - z.mean()) / z.std()
    ref, h = rng.dirichlet(np.full(RESPONSES, 5.0), size=prompts), rng.normal(size=(prompts, RESPONSES))
    q = [acceptance(h[x][None], ref[x], 1 / (1 + np.exp(-logits[x])))[0] for x in range(prompts)]
    return Thumbs(np.array(q), ref, np.full(prompts, 1 / prompts))


def run(
    rng: np.random.Generator, *, spread: float, size: int, replicates: int, prompts: int
) -> dict[str, Any]:
    """Total variation to p+, mean over prompts, on each replicate, or of the limits."""
    truth = population(spread, prompts)
    if size == 0:
        return dict(_limits(truth))
    sample = truth.sample(size, rng, replicates=replicates)
    chosen_counts, rejected_counts = (
        np.asarray(w).reshape(replicates, prompts, RESPONSES)
        for w in (sample.weights, sample.rejected_weights)
    )
    policies = {
        "SFT": frequencies(chosen_counts, rejected_counts)[0],
        ONE: _rdro_by_prompt(chosen_counts, rejected_counts, truth, shared=True),
        OWN: _rdro_by_prompt(chosen_counts, rejected_counts, truth, shared=False),
    }
    limits = _limits(truth).set_index("method").error
    scores = np.array(
        [
            check_labels(a.sum(-1), b.sum(-1)).spread
            for a, b in zip(chosen_counts, rejected_counts, strict=True)
        ]
    )
    return dict(
        pd.concat(
            [
                pd.DataFrame(
                    {
                        "method": name,
                        "replicate": np.arange(replicates),
                        "limit": limits[name],
                        "score": scores,
                        "error": total_variation(policy, truth.preferred).mean(-1),
                    }
                )
                for name, policy in policies.items()
            ],
            ignore_index=True,
        )
    )


def _rdro_by_prompt(up: Array, down: Array, truth: Thumbs, *, shared: bool) -> Array:
    """(..., S, K) RDRO with alpha and class weights of all prompts together, or of each prompt; NaN where
    it has no solution.
    """
    chosen, rejected = up.sum(-1), down.sum(-1)
    all_chosen, all_rejected = chosen.sum(-1, keepdims=True), rejected.sum(-1, keepdims=True)
    own_prior = chosen / (chosen + rejected)
    alpha = all_chosen / (all_chosen + all_rejected) + 0 * own_prior if shared else own_prior
    share = (
        chosen / all_chosen / (chosen / all_chosen + rejected / all_rejected)
        if shared
        else np.full_like(own_prior, 0.5)
    )
    chosen_freq, rejected_freq = frequencies(up, down)
    out = np.empty_like(chosen_freq)
    for x, ref in enumerate(truth.reference):
        solution = rdro_policy(
            chosen_freq[..., x, :], rejected_freq[..., x, :], ref, alpha=alpha[..., x], share=share[..., x]
        )
        out[..., x, :] = np.where(solution.solved[..., None], solution.policy, np.nan)
    return out


def _limits(truth: Thumbs) -> pd.DataFrame:
    """Limits of every method and their first-order predictions.

    RDRO's limits are computed exactly and by Newton's method on the torch loss.
    """
    law, target, t = truth.law(), truth.preferred, truth.prior
    chosen_mass, rejected_mass = (
        np.asarray(w).reshape(target.shape) for w in (law.weights, law.rejected_weights)
    )
    policy = Tabular(truth.reference)
    newton_fits = {
        name: fit(policy, loss, law)
        for name, loss in (("SFT", sft), (ONE, partial(rdro, alpha=t)), ("DDRO", partial(ddro, prior=t)))
    }
    limits = {
        name: found.probs if found.converged else np.full_like(target, np.nan)
        for name, found in newton_fits.items()
    }
    exact = {
        ONE: _rdro_by_prompt(chosen_mass, rejected_mass, truth, shared=True),
        OWN: _rdro_by_prompt(chosen_mass, rejected_mass, truth, shared=False),
    }
    newton_gap, unsolved = np.nanmax(np.abs(limits[ONE] - exact[ONE])), np.isnan(exact[ONE]).any(-1).sum()
    limits[OWN] = exact[OWN]
    first_order_move = target * (truth.priors / t - 1)[:, None]
    return pd.DataFrame(
        [
            {
                "method": name,
                "error": total_variation(end, target).mean(),
                "varies": truth.priors.std(),
                "newton": newton_gap if name == ONE else np.nan,
                "unsolved": unsolved if name == ONE else 0,
                "predicted": 0.5
                * np.abs(
                    first_order_limit(
                        name.lower(), target, truth.dispreferred, truth.priors[:, None], first_order_move
                    )
                )
                .sum(-1)
                .mean()
                if name in (ONE, "DDRO")
                else 0.0,
            }
            for name, end in limits.items()
        ]
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error with its interval by spread, method and size; limits (size 0) beside the spread of t(x) and
    prediction.
    """
    more = rows.groupby(["spread", "method", "size"], as_index=False).agg(
        varies=("varies", "first"),
        predicted=("predicted", "first"),
        unsolved=("unsolved", "first"),
        limit=("limit", "first"),
        score=("score", "mean"),
    )
    return summarise(rows, ["spread", "method", "size"]).merge(more)


def checks(rows: pd.DataFrame) -> list[Check]:
    """One alpha stops at a limit that grows with the spread; SFT and each prompt's own alpha do not."""
    samples, limits = rows.loc[rows["size"] > 0], rows.loc[rows["size"] == 0]
    at_largest = blocks(samples.loc[samples["size"] == samples["size"].max()], ("SFT", OWN), "error")
    on_plateau = samples.loc[(samples["size"] >= PLATEAU) & (samples.method == ONE)]
    biased = limits.loc[limits.method.isin([ONE, "DDRO"])].sort_values(["method", "spread"])
    small_spread = biased.loc[(biased.spread > 0) & (biased.spread <= SMALL)]
    return [
        separation(
            "SFT minus RDRO with each prompt's own alpha, largest n",
            at_largest["SFT"][0] - at_largest[OWN][0],
        ),
        growth(
            "RDRO with one alpha stops at its limit",
            [on_plateau.error.mean()],
            [on_plateau.limit.mean()],
            CLOSE,
        ),
        growth("limits = first order, small spread", small_spread.error, small_spread.predicted, CLOSE),
        identity("one prior: RDRO and DDRO end at p+", biased.loc[biased.spread == 0, "error"], SAME),
        identity(
            "SFT, and RDRO with each prompt's own alpha, end at p+",
            limits.loc[limits.method.isin(["SFT", OWN]), "error"],
            SAME,
        ),
        identity("limits = Newton's method on the torch loss", limits.newton.dropna(), SAME),
        bound("the data check's score exceeds its threshold in every sample", [2.33], [samples.score.min()]),
        *(
            rate(
                f"{name}: total variation to p+",
                samples.loc[samples.method == name],
                matches=-0.5,
                margin=0.03,
                min_size=MIN_SIZE,
            )
            for name in (OWN, "SFT")
        ),
    ]
