"""Claims of WDPO and KLDPO: duality, invariants, collapse, and what the theorems' constants say."""

from distalign.claims.claim import Claim

CLAIMS = (
    Claim(
        slug="dro_duality", paper="robust", kind="identity", source="paper and ours", expects="holds", figure=False,
        statement="Duality of the robust losses over KL and Wasserstein balls (the paper's lemmas; displayed formulas not seen, "
                  "written down again); finite programs for the log-linear class and their certificates: ours",
        prediction="The solvers' value equals their lower bound, cvxpy's program, and a supremum over couplings, laws or moves; "
                   "the worst law is exactly the radius away (POT, KL).",
        code="distalign.solvers.wasserstein_finite.fit", theory="distalign.oracles.wasserstein.finite_fit",
        presets={"test": {"shares": [0.5], "instances": 1}, "quick": {"shares": [0.2, 0.8], "instances": 2},
                 "full": {"shares": [0.02, 0.2, 0.5, 0.8, 0.95], "instances": 8}},
        seconds={"quick": 3, "full": 13},
    ),
    Claim(
        slug="dro_invariants", paper="robust", kind="identity", source="ours", expects="holds", figure=False,
        statement="Every robust loss is at least the plain one, does not fall as the ball grows, is convex in theta, is log 2 at the "
                  "reference policy, and bounds the loss under every law of the ball. Consequences of the definition",
        prediction="None of it fails, for KL, W1 and W2 on the finite space and on R^d, at radii up to and beyond collapse.",
        code="distalign.solvers.wasserstein_ball.worst_case", theory="distalign.theory.robust_wasserstein.sandwich",
        presets={"test": {"parameters": 10, "instances": 1}, "quick": {"parameters": 20, "instances": 2},
                 "full": {"parameters": 100, "instances": 20}},
        seconds={"quick": 2, "full": 30},
    ),
    Claim(
        slug="dro_sandwich", paper="robust", kind="bound", source="ours", expects="not violated",
        statement="The W2-robust loss on R^d is at least the plain loss plus the root-mean-square gradient regulariser, and at most "
                  "that plus a Taylor term or the Lipschitz bound; on a finite space its premium starts like rho^2. The paper has "
                  "the regulariser as an expansion",
        prediction="Neither side of the sandwich is violated at any parameter and radius; the premium on the finite space is "
                   "eta rho^2 as long as its cheapest source lasts.",
        code="distalign.solvers.wasserstein_euclidean.value", theory="distalign.theory.robust_wasserstein.sandwich",
        presets={"test": {"radii": [0.001, 0.1, 1.0], "parameters": 20, "instances": 2},
                 "quick": {"radii": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0], "parameters": 20, "instances": 4},
                 "full": {"radii": [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0], "parameters": 100,
                          "instances": 20}},
        seconds={"quick": 1, "full": 29},
    ),
    Claim(
        slug="dro_collapse", paper="robust", kind="separation", source="ours", expects="shown",
        statement="Above a critical radius, the distance to a law under which the features have mean zero, the robust optimum is the "
                  "reference policy itself: KL by information projection, finite Wasserstein by a linear program, W1 and W2 on R^d at "
                  "|E v|/2 and |E v|. No statement of the paper, which assumes its regularity for every radius used",
        prediction="Just above the threshold theta is exactly 0 and the value log 2; just below it the robust optimum beats the "
                   "reference. In between 0 and the threshold it shrinks to 0.",
        code="distalign.solvers.wasserstein_finite.fit", theory="distalign.solvers.collapse.wasserstein_collapse_radius",
        presets={"test": {"shares": [0.9, 0.999, 1.001, 1.5], "instances": 4},
                 "quick": {"shares": [0.01, 0.1, 0.3, 0.6, 0.9, 0.999, 1.001, 1.5], "instances": 4},
                 "full": {"shares": [0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.001,
                                     1.01, 1.1, 1.5, 3.0], "instances": 20}},
        seconds={"quick": 3, "full": 22},
    ),
    Claim(
        slug="dro_strong_convexity", paper="robust", kind="bound", source="paper", expects="not violated",
        statement="Both robust losses are gamma lambda-strongly convex where |theta| <= B, gamma = beta^2 sigma(4 beta B) "
                  "sigma(-4 beta B), lambda the coverage of the worst law of the ball (the paper's lemmas; lambda computed here)",
        prediction="The modulus at random pairs never falls below gamma lambda; how far above it stays grows with the radius, for "
                   "lambda is the worst law's and gamma the worst margin's.",
        code="distalign.solvers.wasserstein_ball.worst_case", theory="distalign.theory.robust_wasserstein.strong_convexity",
        presets={"test": {"radii": {"KL": [0.001], "W1 finite": [0.02]}, "triples": 100, "instances": 1},
                 "quick": {"radii": {"KL": [0.0001, 0.001, 0.01], "W1 finite": [0.005, 0.02, 0.05], "W2 finite": [0.05, 0.15]},
                           "triples": 300, "instances": 2},
                 "full": {"radii": {"KL": [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1],
                                    "W1 finite": [0.002, 0.005, 0.01, 0.02, 0.05, 0.1], "W2 finite": [0.02, 0.05, 0.1, 0.2, 0.3]},
                          "triples": 2000, "instances": 6}},
        seconds={"quick": 2, "full": 34},
    ),
    Claim(
        slug="dro_bounds", paper="robust", kind="bound", source="paper and ours", expects="not violated",
        statement="Theorem 1 (WDPO), Theorem 2 (KLDPO) and Proposition 1 (DPO) with their constants, at confidence 95 % (words of the "
                  "paper; displayed formulas not seen, derived again from its proofs); Theorem 2 with exp of the losses' range "
                  "over the multiplier: ours",
        prediction="No replicate violates a bound. With the smallest constants we could choose Proposition 1 says something from 10^4 "
                   "comparisons on, Theorem 1 from 2 10^7, Theorem 2 from 10^8 at best and 10^14 if its multipliers must serve "
                   "all parameters; errors lie orders of magnitude below.",
        code="distalign.solvers.wasserstein_finite.fit", theory="distalign.theory.robust_wasserstein.wasserstein_error_bound",
        presets={"test": {"sizes": [10000, 100000000, 10000000000000000], "replicates": 20},
                 "quick": {"sizes": [10000, 1000000, 100000000, 10000000000, 1000000000000, 100000000000000, 10000000000000000],
                           "replicates": 60},
                 "full": {"sizes": [10**k for k in range(3, 18)], "replicates": 400}},
        seconds={"quick": 2, "full": 17},
    ),
)
