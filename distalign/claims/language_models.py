"""Claims on language models: the theory's predictions on a finite-response probe.

"Language model" means its probabilities of a finite set of candidate responses, normalised: exact, and not
free generation. The committed runs are of `tiny`, a network made for them; `--policy smollm2` trains SmolLM2,
for which a claim takes five to twelve CPU minutes.
"""

from distalign.claims.claim import Claim, quick_as_controls

CLAIMS = (
    Claim(
        slug="lm_ratio_consistency",
        title="Ratio losses reach their law on a model",
        paper="density_ratio",
        kind="separation",
        source="paper and ours",
        expects="shown",
        statement="consistency of density-ratio alignment without a Bradley-Terry model, DPO's "
        "inconsistency, on a language model: its probabilities of six candidate responses to a "
        "prompt, normalised, which is not free generation (consistency from the abstracts of arXiv "
        "2604.04410 and 2505.07558; constants and DPO's limit ours)",
        prediction="Trained on n comparisons with intransitive preferences, a language model's law of the "
        "candidates approaches the law of preferred responses by RDRO, DDRO and SFT, as closely "
        "as the exact fit of a table to the same counts; trained by DPO (beta 0.1) it stays far "
        "from it, however many the comparisons.",
        code="distalign.objectives.rdro.rdro",
        theory="distalign.theory.density_ratio.asymptotics.asymptotic_covariance",
        world="language model",
        twin="rdro_consistency",
        presets={
            "test": {"policy": "tabular", "seeds": 2, "sizes": [100, 0], "steps": 60},
            "quick": {"policy": "tiny", "seeds": 3, "sizes": [100, 0], "steps": 60},
            "full": {"policy": "tiny", "seeds": 10, "sizes": [100, 1000, 0], "steps": 60},
        },
        seconds={"quick": 13, "full": 90},
    ),
    Claim(
        slug="lm_f_dpo_frontier",
        title="f-DPO reaches its optimum on a model",
        paper="f_dpo",
        kind="separation",
        source="paper and ours",
        expects="shown",
        statement="f-DPO reaches the f-regularised optimum (Wang et al. 2023, Theorem 1; text not seen), on "
        "a language model over six candidate responses; that at equal expected reward the reverse "
        "KL spends the least KL is ours (Lagrangian duality)",
        prediction="Trained with f-DPO at the beta whose optimum has the asked reward, a language model ends "
        "at that optimum; held against the least KL(pi || pi_ref) of any law with the reward it "
        "has reached, the forward KL, Jensen-Shannon and alpha 0.3 pay more, the reverse KL does "
        "not: more diverse at equal beta is not more diverse at equal reward.",
        code="distalign.objectives.f_dpo",
        theory="distalign.theory.f_dpo.closed_forms.reverse_kl_optimum",
        world="language model",
        twin="f_dpo_frontier",
        presets={
            "test": {"policy": "tabular", "seeds": 3, "shares": [0.6], "steps": 90},
            "quick": {"policy": "tiny", "seeds": 3, "shares": [0.6], "steps": 200, "prompts": 12},
            "full": {"policy": "tiny", "seeds": 36, "shares": [0.6], "steps": 240},
        },
        seconds={"quick": 36, "full": 90},
    ),
    Claim(
        slug="lm_distortion",
        title="NLHF and DPO with a minority, on a model",
        paper="distortion",
        kind="bound",
        source="paper and ours",
        expects="not violated",
        statement="Theorem 7 and Corollary 8 (NLHF's distortion is at most C(b)) and Theorem 6 (RLHF's and "
        "DPO's is not bounded by it where comparisons fall on responses the reference excludes), on a "
        "language model over seven candidate responses, all policies in one ball of 0.5 nats; the "
        "population is ours",
        prediction="Trained by self-play, a language model loses at most the factor C(b) against the best "
        "law in a ball of 0.5 nats; trained by DPO on a population whose minority is loud in the "
        "comparisons, it loses more than C(b) in the same ball, and so do the exact policies.",
        code="distalign.bridge.studies.distortion.lm_distortion.self_play",
        theory="distalign.theory.distortion.constants.minimax_distortion",
        world="language model",
        twin="nlhf_distortion",
        presets={
            "test": {
                "policy": "tabular",
                "seeds": 2,
                "populations": ["loud minority", "diverse"],
                "steps": 300,
            },
            "quick": {"policy": "tiny", "seeds": 2, "populations": ["loud minority", "diverse"], "steps": 80},
            "full": {"policy": "tiny", "seeds": 3, "populations": ["loud minority", "diverse"], "steps": 160},
        },
        seconds={"quick": 8, "full": 135},
    ),
    Claim(
        slug="lm_aot_dominance",
        title="AOT against DPO in dominance, on a model",
        paper="aot",
        kind="separation",
        source="paper and ours",
        expects="shown",
        statement="Definition 2 (the trained model's margins should dominate the reference's) on a language "
        "model over finitely many responses; DPO trained to the same divergence, and what sort batches "
        "do: ours",
        prediction="As on a table, paired AOT violates dominance less than DPO trained to the same "
        "divergence; a larger sort batch reaches a lower sorted value, a sort batch of 1 is DPO; two passes "
        "give the gradient of the whole batch.",
        code="distalign.objectives.aot.aot_paired",
        theory="distalign.preferences.quantile_coupling",
        world="language model",
        twin="aot_versus",
        presets=quick_as_controls(
            test={
                "policy": "tiny",
                "seeds": 3,
                "batches": [8, 64],
                "pairs": 512,
                "steps": 30,
                "responses": 8,
            },
            control={
                "policy": "tiny",
                "seeds": 6,
                "batches": [8, 64],
                "pairs": 512,
                "steps": 30,
                "responses": 8,
            },
            full={"policy": "tiny", "seeds": 8, "batches": [8, 64], "pairs": 512, "steps": 60},
        ),
        seconds={"quick": 28, "full": 240},
    ),
    Claim(
        slug="lm_aot_unpaired",
        title="Unpaired AOT at BCO's divergence, on a model",
        paper="aot",
        kind="separation",
        source="paper and ours",
        expects="shown",
        statement="Definition 1 (the log-ratios of chosen responses should dominate those of rejected "
        "ones) on a language model over finitely many responses, liked and disliked ones of different "
        "prompts and in unequal numbers; the comparison with BCO at one divergence, its control and the "
        "population: ours",
        prediction="Where prompts differ in how clear their rewards are, unpaired AOT violates dominance "
        "less than BCO trained to its end, at BCO's divergence, on a table as on a model. But on the table "
        "so does BCO at a fifth of beta, its log-ratios stretched: there the sort has no merit in it. The "
        "order of the rejected changes no gradient; two passes give that of the whole batch.",
        code="distalign.objectives.aot.aot_unpaired",
        theory="distalign.preferences.quantile_coupling",
        world="language model",
        presets={
            "test": {"policy": "tabular", "seeds": 7, "chosen": 5000, "steps": 80, "slower": 1},
            "quick": {"policy": "tiny", "seeds": 7, "chosen": 5000, "steps": 20, "slower": 5},
            "full": {"policy": "tiny", "seeds": 16, "chosen": 5000, "steps": 30, "slower": 5},
        },
        seconds={"quick": 8, "full": 32},
    ),
    Claim(
        slug="lm_kldpo_shrinkage",
        title="KLDPO shrinks DPO, on a model",
        paper="robust",
        kind="growth",
        source="ours",
        expects="follows",
        statement="Where Bradley-Terry holds and every law of the responses can be reached, KLDPO is DPO "
        "shrunk by tau/(1+tau): on a language model over finitely many responses. No statement of "
        "the paper",
        prediction="The minimiser's log-ratios are tau/(1+tau) times DPO's. Those of a trained language "
        "model point in the same direction and are nearer that length than DPO's, though not of it: "
        "SmolLM2's first runs were shrunk by 8 % less at tau 0.3. DPO stopped early is another policy: "
        "a robust loss that looks like a larger beta.",
        code="distalign.objectives.kldpo.kldpo",
        theory="distalign.theory.robust.kldpo.shrinkage_factor",
        world="language model",
        twin="kldpo_shrinkage",
        presets={
            "test": {
                "policy": "tiny",
                "seeds": 2,
                "temperatures": [0.3, 1.0, 3.0],
                "steps": 60,
                "responses": 4,
            },
            "quick": {"policy": "tiny", "seeds": 3, "temperatures": [0.3, 1.0, 3.0], "steps": 80},
            "full": {"policy": "tiny", "seeds": 4, "temperatures": [0.3, 1.0, 3.0], "steps": 80},
        },
        seconds={"quick": 12, "full": 60},
    ),
    Claim(
        slug="lm_shift",
        title="Robust policies under a shift, on a model",
        paper="robust",
        kind="separation",
        source="ours",
        expects="shown",
        statement="Robust policies under a shift of the population (the paper's experiments on language "
        "models) with exact laws and two controls: DPO as short, and the best multiple of DPO",
        prediction="Where groups conflict KLDPO costs nominal loss and helps the worse-off group against "
        "DPO, as a DPO of the same length does; the best multiple of DPO helps more; only an "
        "objective told the groups beats all multiples.",
        code="distalign.objectives.kldpo.kldpo",
        theory="distalign.solvers.robust.kl_fit.fit_kl_ball",
        world="language model",
        twin="dro_shift",
        presets={
            "test": {"policy": "tabular", "seeds": 2, "steps": 60, "responses": 4},
            "quick": {"policy": "tiny", "seeds": 2, "steps": 60},
            "full": {"policy": "tiny", "seeds": 3, "steps": 60},
        },
        seconds={"quick": 17, "full": 60},
    ),
)
