"""Every numbered statement, figure and table of the papers, as far as we know them: what it says, what is
here.

An item is (label, content, slugs, remark). Claims of the same paper that name the label in their statement
are added by `analysis/coverage.py`, so that a claim is listed once it says what it tests. The remark says
what the slugs leave open, or why nothing here runs the item. A label in parentheses is a description: the
number is unknown to us.
"""

JUDGE = "a judge model (GPT-4, Llama-3-70B) compares texts; none runs here"
BENCHMARK = "benchmarks of fine-tuned 7B models; not reproduced here"
UNREAD = "its text was not seen"
Item = tuple[str, str, tuple[str, ...], str]

AOT: tuple[Item, ...] = (
    (
        "Definition 1",
        "unpaired distributional preference: first-order dominance between two laws of log-ratios",
        ("lm_aot_unpaired",),
        "is `distalign.objectives.aot_unpaired`; the contract tests it",
    ),
    (
        "Definition 2",
        "paired distributional preference: dominance of the policy's margins over the reference's",
        (),
        "is `distalign.objectives.aot_paired`; the contract tests it",
    ),
    (
        "(transport identity)",
        "sorting solves one-dimensional transport with a convex cost (Santambrogio, Theorem 2.9 and "
        "Proposition 2.17, as quoted); perhaps this is Theorem 1, which we have not recorded",
        ("aot_transport", "aot_dual"),
        "",
    ),
    (
        "Theorem 2",
        "excess violation of the unpaired empirical minimiser by four Rademacher complexities",
        ("aot_excess",),
        "the complexities themselves are not computed: `aot_excess` tests the rate they give (Corollary 1)",
    ),
    (
        "Corollary 1",
        "excess violation of order n^-1/2, for unequal counts n^-1/2 + m^-1/2",
        ("aot_rate", "aot_excess"),
        "",
    ),
    (
        "Theorem 3",
        "the same for the paired problem",
        ("aot_paired_excess",),
        "the complexities themselves are not computed: one with explicit constants is",
    ),
    ("Theorem 4", "the gradient of the sorted objective is asymptotically unbiased", ("aot_batch_bias",), ""),
    (
        "Remark 2",
        "entropic transport keeps n^-1/2",
        ("sinkhorn_sort",),
        "for normal laws and least squares, with the constant; the code of the paper sorts by a quadratic "
        "soft sort, which `aot_softsort` tests",
    ),
    (
        "Assumption 3",
        "the parameter lies in a ball",
        (),
        "an assumption; what hangs on it is `aot_scale` (ours)",
    ),
    (
        "Appendix F",
        "violations as Wasserstein distances to the dominating laws; the hinge gives sparse ones",
        ("aot_projection", "aot_penalties"),
        "",
    ),
    (
        "(lemmas of the appendices)",
        "covering numbers of the transformed classes",
        (),
        "numbers not noted; parts of proofs, not run",
    ),
    (
        "Figure 1",
        "laws of log-ratios of chosen and rejected responses after training",
        (),
        "7B models on UltraFeedback; the simulated law of chosen log-ratios is a column of `aot_versus`, and "
        "`free_dominance` measures dominance where a small model writes freely",
    ),
    (
        "Figure 2",
        "penalties, and the batch a device sorts, by AlpacaEval",
        (),
        f"{JUDGE}; what small sort batches do is `aot_batch_bias`, what the penalties do `aot_penalties`",
    ),
    (
        "Figure 3",
        "beta of four methods by AlpacaEval",
        ("free_dominance",),
        f"{JUDGE}; what the claim tests is that beta is no price of AOT's KL",
    ),
    ("Figure 4", "AlpacaEval before and after", (), JUDGE),
    ("Table 1", "Merlinite-7B: AlpacaEval and six tasks", (), f"{JUDGE}; {BENCHMARK}"),
    ("Tables 2 to 6", "other base models", (), f"numbers not seen; {BENCHMARK}"),
    (
        "Table 7",
        "hard and soft sorting on par",
        ("aot_softsort",),
        "the reason in one dimension, not the benchmark numbers",
    ),
    (
        "Tables 8 and 9",
        "AOT and KTO on unpaired data",
        (),
        f"numbers not seen; {BENCHMARK}; `lm_aot_unpaired` compares AOT with BCO",
    ),
    ("Table 10", "four seeds", (), f"numbers not seen; {BENCHMARK}"),
)

