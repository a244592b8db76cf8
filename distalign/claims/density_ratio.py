"""Claims of DDRO and RDRO."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="rdro_consistency", paper="density_ratio", kind="rate", source="paper and ours", expects="matches -0.5",
        statement="Consistency for the law of preferred responses without a preference model (both abstracts; theorem texts not "
                  "seen); exponent, constants and DPO's limit are derived here",
        prediction="Under cyclic preferences the total variation to p+ of RDRO, DDRO and SFT on the chosen falls like n^-1/2 with "
                   "the predicted constants; no beta of DPO is consistent for p+ here, not even an oracle's.",
        code="distalign.objectives.rdro.rdro", theory="distalign.theory.density_ratio.asymptotic_covariance",
        presets={"test": {"sizes": [1000, 10000, 100000], "replicates": 600},
                 "quick": {"sizes": [100, 300, 1000, 3000, 10000, 30000, 100000], "replicates": 500},
                 "full": {"sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000], "replicates": 4000}},
        seconds={"quick": 2, "full": 15},
    ),
)
