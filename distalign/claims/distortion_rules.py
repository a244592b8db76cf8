"""Claims of the distortion of alignment: samples, regularisation, searches and rules side by side."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = (
    Claim(
        slug="distortion_samples", paper="distortion", kind="rate", source="paper and ours", expects="matches -0.5",
        statement="Lemmas 10 and 11 and the finite-sample half of Theorem 7 (errors of order (n min{1, d mu_min^2})^{-1/2} with n "
                  "users, d questions each); only the exponents are tested, the paper's constants being 45 to 125 times too large "
                  "for that. That the order is reached, with the law p(1-p)/(dq) + (1-1/d) rho for n times the variance, is ours",
        prediction="The largest error of a win probability, and what it does to the average utility of KL-constrained NLHF, fall as "
                   "n^{-1/2}, for users who answer afresh and for users who answer from one Plackett-Luce ranking; more questions "
                   "to the same users help until d is about p(1-p)/(q rho), for rankings 1/(2 mu_min^2).",
        code="distalign.solvers.games.kl_nlhf", theory="distalign.theory.distortion_samples.win_error",
        presets={"test": {"sizes": [1000, 10_000, 300_000, 10_000_000], "comparisons": [1, 8, 64, 1024], "rarest": [0.25, 0.0625],
                          "replicates": 120, "samples": 600},
                 "quick": {"sizes": [100, 1000, 10_000, 100_000, 1_000_000, 10_000_000], "comparisons": [1, 4, 16, 64, 256, 1024],
                           "rarest": [0.25, 0.125, 0.0625], "replicates": 130, "samples": 1200},
                 "full": {"sizes": [100, 300, 1000, 3000, 10_000, 30_000, 100_000, 1_000_000, 10_000_000],
                          "comparisons": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048],
                          "rarest": [0.25, 0.125, 0.0625, 0.03125], "replicates": 500, "samples": 4000}},
        seconds={"quick": 7, "full": 38},
    ),
    Claim(
        slug="rlhf_clipped", paper="distortion", kind="growth", source="paper and ours", expects="follows",
        statement="Follow-up known by its abstract and a digest only (Oko, Ulichney, Haghtalab, Bao, arXiv 2609.12651: RLHF with a "
                  "clipped reward loses a factor that grows with the mismatch B of data and reference, and O(b) when they are "
                  "equal). The clip tested is our reading of theirs (window 3/8, its floor a response that wins 45 % of the "
                  "comparisons), and so are the laws it is tested against; the plain-RLHF side is Theorem 6 of the paper",
        prediction="On the families where plain RLHF loses D = e^b/(10 b) or cosh^2(b/2), clipping ties the two responses in reach, "
                   "so the distortion is 2 D/(1 + D) < 2. On Borda's worst case it changes nothing, and on random problems with "
                   "comparisons from the reference it costs utility.",
        code="distalign.solvers.clipped_rlhf.clipped_rlhf", theory="distalign.theory.distortion_rules.tied_distortion",
        presets={"test": {"temperatures": [4, 8, 12], "replicates": 40},
                 "quick": {"temperatures": [4, 5, 6, 8, 10, 12, 14], "replicates": 150},
                 "full": {"temperatures": [4, 4.5, 5, 5.5, 6, 7, 8, 9, 10, 11, 12, 13, 14], "replicates": 500}},
        seconds={"quick": 5, "full": 37},
    ),
    Claim(
        slug="distortion_search", paper="distortion", kind="growth", source="paper and ours", expects="follows",
        statement="Corollary 4 (no maximal lottery loses more than C(b)) and, ours, that Borda loses exactly Bd(b): searched for "
                  "counter-examples by a semi-infinite linear program that certifies itself. Conjectures of ours, no theorems: RLHF "
                  "in a KL ball with independent pairs loses at most cosh^2(b/2), and at most Bd(b) when the comparisons come from "
                  "the reference; searched by differential evolution, which can refute them and not prove them",
        prediction="The program reaches C(b) and Bd(b) and never passes them, with the multipliers of the proof; the black box comes "
                   "near cosh^2(b/2) and Bd(b) and does not pass them.",
        code="distalign.solvers.worst_case_search.borda_worst_population", theory="distalign.theory.distortion.borda_distortion",
        presets={"test": {"temperatures": [2, 10], "others": 1, "black_box": [4], "generations": 15},
                 "quick": {"temperatures": [1, 5, 20], "others": 1, "black_box": [4], "generations": 85},
                 "full": {"temperatures": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 50], "others": 2, "black_box": [2, 4, 8],
                          "generations": 500}},
        seconds={"quick": 7, "full": 77},
    ),
    Claim(
        slug="rules_compared", paper="distortion", kind="bound", source="paper and ours", expects="not violated",
        statement="Theorem 7 and Corollary 4 (NLHF and maximal lotteries lose at most C(b)) beside other rules. That Borda loses at most "
                  "Bd(b), and the closed forms for plurality and random dictator, are ours; Copeland's bound 2 C(b) and the orders "
                  "min(e^b, m) of plurality and m of random dictator are from a follow-up known by its abstract (Alipour and Goyal, "
                  "arXiv 2602.11152), which is about rankings, that is uniform comparisons",
        prediction="No population tried takes the maximal lottery or NLHF above C(b), Borda above Bd(b) or Copeland above 2 C(b); "
                   "where first choices mislead, plurality and random dictator lose a factor of about m/2. On these random "
                   "populations, no more than that, Borda serves the average user better than random dictator, and random dictator "
                   "the worst-off user of two camps better than Borda.",
        code="distalign.solvers.voting.copeland", theory="distalign.theory.distortion_rules.plurality_distortion",
        presets={"test": {"temperatures": [2, 10], "sizes": [5, 30], "replicates": 12},
                 "quick": {"temperatures": [1, 3, 10, 30], "sizes": [5, 15, 50], "replicates": 40},
                 "full": {"temperatures": [0.5, 1, 2, 3, 5, 10, 20, 30], "sizes": [3, 5, 10, 15, 30, 50, 100], "replicates": 200}},
        seconds={"quick": 4, "full": 29},
    ),
    Claim(
        slug="nlhf_lambda", paper="distortion", kind="identity", source="paper and ours", expects="holds",
        statement="Propositions 13 and 14 (a policy with KL penalty lambda solves the problem with the KL budget it spends, and every "
                  "constrained policy has its lambda; for NLHF and for RLHF), Corollary 8; that the KL does not increase with lambda, "
                  "and that lambda is twice the weight of Nash-MD (Munos et al.), is ours",
        prediction="lambda comes back from the constrained policy whose budget is the KL that lambda spends, the policies agree, the "
                   "KL does not increase with lambda, and Nash mirror descent with weight lambda/2 converges to the same policy.",
        code="distalign.solvers.games.regularised_nlhf", theory="distalign.theory.distortion.minimax_distortion",
        presets={"test": {"temperatures": [1, 10], "strengths": [0.1, 0.5, 2.0], "replicates": 8},
                 "quick": {"temperatures": [0.5, 2, 5, 20], "strengths": [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0], "replicates": 8},
                 "full": {"temperatures": [0.2, 0.5, 1, 2, 5, 10, 20, 50],
                          "strengths": [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0], "replicates": 35}},
        seconds={"quick": 4, "full": 45},
    ),
)
