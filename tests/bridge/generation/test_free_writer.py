"""The writer draws what it scores, and both kinds of training follow the gradient that enumeration gives."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch

from distalign.bridge.generation import tilts
from distalign.bridge.generation.learning import (
    descend,
    group_batch,
    leave_one_out,
    policy_gradient,
    self_play,
    train_on_groups,
)
from distalign.bridge.generation.token_scores import standardised, token_score
from distalign.bridge.generation.writer import Texts, load_writer, tiny_writer
from distalign.checks import InputError
from distalign.divergences import divergence
from distalign.objectives import dpo, sft

WORDS, LONGEST = 3, 3
ALL = [
    (*body, *end, *(-1,) * (LONGEST - n - len(end)))
    for n in range(LONGEST + 1)
    for body in itertools.product((1, 2), repeat=n)
    for end in (((0,),) if n < LONGEST else ((),))
]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def small(seed=0, **how):
    return tiny_writer(seed, prompts=2, words=WORDS, longest=LONGEST, **how)


def every():
    return Texts(np.broadcast_to(np.array(ALL), (2, len(ALL), LONGEST)))


@pytest.mark.parametrize("share_prompt", [False, True])
def test_the_texts_have_total_probability_one_and_are_drawn_with_it(share_prompt):
    writer, count = small(share_prompt=share_prompt), 4000
    law = np.exp(writer.log_prob(every()))
    np.testing.assert_allclose(law.sum(1), 1, atol=1e-6)
    drawn = writer.draw(count, torch.Generator().manual_seed(1)).tokens
    found = np.array([[(drawn[s] == y).all(1).mean() for y in np.array(ALL)] for s in range(2)])
    assert found.sum(1).tolist() == [1, 1]  # no other text is drawn
    assert (np.abs(found - law) < 4.5 * np.sqrt(law * (1 - law) / count)).all()


def test_scores_with_gradients_are_those_without():
    writer = small()
    texts = writer.draw(5, torch.Generator().manual_seed(0))
    scores = writer.scores(writer.layout(texts))
    assert scores.requires_grad
    np.testing.assert_allclose(scores.detach().view(2, 5), writer.log_prob(texts), atol=1e-6)


def test_the_reference_is_found_again_within_and_after_training():
    writer, texts = small(), every()
    before = writer.log_prob(texts)
    descend(writer, lambda i: writer.scores(writer.layout(texts)).square().mean(), steps=3)
    after = writer.log_prob(texts)
    assert np.abs(after - before).max() > 1e-3
    with writer.reference():
        assert (writer.log_prob(texts) == before).all()
    assert (writer.log_prob(texts) == after).all()


@pytest.mark.parametrize("own", [2e-3, 1e-4])
def test_the_first_step_is_a_multiple_of_the_writers_own_learning_rate(own):
    """Adam's first step is the learning rate, up or down, wherever the gradient is not 0."""
    writer, texts = small(), every()
    writer.learning_rate = own
    before = writer.weights()
    descend(writer, lambda i: writer.scores(writer.layout(texts)).square().mean(), steps=1, pace=3.0)
    moved = max(float((now - then).abs().max()) for now, then in zip(writer.weights(), before, strict=True))
    assert moved == pytest.approx(3 * own, rel=1e-3)


def test_groups_carry_each_ordered_pair_once_with_its_weight():
    win = torch.tensor([[[0.5, 0.9, 0.6], [0.1, 0.5, 0.7], [0.4, 0.3, 0.5]]] * 2)
    scores = torch.arange(6.0)
    batch = group_batch(scores, torch.zeros(6), win)
    found = {
        (int(a), int(b)): round(float(w), 1)
        for a, b, w in zip(batch.chosen, batch.rejected, batch.weights, strict=True)
    }
    assert len(found) == 12
    assert found[0, 1] == 0.9
    assert found[5, 4] == 0.3
    assert (4, 1) not in found
    # a loss of classes sees each text with its share of wins: 1.5, 0.8 and 0.7 of 3
    expected = -(torch.tensor([1.5, 0.8, 0.7]) / 3 @ (scores[:3] + scores[3:]) / 2)
    torch.testing.assert_close(sft(batch), expected)


