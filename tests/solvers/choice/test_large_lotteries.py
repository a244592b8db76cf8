"""Maximal lotteries of more than 500 alternatives, for which only a part of the matrix is read."""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.populations import BradleyTerryUsers
from distalign.solvers.choice import games
from distalign.solvers.choice.games import maximal_lottery

SIZE = 640


def win(kind, rng):
    if kind == "users":
        return BradleyTerryUsers(rng.random((32, SIZE)), np.full(32, 1 / 32), 10.0).win
    margins = np.tanh(rng.standard_normal((SIZE, SIZE)))
    if kind == "integers":  # many equal margins: the solution need not be unique
        margins = rng.integers(-2, 3, (SIZE, SIZE)).astype(float)
    if kind == "nearly a tie":
        margins *= 1e-5
    margins = (margins - margins.T) / np.abs(margins - margins.T).max()
    if kind == "nearly a tie":
        margins *= 1e-6
    if kind == "hidden winner":  # beats everybody by a little, and has the lowest sampled score
        margins[7], margins[:, 7] = 1e-4, -1e-4
        margins[7, :: SIZE // 64], margins[:: SIZE // 64, 7] = 1e-6, -1e-6
        margins[7, 7] = 0
    if kind == "clones":
        margins[1::2], margins[:, 1::2] = margins[::2], margins[:, ::2]
    if kind == "small cycle":
        cycle = np.array([[0, 1, -0.5], [-1, 0, 1], [0.5, -1, 0]])
        margins *= 0.1
        margins[100:103], margins[:, 100:103] = 0.5, -0.5
        margins[100:103, 100:103] = cycle
    return (1 + margins) / 2


@pytest.mark.parametrize(
    "kind",
    ["users", "dense", "integers", "nearly a tie", "hidden winner", "clones", "small cycle"],
)
def test_agrees_with_the_road_that_reads_everything(kind, monkeypatch):
    p = win(kind, np.random.default_rng(0))
    quick = maximal_lottery(p)
    gains = (p - p.T) @ quick.policy  # all margins, by the definition
    assert quick.certified
    assert gains.max() <= quick.tolerance + 1e-15
    assert quick.certificate == pytest.approx(gains.max(), abs=1e-15)
    assert quick.policy.sum() == pytest.approx(1, abs=1e-14)
    monkeypatch.setattr(games, "_LARGE", np.inf)
    slow = maximal_lottery(p)
    assert slow.certified
    if kind not in ("integers", "clones"):
        np.testing.assert_allclose(quick.policy, slow.policy, atol=1e-9)


def test_what_the_answer_rests_on_is_checked():
    p = win("small cycle", np.random.default_rng(0))
    assert np.flatnonzero(maximal_lottery(p).policy).tolist() == [100, 101, 102]
    for place, value in {
        (101, 33): np.nan,
        (33, 101): np.nan,
        (102, 400): 0.9,
        (400, 102): np.inf,
        (100, 100): 0.6,
        (5 * SIZE // 64, 3): -0.1,
    }.items():
        wrong = p.copy()
        wrong[place] = value
        with pytest.raises(InputError, match="win must"):
            maximal_lottery(wrong)
    for wrong in (p - p.T, 100 * p, p[:, :-1], p + 1e-8):
        with pytest.raises(InputError, match="win must"):
            maximal_lottery(wrong)


def test_what_the_answer_does_not_rest_on_is_not_read():
    """The lottery of P - P' is the same whatever two alternatives outside its support do to each other."""
    p = win("small cycle", np.random.default_rng(0))
    wrong = p.copy()
    wrong[33, 44] = np.nan
    np.testing.assert_array_equal(maximal_lottery(wrong).policy, maximal_lottery(p).policy)
