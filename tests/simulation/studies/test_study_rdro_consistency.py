"""rdro_consistency, small: the population is what it claims to be, verdicts, and the best beta of
DPO.
"""

import itertools

import numpy as np
from study_kit import failed, rows

from distalign.simulation.studies.density_ratio import rdro_consistency as study

PRESET = {"sizes": [1000, 10_000, 100_000], "replicates": 600}


def test_preferences_are_cyclic_and_no_response_is_rare():
    population = study.population()
    win = population.win[0]
    triples = itertools.permutations(range(len(win)), 3)
    assert sum(win[i, j] > 0.5 and win[j, k] > 0.5 and win[k, i] > 0.5 for i, j, k in triples) >= 3
    assert population.preferred.min() >= 0.01
    np.testing.assert_allclose(population.preferred + population.dispreferred, 2 * population.reference)


def test_consistent_methods_and_no_beta():
    found = rows(study.__name__, PRESET)
    checks = study.checks(found)
    assert not failed(checks)
    assert checks[0].outcome == "matches -0.5"
    table = study.table(found).set_index(["estimator", "size"])
    assert table.loc[("DPO, best beta", 100_000), "mean"] > 5 * table.loc[("RDRO", 100_000), "mean"]


def test_best_beta_is_the_best():
    best = study.dpo_betas()["DPO, best beta"]
    assert study.dpo_limit(best) <= study.dpo_limit(best * np.array([0.98, 1.02])).min()
    assert study.dpo_limit(study.BETAS[[0, -1]]).min() > 2 * study.dpo_limit(
        best
    )  # the grid's ends are far from it
