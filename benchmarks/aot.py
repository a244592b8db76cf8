"""AOT's value and gradient at a million samples.

The logistic penalty is timed against the two sorts that it cannot do without, least squares against POT's
one-dimensional solver.
"""

import warnings
from functools import partial

import numpy as np
import ot
import torch

from benchmarks.timing import duel
from distalign.objectives import aot_unpaired
from distalign.preferences import PreferenceLogProbs

N = 1_000_000


def duels():
    """Both lines of the table."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    u, v = torch.from_numpy(rng.normal(0.4, 1, N)), torch.from_numpy(rng.normal(0, 1.5, N))
    zeros = torch.zeros_like(u)

    def theirs():
        a, b = u.clone().requires_grad_(), v.clone().requires_grad_()
        with warnings.catch_warnings():
            # POT transposes one-dimensional tensors, which torch deprecates.
            warnings.simplefilter("ignore")
            value = ot.wasserstein_1d(a, b, p=2)
        value.backward()
        return value.item()

    def gradient(loss):
        a, b = u.clone().requires_grad_(), v.clone().requires_grad_()
        value = loss(PreferenceLogProbs(a, b, zeros, zeros))
        value.backward()
        return value.item()

    logistic = partial(aot_unpaired, beta=0.1)
    square = partial(aot_unpaired, penalty="least_squares", margin=0.0)
    yield duel(
        "AOT logistic, value and gradient, n = 1e6",
        lambda: gradient(logistic),
        "two torch.sort",
        lambda: (u.sort(), v.sort()),
        lambda: 0.0,
        at_most=1.5,
    )
    yield duel(
        "AOT least squares, value and gradient, n = 1e6",
        lambda: gradient(square),
        "POT wasserstein_1d, value and gradient",
        theirs,
        lambda: abs(gradient(square) - theirs()),
        at_least=10,
        repeats=3,
        their_repeats=2,
    )
