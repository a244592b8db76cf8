"""Every tilt on draws beside its exact population optimum, by plain formulas over all 1,093 responses."""

from functools import partial

import numpy as np
import pytest
import torch

from distalign.bridge import generation as free
from distalign.checks import InputError
from distalign.objectives import dpo, f_dpo, ipo, kldpo
from distalign.preferences import PreferenceLogProbs
from distalign.solvers.choice.games import regularised_gain
from tests.bridge.generation import enumerable
from tests.bridge.generation.enumerable import REWARD, divergence, equilibrium, f_optimum, sample, tilted

UP = 1 / (1 + np.exp(-REWARD))
UTILITY = np.array(enumerable.SHARES) @ enumerable.UTILITIES


def law():
    q = np.exp(enumerable.reference()[0])
    return q / q.sum()


def pairs(i):
    """(R, N, N) win matrices of draws (R, N)."""
    return enumerable.win()[i[:, :, None], i[:, None, :]]


def projection():
    return enumerable.projected(law(), enumerable.win())


SCORES = {
    "rlhf": (lambda q: tilted(q, REWARD), lambda i: free.rlhf(REWARD[i], 1.0)),
    "kldpo": (lambda q: tilted(q, REWARD), lambda i: free.kldpo(REWARD[i], 0.5, 1.0)),
    "kl_ball": (lambda q: enumerable.ball_optimum(q, UTILITY, 0.2), lambda i: free.kl_ball(UTILITY[i], 0.2)),
    "thumbs": (lambda q: q * UP / (q @ UP), lambda i: free.p_plus_thumbs(UP[i])),
    **{
        f: (lambda q, f=f: f_optimum(q, REWARD, 1.0, f), lambda i, f=f: free.f_dpo(REWARD[i], 1.0, f))
        for f in ("forward_kl", "jensen_shannon", "alpha:0.5", "reverse_kl")
    },
}
PAIRS = {
    "p_plus": (lambda q: 2 * q * (enumerable.win() @ q), lambda i: free.p_plus(pairs(i))),
    "ipo": (lambda q: tilted(q, 4 * enumerable.win() @ q), lambda i: free.ipo(pairs(i), 0.25)),
    "dpo, not Bradley-Terry": (
        lambda q: tilted(q, projection()),
        lambda i: free.rlhf(free.bradley_terry_reward(pairs(i)), 1.0),
    ),
    "nlhf, strength": (
        lambda q: equilibrium(q, enumerable.win(), 0.3),
        lambda i: free.nlhf(pairs(i), strength=0.3),
    ),
    "nlhf, ball": (
        lambda q: equilibrium(q, enumerable.win(), 0.3),
        lambda i: free.nlhf(pairs(i), budget=divergence(equilibrium(law(), enumerable.win(), 0.3), law())),
    ),
}


def errors(make, exact, count, replicates):
    """Errors (R, 2) of reward and KL over replicates of so many draws."""
    q = law()
    i = sample(np.log(q)[None].repeat(replicates, 0), count, np.random.default_rng(1))
    tilt = make(i)
    truth = np.array([exact @ REWARD, divergence(exact, q)])
    return np.stack([tilt.mean(REWARD[i]), tilt.kl()], 1) - truth


def assert_converges(make, exact, counts, replicates):
    """The mean error is 0 within four standard errors and O(1/N), and the error falls as N^-1/2."""
    found = {count: errors(make, exact, count, replicates) for count in counts}
    for count, error in found.items():
        allowed = 4 * error.std(0) / np.sqrt(replicates) + 0.5 / count
        assert (np.abs(error.mean(0)) <= allowed).all(), (count, error.mean(0), allowed)
    few, many = (np.sqrt((found[count] ** 2).mean(0)) for count in counts)
    theory = np.sqrt(counts[1] / counts[0])
    moving = few > 1e-6  # the KL of a ball is its budget
    assert moving[0]
    assert (np.abs(np.log(few / many / theory))[moving] < np.log(1.35)).all(), (few, many)


