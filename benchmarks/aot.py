"""AOT's value and gradient at a million samples.

The fair rivals are plain torch, sort, sort, mean, and numpy with the gradient by hand and the places packed
into the lowest bits of what is sorted. The floor is the two sorts alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import ot
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.timing import Rival, Work, only_timed
from distalign.objectives import aot_unpaired
from distalign.preferences import PreferenceLogProbs
from distalign.types import Array

N, BETA = 1_000_000, 0.1


def works() -> Iterator[Work]:
    """Both penalties."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    u, v = torch.from_numpy(rng.normal(0.4, 1, N)), torch.from_numpy(rng.normal(0, 1.5, N))
    zeros = torch.zeros_like(u)

    def gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> float:
        a, b = u.clone().requires_grad_(), v.clone().requires_grad_()
        value = loss(a, b)
        value.backward()
        return value.item()

    def ours(**options) -> float:
        return gradient(lambda a, b: aot_unpaired(PreferenceLogProbs(a, b, zeros, zeros), **options))

    def pot() -> float:
        with warnings.catch_warnings():
            # POT transposes one-dimensional tensors, which torch deprecates.
            warnings.simplefilter("ignore")
            return gradient(lambda a, b: ot.wasserstein_1d(a, b, p=2))

    yield Work(
        "AOT logistic, value and gradient, n = 1e6",
        lambda: ours(beta=BETA),
        [
            Rival(
                "torch: sort, sort, mean of softplus",
                lambda: gradient(
                    lambda a, b: torch.nn.functional.softplus(BETA * (b.sort()[0] - a.sort()[0])).mean()
                ),
            ),
            Rival("numpy, packed places, gradient by hand", lambda: by_hand(u.numpy(), v.numpy())),
            Rival("two torch.sort", lambda: only_timed(u.sort(), v.sort()), "floor"),
            Rival("two numpy.sort", lambda: only_timed(np.sort(u.numpy()), np.sort(v.numpy())), "floor"),
        ],
        goal=1.3,
        same=1e-12,
    )
    yield Work(
        "AOT least squares, value and gradient, n = 1e6",
        lambda: ours(penalty="least_squares", margin=0.0),
        [
            Rival(
                "torch: sort, sort, mean of squares",
                lambda: gradient(lambda a, b: (b.sort()[0] - a.sort()[0]).square().mean()),
            ),
            Rival("POT wasserstein_1d", pot, "popular", repeats=2),
        ],
        goal=1.3,
        same=1e-9,
    )


def by_hand(u: Array, v: Array) -> float:
    """Value and gradient of the logistic penalty; values that agree in 44 bits keep any order."""
    places = [_places(x) for x in (u, v)]
    margin = BETA * (u[places[0]] - v[places[1]])
    e = np.exp(-np.abs(margin))
    slope = np.where(margin > 0, e, 1) / (1 + e) * (-BETA / N)
    gradients = np.empty(N), np.empty(N)
    gradients[0][places[0]], gradients[1][places[1]] = slope, -slope
    return float((np.log1p(e) + np.maximum(-margin, 0)).mean())


def _places(x: Array) -> NDArray[np.int64]:
    keys = x.view(np.int64)
    keys = (keys ^ ((keys >> 63) & 0x7FFFFFFFFFFFFFFF)) & (-1 << 20) | np.arange(N)
    keys.sort()
    return keys & ((1 << 20) - 1)
