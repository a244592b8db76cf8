"""Claims of f-DPO."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="f_dpo_kkt",
        title="f-DPO optimum by three independent solvers",
        paper="f_dpo",
        kind="identity",
        source="paper and ours",
        expects="holds",
        figure=False,
        statement="Theorem 1 (the stationarity conditions give the reward as beta f'(pi/pi_ref) up to a "
        "constant, if f' tends to minus infinity at 0; wording not seen); three roads to the "
        "optimum and the exact place where chi-squared and total variation drop responses: ours",
        prediction="For eight admissible divergences the conic program, the stationarity solver and the "
        "minimiser of f-DPO on the exact law agree, and the reward is recovered; chi-squared and "
        "total variation lose responses where predicted.",
        code="distalign.objectives.f_dpo.f_dpo",
        theory="distalign.theory.f_dpo.closed_forms.chi2_threshold",
        presets={
            "test": {"betas": [1, 0.1], "problems": 1},
            "quick": {"betas": [1, 0.1], "problems": 3},
            "full": {"betas": [3, 1, 0.3, 0.1], "problems": 50},
        },
        seconds={"quick": 3, "full": 95},
    ),
    Claim(
        slug="f_dpo_population",
        title="f-DPO ends at the regularised optimum",
        paper="f_dpo",
        kind="identity",
        source="paper and ours",
        expects="holds",
        figure=False,
        statement="Theorem 1 read as a statement on training (wording not seen): whatever connected pairs "
        "are shown, f-DPO on Bradley-Terry answers ends at the f-regularised optimum; that "
        "neighbours alone suffice is ours",
        prediction="The minimiser of f-DPO on the exact law of answers is the optimum of E r - beta D_f for "
        "pairs from the reference, from another law, correlated, and for neighbours only; with "
        "Thurstone's answers it is not.",
        code="distalign.objectives.f_dpo.f_dpo",
        theory="distalign.solvers.kkt.regularised_policy",
        presets={
            "test": {"betas": [1], "problems": 2},
            "quick": {"betas": [1, 0.2], "problems": 5},
            "full": {"betas": [5, 1, 0.3, 0.1], "problems": 200},
        },
        seconds={"quick": 2, "full": 20},
    ),
    Claim(
        slug="f_dpo_erm",
        title="f-DPO on a sample is a Bradley-Terry fit",
        paper="f_dpo",
        kind="identity",
        source="ours",
        expects="holds",
        figure=False,
        statement="Two steps in one: on any sample f-DPO is the f-regularised optimum of the Bradley-Terry "
        "fit, for every admissible f, and has one minimiser exactly where that fit exists (Ford "
        "1957 for the fit). No statement of the paper",
        prediction="f-DPO's minimiser on counts equals the optimum of the maximum-likelihood reward, and is "
        "unique exactly where the comparison graph is strongly connected.",
        code="distalign.objectives.f_dpo.f_dpo",
        theory="distalign.solvers.bradley_terry.bradley_terry_rewards",
        presets={
            "test": {"sizes": [20], "betas": [0.5], "replicates": 6},
            "quick": {"sizes": [25, 1000], "betas": [0.5], "replicates": 6},
            "full": {"sizes": [20, 100, 3000], "betas": [5, 1, 0.3, 0.1], "replicates": 400},
        },
        seconds={"quick": 3, "full": 28},
    ),
    Claim(
        slug="f_dpo_rate",
        title="f-DPO from n pairs: n^-1/2 with constants",
        paper="f_dpo",
        kind="rate",
        source="ours",
        expects="matches -0.5",
        statement="n pairs miss the f-regularised optimum by a total variation of order n^-1/2 and a D_f of "
        "order 1/n, with constants from the delta method; for the Jensen-Shannon divergence at "
        "small beta only from very many pairs on. No statement of the paper",
        prediction="Both exponents and the constants hold from the n at which every log-probability is known "
        "to 1/16; at beta = 0.5 the Jensen-Shannon divergence is a quarter below its limit at n = "
        "500.",
        code="distalign.objectives.f_dpo.f_dpo",
        theory="distalign.theory.f_dpo.asymptotics.policy_covariance",
        presets={
            "test": {"sizes": [500, 256000, 1024000, 4096000, 16384000], "replicates": 600},
            "quick": {
                "sizes": [500, 2000, 8000, 32000, 128000, 512000, 2048000, 8192000, 32768000],
                "replicates": 1000,
            },
            "full": {
                "sizes": [
                    500,
                    1000,
                    2000,
                    4000,
                    8000,
                    16000,
                    32000,
                    64000,
                    128000,
                    256000,
                    512000,
                    1024000,
                    2048000,
                    4096000,
                    8192000,
                    16384000,
                    32768000,
                ],
                "replicates": 10000,
            },
        },
        seconds={"quick": 2, "full": 30},
    ),
    Claim(
        slug="f_dpo_large_beta",
        title="All divergences agree at a strong pull",
        paper="f_dpo",
        kind="rate",
        source="ours",
        expects="matches -2",
        statement="With a strong pull all divergences coincide at equal beta f''(1), up to b^-2; symmetric "
        "ones among themselves up to b^-3. No statement of the paper",
        prediction="Distances to DPO's optimum fall like b^-2 at equal b = beta f''(1) (a Jensen-Shannon "
        "beta is to be compared with half of it in DPO), but like 1/b at equal beta.",
        code="distalign.solvers.kkt.regularised_policy",
        theory="distalign.theory.f_dpo.asymptotics.second_order_gap",
        presets={
            "test": {"strengths": [1, 20, 50, 200], "problems": 1500},
            "quick": {"strengths": [1, 2, 5, 10, 20, 50, 100, 200], "problems": 1000},
            "full": {"strengths": [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500], "problems": 4000},
        },
        seconds={"quick": 1, "full": 6},
    ),
    Claim(
        slug="f_dpo_frontier",
        title="Reward against entropy, by divergence",
        paper="f_dpo",
        kind="separation",
        source="paper and ours",
        expects="shown",
        statement="The paper finds the forward KL most diverse and the reverse KL least (trained models, "
        "wording not seen). Ours: for exact optima that is a statement at equal beta; at equal "
        "reward under a uniform reference the reverse KL has the most entropy",
        prediction="At equal reward no optimum has more entropy than the reverse KL's under a uniform "
        "reference, and the forward KL has the least; at beta = 0.3 the forward KL has more "
        "entropy, and less reward.",
        code="distalign.solvers.matched_reward.policy_at_reward",
        theory="distalign.solvers.kkt.regularised_policy",
        presets={
            "test": {"shares": [0.2, 0.5, 0.9], "betas": [0.3], "problems": 30},
            "quick": {
                "shares": [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95],
                "betas": [0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5],
                "problems": 100,
            },
            "full": {
                "shares": [
                    0.05,
                    0.1,
                    0.15,
                    0.2,
                    0.25,
                    0.3,
                    0.35,
                    0.4,
                    0.45,
                    0.5,
                    0.55,
                    0.6,
                    0.65,
                    0.7,
                    0.75,
                    0.8,
                    0.85,
                    0.9,
                    0.95,
                ],
                "betas": [0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5],
                "problems": 1000,
            },
        },
        seconds={"quick": 2, "full": 14},
    ),
    Claim(
        slug="f_dpo_inadmissible",
        title="Error of divergences the theorem excludes",
        paper="f_dpo",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="Theorem 1 asks that f' tend to minus infinity at 0, which excludes Pearson's chi-squared "
        "and total variation (as secondary sources have it); how large the error is, and from "
        "which beta on, is ours",
        prediction="The error of the reward read off the policy follows the closed form: for chi-squared 0 "
        "above beta = (E_ref r - min r)/2 and growing below it, for total variation positive at "
        "every beta.",
        code="distalign.oracles.regularised.regularised_optimum",
        theory="distalign.theory.f_dpo.closed_forms.chi2_optimum",
        presets={
            "test": {"strengths": [0.5, 0.98, 1.02, 1.5], "problems": 5, "programs": 1},
            "quick": {"strengths": [0.2, 0.5, 0.98, 1.02, 1.5, 5], "problems": 20, "programs": 1},
            "full": {
                "strengths": [0.1, 0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 0.98, 1.02, 1.2, 1.5, 2, 3, 5, 10],
                "problems": 500,
                "programs": 20,
            },
        },
        seconds={"quick": 2, "full": 22},
    ),
    Claim(
        slug="f_dpo_calibration",
        title="Calibration gap bounded by the divergence",
        paper="f_dpo",
        kind="bound",
        source="ours",
        expects="not violated",
        statement="|CE(1) - CE(2)| <= 2 sqrt(E D_f / (2 f''(1))) for CE = E|pi - p*|. The paper's Theorem 2 "
        "bounds a difference of calibration errors by a divergence; its text was not seen, and no "
        "test of it is known to us. For binned errors no such bound holds",
        prediction="The bound holds for random policies and along training, is an equality for small "
        "balanced moves, and is exceeded by binned calibration errors where two responses swap "
        "places.",
        code="distalign.calibration.calibration_error",
        theory="distalign.theory.f_dpo.closed_forms.calibration_bound",
        presets={
            "test": {"policies": 10, "runs": 2, "steps": 20},
            "quick": {"policies": 40, "runs": 4, "steps": 100},
            "full": {"policies": 1000, "runs": 50, "steps": 400},
        },
        seconds={"quick": 2, "full": 11},
    ),
    Claim(
        slug="f_dpo_stability",
        title="Finite losses at extreme log-ratios",
        paper="f_dpo",
        kind="identity",
        source="ours",
        expects="holds",
        figure=False,
        statement="Log-ratios of 1000 nats give finite losses and gradients that are not lost, in four "
        "number types; the formulas as published and as TRL 1.16 computes them do not "
        "(counted in the table). No statement of the paper",
        prediction="No infinite loss, no infinite or lost gradient and no wrong sign in 25 pairs of "
        "log-ratios for eight divergences, and the loss is the truth where no link is continued; "
        "in float16 a gradient may be infinite where the true one exceeds 65504.",
        code="distalign.objectives.f_dpo.f_dpo",
        theory="distalign.divergences.divergence",
        presets={"test": {"betas": [0.1]}, "quick": {"betas": [0.1]}, "full": {"betas": [0.01, 0.1, 1]}},
        seconds={"quick": 1, "full": 3},
    ),
    Claim(
        slug="f_dpo_tokens",
        title="Links do not split over tokens, but for the KL",
        paper="f_dpo",
        kind="separation",
        source="ours",
        expects="shown",
        statement="f' of a product splits into a sum over tokens for the KL only: a link summed over tokens "
        "solves neither the problem of whole responses nor the token-level one. No statement of "
        "the paper",
        prediction="In a language of two tokens the summed link has regret in both problems for six "
        "divergences and none for the reverse KL.",
        code="distalign.objectives.f_dpo.f_dpo",
        theory="distalign.solvers.kkt.regularised_policy",
        presets={
            "test": {"betas": [0.5], "languages": 150, "fits": 100},
            "quick": {"betas": [0.3, 1, 3], "languages": 200, "fits": 50},
            "full": {"betas": [0.1, 0.2, 0.5, 1, 2, 5], "languages": 2000, "fits": 100},
        },
        seconds={"quick": 3, "full": 30},
    ),
    Claim(
        slug="f_dpo_samples",
        title="f-DPO saves texts, not labels",
        paper="f_dpo",
        kind="identity",
        source="paper and ours",
        expects="holds",
        statement="The abstract calls f-DPO more efficient, supervised, and better than PPO in divergence "
        "efficiency (abstract seen, theorems not). Ours: on a table of four responses it saves no labelled "
        "pair against a Bradley-Terry reward with policy gradient under the exact f-penalty, only the texts "
        "that policy gradient draws, which grow like log n; in a class too small it loses value. PPO's "
        "clipping and prompts without labels are not tested",
        prediction="On every sample f-DPO and policy gradient end at one policy. Without noise at the "
        "optimum policy gradient falls to it exponentially, with the largest eigenvalue of its second "
        "moments; a tenfold n costs log 10 / -log(decay) updates at most, a factor e at least -1/log(1 - p) "
        "texts, p of the rarest response. Stopped early it overpays in divergence. In a class too small it "
        "keeps an excess proportional to its rate, and has more value than f-DPO where it ends.",
        code="distalign.policy_gradient.rlhf",
        theory="distalign.theory.f_dpo.sampled_texts.decay",
        presets={
            "test": {
                "sizes": [1000, 100000],
                "ends": 4,
                "pairs": 5000,
                "near": 4,
                "replicates": 500,
                "chains": 200,
                "problems": 50,
                "followed": 1,
            },
            "quick": {
                "sizes": [1000, 10000, 100000],
                "ends": 4,
                "pairs": 5000,
                "near": 4,
                "replicates": 500,
                "chains": 200,
                "problems": 50,
                "followed": 1,
            },
            "full": {
                "sizes": [1000, 10000, 100000, 1000000, 10000000],
                "ends": 100,
                "pairs": 40000,
                "near": 30,
                "replicates": 2000,
                "chains": 400,
                "problems": 200,
                "followed": 5,
            },
        },
        seconds={"quick": 4, "full": 24},
    ),
)