F_DPO: tuple[Item, ...] = (
    (
        "Theorem 1",
        "stationarity gives the reward as beta f'(pi/pi_ref) up to a constant, if f' tends to minus infinity "
        "at 0",
        ("f_dpo_kkt", "f_dpo_population", "f_dpo_inadmissible"),
        "wording not seen",
    ),
    (
        "Theorem 2",
        "a difference of calibration errors bounded by a divergence",
        ("f_dpo_calibration",),
        f"{UNREAD}; what is tested is an inequality of our own of that form",
    ),
    (
        "(remarks on Theorem 2)",
        "constants 4 sqrt(2 D) for Jensen-Shannon and 2 sqrt(2 D) for KL, as a review quotes them",
        ("f_dpo_calibration",),
        "as the Pinsker constants of the same inequality",
    ),
    (
        "(table of divergences)",
        "f, f' and which are admissible, as a replication quotes it",
        ("f_dpo_kkt", "f_dpo_inadmissible"),
        "number unknown",
    ),
    (
        "(IMDB frontier)",
        "reward against divergence of GPT2-large",
        ("f_dpo_frontier",),
        "number unknown; the exact frontier over small populations, not the paper's runs",
    ),
    (
        "(HH accuracy and diversity)",
        "forward KL most diverse, reverse KL least",
        ("f_dpo_frontier",),
        "number unknown; trained "
        "Pythia-2.8B models are not reproduced, the statement is examined for exact optima",
    ),
    ("(MT-bench)", "pairwise comparisons of four divergences", (), f"number unknown; {JUDGE}"),
    (
        "(calibration during training)",
        "calibration error over steps for three betas",
        (),
        "number unknown; the paper's figure "
        "was "
        "not seen; `f_dpo_calibration` follows small policies along training",
    ),
    (
        "(abstract: efficiency)",
        "more efficient and supervised; better than PPO in divergence efficiency",
        ("f_dpo_samples",),
        "on tables of four responses, against policy gradient with the exact penalty: no label is saved, "
        "texts are; PPO itself is not run",
    ),
    (
        "(all further numbers)",
        "",
        (),
        "the full text was not seen: further theorems, figures and tables are unknown to us",
    ),
)

ROBUST: tuple[Item, ...] = (
    (
        "Theorem 1",
        "WDPO: squared distance to the robust optimum at most of order n^-1/2 at a fixed radius",
        ("wdpo_rate", "dro_bounds"),
        "displayed formula not seen, derived again",
    ),
    (
        "Theorem 2",
        "KLDPO: the same",
        ("kldpo_rate", "dro_bounds"),
        "displayed formula not seen, derived again",
    ),
    ("Theorem 3", "the worst law of the KL ball as an exponential re-weighting", ("dro_duality",), ""),
    ("Proposition 1", "DPO itself: order n^-1/2", ("dro_bounds",), ""),
    (
        "Proposition 4",
        "weights centred at the mean loss bound the density ratio from above",
        ("kldpo_ratio_bound", "kldpo_minibatch"),
        "",
    ),
    ("Lemma 1", "duality of the Wasserstein worst case", ("dro_duality",), ""),
    (
        "Lemma 9",
        "uniform deviation of the Wasserstein-robust loss",
        (),
        "a step of Theorem 1; stated for a fixed parameter and "
        "used "
        "at a random one (our remark); its consequence is tested in `dro_bounds`",
    ),
    (
        "Lemma 10",
        "strong convexity of the plain loss in the norm of the covariance",
        (),
        "a step of Lemmas 11 and 14",
    ),
    ("Lemma 11", "strong convexity of the Wasserstein-robust loss", ("dro_strong_convexity",), ""),
    ("Lemma 12", "duality of the KL worst case", ("dro_duality",), ""),
    (
        "Lemma 13",
        "deviation of the KL-robust loss",
        (),
        "a step of Theorem 2; its consequence is tested in `dro_bounds`",
    ),
    ("Lemma 14", "strong convexity of the KL-robust loss", ("dro_strong_convexity",), ""),
    ("Lemmas 2 to 8, Propositions 2 and 3", "", (), "content not noted"),
    (
        "Remarks 3 and 4",
        "the exponent n^-1/4, and where the exponential constant comes from",
        ("wdpo_rate", "kldpo_rate"),
        "",
    ),
    (
        "Assumptions 1 to 3",
        "log-linear class, coverage over the whole ball, bounded multiplier",
        ("dro_collapse",),
        "`dro_collapse` (ours) shows from which radius on the second fails",
    ),
    (
        "Algorithm 1",
        "WDPO: a penalty on the gradient in the inputs",
        ("wdpo_surrogate", "wdpo_gradients"),
        "",
    ),
    ("Algorithm 2", "KLDPO: exponential weights", ("kldpo_minibatch", "kldpo_shrinkage"), ""),
    (
        "(Emotion experiment)",
        "GPT-2, mixtures of two emotions, preferences that shift",
        ("dro_shift", "dro_worst_shift"),
        "number of the figure "
        "not "
        "noted; the log-linear analogue, with the controls that the paper does not have; how far "
        "real votes must move is on the page on real votes",
    ),
    (
        "(ArmoRM experiment, Appendix E.1)",
        "five reward heads, three of them unseen",
        (),
        "reward models of 8B; not run here",
    ),
    ("Table 1", "six tasks of a leaderboard for 1B, 3B and 8B models", (), BENCHMARK),
)

