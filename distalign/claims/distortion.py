"""Claims of the distortion of alignment."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="nlhf_distortion", paper="distortion", kind="bound", source="paper", expects="not violated",
        statement="Theorem 7 (NLHF's distortion is at most C(b) = (b/2) coth(b/2) for every population, reference and KL budget) "
                  "and the tight family of Theorem 3",
        prediction="No certified NLHF policy has a distortion above C at its Bradley-Terry temperature b, and on the family that no "
                   "voting rule can beat it comes within a factor 1 + O(epsilon) of C.",
        code="distalign.solvers.games.kl_nlhf", theory="distalign.theory.distortion.minimax_distortion",
        presets={"test": {"temperatures": [1, 5, 20], "replicates": 30},
                 "quick": {"temperatures": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50], "replicates": 100},
                 "full": {"temperatures": [0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 7, 10, 14, 20, 30, 50], "replicates": 1000}},
        seconds={"quick": 10, "full": 100},
    ),
    Claim(
        slug="borda_distortion", paper="distortion", kind="growth", source="paper and ours", expects="follows",
        statement="Theorem 12 (Borda, and RLHF without a KL constraint, have distortion at least Bd(b) = C(b) sup_g [1 - g + "
                  "s(bg)/s(b)]) and Theorem 2 (at most C(b)^2), the paper's and formalised in Lean; at most 2 C(b) is that of "
                  "arXiv 2602.11152 (abstract seen); that Bd is exact, so that nothing exceeds it, is ours, by the dual "
                  "inequality checked here on a grid",
        prediction="The distortion of Borda on its worst family follows the curve Bd, which lies above C; no random population "
                   "exceeds it, nor C^2 or 2 C, and the dual inequality holds on the grid.",
        code="distalign.solvers.reward.borda", theory="distalign.theory.distortion.borda_distortion",
        presets={"test": {"temperatures": [1, 5, 20], "replicates": 30},
                 "quick": {"temperatures": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50], "replicates": 100},
                 "full": {"temperatures": [0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 7, 10, 14, 20, 30, 50], "replicates": 1000}},
        seconds={"quick": 2, "full": 18},
    ),
)
