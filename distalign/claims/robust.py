"""Claims of WDPO and KLDPO."""

from distalign.claims.claim import Claim, quick_as_controls

CLAIMS = (
    Claim(
        slug="dro_duality",
        title="Robust losses match their dual and worst law",
        paper="robust",
        kind="identity",
        source="paper and ours",
        expects="holds",
        figure=False,
        statement="Duality of the robust losses over KL and Wasserstein balls (the paper's lemmas; displayed "
        "formulas not seen, written down again); finite programs for the log-linear class and "
        "their certificates: ours",
        prediction="The solvers' value equals their lower bound, cvxpy's program, and a supremum over "
        "couplings, laws or moves; the worst law is exactly the radius away (POT, KL).",
        code="distalign.solvers.robust.wasserstein_finite.fit_finite",
        theory="distalign.oracles.wasserstein.wasserstein_finite_fit",
        presets={
            "test": {"shares": [0.5], "instances": 1},
            "quick": {"shares": [0.2, 0.8], "instances": 2},
            "full": {"shares": [0.02, 0.2, 0.5, 0.8, 0.95], "instances": 8},
        },
        seconds={"quick": 1, "full": 11},
    ),
    Claim(
        slug="dro_invariants",
        title="Properties that every robust loss has",
        paper="robust",
        kind="bound",
        source="ours",
        expects="not violated",
        figure=False,
        statement="Every robust loss is at least the plain one, does not fall as the ball grows, is convex "
        "in theta, is log 2 at the reference policy, and bounds the loss under every law of the "
        "ball. Consequences of the definition",
        prediction="None of it fails, for KL, W1 and W2 on the finite space and on R^d, at radii up to and "
        "beyond collapse; laws built without a solver attain the bound at small radii.",
        code="distalign.solvers.robust.wasserstein_ball.wasserstein_worst_case",
        theory="distalign.theory.robust.wasserstein.sandwich",
        presets={
            "test": {"parameters": 10, "instances": 1},
            "quick": {"parameters": 20, "instances": 2},
            "full": {"parameters": 100, "instances": 20},
        },
        seconds={"quick": 2, "full": 22},
    ),
    Claim(
        slug="dro_sandwich",
        title="Robust loss between two gradient penalties",
        paper="robust",
        kind="bound",
        source="ours",
        expects="not violated",
        statement="The W2-robust loss on R^d is at least the plain loss plus the root-mean-square gradient "
        "regulariser, and at most that plus a Taylor term or the Lipschitz bound; on a finite "
        "space its premium starts like rho^2. The paper has the regulariser as an expansion",
        prediction="Neither side of the sandwich is violated at any parameter and radius; the premium on the "
        "finite space is eta rho^2 as long as its cheapest source lasts.",
        code="distalign.solvers.robust.wasserstein_euclidean.robust_loss",
        theory="distalign.theory.robust.wasserstein.sandwich",
        presets={
            "test": {"radii": [0.001, 0.1, 1.0], "parameters": 20, "instances": 2},
            "quick": {"radii": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0], "parameters": 20, "instances": 4},
            "full": {
                "radii": [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0],
                "parameters": 100,
                "instances": 20,
            },
        },
        seconds={"quick": 2, "full": 18},
    ),
    Claim(
        slug="dro_collapse",
        title="Radius at which the optimum is the reference",
        paper="robust",
        kind="separation",
        source="ours",
        expects="shown",
        statement="Above a critical radius, the distance to a law under which the features have mean zero, "
        "the robust optimum is the reference policy itself: KL by information projection, finite "
        "Wasserstein by a linear program, W1 and W2 on R^d at |E v|/2 and |E v|. No statement of "
        "the paper, which assumes its regularity for every radius used",
        prediction="Just above the threshold theta is exactly 0 and the value log 2; just below it the "
        "robust optimum beats the reference. In between 0 and the threshold it shrinks to 0.",
        code="distalign.solvers.robust.wasserstein_finite.fit_finite",
        theory="distalign.solvers.robust.collapse.wasserstein_collapse_radius",
        presets={
            "test": {"shares": [0.999, 1.001], "instances": 7},
            "quick": {"shares": [0.01, 0.1, 0.3, 0.6, 0.9, 0.999, 1.001, 1.5], "instances": 12},
            "full": {
                "shares": [
                    0.003,
                    0.01,
                    0.03,
                    0.1,
                    0.2,
                    0.3,
                    0.4,
                    0.5,
                    0.6,
                    0.7,
                    0.8,
                    0.9,
                    0.95,
                    0.99,
                    0.999,
                    1.001,
                    1.01,
                    1.1,
                    1.5,
                    3.0,
                ],
                "instances": 20,
            },
        },
        seconds={"quick": 6, "full": 20},
    ),
    Claim(
        slug="dro_strong_convexity",
        title="Robust losses are strongly convex",
        paper="robust",
        kind="bound",
        source="paper",
        expects="not violated",
        statement="Both robust losses are gamma lambda-strongly convex where |theta| <= B, gamma = beta^2 "
        "sigma(4 beta B) sigma(-4 beta B), lambda the coverage of the worst law of the ball (the "
        "paper's lemmas; lambda computed here)",
        prediction="The modulus never falls below gamma lambda. At random pairs how far above it stays grows "
        "with the radius, for lambda is the worst law's and gamma the worst margin's; with two responses of "
        "opposite features, at the largest parameters allowed, it is within one per cent.",
        code="distalign.solvers.robust.wasserstein_ball.wasserstein_worst_case",
        theory="distalign.theory.robust.wasserstein.strong_convexity",
        presets={
            "test": {
                "radii": {"W1 finite": [0.02], "W2 finite": [0.05], "KL": [0.001]},
                "triples": 100,
                "instances": 1,
            },
            "quick": {
                "radii": {
                    "W1 finite": [0.005, 0.02, 0.05],
                    "W2 finite": [0.05, 0.15],
                    "KL": [0.0001, 0.001, 0.01],
                },
                "triples": 300,
                "instances": 2,
            },
            "full": {
                "radii": {
                    "W1 finite": [0.002, 0.005, 0.01, 0.02, 0.05, 0.1],
                    "W2 finite": [0.02, 0.05, 0.1, 0.2, 0.3],
                    "KL": [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1],
                },
                "triples": 2000,
                "instances": 6,
            },
        },
        seconds={"quick": 2, "full": 20},
    ),
    Claim(
        slug="dro_bounds",
        title="Error bounds of WDPO, KLDPO and DPO",
        paper="robust",
        kind="bound",
        source="paper and ours",
        expects="not violated",
        statement="Theorem 1 (WDPO), Theorem 2 (KLDPO) and Proposition 1 (DPO) with their constants, at "
        "confidence 95 % (words of the paper; displayed formulas not seen, derived again from its "
        "proofs); Theorem 2 with exp of the losses' range over the multiplier: ours",
        prediction="No replicate violates a bound. On the tightest instance that we found Proposition 1 says "
        "something from 2 10^3 comparisons on, Theorem 1 from 3 10^3, Theorem 2 from 5 10^4 at best; with "
        "multipliers that serve all parameters it is vacuous at every size. Squared errors lie below a "
        "fiftieth of the right-hand sides.",
        code="distalign.solvers.robust.wasserstein_finite.fit_finite",
        theory="distalign.theory.robust.wasserstein.wasserstein_error_bound",
        presets={
            "test": {"sizes": [10000, 100000000, 10000000000000000], "replicates": 20},
            "quick": {
                "sizes": [
                    10000,
                    1000000,
                    100000000,
                    10000000000,
                    1000000000000,
                    100000000000000,
                    10000000000000000,
                ],
                "replicates": 60,
            },
            "full": {"sizes": [10**k for k in range(3, 18)], "replicates": 400},
        },
        seconds={"quick": 1, "full": 13},
    ),
    Claim(
        slug="kldpo_shrinkage",
        title="KLDPO is a shrunk DPO",
        paper="robust",
        kind="identity",
        source="ours",
        expects="holds",
        statement="Where Bradley-Terry holds and the class fits it, KLDPO is DPO shrunk to the reference by "
        "tau/(1+tau), in the same direction; over a ball, with the ball's own multiplier as tau. "
        "No statement of the paper",
        prediction="The minimiser of KLDPO is tau/(1+tau) times DPO's parameter with cosine 1, and that of "
        "Dr. DPO beta'/(beta'-1) times: a robust loss that looks like a larger beta.",
        code="distalign.objectives.kldpo.kldpo",
        theory="distalign.theory.robust.kldpo.shrinkage_factor",
        presets={
            "test": {"temperatures": [0.1, 1], "radii": [0.3], "stretches": [2], "instances": 1},
            "quick": {
                "temperatures": [0.05, 0.1, 0.3, 1, 3, 10],
                "radii": [0.02, 0.1, 0.3, 0.6, 0.9],
                "stretches": [1.5, 2, 5, 10],
                "instances": 5,
            },
            "full": {
                "temperatures": [0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10],
                "radii": [0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95],
                "stretches": [1.5, 2, 3, 5, 10, 20],
                "instances": 50,
            },
        },
        seconds={"quick": 2, "full": 31},
    ),
    Claim(
        slug="kldpo_rate",
        title="KLDPO's error falls faster than guaranteed",
        paper="robust",
        kind="rate",
        source="paper and ours",
        expects="respected, faster than guaranteed",
        statement="Theorem 2 (KLDPO: the squared error falls at least like n^-1/2, so the error like n^-1/4, "
        "at a fixed radius, towards the robust optimum; displayed formula not seen, derived again "
        "from the proof); the observed n^-1/2 is the parametric rate that arXiv 2509.19104 proves for robust "
        "preference losses, its constant is ours",
        prediction="The error respects the guarantee n^-1/4; measured it falls like n^-1/2, as a smooth "
        "M-estimator's does, with the constant of the sandwich covariance.",
        code="distalign.solvers.robust.kl_fit.fit_kl_temperature",
        theory="distalign.theory.robust.kldpo.ball_covariance",
        presets={
            "test": {"sizes": [3000, 40000, 4000000, 400000000], "replicates": 150},
            "quick": {
                "sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000],
                "replicates": 240,
            },
            "full": {
                "sizes": [100, 300, 1000, 3000, 10000, 30000, 100000, 300000, 1000000, 3000000, 10000000],
                "replicates": 3000,
            },
        },
        seconds={"quick": 3, "full": 27},
    ),
    Claim(
        slug="wdpo_rate",
        title="WDPO's error falls faster than guaranteed",
        paper="robust",
        kind="rate",
        source="paper and ours",
        expects="respected, faster than guaranteed",
        statement="Theorem 1 (WDPO: the squared error falls at least like n^-1/2, so the error like n^-1/4, "
        "at a fixed radius, towards the robust optimum; displayed formula not seen, derived again "
        "from the proof); the n^-1/2 is the parametric rate that arXiv 2509.19104 proves for robust "
        "preference losses; its constant, the regime where both hold and the exact corner are ours",
        prediction="The error respects the guarantee n^-1/4; it falls like n^-1/2 with the constant of the "
        "sandwich covariance once n is so large that the piecewise dual stays on its piece. "
        "Before, a decade can look like -1/4; at a corner of the dual the estimate is exact.",
        code="distalign.solvers.robust.wasserstein_replicates.fit_replicates",
        theory="distalign.theory.robust.rates.transport_limit",
        presets=quick_as_controls(
            test={"sizes": [1000, 10000, 100000, 1000000, 100000000], "replicates": 60},
            full={
                "sizes": [
                    100,
                    300,
                    1000,
                    3000,
                    10000,
                    30000,
                    100000,
                    300000,
                    1000000,
                    3000000,
                    10000000,
                    100000000,
                    1000000000,
                ],
                "replicates": 600,
            },
        ),
        seconds={"quick": 4, "full": 43},
    ),
    Claim(
        slug="dro_radius_schedule",
        title="Radii that shrink as the data grow",
        paper="robust",
        kind="growth",
        source="ours",
        expects="follows",
        statement="Radii that shrink with n, and the distance to DPO's population solution theta*. No "
        "statement of the paper, whose n^-1/4 is an upper bound at fixed radius on the distance to "
        "the robust optimum. That balls which hold the truth cost n^-1/4 and smaller ones do not is "
        "a finding of arXiv 2509.19104, too; the laws and constants are ours",
        prediction="The distance to theta* is drift and noise: like n^-1/4 for KL at n^-1/2, for W2 on R^d "
        "at n^-1/4 and for W1 on the finite space at n^-1/4, like n^-1/2 at smaller radii; the "
        "same fits approach the robust optimum of their radius like n^-1/2. Balls that hold the "
        "truth in 95 % of draws cost n^-1/4 on R^d only.",
        code="distalign.solvers.robust.kl_fit.fit_kl_ball",
        theory="distalign.theory.robust.schedules.transport_drift",
        presets=quick_as_controls(
            test={
                "sizes": [1000000, 100000000, 10000000000, 100000000000, 1000000000000],
                "replicates": 20,
                "limit_draws": 100,
            },
            control={
                "sizes": [1000000, 100000000, 10000000000, 100000000000, 1000000000000],
                "replicates": 60,
                "limit_draws": 100,
            },
            full={"sizes": [10**k for k in range(3, 13)], "replicates": 300, "limit_draws": 1000},
        ),
        seconds={"quick": 6, "full": 35},
    ),
    Claim(
        slug="kldpo_minibatch",
        title="Released KLDPO depends on the micro-batch",
        paper="robust",
        kind="growth",
        source="ours",
        expects="follows",
        statement="The released KLDPO (Algorithm 2 with weights not normalised, clamped at 10, centred on "
        "one micro-batch) has on micro-batches of B the temperature tau B/(B-1), so it is DPO for "
        "B = 1. No statement of the paper",
        prediction="While no weight is clamped the released loss trains tau B/(B(1+tau)-1) times DPO's "
        "solution in place of tau/(1+tau); weights normalised in the micro-batch are biased more; "
        "the mean weight multiplies the learning rate, by orders of magnitude at DPO's solution "
        "but for the clamp.",
        code="distalign.objectives.kldpo.kldpo",
        theory="distalign.theory.robust.algorithms.batch_temperature",
        presets={
            "test": {"temperatures": [1.0, 0.3], "batches": [1, 2, 16], "samples": 16384, "replicates": 24},
            "quick": {
                "temperatures": [1.0, 0.3, 0.1],
                "batches": [1, 2, 4, 16, 64],
                "samples": 4096,
                "replicates": 24,
            },
            "full": {
                "temperatures": [1.0, 0.3, 0.1],
                "batches": [1, 2, 4, 8, 16, 32, 64, 128, 256],
                "samples": 32768,
                "replicates": 64,
            },
        },
        seconds={"quick": 4, "full": 22},
    ),
    Claim(
        slug="wdpo_gradients",
        title="WDPO without differentiating twice",
        paper="robust",
        kind="growth",
        source="ours",
        expects="follows",
        statement="WDPO's gradient without double backward (the paper differentiates twice): DPO at inputs "
        "moved along their own gradient, by one step or by central differences",
        prediction="The one-step form is wrong by order delta, the central one by delta^2, with the "
        "constants of the second and third derivative along the move; through the ratio the "
        "penalty is 0 at the reference, through the policy alone it is not.",
        code="distalign.objectives.wdpo.wdpo",
        theory="distalign.objectives.dpo.dpo",
        presets={
            "test": {"moves": [1e-4, 1e-3], "instances": 1},
            "quick": {"moves": [1e-4, 1e-3, 1e-2, 1e-1, 1.0], "instances": 3},
            "full": {"moves": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 0.3, 1.0], "instances": 20},
        },
        seconds={"quick": 4, "full": 20},
    ),
    Claim(
        slug="dro_noise_vs_shift",
        title="Flipped labels against a moved reward",
        paper="robust",
        kind="separation",
        source="ours",
        expects="shown",
        statement="KLDPO and Dr. DPO on flipped labels and on a moved reward: one tilt with opposite signs. "
        "Not in the paper, as far as it was read",
        prediction="Flipped labels shrink the margin and KLDPO shrinks it again, so it loses to DPO and Dr. "
        "DPO wins; a conflicting reward asks for a shorter margin, and it is the other way "
        "round.",
        code="distalign.objectives.robust_baselines.dr_dpo",
        theory="distalign.theory.robust.algorithms.pair_optimum",
        presets={
            "test": {"flips": [0.0, 0.2], "shares": [0.0, 1.0], "instances": 20, "blocks": 1},
            "quick": {
                "flips": [0.0, 0.1, 0.2, 0.3],
                "shares": [0.0, 0.25, 0.5, 1.0],
                "instances": 40,
                "blocks": 1,
            },
            "full": {
                "flips": [0.0, 0.1, 0.2, 0.3, 0.4],
                "shares": [0.0, 0.1, 0.25, 0.5, 0.75, 1.0],
                "instances": 50,
                "blocks": 8,
            },
        },
        seconds={"quick": 2, "full": 11},
    ),
    Claim(
        slug="dro_small_sample",
        title="Robust losses help early and cost late",
        paper="robust",
        kind="separation",
        source="ours",
        expects="shown",
        statement="Excess DPO loss of KLDPO and WDPO on n pairs of a population that does not move: "
        "regularisation early, bias late. Not in the paper",
        prediction="At n = 100 KLDPO and WDPO lose less than DPO, and so does a shrunk DPO; at n = 25600 "
        "they lose more; KLDPO's excess is its shrinkage bias plus tr(HV)/2n.",
        code="distalign.solvers.robust.kl_fit.fit_kl_temperature",
        theory="distalign.theory.robust.algorithms.excess_loss",
        presets={
            "test": {"sizes": [100, 25600], "replicates": 150},
            "quick": {"sizes": [100, 400, 1600, 6400, 25600], "replicates": 400},
            "full": {"sizes": [50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600], "replicates": 2000},
        },
        seconds={"quick": 2, "full": 25},
    ),
    Claim(
        slug="wdpo_surrogate",
        title="Gradient penalty against the worst case",
        paper="robust",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="WDPO's gradient penalty (Algorithm 1, root; appendix and released code, squared) as the "
        "first-order form of a type-2 Wasserstein worst case; displayed formulas not seen. Order "
        "and constant of the error, the priced reading of the squared form, and the finite-space "
        "remark: ours",
        prediction="Both penalties lie below their worst case by a constant times rho^2 that theory "
        "computes, their minimisers cost at most that gap, and the squared form implies a ball of "
        "about 2 rho times the root mean square gradient.",
        code="distalign.objectives.wdpo.wdpo",
        theory="distalign.theory.robust.algorithms.root_gap",
        presets={
            "test": {"radii": [0.0025, 0.16], "instances": 2},
            "quick": {"radii": [0.0025, 0.01, 0.04, 0.08, 0.16], "instances": 6},
            "full": {"radii": [0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32], "instances": 50},
        },
        seconds={"quick": 2, "full": 28},
    ),
    Claim(
        slug="dro_shift",
        title="Robust policies when the reward moves",
        paper="robust",
        kind="separation",
        source="paper and ours",
        expects="shown",
        statement="The paper's log-linear setting with a moving reward (it reports flatter curves on "
        "language models, without intervals); the shrunk-DPO controls, certificates and the "
        "comparison with known groups: ours",
        prediction="Robust policies lose nominal reward and win under a shift only if the rewards conflict; "
        "KLDPO is then a shrunk DPO exactly, on a mixture of groups nearly; what turns the "
        "direction is to be told the groups.",
        code="distalign.objectives.robust_baselines.group_dpo",
        theory="distalign.theory.robust.kldpo.shrinkage_factor",
        presets={
            "test": {"angles": [60.0, 120.0], "instances": 10, "blocks": 1},
            "control": {"angles": [60.0, 120.0], "instances": 30, "blocks": 1},
            "quick": {"angles": [60.0, 120.0], "instances": 20, "blocks": 1},
            "full": {"angles": [60.0, 120.0, 160.0], "instances": 20, "blocks": 10},
        },
        seconds={"quick": 9, "full": 32},
    ),
    Claim(
        slug="kldpo_ratio_bound",
        title="KLDPO's weights bound the density ratio",
        paper="robust",
        kind="bound",
        source="paper and ours",
        expects="not violated",
        statement="Proposition 4 (-mu - lam <= -mean l: weights centred at the mean loss bound the density "
        "ratio of the worst law from above; it is Jensen's inequality). The factor exp KL(P || Q), its "
        "expansion with remainders, the clamp and the micro-batches: ours",
        prediction="The weight is the ratio times exp KL(P || Q), to second order exp(var l / (2 lam^2)) = "
        "exp(rho); the clamp at 10 ends the bound where the ratio exceeds 10; on a micro-batch it holds for "
        "the batch's own law, and fails for the population's with a chance that theory computes.",
        code="distalign.objectives.kldpo.kldpo",
        theory="distalign.theory.robust.reweighting.log_looseness",
        presets={
            "test": {
                "problems": 120,
                "blocks": 1,
                "temperatures": [1.0, 2.0],
                "batches": [1, 2, 16],
                "samples": 4000,
            },
            "quick": {
                "problems": 150,
                "blocks": 2,
                "temperatures": [1.0, 2.0, 5.0],
                "batches": [1, 2, 4, 16, 64],
                "samples": 4000,
            },
            "full": {
                "problems": 250,
                "blocks": 8,
                "temperatures": [1.0, 2.0, 5.0],
                "batches": [1, 2, 4, 8, 16, 32, 64, 128],
                "samples": 20_000,
            },
        },
        seconds={"quick": 2, "full": 16},
    ),
    Claim(
        slug="dro_worst_shift",
        title="How far preferences move before DPO loses",
        paper="robust",
        kind="separation",
        source="ours",
        expects="shown",
        statement="The paper says that DPO fails where preferences shift. Ours: the least distance of a law "
        "under which a policy is no better than the reference, by KL, chi-square and Wasserstein balls",
        prediction="KLDPO breaks even ((2 + tau)/(1 + tau))^2 as far away as DPO in KL and chi-square, where "
        "preferences are weak; DPO shrunk by tau/(1 + tau) does the same in every ball, and in KL no policy "
        "passes the limit of shrunk DPO, the collapse radius.",
        code="distalign.solvers.robust.kl_fit.fit_kl_temperature",
        theory="distalign.theory.robust.break_even.kl_break_even",
        presets={
            "test": {"norms": [0.25, 2.5, 5.0], "shares": [0.5], "instances": 8},
            "quick": {"norms": [0.25, 2.5, 5.0], "shares": [0.1, 0.5, 1.0], "instances": 8},
            "full": {
                "norms": [0.25, 1.0, 2.5, 5.0],
                "shares": [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
                "instances": 50,
            },
        },
        seconds={"quick": 11, "full": 35},
    ),
)
