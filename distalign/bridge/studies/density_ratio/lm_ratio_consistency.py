"""A language model trained by RDRO, DDRO or SFT approaches the law of preferred responses as data grow; by
DPO it does not.

The claim. Consistency of RDRO and DDRO for p+, the law of preferred responses, is the papers'; its
constants, DPO's limit and the test on a trained model are ours. DPO assumes a Bradley-Terry model, which
the preferences here do not have.

The run. One prompt per seed, its candidate responses, and people whose preferences run in a circle inside
each of two tiers. Pairs are drawn from the model's own law of the candidates, so winners have the law p+ =
2 p_ref q, q being the win rate against the reference. The language model is trained on them by every
objective. Size 0 stands for the population itself.

The two roads. Beside each trained model (measured) stand the exact fit of a table to the same counts by the
same objective (simulated), and theory (predicted): the asymptotic constant over sqrt(n), or DPO's
population limit p_ref exp(h / beta), h being its Bradley-Terry fit.

The checks:

- separations: on the population DPO is further from p+ than RDRO; RDRO, DDRO and SFT trained on the
  population are nearer p+ than the reference; and their errors at the smallest n exceed those on the
  population;
- an identity: at every n these three models are the exact fit of the table, to 0.1 in total variation.

The defect trains DPO in place of RDRO. It stops at DPO's limit, so it is not ahead of DPO and not at the
fit of the table.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.bridge.candidates.policies import Trainable, load, reference_law
from distalign.bridge.candidates.train import train_policy
from distalign.objectives import ddro, dpo, rdro, sft
from distalign.populations import Law, Population, rock_paper_scissors
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, identity, separation
from distalign.solvers.bradley_terry import bradley_terry_rewards, dpo_policy
from distalign.theory.density_ratio import asymptotics as theory

DEFECT = "DPO trained in place of RDRO"
PRIOR, BETA, TIERS = 0.5, 0.1, 2
CONSISTENT = ("RDRO", "DDRO", "SFT")
LOSSES = {
    "RDRO": partial(rdro, alpha=PRIOR),
    "DDRO": partial(ddro, prior=PRIOR, stabiliser="linear_ratio"),
    "SFT": sft,
    "DPO": partial(dpo, beta=BETA),
}
TOLERANCE = 0.1  # total variation between the trained model and the exact fit of a table to the same counts


def cells(policy: str, seeds: int, sizes: list[int], steps: int, rate: float = 1.0) -> list[dict[str, Any]]:
    """One cell per seed and number of comparisons; 0 is the population. `rate` multiplies the policy's
    learning rate.
    """
    return [
        {"policy": policy, "seed": seed, "size": n, "steps": steps, "rate": rate}
        for n in sizes
        for seed in range(seeds)
    ]


def run(
    rng: np.random.Generator,
    *,
    policy: str,
    seed: int,
    size: int,
    steps: int,
    rate: float,
    defect: bool = False,
) -> dict[str, Any]:
    """Total variation to p+ of every method: predicted, simulated and measured on the same counts.

    With the defect only DPO on the population is trained. It stands in RDRO's place, and elsewhere the
    table's fits stand.
    """
    model = load(policy, seed, responses=3 * TIERS)
    truth = Population(rock_paper_scissors(TIERS), reference_law(model)[0])
    sample = truth.sample_pairs(size, rng).replicate(0) if size else truth.pairs()
    table_fits = {name: _table_fit(model, name, sample) for name in LOSSES}
    trained_methods = LOSSES if not defect else () if size else ("DPO",)
    trained_laws = table_fits | {
        name: train_policy(
            model,
            LOSSES[name],
            _training_law(name, sample),
            steps=steps,
            learning_rate=rate * model.learning_rate,
        ).probs[0]
        for name in trained_methods
    }
    if defect:
        trained_laws["RDRO"] = trained_laws["DPO"]
    target, predicted = truth.preferred[0], _predicted_errors(truth, size)
    return {
        "size": np.full(len(LOSSES), float(size) if size else np.inf),
        "method": list(LOSSES),
        "predicted": [predicted[name] for name in LOSSES],
        "simulated": [_total_variation(table_fits[name], target) for name in LOSSES],
        "error": [_total_variation(trained_laws[name], target) for name in LOSSES],
        "gap": [_total_variation(trained_laws[name], table_fits[name]) for name in LOSSES],
        "start": [_total_variation(truth.reference[0], target)] * len(LOSSES),
    }


def _training_law(name: str, sample: Law) -> Law:
    return sample if name == "DPO" else sample.unpaired()


def _table_fit(model: Trainable, name: str, sample: Law) -> np.ndarray:
    """(K,) exact minimiser over all laws; NaN where it does not exist.

    DPO's does not exist where one response of a pair always wins.
    """
    minimiser = fit(model.start, LOSSES[name], _training_law(name, sample))
    return minimiser.probs[0] if minimiser.settled else np.full(minimiser.probs.shape[-1], np.nan)


def _predicted_errors(truth: Population, size: int) -> dict[str, float]:
    """Predicted total variation to p+.

    It is the constant over sqrt(n) for the consistent methods, and for DPO the distance of its limit.
    """
    joint = truth.pairs().weights.reshape(truth.win.shape[1:])
    limit = dpo_policy(bradley_terry_rewards(joint).reward[0], truth.reference[0], BETA)
    constants = {
        name: theory.total_variation_constant(theory.asymptotic_covariance(name.lower(), joint, PRIOR))  # type: ignore[arg-type]
        for name in CONSISTENT
    }
    return {"DPO": _total_variation(limit, truth.preferred[0])} | {
        name: c / np.sqrt(size) if size else 0.0 for name, c in constants.items()
    }


def _total_variation(p: np.ndarray, q: np.ndarray) -> float:
    return float(0.5 * np.abs(p - q).sum())


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds per method and size: measured with its interval, simulated, predicted, distance of the
    two worlds.
    """
    by = ["method", "size"]
    return summarise(rows, by).merge(
        rows.groupby(by, as_index=False).agg(
            simulated=("simulated", "mean"),
            predicted=("predicted", "mean"),
            gap=("gap", "mean"),
            start=("start", "mean"),
            policy=("policy", "first"),
        ),
        on=by,
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """DPO behind RDRO on the population; the others approach p+ as n grows and end where the table's fit
    does.
    """
    error = rows.pivot(index=["size", "seed"], columns="method", values="error")
    gaps = rows.pivot(index=["size", "seed"], columns="method", values="gap")
    on_population, smallest = error.loc[np.inf], error.loc[rows["size"].min()]
    start = rows[np.isinf(rows["size"]) & (rows.method == "DPO")].set_index("seed").start
    return [
        separation(
            "population: DPO minus RDRO, total variation to p+", on_population.DPO - on_population.RDRO
        ),
        *(
            separation(
                f"{name}: reference minus model trained on the population", start - on_population[name]
            )
            for name in CONSISTENT
        ),
        *(
            separation(
                f"{name}: error at n = {rows['size'].min():g} minus that on the population",
                smallest[name] - on_population[name],
            )
            for name in CONSISTENT
        ),
        identity(
            f"every n: model = exact fit of the table to the same counts ({', '.join(CONSISTENT)}; total "
            "variation)",
            gaps[list(CONSISTENT)].to_numpy().ravel(),
            TOLERANCE,
        ),
    ]
