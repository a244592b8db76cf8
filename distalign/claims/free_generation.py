"""Claims on language models that write freely: where the theory says they must end, before they are trained.

"Freely" means that the model draws its texts itself, token by token at temperature 1; nothing is chosen from
a list. The committed runs are of `tiny`, a network made for them that can write twelve million texts;
`--policy smollm2` trains SmolLM2.
"""

from distalign.claims.claim import Claim, quick_as_controls

CLAIMS = (
    Claim(
        slug="free_oracle",
        title="Draws carry exact predictions",
        paper="f_dpo",
        kind="identity",
        source="ours",
        expects="holds",
        statement="Every population optimum of the five papers is a tilt of the reference, so draws of it "
        "carry the optimum, and a trained model is measured on them: on a language model whose 1,093 texts a "
        "prompt are enumerated. No statement of a paper",
        prediction="Nine predictions, the reweighted and the fresh road equal their exact values up to a "
        "bias of order 1/N and an error of order N^-1/2; intervals cover; a prediction that the draws do not "
        "carry is refused, unless its optimum rests on a text that was not drawn, of which no draw can tell.",
        code="distalign.bridge.generation.tilts.rlhf",
        theory="distalign.theory.f_dpo.closed_forms.reverse_kl_optimum",
        world="language model",
        folder="free",
        presets=quick_as_controls(
            test={"policy": "tiny", "seeds": 1, "sizes": [64, 128, 256], "replicates": 20, "draws": 512},
            full={"policy": "tiny", "seeds": 3, "sizes": [128, 256, 512], "replicates": 60, "draws": 512},
        ),
        seconds={"quick": 9, "full": 75},
    ),
    Claim(
        slug="free_f_dpo_frontier",
        title="f-DPO and RLHF where a model writes freely",
        paper="f_dpo",
        kind="identity",
        source="paper and ours",
        expects="holds",
        statement="f-DPO reaches the f-regularised optimum, and divergence efficiency against policy "
        "gradients (Wang et al. 2023, Theorem 1 and abstract; text not seen), on a language model that "
        "writes freely; the prediction from draws of the reference is ours",
        prediction="Where the optimum is within the network's reach, reward and KL of a model trained with "
        "f-DPO are those that draws of its reference predicted; under a reward that saturates DPO is, after "
        "400 updates, nearer to the best law within reach than to its optimum. A policy gradient on as many "
        "texts lies no nearer to the frontier and no farther.",
        code="distalign.objectives.f_dpo",
        theory="distalign.bridge.generation.tilts.f_dpo",
        world="language model",
        folder="free",
        presets=quick_as_controls(
            test={
                "policy": "tiny",
                "methods": {
                    "reverse_kl": 1,
                    "reverse_kl, sum": 1,
                    "reverse_kl, quarter": 1,
                    "policy gradient": 1,
                },
                "betas": [1.0],
                "steps": 300,
            },
            full={
                "policy": "tiny",
                "methods": {
                    "reverse_kl": 6,
                    "reverse_kl, quarter": 6,
                    "forward_kl": 1,
                    "jensen_shannon": 1,
                    "alpha:0.3": 1,
                    "policy gradient": 1,
                    "reverse_kl, sum": 1,
                    "forward_kl, sum": 1,
                    "jensen_shannon, sum": 1,
                    "alpha:0.3, sum": 1,
                },
                "betas": [0.7, 1.0, 2.0],
                "steps": 400,
            },
        ),
        seconds={"quick": 17, "full": 200},
    ),
    Claim(
        slug="free_calibration",
        title="Calibration over divergence and beta",
        paper="f_dpo",
        kind="identity",
        source="ours",
        expects="holds",
        statement="Expected calibration error of f-DPO over divergence and beta, on a language model that "
        "writes freely (the abstract of Wang et al. 2023 links it to the divergence; that every optimum is "
        "calibrated in preferences, and the predicted error of the authors' code, are ours)",
        prediction="At its optimum every divergence implies the users' own preferences, so a trained model "
        "whose optimum is within reach is calibrated in pairs at every beta, and otherwise at least as well "
        "as the best law within reach; the binned error of the authors' code is another number, "
        "which draws of the reference predict, and which moves with the strength and hardly with the "
        "divergence.",
        code="distalign.objectives.f_dpo",
        theory="distalign.bridge.generation.tilts.f_dpo",
        world="language model",
        folder="free",
        presets=quick_as_controls(
            test={
                "policy": "tiny",
                "seeds": 1,
                "divergences": ["reverse_kl", "reverse_kl, sum", "jensen_shannon"],
                "betas": [0.7, 2.0],
                "steps": 200,
            },
            full={
                "policy": "tiny",
                "seeds": 2,
                "divergences": [
                    "reverse_kl",
                    "alpha:0.3",
                    "jensen_shannon",
                    "forward_kl",
                    "reverse_kl, sum",
                    "alpha:0.3, sum",
                    "jensen_shannon, sum",
                    "forward_kl, sum",
                ],
                "betas": [0.7, 1.0, 2.0],
                "steps": 300,
            },
        ),
        seconds={"quick": 12, "full": 220},
    ),
    Claim(
        slug="free_consistency",
        title="Ratio losses where a model writes freely",
        paper="density_ratio",
        kind="separation",
        source="paper and ours",
        expects="shown",
        statement="consistency of density-ratio alignment without a Bradley-Terry model, DPO's "
        "inconsistency, and DDRO that is unstable (from the abstracts of arXiv 2604.04410 and "
        "2505.07558), on a language model that writes freely; the plateau, the noise of SFT and "
        "the rate of failed runs are ours",
        prediction="With intransitive users RDRO and DDRO bring a model that writes freely towards the law "
        "of preferred texts; DPO (beta 1) stops, and where its optimum is within the network's reach"
        " as far from it as the Bradley-Terry projection on draws says; SFT, whose gradient noise does not "
        "die out, lies further from it than RDRO after as many updates; DDRO without a stabiliser fails.",
        code="distalign.objectives.rdro.rdro",
        theory="distalign.bridge.generation.tilts.p_plus",
        world="language model",
        folder="free",
        presets=quick_as_controls(
            test={
                "policy": "tiny",
                "seeds": 1,
                "sizes": [128, 0],
                "steps": 50,
                "prompts": 6,
                "group": 20,
                "draws": 256,
            },
            full={
                "policy": "tiny",
                "seeds": 2,
                "sizes": [128, 1024, 4096, 0],
                "steps": 160,
                "prompts": 6,
                "group": 20,
            },
        ),
        seconds={"quick": 19, "full": 150},
    ),
    Claim(
        slug="free_distortion",
        title="A loud minority where a model writes freely",
        paper="distortion",
        kind="separation",
        source="paper and ours",
        expects="shown",
        statement="Theorems 6 and 7 (RLHF and DPO follow a minority that is loud where comparisons fall on "
        "texts that the reference does not write, NLHF does not), on a language model that writes"
        " freely, trained by policy gradient on texts of its own; the population is ours",
        prediction="Where nearly all comparisons are with one foreign text, RLHF by policy gradient with the"
        " reward of these comparisons ends below the average utility of the reference, self-play "
        "far above it, in one ball; DPO, which is trained on the foreign text, must raise it by "
        "r/beta and leaves the ball.",
        code="distalign.bridge.generation.learning.self_play",
        theory="distalign.bridge.generation.tilts.nlhf",
        world="language model",
        folder="free",
        presets=quick_as_controls(
            test={
                "policy": "tiny",
                "seeds": 1,
                "steps": 50,
                "prompts": 5,
                "group": 20,
                "draws": 256,
            },
            control={
                "policy": "tiny",
                "seeds": 1,
                "steps": 60,
                "prompts": 5,
                "group": 32,
                "draws": 256,
            },
            full={"policy": "tiny", "seeds": 3, "steps": 200, "prompts": 6, "group": 24},
        ),
        seconds={"quick": 9, "full": 100},
    ),
    Claim(
        slug="free_dominance",
        title="AOT and DPO on prompts held out",
        paper="aot",
        kind="separation",
        source="ours",
        expects="shown",
        statement="AOT against DPO in violation of stochastic dominance, and its generalisation gap "
        "(Melnyk et al. 2024 ask for the one and bound the other), on a language model that writes freely, "
        "at one KL, on prompts never trained on; what draws predict of either is ours",
        prediction="On held-out prompts paired AOT violates the dominance of its margins less than DPO that "
        "is trained on the same texts to the same KL, and with few labels more than on the pairs it saw. "
        "Beta is no price of its KL: it spends more than a DPO of a quarter of its beta, and draws do not "
        "say where it ends. Unpaired AOT, whose classes DPO orders already, violates the margins more.",
        code="distalign.objectives.aot.aot_paired",
        theory="distalign.bridge.generation.tilts.rlhf",
        world="language model",
        folder="free",
        presets=quick_as_controls(
            test={"policy": "tiny", "seeds": 4, "others": 2, "sizes": [16, 0], "steps": 50},
            full={
                "policy": "tiny",
                "seeds": 6,
                "others": 2,
                "sizes": [16, 128, 0],
                "steps": 120,
                "draws": 128,
            },
        ),
        seconds={"quick": 19, "full": 50},
    ),
    Claim(
        slug="free_shift",
        title="Users who shift, and free writing",
        paper="robust",
        kind="separation",
        source="ours",
        expects="shown",
        statement="Robust policies under a shift of the users (the paper's experiments on language models) "
        "on a language model that writes freely, with two controls: DPO as short, and the best "
        "multiple of DPO",
        prediction="Where groups conflict KLDPO helps the worse-off group against DPO as a DPO of its "
        "length does, a length that draws of the reference predict; neither KLDPO nor WDPO beats the best "
        "multiple of DPO.",
        code="distalign.objectives.kldpo.kldpo",
        theory="distalign.bridge.studies.free.free_shift.on_table",
        world="language model",
        folder="free",
        presets=quick_as_controls(
            test={"policy": "tiny", "seeds": 1, "steps": 50, "prompts": 6, "group": 18, "draws": 192},
            full={"policy": "tiny", "seeds": 3, "steps": 200, "prompts": 6, "group": 24},
        ),
        seconds={"quick": 14, "full": 100},
    ),
)
