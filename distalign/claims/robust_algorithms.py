"""Claims of the tractable forms of WDPO and KLDPO, and of what robustness buys."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="kldpo_minibatch", paper="robust", kind="growth", source="ours", expects="follows",
        statement="The released KLDPO (Algorithm 2 with weights not normalised, clamped at 10, centred on one micro-batch) has on "
                  "micro-batches of B the temperature tau B/(B-1), so it is DPO for B = 1. No statement of the paper",
        prediction="While no weight is clamped the released loss trains tau B/(B(1+tau)-1) times DPO's solution in place of "
                   "tau/(1+tau); weights normalised in the micro-batch are biased more; the mean weight multiplies the learning "
                   "rate, by orders of magnitude at DPO's solution but for the clamp.",
        code="distalign.objectives.kldpo.kldpo", theory="distalign.theory.robust_algorithms.batch_temperature",
        presets={"test": {"temperatures": [1.0], "batches": [1, 2, 16], "samples": 8192, "replicates": 12},
                 "quick": {"temperatures": [1.0, 0.3, 0.1], "batches": [1, 2, 4, 16, 64], "samples": 4096, "replicates": 24},
                 "full": {"temperatures": [1.0, 0.3, 0.1], "batches": [1, 2, 4, 8, 16, 32, 64, 128, 256], "samples": 32768,
                          "replicates": 64}},
        seconds={"quick": 5, "full": 27},
    ),
    Claim(
        slug="wdpo_gradients", paper="robust", kind="growth", source="ours", expects="follows",
        statement="WDPO's gradient without double backward (the paper differentiates twice): DPO at inputs moved along their own "
                  "gradient, by one step or by central differences",
        prediction="The one-step form is wrong by order delta, the central one by delta^2, with the constants of the second and "
                   "third derivative along the move; through the ratio the penalty is 0 at the reference, through the policy "
                   "alone it is not.",
        code="distalign.objectives.wdpo.wdpo", theory="distalign.objectives.dpo.dpo",
        presets={"test": {"moves": [1e-3, 1e-2], "instances": 1},
                 "quick": {"moves": [1e-4, 1e-3, 1e-2, 1e-1, 1.0], "instances": 3},
                 "full": {"moves": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 0.3, 1.0], "instances": 20}},
        seconds={"quick": 4, "full": 27},
    ),
    Claim(
        slug="dro_noise_vs_shift", paper="robust", kind="separation", source="ours", expects="shown",
        statement="KLDPO and Dr. DPO on flipped labels and on a moved reward: one tilt with opposite signs. Not in the "
                  "paper, as far as it was read",
        prediction="Flipped labels shrink the margin and KLDPO shrinks it again, so it loses to DPO and Dr. DPO wins; a conflicting "
                   "reward asks for a shorter margin, and it is the other way round.",
        code="distalign.objectives.robust_baselines.dr_dpo", theory="distalign.theory.robust_algorithms.pair_optimum",
        presets={"test": {"flips": [0.0, 0.2], "shares": [0.0, 1.0], "instances": 20, "blocks": 1},
                 "quick": {"flips": [0.0, 0.1, 0.2, 0.3], "shares": [0.0, 0.25, 0.5, 1.0], "instances": 40, "blocks": 1},
                 "full": {"flips": [0.0, 0.1, 0.2, 0.3, 0.4], "shares": [0.0, 0.1, 0.25, 0.5, 0.75, 1.0], "instances": 50,
                          "blocks": 8}},
        seconds={"quick": 2, "full": 8},
    ),
    Claim(
        slug="dro_small_sample", paper="robust", kind="separation", source="ours", expects="shown",
        statement="Excess DPO loss of KLDPO and WDPO on n pairs of a population that does not move: regularisation early, bias "
                  "late. Not in the paper",
        prediction="At n = 100 KLDPO and WDPO lose less than DPO, and so do a shrunk DPO and a ridge; at n = 25600 they lose more; "
                   "KLDPO's excess is its shrinkage bias plus tr(HV)/2n.",
        code="distalign.objectives.kldpo.kldpo", theory="distalign.theory.robust_algorithms.excess_loss",
        presets={"test": {"sizes": [100, 25600], "replicates": 150},
                 "quick": {"sizes": [100, 400, 1600, 6400, 25600], "replicates": 400},
                 "full": {"sizes": [50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600], "replicates": 2000}},
        seconds={"quick": 4, "full": 27},
    ),
    Claim(
        slug="wdpo_surrogate", paper="robust", kind="growth", source="paper and ours", expects="follows",
        statement="WDPO's gradient penalty (Algorithm 1, root; appendix and released code, squared) as the first-order form of a "
                  "type-2 Wasserstein worst case; displayed formulas not seen. Order and constant of the error, the priced reading "
                  "of the squared form, and the finite-space remark: ours",
        prediction="Both penalties lie below their worst case by a constant times rho^2 that theory computes, their minimisers cost "
                   "at most that gap, and the squared form implies a ball of about 2 rho times the root mean square gradient.",
        code="distalign.objectives.wdpo.wdpo", theory="distalign.theory.robust_algorithms.root_gap",
        presets={"test": {"radii": [0.01, 0.16], "instances": 2},
                 "quick": {"radii": [0.01, 0.02, 0.04, 0.08, 0.16], "instances": 6},
                 "full": {"radii": [0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32], "instances": 50}},
        seconds={"quick": 5, "full": 32},
    ),
    Claim(
        slug="dro_shift", paper="robust", kind="separation", source="paper and ours", expects="shown",
        statement="The paper's log-linear setting with a moving reward (it reports flatter curves on language models, without "
                  "intervals); the shrunk-DPO controls, certificates and the comparison with known groups: ours",
        prediction="Robust policies lose nominal reward and win under a shift only if the rewards conflict; KLDPO is then a shrunk "
                   "DPO exactly, on a mixture of groups nearly; what turns the direction is to be told the groups.",
        code="distalign.objectives.robust_baselines.group_dpo", theory="distalign.theory.robust.shrinkage_factor",
        presets={"test": {"angles": [60.0, 120.0], "instances": 10, "blocks": 1},
                 "quick": {"angles": [60.0, 120.0], "instances": 20, "blocks": 1},
                 "full": {"angles": [60.0, 120.0, 160.0], "instances": 20, "blocks": 10}},
        seconds={"quick": 4, "full": 30},
    ),
)
