"""Claims of DDRO and RDRO on a recurrent language model."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="ratio_language_model", paper="density_ratio", kind="separation", source="ours", expects="shown",
        statement="A recurrent language model in minibatches, with a computable p+: an illustration with three seeds, one learning rate "
                  "and one family of scores, none of it from either paper. p+ is a bounded tilt of the reference, not the optimum of a "
                  "reward",
        prediction="By KL to p+, RDRO with class means is nearer than SFT while labels are few (no better rate is claimed, and with many "
                   "labels the two may not be told apart), and at every n nearer than RDRO with one mean over examples, whose own "
                   "samples would be chosen more often all the same: the rate of being chosen hides the bias. DDRO is measured, and no "
                   "order between it and RDRO is claimed; with a floor its gradients spike. With three seeds an interval is about "
                   "their range.",
        code="distalign.objectives.rdro.rdro", theory="distalign.solvers.density_ratio.rdro_policy",
        presets={"test": {"sizes": [2048], "epochs": [2], "seeds": 3},
                 "quick": {"sizes": [512, 2048], "epochs": [6, 4], "seeds": 3},
                 "full": {"sizes": [2048, 8192, 32768], "epochs": [6, 4, 3], "seeds": 3}},
        seconds={"quick": 11, "full": 100},
    ),
)