DENSITY_RATIO: tuple[Item, ...] = (
    (
        "(consistency of DDRO, abstract)",
        "the learned policy tends to the law of preferred responses without a preference model",
        ("rdro_consistency", "ratio_population", "ratio_rate", "ratio_sequences", "lm_ratio_consistency"),
        "theorem numbers and texts unknown",
    ),
    (
        "(consistency of RDRO, abstract)",
        "the same for the relative ratio",
        ("rdro_consistency", "ratio_population", "ratio_rate", "ratio_sequences", "lm_ratio_consistency"),
        "theorem numbers and texts unknown",
    ),
    (
        "(instability of DDRO, RDRO's abstract)",
        "the ratio of preferred to non-preferred is unstable and can diverge",
        ("ratio_sparse", "ratio_stability", "ratio_failures"),
        "the stabilisers of either paper are unknown",
    ),
    (
        "(tighter guarantees, RDRO's abstract)",
        "'significantly tighter convergence guarantees than DDRO'",
        ("ratio_bound",),
        "one reading of the sentence; the guarantees themselves were not seen",
    ),
    (
        "(preference models are inconsistent, RDRO's abstract)",
        "methods that assume one are not consistent",
        ("ratio_plateaus", "ratio_positive_control"),
        "",
    ),
    (
        "(experiments of DDRO)",
        "Pythia and LLaMA on five benchmarks and AlpacaEval",
        (),
        f"numbers not seen; {JUDGE}; {BENCHMARK}",
    ),
    ("(experiments of RDRO)", "Qwen 2.5 and Llama 3 by AlpacaEval", (), f"numbers not seen; {JUDGE}"),
    (
        "(all numbered statements, figures and tables)",
        "",
        (),
        "only abstracts were seen: the numbering of both papers is unknown",
    ),
)

