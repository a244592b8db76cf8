"""Claims of DDRO and RDRO."""

from distalign.claims.claim import Claim, quick_as_controls

CLAIMS = (
    Claim(
        slug="rdro_consistency",
        title="RDRO reaches the preferred law, DPO does not",
        paper="density_ratio",
        kind="rate",
        source="paper and ours",
        expects="matches -0.5",
        statement="Consistency for the law of preferred responses without a preference model (both "
        "abstracts; theorem texts not seen); exponent, constants and DPO's limit are derived here",
        prediction="Under cyclic preferences the total variation to p+ of RDRO, DDRO and SFT on the chosen "
        "falls like n^-1/2 with the predicted constants; no beta of DPO is consistent for p+ "
        "here, not even an oracle's.",
        code="distalign.solvers.density_ratio.rdro_policy",
        theory="distalign.theory.density_ratio.asymptotics.asymptotic_covariance",
        presets={
            "test": {"sizes": [1000, 10000, 100000], "replicates": 1000},
            "quick": {"sizes": [100, 300, 1000, 3000, 10000, 30000, 100000], "replicates": 500},
            "full": {
                "sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000],
                "replicates": 4000,
            },
        },
        seconds={"quick": 2, "full": 14},
    ),
    Claim(
        slug="ratio_identities",
        title="The reference is a mixture of two laws",
        paper="density_ratio",
        kind="identity",
        source="ours",
        expects="holds",
        figure=False,
        statement="The reference as the mixture of preferred and non-preferred responses, for winners and "
        "losers of pairs and for thumbs; the coefficients of every loss; DDRO with the "
        "prior-weighted logistic loss is the likelihood of the labels. Derived here: no printed "
        "loss or theorem of either paper was seen",
        prediction="t p+ + (1-t) p- = p_ref, with t = 1/2 for pairs whatever the win matrix; autograd of "
        "three forms of RDRO and five of DDRO gives the coefficients by hand; DDRO equals the "
        "Bernoulli log-likelihood.",
        code="distalign.objectives.ddro.ddro",
        theory="distalign.theory.density_ratio.losses.coefficients",
        presets={
            "test": {"problems": 10, "responses": [3, 20]},
            "quick": {"problems": 50, "responses": [2, 5, 20]},
            "full": {"problems": 500, "responses": [2, 3, 5, 10, 20, 50]},
        },
        seconds={"quick": 1, "full": 16},
    ),
    Claim(
        slug="ratio_population",
        title="Which losses aim at the preferred law",
        paper="density_ratio",
        kind="identity",
        source="paper and ours",
        expects="holds",
        figure=False,
        statement="Consistency for the law p+ of preferred responses (both abstracts; theorem texts not "
        "seen), at the population: which losses have p+ as their minimiser, and which nearby ones "
        "do not, is derived here. SFT on the chosen is among the first",
        prediction="On exact laws SFT, three forms of RDRO with class means and four ratio losses of DDRO "
        "end at p+; RDRO with another alpha or a mean over examples (unless t = 1/2), DDRO with "
        "another prior or a squashed log-ratio do not.",
        code="distalign.objectives.rdro.rdro",
        theory="distalign.theory.density_ratio.losses.coefficients",
        presets={
            "test": {"priors": [0.39, 0.5], "problems": 2, "responses": 4},
            "quick": {"priors": [0.2, 0.39, 0.5], "problems": 20, "responses": 8},
            "full": {"priors": [0.1, 0.2, 0.3, 0.39, 0.5, 0.6, 0.7], "problems": 100, "responses": 12},
        },
        seconds={"quick": 3, "full": 14},
    ),
    Claim(
        slug="ratio_constants",
        title="Asymptotic constants of RDRO and DDRO",
        paper="density_ratio",
        kind="growth",
        source="ours",
        expects="follows",
        statement="Asymptotic constants of total variation, KL and Hellinger over all policies and over "
        "log-linear ones. For labels of random responses DDRO is their maximum likelihood, so "
        "RDRO's constants are never smaller; with half of the responses chosen at t = 0.39 they "
        "are, by 0.2 %. No statement of either paper was seen",
        prediction="Mean distances are the constants of the delta method within four standard errors from "
        "n = 20,000 on; near the bound of the ratio DDRO's constant falls below RDRO's, and both "
        "are at most 1 - t of that of SFT's.",
        code="distalign.solvers.density_ratio.rdro_policy",
        theory="distalign.theory.density_ratio.asymptotics.unpaired_covariance",
        presets={
            "test": {"sizes": [20000], "replicates": 1000, "fits": 800},
            "quick": {"sizes": [500, 5000, 20000], "replicates": 2000, "fits": 600},
            "full": {"sizes": [200, 500, 1000, 2000, 5000, 20000, 100000], "replicates": 10000, "fits": 3600},
        },
        seconds={"quick": 2, "full": 15},
    ),
    Claim(
        slug="ratio_reduction",
        title="One mean for each class, not one over all",
        paper="density_ratio",
        kind="separation",
        source="ours",
        expects="shown",
        statement="RDRO is consistent with a mean for each class. One mean over all examples, as a trainer "
        "for mixed batches takes it, weighs the classes by their shares and ends elsewhere unless "
        "they are equal. The released trainer takes one mean over examples; class means are ours",
        prediction="Class means reach p+ at every share t of chosen responses, at n^-1/2 also with alpha = "
        "n+/n; the mean over examples does so at t = 1/2 only and else stops at its minimiser on "
        "the exact law, further from p+ the rarer chosen responses are.",
        code="distalign.solvers.density_ratio.rdro_policy",
        theory="distalign.objectives.rdro.rdro",
        presets={
            "test": {"sizes": [1000, 20000, 1000000], "replicates": 300, "priors": [0.3, 0.39, 0.5, 0.7]},
            "quick": {
                "sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 1000000],
                "replicates": 1000,
                "priors": [0.25, 0.3, 0.35, 0.39, 0.45, 0.5, 0.6, 0.7, 0.8],
            },
            "full": {
                "sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000],
                "replicates": 5000,
                "priors": [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.39, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9],
            },
        },
        seconds={"quick": 1, "full": 11},
    ),
    Claim(
        slug="ratio_bound",
        title="From excess risk to distance: RDRO and DDRO",
        paper="density_ratio",
        kind="bound",
        source="ours",
        expects="not violated",
        statement="One way to read 'significantly tighter convergence guarantees than DDRO' (RDRO's "
        "abstract; theorem texts not seen): from excess risk to total variation. Following p+/p- "
        "the constant of DDRO grows without limit, RDRO's is 1.22 at t = 1/2; by Pinsker's "
        "inequality DDRO's label likelihood has 0.71, however large p+/p- is. All three are "
        "derived here, each for the excess of its own loss: they are not on one scale",
        prediction="No bound is violated; next to p+ those of RDRO and of the label likelihood are reached "
        "to 7 % and 0.2 %, while that of DDRO is vacuous for most policies from p+/p- = 100 on. "
        "Errors do not follow the constants: as p+/p- grows those of RDRO and of DDRO with its "
        "domain enforced fall, the latter a little lower; that of DDRO as it stands turns up once "
        "some response is hardly ever rejected.",
        code="distalign.objectives.rdro.rdro",
        theory="distalign.theory.density_ratio.losses.rdro_bound",
        presets={
            "test": {"sups": [1.5, 1000], "size": 16000, "replicates": 400, "policies": 60},
            "quick": {
                "sups": [1.5, 4, 8, 30, 100, 300, 1000],
                "size": 4000,
                "replicates": 1000,
                "policies": 200,
            },
            "full": {
                "sups": [1.5, 2, 4, 8, 16, 30, 60, 100, 200, 300, 500, 1000],
                "size": 4000,
                "replicates": 5000,
                "policies": 3000,
            },
        },
        seconds={"quick": 2, "full": 20},
    ),
    Claim(
        slug="ratio_sparse",
        title="Responses that were never rejected",
        paper="density_ratio",
        kind="separation",
        source="paper and ours",
        expects="shown",
        statement="The ratio p+/p- is unstable and can diverge, p+ over the mixture is bounded (RDRO's "
        "abstract; theorem texts not seen). Shown here as what DDRO's loss leaves open at "
        "responses never rejected; the comparison with SFT and with DDRO on its domain is ours",
        prediction="DDRO as it stands is worse than SFT while on average a response was never rejected, and "
        "equal to DDRO with its domain enforced once all were; RDRO is within 6 % of the latter "
        "at every n.",
        code="distalign.solvers.density_ratio.ddro_policy",
        theory="distalign.theory.density_ratio.losses.rdro_bound",
        presets={
            "test": {"sizes": [32, 64, 16384], "replicates": 500},
            "quick": {"sizes": [32, 64, 128, 256, 1024, 4096], "replicates": 1000},
            "full": {"sizes": [32, 64, 128, 256, 512, 1024, 2048, 4096, 8192], "replicates": 10000},
        },
        seconds={"quick": 1, "full": 12},
    ),
    Claim(
        slug="ratio_rate",
        title="RDRO, DDRO and SFT converge at n^-1/2",
        paper="density_ratio",
        kind="rate",
        source="paper and ours",
        expects="matches -0.5",
        statement="Consistency for the law p+ of preferred responses (both abstracts; theorem texts not "
        "seen); the exponents are derived here. RDRO has no better rate than DDRO and no better "
        "constant; SFT on the chosen is consistent too, with a larger one. p+ is a bounded tilt of "
        "the reference, not the optimum of a reward",
        prediction="From labels (RDRO and DDRO told n+/n) and from pairs of a mixture of groups, total "
        "variation and W1 to p+ fall like n^-1/2, squared Hellinger and KL like n^-1, for RDRO, "
        "DDRO and SFT; RDRO and DDRO are within 1 % of each other from n = 8,000 on.",
        code="distalign.solvers.density_ratio.rdro_policy",
        theory="distalign.objectives.rdro.rdro",
        presets={
            "test": {"sizes": [8192, 65536, 524288], "replicates": 2000},
            "quick": {"sizes": [64, 256, 1024, 4096, 16384, 65536, 262144], "replicates": 2000},
            "full": {"sizes": [2**k for k in range(6, 20)], "replicates": 1000},
        },
        seconds={"quick": 2, "full": 10},
    ),
    Claim(
        slug="ratio_plateaus",
        title="Where DPO, KTO and BCO stop",
        paper="density_ratio",
        kind="separation",
        source="ours",
        expects="shown",
        statement="What 'not statistically consistent' (RDRO's abstract, of methods that assume a preference "
        "model) amounts to over all policies: DPO, KTO and BCO have other targets than p+, a "
        "bounded tilt of the reference; DPO's differs from it even where Bradley-Terry holds. Not "
        "far at every beta: over random populations the limit of DPO's nearest beta has a median "
        "of 0.01 to 0.07",
        prediction="DPO at beta 0.1, 1 and at the beta nearest to p+, KTO and BCO stop at their limits; RDRO "
        "and SFT pass even the nearest of them, 0.008 from p+; for weak preferences of size s DPO "
        "with beta = 2 is off by s^2 only.",
        code="distalign.solvers.density_ratio.rdro_policy",
        theory="distalign.theory.density_ratio.plateaus.kto_policy",
        presets={
            "test": {"sizes": [1000, 1000000], "replicates": 100, "draws": 2},
            "quick": {"sizes": [1000, 10000, 100000, 1000000], "replicates": 300, "draws": 10},
            "full": {
                "sizes": [1000, 3000, 10000, 30000, 100000, 300000, 1000000],
                "replicates": 1000,
                "draws": 60,
            },
        },
        seconds={"quick": 5, "full": 22},
    ),
    Claim(
        slug="ratio_positive_control",
        title="A setting in which DPO is consistent",
        paper="density_ratio",
        kind="rate",
        source="ours",
        expects="matches -0.5",
        statement="DPO is consistent for p+ where its target is p+: chosen and rejected drawn independently "
        "of p+ and p-, reference p- and beta = 1. Then Bradley-Terry holds with rewards log p+/p-. "
        "With the mixture as reference the same fits stop elsewhere. No training set is made like "
        "this; it shows that the plateaus of DPO are no artefact of its solver",
        prediction="Reference p-, beta = 1: total variation to p+ falls like n^-1/2 with a predicted "
        "constant nearly twice that of SFT. Reference mixture: DPO stops at its limit at beta "
        "0.1, 1 and 2; RDRO and SFT go on.",
        code="distalign.solvers.bradley_terry.dpo_policy",
        theory="distalign.theory.density_ratio.asymptotics.total_variation_constant",
        presets={
            "test": {"sizes": [2000, 16000, 128000], "replicates": 600},
            "quick": {"sizes": [500, 2000, 8000, 32000, 128000], "replicates": 600},
            "full": {
                "sizes": [500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 512000],
                "replicates": 2000,
            },
        },
        seconds={"quick": 1, "full": 7},
    ),
    Claim(
        slug="ratio_stability",
        title="Gradient norms of ratio losses",
        paper="density_ratio",
        kind="bound",
        source="paper and ours",
        expects="not violated",
        statement="The ratio p+/p- is unstable and can diverge, the relative one is bounded (RDRO's "
        "abstract). Shown as gradient norms before clipping, with our stabilisers of DDRO: the "
        "paper's are not known. Bounded gradients come from RDRO's logistic form, not from the "
        "bounded ratio: least squares on the same ratio can explode. SFT is as steady, DDRO with a "
        "linear continuation as accurate while p+ and p- overlap, and small norms are no accuracy "
        "(KTO)",
        prediction="RDRO's norms stay below sqrt(2 L), which no smaller bound could replace, and within 20 "
        "times their median; those of DDRO with a floor and of DDRO by least squares exceed them, and "
        "its errors are larger once p+ and p- are far apart.",
        code="distalign.objectives.rdro.rdro",
        theory="distalign.theory.density_ratio.losses.coefficients",
        presets={
            "test": {"deltas": [0.3, 1.0], "steps": 100, "runs": 10},
            "quick": {"deltas": [0.3, 1.0], "steps": 120, "runs": 10},
            "full": {"deltas": [0.1, 0.3, 0.6, 1.0], "steps": 600, "runs": 10},
        },
        seconds={"quick": 4, "full": 30},
    ),
    Claim(
        slug="ratio_failures",
        title="How often ratio training fails",
        paper="density_ratio",
        kind="identity",
        source="paper and ours",
        expects="holds",
        statement="The ratio p+/p- is unstable and can diverge, the relative one is bounded (RDRO's "
        "abstract). Shown as shares of failed runs by dimension, overlap and learning rate, with our "
        "stabilisers of DDRO: the paper's are not known. RDRO fails, too, beyond its own largest step, and "
        "on up to half of the samples its fitted ratio exceeds 1/alpha, by little; squashed DDRO does not "
        "diverge, but has another target",
        prediction="Gradient descent leaves p+ just above 2 over the largest curvature, which grows with "
        "p+/p- for DDRO and not for RDRO. DDRO's fit has an infinite ratio exactly where a chosen response "
        "was never rejected, in a predicted share of samples. At half of RDRO's step, from p+/p- = 30 on, no "
        "run of RDRO fails; those of DDRO do, as it stands and with a linear continuation; with a floor they "
        "get stuck.",
        code="distalign.objectives.ddro.ddro",
        theory="distalign.theory.density_ratio.failures.largest_step",
        presets={
            "test": {
                "responses": [20],
                "sups": [3.0, 30.0, 300.0],
                "labels": [50],
                "samples": 1000,
                "replicates": 20,
                "multiples": [0.5, 3.0],
            },
            "quick": {
                "responses": [20],
                "sups": [3.0, 30.0, 300.0],
                "labels": [50],
                "samples": 1000,
                "replicates": 20,
                "multiples": [0.01, 0.1, 0.5, 3.0],
            },
            "full": {
                "responses": [5, 20, 60],
                "sups": [3.0, 10.0, 30.0, 100.0, 300.0],
                "labels": [50, 100, 200],
                "samples": 4000,
                "replicates": 50,
                "multiples": [0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 3.0],
            },
        },
        seconds={"quick": 4, "full": 57},
    ),
    Claim(
        slug="ratio_alpha",
        title="A wrong alpha moves the limit",
        paper="density_ratio",
        kind="separation",
        source="ours",
        expects="shown",
        statement="RDRO is consistent for p+ if alpha is the share of p+ in the mixture that the reference "
        "is; DDRO's prior likewise. Another value moves the limit: below the share it "
        "over-sharpens, towards 1 RDRO returns the reference. What either paper says of a wrong "
        "value was not seen",
        prediction="The distance of the limit to p+ is a V in alpha with a predicted slope at its foot, "
        "steeper for DDRO; samples with a wrong alpha stop at the limit, with alpha = n+/n they "
        "go on like n^-1/2. SFT needs no alpha.",
        code="distalign.solvers.density_ratio.rdro_policy",
        theory="distalign.objectives.rdro.rdro",
        presets={
            "test": {"sizes": [1000, 30000, 1000000], "replicates": 400},
            "quick": {"sizes": [100, 1000, 10000, 100000, 1000000], "replicates": 1000},
            "full": {
                "sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000],
                "replicates": 4000,
            },
        },
        seconds={"quick": 2, "full": 13},
    ),
    Claim(
        slug="ratio_reference",
        title="A wrong reference moves the limit",
        paper="density_ratio",
        kind="separation",
        source="ours",
        expects="shown",
        statement="RDRO and DDRO aim at p+ only if the reference is the mixture of the preferred and "
        "non-preferred laws. With any other one they end elsewhere; SFT on the chosen does not. No "
        "statement of either paper on this was seen",
        prediction="With 10 % noise in the reference RDRO and DDRO stop at their limits, to first order p+ "
        "moved by the error of the reference; SFT goes on at n^-1/2, and RDRO below it once the "
        "reference is refitted to other responses. Refitted to the labelled ones, RDRO over all "
        "policies is SFT.",
        code="distalign.solvers.density_ratio.rdro_policy",
        theory="distalign.theory.density_ratio.stress.first_order_limit",
        presets={
            "test": {
                "sizes": [1000, 30000, 1000000],
                "replicates": 200,
                "refits": 100,
                "shares": [0.002, 0.1],
                "references": 3,
            },
            "quick": {
                "sizes": [300, 1000, 3000, 10000, 30000, 100000, 1000000],
                "replicates": 300,
                "refits": 120,
                "shares": [0.002, 0.01, 0.02, 0.05, 0.1, 0.2],
                "references": 10,
            },
            "full": {
                "sizes": [300, 1000, 3000, 10000, 30000, 100000, 300000],
                "replicates": 1000,
                "refits": 500,
                "shares": [0.002, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3],
                "references": 100,
            },
        },
        seconds={"quick": 5, "full": 38},
    ),
    Claim(
        slug="ratio_prompt_prior",
        title="Shares of chosen that vary by prompt",
        paper="density_ratio",
        kind="separation",
        source="ours",
        expects="shown",
        statement="Class means over all prompts and one alpha need one share t of chosen responses for all "
        "prompts. Where t(x) varies RDRO and DDRO end elsewhere; SFT does not, and pairs have t(x) "
        "= 1/2 by design. No statement of either paper was seen",
        prediction="The distance of the limit to p+ grows with the spread of t(x), to first order as p+ "
        "moved by t(x)/t - 1; each prompt's own alpha and class means bring RDRO back to n^-1/2, "
        "below SFT. The data check warns in every sample.",
        code="distalign.solvers.density_ratio.rdro_policy",
        theory="distalign.theory.density_ratio.stress.first_order_limit",
        presets={
            "test": {
                "sizes": [1000000, 10000000, 100000000],
                "replicates": 100,
                "spreads": [0.0, 0.01, 0.5],
                "prompts": 12,
            },
            "quick": {
                "sizes": [10000, 100000, 1000000, 10000000, 100000000],
                "replicates": 100,
                "spreads": [0.0, 0.01, 0.05, 0.2, 0.5, 0.8],
                "prompts": 20,
            },
            "full": {
                "sizes": [10000, 30000, 100000, 1000000, 3000000, 10000000, 100000000],
                "replicates": 600,
                "spreads": [0.0, 0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8],
                "prompts": 30,
            },
        },
        seconds={"quick": 8, "full": 20},
    ),
    Claim(
        slug="ratio_loglinear",
        title="Ratio losses with log-linear policies",
        paper="density_ratio",
        kind="rate",
        source="ours",
        expects="matches -0.5",
        statement="Log-linear policies over more responses than labels: the exponent is -1/2 for RDRO, DDRO "
        "as it stands and SFT on the chosen alike, and RDRO has no better rate and no better "
        "asymptotic constant than DDRO. What it gains it gains on few data. No statement of either "
        "paper was seen",
        prediction="Mean total variation falls like n^-1/2 with the sandwich's constants; DDRO's constant is "
        "at most RDRO's, and both are below SFT's; with the fewest labels RDRO is ahead of both.",
        code="distalign.objectives.rdro.rdro",
        theory="distalign.theory.density_ratio.stress.parametric_constants",
        presets=quick_as_controls(
            test={"sizes": [64, 1024, 4096, 16384], "replicates": 100, "many": 100},
            control={"sizes": [64, 1024, 4096, 16384], "replicates": 200, "many": 400},
            full={
                "sizes": [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768],
                "replicates": 150,
                "many": 1900,
            },
        ),
        seconds={"quick": 17, "full": 31},
    ),
    Claim(
        slug="ratio_sequences",
        title="Ratio losses for policies over sequences",
        paper="density_ratio",
        kind="rate",
        source="paper and ours",
        expects="matches -0.5",
        statement="Consistency for p+ (both abstracts; theorem texts not seen) for policies over sequences, "
        "by the losses that train language models. SFT on the chosen is consistent, too. p+ is a "
        "bounded tilt of the reference, not the optimum of a reward. Exponent, constants and "
        "comparisons are derived or measured here",
        prediction="RDRO and SFT fall like n^-1/2 with the sandwich's constants; RDRO has no better rate and "
        "no better constant than DDRO, which is behind it on few data, ahead on many, and ends "
        "elsewhere where its stabiliser sets in below the truth.",
        code="distalign.objectives.rdro.rdro",
        theory="distalign.theory.density_ratio.stress.parametric_constants",
        presets=quick_as_controls(
            test={"sizes": [512, 8192, 65536, 524288], "replicates": 12, "many": 12, "few": 8},
            control={"sizes": [512, 8192, 65536, 524288], "replicates": 16, "many": 16, "few": 8},
            full={
                "sizes": [256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288],
                "replicates": 30,
                "many": 130,
                "few": 10,
            },
        ),
        seconds={"quick": 13, "full": 36},
    ),
    Claim(
        slug="ratio_language_model",
        title="Ratio losses on a recurrent language model",
        paper="density_ratio",
        kind="separation",
        source="ours",
        expects="shown",
        statement="A recurrent language model in minibatches, with a computable p+: an illustration with "
        "eight seeds or more, one learning rate and one family of scores, none of it from either paper. p+ "
        "is a bounded tilt of the reference, not the optimum of a reward",
        prediction="By KL to p+, RDRO with class means is nearer than SFT while labels are few (no better "
        "rate is claimed, and with many labels the two may not be told apart), and at every n "
        "nearer than RDRO with one mean over examples, whose own samples would be chosen more "
        "often all the same: the rate of being chosen hides the bias. DDRO is measured, and no "
        "order between it and RDRO is claimed; with a floor its gradients spike.",
        code="distalign.objectives.rdro.rdro",
        theory="distalign.solvers.density_ratio.rdro_policy",
        presets=quick_as_controls(
            test={"sizes": [2048], "epochs": [2], "seeds": [14]},
            full={"sizes": [2048, 8192, 32768], "epochs": [6, 4, 3], "seeds": [32, 8, 8]},
        ),
        seconds={"quick": 56, "full": 260},
    ),
)
