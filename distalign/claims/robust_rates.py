"""Claims of the rates of WDPO and KLDPO at fixed and at shrinking radius."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="wdpo_rate", paper="robust", kind="rate", source="paper and ours", expects="respected, faster than guaranteed",
        statement="Theorem 1 (WDPO: the squared error falls at least like n^-1/2, so the error like n^-1/4, at a fixed radius, "
                  "towards the robust optimum; displayed formula not seen, derived again from the proof); the n^-1/2, its "
                  "constant, the regime where both hold and the exact corner are ours",
        prediction="The error respects the guarantee n^-1/4; it falls like n^-1/2 with the constant of the sandwich covariance "
                   "once n is so large that the piecewise dual stays on its piece. Before, a decade can look like -1/4; at a "
                   "corner of the dual the estimate is exact.",
        code="distalign.solvers.wasserstein_finite.fit", theory="distalign.theory.robust_rates.transport_limit",
        presets={"test": {"sizes": [1000, 10000, 100000, 1000000, 100000000], "replicates": 100},
                 "quick": {"sizes": [1000, 10000, 100000, 1000000, 100000000], "replicates": 150},
                 "full": {"sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000, 3000000, 10000000, 100000000,
                                    1000000000], "replicates": 600}},
        seconds={"quick": 6, "full": 50},
    ),
    Claim(
        slug="dro_radius_schedule", paper="robust", kind="growth", source="ours", expects="follows",
        statement="Radii that shrink with n, and the distance to DPO's population solution theta*. No statement of the paper, whose "
                  "n^-1/4 is an upper bound at fixed radius on the distance to the robust optimum",
        prediction="The distance to theta* is drift and noise: like n^-1/4 for KL at n^-1/2, for W2 on R^d at n^-1/4 and for W1 on "
                   "the finite space at n^-1/4, like n^-1/2 at smaller radii; the same fits approach the robust optimum of their "
                   "radius like n^-1/2. Balls that hold the truth in 95 % of draws cost n^-1/4 on R^d only.",
        code="distalign.solvers.wasserstein_euclidean.fit", theory="distalign.theory.robust_schedules.transport_drift",
        presets={"test": {"sizes": [1000, 1000000, 100000000, 10000000000, 100000000000, 1000000000000], "replicates": 25},
                 "quick": {"sizes": [1000, 1000000, 100000000, 10000000000, 100000000000, 1000000000000], "replicates": 40},
                 "full": {"sizes": [10**k for k in range(3, 13)], "replicates": 300}},
        seconds={"quick": 7, "full": 40},
    ),
)
