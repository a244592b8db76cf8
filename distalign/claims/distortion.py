"""Claims of the distortion of alignment."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="nlhf_distortion",
        title="NLHF's distortion stays below C(b)",
        paper="distortion",
        kind="bound",
        source="paper",
        expects="not violated",
        statement="Theorem 7 (NLHF's distortion is at most C(b) = (b/2) coth(b/2) for every population, "
        "reference and KL budget) and the tight family of Theorem 3",
        prediction="No certified NLHF policy has a distortion above C at its Bradley-Terry temperature b, "
        "and on the family that no voting rule can beat it comes within a factor 1 + O(epsilon) "
        "of C.",
        code="distalign.solvers.choice.games.kl_nlhf",
        theory="distalign.theory.distortion.constants.minimax_distortion",
        presets={
            "test": {"temperatures": [0.2, 1, 5, 20], "replicates": 30},
            "quick": {"temperatures": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50], "replicates": 100},
            "full": {
                "temperatures": [0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 7, 10, 14, 20, 30, 50],
                "replicates": 1000,
            },
        },
        seconds={"quick": 5, "full": 55},
    ),
    Claim(
        slug="borda_distortion",
        title="Borda's worst distortion, exactly",
        paper="distortion",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="Theorem 12 (Borda, and RLHF without a KL constraint, have distortion at least Bd(b) = "
        "C(b) sup_g [1 - g + s(bg)/s(b)]) and Theorem 2 (at most C(b)^2), the paper's and "
        "formalised in Lean; at most 2 C(b) is that of arXiv 2602.11152 (abstract seen); that Bd "
        "is exact, so that nothing exceeds it, is ours, by the dual inequality checked here on a "
        "grid",
        prediction="The distortion of Borda on its worst family follows the curve Bd, which lies above C; no "
        "random population exceeds it, nor C^2 or 2 C, and the dual inequality holds on the "
        "grid.",
        code="distalign.solvers.choice.reward.borda",
        theory="distalign.theory.distortion.constants.borda_distortion",
        presets={
            "test": {"temperatures": [0.2, 1, 5, 50], "replicates": 30},
            "quick": {"temperatures": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50], "replicates": 100},
            "full": {
                "temperatures": [0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 7, 10, 14, 20, 30, 50],
                "replicates": 1000,
            },
        },
        seconds={"quick": 4, "full": 14},
    ),
    Claim(
        slug="distortion_linearisation",
        title="Win margins lie between two lines",
        paper="distortion",
        kind="bound",
        source="paper and ours",
        expects="not violated",
        statement="Lemma 1 (b (l u_x - L u_y) <= p(x over y) - 1/2 <= b (L u_x - l u_y) with average "
        "utilities u, L = 1/4 and l = s(b)/b), the paper's and formalised in Lean; the inequality "
        "over single users whose mean proves that Borda loses at most 2 C(b) is ours (the bound "
        "itself is that of arXiv 2602.11152)",
        prediction="No margin of any population lies outside the two lines, the universal worst case reaches "
        "the lower one, and the inequality holds on a grid of utilities.",
        code="distalign.populations.bradley_terry.win_matrix",
        theory="distalign.theory.distortion.constants.linearised_margin",
        figure=False,
        presets={
            "test": {"temperatures": [0.2, 1, 5, 20], "replicates": 30},
            "quick": {"temperatures": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50], "replicates": 200},
            "full": {
                "temperatures": [0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 7, 10, 14, 20, 30, 50],
                "replicates": 2000,
            },
        },
        seconds={"quick": 1, "full": 7},
    ),
    Claim(
        slug="lottery_lower",
        title="No rule beats C(b); maximal lotteries reach it",
        paper="distortion",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="Theorem 3 (with one comparison a user no rule, and with more no rule that gives a "
        "Condorcet loser at most 1/m, has distortion below C(b) for all m) and Corollary 4 (the "
        "maximal lottery has C(b)), the paper's and formalised in Lean; the covariance of two "
        "answers, which shows why one comparison is asked for, is ours",
        prediction="On the universal family the distortion of the maximal lottery grows to C(b) with m and "
        "on random populations none passes it; with exact ties rules that ask each user once give "
        "the special alternative 1/m on average.",
        code="distalign.solvers.choice.games.maximal_lottery",
        theory="distalign.theory.distortion.constants.minimax_distortion",
        presets={
            "test": {"temperatures": [1, 5, 20], "replicates": 20},
            "quick": {"temperatures": [0.1, 0.5, 1, 2, 5, 10, 20, 50], "replicates": 50},
            "full": {"temperatures": [0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 14, 20, 50], "replicates": 500},
        },
        seconds={"quick": 2, "full": 24},
    ),
    Claim(
        slug="rlhf_is_borda",
        title="RLHF orders alternatives as Borda does",
        paper="distortion",
        kind="identity",
        source="paper and ours",
        expects="holds",
        statement="RLHF's reward orders alternatives as the Borda count does when both of a pair are drawn "
        "independently from one mu, whatever mu is, and DPO is KL-regularised RLHF (both used by "
        "the paper, Section 2, and Proposition 14, the latter formalised in Lean); that the fitted "
        "model has the population's Borda scores is our short proof of the first, which was known "
        "before (arXiv 2312.08358); correlated pairs break it (Theorem 9's setting)",
        prediction="No pair is ordered differently for product mu, many are for correlated pairs; a policy "
        "fitted by the DPO objective equals pi_ref exp(r/beta)/Z and the best policy of the KL it "
        "spends.",
        code="distalign.solvers.choice.reward.reward_mle",
        theory="distalign.solvers.choice.reward.borda_scores",
        figure=False,
        presets={
            "test": {"temperatures": [1, 10], "replicates": 10},
            "control": {"temperatures": [1, 10], "replicates": 60},
            "quick": {"temperatures": [0.2, 1, 2, 5, 10, 20], "replicates": 30},
            "full": {"temperatures": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20], "replicates": 300},
        },
        seconds={"quick": 5, "full": 15},
    ),
    Claim(
        slug="rlhf_exponential",
        title="RLHF's distortion grows exponentially",
        paper="distortion",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="Theorem 6 (the distortion of KL-constrained RLHF and DPO grows like e^{Omega(b)}), the "
        "paper's and formalised in Lean with e^b/(44 b) from b = 10; the exact limit e^b/(10 b) of "
        "its family, the sharper family cosh^2(b/2) and the proof that two reachable alternatives "
        "lose no more are ours; that nothing at all loses more under product comparisons is a "
        "conjecture of ours and not tested here",
        prediction="RLHF follows e^b/(10 b) on the paper's family and cosh^2(b/2) on ours, while NLHF stays "
        "within C(b) on the same instances.",
        code="distalign.solvers.choice.reward.rlhf",
        theory="distalign.theory.distortion.constants.unsupported_rlhf_distortion",
        presets={
            "test": {"temperatures": [3, 10]},
            "quick": {"temperatures": [2, 3, 4, 5, 6, 8, 10, 12, 14]},
            "full": {"temperatures": [2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]},
        },
        seconds={"quick": 1, "full": 6},
    ),
    Claim(
        slug="rlhf_unbounded",
        title="RLHF with correlated pairs has no bound",
        paper="distortion",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="Lemma 15 and Theorem 9 (with correlated pair sampling the distortion of RLHF is unbounded "
        "for every temperature), the paper's and formalised in Lean; the rate b sqrt(m)/(3 sqrt 6) "
        "is ours",
        prediction="On the chain of m alternatives RLHF takes the last and its distortion grows like b "
        "sqrt(m)/(3 sqrt 6); NLHF stays within C(b), and independent pairs of the same users do "
        "RLHF no harm.",
        code="distalign.solvers.choice.reward.rlhf",
        theory="distalign.theory.distortion.constants.correlated_rlhf_distortion",
        presets={
            "test": {"temperatures": [10], "alternatives": [6, 300, 1000]},
            "quick": {"temperatures": [2, 10], "alternatives": [3, 10, 30, 100, 1000]},
            "full": {"temperatures": [2, 5, 10, 20], "alternatives": [3, 6, 10, 30, 100, 300, 1000]},
        },
        seconds={"quick": 2, "full": 10},
    ),
    Claim(
        slug="rlhf_on_policy",
        title="RLHF with pairs drawn from the reference",
        paper="distortion",
        kind="bound",
        source="ours",
        expects="not violated",
        statement="Conjecture, ours: with comparisons drawn from the reference itself the distortion of "
        "KL-constrained RLHF is at most Bd(b) for every population and budget (a follow-up paper, "
        "arXiv 2609.12651, shows O(b) for a clipped RLHF). Only searched, from above by nothing; "
        "that Bd(b) is reached without a budget is Theorem 12",
        prediction="No problem has a distortion above Bd(b), searches from the worst case of Borda come "
        "within two percent of it, and the exponential families are harmless once their "
        "comparisons come from the reference.",
        code="distalign.solvers.choice.reward.rlhf",
        theory="distalign.theory.distortion.constants.borda_distortion",
        presets={
            "test": {"temperatures": [0.2, 2], "replicates": 40, "searches": 4, "evaluations": 300},
            "quick": {"temperatures": [1, 5, 10], "replicates": 100, "searches": 5, "evaluations": 400},
            "full": {
                "temperatures": [0.5, 1, 2, 5, 8, 10, 14, 20],
                "replicates": 1000,
                "searches": 8,
                "evaluations": 1500,
            },
        },
        seconds={"quick": 7, "full": 34},
    ),
    Claim(
        slug="distortion_samples",
        title="Errors from n users fall as n^-1/2",
        paper="distortion",
        kind="rate",
        source="paper and ours",
        expects="matches -0.5",
        statement="Lemmas 10 and 11 and the finite-sample half of Theorem 7 (errors of order (n min{1, d "
        "mu_min^2})^{-1/2} with n users, d questions each); only the exponents are tested, the "
        "paper's constants being 45 to 125 times too large for that. That the order is reached, "
        "with the law p(1-p)/(dq) + (1-1/d) rho for n times the variance, is ours",
        prediction="The largest error of a win probability, and what it does to the average utility of "
        "KL-constrained NLHF, fall as n^{-1/2}, for users who answer afresh and for users who "
        "answer from one Plackett-Luce ranking; more questions to the same users help until d is "
        "about p(1-p)/(q rho), for rankings 1/(2 mu_min^2).",
        code="distalign.solvers.choice.games.kl_nlhf",
        theory="distalign.theory.distortion.samples.win_error",
        presets={
            "test": {
                "sizes": [10_000, 300_000, 10_000_000],
                "comparisons": [1, 8, 64, 1024],
                "rarest": [0.25, 0.0625],
                "replicates": 80,
                "samples": 3000,
            },
            "quick": {
                "sizes": [100, 1000, 10_000, 100_000, 1_000_000, 10_000_000],
                "comparisons": [1, 4, 16, 64, 256, 1024],
                "rarest": [0.25, 0.125, 0.0625],
                "replicates": 130,
                "samples": 1200,
            },
            "full": {
                "sizes": [100, 300, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000, 10_000_000],
                "comparisons": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048],
                "rarest": [0.25, 0.125, 0.0625, 0.03125],
                "replicates": 500,
                "samples": 5000,
            },
        },
        seconds={"quick": 7, "full": 32},
    ),
    Claim(
        slug="rlhf_clipped",
        title="What clipping the reward repairs",
        paper="distortion",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="Follow-up known by its abstract and a digest only (Oko, Ulichney, Haghtalab, Bao, arXiv "
        "2609.12651: RLHF with a clipped reward loses a factor that grows with the mismatch B of "
        "data and reference, and O(b) when they are equal). The clip tested is our reading of "
        "theirs (window 3/8, its floor a response that wins 45 % of the comparisons), and so are "
        "the laws it is tested against; the plain-RLHF side is Theorem 6 of the paper",
        prediction="On the families where plain RLHF loses D = e^b/(10 b) or cosh^2(b/2), clipping ties the "
        "two responses in reach, so the distortion is 2 D/(1 + D) < 2. On Borda's worst case it "
        "changes nothing, and on random problems with comparisons from the reference it costs "
        "utility.",
        code="distalign.solvers.choice.clipped_rlhf.clipped_rlhf",
        theory="distalign.theory.distortion.rules.tied_distortion",
        presets={
            "test": {"temperatures": [4, 8, 12], "replicates": 40},
            "quick": {"temperatures": [4, 5, 6, 8, 10, 12, 14], "replicates": 150},
            "full": {"temperatures": [4, 4.5, 5, 5.5, 6, 7, 8, 9, 10, 11, 12, 13, 14], "replicates": 500},
        },
        seconds={"quick": 4, "full": 24},
    ),
    Claim(
        slug="distortion_search",
        title="Searched for counter-examples by programs",
        paper="distortion",
        kind="growth",
        source="paper and ours",
        expects="follows",
        statement="Corollary 4 (no maximal lottery loses more than C(b)) and, ours, that Borda loses exactly "
        "Bd(b): searched for counter-examples by a semi-infinite linear program that certifies "
        "itself. Conjectures of ours, no theorems: RLHF in a KL ball with independent pairs loses "
        "at most cosh^2(b/2), and at most Bd(b) when the comparisons come from the reference; "
        "searched by differential evolution, which can refute them and not prove them",
        prediction="The program reaches C(b) and Bd(b) and never passes them, with the multipliers of the "
        "proof; the black box comes near cosh^2(b/2) and Bd(b) and does not pass them.",
        code="distalign.solvers.choice.worst_case_search.borda_worst_population",
        theory="distalign.theory.distortion.constants.borda_distortion",
        presets={
            "test": {"temperatures": [2, 10], "others": 0, "black_box": [4], "generations": 15},
            "quick": {"temperatures": [1, 5, 20], "others": 1, "black_box": [4], "generations": 85},
            "full": {
                "temperatures": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 50],
                "others": 2,
                "black_box": [2, 4, 8],
                "generations": 500,
            },
        },
        seconds={"quick": 5, "full": 47},
    ),
    Claim(
        slug="rules_compared",
        title="Seven voting rules side by side",
        paper="distortion",
        kind="bound",
        source="paper and ours",
        expects="not violated",
        statement="Theorem 7 and Corollary 4 (NLHF and maximal lotteries lose at most C(b)) beside other "
        "rules. That Borda loses at most Bd(b), and the closed forms for plurality and random "
        "dictator, are ours; Copeland's bound 2 C(b) and the orders min(e^b, m) of plurality and m "
        "of random dictator are from a follow-up known by its abstract (Alipour and Goyal, arXiv "
        "2602.11152), which is about rankings, that is uniform comparisons",
        prediction="No population tried takes the maximal lottery or NLHF above C(b), Borda above Bd(b) or "
        "Copeland above 2 C(b); where first choices mislead, plurality and random dictator lose a "
        "factor of about m/2. On these random populations, no more than that, Borda serves the "
        "average user better than random dictator, and random dictator the worst-off user of two "
        "camps better than Borda.",
        code="distalign.solvers.choice.games.kl_nlhf",
        theory="distalign.theory.distortion.rules.plurality_distortion",
        presets={
            "test": {"temperatures": [0.2, 2, 10], "sizes": [5, 30], "replicates": 12},
            "quick": {"temperatures": [1, 3, 10, 30], "sizes": [5, 15, 50], "replicates": 40},
            "full": {
                "temperatures": [0.5, 1, 2, 3, 5, 10, 20, 30],
                "sizes": [3, 5, 10, 15, 30, 50, 100],
                "replicates": 200,
            },
        },
        seconds={"quick": 5, "full": 22},
    ),
    Claim(
        slug="nlhf_lambda",
        title="KL penalty and KL budget are one problem",
        paper="distortion",
        kind="identity",
        source="paper and ours",
        expects="holds",
        statement="Propositions 13 and 14 (a policy with KL penalty lambda solves the problem with the KL "
        "budget it spends, and every constrained policy has its lambda; for NLHF and for RLHF), "
        "Corollary 8; that the KL does not increase with lambda, and that lambda is twice the "
        "weight of Nash-MD (Munos et al.), is ours",
        prediction="lambda comes back from the constrained policy whose budget is the KL that lambda spends, "
        "the policies agree, the KL does not increase with lambda, and Nash mirror descent with "
        "weight lambda/2 converges to the same policy.",
        code="distalign.solvers.choice.games.regularised_nlhf",
        theory="distalign.theory.distortion.constants.minimax_distortion",
        presets={
            "test": {"temperatures": [1, 10], "strengths": [0.1, 0.5, 2.0], "replicates": 8},
            "quick": {
                "temperatures": [0.5, 2, 5, 20],
                "strengths": [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0],
                "replicates": 8,
            },
            "full": {
                "temperatures": [0.2, 0.5, 1, 2, 5, 10, 20, 50],
                "strengths": [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0],
                "replicates": 35,
            },
        },
        seconds={"quick": 5, "full": 29},
    ),
    Claim(
        slug="nlhf_joint_search",
        title="Everything searched at once: NLHF and RLHF",
        paper="distortion",
        kind="bound",
        source="paper and ours",
        expects="not violated",
        statement="Theorem 7 (NLHF loses at most C(b) whatever the population, reference, KL budget and "
        "distribution of pairs) and Theorem 9 (RLHF with correlated pairs has no bound as responses are "
        "added). In the population NLHF does not see the pairs, by definition. Ours: C(b) is tight at every "
        "KL budget, and in a KL ball four responses make RLHF lose without bound, by a closed form",
        prediction="Gradient ascent over users, reference, budget and pairs takes NLHF to 95 % of C(b) and "
        "never above; it takes RLHF near cosh^2(b/2) with independent pairs, and with any pairs of four "
        "responses beyond (x + f)/(2 f), f the smallest utility, which a detour of three pairs attains.",
        code="distalign.solvers.choice.games.kl_nlhf",
        theory="distalign.theory.distortion.constants.minimax_distortion",
        presets={
            "test": {
                "temperatures": [1, 10],
                "searched": [2],
                "sizes": [3],
                "least": [1e-3],
                "budgets": [0.01, 1],
                "ascent": {"ascents": 1, "starts": 16, "steps": 100, "evaluations": 200},
            },
            "quick": {
                "temperatures": [0.5, 1, 3, 10, 30],
                "searched": [2],
                "sizes": [3],
                "least": [1e-3],
                "budgets": [0.01, 1, 100],
                "ascent": {"ascents": 1, "starts": 16, "steps": 100, "evaluations": 200},
            },
            "full": {
                "temperatures": [0.3, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50],
                "searched": [1, 3, 10],
                "sizes": [3, 4],
                "least": [1e-2, 1e-4],
                "budgets": [1e-2, 0.1, 1, 10, 100],
                "ascent": {"ascents": 2, "starts": 16, "steps": 120, "evaluations": 250},
            },
        },
        seconds={"quick": 3, "full": 65},
    ),
)
