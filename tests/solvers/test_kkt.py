"""The stationarity solver against the conic program, its certificate at extremes, and its refusals."""

import numpy as np
import pytest

from distalign import InputError
from distalign.divergences import divergence
from distalign.oracles.regularised import regularised_optimum
from distalign.solvers.kkt import regularised_policy

NAMES = (
    "reverse_kl",
    "forward_kl",
    "alpha:0.3",
    "alpha:0.7",
    "jensen_shannon",
    "squared_hellinger",
    "jeffreys",
    "chi2_plus_kl",
    "chi2",
)


def problems(seed, count, responses):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, responses)), rng.dirichlet(np.ones(responses), count)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beta", [3.0, 1.0, 0.1])
def test_against_the_conic_program(name, beta):
    reward, ref = problems(0, 4, 8)
    best = regularised_policy(reward, ref, beta, name)
    oracle = np.stack([regularised_optimum(r, q, beta, name) for r, q in zip(reward, ref, strict=True)])
    np.testing.assert_allclose(best.policy, oracle, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("beta", [100.0, 1.0, 1e-3])
def test_certificate(name, beta):
    reward, ref = problems(1, 200, 12)
    ref = 0.999 * ref + 0.001 * np.eye(12)[0]
    best = regularised_policy(reward, ref, beta, name)
    assert best.mass_defect.max() < 1e-12
    assert best.stationarity.max() < 1e-12 * max(1, beta)
    if divergence(name).admissible:
        assert np.isfinite(best.log_policy).all()


@pytest.mark.parametrize("name", NAMES)
def test_tiny_references_and_equal_rewards(name):
    ref = np.array([1e-12, 0.3, 0.7 - 1e-12])
    for reward in ([2.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]):
        best = regularised_policy(reward, ref, 0.5, name)
        assert best.mass_defect < 1e-10
        assert best.stationarity < 1e-10
    np.testing.assert_allclose(best.policy, ref, rtol=1e-9)


def test_certificate_sees_another_policy():
    """The number that certifies is not small by construction: a policy for another beta fails it."""
    reward, ref = problems(2, 1, 6)
    best = regularised_policy(reward, ref, 1.0, "reverse_kl")
    defect = 2.0 * best.log_ratio + best.multiplier[:, None] - reward
    assert np.abs(defect).max() > 0.1


def test_leading_axes_are_independent():
    reward, ref = problems(3, 12, 5)
    batch = regularised_policy(reward.reshape(3, 4, 5), ref.reshape(3, 4, 5), 0.4, "jensen_shannon")
    alone = [regularised_policy(r, q, 0.4, "jensen_shannon").policy for r, q in zip(reward, ref, strict=True)]
    np.testing.assert_allclose(batch.policy.reshape(12, 5), alone, atol=1e-12)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"reward": [1.0]}, "reward must be finite and ref"),
        ({"reward": [np.nan, 1.0]}, "reward must be finite"),
        ({"ref": [1.0, 0.0]}, "ref must be positive"),
        ({"ref": [0.5, 0.6]}, "ref must be positive"),
        ({"beta": 0.0}, "beta must be"),
        ({"f": "total_variation"}, "no inverse link"),
        ({"f": "nonsense"}, "divergence must be"),
    ],
)
def test_bad_input(kwargs, message):
    with pytest.raises(InputError, match=message):
        regularised_policy(
            **{"reward": [0.0, 1.0], "ref": [0.5, 0.5], "beta": 1.0, "f": "reverse_kl", **kwargs}
        )


@pytest.mark.parametrize("f", ["reverse_kl", "forward_kl", "jensen_shannon", "chi2"])
def test_strengths_are_a_batch_axis(f):
    rng = np.random.default_rng(5)
    reward, ref, betas = (
        rng.normal(size=(3, 1, 6)),
        rng.dirichlet(np.ones(6)),
        np.array([0.2, 1.0, 5.0, 20.0]),
    )
    together = regularised_policy(reward, ref, betas, f)
    assert together.policy.shape == (3, 4, 6)
    for j, beta in enumerate(betas):
        np.testing.assert_allclose(
            together.policy[:, j], regularised_policy(reward[:, 0], ref, beta, f).policy, atol=1e-12
        )
    with pytest.raises(InputError, match="beta must be"):
        regularised_policy(reward, ref, [1.0, 0.0], f)


