"""The data dictionary of evaluation tables."""

METRICS: dict[str, tuple[str, str]] = {
    "loss": (
        "objective",
        "the objective on the whole held-out set as one batch (of wdpo: DPO's loss, without the penalty)",
    ),
    "accuracy": ("share", "pairs whose chosen response has the larger reward; a tie counts one half"),
    "auc": (
        "share",
        "chance that a chosen response has a larger reward than an unrelated rejected one (unpaired data)",
    ),
    "rewards/chosen": ("reward", "mean reward of chosen responses"),
    "rewards/rejected": ("reward", "mean reward of rejected responses"),
    "rewards/margins": ("reward", "mean reward of the chosen minus that of the rejected response of a pair"),
    "dominance_w1": (
        "reward",
        "mean over quantiles of how far rejected rewards exceed chosen ones; 0 is dominance",
    ),
    "dominance_w2": ("reward", "root mean square over quantiles of the same"),
    "violated_quantiles": (
        "probability",
        "share of quantiles at which the rejected reward exceeds the chosen one",
    ),
    "displacement": ("nats", "mean log pi/pi_ref of chosen responses; below 0 their probability fell"),
    "calibration_per_token": (
        "probability",
        "binned error of the chosen response's per-token probability as confidence, "
        "correct where its per-token log-probability exceeds the rejected one's; 10 bins (released code "
        "of f-DPO)",
    ),
    "calibration_preference": (
        "probability",
        "binned error of sigmoid(|margin of rewards|) as confidence that the response "
        "of larger reward is preferred; 10 bins",
    ),
    "longer_wins": (
        "share",
        "accuracy of preferring the longer response, the baseline that accuracy must beat; a tie "
        "counts one half",
    ),
    "accuracy_equal_length": (
        "probability",
        "accuracy at equal lengths: logistic regression of being right on the log ratio "
        "of lengths, read off at ratio 1 (ours)",
    ),
    "accuracy_matched_length": (
        "probability",
        "accuracy among pairs of which neither response is over a quarter longer",
    ),
    "slope_margin": (
        "logit",
        "weight of the margin of rewards (per root mean square) beside the log ratio of lengths in a "
        "logistic regression of the preference: above 0, rewards know more than length",
    ),
    "slope_length": ("logit", "weight of the log ratio of lengths (per root mean square) in that regression"),
    "log_mean_ratio": (
        "nats",
        "log of the mean of pi/pi_ref over all held-out responses: 0 on average if pi_ref wrote them",
    ),
    "effective_share": (
        "probability",
        "effective sample size of the weights pi/pi_ref, as a share of the responses",
    ),
    "beyond_wall": (
        "probability",
        "share of responses with pi/pi_ref above 1/t, which no consistent DDRO policy has; t is the "
        "objective's prior or alpha, else the share of chosen responses",
    ),
    "kl": (
        "nats",
        "KL(pi || pi_ref) of responses: mean of log pi - log pi_ref over samples of pi; unbiased, may be "
        "negative",
    ),
    "kl_nonnegative": (
        "nats",
        "the same by mean of exp(-d) - 1 + d, d = log pi - log pi_ref: unbiased, too, never negative, "
        "heavy-tailed where pi_ref has mass that pi lacks",
    ),
    "entropy": ("nats", "entropy of a response: mean of -log pi over samples of pi"),
    "entropy_per_token": ("nats", "entropy of a response over its mean length"),
    "response_tokens": ("tokens", "mean length of samples"),
    "unfinished": ("share", "samples cut at the largest length"),
    "distinct_1": (
        "probability",
        "distinct words over words, all samples of a prompt together, mean over prompts",
    ),
    "distinct_2": ("probability", "distinct pairs of neighbouring words over such pairs, likewise"),
    "self_bleu": (
        "probability",
        "mean BLEU of a text with the other texts to its prompt (the first 16) as references; 1 if all are "
        "the same",
    ),
    "score": ("score", "mean score of texts"),
    "score_difference": ("score", "mean score of the texts judged minus that of the other model's"),
    "win_rate": (
        "probability",
        "share of comparisons with the other model's texts to the same prompt that are won, a tie counts one "
        "half; mean over prompts",
    ),
    "win_rate_equal_length": (
        "probability",
        "win rate at equal lengths: logistic regression of the win on the difference of log lengths in "
        "characters, read off at 0 (ours; not AlpacaEval's number)",
    ),
    "log_length_ratio": ("nats", "mean log length in characters minus that of the other model's texts"),
    "kl_reweighted": (
        "nats",
        "KL(pi || pi_ref) on draws of the reference scored under pi: mean of rho log rho - rho + 1; "
        "unbiased, never negative",
    ),
    "score_reweighted": ("score", "mean score of pi on draws of the reference weighted by rho = pi/pi_ref"),
    "mean_ratio": (
        "ratio",
        "mean of rho over draws of the reference: 1 up to noise, or pi has left the draws or was scored in "
        "another way",
    ),
}
"""Metric to (unit, meaning). Units: `share` is a mean of zeros, halves and ones; `probability` any number in
[0, 1].

Dominance and calibration errors cannot be negative and are too large on average in small samples; their
intervals show spread, not that.
"""

AT_LEAST_0 = (
    "dominance_w1",
    "dominance_w2",
    "kl_nonnegative",
    "entropy",
    "entropy_per_token",
    "response_tokens",
    "kl_reweighted",
    "mean_ratio",
)
"""Metrics that cannot be negative and have no upper end: their intervals stop at 0."""
