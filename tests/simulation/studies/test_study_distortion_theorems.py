"""Which checks of the distortion theorems' studies their planted defects fail, and that the other checks can
fail too.
"""

import numpy as np
import pandas as pd
import pytest
from study_kit import failed, found, study

SEEN = {
    "distortion_linearisation": {
        "Lemma 1: 1/2 + distance of a margin outside the lines <= 1/2",
        "the same for single users on a grid",
        "distance to the lower line on F1, as a share of its term, <= (b eps)^2 + 1e-9",
        "a + [s(b(c-y)) - s(b(a-y)) + s(b(c-y))]/s(b) <= 2 C(b) c on a grid",
    },
    "lottery_lower": {
        "distortion of the maximal lottery on F1 at m = 1000 = C(b)",
        "distortion on F1 = its closed form",
        "it falls short of C(b) by a share <= 1/m + (b/m)^2/12",
        "a Condorcet loser gets no mass",
        "Corollary 4: distortion of every maximal lottery <= C(b)",
    },
    "rlhf_is_borda": {
        "product comparisons: no pair ordered differently by reward and Borda score",
        "Borda scores of the fitted model = those of the population",
        "DPO = reference tilted by the reward, pi_ref exp(r/beta)/Z",
        "DPO = KL-constrained RLHF of the KL it spends (Proposition 14)",
    },
    "rlhf_exponential": {
        "distortion of RLHF on F3 = max(e^b/(10 b), 1)",
        "distortion of RLHF on F3' = cosh^2(b/2)",
        "distortion of RLHF on F3' = its closed form",
    },
    "rlhf_unbounded": {
        "distortion of RLHF = b sqrt(m) / (3 sqrt 6) from m = 300",
        "RLHF takes the last alternative: distortion = AvgUtil(first)/AvgUtil(last)",
    },
    "rlhf_on_policy": {"distortion of RLHF with mu = reference <= Bd(b) (conjecture)"},
    "borda_distortion": {
        "distortion of Borda on its worst case = Bd(b)",
        "distortion of Borda <= Bd(b)",
        "RLHF without KL = Borda",
        "Theorem 2: distortion of Borda <= C(b)^2",
        "distortion of Borda <= 2 C(b)",
        "the dual inequality that proves Bd, on a grid (1 + violation <= 1)",
        "distortion on the worst case = its closed form",
        "C(b) <= distortion of Borda on its worst case",
    },
}


@pytest.mark.parametrize("slug", SEEN)
def test_what_the_planted_defect_fails(slug):
    assert not failed(study(slug).checks(found(slug)))
    assert SEEN[slug] <= failed(study(slug).checks(found(slug, control=True)))


def spoilt(slug, family, column, change):
    """The rows of a claim with one column of one family changed."""
    rows = found(slug).copy()
    mine = rows.family == family if family else pd.Series(True, rows.index)
    rows.loc[mine, column] = change(rows.loc[mine, column])
    return failed(study(slug).checks(rows))


@pytest.mark.parametrize(
    ("slug", "family", "column", "change", "name"),
    [
        (
            "lottery_lower",
            "tied",
            "tie",
            lambda x: x + 1e-12,
            "exact ties: every win probability is 1/2, wherever",
        ),
        ("lottery_lower", "tied", "mass", lambda x: x + 6 * 0.1, "mass that rules asked once give it"),
        ("lottery_lower", "tied", "covariance", lambda x: x * (1 + 1e-6), "covariance of two answers"),
        ("rlhf_is_borda", "random", "table_discordant", lambda x: 0 * x, "correlated pairs: mean share"),
        (
            "rlhf_is_borda",
            "correlated",
            "table_discordant",
            lambda x: 0 * x,
            "correlated pairs: share ordered",
        ),
        ("rlhf_is_borda", "random", "certified", lambda x: np.arange(len(x)) > 0, "share of reward fits"),
        ("rlhf_is_borda", "DPO", "certified", lambda x: ~x.astype(bool), "DPO fits that did not"),
        ("rlhf_exponential", "F3", "nlhf", lambda x: 10 * x, "distortion of NLHF on the same instances"),
        ("rlhf_exponential", "F3", "gain", lambda x: x + 1e-6, "no opponent in the ball gains"),
        ("rlhf_exponential", "F3, explicit", "gap", lambda x: x * 1.001, "clones merged = clones"),
        ("rlhf_exponential", "F3", "certificate", lambda x: x + 1e-3, "error of the rewards"),
        ("rlhf_exponential", "", "dual", lambda x: x + 1e-9, "a + v [s(b(c-y))"),
        ("rlhf_unbounded", "", "step", lambda x: x - 0.2, "Lemma 15: each alternative"),
        ("rlhf_unbounded", "", "utility_excess", lambda x: x + 1e-2, "Lemma 15: average utility"),
        ("rlhf_unbounded", "", "least_utility", lambda x: -x, "0 < average utility"),
        ("rlhf_unbounded", "", "nlhf", lambda x: 10 * x, "distortion of NLHF"),
        ("rlhf_unbounded", "", "gain", lambda x: x + 1e-6, "no opponent gains"),
        ("rlhf_unbounded", "", "independent", lambda x: x + 1e-6, "independent pairs"),
        ("rlhf_on_policy", "F2", "distortion", lambda x: 0.99 * x, "without a budget"),
        ("rlhf_on_policy", "search", "distortion", lambda x: 0.9 * x, "the search was no straw man"),
        ("rlhf_on_policy", "F3", "distortion", lambda x: np.nan * x, "share of problems whose"),
    ],
)
def test_checks_that_the_defect_leaves_alone_can_fail(slug, family, column, change, name):
    if "family" not in found(slug):
        assert family == ""
    assert any(n.startswith(name) for n in spoilt(slug, family, column, change))
