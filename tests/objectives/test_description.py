"""Facts about an objective lie on its own declaration, and the evaluation reads its reward there."""

import functools
import inspect
from functools import partial

import pytest
import torch

from distalign import objectives as o
from distalign.bibliography import PAPERS
from distalign.divergences import CHI2_PLUS_KL, divergence
from distalign.preferences import PreferenceLogProbs
from distalign.training.evaluation.measures import rewards


def test_described_returns_the_function_it_is_given():
    def loss(batch, *, beta):
        return beta * batch.chosen.sum()

    before = inspect.signature(loss), loss.__name__, loss.__code__
    assert o.described(paper="aot")(loss) is loss
    assert (inspect.signature(loss), loss.__name__, loss.__code__) == before


def test_descriptions_are_found_above_and_below_the_declaration_and_inside_wrappers():
    def loss(batch, *, beta):
        return beta * batch.chosen.sum()

    declare, describe = o.objective(data="pairs", coupling="pair"), o.described(paper="aot")
    for made in (declare(describe(loss)), describe(declare(loss))):
        assert o.description_of(made).paper == "aot"
        assert o.declared(made).coupling == "pair"
        assert o.description_of(partial(partial(made, beta=1.0), beta=2.0)).paper == "aot"

        @functools.wraps(made)
        def timed(*args, f=made, **kwargs):
            return f(*args, **kwargs)

        assert o.description_of(timed).paper == "aot"


def test_a_loss_without_description_has_an_empty_one():
    def loss(batch):
        return batch.chosen.sum()

    assert o.description_of(loss) == o.Description()
    assert o.description_of(o.dpo) == o.Description()


@pytest.mark.parametrize("name", o.names())
def test_descriptions_name_papers_and_options_that_exist(name):
    loss = getattr(o, name)
    says = o.description_of(loss)
    assert not says.paper or says.paper in {paper.name for paper in PAPERS}
    options = {n: p for n, p in inspect.signature(loss).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert set(says.defaults) <= set(options)
    missing = {n for n, p in options.items() if p.default is p.empty} - set(says.defaults)
    assert missing <= {"beta", "radius"}


BATCH = PreferenceLogProbs(
    *torch.tensor([[-1.0, -3.0], [-2.0, -1.5], [-1.5, -2.0], [-1.0, -2.5]]),
    chosen_tokens=torch.tensor([2, 5]),
    rejected_tokens=torch.tensor([3, 4]),
)


@pytest.mark.parametrize(
    ("objective", "reward"),
    [
        (partial(o.dpo, beta=0.3), lambda x, _: 0.3 * x),
        (partial(o.aot_paired, penalty="hinge", margin=1.0), lambda x, _: x),
        (partial(o.aot_paired, beta=0.3), lambda x, _: 0.3 * x),
        (partial(o.rdro, alpha=0.3), lambda x, _: x),
        (partial(o.sft), lambda x, _: x),
        (
            partial(o.f_dpo, beta=0.3, divergence="alpha:0.3"),
            lambda x, _: 0.3 * divergence("alpha:0.3").continued_link(x),
        ),
        (partial(o.chi_po, beta=0.3, clip=1e-3), lambda x, _: 0.3 * CHI2_PLUS_KL.continued_link(x)),
        (partial(o.ipo, beta=0.3), lambda x, _: 0.3 * x),
        (partial(o.ipo_per_token, beta=0.3), lambda x, tokens: 0.3 * (x / tokens)),
        (partial(o.wdpo, beta=0.3, radius=0.1), lambda x, _: 0.3 * x),
        (partial(lambda batch, beta: batch.chosen.sum(), beta=0.3), lambda x, _: 0.3 * x),
    ],
)
def test_rewards_are_those_the_objective_implies(objective, reward):
    u, v = rewards(BATCH, objective)
    assert u.equal(reward(BATCH.chosen_ratio.double(), BATCH.chosen_tokens))
    assert v.equal(reward(BATCH.rejected_ratio.double(), BATCH.rejected_tokens))
