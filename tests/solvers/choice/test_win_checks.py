"""The check of a win matrix, tile by tile: what is wrong in one entry is seen wherever the entry is."""

import numpy as np
import pytest

from distalign.checks import InputError
from distalign.solvers.choice import borda_scores
from distalign.solvers.choice.certified import checked_game, checked_win

SIZE = 600  # three rows of tiles, the last of them narrower
PLACES = [(0, 1), (599, 0), (300, 299), (10, 590), (598, 599), (256, 255), (255, 512)]


def game():
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, (SIZE, SIZE))
    return 0.5 + (noise - noise.T) / 2


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("change", "match"),
    [(np.nan, "got nan at"), (np.inf, "got inf at"), (-np.inf, "got -inf at"), (2e-9, r"win \+ win.T == 1")],
)
def test_one_wrong_entry_is_refused(place, change, match):
    win = game()
    win[place] += change
    for read in (checked_win, lambda win: borda_scores(win, np.full(SIZE, 1 / SIZE))):
        with pytest.raises(InputError, match=match):
            read(win)


@pytest.mark.parametrize("place", PLACES)
def test_a_pair_outside_the_unit_interval_is_refused(place):
    win = game()
    for high, low in ((1 + 1e-12, -1e-12), (1 - 5e-10, -1e-300), (1.25, -0.25)):
        win[place], win[place[::-1]] = high, low
        with pytest.raises(InputError, match="probabilities"):
            checked_win(win)


@pytest.mark.parametrize("place", PLACES)
def test_the_largest_margin_is_found_and_rounding_is_allowed(place):
    win = game()
    win[place], win[place[::-1]] = 0.99, 0.01 + 9e-10
    assert checked_game(win)[1] == pytest.approx(0.98, abs=2e-9)
    assert checked_game(np.full((SIZE, SIZE), 0.5))[1] == 0


@pytest.mark.parametrize(
    "win",
    [np.full((2, 2), 0.5, np.float32), [[0.5, 1], [0, 0.5]], np.full((2, 2), 0.5, order="F")],
)
def test_other_kinds_of_numbers_are_read_as_doubles(win):
    assert checked_win(win).dtype == np.float64


@pytest.mark.parametrize(
    "win", [[], [[]], np.full(4, 0.5), np.full((2, 3), 0.5), np.full((1, 2, 2), 0.5), "win"]
)
def test_what_is_no_square_matrix_is_refused(win):
    with pytest.raises(InputError, match="win must be"):
        checked_win(win)
