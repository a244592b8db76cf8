"""Claims of DDRO and RDRO: rates, the limits of other methods, stability of the gradient, and a wrong alpha."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="ratio_rate", paper="density_ratio", kind="rate", source="paper and ours", expects="matches -0.5",
        statement="Consistency for the law p+ of preferred responses (both abstracts; theorem texts not seen); the exponents are derived "
                  "here. RDRO has no better rate than DDRO and no better constant; SFT on the chosen is consistent too, with a larger one. "
                  "p+ is a bounded tilt of the reference, not the optimum of a reward",
        prediction="From labels (RDRO and DDRO told n+/n) and from pairs of a mixture of groups, total variation and W1 to p+ fall like n^-1/2, "
                   "squared Hellinger and KL like n^-1, for RDRO, DDRO and SFT; RDRO and DDRO are within 3 % of each other.",
        code="distalign.objectives.rdro.rdro", theory="distalign.theory.density_ratio.unpaired_covariance",
        presets={"test": {"sizes": [1024, 8192, 65536], "replicates": 1000},
                 "quick": {"sizes": [64, 256, 1024, 4096, 32768, 131072], "replicates": 1000},
                 "full": {"sizes": [2**k for k in range(6, 20)], "replicates": 1000}},
        seconds={"quick": 4, "full": 9},
    ),
    Claim(
        slug="ratio_plateaus", paper="density_ratio", kind="separation", source="ours", expects="shown",
        statement="What 'not statistically consistent' (RDRO's abstract, of methods that assume a preference model) amounts to over all "
                  "policies: DPO, KTO and BCO have other targets than p+, a bounded tilt of the reference; DPO's differs from it even where "
                  "Bradley-Terry holds. Not far at every beta: over random populations the limit of DPO's nearest beta has a median of 0.01 to 0.07",
        prediction="DPO at beta 0.1, 1 and at the beta nearest to p+, KTO and BCO stop at limits other than p+, and RDRO and SFT pass them; for weak "
                   "preferences of size s DPO with beta = 2 is off by s^2 only.",
        code="distalign.objectives.rdro.rdro", theory="distalign.theory.density_ratio_plateaus.kto_policy",
        presets={"test": {"sizes": [1000, 1000000], "replicates": 200, "draws": 5},
                 "quick": {"sizes": [1000, 10000, 100000], "replicates": 300, "draws": 10},
                 "full": {"sizes": [1000, 3000, 10000, 30000, 100000, 300000, 1000000], "replicates": 1000, "draws": 60}},
        seconds={"quick": 5, "full": 21},
    ),
    Claim(
        slug="ratio_positive_control", paper="density_ratio", kind="rate", source="ours", expects="matches -0.5",
        statement="DPO is consistent for p+ where its target is p+: chosen and rejected drawn independently of p+ and p-, reference p- and "
                  "beta = 1. Then Bradley-Terry holds with rewards log p+/p-. With the mixture as reference the same fits stop elsewhere. No "
                  "training set is made like this; it shows that the plateaus of DPO are no artefact of its solver",
        prediction="Reference p-, beta = 1: total variation to p+ falls like n^-1/2 with a predicted constant nearly twice that of SFT. "
                   "Reference mixture: DPO stops at its limit at beta 0.1, 1 and 2; RDRO and SFT go on.",
        code="distalign.objectives.dpo.dpo", theory="distalign.theory.density_ratio.total_variation_constant",
        presets={"test": {"sizes": [2000, 16000, 128000], "replicates": 600},
                 "quick": {"sizes": [500, 2000, 8000, 32000, 128000], "replicates": 600},
                 "full": {"sizes": [500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 512000], "replicates": 2000}},
        seconds={"quick": 2, "full": 7},
    ),
    Claim(
        slug="ratio_stability", paper="density_ratio", kind="separation", source="paper and ours", expects="shown",
        statement="The ratio p+/p- is unstable and can diverge, the relative one is bounded (RDRO's abstract). Shown as gradient norms before "
                  "clipping, with our stabilisers of DDRO: the paper's are not known. Bounded gradients come from RDRO's logistic form, not from "
                  "the bounded ratio: least squares on the same ratio can explode. SFT is as steady, "
                  "DDRO with a linear continuation as accurate while p+ and p- overlap, and small norms are no accuracy (KTO)",
        prediction="RDRO's norms stay below sqrt(2 L) (2 - alpha) and within 20 times their median; those of DDRO with a floor and of DDRO by least "
                   "squares exceed them by orders of magnitude, and its errors are larger once p+ and p- are far apart.",
        code="distalign.objectives.rdro.rdro", theory="distalign.theory.density_ratio_losses.coefficients",
        presets={"test": {"deltas": [0.3, 1.0], "steps": 120, "runs": 5}, "quick": {"deltas": [0.3, 1.0], "steps": 120, "runs": 5},
                 "full": {"deltas": [0.1, 0.3, 0.6, 1.0], "steps": 600, "runs": 5}},
        seconds={"quick": 5, "full": 25},
    ),
    Claim(
        slug="ratio_alpha", paper="density_ratio", kind="separation", source="ours", expects="shown",
        statement="RDRO is consistent for p+ if alpha is the share of p+ in the mixture that the reference is; DDRO's prior likewise. Another value "
                  "moves the limit: below the share it over-sharpens, towards 1 RDRO returns the reference. What either paper says of a wrong "
                  "value was not seen",
        prediction="The distance of the limit to p+ is a V in alpha with a predicted slope at its foot, steeper for DDRO; samples with a wrong alpha "
                   "stop at the limit, with alpha = n+/n they go on like n^-1/2. SFT needs no alpha.",
        code="distalign.objectives.rdro.rdro", theory="distalign.solvers.density_ratio.rdro_policy",
        presets={"test": {"sizes": [1000, 10000, 100000], "replicates": 600},
                 "quick": {"sizes": [100, 1000, 10000, 100000], "replicates": 1000},
                 "full": {"sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000], "replicates": 4000}},
        seconds={"quick": 4, "full": 8},
    ),
)