@pytest.mark.parametrize("name", SCORES)
def test_tilts_by_scores_find_the_exact_optimum(name):
    exact, make = SCORES[name]
    assert_converges(make, exact(law()), (64, 1024), 300)


@pytest.mark.parametrize("name", PAIRS)
def test_tilts_by_preferences_find_the_exact_optimum(name):
    exact, make = PAIRS[name]
    assert_converges(make, exact(law()), (32, 128), 200)


def test_the_bias_falls_as_one_over_the_number_of_draws():
    """At beta 0.2 and few draws the bias of the KL is large enough to be seen."""
    exact = tilted(law(), REWARD / 0.2)
    biases = [errors(lambda i: free.rlhf(REWARD[i], 0.2), exact, n, 20_000).mean(0)[1] for n in (8, 32)]
    assert abs(biases[0]) > 0.01
    assert 2.5 < biases[0] / biases[1] < 6.5


def test_entropy_of_the_target():
    q, exact = law(), tilted(law(), REWARD)
    i = sample(np.log(q)[None].repeat(200, 0), 512, np.random.default_rng(2))
    found = free.rlhf(REWARD[i], 1.0).entropy(np.log(q)[i])
    assert abs(found.mean() + exact @ np.log(exact)) < 4 * found.std() / np.sqrt(200) + 0.002


SCORED = np.array([0.0, 0.4, 1.5, 3.0])
BRADLEY_TERRY = 1 / (1 + np.exp(SCORED[None, :] - SCORED[:, None]))
INTRANSITIVE = np.array(
    [[0.5, 0.9, 0.2, 0.6], [0.1, 0.5, 0.8, 0.7], [0.8, 0.2, 0.5, 0.9], [0.4, 0.3, 0.1, 0.5]]
)


def minimiser(loss, win):
    """(1, K) log-policy that minimises an objective of the package on all ordered pairs, by L-BFGS."""
    n = len(win)
    chosen, rejected = (torch.tensor(k) for k in np.nonzero(~np.eye(n, dtype=bool)))
    weights = torch.tensor(win[chosen, rejected])
    theta = torch.zeros(n, dtype=torch.float64, requires_grad=True)
    ref = torch.full((n,), -np.log(n), dtype=torch.float64)
    solver = torch.optim.LBFGS(
        [theta], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, history_size=20
    )

    def closure():
        solver.zero_grad()
        p = torch.log_softmax(theta, 0)
        batch = PreferenceLogProbs(p[chosen], p[rejected], ref[chosen], ref[rejected], weights)
        value = loss(batch)
        value.backward()
        return value

    for _ in range(5):
        solver.step(closure)
    return torch.log_softmax(theta, 0).detach().numpy()[None]


@pytest.mark.parametrize(
    ("loss", "tilt", "win"),
    [
        (partial(dpo, beta=1.0), lambda w: free.rlhf(SCORED[None], 1.0), BRADLEY_TERRY),
        (partial(dpo, beta=1.0), lambda w: free.rlhf(free.bradley_terry_reward(w), 1.0), INTRANSITIVE),
        (
            partial(f_dpo, beta=1.0, divergence="jensen_shannon"),
            lambda w: free.f_dpo(free.bradley_terry_reward(w), 1.0, "jensen_shannon"),
            INTRANSITIVE,
        ),
        (
            partial(kldpo, beta=1.0, temperature=0.5),
            lambda w: free.kldpo(SCORED[None], 1.0, 0.5),
            BRADLEY_TERRY,
        ),
        (partial(ipo, beta=0.5), lambda w: free.ipo(w, 0.5), BRADLEY_TERRY),
        (partial(ipo, beta=0.5), lambda w: free.ipo(w, 0.5), INTRANSITIVE),
    ],
)
def test_objectives_of_the_package_end_at_their_tilt(loss, tilt, win):
    np.testing.assert_allclose(minimiser(loss, win), tilt(win[None]).log_weights, atol=1e-5)


