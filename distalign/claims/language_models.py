"""Claims on language models: the theory's predictions on a finite-response probe."""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = (
    Claim(
        slug="lm_ratio_consistency", paper="density_ratio", kind="separation", source="paper and ours", expects="shown",
        statement="consistency of density-ratio alignment without a Bradley-Terry model, DPO's inconsistency, on a language model: "
                  "its probabilities of six candidate responses to a prompt, normalised, which is not free generation (consistency "
                  "from the abstracts of arXiv 2604.04410 and 2505.07558; constants and DPO's limit ours)",
        prediction="Trained on n comparisons with intransitive preferences, a language model's law of the candidates approaches the law "
                   "of preferred responses by RDRO, DDRO and SFT, as closely as the exact fit of a table to the same counts; trained by "
                   "DPO (beta 0.1) it stays far from it, however many the comparisons.",
        code="distalign.bridge.train.train", theory="distalign.theory.density_ratio.asymptotic_covariance",
        presets={"test": {"policy": "tabular", "seeds": 3, "sizes": [100, 0], "steps": 80},
                 "quick": {"policy": "tiny", "seeds": 3, "sizes": [100, 1000, 0], "steps": 50},
                 "full": {"policy": "smollm2", "seeds": 3, "sizes": [100, 1000, 0], "steps": 72, "rate": 0.5}},
        seconds={"quick": 12, "full": 950},
    ),
    Claim(
        slug="lm_f_dpo_frontier", paper="f_dpo", kind="separation", source="paper and ours", expects="shown",
        statement="f-DPO reaches the f-regularised optimum (Wang et al. 2023, Theorem 1; text not seen), on a language model over six "
                  "candidate responses; that at equal expected reward the reverse KL spends the least KL is ours (Lagrangian duality)",
        prediction="Trained with f-DPO at the beta whose optimum has the asked reward, a language model ends at that optimum; held against "
                   "the least KL(pi || pi_ref) of any law with the reward it has reached, the forward KL, Jensen-Shannon and alpha 0.3 "
                   "pay more, the reverse KL does not: more diverse at equal beta is not more diverse at equal reward.",
        code="distalign.objectives.f_dpo", theory="distalign.theory.f_dpo.reverse_kl_optimum",
        presets={"test": {"policy": "tabular", "seeds": 3, "shares": [0.6], "steps": 100},
                 "quick": {"policy": "tiny", "seeds": 3, "shares": [0.6], "steps": 60},
                 "full": {"policy": "smollm2", "seeds": 3, "shares": [0.6], "steps": 36, "rate": 0.5}},
        seconds={"quick": 8, "full": 210},
    ),
    Claim(
        slug="lm_distortion", paper="distortion", kind="bound", source="paper and ours", expects="not violated",
        statement="Theorem 7 and Corollary 8 (NLHF's distortion is at most C(b) against the ball it spends) and Theorem 6 (RLHF's and "
                  "DPO's is not bounded by it where comparisons fall on responses the reference excludes), on a language model over seven "
                  "candidate responses; the population is ours",
        prediction="Trained by self-play, a language model loses at most the factor C(b) against the best law in the ball it spends; "
                   "trained by DPO on a population whose minority is loud in the comparisons, it loses more than C(b), as the exact "
                   "policies in the same balls do.",
        code="distalign.solvers.games.kl_nlhf", theory="distalign.theory.distortion.minimax_distortion",
        presets={"test": {"policy": "tabular", "seeds": 3, "populations": ["loud minority", "diverse"], "steps": 300},
                 "quick": {"policy": "tiny", "seeds": 3, "populations": ["loud minority", "diverse"], "steps": 60},
                 "full": {"policy": "smollm2", "seeds": 3, "populations": ["loud minority", "diverse"], "steps": 40}},
        seconds={"quick": 9, "full": 340},
    ),
)
