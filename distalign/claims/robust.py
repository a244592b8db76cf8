"""Claims of WDPO and KLDPO."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="kldpo_shrinkage", paper="robust", kind="identity", source="ours", expects="holds",
        statement="Where Bradley-Terry holds and the class fits it, KLDPO is DPO shrunk to the reference by tau/(1+tau), in the "
                  "same direction; over a ball, with the ball's own multiplier as tau. No statement of the paper",
        prediction="The minimiser of KLDPO is tau/(1+tau) times DPO's parameter with cosine 1, and that of Dr. DPO "
                   "beta'/(beta'-1) times: a robust loss that looks like a larger beta.",
        code="distalign.objectives.kldpo.kldpo", theory="distalign.theory.robust.shrinkage_factor",
        presets={"test": {"temperatures": [0.1, 1], "radii": [0.3], "stretches": [2], "instances": 1},
                 "quick": {"temperatures": [0.05, 0.1, 0.3, 1, 3, 10], "radii": [0.02, 0.1, 0.3, 0.6, 0.9],
                           "stretches": [1.5, 2, 5, 10], "instances": 5},
                 "full": {"temperatures": [0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10],
                          "radii": [0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95],
                          "stretches": [1.5, 2, 3, 5, 10, 20], "instances": 50}},
        seconds={"quick": 2, "full": 54},
    ),
    Claim(
        slug="kldpo_rate", paper="robust", kind="rate", source="paper and ours", expects="respected, faster than guaranteed",
        statement="Theorem 2 (KLDPO: the squared error falls at least like n^-1/2, so the error like n^-1/4, at a fixed radius, "
                  "towards the robust optimum; displayed formula not seen, derived again from the proof); the observed n^-1/2 "
                  "and its constant are ours",
        prediction="The error respects the guarantee n^-1/4; measured it falls like n^-1/2, as a smooth M-estimator's does, with "
                   "the constant of the sandwich covariance.",
        code="distalign.objectives.kldpo.kldpo", theory="distalign.theory.robust.ball_covariance",
        presets={"test": {"sizes": [3000, 40000, 400000, 4000000], "replicates": 150},
                 "quick": {"sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000], "replicates": 240},
                 "full": {"sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000, 3000000, 10000000],
                          "replicates": 3000}},
        seconds={"quick": 6, "full": 40},
    ),
)