def test_ipo_is_no_tilt_by_the_bradley_terry_reward():
    """Even where Bradley-Terry is true no beta makes it one: its log-ratios are no multiple of the reward."""
    found = minimiser(partial(ipo, beta=0.5), BRADLEY_TERRY)[0]
    slopes = np.diff(found) / np.diff(SCORED)
    assert slopes.max() / slopes.min() > 1.15


def test_opponent_reference_is_not_the_equilibrium():
    """The planted defect, the reply to the reference, fails the certificate that the equilibrium passes."""
    q, win = law(), enumerable.win()
    i = sample(np.log(q)[None], 256, np.random.default_rng(3))
    even, p = np.full(256, -np.log(256)), pairs(i)
    right, defect = free.nlhf(p, strength=0.1), free.ipo(p, 0.05)
    assert regularised_gain(p[0], right.log_weights[0], even, 0.1) < 1e-9
    assert regularised_gain(p[0], defect.log_weights[0], even, 0.1) > 1e-3
    exact, reply = equilibrium(q, win, 0.1), tilted(q, (win - win.T) @ q / 0.1)
    assert divergence(exact, reply) > 0.02


def test_predictions_that_the_draws_do_not_carry_are_refused():
    q = law()
    i = sample(np.log(q)[None].repeat(2, 0), 1024, np.random.default_rng(4))
    assert free.rlhf(REWARD[i], 1.0).require().refusals() == ()
    # Jensen-Shannon puts nearly all mass on the best text where beta is below the spread of a reward
    steep = free.f_dpo(free.bradley_terry_reward(pairs(i)), 0.5, "jensen_shannon")
    assert len(steep.refusals()) == 3
    with pytest.raises(InputError, match=r"effective sample size of .* draw more texts"):
        steep.require()
    weights = np.full((1, 64), (1 - 0.11) / 63)
    weights[0, 0] = 0.11
    assert any("carries a weight of 0.110" in text for text in free.Tilt("t", np.log(weights)).refusals())
    far = np.where(np.arange(1024) < 40, 0.0, -np.inf)[None]
    assert free.Tilt("40 of 1,024", far - np.log(40)).refusals() == ()
    far = np.where(np.arange(1024) < 15, 0.0, -np.inf)[None]
    assert "asks for a KL of 4.223" in free.Tilt("15 of 1,024", far - np.log(15)).refusals()[1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: free.rlhf([[1.0, 1.0]], 1.0), "reward is the same for all draws of prompt 0"),
        (lambda: free.rlhf([[1.0, np.nan]], 1.0), "reward must be finite"),
        (lambda: free.rlhf([[1.0, 0.0]], 0.0), "beta must be"),
        (lambda: free.kldpo([[1.0, 0.0]], 1.0, 0.0), "temperature must be"),
        (lambda: free.kl_ball([[2.0, 2.0]], 1.0), "utility is the same"),
        (lambda: free.kl_ball([[2.0, 1.0]], -1.0), "budget must be"),
        (lambda: free.p_plus_thumbs([[0.0, 0.0]]), "up must hold probabilities"),
        (lambda: free.p_plus_thumbs([[0.5, 1.5]]), "up must hold probabilities"),
        (lambda: free.nlhf([[[0.5, 1], [0, 0.5]]]), "exactly one of strength and budget"),
        (lambda: free.p_plus([[[0.5, 1], [1, 0.5]]]), "win"),
        (lambda: free.win_matrix([[[0.0, 1.0]]], [1.0], [-1.0]), "sharpness"),
        (lambda: free.rlhf([[1.0, 0.0]], 1.0).mean([1.0]), "values must be"),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_win_matrix_is_that_of_the_users():
    given = free.win_matrix(enumerable.UTILITIES[:, None, :40], enumerable.SHARES, enumerable.SHARPNESS)
    np.testing.assert_allclose(given[0], enumerable.win()[:40, :40], atol=1e-12)