@pytest.mark.parametrize("f", ["reverse_kl", "forward_kl", "jensen_shannon", "alpha:0.3"])
def test_the_policy_gradient_is_that_of_enumeration(f):
    """Mean over many groups against the gradient of E g - beta D_f computed on all texts."""
    writer, texts, beta = small(), every(), 0.7
    gain = np.random.default_rng(0).normal(size=len(ALL))
    with torch.no_grad():
        reference = writer.scores(writer.layout(texts))
    moved = small(1)
    with torch.no_grad():
        for mine, other in zip(writer.parameters, moved.parameters, strict=True):
            mine.add_(0.3 * (other - mine))
    log_p = writer.scores(writer.layout(texts))
    p, u = log_p.exp(), (log_p - reference).exp()
    link = divergence(f).link
    value = torch.as_tensor(np.tile(gain, 2)) - beta * link(log_p.detach() - reference)
    # d/dtheta of sum p g - beta sum q f(p/q), the second by the chain rule on f itself
    gradient = torch.autograd.grad((p * value.detach()).sum() / 2, writer.parameters, retain_graph=True)
    penalty = torch.autograd.grad((reference.exp() * _f(f, u)).sum() / 2, writer.parameters)
    exact_gain = torch.autograd.grad(
        (writer.scores(writer.layout(texts)).exp() * torch.as_tensor(np.tile(gain, 2))).sum() / 2,
        writer.parameters,
    )
    for whole, one, other in zip(gradient, exact_gain, penalty, strict=True):
        torch.testing.assert_close(whole, one - beta * other, atol=2e-5, rtol=2e-3)
    # and the estimator: weights of each text over all groups of two
    q = p.detach().view(2, -1)
    table = value.view(2, -1)
    pairs = torch.cartesian_prod(torch.arange(len(ALL)), torch.arange(len(ALL)))
    estimate = torch.zeros(2, len(ALL), dtype=torch.float64)
    for s in range(2):
        advantage = leave_one_out(table[s][pairs])
        chance = q[s][pairs[:, 0]] * q[s][pairs[:, 1]]
        estimate[s].index_add_(0, pairs.flatten(), (chance[:, None] * advantage / 2).flatten())
    centred = q * (table - (q * table).sum(1, keepdim=True) / q.sum(1, keepdim=True))
    torch.testing.assert_close(estimate, centred, atol=1e-6, rtol=1e-5)


def _f(name, u):
    """f(u) in torch, by the formulas of the table in `distalign.divergences`."""
    if name == "reverse_kl":
        return u * u.log() - u + 1
    if name == "forward_kl":
        return u - 1 - u.log()
    if name == "jensen_shannon":
        return u * u.log() - (u + 1) * ((u + 1) / 2).log()
    a = 0.3
    return (u ** (1 - a) - (1 - a) * u - a) / (a * (a - 1))


def test_self_play_has_no_bias_from_its_baseline():
    """Mean over all groups of three: the advantage of a text is its margin against the law itself."""
    rng = np.random.default_rng(0)
    law, noise = rng.dirichlet(np.ones(4)), rng.normal(size=(4, 4))
    win = 1 / (1 + np.exp(noise.T - noise))
    found = np.zeros(4)
    for group in itertools.product(range(4), repeat=3):
        i = list(group)
        margins = self_play(win[np.ix_(i, i)][None])
        advantage = leave_one_out(torch.as_tensor(margins)).numpy()[0]
        np.add.at(found, i, law[i].prod() * advantage / 3)
    centred = (2 * win - 1) @ law
    np.testing.assert_allclose(found, law * (centred - law @ centred), atol=1e-12)


def test_training_moves_towards_the_prediction():
    writer = small()
    texts = writer.draw(12 * 150, torch.Generator().manual_seed(0))
    score = standardised(token_score(0), every())
    reward, reference = score(texts), writer.log_prob(texts)
    train_on_groups(
        writer,
        partial(dpo, beta=1.0),
        texts,
        reference,
        lambda part: tilts.win_matrix(reward[None, :, part], [1.0], [1.0]),
        group=12,
        pace=5.0,
    )
    with writer.reference():
        q = np.exp(writer.log_prob(every()))
    target, p = q * np.exp(score(every())), np.exp(writer.log_prob(every()))
    target /= target.sum(1, keepdims=True)
    left, start = (np.abs(target - law).sum(1).mean() / 2 for law in (p, q))
    assert start > 0.2
    assert left < 0.25 * start


def test_token_scores_add_tokens_and_neighbours():
    raw = token_score(3)
    values = {y: raw(Texts(np.array([[y]])))[0, 0] for y in [(5, -1, -1), (6, -1, -1), (5, 6, -1), (5, 6, 5)]}
    one, six, pair, three = values.values()
    back = raw(Texts(np.array([[(6, 5, -1)]])))[0, 0]
    assert three == pytest.approx(pair + back - six)
    assert pair != pytest.approx(one + six)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: load_writer("tabular", 0), "writes no texts"),
        (lambda: load_writer("smollm2", 0, prompts=99), "prompts must be 1 to"),
        (lambda: small().draw(0, torch.Generator()), "count must be"),
        (lambda: small().decode(every()), "no words"),
        (lambda: standardised(lambda t: np.ones(t.lengths.shape), every()), "constant"),
        (lambda: policy_gradient(small(), None, beta=1, steps=1, group=1, generator=None), "group must be"),
        (lambda: train_on_groups(small(), sft, every(), None, None, group=1), "group must be"),
        (lambda: descend(small(), lambda i: torch.tensor(np.nan), steps=1), "loss is nan at update 0"),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(InputError, match=words):
        call()
