"""Claims of DDRO and RDRO: identities, who reaches the law of preferred responses, and what breaks it."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="ratio_identities", paper="density_ratio", kind="identity", source="ours", expects="holds", figure=False,
        statement="The reference as the mixture of preferred and non-preferred responses, for winners and losers of pairs and for thumbs; the "
                  "coefficients of every loss; DDRO with the prior-weighted logistic loss is the likelihood of the labels. Derived here: no "
                  "printed loss or theorem of either paper was seen",
        prediction="t p+ + (1-t) p- = p_ref, with t = 1/2 for pairs whatever the win matrix; autograd of three forms of RDRO and five of DDRO "
                   "gives the coefficients by hand; DDRO equals the Bernoulli log-likelihood.",
        code="distalign.objectives.ddro.ddro", theory="distalign.theory.density_ratio_losses.coefficients",
        presets={"test": {"problems": 10, "responses": [3, 20]}, "quick": {"problems": 50, "responses": [2, 5, 20]},
                 "full": {"problems": 500, "responses": [2, 3, 5, 10, 20, 50]}},
        seconds={"quick": 2, "full": 26},
    ),
    Claim(
        slug="ratio_population", paper="density_ratio", kind="identity", source="paper and ours", expects="holds", figure=False,
        statement="Consistency for the law p+ of preferred responses (both abstracts; theorem texts not seen), at the population: which losses "
                  "have p+ as their minimiser, and which nearby ones do not, is derived here. SFT on the chosen is among the first",
        prediction="On exact laws SFT, three forms of RDRO with class means and four ratio losses of DDRO end at p+; RDRO with another alpha or "
                   "a mean over examples (unless t = 1/2), DDRO with another prior or a squashed log-ratio do not.",
        code="distalign.objectives.rdro.rdro", theory="distalign.theory.density_ratio_losses.coefficients",
        presets={"test": {"priors": [0.39, 0.5], "problems": 3, "responses": 5},
                 "quick": {"priors": [0.2, 0.39, 0.5], "problems": 20, "responses": 8},
                 "full": {"priors": [0.1, 0.2, 0.3, 0.39, 0.5, 0.6, 0.7], "problems": 100, "responses": 12}},
        seconds={"quick": 5, "full": 14},
    ),
    Claim(
        slug="ratio_constants", paper="density_ratio", kind="growth", source="ours", expects="follows",
        statement="Asymptotic constants of total variation, KL and Hellinger over all policies and over log-linear ones. For labels of random "
                  "responses DDRO is their maximum likelihood, so RDRO's constants are never smaller; with half of the responses chosen at "
                  "t = 0.39 they are, by 0.2 %. No statement of either paper was seen",
        prediction="Mean distances are within 5 % of the constants of the delta method from n = 5,000 on; near the bound of the ratio DDRO's "
                   "constant falls below RDRO's, and both stay below that of SFT.",
        code="distalign.solvers.density_ratio.rdro_policy", theory="distalign.theory.density_ratio.unpaired_covariance",
        presets={"test": {"sizes": [20000], "replicates": 2000, "fits": 600},
                 "quick": {"sizes": [500, 5000, 20000], "replicates": 2000, "fits": 600},
                 "full": {"sizes": [200, 500, 1000, 2000, 5000, 20000, 100000], "replicates": 10000, "fits": 3000}},
        seconds={"quick": 4, "full": 15},
    ),
    Claim(
        slug="ratio_reduction", paper="density_ratio", kind="separation", source="ours", expects="shown",
        statement="RDRO is consistent with a mean for each class. One mean over all examples, as a trainer for mixed batches takes it, weighs "
                  "the classes by their shares and ends elsewhere unless they are equal. Which of the two the paper prints was not seen",
        prediction="Class means reach p+ at every share t of chosen responses, at n^-1/2 also with alpha = n+/n; the mean over examples does so "
                   "at t = 1/2 only and else stops at its minimiser on the exact law, further from p+ the rarer chosen responses are.",
        code="distalign.objectives.rdro.rdro", theory="distalign.solvers.density_ratio.rdro_policy",
        presets={"test": {"sizes": [1000, 6000, 36000], "replicates": 800, "priors": [0.3, 0.39, 0.5, 0.7]},
                 "quick": {"sizes": [100, 300, 1000, 3000, 10000, 30000, 100000], "replicates": 1000,
                           "priors": [0.25, 0.3, 0.35, 0.39, 0.45, 0.5, 0.6, 0.7, 0.8]},
                 "full": {"sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000], "replicates": 5000,
                          "priors": [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.39, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9]}},
        seconds={"quick": 4, "full": 10},
    ),
    Claim(
        slug="ratio_bound", paper="density_ratio", kind="bound", source="ours", expects="not violated",
        statement="One way to read 'significantly tighter convergence guarantees than DDRO' (RDRO's abstract; theorem texts not seen): from "
                  "excess risk to total variation. Following p+/p- the constant of DDRO grows without limit, RDRO's is 1.73 at t = 1/2; by "
                  "Pinsker's inequality DDRO's label likelihood has 0.71, however large p+/p- is. All three are derived here, each for the "
                  "excess of its own loss: they are not on one scale",
        prediction="No bound is violated. Errors do not follow the constants: as p+/p- grows those of RDRO and of DDRO with its domain enforced "
                   "fall, the latter a little lower; that of DDRO as it stands turns up once some response is hardly ever rejected.",
        code="distalign.objectives.rdro.rdro", theory="distalign.theory.density_ratio_losses.rdro_bound",
        presets={"test": {"sups": [3, 1000], "size": 4000, "replicates": 400, "policies": 100},
                 "quick": {"sups": [1.5, 4, 8, 30, 100, 300, 1000], "size": 4000, "replicates": 1000, "policies": 200},
                 "full": {"sups": [1.5, 2, 4, 8, 16, 30, 60, 100, 200, 300, 500, 1000], "size": 4000, "replicates": 5000,
                          "policies": 3000}},
        seconds={"quick": 3, "full": 30},
    ),
    Claim(
        slug="ratio_sparse", paper="density_ratio", kind="separation", source="paper and ours", expects="shown",
        statement="The ratio p+/p- is unstable and can diverge, p+ over the mixture is bounded (RDRO's abstract; theorem texts not seen). Shown "
                  "here as what DDRO's loss leaves open at responses never rejected; the comparison with SFT and with DDRO on its domain is ours",
        prediction="DDRO as it stands is worse than SFT while on average a response was never rejected, and equal to DDRO with its domain "
                   "enforced once all were; RDRO is within 6 % of the latter at every n.",
        code="distalign.solvers.density_ratio.ddro_policy", theory="distalign.theory.density_ratio_losses.rdro_bound",
        presets={"test": {"sizes": [32, 256, 4096], "replicates": 500},
                 "quick": {"sizes": [32, 64, 128, 256, 1024, 4096], "replicates": 1000},
                 "full": {"sizes": [32, 64, 128, 256, 512, 1024, 2048, 4096, 8192], "replicates": 10000}},
        seconds={"quick": 1, "full": 12},
    ),
)
