"""Claims on language models: robust objectives and shifts on a finite-response probe.

"Language model" means its probabilities of a finite set of candidate responses, normalised: exact, and not free generation.
"""

from distalign.claims.claim import Claim

CLAIMS: tuple[Claim, ...] = (
    Claim(
        slug="lm_aot_dominance", paper="aot", kind="separation", source="paper and ours", expects="shown",
        statement="Definition 2 (the trained model's margins should dominate the reference's) on a language model over finitely "
                  "many responses; DPO at the same divergence, and what sort batches of 8 and 64 do: ours",
        prediction="As on a table, paired AOT violates dominance less than DPO at the same divergence; a larger sort batch "
                   "reaches a lower sorted value, a sort batch of 1 is DPO; two passes give the gradient of the whole batch.",
        code="distalign.objectives.aot.aot_paired", theory="distalign.preferences.quantile_coupling",
        presets={"test": {"policy": "tiny", "seeds": 3, "batches": [8], "pairs": 128, "steps": 30, "responses": 8},
                 "quick": {"policy": "tiny", "seeds": 4, "batches": [8, 64], "pairs": 512, "steps": 60},
                 "full": {"policy": "smollm2", "seeds": 3, "batches": [8, 64], "pairs": 512, "steps": 40}},
        seconds={"quick": 8, "full": 290},
    ),
    Claim(
        slug="lm_kldpo_shrinkage", paper="robust", kind="growth", source="ours", expects="follows",
        statement="Where Bradley-Terry holds and every law of the responses can be reached, KLDPO is DPO shrunk by tau/(1+tau): "
                  "on a language model over finitely many responses. No statement of the paper",
        prediction="The log-ratios of a language model trained with KLDPO are tau/(1+tau) times those of its DPO run, in the same "
                   "direction, and DPO stopped early is not: a robust loss that looks like a larger beta.",
        code="distalign.objectives.kldpo.kldpo", theory="distalign.theory.robust.shrinkage_factor",
        presets={"test": {"policy": "tiny", "seeds": 3, "temperatures": [1.0], "steps": 45, "responses": 4},
                 "quick": {"policy": "tiny", "seeds": 3, "temperatures": [0.3, 1.0, 3.0], "steps": 80},
                 "full": {"policy": "smollm2", "seeds": 3, "temperatures": [0.3, 1.0], "steps": 50}},
        seconds={"quick": 8, "full": 260},
    ),
    Claim(
        slug="lm_shift", paper="robust", kind="separation", source="ours", expects="shown",
        statement="Robust policies under a shift of the population (the paper's experiments on language models) with exact laws "
                  "and two controls: DPO as short, and the best multiple of DPO",
        prediction="Where groups conflict KLDPO costs nominal loss and helps the worse-off group against DPO, as a DPO of the same "
                   "length does; the best multiple of DPO helps more; only an objective told the groups beats all multiples.",
        code="distalign.objectives.kldpo.kldpo", theory="distalign.solvers.kl_fit.fit_ball",
        presets={"test": {"policy": "tiny", "seeds": 3, "steps": 25, "responses": 4},
                 "quick": {"policy": "tiny", "seeds": 3, "steps": 50},
                 "full": {"policy": "smollm2", "seeds": 3, "steps": 40}},
        seconds={"quick": 10, "full": 320},
    ),
)
