"""A rate study of KLDPO with 200 replicates of 9 sizes: all fits at once, against scipy one fit at a time."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from benchmarks.timing import duel
from distalign.populations import log_linear_bradley_terry
from distalign.solvers.robust.kl_fit import fit_kl_temperature

SIZES = np.geomspace(1e3, 1e7, 9).astype(int)
REPLICATES = 200
TAU = 0.3


def duels():
    """The one line of the table."""
    rng = np.random.default_rng(0)
    instance = log_linear_bradley_terry(rng, prompts=3, responses=4, dimension=3, norm=2.5, beta=1.0)
    law = instance.population.pairs(distinct=True)
    psi = np.asarray(instance.features).reshape(-1, 3)
    v = psi[law.chosen] - psi[law.rejected]
    p = np.concatenate([rng.multinomial(n, law.weights, REPLICATES) / n for n in SIZES])

    def ours():
        return fit_kl_temperature(v, p, temperature=TAU).theta

    def one_at_a_time():
        return np.stack([_scipy(v, row) for row in p])

    yield duel(
        "KLDPO rate study, 200 replicates x 9 sizes",
        ours,
        "scipy L-BFGS, one at a time",
        one_at_a_time,
        lambda: float(np.abs(ours() - one_at_a_time()).max()),
        at_least=30,
        repeats=3,
        their_repeats=1,
    )


def _scipy(v: np.ndarray, p: np.ndarray) -> np.ndarray:
    """theta of one fit by L-BFGS on the dual of the KL-penalised loss."""
    observed = p > 0
    x, log_p = v[observed], np.log(p[observed])

    def value_and_gradient(theta):
        t = x @ theta
        scaled = log_p + np.logaddexp(0, -t) / TAU
        return TAU * logsumexp(scaled), -(softmax(scaled) / (1 + np.exp(t))) @ x

    return minimize(
        value_and_gradient,
        np.zeros(v.shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": 1e-10, "ftol": 1e-16, "maxcor": 20},
    ).x