DISTORTION: tuple[Item, ...] = (
    ("Lemma 1", "preference probabilities between two linear functions of the average utilities", (), ""),
    ("Theorem 2", "Borda, and RLHF without a KL constraint: distortion at most C(b)^2", (), ""),
    ("Theorem 3", "no rule does better than C(b)", (), ""),
    ("Corollary 4", "the maximal lottery has distortion C(b)", (), ""),
    ("Theorem 5", "Borda and RLHF: at least (1 - o(1)) b; Theorem 12 in full", ("borda_distortion",), ""),
    ("Theorem 6", "RLHF and DPO with a KL constraint: exponential in b", (), ""),
    ("Theorem 7", "NLHF: at most C(b), for every reference and KL budget", ("nlhf_distortion",), ""),
    ("Corollary 8", "regularised NLHF: the same within its own KL divergence", (), ""),
    ("Theorem 9", "RLHF under correlated comparison pairs: unbounded", (), ""),
    ("Lemma 10", "concentration of the win matrix", (), ""),
    ("Lemma 11", "concentration of Borda scores", (), ""),
    ("Theorem 12", "Borda and RLHF: at least Bd(b)", ("borda_distortion",), ""),
    ("Proposition 13", "constrained and regularised NLHF correspond", (), ""),
    ("Proposition 14", "constrained and regularised RLHF correspond", (), ""),
    ("Lemma 15", "the sequence of alternatives behind Theorem 9", (), ""),
    (
        "(sampling extension)",
        "pairs from any distribution with full support: Theorems 3, 6 and 7 still hold",
        ("nlhf_joint_search",),
        "for Theorem 7: pairs searched with users, reference and budget; NLHF does not see them in the "
        "population",
    ),
    ("(figures and tables)", "", (), "not reachable: numbering and content unknown"),
)

CONDORCET: tuple[Item, ...] = (
    (
        "(reward iff no cycle, abstract)",
        "a reward represents preferences if and only if they have no Condorcet cycle",
        ("condorcet_cycles",),
        "theorem numbers and texts unknown",
    ),
    (
        "(cycles under the Luce model, abstract)",
        "a cycle exists with a probability that tends to 1 exponentially fast in the number of responses",
        ("condorcet_cycles",),
        "for other random preferences, whose exact laws are known; the Luce model is not run",
    ),
    (
        "(mixing iff no winner, abstract)",
        "NLHF mixes if and only if no response is preferred to every other by a majority, which holds with "
        "high probability",
        ("condorcet_cycles",),
        "without a KL constraint, as maximal lotteries; for other random preferences than the Luce model",
    ),
)

DRO_REBEL: tuple[Item, ...] = (
    (
        "(chi-square balls, abstract)",
        "robust preference losses over chi-square balls by a dual in one dimension",
        ("chi2_ball", "cvar_tv_balls"),
        "for DPO's loss; the paper's loss regresses relative rewards; balls of CVaR and of total variation "
        "beside them",
    ),
    (
        "(rates, abstract)",
        "bounds of order n^-1/4, and n^-1/2 by a localised analysis, also for KL and Wasserstein DPO",
        ("chi2_rate",),
        "for chi-square DPO; `kldpo_rate` and `wdpo_rate` measure the other two; the dependence on the "
        "dimension is not tested",
    ),
)

MISSPECIFIED: tuple[Item, ...] = (
    (
        "(misspecification, abstract)",
        "DPO in a parametric class depends on the law of the pairs, may reverse preferences and lose reward",
        ("dpo_misspecified",),
        "three responses and one feature, at the population level",
    ),
    (
        "(RLHF as a natural-gradient step, abstract)",
        "two-stage RLHF in a parametric class, locally",
        ("dpo_misspecified",),
        "only that RLHF does not depend on the pairs, and agrees with DPO for pairs from the reference to "
        "first order",
    ),
    (
        "(AuxDPO)",
        "auxiliary variables in DPO's loss, to move towards RLHF",
        ("aux_dpo",),
        "in log-linear classes, by the null space itself; the penalties for language models are not run",
    ),
)

BPO: tuple[Item, ...] = (
    (
        "Theorem 2",
        "for every strictly convex h the minimiser is DPO's target, given enough capacity",
        ("bpo_constants",),
        "over all policies of small tables, for Bradley-Terry data; off Bradley-Terry the minimisers differ "
        "(ours)",
    ),
    (
        "Theorem 3",
        "the loss is the Bregman divergence of the two ratios, up to a constant",
        ("bpo_constants",),
        "",
    ),
    (
        "Proposition 4",
        "h decides the size of the gradient of a pair and not its direction",
        (),
        "seen as the sizes at the reference; the contract tests the gradients",
    ),
    (
        "(Section 3.3)",
        "the scaled Basu power divergence has DPO's gradient at the reference for every power",
        ("bpo_constants",),
        "",
    ),
    ("(experiments)", "Pythia-2.8B and 7B models; win rates and entropy", (), f"{JUDGE}; {BENCHMARK}"),
)

