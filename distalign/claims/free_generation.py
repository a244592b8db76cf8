"""Claims on language models that write freely: where the theory says they must end, before they are trained.

"Freely" means that the model draws its texts itself, token by token at temperature 1; nothing is chosen from
a list. The committed runs are of `tiny`, a network made for them that can write 2.7 billion texts; `--policy
smollm2` trains SmolLM2.
"""

from distalign.claims.claim import Claim

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
        "carry is refused.",
        code="distalign.bridge.generation.tilts.rlhf",
        theory="distalign.theory.f_dpo.closed_forms.reverse_kl_optimum",
        world="language model",
        folder="free",
        presets={
            "test": {"policy": "tiny", "seeds": 1, "sizes": [64, 128, 256], "replicates": 20, "draws": 512},
            "quick": {"policy": "tiny", "seeds": 2, "sizes": [64, 128, 256], "replicates": 30, "draws": 512},
            "full": {"policy": "tiny", "seeds": 6, "sizes": [128, 256, 512], "replicates": 60, "draws": 512},
        },
        seconds={"quick": 15, "full": 60},
    ),
)
