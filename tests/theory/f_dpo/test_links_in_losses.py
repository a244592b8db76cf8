"""Which losses may take another divergence (docs/choosing.md): by two roads on small tables."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from distalign.divergences import divergence
from distalign.solvers.kkt import regularised_policy

REFERENCE = np.array([0.5, 0.3, 0.2])
WIN = np.array([[0.5, 0.7, 0.6], [0.3, 0.5, 0.8], [0.4, 0.2, 0.5]])  # no Bradley-Terry reward explains it
PAIRS = [(x, y) for x in range(3) for y in range(3) if x != y]
LOSSES = {
    "dpo": torch.nn.functional.softplus,
    "cdpo": lambda t: 0.9 * torch.nn.functional.softplus(t) + 0.1 * torch.nn.functional.softplus(-t),
    "ipo": lambda t: (t + 0.5) ** 2,
}


def least(loss, size, of):
    """The minimiser of the mean loss of minus the reward difference, over what `of` maps to rewards."""

    def value(z):
        z = torch.tensor(z, requires_grad=True)
        r = of(z)
        total = sum(WIN[x, y] * loss(r[y] - r[x]) for x, y in PAIRS)
        return total.item(), torch.autograd.grad(total, z)[0].numpy()

    return minimize(value, np.zeros(size), jac=True, method="BFGS", options={"gtol": 1e-11}).x


@pytest.mark.parametrize("name", ["reverse_kl", "forward_kl", "jensen_shannon", "jeffreys"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_of_reward_differences_ends_at_the_regularised_optimum_of_its_own_reward(loss, name):
    beta, f = 0.7, divergence(name)
    reward = least(LOSSES[loss], 3, lambda z: z)
    log_reference = torch.tensor(REFERENCE).log()
    logits = least(
        LOSSES[loss],
        3,
        lambda z: beta * f.continued_link(torch.log_softmax(log_reference + z, 0) - log_reference),
    )
    trained = torch.softmax(log_reference + torch.tensor(logits), 0).numpy()
    optimum = regularised_policy(reward, REFERENCE, beta, f)
    np.testing.assert_allclose(trained, optimum.policy, atol=2e-7)


def test_the_mean_implicit_reward_is_the_divergence_for_the_reverse_kl_only():
    policy = np.array([0.2, 0.2, 0.6])
    ratio = policy / REFERENCE
    for name in ("reverse_kl", "forward_kl", "jensen_shannon", "jeffreys"):
        f = divergence(name)
        at_one = f.link(np.zeros(1))[0]  # rewards are known up to a constant: 0 for the reference
        mean = policy @ (f.link(np.log(ratio)) - at_one)
        assert (abs(mean - REFERENCE @ f.f(ratio)) < 1e-9) == (name == "reverse_kl")


def test_an_increasing_link_keeps_first_order_dominance_and_not_that_of_margins():
    rng = np.random.default_rng(0)
    changed = 0
    for _ in range(200):
        u, v, a, b = np.sort(rng.normal(size=(4, 5)))
        u, v = np.sort(u), np.sort(v)
        for name in ("forward_kl", "jensen_shannon"):
            g = divergence(name).continued_link

            def link(x, g=g):
                return g(torch.tensor(x)).numpy()

            assert (u >= v).all() == (link(u) >= link(v)).all()
            margins, reference = np.sort(u - rng.permutation(v)), np.sort(a - b)
            moved = np.sort(link(u) - link(v))
            changed += (margins >= reference).all() != (moved >= np.sort(link(a) - link(b))).all()
    assert changed > 0