PROBABILISTIC_VOTING: tuple[Item, ...] = (
    (
        "(upper bounds, abstract)",
        "Copeland and Borda lose at most b (1 + e^-b)/(1 - e^-b), which is 2 C(b)",
        ("copeland_lower",),
        "the exact constant Bd(b) of both is ours; `rules_compared` measures both",
    ),
    ("(lower bound for Copeland, abstract)", "at least (1 - epsilon) b", ("copeland_lower",), ""),
    (
        "(deterministic rules, abstract)",
        "at least (5/8 - epsilon) b for deterministic rules of margins that are rounded",
        ("copeland_lower", "rounded_margins"),
        "at least Bd(b), which is 0.662 b or more (ours), where rounding keeps the sign; no bound where it "
        "does not; what they call rounded was not seen",
    ),
    (
        "(first choices, abstract)",
        "plurality at least of order min(e^b, m), random dictator of order m",
        (),
        "`rules_compared`, a claim of the distortion paper, measures both",
    ),
    (
        "(vetoes, abstract)",
        "Plurality Veto at least of order b log m",
        ("veto_lower",),
        "families and constants are ours; Pruned Plurality Veto is not run",
    ),
)

CLIPPED_RLHF: tuple[Item, ...] = (
    (
        "(mismatch, abstract)",
        "distortion of order b B up to logarithms in a representative regime of the KL strength, B a bound "
        "on log(mu/ref)",
        ("rlhf_mismatch",),
        "from below, on a family of ours with a clip of ours; no upper bound is tested",
    ),
    (
        "(no mismatch, abstract)",
        "distortion O(b) where comparisons are drawn from the reference",
        ("rlhf_mismatch",),
        "from below; `rlhf_clipped` is a claim of the distortion paper, whose `rlhf_on_policy` searches for "
        "worse, for RLHF without a clip",
    ),
    ("(other regimes of the KL strength, abstract)", "tight upper and lower bounds", (), UNREAD),
)

COVERAGE: tuple[Item, ...] = (
    (
        "(strongly convex f, abstract of 2502.06051)",
        "regularised policies lose like 1/n without pessimism and without single-policy coverage",
        ("chi_po_coverage",),
        "for chi-square plus KL, all policies over K responses, to first order in 1/n",
    ),
    (
        "(reverse KL, abstract of 2502.06051)",
        "a lower bound with the single-policy coverage as a factor; an upper bound by pessimism",
        ("chi_po_coverage",),
        "for DPO, from below; pessimism is not run",
    ),
    (
        "(single-policy coverage, abstract of 2407.13399)",
        "chi-PO's sample complexity by the coverage of the comparator alone, in unregularised reward",
        (),
        "regret without the regulariser is not tested",
    ),
)

HETEROGENEOUS: tuple[Item, ...] = (
    (
        "(anonymous answers, abstract)",
        "aligning with the average reward of user types needs information about annotators",
        ("annotator_identity",),
        "by two crowds that answer alike, and by the bias of DPO's fit to second order",
    ),
    (
        "(little information, abstract)",
        "minimal information about annotators gives first-order improvements",
        ("annotator_identity",),
        "for a correction of ours by two answers of one annotator; theirs was not seen",
    ),
    (
        "(full feedback, abstract)",
        "feedback of every user type leads to consistent learning; no sample-efficient consistent direct "
        "loss exists",
        ("annotator_identity",),
        "consistency of the average of the types' fits; the impossibility is not tested",
    ),
)

ITEMS: dict[str, tuple[Item, ...]] = {
    "aot": AOT,
    "f_dpo": F_DPO,
    "robust": ROBUST,
    "density_ratio": DENSITY_RATIO,
    "distortion": DISTORTION,
    "condorcet": CONDORCET,
    "dro_rebel": DRO_REBEL,
    "misspecified": MISSPECIFIED,
    "bpo": BPO,
    "probabilistic_voting": PROBABILISTIC_VOTING,
    "clipped_rlhf": CLIPPED_RLHF,
    "coverage": COVERAGE,
    "heterogeneous": HETEROGENEOUS,
}
