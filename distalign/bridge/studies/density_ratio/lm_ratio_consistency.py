"""A language model trained by RDRO, DDRO or SFT approaches the law of preferred responses as data grow; by
DPO it does not.

The claim. Consistency of RDRO and DDRO for p+, the law of preferred responses, is the papers'; its
constants, DPO's limit and the test on a trained model are ours. DPO assumes a Bradley-Terry model, which
the preferences here do not have.

The run. A few prompts per seed, which are trained on together, their candidate responses, and people whose
preferences run in a circle inside each of two tiers. A prompt is a problem of its own and a cluster of the
intervals; prompts of one seed share the weights. Pairs are drawn from the model's own law of the candidates,
so winners have the law p+ = 2 p_ref q, q being the win rate against the reference. The language model is
trained on them by every objective. Size 0 stands for the population itself.

The two roads. Beside each trained model (measured) stand the exact fit of a table to the same counts by the
same objective (simulated), and theory (predicted): the asymptotic constant over sqrt(n), or DPO's
population limit p_ref exp(h / beta), h being its Bradley-Terry fit.

The checks:

- separations: on the population DPO is further from p+ than RDRO; RDRO, DDRO and SFT trained on the
  population are nearer p+ than the reference; and their errors at the smallest n exceed those on the
  population;
- an identity: at every n these three models are the exact fit of the table, to 0.1 in total variation.

The planted defects: RDRO that takes the rejected for the chosen; winners and losers exchanged in the unpaired
data; expected counts in the place of a sample's; and training that ends after a thirtieth of the steps.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.bridge.candidates.policies import load, reference_law
from distalign.bridge.candidates.train import at_prompt, train_policy
from distalign.objectives import ddro, dpo, rdro, sft
from distalign.policies import Tabular
from distalign.populations import Law, Population, rock_paper_scissors
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, result
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, identity, separation
from distalign.solvers.bradley_terry import bradley_terry_rewards, dpo_policy
from distalign.theory.density_ratio import asymptotics as theory

PRIOR, BETA, TIERS = 0.5, 0.1, 2
RESPONSES = 3 * TIERS
CONSISTENT = ("RDRO", "DDRO", "SFT")
LOSSES = {
    "RDRO": partial(rdro, alpha=PRIOR),
    "DDRO": partial(ddro, prior=PRIOR, stabiliser="linear_ratio"),
    "SFT": sft,
    "DPO": partial(dpo, beta=BETA),
}
DEFECTS = (
    Defect(
        "RDRO takes the rejected for the chosen",
        rdro,
        argument("batch", lambda b: _exchanged(b)),
        lambda arguments: not arguments["size"],
    ),
    Defect(
        "winners and losers exchanged in the unpaired data",
        Law.unpaired,
        result(lambda x: _turned(x)),
        lambda arguments: not arguments["size"],
    ),
    Defect(
        "expected counts in the place of a sample's",
        Population.sample_pairs,
        lambda right: lambda population, n, rng: _expected(population, n),
        lambda arguments: arguments["size"] > 0,
    ),
    Defect(
        "training ends after a thirtieth of the steps",
        train_policy,
        argument("steps", lambda n: n // 30),
        lambda arguments: not arguments["size"],
    ),
)
TOLERANCE = 0.1  # total variation between the trained model and the exact fit of a table to the same counts


def _exchanged(batch: PreferenceLogProbs) -> PreferenceLogProbs:
    """The batch with chosen and rejected responses exchanged."""
    return PreferenceLogProbs(
        batch.rejected,
        batch.chosen,
        batch.ref_rejected,
        batch.ref_chosen,
        batch.rejected_weights,
        rejected_weights=batch.weights,
        validate=False,
    )


def _expected(population: Population, n: int) -> Law:
    """One replicate of n comparisons in the shares of the population."""
    exact = population.pairs()
    return Law(exact.chosen, exact.rejected, n * exact.weights[None])


def _turned(law: Law) -> Law:
    """The law with chosen and rejected responses exchanged."""
    return Law(law.rejected, law.chosen, law.rejected_weights, law.weights)  # type: ignore[arg-type]


def cells(
    policy: str, seeds: int, sizes: list[int], steps: int, rate: float = 1.0, prompts: int = 4
) -> list[dict[str, Any]]:
    """One cell per seed and number of comparisons; 0 is the population. `rate` multiplies the policy's
    learning rate.
    """
    return [
        {"policy": policy, "seed": seed, "size": n, "steps": steps, "rate": rate, "prompts": prompts}
        for n in sizes
        for seed in range(seeds)
    ]


def run(
    rng: np.random.Generator, *, policy: str, seed: int, size: int, steps: int, rate: float, prompts: int
) -> dict[str, Any]:
    """Total variation to p+ by method and prompt: predicted, simulated, and measured on the same counts."""
    model = load(policy, seed, prompts=prompts, responses=RESPONSES)
    problems = [Population(rock_paper_scissors(TIERS), reference) for reference in reference_law(model)]
    samples = [p.sample_pairs(size, rng).replicate(0) if size else p.pairs() for p in problems]
    rows = []
    for name, loss in LOSSES.items():
        laws = [_training_law(name, sample) for sample in samples]
        trained = train_policy(
            model,
            [loss] * prompts,
            [at_prompt(law, s, RESPONSES) for s, law in enumerate(laws)],
            steps=steps,
            learning_rate=rate * model.learning_rate,
        ).probs
        for s, (problem, law) in enumerate(zip(problems, laws, strict=True)):
            table_fit, target = _table_fit(problem, name, law), problem.preferred[0]
            rows.append(
                {
                    "size": float(size) if size else np.inf,
                    "prompt": s,
                    "method": name,
                    "predicted": _predicted_errors(problem, size)[name],
                    "simulated": _total_variation(table_fit, target),
                    "error": _total_variation(trained[s], target),
                    "gap": _total_variation(trained[s], table_fit),
                    "start": _total_variation(problem.reference[0], target),
                }
            )
    return dict(pd.DataFrame(rows))


def _training_law(name: str, sample: Law) -> Law:
    return sample if name == "DPO" else sample.unpaired()


def _table_fit(problem: Population, name: str, law: Law) -> np.ndarray:
    """(K,) exact minimiser over all laws; NaN where it does not exist.

    DPO's does not exist where one response of a pair always wins.
    """
    minimiser = fit(Tabular(problem.reference), LOSSES[name], law)
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
    error = rows.pivot(index=["size", "seed", "prompt"], columns="method", values="error")
    gaps = rows.pivot(index=["size", "seed", "prompt"], columns="method", values="gap")
    on_population, smallest = error.loc[np.inf], error.loc[rows["size"].min()]
    start = rows[np.isinf(rows["size"]) & (rows.method == "DPO")].set_index(["seed", "prompt"]).start
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
