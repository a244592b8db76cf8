"""Claims of AOT."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="aot_transport", paper="aot", kind="identity", source="paper", expects="holds", figure=False,
        statement="Sorting solves one-dimensional optimal transport with a convex cost (Santambrogio, Theorem 2.9, as the "
                  "paper uses it); unequal counts and weights: ours",
        prediction="The sorted AOT value equals the linear program over couplings for every convex penalty, equal and unequal "
                   "counts, any weights; for the 0/1 penalty it does not.",
        code="distalign.objectives.aot.aot_unpaired", theory="distalign.preferences.quantile_coupling",
        presets={"test": {"shapes": [[7, 7], [5, 8]], "replicates": 4},
                 "quick": {"shapes": [[1, 1], [30, 30], [17, 40]], "replicates": 20},
                 "full": {"shapes": [[1, 1], [30, 30], [17, 40], [200, 200], [150, 230]], "replicates": 100}},
        seconds={"quick": 4, "full": 60},
    ),
    Claim(
        slug="aot_rate", paper="aot", kind="rate", source="paper and ours", expects="matches -0.5",
        statement="Corollary 1 (n^-1/2 for the plug-in transport cost); that the exponent is exact at fixed laws, and its "
                  "constant, is a central limit theorem (ours)",
        prediction="With two fixed Gaussians and least squares, the error of the sorted value falls like n^-1/2 and sqrt(n) "
                   "times its standard deviation tends to 1.672.",
        code="distalign.objectives.aot.aot_unpaired", theory="distalign.theory.aot.gaussian_least_squares_sd",
        presets={"test": {"sizes": [400, 1600, 6400], "replicates": 400},
                 "quick": {"sizes": [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600], "replicates": 1000},
                 "full": {"sizes": [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200], "replicates": 4000}},
        seconds={"quick": 4, "full": 60},
    ),
)
