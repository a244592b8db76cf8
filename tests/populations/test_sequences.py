"""Enumerated sequences: normalised, projected and sampled as they say, and their scores against autograd."""

import numpy as np
import pytest
import torch
from against_exact_law import assert_drawn_from

from distalign.checks import InputError
from distalign.populations.sequences import Sequences, markov_labels

SPACE = Sequences(3, 4)


def logits(seed=0):
    return np.random.default_rng(seed).normal(size=SPACE.pieces.shape[1])


def test_log_probs_are_products_of_conditionals_token_by_token():
    blocks = torch.from_numpy(logits()).reshape(-1, 3).log_softmax(-1)
    for row in (0, 5, 80):
        y = SPACE.tokens[row]
        by_hand = blocks[0, y[0]] + sum(blocks[1 + (i - 1) * 3 + y[i - 1], y[i]] for i in range(1, 4))
        assert SPACE.log_probs(torch.from_numpy(logits()))[row].item() == pytest.approx(
            by_hand.item(), abs=1e-12
        )
        assert SPACE.log_probs(torch.from_numpy(logits()), np.array([row])).item() == pytest.approx(
            by_hand.item(), abs=1e-12
        )


def test_a_markov_law_is_its_own_projection_and_a_mixture_is_not():
    p, q = (SPACE.log_probs(torch.from_numpy(logits(i))).exp().numpy() for i in (0, 1))

    def back(law):
        return SPACE.log_probs(torch.from_numpy(SPACE.project(law))).exp().numpy()

    np.testing.assert_allclose(back(p), p, atol=1e-12)
    mixture = (p + q) / 2
    assert np.abs(back(mixture) - mixture).max() > 1e-3


def test_a_projection_minimises_the_divergence():
    law = np.random.default_rng(3).dirichlet(np.ones(81))
    point = torch.from_numpy(SPACE.project(law)).requires_grad_()
    gradient = torch.autograd.grad(-(torch.from_numpy(law) * SPACE.log_probs(point)).sum(), point)[0]
    assert gradient.abs().max() < 1e-12


def test_a_block_never_reached_is_uniform():
    law = np.zeros(81)
    law[0] = 1.0
    blocks = SPACE.project(law).reshape(-1, 3)
    assert blocks[0, 0] == 0
    np.testing.assert_allclose(blocks[3], -np.log(3))  # previous token 2 has no mass


def test_scores_are_the_jacobian():
    point = logits(4)
    jacobian = torch.func.jacrev(SPACE.log_probs)(torch.from_numpy(point)).numpy()
    np.testing.assert_allclose(SPACE.scores(point), jacobian, atol=1e-12)


def test_labels_are_drawn_from_their_law_and_the_reference_is_the_mixture():
    truth = markov_labels(SPACE, np.random.default_rng(5), difference=0.4, prior=0.3)
    assert truth.prior == pytest.approx(0.3, abs=1e-12)
    np.testing.assert_allclose(0.3 * truth.preferred + 0.7 * truth.dispreferred, truth.reference, atol=1e-15)
    sample = truth.sample(5000, np.random.default_rng(6), replicates=20)
    law = truth.law()
    both = np.concatenate([law.weights, law.rejected_weights])
    drawn = np.concatenate([sample.weights, sample.rejected_weights], axis=1)
    assert_drawn_from(drawn, both)
    with pytest.raises(AssertionError):
        assert_drawn_from(drawn, np.roll(both, 1))


@pytest.mark.parametrize(("vocabulary", "length"), [(1, 3), (4, 0), (10, 6)])
def test_bad_sizes_are_refused(vocabulary, length):
    with pytest.raises(InputError, match=r"vocabulary|length"):
        Sequences(vocabulary, length)


def test_bad_prior_is_refused():
    with pytest.raises(InputError, match="prior"):
        markov_labels(SPACE, np.random.default_rng(0), difference=0.1, prior=1.0)
