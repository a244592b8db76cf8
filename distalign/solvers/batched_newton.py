r"""Newton's method with backtracking on many small convex problems at once.

Each problem takes the step  -H^-1 g  of its own gradient g and Hessian H, no longer than ten times the
distance travelled so far, and halves it until its value falls (Armijo's condition). Problems that are done
leave the batch and stop costing anything.

Source: textbook.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distalign.types import Array

_Rows = NDArray[np.intp]
_Derivatives = tuple[Array, Array, Array]
_Function = Callable[[Array, _Rows], _Derivatives]

_ROUNDS = 100
_HALVINGS = 40
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Minima:
    """The minima of R problems, each with the evidence that it is one.

    Attributes:
        x: (R, d) last points.
        gradient: (R,) Euclidean norm of the gradient there.
        solved: (R,) the gradient is below 1e-8 and the next Newton step below 1e-6 (1 + |x|). A problem whose
            infimum lies at infinity has small gradients but long steps, so it is not solved.
    """

    x: Array
    gradient: Array
    solved: NDArray[np.bool_]


def batched_newton(f: _Function, start: Array) -> Minima:
    """Minimise R convex functions of d variables, each from its own start.

    Args:
        f: a function of points (A, d) and rows (A,), the numbers of the problems asked for. It returns their
            values (A,), gradients (A, d) and positive semidefinite Hessians (A, d, d).
        start: (R, d) starting points.

    Example:
        >>> target = np.array([[1.0], [2.0]])
        >>> def square(x, rows):
        ...     gap = x - target[rows]
        ...     return (gap**2).sum(-1), 2 * gap, np.full((len(x), 1, 1), 2.0)
        >>> batched_newton(square, np.zeros((2, 1))).x.round(12).ravel().tolist()
        [1.0, 2.0]
    """
    x, rows = np.array(start, float), np.arange(len(start))
    norms, lengths = np.full(len(x), np.inf), np.full(len(x), np.inf)
    value, gradient, hessian = f(x, rows)
    for _ in range(_ROUNDS):
        step = _newton_step(x[rows], gradient, hessian)
        norms[rows], lengths[rows] = np.linalg.norm(gradient, axis=-1), np.linalg.norm(step, axis=-1)
        going = norms[rows] > _TOLERANCE
        rows, value, gradient, step = rows[going], value[going], gradient[going], step[going]
        if not len(rows):
            break
        length, found = _descend(f, x[rows], rows, value, 1e-4 * (gradient * step).sum(-1), step)
        x[rows] += length[:, None] * step
        moved = length > 0
        rows, (value, gradient, hessian) = rows[moved], (d[moved] for d in found)
    return Minima(x, norms, (norms < 1e-8) & (lengths < 1e-6 * (1 + np.linalg.norm(x, axis=-1))))


def _newton_step(x: Array, gradient: Array, hessian: Array) -> Array:
    """The Newton step, no longer than ten times the distance travelled so far.

    Along singular directions of the Hessian, where the gradient vanishes too, it does not move.
    """
    ridge = 1e-13 * np.trace(hessian, axis1=-2, axis2=-1)[:, None, None] + 1e-250
    step = -np.linalg.solve(hessian + ridge * np.eye(x.shape[-1]), gradient[..., None])[..., 0]
    longest = np.abs(step).max(-1, keepdims=True)
    return step * np.minimum(
        1, 10 * (1 + np.abs(x).max(-1, keepdims=True)) / np.where(longest > 0, longest, 1)
    )


def _descend(
    f: _Function, x: Array, rows: _Rows, value: Array, slope: Array, step: Array
) -> tuple[Array, _Derivatives]:
    """Halve each step until its value falls; return the lengths, 0 where none did, and f at the new points.

    A slack of the size of rounding lets the last digits of the gradient still improve.
    """
    length, todo = np.ones(len(x)), np.arange(len(x))
    slack = 1e-14 * (1 + np.abs(value))
    found = f(x + step, rows)
    for _ in range(_HALVINGS):
        todo = todo[~(found[0][todo] <= (value + length * slope + slack)[todo])]
        if not len(todo):
            break
        length[todo] /= 2
        shorter = f(x[todo] + length[todo, None] * step[todo], rows[todo])
        for all_rows, some in zip(found, shorter, strict=True):
            all_rows[todo] = some
    length[todo] = 0
    return length, found
