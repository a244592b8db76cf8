"""Bad arguments, recipes, populations and files: an answer or a sentence, and nothing else.

The default run draws 300 cases with a seed; the slow test runs all of them, about 15,000.
`python -m tests.robustness inputs` counts them by package.
"""

import random
from collections import Counter

import pytest

from tests.robustness.generators import cases
from tests.robustness.verdicts import GOOD, Case, sound, verdict

ALL = list(cases())


def failing(drawn: list[Case]) -> list[str]:
    return [
        f"{kind}: {case.name}: {seen}" for case in drawn for kind, seen in [verdict(case)] if kind not in GOOD
    ]


def test_a_sample_of_bad_inputs():
    drawn = random.Random(19).sample(ALL, 300)
    assert not failing(drawn)


KINDS = [
    "distalign.solvers.robust.fit_euclidean(p: sum 1.1)",  # was certified
    "distalign.solvers.robust.fit_norm(p: sum 1.1)",
    "distalign.solvers.robust.fit_kl_temperature(v: nan)",
    "distalign.solvers.robust.kl_worst_case(losses: nan)",  # NaN passed a check with <
    "distalign.solvers.robust.wasserstein_worst_case(losses: inf)",  # IndexError
    "distalign.solvers.robust.fit_finite(v: all zero)",  # a singular matrix
    "distalign.solvers.robust.fit_euclidean(p: point)",  # no progress
    "distalign.solvers.choice.kl_linear_maximisation(kl_budget: tiny)",  # brentq's ValueError
    "distalign.solvers.choice.exploitability(log_policy: sum e)",
    "distalign.solvers.dpo_policy(ref: negative)",
    "distalign.objectives.dpo(weights: all tiny, torch.float32)",  # 0 after the cast
    "distalign.objectives.ipo_per_token(chosen_tokens: zero, torch.float32)",
    "distalign.objectives.dpo(beta: text, torch.float64)",
    "distalign.metrics(beta: nan)",
    "recipe.Recipe(max_length: inf)",  # OverflowError
    "recipe.Recipe(seed: 5,000 digits)",  # ValueError of int
    "recipe.Recipe(model: deep)",  # the square of the depth
    "recipe.Recipe(model: aliases)",  # ten million words in the message
    "recipe.Recipe(objective_options: text)",
    "recipe.objective_options(beta: true)",  # taken for 1
    "population(alternatives: inf)",
    "population(n: true)",  # taken for 1
    "population.users(weight: true)",
    "population.spatial(users: too many)",  # MemoryError
    "parse_sweeps(words: '=1')",
    "file.votes.csv(content: zeroed from 3/4)",  # the rows before were taken for all
    "file.utilities.csv(content: long line)",
    "file.samples.jsonl(content: nested)",
    "model.model.safetensors(content: cut at 2/4)",  # SafetensorError
    "model.config.json(content: null)",  # TypeError
    "model.tokenizer.json(content: number)",  # AttributeError
    "model.tokenizer.json(content: nested)",  # RecursionError
    "distalign.theory.aot.false_violation(n: zero)",  # -0.6 as a probability
    "distalign.theory.aot.potentials(p: one entry less)",  # IndexError
    "distalign.theory.robust.kl_drift(p: point)",  # a singular matrix
    "distalign.theory.robust.softmax_weights(temperature: times 1e-12)",  # 32 TiB
    "distalign.theory.robust.ball_temperature(v: all equal)",  # brentq's ValueError
    "distalign.theory.density_ratio.unpaired_covariance(chosen: sum 1.1)",
    "distalign.theory.f_dpo.skew(divergence: unknown)",  # KeyError
    "distalign.oracles.kl_ball_fit(beta: times 1e+12)",  # SolverError
    "distalign.oracles.lottery_bound(types: all zero)",
    "distalign.populations.Law(chosen: nan)",  # taken for a number of a response
    "distalign.populations.mixture(populations: text)",
]


@pytest.mark.parametrize("name", KINDS)
def test_one_of_each_kind_that_was_found(name):
    (case,) = (case for case in ALL if case.name == name)
    assert not failing([case])


@pytest.mark.slow
def test_all_bad_inputs():
    assert len(ALL) > 14000
    assert not failing(ALL)


def test_the_verdicts_can_fail():
    def case(call, invalid=False):
        return Case("f", "x", "", call, invalid)

    def endless():
        while True:
            pass

    found = [
        verdict(case(lambda: float("nan"))),
        verdict(case(lambda: 1.0, invalid=True)),
        verdict(case(lambda: 1 / 0)),
        verdict(case(endless), 0.2),
        verdict(case(lambda: 1.0)),
    ]
    assert Counter(kind for kind, _ in found) == {"accepted": 2, "traceback": 1, "hang": 1, "right": 1}
    assert not sound({"a": float("nan")})
