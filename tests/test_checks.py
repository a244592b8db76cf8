"""Checks of arguments that several rooms share."""

import numpy as np
import pytest

from distalign.checks import InputError, laws, moderate, reals


def test_a_batch_of_none_is_a_batch_and_a_row_of_none_is_not():
    assert reals("x", np.zeros((0, 3)), "(..., m)", "").shape == (0, 3)
    assert laws("p", np.zeros((0, 3)), "(..., m)").shape == (0, 3)
    moderate("x", np.zeros((0, 3)), "")
    for shape, wanted in (((3, 0), "(..., m)"), ((0,), "(n,)"), ((0, 3), "(n, m)")):
        with pytest.raises(InputError, match="with entries"):
            reals("x", np.zeros(shape), wanted, "")
