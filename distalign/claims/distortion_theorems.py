"""Claims of the distortion of alignment: the theorems and their worst cases."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = (
    Claim(
        slug="distortion_linearisation", paper="distortion", kind="bound", source="paper and ours", expects="not violated",
        statement="Lemma 1 (b (l u_x - L u_y) <= p(x over y) - 1/2 <= b (L u_x - l u_y) with average utilities u, L = 1/4 and "
                  "l = s(b)/b), the paper's and formalised in Lean; the inequality over single users whose mean proves that "
                  "Borda loses at most 2 C(b) is ours (the bound itself is that of arXiv 2602.11152)",
        prediction="No margin of any population lies outside the two lines, the universal worst case reaches the lower one, and "
                   "the inequality holds on a grid of utilities.",
        code="distalign.populations.bradley_terry.win_matrix", theory="distalign.theory.distortion.linearised_margin",
        figure=False,
        presets={"test": {"temperatures": [1, 5, 20], "replicates": 30},
                 "quick": {"temperatures": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50], "replicates": 200},
                 "full": {"temperatures": [0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 7, 10, 14, 20, 30, 50], "replicates": 2000}},
        seconds={"quick": 1, "full": 9},
    ),
    Claim(
        slug="lottery_lower", paper="distortion", kind="growth", source="paper and ours", expects="follows",
        statement="Theorem 3 (with one comparison a user no rule, and with more no rule that gives a Condorcet loser at most 1/m, "
                  "has distortion below C(b) for all m) and Corollary 4 (the maximal lottery has C(b)), the paper's and "
                  "formalised in Lean; the covariance of two answers, which shows why one comparison is asked for, is ours",
        prediction="On the universal family the distortion of the maximal lottery grows to C(b) with m and on random populations "
                   "none passes it; with exact ties rules that ask each user once give the special alternative 1/m on average.",
        code="distalign.solvers.games.maximal_lottery", theory="distalign.theory.distortion.minimax_distortion",
        presets={"test": {"temperatures": [1, 5, 20], "replicates": 20},
                 "quick": {"temperatures": [0.1, 0.5, 1, 2, 5, 10, 20, 50], "replicates": 50},
                 "full": {"temperatures": [0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 14, 20, 50], "replicates": 500}},
        seconds={"quick": 3, "full": 40},
    ),
    Claim(
        slug="rlhf_is_borda", paper="distortion", kind="identity", source="paper and ours", expects="holds",
        statement="RLHF's reward orders alternatives as the Borda count does when both of a pair are drawn independently from one "
                  "mu, whatever mu is, and DPO is KL-regularised RLHF (both used by the paper, Section 2, and Proposition 14, "
                  "the latter formalised in Lean); that the fitted model has the population's Borda scores is our short "
                  "proof of the first; correlated pairs break it (Theorem 9's setting)",
        prediction="No pair is ordered differently for product mu, many are for correlated pairs; a policy fitted by the DPO "
                   "objective equals pi_ref exp(r/beta)/Z and the best policy of the KL it spends.",
        code="distalign.solvers.reward.reward_mle", theory="distalign.solvers.reward.borda_scores", figure=False,
        presets={"test": {"temperatures": [1, 10], "replicates": 10},
                 "quick": {"temperatures": [0.2, 1, 2, 5, 10, 20], "replicates": 30},
                 "full": {"temperatures": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20], "replicates": 300}},
        seconds={"quick": 4, "full": 21},
    ),
    Claim(
        slug="rlhf_exponential", paper="distortion", kind="growth", source="paper and ours", expects="follows",
        statement="Theorem 6 (the distortion of KL-constrained RLHF and DPO grows like e^{Omega(b)}), the paper's and formalised "
                  "in Lean with e^b/(44 b) from b = 10; the exact limit e^b/(10 b) of its family, the sharper family cosh^2(b/2) "
                  "and the proof that two reachable alternatives lose no more are ours; that nothing at all loses more under "
                  "product comparisons is a conjecture of ours and not tested here",
        prediction="RLHF follows e^b/(10 b) on the paper's family and cosh^2(b/2) on ours, while NLHF stays within C(b) on the "
                   "same instances.",
        code="distalign.solvers.reward.rlhf", theory="distalign.theory.distortion.unsupported_rlhf_distortion",
        presets={"test": {"temperatures": [3, 10]},
                 "quick": {"temperatures": [2, 3, 4, 5, 6, 8, 10, 12, 14]},
                 "full": {"temperatures": [2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]}},
        seconds={"quick": 2, "full": 3},
    ),
    Claim(
        slug="rlhf_unbounded", paper="distortion", kind="growth", source="paper and ours", expects="follows",
        statement="Lemma 15 and Theorem 9 (with correlated pair sampling the distortion of RLHF is unbounded for every "
                  "temperature), the paper's and formalised in Lean; the rate b sqrt(m)/(3 sqrt 6) is ours",
        prediction="On the chain of m alternatives RLHF takes the last and its distortion grows like b sqrt(m)/(3 sqrt 6); NLHF "
                   "stays within C(b), and independent pairs of the same users do RLHF no harm.",
        code="distalign.solvers.reward.rlhf", theory="distalign.theory.distortion.correlated_rlhf_distortion",
        presets={"test": {"temperatures": [10], "alternatives": [6, 300]},
                 "quick": {"temperatures": [2, 10], "alternatives": [3, 10, 30, 100, 300]},
                 "full": {"temperatures": [2, 5, 10, 20], "alternatives": [3, 6, 10, 30, 100, 300, 1000]}},
        seconds={"quick": 2, "full": 5},
    ),
    Claim(
        slug="rlhf_on_policy", paper="distortion", kind="bound", source="ours", expects="not violated",
        statement="Conjecture, ours: with comparisons drawn from the reference itself the distortion of KL-constrained RLHF is at "
                  "most Bd(b) for every population and budget (a follow-up paper, arXiv 2609.12651, shows O(b) for a clipped "
                  "RLHF). Only searched, from above by nothing; that Bd(b) is reached without a budget is Theorem 12",
        prediction="No problem has a distortion above Bd(b), searches from the worst case of Borda come within two percent of it, "
                   "and the exponential families are harmless once their comparisons come from the reference.",
        code="distalign.solvers.reward.rlhf", theory="distalign.theory.distortion.borda_distortion",
        presets={"test": {"temperatures": [2], "replicates": 20, "searches": 4, "evaluations": 300},
                 "quick": {"temperatures": [1, 5, 10], "replicates": 100, "searches": 5, "evaluations": 400},
                 "full": {"temperatures": [0.5, 1, 2, 5, 8, 10, 14, 20], "replicates": 1000, "searches": 8,
                          "evaluations": 1500}},
        seconds={"quick": 4, "full": 53},
    ),
)
