"""Rates and limits of density ratios, small: verdicts, which checks see each planted defect, and what the
tables say.
"""

import importlib

import numpy as np
import ot
import pytest
import torch
from study_kit import failed, found, study

from distalign.checks import InputError
from distalign.theory.density_ratio.plateaus import bco_policy, kto_policy

UP, DOWN, REF = (
    np.array([0.3, 0.1, 0.05, 0.05]),
    np.array([0.1, 0.05, 0.15, 0.2]),
    np.array([0.4, 0.15, 0.2, 0.25]),
)


def alone(name, words):
    return any(x in name for x in words)


SEEN = {  # which checks a planted defect fails: these and no others
    "ratio_rate": lambda name: "SFT:" not in name and not name.startswith("W1 ="),
    "ratio_plateaus": lambda name: alone(name, ("minus RDRO", "minus SFT", "plateaus = limits")),
    "ratio_positive_control": lambda name: alone(
        name, ("p-, beta 1: ", "mixture, beta 1 minus", "mixture, beta 2 minus")
    ),
    "ratio_alpha": lambda name: alone(
        name,
        ("nearest limit", "grows away", "slope at t", "alpha to 1", "stop at its limit", "alpha = 0.5 minus"),
    ),
}


@pytest.mark.parametrize("slug", SEEN)
def test_planted_defect_is_seen(slug):
    checks = study(slug).checks(found(slug, control=True))
    assert failed(checks) == {c.name for c in checks if SEEN[slug](c.name)}
    assert failed(checks)


def test_kto_maximises_its_utility_among_laws_on_the_responses_chosen_more_often():
    beta = 0.3

    def utility(policy):
        u = np.log(np.maximum(policy, 1e-300) / REF)
        return ((UP - DOWN) / (1 + np.exp(-beta * u))).sum(-1)

    share = np.linspace(0.001, 0.999, 4001)
    grid = np.stack([share, 1 - share, 0 * share, 0 * share], -1)
    policy = kto_policy(UP, DOWN, REF, beta)
    assert policy[2:].tolist() == [0.0, 0.0]
    assert policy[0] == pytest.approx(share[utility(grid).argmax()], abs=3e-4)
    assert utility(policy) >= utility(grid).max() - 1e-12
    assert utility(policy) > utility(UP / UP.sum())


def test_kto_solves_every_data_set_alone():
    many = kto_policy(np.stack([UP, DOWN]), np.stack([DOWN, UP]), REF, 0.1)
    assert many[1] == pytest.approx(kto_policy(DOWN, UP, REF, 0.1), abs=1e-12)


def test_gradient_descent_on_the_torch_loss_of_bco_ends_at_its_equilibrium():
    from distalign.objectives import bco
    from distalign.preferences import PreferenceLogProbs

    policy, solved = bco_policy(UP, DOWN, REF, 1.0)
    ref, theta = torch.from_numpy(np.log(REF)), torch.zeros(4, dtype=torch.float64, requires_grad=True)
    for _ in range(400):
        log_probs = torch.log_softmax(ref + theta, -1)
        loss = bco(
            PreferenceLogProbs(
                log_probs,
                log_probs,
                ref,
                ref,
                weights=torch.from_numpy(UP),
                rejected_weights=torch.from_numpy(DOWN),
            ),
            beta=1.0,
        )
        theta.data -= 10 * torch.autograd.grad(loss, theta)[0]
    assert solved
    assert policy == pytest.approx(np.exp(log_probs.detach().numpy()), abs=1e-8)


def test_plateaus_reject_bad_input():
    with pytest.raises(InputError, match="beta"):
        kto_policy(UP, DOWN, REF, 1.0)
    with pytest.raises(InputError, match="nowhere"):
        kto_policy(DOWN / 10, DOWN, REF, 0.1)
    with pytest.raises(InputError, match="beta"):
        bco_policy(UP, DOWN, REF, 0.0)
    with pytest.raises(InputError, match="ref"):
        bco_policy(UP, DOWN, REF * 0, 1.0)


def test_distances_are_those_of_their_names():
    p, q = np.random.default_rng(0).dirichlet(np.ones(6), 2)
    place = np.linspace(0, 1, 6)
    by_name = study("ratio_rate").distances(p, q)
    assert by_name["transport"] == pytest.approx(ot.emd2(p, q, np.abs(place[:, None] - place)), abs=1e-14)
    assert by_name["kl"] == pytest.approx((p * np.log(p / q)).sum())
    assert by_name["hellinger"] == pytest.approx(1 - np.sqrt(p * q).sum())
    assert study("ratio_rate").distances(np.array([0.0, 1.0]), np.array([0.5, 0.5]))["kl"] == pytest.approx(
        np.log(2)
    )


def test_oracle_betas_of_dpo_are_larger_than_the_usual_ones_and_its_plateaus_further_away():
    table = study("ratio_plateaus").table(found("ratio_plateaus"))
    curves = table[(table.part == "curve") & (table.method == "DPO")]
    for _, mine in curves.groupby("name"):
        best = mine.loc[mine.limit.idxmin()]
        assert 1.5 < best.beta < 12
        assert best.limit < mine.limit[(mine.beta - 1).abs().idxmin()] / 4


def test_predicted_slopes_of_a_wrong_alpha_are_those_of_the_limits():
    module = study("ratio_alpha")
    truth = importlib.import_module("distalign.simulation.studies.density_ratio.estimators").thumbs(0.39)
    for method in module.METHODS:
        policy, _ = module._policy(
            method, truth.preferred[0], truth.dispreferred[0], truth.reference[0], 0.3901
        )
        assert 0.5 * np.abs(policy - truth.preferred[0]).sum() / 1e-4 == pytest.approx(
            module.slope(method), rel=1e-3
        )
    assert module.slope("RDRO") < module.slope("DDRO")


def test_sequences_of_the_stability_study_are_laws_and_p_plus_is_within_reach():
    module = study("ratio_stability")
    up, down, start = module.laws(0.3)
    assert up.sum() == pytest.approx(1)
    assert down.sum() == pytest.approx(1)
    projected = module.log_probs(torch.from_numpy(start)[None]).exp().numpy()[0]
    pooled, tokens = (up + down) / 2, module.sequences() % 4
    assert projected.sum() == pytest.approx(1)
    for at in range(6):  # the projection keeps the law of every token
        assert np.bincount(tokens[:, at], projected) == pytest.approx(np.bincount(tokens[:, at], pooled))
    picked = module.log_probs(torch.from_numpy(start)[None], torch.tensor([[5, 4095]])).exp().numpy()[0]
    assert picked == pytest.approx(projected[[5, 4095]])
