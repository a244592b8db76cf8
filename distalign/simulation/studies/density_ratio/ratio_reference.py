"""A reference that is not the pooled law: where RDRO and DDRO then end, to first order and exactly, and
what helps.

The claim is ours. RDRO and DDRO aim at p+ only if the reference is the mixture of the preferred and
non-preferred laws. With another one they end elsewhere, to first order at p+ moved by the error of the
reference; SFT on the chosen needs no reference. A reference refitted to other, unlabelled responses of the
mixture repairs the limit. Refitted to the very responses with labels it makes RDRO over all policies the
same as SFT, so nothing is gained from rejected ones.

The run. Labels of one mixture; the estimators are told the reference (1 - e) mixture + e noise. Size 0
computes limits of several references at every contamination e; the other cells draw samples at e = 0.1.

The two roads. Limits come from exact solvers, from Newton's method on the torch losses, and to first order
from `distalign.theory.density_ratio.stress`; samples must stop at them.

The checks:

- a separation: at the largest n SFT is behind RDRO with a reference refitted to other responses;
- growth: samples of RDRO and DDRO with the wrong reference stop at Newton's limits; with little contamination
  limits are their first order;
- identities: exact limits are Newton's; with a reference from the same data RDRO is SFT;
- rates: SFT and RDRO with the refitted reference fall like n^{-1/2}.

The planted defects: alpha 10 % too large in the RDRO solver, the prior in the DDRO solver; alpha
5 % too large in the torch loss; labels smoothed by 0.05; and the first order 5 % too large.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import ddro, rdro
from distalign.policies import Tabular
from distalign.populations import Law, Thumbs
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.studies.density_ratio.estimators import (
    blocks,
    estimates,
    frequencies,
    labels_smoothed,
    thumbs,
    total_variation,
)
from distalign.simulation.verdict import Check, growth, identity, rate, separation
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.theory.density_ratio.stress import first_order_limit
from distalign.types import Array

DEFECTS = (
    Defect("alpha of the RDRO solver 10 % too large", rdro_policy, argument("alpha", lambda x: 1.1 * x)),
    Defect("prior of the DDRO solver 10 % too large", ddro_policy, argument("prior", lambda x: 1.1 * x)),
    Defect(
        "alpha of the RDRO loss 5 % too large",
        rdro,
        argument("alpha", lambda x: 1.05 * x),
        where(size=0),
    ),
    Defect("labels smoothed by 0.05", Thumbs.sample, labels_smoothed, lambda cell: cell["size"] > 0),
    Defect(
        "first order 5 % too large",
        first_order_limit,
        result(lambda x: 1.05 * x),
        where(size=0),
    ),
)
REFIT, SAME_DATA = "RDRO, reference refitted", "RDRO, reference from the same data"
# Contaminations of the samples and of first order, sizes of rates and of the plateau, unlabelled responses
# per label, tolerance of identities, and replicates with a reference from the same data.
SAMPLED, SMALL, MIN_SIZE, PLATEAU, UNLABELLED, SAME, FEW, CLOSE = 0.1, 0.002, 1000, 300_000, 4, 1e-8, 10, 0.02
ESTIMATORS = {"RDRO": lambda t: partial(rdro, alpha=t), "DDRO": lambda t: partial(ddro, prior=t)}


def cells(
    sizes: list[int], replicates: int, refits: int, shares: list[float], references: int
) -> list[dict[str, Any]]:
    """Samples at one contamination, and limits (size 0) of several references at every contamination."""
    return [
        *({"noise": SAMPLED, "size": n, "replicates": replicates, "refits": refits} for n in sizes),
        *({"noise": e, "size": 0, "replicates": references, "refits": 0} for e in shares),
    ]


def contaminated_reference(noise: Array, share: float, mixture: Array) -> Array:
    """The reference that the estimators are told: the mixture with a share of noise."""
    return (1 - share) * mixture + share * noise


def run(rng: np.random.Generator, *, noise: float, size: int, replicates: int, refits: int) -> dict[str, Any]:
    """Total variation to p+ on each replicate, or of the limits (size 0).

    The first `refits` replicates have a reference of their own. Limits are one for each of `replicates`
    references.
    """
    truth = thumbs()
    if size == 0:
        noise_laws = rng.dirichlet(np.ones(truth.reference.shape[1]), size=replicates)
        return dict(
            pd.concat(
                [
                    _limits(contaminated_reference(z, noise, truth.reference[0]), i)
                    for i, z in enumerate(noise_laws)
                ],
                ignore_index=True,
            )
        )
    noise_law = np.random.default_rng(7).dirichlet(np.ones(truth.reference.shape[1]))
    ref = contaminated_reference(noise_law, noise, truth.reference[0])
    sample = truth.sample(size, rng, replicates=replicates)
    chosen_freq, rejected_freq = frequencies(sample.weights, np.asarray(sample.rejected_weights))
    unlabelled_counts = rng.multinomial(UNLABELLED * size, truth.reference[0], size=replicates) + 1.0
    refitted, labelled_freq = (
        unlabelled_counts / unlabelled_counts.sum(-1, keepdims=True),
        (sample.weights + np.asarray(sample.rejected_weights)) / size,
    )
    estimators = {
        **estimates(chosen_freq, rejected_freq, ref, truth.prior),
        REFIT: _rdro_with_own_references(chosen_freq[:refits], rejected_freq, refitted, sample.prior),
        SAME_DATA: _rdro_with_own_references(chosen_freq[:FEW], rejected_freq, labelled_freq, sample.prior),
    }
    limits = _limits(ref, 0).set_index("method").limit_of_loss
    return dict(
        pd.concat(
            [
                pd.DataFrame(
                    {
                        "method": name,
                        "replicate": np.arange(len(policy)),
                        "limit": limits.get(name, 0.0),
                        "error": np.where(solved, total_variation(policy, truth.preferred[0]), np.nan),
                        "from_sft": np.where(
                            solved, np.abs(policy - chosen_freq[: len(policy)]).max(-1), np.nan
                        ),
                    }
                )
                for name, (policy, solved) in estimators.items()
            ],
            ignore_index=True,
        )
    )


def _rdro_with_own_references(up: Array, down: Array, refs: Array, alphas: Any) -> tuple[Array, Any]:
    """RDRO with a reference for each of the first replicates, those of `up`.

    A response in neither reference nor data gets probability 0.
    """
    policy, solved = np.zeros_like(up), np.zeros(len(up), bool)
    for i, (ref, alpha) in enumerate(zip(refs[: len(up)], np.asarray(alphas)[: len(up)], strict=True)):
        in_reference = ref > 0
        solution = rdro_policy(up[i, in_reference], down[i, in_reference], ref[in_reference], alpha=alpha)
        policy[i, in_reference], solved[i] = solution.policy, solution.solved
    return policy, solved


def _limits(ref: Array, index: int) -> pd.DataFrame:
    """Exact limits under one reference, Newton's on the torch losses, and the prediction to first order."""
    truth = thumbs()
    mixture, p_plus, p_minus = truth.reference[0], truth.preferred[0], truth.dispreferred[0]
    exact = estimates(p_plus, p_minus, ref, truth.prior)
    law = Law(np.arange(len(ref)), np.arange(len(ref)), p_plus, p_minus)
    rows = []
    for name, (policy, solved) in exact.items():
        row = {
            "method": name,
            "replicate": index,
            "shift": total_variation(ref, mixture),
            "newton": np.nan,
            "predicted": 0.0,
            "limit_of_loss": 0.0,
            "error": float(total_variation(policy, p_plus)) if solved else np.nan,
        }
        if name in ESTIMATORS:
            row["predicted"] = (
                0.5
                * np.abs(
                    first_order_limit(
                        name.lower(), p_plus, p_minus, truth.prior, p_plus * (ref / mixture - 1)
                    )
                ).sum()
            )
            newton_fit = fit(Tabular(ref), ESTIMATORS[name](truth.prior), law)
            if newton_fit.converged:
                row["limit_of_loss"] = float(total_variation(newton_fit.probs[0], p_plus))
            inside = newton_fit.converged and (policy / ref).max() < 0.98 / truth.prior
            row["newton"] = np.abs(newton_fit.probs[0] - policy).max() if inside else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error with its interval by contamination, method and size; limits (size 0) beside shift and
    prediction.
    """
    out = summarise(rows, ["noise", "method", "size"])
    more = rows.groupby(["noise", "method", "size"], as_index=False).agg(
        shift=("shift", "mean"),
        predicted=("predicted", "mean"),
        limit=("limit", "first"),
        newton=("newton", "max"),
    )
    return out.merge(more)


def checks(rows: pd.DataFrame) -> list[Check]:
    """RDRO and DDRO stop at the limit of the wrong reference; SFT and a refitted reference do not."""
    samples, limits = rows.loc[rows["size"] > 0], rows.loc[rows["size"] == 0]
    at_largest = blocks(
        samples.loc[samples["size"] == samples["size"].max()],
        ("SFT", REFIT),
        "error",
    )
    on_plateau = (
        samples.loc[(samples["size"] >= PLATEAU) & samples.method.isin([*ESTIMATORS])]
        .groupby("method")[["error", "limit"]]
        .mean()
    )
    little_contamination = (
        limits.loc[(limits.noise <= SMALL) & (limits.method != "SFT")]
        .groupby("method")[["error", "predicted"]]
        .mean()
    )
    return [
        separation(
            "SFT minus RDRO with a reference refitted to other responses, largest n",
            at_largest["SFT"][0][: at_largest[REFIT].shape[1]] - at_largest[REFIT][0],
        ),
        growth("RDRO and DDRO stop at their limits", on_plateau.error, on_plateau.limit, CLOSE),
        growth(
            "limits = first order, little contamination",
            little_contamination.error,
            little_contamination.predicted,
            CLOSE,
        ),
        identity("limits = Newton's method on the torch losses", limits.newton.dropna(), SAME),
        identity(
            "reference from the same data: RDRO is SFT",
            samples.loc[samples.method == SAME_DATA, "from_sft"],
            SAME,
        ),
        *(
            rate(
                f"{name}: total variation to p+",
                samples.loc[samples.method == name],
                matches=-0.5,
                margin=0.04,
                min_size=MIN_SIZE,
            )
            for name in ("SFT", REFIT)
        ),
    ]
