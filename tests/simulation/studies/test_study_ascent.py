"""The ascent over alignment problems: its derivative by finite differences, and its value by the solvers."""

import numpy as np
import pytest
import torch

from distalign.simulation.studies.distortion.ascent import ANY, INDEPENDENT, NLHF, RULES, _Search, ascend
from distalign.simulation.studies.distortion.constrained import distortion_in_ball
from distalign.solvers.choice.games import kl_nlhf
from distalign.solvers.choice.reward import rlhf


def problem(seed):
    rng = np.random.default_rng(seed)
    shapes = ((1, 3, 4), (1, 3), (1, 4), (1, 4, 4), (1,))
    return [torch.tensor(0.7 * rng.standard_normal(shape), requires_grad=True) for shape in shapes]


def value(rule, genes):
    search = _Search(rule, 3.0, 0.0)
    for _ in range(6):
        found = search.value(genes)
    assert bool(found[2])
    return found[0][0]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_derivative_by_finite_differences(rule, seed):
    genes = problem(seed)
    value(rule, genes).backward()
    assert (genes[3].grad is None) == (rule == NLHF)  # in the population NLHF does not see the pairs
    step, rng = 1e-5, np.random.default_rng(seed)
    for gene in genes:
        if gene.grad is None:
            continue
        direction = torch.tensor(rng.standard_normal(tuple(gene.shape)))
        ends = []
        for sign in (1, -1):
            moved = [g.detach() + sign * step * direction if g is gene else g.detach() for g in genes]
            ends.append(float(value(rule, moved)))
        expected = (ends[0] - ends[1]) / (2 * step)
        assert float((gene.grad * direction).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("rule", [NLHF, INDEPENDENT, ANY])
def test_the_value_by_the_solvers(rule):
    found = ascend(np.random.default_rng(0), rule, 3.0, 3, least=0.0, starts=4, steps=10, evaluations=10)
    win, q, budget = found.users.win, found.log_reference, found.kl_budget
    solved = kl_nlhf(win, q, budget) if rule == NLHF else rlhf(win, found.pairs, q, budget)
    assert distortion_in_ball(found.users, solved, q, budget) == pytest.approx(found.distortion, rel=1e-6)
