"""Claims of AOT."""

from distalign.claims.claim import Claim, quick_as_controls

CLAIMS = (
    Claim(
        slug="aot_transport",
        title="Sorting solves one-dimensional transport",
        paper="aot",
        kind="identity",
        source="paper",
        expects="holds",
        figure=False,
        statement="Sorting solves one-dimensional optimal transport with a convex cost (Santambrogio, "
        "Theorem 2.9, as the paper uses it); unequal counts and weights: ours",
        prediction="The sorted AOT value equals the linear program over couplings for every convex penalty, "
        "equal and unequal counts, any weights; for the 0/1 penalty it does not.",
        code="distalign.objectives.aot.aot_unpaired",
        theory="distalign.preferences.quantile_coupling",
        presets={
            "test": {"shapes": [[7, 7], [5, 8]], "replicates": 4},
            "quick": {"shapes": [[1, 1], [30, 30], [17, 40]], "replicates": 20},
            "full": {"shapes": [[1, 1], [30, 30], [17, 40], [200, 200], [150, 230]], "replicates": 100},
        },
        seconds={"quick": 1, "full": 32},
    ),
    Claim(
        slug="aot_rate",
        title="Sorted transport cost converges at n^-1/2",
        paper="aot",
        kind="rate",
        source="paper and ours",
        expects="matches -0.5",
        statement="Corollary 1 (n^-1/2 for the plug-in transport cost); that the exponent is exact at fixed "
        "laws, and its constant, is a central limit theorem (ours)",
        prediction="With two fixed Gaussians and least squares, the error of the sorted value falls like "
        "n^-1/2 and sqrt(n) times its standard deviation tends to 1.672.",
        code="distalign.objectives.aot.aot_unpaired",
        theory="distalign.theory.aot.transport.gaussian_least_squares_sd",
        presets={
            "test": {"sizes": [800, 2400, 7200], "replicates": 2500},
            "quick": {"sizes": [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600], "replicates": 1000},
            "full": {
                "sizes": [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200],
                "replicates": 4000,
            },
        },
        seconds={"quick": 4, "full": 35},
    ),
    Claim(
        slug="aot_null",
        title="Violation at equal laws: 1/n or n^-1/2",
        paper="aot",
        kind="rate",
        source="ours",
        expects="matches -1",
        statement="At equal uniform laws the expected plug-in violation is 1/(6(n+1)) (squared hinge) and "
        "sqrt(pi)/8 Gamma(n+1)/Gamma(n+3/2) (hinge): the n^-1/2 of Corollary 1 is met by one "
        "penalty and beaten by the other",
        prediction="On one population, where dominance just holds, the squared hinge's value falls like n^-1 "
        "and the hinge's like n^-1/2; both expectations are exact for every n.",
        code="distalign.objectives.aot.aot_unpaired",
        theory="distalign.theory.aot.finite_samples.null_hinge_exact",
        presets={
            "test": {"sizes": [1, 4, 64, 256, 1024], "replicates": 1000, "repeats": 4},
            "quick": {
                "sizes": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
                "replicates": 250,
                "repeats": 8,
            },
            "full": {
                "sizes": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096],
                "replicates": 300,
                "repeats": 10,
            },
        },
        seconds={"quick": 2, "full": 7},
    ),
    Claim(
        slug="aot_detection",
        title="False alarms of dominance fall exponentially",
        paper="aot",
        kind="growth",
        source="ours",
        expects="follows",
        statement="Samples of V ~ Unif(0, 1) and U ~ gap + Unif(0, 1) seem to violate dominance with chance "
        "n/(n+1) (1-gap)/(1+gap) (1-gap^2)^n; the paper asks for dominance and says nothing of its detection",
        prediction="The chance of a positive squared-hinge value falls like (1 - gap^2)^n, exponentially; "
        "without a gap it tends to 1.",
        code="distalign.objectives.aot.aot_unpaired",
        theory="distalign.theory.aot.finite_samples.false_violation",
        presets={
            "test": {"gaps": [0.0, 0.25], "sizes": [5, 10, 20, 40], "replicates": 20000},
            "quick": {"gaps": [0.0, 0.15, 0.25, 0.4], "sizes": [5, 10, 20, 40, 80], "replicates": 20000},
            "full": {"gaps": [0.0, 0.15, 0.25, 0.4], "sizes": [5, 10, 20, 40, 80], "replicates": 90000},
        },
        seconds={"quick": 1, "full": 8},
    ),
    Claim(
        slug="aot_batch_bias",
        title="Bias of sorting within small batches",
        paper="aot",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="Theorem 4 (the sorted gradient is asymptotically unbiased, without a rate); that value "
        "and gradient of sort batches of b are biased by a constant over b + 1, and what training "
        "makes of it: ours for this loss. That transport costs of minibatches are biased is known "
        "(arXiv 1910.04091), and closed forms in one dimension are in a paper of AISTATS 2026",
        prediction="Gradient accumulation trains the objective of its micro-batch: the excess of value and "
        "gradient falls with the sort batch alone, the learned spread is (b - 1)/(b + 1) of the "
        "reference's; two passes over single pairs give the whole batch's gradient.",
        code="distalign.objectives.aot.aot_paired",
        theory="distalign.theory.aot.finite_samples.sorted_bias",
        presets={
            "test": {"batches": [1, 4, 16], "replicates": 512, "samples": 512, "runs": 64, "steps": 24},
            "quick": {
                "batches": [1, 2, 4, 8, 16, 32, 64],
                "replicates": 256,
                "samples": 1024,
                "runs": 128,
                "steps": 24,
            },
            "full": {
                "batches": [1, 2, 4, 8, 16, 32, 64, 128, 256],
                "replicates": 640,
                "samples": 4096,
                "runs": 512,
                "steps": 60,
            },
        },
        seconds={"quick": 5, "full": 20},
    ),
    Claim(
        slug="aot_bound",
        title="Finite-sample bounds on the sorted cost",
        paper="aot",
        kind="bound",
        source="ours",
        expects="not violated",
        statement="E|OT_n - OT| <= (L/sqrt n)(S_U + S_V) <= 2LM/sqrt n with S the integral of sqrt(F(1-F)), "
        "for laws on [-M, M] and penalties L-Lipschitz on [-2M, 2M]; Corollary 1 has the exponent",
        prediction="The mean error of the sorted value never passes the bounds, a coin against a point meets "
        "the first and a coin against its mirror image the second, and every replicate stays below L times "
        "the sum of both Wasserstein distances.",
        code="distalign.objectives.aot.aot_unpaired",
        theory="distalign.theory.aot.finite_samples.explicit_bound",
        presets={
            "test": {"sizes": [1, 16, 64, 256, 1024], "replicates": 200},
            "quick": {"sizes": [1, 4, 16, 64, 256, 1024, 4096], "replicates": 200},
            "full": {"sizes": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096], "replicates": 1000},
        },
        seconds={"quick": 2, "full": 13},
    ),
    Claim(
        slug="aot_dual",
        title="Dual potentials have no duality gap",
        paper="aot",
        kind="identity",
        source="paper and ours",
        expects="holds",
        figure=False,
        statement="Duality of the transport cost and its potentials phi' = h'(u - T(u)); their discrete "
        "form, with weights: ours",
        prediction="The duals of the linear program are cumulative derivatives of the penalty along the "
        "sorted coupling, feasible and without a gap to the sorted value.",
        code="distalign.objectives.aot.aot_unpaired",
        theory="distalign.theory.aot.dual.potentials",
        presets={
            "test": {"shapes": [[7, 7], [5, 8]], "replicates": 4},
            "quick": {"shapes": [[1, 1], [30, 30], [17, 40]], "replicates": 30},
            "full": {"shapes": [[1, 1], [30, 30], [17, 40], [200, 200], [150, 230]], "replicates": 100},
        },
        seconds={"quick": 1, "full": 8},
    ),
    Claim(
        slug="aot_projection",
        title="Violation is distance to dominating laws",
        paper="aot",
        kind="identity",
        source="paper and ours",
        expects="holds",
        figure=False,
        statement="Appendix F: the violation with penalty (-x)_+^p is the least W_p^p from U to a law that "
        "dominates V; its exact form, reached at quantiles max(Q_U, Q_V): ours",
        prediction="For p = 1 and p = 2 the sorted hinge value equals a linear program over all dominating "
        "laws, and the program's law for p = 2 is that of the larger quantile.",
        code="distalign.objectives.aot.aot_unpaired",
        theory="distalign.preferences.quantile_coupling",
        presets={
            "test": {"shapes": [[1, 1], [5, 8]], "replicates": 4},
            "quick": {"shapes": [[1, 1], [12, 12], [9, 15]], "replicates": 10},
            "full": {"shapes": [[1, 1], [12, 12], [9, 15], [30, 40]], "replicates": 40},
        },
        seconds={"quick": 1, "full": 11},
    ),
    Claim(
        slug="aot_softsort",
        title="Soft sort is the hard sort up to a threshold",
        paper="aot",
        kind="identity",
        source="ours",
        expects="holds",
        figure=False,
        statement="The quadratic soft sort is the hard sort while no gap of the sorted values exceeds 1 / "
        "strength; the paper's Table 7 finds soft and hard sorting on par",
        prediction="Up to the threshold soft sort and hard sort agree to rounding, value of AOT included; "
        "beyond it they do not; the solver is the projection on the permutahedron on both sides.",
        code="distalign.solvers.soft_sort.soft_sort",
        theory="distalign.solvers.soft_sort.exact_strength",
        presets={
            "test": {"shares": [0.5, 1.0, 2.0], "sizes": [2, 5, 35], "oracle_up_to": 5, "replicates": 4},
            "quick": {
                "shares": [0.1, 0.5, 0.9, 1.0, 1.1, 2.0, 10.0],
                "sizes": [2, 6, 35],
                "oracle_up_to": 6,
                "replicates": 10,
            },
            "full": {
                "shares": [0.1, 0.5, 0.9, 1.0, 1.1, 2.0, 10.0],
                "sizes": [2, 6, 10, 35, 350],
                "oracle_up_to": 10,
                "replicates": 100,
            },
        },
        seconds={"quick": 1, "full": 13},
    ),
    Claim(
        slug="aot_excess",
        title="Excess violation after training falls as 1/n",
        paper="aot",
        kind="rate",
        source="paper and ours",
        expects="respected, faster than guaranteed",
        statement="Corollary 1 (excess violation of the empirical minimiser of order n^-1/2 + m^-1/2); that "
        "it falls like 1/n where the minimum is isolated and curved, and all constants: ours",
        prediction="The policy trained on n responses of each class loses about 1/n, its generalisation gap "
        "and the error at theta* fall like n^-1/2, with the constants of potentials and "
        "curvature, also for unequal n and m.",
        code="distalign.objectives.aot.aot_unpaired",
        theory="distalign.theory.aot.excess.excess_constant",
        presets=quick_as_controls(
            test={"sizes": [25600, 204800, 1638400], "replicates": 250},
            full={
                "sizes": [100, 800, 6400, 25600, 102400, 204800, 409600, 819200, 1638400],
                "replicates": 4500,
            },
        ),
        seconds={"quick": 4, "full": 58},
    ),
    Claim(
        slug="aot_local",
        title="No better uniform rate than n^-1/2",
        paper="aot",
        kind="rate",
        source="ours",
        expects="matches -0.5",
        statement="No bound better than the n^-1/2 of Corollary 1 holds for all policy classes: two policies "
        "whose population costs differ by c sd / sqrt(n)",
        prediction="Under such local alternatives the expected excess is c Phi(-c) sd / sqrt(n), with the "
        "constant.",
        code="distalign.objectives.aot.aot_unpaired",
        theory="distalign.theory.aot.excess.two_policy_excess",
        presets={
            "test": {"sizes": [409600, 6553600, 104857600], "replicates": 25000},
            "quick": {"sizes": [100, 1600, 25600, 409600, 2097152, 10485760, 104857600], "replicates": 8000},
            "full": {
                "sizes": [100, 400, 1600, 6400, 25600, 102400, 409600, 1638400, 6553600, 26214400, 104857600],
                "replicates": 25000,
            },
        },
        seconds={"quick": 1, "full": 11},
    ),
    Claim(
        slug="aot_paired_pooled",
        title="Reference quantiles pooled over all batches",
        paper="aot",
        kind="separation",
        source="ours",
        expects="shown",
        statement="Paired AOT in batches: quantiles of the reference's margins, which do not depend on the "
        "policy, from all data instead of from the batch",
        prediction="In small batches pooled reference quantiles train a policy of lower violation, because "
        "the batch's own tilt the objective to the reference; near the reference, though, the "
        "pooled value is the more biased one.",
        code="distalign.objectives.aot.aot_paired",
        theory="distalign.preferences.quantile_coupling",
        presets=quick_as_controls(
            test={"batches": [4], "pairs": 512, "instances": 24, "blocks": 1},
            control={"batches": [4], "pairs": 256, "instances": 160, "blocks": 1},
            full={"batches": [2, 4, 8, 16, 32, 64], "pairs": 1024, "instances": 20, "blocks": 10},
        ),
        seconds={"quick": 21, "full": 55},
    ),
    Claim(
        slug="aot_penalties",
        title="The hinge leaves fewer quantiles short",
        paper="aot",
        kind="separation",
        source="paper and ours",
        expects="shown",
        statement="Appendix F remarks that the hinge gives sparse violations; measured where a margin of "
        "dominance is infeasible, with a theorem on effective shares: ours",
        prediction="At its minimiser the hinge leaves fewer quantiles short of the margin than the squared "
        "hinge, by more each; least squares leaves the most.",
        code="distalign.objectives.aot.aot_paired",
        theory="distalign.oracles.aot_hinge.hinge_minimum",
        presets=quick_as_controls(
            test={"instances": 30, "blocks": 1},
            control={"instances": 60, "blocks": 1},
            full={"instances": 25, "blocks": 16},
        ),
        seconds={"quick": 8, "full": 33},
    ),
    Claim(
        slug="aot_scale",
        title="The logistic penalty pushes to the rim",
        paper="aot",
        kind="growth",
        source="ours",
        expects="follows",
        statement="Assumption 3 bounds the parameter; with the logistic penalty that ball decides: the best "
        "unpaired policy lies on its rim at every radius, in all but a few populations",
        prediction="Along the true direction the value of the logistic penalty tends to an exact limit; the "
        "norm of the best policy within a ball is the ball's radius, and its value keeps falling, where no "
        "finite minimiser is found; least squares has its minimum inside.",
        code="distalign.objectives.aot.aot_unpaired",
        theory="distalign.theory.aot.scale.ray_limit",
        presets=quick_as_controls(
            test={"instances": 16, "blocks": 1},
            full={"instances": 25, "blocks": 16},
        ),
        seconds={"quick": 6, "full": 31},
    ),
    Claim(
        slug="aot_versus",
        title="AOT, DPO, IPO and KTO at one divergence",
        paper="aot",
        kind="separation",
        source="ours",
        expects="shown",
        statement="DPO, IPO, KTO and both AOTs at one KL divergence on random Bradley-Terry populations (the "
        "paper compares them on language models)",
        prediction="Where the class does not fit, paired AOT violates paired dominance least; unpaired AOT "
        "does not, and lowers the chosen log-ratio most; where the class fits, DPO gains the most "
        "utility.",
        code="distalign.objectives.aot.aot_paired",
        theory="distalign.objectives.dpo.dpo",
        presets=quick_as_controls(
            test={"instances": 40, "blocks": 1},
            control={"instances": 160, "blocks": 1},
            full={"instances": 25, "blocks": 16},
        ),
        seconds={"quick": 14, "full": 28},
    ),
    Claim(
        slug="sinkhorn_sort",
        title="Sinkhorn in place of sorting: rate and bias",
        paper="aot",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="Remark 2: entropic transport keeps the rate n^-1/2. The constant for normal laws, and the "
        "bias against the sorted value, are ours (closed forms of the plan: Janati et al. 2020)",
        prediction="At every strength the regularised value of n draws errs by a constant times n^-1/2, that "
        "of its optimal potentials; the transport cost of the plan exceeds the sorted value by 2 s t (1 - "
        "rho), half of the strength to first order and never more, at any n.",
        code="distalign.solvers.sinkhorn.sinkhorn",
        theory="distalign.theory.aot.entropic.entropic_value_sd",
        presets={
            "test": {"strengths": [0.5, 2.0], "sampled": [1.0], "sizes": [3000, 300_000], "replicates": 2000},
            "quick": {
                "strengths": [0.5, 1.0, 2.0, 4.0, 16.0],
                "sampled": [1.0, 4.0],
                "sizes": [3000, 30_000, 300_000],
                "replicates": 2000,
            },
            "full": {
                "strengths": [0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 16.0, 32.0, 64.0],
                "sampled": [0.5, 1.0, 4.0],
                "sizes": [3000, 30_000, 300_000],
                "replicates": 30_000,
            },
        },
        seconds={"quick": 1, "full": 30},
    ),
    Claim(
        slug="aot_paired_excess",
        title="Paired AOT: excess 1/n, and a bound in n^-1/2",
        paper="aot",
        kind="rate",
        source="paper and ours",
        expects="respected, faster than guaranteed",
        statement="Theorem 3 (excess violation of the paired empirical minimiser of order n^-1/2, by three "
        "Rademacher complexities); 1/n at an isolated and curved minimum with its constant, the bound with "
        "explicit constants, and the two policies that meet n^-1/2: ours",
        prediction="The policy trained on n pairs loses tr H^-1 Cov(dphi + dpsi) / 2n and never more than "
        "(L/sqrt n)(S_U* + 2 S_V + S_class); sorting against the exact law of the reference's margins, "
        "which takes S_V out of the bound, loses more; two policies lose c Phi(-c) sd / sqrt(n).",
        code="distalign.objectives.aot.aot_paired",
        theory="distalign.theory.aot.paired.paired_covariance",
        presets=quick_as_controls(
            test={"sizes": [1000, 10**8, 10**10], "replicates": 250, "choices": 4000},
            full={
                "sizes": [1000, 10_000, 100_000, 10**6, 10**8, 10**9, 10**10],
                "replicates": 1200,
                "choices": 20_000,
            },
        ),
        seconds={"quick": 11, "full": 40},
    ),
)
