"""Does a sample come from this law? Shared by the sampler tests, and itself seen to fail there."""

import numpy as np
from scipy.stats import chi2


def assert_drawn_from(counts: np.ndarray, law: np.ndarray) -> None:
    """Pearson's chi-square of every replicate of `counts` (R, A) against `law` (A,), summed over replicates.

    The sum has R (A' - 1) degrees of freedom, A' the atoms of positive probability; both tails fail at 1e-6,
    so replicates that repeat each other are caught as well as a wrong law.
    """
    p = np.asarray(law, dtype=float) / np.sum(law)
    assert counts[:, p == 0].sum() == 0, "an atom of probability zero was drawn"
    counts, p = counts[:, p > 0], p[p > 0]
    expected = counts.sum(-1, keepdims=True) * p
    statistic, freedom = ((counts - expected) ** 2 / expected).sum(), counts.shape[0] * (p.size - 1)
    tails = chi2.cdf(statistic, freedom), chi2.sf(statistic, freedom)
    assert min(tails) > 1e-6, f"chi-square {statistic:.1f} on {freedom} degrees of freedom"
