"""Density ratios with broken assumptions and smaller policies: verdicts, what sees each planted defect, what
tables say.
"""

import numpy as np
import pytest
from study_kit import failed, found, rows, study

from distalign.theory.density_ratio.asymptotics import (
    divergence_constant,
    total_variation_constant,
    unpaired_covariance,
)
from distalign.theory.density_ratio.stress import first_order_limit, parametric_constants

SEEN = {  # which checks a planted defect fails: these and no others
    "ratio_reference": lambda name: name.startswith(
        ("RDRO with the wrong", "RDRO and DDRO stop", "limits = first order")
    ),
    "ratio_prompt_prior": lambda name: name.startswith(
        ("RDRO with one alpha", "limits = first order", "limits grow")
    ),
}


@pytest.mark.parametrize("slug", SEEN)
def test_planted_defect_is_seen(slug):
    checks = study(slug).checks(found(slug, control=True))
    assert failed(checks) == {c.name for c in checks if SEEN[slug](c.name)}
    assert failed(checks)


def laws(seed=0, responses=7):
    rng = np.random.default_rng(seed)
    ref, q = rng.dirichlet(np.full(responses, 4.0)), rng.uniform(0.2, 0.8, responses)
    t = float(ref @ q)
    return ref * q / t, ref * (1 - q) / (1 - t), t, rng


@pytest.mark.parametrize("estimator", ["sft", "rdro", "ddro"])
def test_parametric_constants_are_those_of_the_whole_covariance(estimator):
    p, q, t, rng = laws()
    features = rng.normal(size=(7, 3))
    whole = unpaired_covariance(estimator, p, q, t, 0.3, features)
    mine = parametric_constants(estimator, p, q, t, 0.3, features)
    np.testing.assert_allclose(
        mine, (total_variation_constant(whole), divergence_constant(whole, p)), rtol=1e-9
    )
    all_policies = unpaired_covariance(estimator, p, q, t, 0.3)
    mine = parametric_constants(estimator, p, q, t, 0.3, np.eye(7))
    np.testing.assert_allclose(
        mine, (total_variation_constant(all_policies), divergence_constant(all_policies, p)), rtol=1e-9
    )


@pytest.mark.parametrize("estimator", ["rdro", "ddro"])
def test_first_order_limit_against_a_small_step_of_the_exact_solver(estimator):
    from distalign.solvers.density_ratio import ddro_policy, rdro_policy

    p, q, t, rng = laws(1)
    mixture, step = t * p + (1 - t) * q, 1e-4
    other = (1 - step) * mixture + step * rng.dirichlet(np.ones(7))
    exact = (
        rdro_policy(p, q, other, alpha=t) if estimator == "rdro" else ddro_policy(p, q, other, prior=t)
    ).policy - p
    predicted = first_order_limit(estimator, p, q, t, p * (other / mixture - 1))
    assert np.abs(exact - predicted).max() < 1e-2 * np.abs(exact).max()
    assert (
        np.abs(exact - p * (other / mixture - 1)).max() > 2e-2 * np.abs(exact).max()
    )  # without giving the excess back


def test_the_bias_of_one_alpha_crosses_that_of_ddro():
    table = study("ratio_prompt_prior").table(
        rows(
            study("ratio_prompt_prior").__name__,
            {"sizes": [100000], "replicates": 3, "spreads": [0.05, 0.8], "prompts": 12},
        )
    )
    table = table[table["size"] == 0]
    limit = table.set_index(["method", "spread"])["mean"]
    assert limit["RDRO", 0.05] < limit["DDRO", 0.05]
    assert limit["RDRO", 0.8] > limit["DDRO", 0.8]
    assert table.set_index(["method", "spread"]).unsolved["RDRO", 0.8] > 0


def test_log_linear_newton_agrees_with_the_generic_fit():
    from distalign.policies import LogLinear
    from distalign.simulation.fit import fit

    module = study("ratio_loglinear")
    features, truth = module.features_and_labels("near the bound")
    sample = truth.sample(500, np.random.default_rng(0), replicates=2)
    up, down = module.frequencies(sample.weights, sample.rejected_weights)
    for name in module.METHODS:
        _, policy, solved = module.newton_fits(name, up, down, features, truth.reference[0])
        slow = fit(LogLinear(features[None], truth.reference), module.LOSSES[name], sample)
        assert solved.all()
        assert slow.converged.all()
        np.testing.assert_allclose(policy, slow.probs[:, 0], rtol=1e-6)


def test_most_responses_are_unseen_where_labels_are_few():
    table = study("ratio_loglinear").table(found("ratio_loglinear"))
    assert (table.loc[table["size"] == 64, "unseen"] > 0.95).all()


def test_the_truth_lies_between_the_two_walls():
    module = study("ratio_sequences")
    _, truth = module.sequences_and_labels()
    assert module.EARLY_WALL < truth.acceptance.max() < module.WALL
