"""Claims of papers that came after the five."""

from distalign.claims.claim import Claim, quick_as_controls

CLAIMS = (
    Claim(
        slug="condorcet_cycles",
        title="Cycles, mixing, and the number of responses",
        paper="condorcet",
        folder="distortion",
        kind="identity",
        source="paper and ours",
        expects="holds",
        statement="As described in the abstract, whose theorems were not read: a reward represents "
        "preferences iff they have no Condorcet cycle, NLHF mixes iff no response is preferred to "
        "every other by a majority, and both a cycle and mixing become certain as responses are "
        "added (there under the Luce model). The laws held against are for other random "
        "preferences: those for three responses and for the Condorcet winner are classical; the law "
        "of the number mixed is the subject of F. Brandl (2017, abstract seen), its formula and "
        "proof for independent pairs are worked out here",
        prediction="Without exception the maximal lottery mixes iff there is no Condorcet winner, and a "
        "linear program finds a reward iff there is no cycle. With all pairs of m responses independent a "
        "lottery mixes k responses, k odd, with probability C(m, k) 2^(1 - m), and majorities have "
        "a cycle with probability 1 - m! / 2^(m (m - 1) / 2); three responses have one with "
        "probability 1/4 - 3 arcsin(1/3) / (2 pi) in an infinite crowd of random rankings.",
        code="distalign.solvers.choice.games.maximal_lottery",
        theory="distalign.theory.distortion.majorities.support_probability",
        presets={
            "test": {
                "responses": [3, 5],
                "users": [1, 5],
                "instances": 400,
                "crowd_instances": 300,
                "programs": 20,
            },
            "quick": {
                "responses": [3, 5, 8],
                "users": [1, 3, 25],
                "instances": 300,
                "crowd_instances": 200,
                "programs": 20,
            },
            "full": {
                "responses": [3, 4, 5, 6, 8, 10, 14, 20],
                "users": [1, 3, 5, 11, 25, 51],
                "instances": 2000,
                "crowd_instances": 3000,
                "programs": 100,
            },
        },
        seconds={"quick": 3, "full": 35},
    ),
    Claim(
        slug="chi2_ball",
        title="A chi-square ball penalises the deviation",
        paper="dro_rebel",
        folder="robust",
        kind="identity",
        source="paper and ours",
        expects="holds",
        statement="As described in the abstract, whose theorems were not read: chi-square balls for "
        "preference losses, solved by a dual in one dimension (the dual is that of arXiv "
        "1810.08750). Their loss regresses relative rewards; chi-square DPO, its closed form and "
        "the edge up to which it is mean plus standard deviation are ours, and elementary",
        prediction="The objective equals its dual, the supremum over the ball and the solver's value. It is "
        "E l + sqrt(2 radius Var l) up to the radius Var l / (2 (E l - min l)^2), where the least "
        "density ratio 1 - sqrt(radius / edge) reaches 0, and less beyond; the robust optimum is "
        "that of a conic program.",
        code="distalign.objectives.chi2_dpo.chi2_dpo",
        theory="distalign.theory.robust.chi2.standard_deviation_edge",
        presets={
            "test": {"shares": [0.5, 1.0, 5.0], "fits": [0.5], "instances": 3},
            "quick": {"shares": [0.1, 0.5, 1.0, 2.0, 5.0, 20.0], "fits": [0.1, 0.5, 0.9], "instances": 4},
            "full": {
                "shares": [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0],
                "fits": [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99],
                "instances": 10,
            },
        },
        seconds={"quick": 1, "full": 15},
    ),
    Claim(
        slug="chi2_rate",
        title="Chi-square DPO errs like n^-1/2, exactly",
        paper="dro_rebel",
        folder="robust",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="As described in the abstract, whose theorems were not read: estimates from robust "
        "preference losses, chi-square balls among them, err at most like n^-1/4, and by a "
        "localised analysis like the parametric n^-1/2. Tested for chi-square DPO, which is not "
        "their loss, at a fixed radius in a log-linear class; the constant is ours",
        prediction="In two and in five dimensions n times the mean squared error tends to the trace of the "
        "sandwich covariance of the dual in (theta, eta), at every radius below the collapse "
        "radius, pairs without weight included; the bound n^-1/4 is respected.",
        code="distalign.solvers.robust.chi2_fit.fit_chi2_ball",
        theory="distalign.theory.robust.chi2.chi2_covariance",
        presets=quick_as_controls(
            test={
                "dimensions": [2, 5],
                "shares": [0.05, 0.8],
                "sizes": [100_000, 1_000_000, 10_000_000, 100_000_000],
                "replicates": 50,
            },
            control={
                "dimensions": [2, 5],
                "shares": [0.05, 0.8],
                "sizes": [100_000, 1_000_000, 10_000_000, 100_000_000],
                "replicates": 500,
            },
            full={
                "dimensions": [2, 5],
                "shares": [0.05, 0.8],
                "sizes": [100_000, 1_000_000, 10_000_000, 100_000_000],
                "replicates": 8000,
            },
        ),
        seconds={"quick": 2, "full": 60},
    ),
    Claim(
        slug="dpo_misspecified",
        title="Pair frequencies decide DPO's sign",
        paper="misspecified",
        folder="f_dpo",
        kind="identity",
        source="paper and ours",
        expects="holds",
        statement="As described in the abstract, whose theorems were not read: where the true reward is not "
        "implied by any policy of a parametric class, DPO depends on the law of the pairs, may "
        "reverse preferences and may lose reward, while RLHF takes a natural-gradient step "
        "(its remedy, AuxDPO, is in `aux_dpo`). The exact share of discordant pairs at which DPO's "
        "parameter changes sign, for one feature, is ours, and so is that DPO and RLHF agree to "
        "first order for pairs from the reference",
        prediction="With three responses and one feature DPO's parameter is the root of its first-order "
        "condition, 0 at the predicted share of discordant pairs, positive below and negative "
        "above, where its policy has less reward than the reference; RLHF in the same class has "
        "the same parameter for all pairs and never less reward than the reference.",
        code="distalign.objectives.dpo.dpo",
        theory="distalign.theory.f_dpo.misspecified.reversal_share",
        presets={
            "test": {"multiples": [0.9, 1.0, 1.1], "instances": 4},
            "quick": {"multiples": [0.5, 0.9, 1.0, 1.1, 1.2], "instances": 8},
            "full": {
                "multiples": [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2],
                "instances": 50,
            },
        },
        seconds={"quick": 2, "full": 25},
    ),
    Claim(
        slug="aux_dpo",
        title="AuxDPO does not see the pair frequencies",
        paper="misspecified",
        folder="f_dpo",
        kind="identity",
        source="paper and ours",
        expects="holds",
        statement="(AuxDPO): auxiliary variables in DPO's loss help to move towards RLHF (abstract); that "
        "they are rewards in the null space of the policy's weighted scores is what public summaries say, "
        "the text was not seen. For log-linear classes the limit, its distance to RLHF and what it costs on "
        "samples are ours: the regression of the reward on the features under the reference, whatever the "
        "pairs. It is one natural-gradient step, which may overshoot: on some instances it has less reward "
        "than the reference",
        prediction="AuxDPO's parameter is that regression to 1e-7 under every law of the pairs, where DPO's "
        "moves and changes its sign; it is RLHF's to first order in 1/beta, with a predicted second-order "
        "distance. Where the class holds the reward its variance is at least DPO's, by the predicted factor.",
        code="distalign.policies.auxiliary.with_auxiliary",
        theory="distalign.theory.f_dpo.auxiliary.natural_step",
        presets={
            "test": {"multiples": [1.2], "responses": [4], "instances": 20, "replicates": 3000},
            "quick": {"multiples": [0.5, 1.2], "responses": [3, 5], "instances": 40, "replicates": 3000},
            "full": {
                "multiples": [0.1, 0.5, 0.9, 1.0, 1.05, 1.1, 1.2],
                "responses": [3, 4, 5, 6, 8],
                "instances": 60,
                "replicates": 15000,
            },
        },
        seconds={"quick": 2, "full": 32},
    ),
    Claim(
        slug="bpo_constants",
        title="Bregman losses of the ratio and their constants",
        paper="bpo",
        folder="f_dpo",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="Theorem 2: every strictly convex h has DPO's minimiser, given enough capacity; Theorem 3: "
        "the loss is the Bregman divergence of the ratios up to a constant; Section 3.3: the scaled Basu "
        "power divergence has DPO's gradient at the reference. That on samples each h is a weighted fit, "
        "none with a smaller constant than DPO, and that off Bradley-Terry the minimisers differ, is ours. "
        "The paper's gains on language models are not tested",
        prediction="Minimisers of five h agree under Bradley-Terry and differ off it. n times mean KL from "
        "the target is the constant of the sandwich; it is least for DPO, and the more a loss weighs sure "
        "pairs the further it grows with the spread of the rewards, for LSIF to many times that of DPO.",
        code="distalign.objectives.bpo.bpo",
        theory="distalign.theory.f_dpo.bregman.bregman_covariance",
        presets={
            "test": {"spreads": [1.0], "replicates": 4000, "instances": 4},
            "quick": {"spreads": [0.5, 1.0], "replicates": 4000, "instances": 6},
            "full": {"spreads": [0.25, 0.5, 0.75, 1.0, 1.25], "replicates": 20000, "instances": 20},
        },
        seconds={"quick": 4, "full": 40},
    ),
    Claim(
        slug="copeland_lower",
        title="Copeland loses as much as Borda does",
        paper="probabilistic_voting",
        folder="distortion",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="As described in the abstract, whose theorems were not read: Copeland loses at least (1 - "
        "epsilon) b and at most 2 C(b), deterministic rules of rounded margins at least (5/8 - epsilon) b. "
        "Ours, proved in the study: Copeland's worst case is exactly Bd(b), that of Borda, and no "
        "deterministic rule that sees only who beats whom has a smaller one",
        prediction="A chain of two narrow victories takes Copeland to Bd(b) = b - (1 + log 2b)/2 + o(1), the "
        "most that a linear program over types finds for such chains; on a cycle of three every choice has "
        "a rotation on which it loses that much; no random population passes it.",
        code="distalign.solvers.choice.voting.copeland",
        theory="distalign.theory.distortion.constants.borda_distortion",
        presets={
            "test": {"temperatures": [1, 10, 20], "steps": 7, "replicates": 100},
            "quick": {"temperatures": [1, 3, 10, 30, 100], "steps": 11, "replicates": 200},
            "full": {
                "temperatures": [0.3, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 1000],
                "steps": 21,
                "replicates": 1000,
            },
        },
        seconds={"quick": 1, "full": 10},
    ),
    Claim(
        slug="rlhf_mismatch",
        title="Clipped RLHF where data and reference differ",
        paper="clipped_rlhf",
        folder="distortion",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="As described in the abstract, whose theorems and clip were not read: clipped RLHF loses a "
        "factor of order b B up to logarithms, B a bound on log(mu/ref), in one regime of the KL budget, and "
        "of order b where mu = ref. Clip, families and closed forms are ours; only how bad it can be is "
        "tested, no upper bound",
        prediction="At fixed b the distortion of a family grows like k B / log(k B), k = 0.33 b, by an exact "
        "formula; with comparisons from the reference it is b / 0.17 in the limit, among users who agree, "
        "where plain RLHF loses nothing.",
        code="distalign.solvers.choice.clipped_rlhf.clipped_rlhf",
        theory="distalign.theory.distortion.clipped.mismatch_distortion",
        presets={
            "test": {"temperatures": [5, 20], "log_ratios": [3, 30, 300]},
            "quick": {"temperatures": [3, 10, 30, 100], "log_ratios": [1, 3, 10, 30, 100, 300, 1000]},
            "full": {
                "temperatures": [3, 5, 7, 10, 14, 20, 30, 50, 70, 100],
                "log_ratios": [1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000],
            },
        },
        seconds={"quick": 1, "full": 3},
    ),
    Claim(
        slug="chi_po_coverage",
        title="Coverage is a factor for DPO, not for chi-PO",
        paper="coverage",
        folder="f_dpo",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="As described in two abstracts, whose theorems were not read: regularised reward is lost "
        "like 1/n without any coverage for divergences with strongly convex f, as that of chi-PO, and with "
        "the coverage of the optimum as a factor for reverse KL, that of DPO. First-order constants and both "
        "bounds are ours, for all policies over K responses; regret without the regulariser is not tested",
        prediction="n times the mean loss is tr(W Sigma)/(2 beta) for both objectives at every coverage C: "
        "for DPO it grows like C, at least pi (1 - pi)/(beta ref (1 - ref)), for chi-PO it stays below "
        "(K - 1)/(4 beta sigma'(R)) whatever the reference is.",
        code="distalign.objectives.chi_po.chi_po",
        theory="distalign.theory.f_dpo.coverage.regret_constant",
        presets={
            "test": {"coverages": [4.0, 256.0], "replicates": 3000, "instances": 100},
            "quick": {"coverages": [4.0, 32.0, 256.0], "replicates": 10_000, "instances": 200},
            "full": {
                "coverages": [4.0, 16.0, 64.0, 256.0, 1024.0],
                "replicates": 120_000,
                "instances": 3000,
            },
        },
        seconds={"quick": 1, "full": 25},
    ),
    Claim(
        slug="cvar_tv_balls",
        title="CVaR and total variation move shares of mass",
        paper="dro_rebel",
        folder="robust",
        kind="identity",
        source="ours",
        expects="holds",
        statement="Beside the chi-square balls of the abstract, and not in it: DPO over balls of CVaR and of "
        "total variation. Worst cases by sorting are textbook (Rockafellar and Uryasev 2000 for CVaR); the "
        "edge of their linear forms and the collapse by a linear program are ours, and elementary",
        prediction="Worst cases by sorting equal their linear programs and the dual of CVaR; total variation "
        "is rho max l + (1 - rho) CVaR; both rise linearly up to the mass of the least loss and less beyond; "
        "robust DPO is theta = 0 exactly from the level or radius of a linear program on.",
        code="distalign.solvers.robust.share_balls.cvar_worst_case",
        theory="distalign.theory.robust.shares.total_variation_form",
        presets={
            "test": {"shares": [0.5, 1.0, 5.0], "instances": 3, "fits": 3},
            "quick": {"shares": [0.1, 0.5, 1.0, 2.0, 5.0, 20.0], "instances": 10, "fits": 5},
            "full": {
                "shares": [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0],
                "instances": 60,
                "fits": 60,
            },
        },
        seconds={"quick": 2, "full": 18},
    ),
    Claim(
        slug="veto_lower",
        title="Plurality veto loses b log m, and more",
        paper="probabilistic_voting",
        folder="distortion",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="As described in the abstract, whose theorems were not read: plurality veto loses at least "
        "of order b log m under Plackett-Luce users (its pruned variant is not tested). Families, exact "
        "thresholds and constants are ours; so is that it loses order min(m, e^(b/2)) as well, and that the "
        "log m is gone where rankings are drawn from the bottom",
        prediction="Just below a closed-form threshold the winner is a response that most users like a "
        "little, and plurality veto loses near b (1 - 1/G) (log m)/2 with G = 4 blocks of favourites, at "
        "least b (log m)/4; just above it does not win. With a favourite for each of n groups the loss is "
        "n/2. Borda and Copeland stay within 2 C(b).",
        code="distalign.solvers.choice.veto.plurality_veto",
        theory="distalign.theory.distortion.vetoes.veto_share",
        presets={
            "test": {"temperatures": [5, 10], "per_block": [4, 16], "favourites": [4, 16]},
            "quick": {"temperatures": [3, 5, 10, 20], "per_block": [4, 16, 64], "favourites": [4, 16, 64]},
            "full": {
                "temperatures": [3, 4, 5, 7, 10, 14, 20, 30],
                "per_block": [4, 8, 16, 32, 64, 128, 256, 512],
                "favourites": [4, 8, 16, 32, 64, 128],
            },
        },
        seconds={"quick": 1, "full": 10},
    ),
    Claim(
        slug="rounded_margins",
        title="Rounded margins cost any rule at least Bd(b)",
        paper="probabilistic_voting",
        folder="distortion",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="As described in the abstract, whose theorems were not read: deterministic rules "
        "of margins rounded to fixed precision lose at least (5/8 - epsilon) b. Ours, proved in the "
        "study: where rounding keeps the sign the least worst case is exactly Bd(b), which Copeland has "
        "and which is at least 0.662 b; where small margins become 0 there is no bound",
        prediction="Thinned by indifferent users, a cycle of three looks alike in its three "
        "rotations, on one of which each deterministic rule loses Bd(b), though with exact margins "
        "Borda, Schulze and ranked pairs lose nothing there; Copeland never loses more. Rounded to the "
        "nearest, two responses look alike and each rule loses 1/f.",
        code="distalign.solvers.choice.voting.copeland",
        theory="distalign.theory.distortion.constants.borda_distortion",
        presets={
            "test": {"temperatures": [1, 10], "shares": [0.5, 0.01], "replicates": 50},
            "quick": {"temperatures": [1, 3, 10, 30, 100], "shares": [0.5, 0.01], "replicates": 100},
            "full": {
                "temperatures": [0.3, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 1000],
                "shares": [0.5, 0.1, 0.01, 1e-3],
                "replicates": 1000,
            },
        },
        seconds={"quick": 1, "full": 10},
    ),
    Claim(
        slug="annotator_identity",
        title="What a second answer of an annotator repairs",
        paper="heterogeneous",
        folder="distortion",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="As described in the abstract, whose theorems were not read: to learn the average reward "
        "of user types takes information about annotators, little of it gives first-order improvements, and "
        "full feedback consistent learning (that no sample-efficient consistent direct loss exists is not "
        "tested). The correction by two answers of one annotator, and all constants, are ours",
        prediction="Fits of anonymous answers miss mean differences D by -tanh(D/2) V/2, V the variance over "
        "annotators; corrected by the agreement of two answers of one annotator they miss -(1 - 3 sigma'(D)) "
        "M/3, M the third moment, or fourth order for symmetric tastes; averages of the types' fits err like "
        "n^-1/2.",
        code="distalign.solvers.choice.annotators.corrected_win",
        theory="distalign.theory.distortion.annotators.corrected_bias",
        presets={
            "test": {
                "instances": 20,
                "differences": [0.01, 0.02, 0.05, 0.1],
                "sizes": [10_000, 100_000, 1_000_000],
                "replicates": 40,
                "twins": 20,
            },
            "quick": {
                "instances": 50,
                "differences": [0.01, 0.02, 0.05, 0.1, 0.2, 0.4],
                "sizes": [1000, 10_000, 100_000, 1_000_000],
                "replicates": 60,
                "twins": 50,
            },
            "full": {
                "instances": 500,
                "differences": [0.01, 0.02, 0.05, 0.1, 0.2, 0.4],
                "sizes": [1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000],
                "replicates": 400,
                "twins": 500,
            },
        },
        seconds={"quick": 2, "full": 25},
    ),
)
