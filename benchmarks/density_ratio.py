"""A rate study of density-ratio alignment: 1,000 replicates of 14 sizes with RDRO and DDRO, all fits at once.

The fair rival is Newton's method on all data sets at once in plain numpy, written for these two losses alone.
One by one it is timed on some data sets. All are data sets in which every response was chosen and rejected
and DDRO's wall is far, because elsewhere no finite minimiser exists.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.timing import Rival, Work
from distalign.populations import Thumbs
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.types import Array

RESPONSES, REPLICATES = 12, 1000
SIZES = 2 ** np.arange(6, 20)


def rdro_slopes(u: Array, up: Array, down: Array, t: float) -> tuple[Array, Array]:
    """First and second derivatives of RDRO's loss in the log-ratio u."""
    s = 1 / (1 + np.exp(-u))
    m = ((1 + t) * up + (1 - t) * down) * s
    return m - up, m * (1 - s)


def ddro_slopes(u: Array, up: Array, down: Array, t: float) -> tuple[Array, Array]:
    """First and second derivatives of DDRO's loss in the log-ratio u."""
    rho = t * np.exp(u)
    odds = rho / (1 - rho)
    return (1 - t) * down * odds - t * up, (1 - t) * down * odds / (1 - rho)


def newton(slopes, up: Array, down: Array, ref: Array, t: float) -> Array:
    """(..., K) stationary policies by Newton's method; finished data sets rest.

    A step is at most half a nat, and at most nine tenths of the way to DDRO's wall at t e^u = 1.
    """
    lead, size = up.shape[:-1], up.shape[-1]
    up, down = up.reshape(-1, size), down.reshape(-1, size)
    u, live = np.zeros(up.shape), np.arange(len(up))
    for _ in range(100):
        x = u[live]
        pi = ref * np.exp(x)
        first, second = slopes(x, up[live], down[live], t)
        total = first.sum(-1, keepdims=True)
        gradient = first - pi * total
        going = np.abs(gradient).max(-1) >= 1e-13
        live, x, pi, second, total, gradient = (a[going] for a in (live, x, pi, second, total, gradient))
        if not len(live):
            break
        cross = pi[:, :, None] * second[:, None]
        scale = (second.sum(-1) + 2 * total[:, 0])[:, None, None]
        hessian = pi[:, :, None] * pi[:, None] * scale - cross - cross.swapaxes(1, 2) + 1.0  # + 1: the gauge
        diagonal = np.arange(size)
        hessian[:, diagonal, diagonal] += second - pi * total
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        room = np.where(step < 0, 0.9 * (-np.log(t) - x) / np.maximum(-step, 1e-300), np.inf)
        room = np.inf if slopes is rdro_slopes else room.min(-1, keepdims=True)
        x = x - step * np.minimum(room, np.minimum(1, 0.5 / np.abs(step).max(-1, keepdims=True)))
        u[live] = x - np.log((ref * np.exp(x)).sum(-1, keepdims=True))
    return (ref * np.exp(u)).reshape(*lead, size)


def works() -> Iterator[Work]:
    """The whole study, and the part of it that every rival can do."""
    rng = np.random.default_rng(0)
    ref = rng.dirichlet(np.full(RESPONSES, 5.0))
    thumbs = Thumbs(rng.uniform(0.1, 0.6, (1, RESPONSES)), ref[None], np.ones(1))
    laws = [thumbs.sample(int(n), rng, replicates=REPLICATES) for n in SIZES]
    up = np.stack([law.weights / law.weights.sum(-1, keepdims=True) for law in laws])
    down = np.stack(
        [w / w.sum(-1, keepdims=True) for law in laws for w in [np.asarray(law.rejected_weights)]]
    )
    t = thumbs.prior
    fitted = ddro_policy(up, down, ref, prior=t).policy
    easy = (up > 0).all(-1) & (down > 0).all(-1) & ((fitted / ref).max(-1) < 0.9 / t)
    up, down = up[easy], down[easy]
    some = rng.permutation(len(up))[:200]

    def by_newton(rows) -> list[Array]:
        return [newton(f, up[rows], down[rows], ref, t) for f in (rdro_slopes, ddro_slopes)]

    def one_by_one(rows) -> list[Array]:
        return [np.stack(x) for x in zip(*(by_newton(slice(i, i + 1)) for i in rows), strict=True)]

    def difference(ours: list[Array], theirs: list[Array]) -> float:
        whole = len(theirs[0]) == len(ours[0])
        rows = slice(None) if whole else some[: len(theirs[0])]
        return max(
            float(np.abs(a[rows] - b.reshape(a[rows].shape)).max()) for a, b in zip(ours, theirs, strict=True)
        )

    yield Work(
        f"density ratios, {len(up):,} data sets x 2",
        lambda: [rdro_policy(up, down, ref, alpha=t).policy, ddro_policy(up, down, ref, prior=t).policy],
        [
            Rival("numpy Newton on all at once", lambda: by_newton(slice(None))),
            Rival(
                "numpy Newton one by one, 200 timed", lambda: one_by_one(some), "popular", 200 / len(up), 2
            ),
        ],
        goal=2,
        same=1e-8,
        difference=difference,
    )
