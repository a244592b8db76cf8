"""The table of f-divergences against sixty digits, its inverses, its limits and its names."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from distalign import divergences as d
from distalign.checks import InputError

mp.mp.dps = 60
A = mp.mpf("0.3")
# f written with f(1) = 0; f'(1) = 0 is what the table adds by a multiple of u - 1
GENERATORS = {
    "reverse_kl": lambda u: u * mp.log(u),
    "forward_kl": lambda u: -mp.log(u),
    "alpha:0.3": lambda u: (u ** (1 - A) - (1 - A) * u - A) / (A * (A - 1)),
    "jensen_shannon": lambda u: u * mp.log(u) - (u + 1) * mp.log((u + 1) / 2),
    "squared_hellinger": lambda u: (mp.sqrt(u) - 1) ** 2,
    "jeffreys": lambda u: (u - 1) * mp.log(u),
    "chi2_plus_kl": lambda u: (u - 1) ** 2 / 2 + u * mp.log(u),
    "chi2": lambda u: (u - 1) ** 2,
}
ADMISSIBLE = [name for name in GENERATORS if name != "chi2"]
LOG_RATIOS = [-30.0, -2.0, -1e-3, 0.0, 0.5, 3.0, 20.0]


def generator(name):
    f, slope = GENERATORS[name], mp.diff(GENERATORS[name], 1)
    return lambda u: f(u) - slope * (u - 1)


@pytest.mark.parametrize("name", GENERATORS)
def test_f_its_slope_and_its_curvature(name):
    f, entry = generator(name), d.divergence(name)
    for x in LOG_RATIOS:
        u = mp.exp(x)
        derivative = mp.diff(f, u, h=u * mp.mpf("1e-20"))
        assert float(entry.f(math.exp(x))) == pytest.approx(float(f(u)), rel=1e-9, abs=1e-15)
        assert float(entry.link(x)) == pytest.approx(float(derivative), rel=1e-9, abs=1e-15)
        assert float(entry.weight(x)) == pytest.approx(
            float(u * mp.diff(f, u, 2, h=u * mp.mpf("1e-20"))), rel=1e-9
        )
    assert entry.curvature == pytest.approx(float(mp.diff(f, 1, 2)))
    assert float(entry.weight(0.0)) == pytest.approx(entry.curvature)


@pytest.mark.parametrize("name", GENERATORS)
def test_ends_of_the_slope(name):
    entry = d.divergence(name)
    low, high = (float(entry.link(x)) for x in (-600.0, 600.0))
    assert low == entry.link_at_zero if math.isfinite(entry.link_at_zero) else low < -500
    assert high == pytest.approx(entry.link_supremum) if math.isfinite(entry.link_supremum) else high > 500
    assert entry.admissible == (entry.link_at_zero == -math.inf)


@pytest.mark.parametrize("name", GENERATORS)
def test_f_at_zero_is_a_limit_and_never_nan(name):
    entry = d.divergence(name)
    values = entry.f(np.array([0.0, 1e-12, 1.0, 5.0]))
    assert values[2] == 0
    assert (values >= 0).all()
    assert values[0] == pytest.approx(values[1], rel=1e-3) or (values[0] == math.inf and values[1] > 20)


@pytest.mark.parametrize("name", GENERATORS)
def test_inverse_link(name):
    entry = d.divergence(name)
    x = np.linspace(-12, 12, 49)
    np.testing.assert_allclose(entry.inverse_link(entry.link(x)), x, atol=1e-8)
    below, above = entry.inverse_link(np.array([-1e6, 1e6]))
    assert below < -13
    assert above == math.inf if math.isfinite(entry.link_supremum) else above > 13
    assert np.isfinite(entry.inverse_link(np.array([-700.0, 0.0]))).all() == entry.admissible


@pytest.mark.parametrize(
    ("name", "equation"),
    [("jeffreys", lambda x: x + 1 - mp.exp(-x)), ("chi2_plus_kl", lambda x: x + mp.exp(x) - 1)],
)
def test_lambert_inverses_neither_overflow_nor_lose_digits(name, equation):
    """Rewards of a million units over beta: e^1000 never appears, nor the difference of two large numbers."""
    for s in (-1e6, -1000.0, -3.0, -0.1, 2.0, 1000.0, 1e6):
        x = float(d.divergence(name).inverse_link(s))
        root = float(mp.findroot(lambda y, s=s: equation(y) - s, x))
        assert x == pytest.approx(root, rel=4e-16 + 1e-14 * (abs(root) < 1))


@pytest.mark.parametrize("name", [*ADMISSIBLE, "alpha:0.9"])
def test_torch_link_is_numpy_link_and_has_a_gradient(name):
    entry = d.divergence(name)
    x = torch.linspace(-15, 15, 31, dtype=torch.float64, requires_grad=True)
    np.testing.assert_allclose(entry.link(x).detach().numpy(), entry.link(x.detach().numpy()), rtol=1e-14)
    slope = torch.autograd.grad(entry.continued_link(x).sum(), x)[0]
    np.testing.assert_allclose(slope.numpy(), entry.weight(x.detach().numpy()), rtol=1e-9)
    assert gradcheck(
        entry.continued_link, torch.tensor([-0.5, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    )


def test_continuation_leaves_gradients_inside_untouched_in_float32():
    """A slope of e^20 that cancels between two branches would leave errors of tens."""
    x = torch.tensor([-3.0, 0.0, 3.0], requires_grad=True)
    for entry in (d.FORWARD_KL, d.JEFFREYS, d.CHI2_PLUS_KL, d.alpha(0.3)):
        slope = torch.autograd.grad(entry.continued_link(x).sum(), x)[0]
        np.testing.assert_allclose(slope.numpy(), entry.weight(x.detach().numpy()), rtol=1e-6)


def test_alpha_is_the_papers_convention_with_both_limits():
    x = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(d.alpha(1e-8).link(x), d.REVERSE_KL.link(x), atol=1e-7)
    np.testing.assert_allclose(d.alpha(1 - 1e-8).link(x), d.FORWARD_KL.link(x), atol=1e-5)
    np.testing.assert_allclose(2 * d.SQUARED_HELLINGER.link(x), d.alpha(0.5).link(x))
    for a in (0.1, 0.5, 0.9):
        np.testing.assert_allclose(d.alpha(a).link(x), (1 - np.exp(-a * x)) / a)
        c = 1 - a  # TRL: f'(t) = (t^(c-1) - 1) / (c-1)
        np.testing.assert_allclose(d.alpha_from_trl(c).link(x), (np.exp((c - 1) * x) - 1) / (c - 1))
    assert not np.allclose(d.alpha_from_trl(0.3).link(x), d.alpha(0.3).link(x))
    assert np.allclose(d.alpha_from_trl(0.5).link(x), d.alpha(0.5).link(x))


def test_jensen_shannon_is_twice_the_usual_one():
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])
    middle = (p + q) / 2
    usual = ((p * np.log(p / middle)).sum() + (q * np.log(q / middle)).sum()) / 2
    assert (q * d.JENSEN_SHANNON.f(p / q)).sum() == pytest.approx(2 * usual)


def test_names():
    for name in d.NAMES:
        found = d.divergence(name.replace("<a>", "0.25"))
        assert found.name == name.replace("<a>", "0.25")
        assert d.divergence(found) is found
    assert d.divergence("alpha:0").name == "reverse_kl"
    for wrong, message in (
        ("kl", "divergence must be one of 'alpha:<a>', 'reverse_kl'"),
        ("alpha", "must be one of"),
        ("alpha:x", "divergence 'alpha:x' must read"),
        ("alpha:1.5", "divergence 'alpha:1.5' must read"),
    ):
        with pytest.raises(InputError, match=message):
            d.divergence(wrong)
    with pytest.raises(InputError, match=r"alpha must lie strictly between 0 and 1, got -0\.5"):
        d.alpha(-0.5)
    with pytest.raises(InputError, match=r"coefficient must lie in \[0, 1\]"):
        d.alpha_from_trl(1.2)


def test_total_variation_is_kept_for_its_value_only():
    np.testing.assert_allclose(d.TOTAL_VARIATION.f([0.0, 1.0, 3.0]), [0.5, 0, 1])
    assert not d.TOTAL_VARIATION.admissible
    with pytest.raises(InputError, match="total_variation has no inverse link"):
        d.TOTAL_VARIATION.inverse_link(0.1)
