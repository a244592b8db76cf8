"""A rate study of density-ratio alignment: all fits at once, against one fit at a time.

The study has 1,000 replicates, 14 sizes and 2 estimators (RDRO and DDRO). One twin is Newton's method on
the torch objectives, as `fit` does it for any objective. The other is Newton's method in plain numpy,
written for these two losses alone. Both are timed on a subsample of the data sets, and the time is scaled
to all. The subsample has data sets in which every response was chosen and rejected and DDRO's wall is far,
because elsewhere no finite minimiser exists.
"""

from functools import partial

import numpy as np

from benchmarks.timing import Duel, best
from distalign.objectives import ddro, rdro
from distalign.policies import Tabular
from distalign.populations import Law, Thumbs
from distalign.simulation.fit import fit
from distalign.solvers.density_ratio import ddro_policy, rdro_policy

RESPONSES, REPLICATES, LIMIT, SAME = 12, 1000, 1.0, 1e-8
SIZES = 2 ** np.arange(6, 20)


def rdro_slopes(u, up, down, t):
    """First and second derivatives of RDRO's loss in the log-ratio u."""
    s = 1 / (1 + np.exp(-u))
    m = (1 + t) * up + (1 - t) * down
    return m * s - up, m * s * (1 - s)


def ddro_slopes(u, up, down, t):
    """First and second derivatives of DDRO's loss in the log-ratio u."""
    rho = t * np.exp(u)
    odds = rho / (1 - rho)
    return (1 - t) * down * odds - t * up, (1 - t) * down * odds / (1 - rho)


def newton(slopes, up, down, ref, t):
    """Stationary policy of one data set by Newton's method; steps are at most half a nat."""
    u = np.zeros(len(ref))
    for _ in range(100):
        pi = ref * np.exp(u)
        first, second = slopes(u, up, down, t)
        total = first.sum()
        gradient = first - pi * total
        if np.abs(gradient).max() < 1e-13:
            break
        curved = np.diag(second - pi * total) - np.outer(pi, second) - np.outer(second, pi)
        hessian = curved + np.outer(pi, pi) * (second.sum() + 2 * total) + 1.0  # + 1: the gauge
        step = np.linalg.solve(hessian, gradient)
        u = u - step * min(1, 0.5 / np.abs(step).max())
        u = u - np.log(ref @ np.exp(u))
    return ref * np.exp(u)


def duels():
    """One line for each twin."""
    rng = np.random.default_rng(0)
    ref = rng.dirichlet(np.full(RESPONSES, 5.0))
    thumbs = Thumbs(rng.uniform(0.1, 0.6, (1, RESPONSES)), ref[None], np.ones(1))
    laws = [thumbs.sample(int(n), rng, replicates=REPLICATES) for n in SIZES]
    up = np.stack([law.weights / law.weights.sum(-1, keepdims=True) for law in laws])
    down = np.stack(
        [w / w.sum(-1, keepdims=True) for law in laws for w in [np.asarray(law.rejected_weights)]]
    )
    t = thumbs.prior

    def ours():
        return rdro_policy(up, down, ref, alpha=t).policy, ddro_policy(up, down, ref, prior=t).policy

    fitted = ours()
    inside = np.argwhere((up > 0).all(-1) & (down > 0).all(-1) & ((fitted[1] / ref).max(-1) < 0.9 / t))
    inside, atoms, policy = inside[rng.permutation(len(inside))], np.arange(RESPONSES), Tabular(ref)

    def bare(some):
        return [[newton(f, up[*i], down[*i], ref, t) for i in some] for f in (rdro_slopes, ddro_slopes)]

    def torch_objectives(some):
        return [
            [fit(policy, f, Law(atoms, atoms, up[*i], down[*i])).probs[0] for i in some]
            for f in (partial(rdro, alpha=t), partial(ddro, prior=t))
        ]

    mine = best(ours, 5)
    for name, twin, count, goal in (
        ("fit one by one", torch_objectives, 10, 100),
        ("numpy Newton one by one", bare, 200, 5),
    ):
        some = inside[:count]
        gap = max(
            float(np.abs(np.array(a) - np.stack([b[*i] for i in some])).max())
            for a, b in zip(twin(some), fitted, strict=True)
        )
        theirs = best(lambda twin=twin, some=some: twin(some), 2) * len(SIZES) * REPLICATES / count
        yield Duel(
            "density ratios, 1,000 replicates x 14 sizes x 2",
            mine,
            f"{name}, {count} timed",
            theirs,
            f"goal >= {goal}x, < 1 s",
            theirs >= goal * mine and mine < LIMIT and gap <= SAME,
            gap,
        )