def hard_problems(rng):
    """Rows of one batch: references and differences of reward over many orders of size, and ties."""
    responses = int(rng.integers(2, 100))
    reward = rng.normal(size=(20, responses)) * 10 ** rng.uniform(-4, 4, (20, 1))
    reward[::3] = reward[::3].round(-int(np.log10(np.abs(reward[::3]).max())))
    ref = rng.dirichlet(np.full(responses, 10 ** rng.uniform(-2, 1)), 20)
    ref = np.maximum(ref, 10 ** rng.uniform(-250, -2))
    return reward, ref / ref.sum(-1, keepdims=True), 10 ** rng.uniform(-3, 3)


@pytest.mark.parametrize("name", ["reverse_kl", "forward_kl", "jensen_shannon"])
def test_closed_forms_and_secular_equations_agree_with_the_bracket(name, monkeypatch):
    rng = np.random.default_rng(6)
    cases = [hard_problems(rng) for _ in range(40)]
    quick = [regularised_policy(*case, name) for case in cases]
    monkeypatch.setattr("distalign.solvers.kkt._SOLVERS", {})
    for case, best in zip(cases, quick, strict=True):
        slow = regularised_policy(*case, name)
        assert best.mass_defect.max() < 1e-12
        assert np.isfinite(best.log_policy).all()
        np.testing.assert_allclose(best.policy, np.exp(best.log_policy), rtol=1e-9, atol=1e-200)
        # The bracket ends where the mass is 1 up to 1e-13.
        np.testing.assert_allclose(best.policy, slow.policy, rtol=0, atol=1e-11)
        size = case[2] + np.abs(case[0]).max(-1)
        assert (best.stationarity <= 1e-11 * size / case[1].min(-1).clip(1e-3)).all()
        np.testing.assert_allclose(best.multiplier / size, slow.multiplier / size, atol=1e-9)


def test_no_problems_have_no_policies():
    best = regularised_policy(np.zeros((0, 3)), np.full(3, 1 / 3), 1.0, "forward_kl")
    assert best.policy.shape == best.log_policy.shape == (0, 3)
    assert best.stationarity.shape == (0,)


@pytest.mark.parametrize("name", ["forward_kl", "jensen_shannon"])
def test_secular_equation_in_exact_arithmetic(name):
    """Two responses, the equation solved in fractions: no road of ours is trusted."""
    from fractions import Fraction

    reward, ref, beta = [0.75, -0.5], [0.25, 0.75], 0.5
    best = regularised_policy(reward, ref, beta, name)
    u = [Fraction(float(p)) / Fraction(q) for p, q in zip(best.policy, ref, strict=True)]
    links = [1 - 1 / x if name == "forward_kl" else 2 * x / (1 + x) for x in u]
    if name == "forward_kl":
        assert float(links[0] - links[1]) == pytest.approx((0.75 + 0.5) / beta, abs=1e-13)
    else:
        assert np.log(float(links[0] / links[1])) == pytest.approx((0.75 + 0.5) / beta, abs=1e-13)
    assert float(sum(map(Fraction, best.policy.tolist()))) == pytest.approx(1, abs=1e-15)


def test_near_ties_of_tiny_references():
    """By (2), e^-s = w + c over t; the difference of two of them is that of the poles, 1.5e-16 here."""
    ref = np.array([1e-12, 1e-12, 1 - 2e-12])
    best = regularised_policy([0.0, -1.5e-16, -50.0], ref, 1.0, "jensen_shannon")
    inverse = ref[:2] / best.policy[:2]
    assert (inverse[1] - inverse[0]) / (1 + inverse[0]) == pytest.approx(1.5e-16, rel=1e-2)
