"""Claims of DDRO and RDRO: what a broken assumption costs, and policies smaller than a table."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="ratio_reference", paper="density_ratio", kind="separation", source="ours", expects="shown",
        statement="RDRO and DDRO aim at p+ only if the reference is the mixture of the preferred and non-preferred laws. With any other one "
                  "they end elsewhere; SFT on the chosen does not. No statement of either paper on this was seen",
        prediction="With 10 % noise in the reference RDRO and DDRO stop at their limits, to first order p+ moved by the error of the "
                   "reference; SFT goes on at n^-1/2, and RDRO below it once the reference is refitted to other responses. Refitted to "
                   "the labelled ones, RDRO over all policies is SFT.",
        code="distalign.solvers.density_ratio.rdro_policy", theory="distalign.theory.density_ratio_stress.first_order_limit",
        presets={"test": {"sizes": [1000, 10000, 100000], "replicates": 300, "refits": 100, "shares": [0.02, 0.1], "references": 5},
                 "quick": {"sizes": [300, 1000, 3000, 10000, 30000, 100000], "replicates": 300, "refits": 80, "shares": [0.01, 0.02, 0.05, 0.1, 0.2],
                           "references": 10},
                 "full": {"sizes": [300, 1000, 3000, 10000, 30000, 100000, 300000], "replicates": 1000, "refits": 500,
                          "shares": [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3], "references": 100}},
        seconds={"quick": 6, "full": 49},
    ),
    Claim(
        slug="ratio_prompt_prior", paper="density_ratio", kind="separation", source="ours", expects="shown",
        statement="Class means over all prompts and one alpha need one share t of chosen responses for all prompts. Where t(x) varies RDRO "
                  "and DDRO end elsewhere; SFT does not, and pairs have t(x) = 1/2 by design. No statement of either paper was seen",
        prediction="The distance of the limit to p+ grows with the spread of t(x), to first order as p+ moved by t(x)/t - 1; each prompt's "
                   "own alpha and class means bring RDRO back to n^-1/2, below SFT. The data check warns in every sample.",
        code="distalign.objectives.rdro.rdro", theory="distalign.theory.density_ratio_stress.first_order_limit",
        presets={"test": {"sizes": [100000, 1000000, 10000000], "replicates": 60, "spreads": [0.0, 0.05, 0.5], "prompts": 12},
                 "quick": {"sizes": [10000, 100000, 1000000, 10000000], "replicates": 100, "spreads": [0.0, 0.05, 0.2, 0.5, 0.8], "prompts": 20},
                 "full": {"sizes": [10000, 30000, 100000, 300000, 1000000, 3000000, 10000000], "replicates": 600,
                          "spreads": [0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8], "prompts": 30}},
        seconds={"quick": 5, "full": 13},
    ),
    Claim(
        slug="ratio_loglinear", paper="density_ratio", kind="rate", source="ours", expects="matches -0.5",
        statement="Log-linear policies over more responses than labels: the exponent is -1/2 for RDRO, DDRO as it stands and SFT on the chosen "
                  "alike, and RDRO has no better rate and no better asymptotic constant than DDRO. What it gains it gains on few data. No "
                  "statement of either paper was seen",
        prediction="Mean total variation falls like n^-1/2 with the sandwich's constants; DDRO's constant is at most RDRO's, and both are "
                   "below SFT's; with the fewest labels RDRO is ahead of both.",
        code="distalign.objectives.rdro.rdro", theory="distalign.theory.density_ratio_stress.parametric_constants",
        presets={"test": {"sizes": [64, 1024, 4096, 16384], "replicates": 100},
                 "quick": {"sizes": [64, 256, 1024, 4096, 16384], "replicates": 100},
                 "full": {"sizes": [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768], "replicates": 250}},
        seconds={"quick": 6, "full": 26},
    ),
    Claim(
        slug="ratio_sequences", paper="density_ratio", kind="rate", source="paper and ours", expects="matches -0.5",
        statement="Consistency for p+ (both abstracts; theorem texts not seen) for policies over sequences, by the losses that train language "
                  "models. SFT on the chosen is consistent, too. p+ is a bounded tilt of the reference, not the optimum of a reward. Exponent, "
                  "constants and comparisons are derived or measured here",
        prediction="RDRO and SFT fall like n^-1/2 with the sandwich's constants; RDRO has no better rate and no better constant than DDRO, "
                   "which is behind it on few data, ahead on many, and ends elsewhere where its stabiliser sets in below the truth.",
        code="distalign.objectives.rdro.rdro", theory="distalign.theory.density_ratio_stress.parametric_constants",
        presets={"test": {"sizes": [512, 8192, 65536, 524288], "replicates": 12, "few": 4},
                 "quick": {"sizes": [512, 8192, 65536, 524288], "replicates": 12, "few": 4},
                 "full": {"sizes": [256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288], "replicates": 30,
                          "few": 6}},
        seconds={"quick": 6, "full": 33},
    ),
)
