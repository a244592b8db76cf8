"""Batched Bradley-Terry fits against choix, the population solver and DPO itself."""

from functools import partial

import choix
import numpy as np
import pytest

from distalign import InputError
from distalign.objectives import dpo
from distalign.policies import Tabular
from distalign.populations import consistency_populations
from distalign.simulation.fit import fit
from distalign.solvers.bradley_terry import bradley_terry_rewards, dpo_policy
from distalign.solvers.choice.reward import reward_mle


def wins(seed, replicates, responses, total):
    rng = np.random.default_rng(seed)
    return rng.multinomial(total, np.full(responses**2, responses**-2.0), replicates).reshape(
        -1, responses, responses
    )


def test_against_choix():
    tables = wins(0, 5, 6, 150)
    found = bradley_terry_rewards(tables)
    assert found.solved.all()
    for table, reward in zip(tables, found.reward, strict=True):
        games = [(i, j) for i in range(6) for j in range(6) if i != j for _ in range(table[i, j])]
        np.testing.assert_allclose(
            reward, choix.opt_pairwise(6, games, alpha=0.0, method="Newton-CG", tol=1e-12), atol=1e-6
        )


@pytest.mark.parametrize("name", consistency_populations())
def test_population_limit(name):
    population = consistency_populations()[name]
    ref, win = population.reference[0], population.win[0]
    found = bradley_terry_rewards(population.pairs().weights.reshape(win.shape))
    np.testing.assert_allclose(found.reward[0], reward_mle(win, ref).reward, atol=1e-9)


@pytest.mark.parametrize("beta", [0.3, 2.0])
def test_dpo_is_the_tilt_at_every_beta(beta):
    population = consistency_populations()["mixed"]
    law = population.sample_pairs(2000, np.random.default_rng(0), replicates=4)
    found = bradley_terry_rewards(law.weights.reshape(-1, 10, 10))
    slow = fit(Tabular(population.reference), partial(dpo, beta=beta), law)
    assert slow.converged.all()
    np.testing.assert_allclose(
        dpo_policy(found.reward, population.reference[0], beta), slow.probs[:, 0], atol=1e-7
    )


def test_tables_without_a_finite_maximum_are_reported():
    never_beaten = np.array([[0, 3, 2], [0, 0, 1], [0, 4, 0]])
    two_islands = np.zeros((4, 4))
    two_islands[0, 1] = two_islands[1, 0] = two_islands[2, 3] = two_islands[3, 2] = 1
    connected = never_beaten + np.eye(3)[[1, 2, 0]]
    with pytest.raises(InputError, match="response 0 never lost to the others"):
        bradley_terry_rewards(never_beaten)
    with pytest.raises(InputError, match="responses 0, 1 never met the others; responses 2, 3 never met"):
        bradley_terry_rewards(two_islands)
    assert bradley_terry_rewards(np.stack([never_beaten, connected])).solved.tolist() == [False, True]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1.0, 2.0], "wins must be non-negative of shape"),
        ([[0, -1], [1, 0]], "non-negative"),
        (np.eye(3), "at least one comparison"),
    ],
)
def test_bad_input(table, message):
    with pytest.raises(InputError, match=message):
        bradley_terry_rewards(table)
    with pytest.raises(InputError, match="beta must be"):
        dpo_policy([0.0, 1.0], [0.5, 0.5], 0.0)
