"""The expectation of the policy gradient, over all texts that a model can write, against autograd of the
objective; and where self-play and RLHF end.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from distalign import policy_gradient
from distalign.checks import InputError
from distalign.divergences import divergence
from distalign.intervals import mean_interval
from distalign.policy_gradient import against_mixture, estimated_divergence, nlhf, rlhf
from distalign.solvers.choice.games import regularised_nlhf
from distalign.training.data.rows import TokenRow
from distalign.training.model.scorer import Scorer
from tests.bridge.generation.enumerable import (
    END,
    PROMPTS,
    RESPONSES,
    REWARD,
    SHARE,
    causal_model,
    reference,
    win,
)

F = {
    "reverse_kl": lambda u: u * u.log() - u + 1,
    "forward_kl": lambda u: u - 1 - u.log(),
    "jensen_shannon": lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
    "alpha:0.5": lambda u: (u.sqrt() - u / 2 - 0.5) / -0.25,
    "squared_hellinger": lambda u: (u.sqrt() - 1) ** 2,
    "jeffreys": lambda u: (u - 1) * u.log(),
    "chi2_plus_kl": lambda u: (u - 1) ** 2 / 2 + u * u.log() - u + 1,
    "chi2": lambda u: (u - 1) ** 2,
    "total_variation": lambda u: (u - 1).abs() / 2,
}
"""f, written down here once more."""
BETA, STRENGTH = 0.7, 0.4


class Enumerated:
    """A model 0.3 nats from the reference, with the log-probabilities of all its texts to one prompt."""

    def __init__(self, place=4):
        self.model = causal_model(0, towards=1, share=SHARE)
        self.scorer = Scorer(self.model, share_prompt=False)
        self.prompt = PROMPTS[place]
        self.log_ref = torch.from_numpy(reference()[place])
        self.log_prob = self.scored(RESPONSES)
        self.reward, self.win = torch.from_numpy(REWARD), torch.from_numpy(win())

    def scored(self, responses):
        rows = [TokenRow(self.prompt, responses[i : i + 200]) for i in range(0, len(responses), 200)]
        return torch.cat([self.scorer(self.scorer.layout([row])) for row in rows])

    def gradient(self, value):
        parts = torch.autograd.grad(value, list(self.model.parameters()), retain_graph=True)
        return torch.cat([part.flatten() for part in parts])

    @property
    def policy(self):
        return self.log_prob.detach().exp()

    @property
    def log_ratio(self):
        return self.log_prob.detach() - self.log_ref

    def expected(self, advantages, log_prob=None, other=None):
        """Gradient of the estimator's expectation: (1/2) sum_ij w_ij sum_k A_ijk log pi(y_k) over all pairs.

        `other` is the law of the second text where that is not the policy's; then only the first counts.
        """
        n = len(self.policy)
        a = advantages.view(n, n, 2)
        if other is not None:
            on = (self.policy[:, None] * other * a[:, :, 0]).sum(1)
        else:
            w = self.policy[:, None] * self.policy
            on = ((w * a[:, :, 0]).sum(1) + (w * a[:, :, 1]).sum(0)) / 2
        return self.gradient((on * (self.log_prob if log_prob is None else log_prob)).sum())

    def pairs(self, values):
        """(n * n, 2) values of the first and the second text of every pair."""
        n = len(values)
        return torch.stack([values.repeat_interleave(n), values.repeat(n)], 1)

    def margins(self):
        m = torch.zeros(self.win.numel(), 2, 2, dtype=torch.float64)
        m[:, 0, 1] = (self.win - self.win.T).flatten()
        m[:, 1, 0] = -m[:, 0, 1]
        return m


@pytest.fixture(scope="module")
def world():
    return Enumerated()


def distance(found, exact):
    return float((found - exact).norm() / exact.norm())


def exact_rlhf(world, name):
    ratio = (world.log_prob - world.log_ref).exp()
    penalty = (world.log_ref.exp() * F[name](ratio)).sum()
    return world.gradient((world.log_prob.exp() * world.reward).sum() - BETA * penalty)


def exact_nlhf(world):
    p = world.log_prob.exp()
    won = p @ (world.win - world.win.T) @ p.detach()
    return world.gradient(won - STRENGTH * (p * (world.log_prob - world.log_ref)).sum())


def estimated_rlhf(world, name, **how):
    found = rlhf(world.pairs(world.reward), world.pairs(world.log_ratio), beta=BETA, divergence=name)
    return world.expected(found.advantages, **how)


@pytest.mark.parametrize("name", F)
def test_the_expected_gradient_of_rlhf_is_that_of_its_objective(world, name):
    assert float(world.policy.sum()) == pytest.approx(1, abs=1e-12)
    assert distance(estimated_rlhf(world, name), exact_rlhf(world, name)) < 1e-6


def test_the_expected_gradient_of_self_play_is_the_first_players(world):
    found = nlhf(world.margins(), world.pairs(world.log_ratio), strength=STRENGTH)
    assert distance(world.expected(found.advantages), exact_nlhf(world)) < 1e-6


@pytest.mark.parametrize("name", ["reverse_kl", "jensen_shannon"])
def test_a_baseline_that_holds_the_text_itself_is_seen(world, name, monkeypatch):
    monkeypatch.setattr(policy_gradient, "mean_of_others", lambda values: values.mean(1, keepdim=True))
    assert distance(estimated_rlhf(world, name), exact_rlhf(world, name)) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("name", ["forward_kl", "alpha:0.5", "jensen_shannon", "reverse_kl"])
def test_f_in_the_place_of_its_derivative_is_seen(world, name, monkeypatch):
    wrong = replace(divergence(name), link=lambda x: F[name](x.exp()))
    monkeypatch.setattr(policy_gradient, "named", lambda _: wrong)
    assert distance(estimated_rlhf(world, name), exact_rlhf(world, name)) > 0.05


def test_texts_scored_without_their_end_are_seen(world):
    stripped = tuple(y[:-1] if y[-1] == END and len(y) > 1 else y for y in RESPONSES)
    with_it = estimated_rlhf(world, "reverse_kl", log_prob=world.scored(RESPONSES))
    without = estimated_rlhf(world, "reverse_kl", log_prob=world.scored(stripped))
    exact = exact_rlhf(world, "reverse_kl")
    assert distance(with_it, exact) < 1e-6
    assert distance(without, exact) > 0.05


def test_opponents_from_the_reference_are_seen(world):
    """Against the reference the margins are another objective's: that of IPO's optimum."""
    found = nlhf(world.margins(), world.pairs(world.log_ratio), strength=STRENGTH).advantages
    on_policy = world.expected(found, other=world.policy)
    against_reference = world.expected(found, other=world.log_ref.exp())
    assert distance(on_policy, exact_nlhf(world)) < 1e-6
    assert distance(against_reference, exact_nlhf(world)) > 1e-3


def mixed(world_log_prob, log_ref, share):
    """Law of the opponent, and Z."""
    logits = (1 - share) * world_log_prob + share * log_ref
    return logits.softmax(0), float(logits.exp().sum())


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_the_expected_gradient_against_a_mixture_is_z_times_the_first_players(world, share):
    found = nlhf(world.margins(), world.pairs(world.log_ratio), strength=STRENGTH, mixture=share)
    opponent, z = mixed(world.log_prob.detach(), world.log_ref, share)
    p = world.log_prob.exp()
    won = p @ (world.win - world.win.T) @ opponent
    exact = world.gradient(won - STRENGTH * (p * (world.log_prob - world.log_ref)).sum())
    expected = world.expected(found.advantages)
    assert z == pytest.approx(1, abs=1e-6) if share == 1 else z < 0.9999
    assert distance(expected, z * exact) < 1e-6
    if share == 0.5:  # opponents that are the policy, or the reference, in its place
        for wrong in (0.0, 1.0):
            other = nlhf(world.margins(), world.pairs(world.log_ratio), strength=STRENGTH, mixture=wrong)
            assert distance(world.expected(other.advantages), exact) > 1e-3


def table(seed=0, size=7):
    """A law over a few texts, a reference, and users that are not Bradley-Terry."""
    rng = np.random.default_rng(seed)
    logits, log_ref = rng.normal(size=(2, size))
    log_ref -= np.log(np.exp(log_ref).sum())
    p = rng.uniform(0.1, 0.9, (size, size))
    p = np.triu(p, 1) + np.tril(1 - p.T, -1) + np.eye(size) / 2
    return torch.from_numpy(logits).requires_grad_(), torch.from_numpy(log_ref), torch.from_numpy(p)


@pytest.mark.parametrize("k", [2, 3])
def test_any_number_of_texts_gives_the_same_expectation(k):
    """With K = 3 a mean of the others' margins as their baseline would stretch the game's gradient by 3/2."""
    logits, log_ref, p = table()
    log_prob = logits.log_softmax(0)
    drawn = torch.cartesian_prod(*[torch.arange(len(logits))] * k)
    chance = log_prob.detach()[drawn].sum(1).exp()
    ratio = (log_prob.detach() - log_ref)[drawn]
    margins = (p - p.T)[drawn[:, :, None], drawn[:, None, :]]

    def expected(advantages):
        value = (chance[:, None] * advantages * log_prob[drawn]).sum() / k
        return torch.autograd.grad(value, logits, retain_graph=True)[0]

    law = log_prob.exp()
    kl = (law * (log_prob - log_ref)).sum()
    game = law @ (p - p.T) @ law.detach() - STRENGTH * kl
    exact = torch.autograd.grad(game, logits, retain_graph=True)[0]
    assert distance(expected(nlhf(margins, ratio, strength=STRENGTH).advantages), exact) < 1e-10
    won = margins.sum(2) / (k - 1)
    wrong = (
        won - policy_gradient.mean_of_others(won) - STRENGTH * (ratio - policy_gradient.mean_of_others(ratio))
    )
    assert distance(expected(wrong), exact) > 0.05
    reward = torch.linspace(-1, 1, len(logits), dtype=torch.float64)
    exact = torch.autograd.grad((law * reward).sum() - BETA * kl, logits, retain_graph=True)[0]
    found = rlhf(reward[drawn], ratio, beta=BETA)
    assert distance(expected(found.advantages), exact) < 1e-10
    values = [rlhf(reward[y], r, beta=BETA).value for y, r in zip(drawn[:, None], ratio[:, None])]
    exact = float(((law * reward).sum() - BETA * kl).detach())
    assert float(chance @ torch.stack(values)) == pytest.approx(exact)


def test_against_a_mixture_any_number_of_texts_gives_the_same_expectation():
    logits, log_ref, p = table(2)
    log_prob = logits.log_softmax(0)
    opponent, z = mixed(log_prob.detach(), log_ref, 0.4)
    law = log_prob.exp()
    game = law @ (p - p.T) @ opponent - STRENGTH * (law * (log_prob - log_ref)).sum()
    exact = z * torch.autograd.grad(game, logits, retain_graph=True)[0]
    for k in (2, 3):
        drawn = torch.cartesian_prod(*[torch.arange(len(logits))] * k)
        chance = log_prob.detach()[drawn].sum(1).exp()
        margins = (p - p.T)[drawn[:, :, None], drawn[:, None, :]]
        ratio = (log_prob.detach() - log_ref)[drawn]
        found = against_mixture(margins, ratio, strength=STRENGTH, mixture=0.4).advantages
        value = (chance[:, None] * found * log_prob[drawn]).sum() / k
        assert distance(torch.autograd.grad(value, logits, retain_graph=True)[0], exact) < 1e-10


def test_a_preference_for_the_first_place_cancels_in_expectation():
    """Asked once a pair, the earlier text first, it acts as the mean of its answers in both orders."""
    logits, log_ref, p = table(1)
    log_prob = logits.log_softmax(0).detach()
    drawn = torch.cartesian_prod(*[torch.arange(len(logits))] * 3)
    chance = log_prob[drawn].sum(1).exp()
    margins = (p - p.T)[drawn[:, :, None], drawn[:, None, :]]
    first = 0.3 * torch.ones(3, 3, dtype=torch.float64).triu(1)

    def advantages(margins):
        return nlhf(margins, (log_prob - log_ref)[drawn], strength=STRENGTH).advantages

    def expected(a):
        on = torch.zeros_like(log_prob).index_add_(0, drawn.flatten(), (chance[:, None] * a).flatten() / 3)
        return on - on.sum() * log_prob.exp()

    fair, favoured = advantages(margins), advantages(margins + first - first.T)
    assert distance(expected(favoured), expected(fair)) < 1e-12
    assert float((favoured - fair).abs().max()) > 0.1


@pytest.mark.parametrize("name", F)
def test_the_divergence_is_estimated_without_bias(world, name):
    exact = (world.log_ref.exp() * F[name](world.log_ratio.exp())).sum()
    terms = torch.stack([estimated_divergence(x.view(1, 1), name) for x in world.log_ratio])
    assert float(world.policy @ terms) == pytest.approx(float(exact), rel=1e-9)
    assert float(terms.min()) >= -1e-12


def descend(advantages_of, log_ref, *, updates=1500, texts=64, rate=0.05, seed=0):
    """Stochastic ascent of a tabular policy on texts that it draws; the mean law of the last half."""
    rng = np.random.default_rng(seed)
    logits, total = log_ref.clone(), torch.zeros_like(log_ref)
    for t in range(updates):
        log_prob = logits.log_softmax(0)
        law = log_prob.exp().numpy()
        y = torch.from_numpy(rng.choice(len(law), texts, p=law / law.sum()))
        a = advantages_of(y, (log_prob - log_ref)[y][None])[0]
        gradient = torch.zeros_like(logits).index_add_(0, y, a / texts) - a.mean() * log_prob.exp()
        logits = logits + rate * 10 * gradient
        total += (t >= updates // 2) * log_prob.exp()
    return total / total.sum()


def test_self_play_ends_at_the_equilibrium_of_the_solver_and_not_at_the_reply_to_the_reference():
    _, log_ref, p = table(3)
    m = p - p.T
    found = descend(lambda y, ratio: nlhf(m[y][:, y][None], ratio, strength=STRENGTH).advantages, log_ref)
    solved = regularised_nlhf(p.numpy(), log_ref.numpy(), STRENGTH)
    assert solved.certified
    best = torch.from_numpy(solved.policy)
    reply = (log_ref + m @ log_ref.exp() / STRENGTH).softmax(0)
    kl = float((best * (best / found).log()).sum())
    gain = float((m @ found).max())
    assert kl < 2e-3
    assert float((best * (best / reply).log()).sum()) > 10 * kl
    assert gain == pytest.approx(float((m @ best).max()), abs=0.05)


def test_self_play_has_the_game_value_of_the_solver_within_its_interval():
    """What a law wins of the reference, less what it pays for leaving it; 99 % interval over four runs. The
    reply to the reference, where an opponent that stays the reference would lead, lies outside.
    """
    _, log_ref, p = table(3)
    m, ref = p - p.T, log_ref.exp()
    solved = torch.from_numpy(regularised_nlhf(p.numpy(), log_ref.numpy(), STRENGTH).policy)
    reply = (log_ref + m @ ref / STRENGTH).softmax(0)

    def value(law):
        return float(law @ m @ ref - STRENGTH * (law * (law.log() - log_ref)).sum())

    def advantages(y, ratio):
        return nlhf(m[y][:, y][None], ratio, strength=STRENGTH).advantages

    runs = [value(descend(advantages, log_ref, seed=seed)) for seed in range(1, 5)]
    _, low, high = mean_interval(np.array(runs), level=0.99)
    assert low < value(solved) < high < value(reply)
    assert high - low < 1e-3


def fixed_point(p, log_ref, share, strength=STRENGTH):
    """Where Nash-MD ends if its share b stays: at the reply to the equilibrium at strength / (1 - b)."""
    opponent = regularised_nlhf(p.numpy(), log_ref.numpy(), strength / (1 - share))
    assert opponent.certified
    return (log_ref + (p - p.T) @ torch.from_numpy(opponent.policy) / strength).softmax(0)


def kl_between(a, b):
    return float((a * (a / b).log()).sum())


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_the_reply_to_the_mixture_is_a_fixed_point(share):
    """Opponent and policy by plain iteration, damped, without the solver."""
    _, log_ref, p = table(4)
    policy = log_ref
    for _ in range(4000):
        opponent = ((1 - share) * policy + share * log_ref).softmax(0)
        policy = (0.9 * policy + 0.1 * (log_ref + (p - p.T) @ opponent / STRENGTH)).log_softmax(0)
    assert kl_between(policy.exp(), fixed_point(p, log_ref, share)) < 1e-9


def test_against_a_mixture_it_ends_at_the_reply_and_not_at_the_equilibrium():
    _, log_ref, p = table(3)
    m, share = p - p.T, 0.5
    found = descend(
        lambda y, ratio: nlhf(m[y][:, y][None], ratio, strength=STRENGTH, mixture=share).advantages, log_ref
    )
    equilibrium = torch.from_numpy(regularised_nlhf(p.numpy(), log_ref.numpy(), STRENGTH).policy)
    reply_to_reference = (log_ref + m @ log_ref.exp() / STRENGTH).softmax(0)
    end = fixed_point(p, log_ref, share)
    assert kl_between(end, found) < 2e-3
    assert kl_between(end, equilibrium) > 2 * kl_between(end, found)
    assert kl_between(end, reply_to_reference) > 2 * kl_between(end, found)


def test_a_smaller_share_of_the_reference_ends_nearer_to_the_solvers_equilibrium():
    """On the enumerable model; self-play, share 0, is there. 1 is the reply to the reference."""
    log_ref, p = torch.from_numpy(reference()[4]), torch.from_numpy(win())
    equilibrium = torch.from_numpy(regularised_nlhf(p.numpy(), log_ref.numpy(), 0.1).policy)
    ends = [fixed_point(p, log_ref, share, 0.1) for share in (0.0, 0.1, 0.25, 0.5, 0.75)]
    ends.append((log_ref + (p - p.T) @ log_ref.exp() / 0.1).softmax(0))
    far = [kl_between(equilibrium, end) for end in ends]
    assert far[0] < 1e-8
    assert far == sorted(far)
    assert far[-1] > 0.01


def test_rlhf_ends_at_the_tilt_by_the_reward():
    _, log_ref, _ = table(5)
    reward = torch.linspace(0, 1.5, len(log_ref), dtype=torch.float64)
    found = descend(lambda y, ratio: rlhf(reward[y][None], ratio, beta=BETA).advantages, log_ref)
    best = (log_ref + reward / BETA).softmax(0)
    assert float((best * (best / found).log()).sum()) < 2e-3
    assert float((best * (best / log_ref.exp()).log()).sum()) > 0.1


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda z: rlhf(z(2, 1), z(2, 1), beta=1.0), "K of at least 2"),
        (lambda z: rlhf(z(2, 3), z(2, 2), beta=1.0), "reward must have shape"),
        (lambda z: rlhf(z(2, 2), z(2, 2), beta=0.0), "beta must be"),
        (lambda z: rlhf(z(2, 2), z(2, 2), beta=1.0, divergence="kl"), "divergence must be one of"),
        (lambda z: nlhf(z(2, 2), z(2, 2), strength=1.0), "margins must have shape"),
        (lambda z: nlhf(z(2, 2, 2) + 1, z(2, 2), strength=1.0), "antisymmetric"),
        (lambda z: nlhf(z(2, 2, 2), z(2, 2), strength=-1.0), "strength must be"),
        (lambda z: nlhf(z(2, 2, 2), z(2, 2), strength=1.0, mixture=1.5), "mixture must lie in"),
        (lambda z: nlhf(z(2, 2, 2), z(2, 2), strength=1.0, mixture=float("nan")), "mixture must lie in"),
        (lambda z: nlhf(z(2, 2, 2), z(2, 2), strength=1.0, mixture=-0.1), "mixture must lie in"),
    ],
)
def test_bad_input_is_a_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call(torch.zeros)
