"""The table of docs/choosing.md: each row is one check of the committed ledger, with its number."""

import pandas as pd

from analysis.ledger import ROOT, between
from distalign.simulation.ledger import number

START, END = "<!-- which objective: written by `python -m analysis` -->", "<!-- end of which objective -->"
# situation, what to take, claim, the check that speaks for it, how to read its number
ROWS = (
    (
        "pairs, and one reward explains them",
        "`dpo`",
        "aot_versus",
        "well specified: utility, DPO minus AOT paired",
        "paired AOT gains less utility at the same KL, by this share of what can be gained",
    ),
    (
        "pairs, margins should improve over the whole distribution, no one reward fits",
        "`aot_paired`, large sort batch or `two_pass`",
        "aot_versus",
        "misspecified: paired violation, DPO minus AOT paired",
        "DPO violates dominance over the reference by more",
    ),
    (
        "a batch that fits one pair at a time",
        "any objective through `two_pass`; never an average of micro-batches",
        "aot_batch_bias",
        "AOT accumulated over single pairs = DPO's gradient",
        "accumulated AOT is DPO, to rounding",
    ),
    (
        "labelled responses drawn from the reference, target the law of preferred ones",
        "`rdro` with alpha the share of preferred",
        "ratio_sparse",
        "RDRO's mean error is at most SFT's, every n",
        "least share by which the error of `rdro` is below that of `sft` on the chosen; both tend to the "
        "right law",
    ),
    (
        "the same, but the reference is some other model",
        "`sft` on the chosen",
        "ratio_reference",
        "RDRO and DDRO stop at their limits",
        "largest relative distance of their errors from those of their limits, which are not the target",
    ),
    (
        "shares of preferred responses that differ between prompts",
        "`sft`, or alpha of each prompt; ask `check_labels`",
        "ratio_prompt_prior",
        "RDRO with one alpha stops at its limit",
        "relative distance of its error from that of its limit, which is not the target",
    ),
    (
        "labels flipped by mistake",
        "`rdpo` at a known rate, else `dr_dpo`; not `kldpo`",
        "dro_noise_vs_shift",
        "labels flipped at 0.2: KLDPO's minus DPO's",
        "nats that KLDPO loses to DPO; the rate was 0.2",
    ),
    (
        "preferences will shift, groups are known",
        "`group_dpo`",
        "dro_shift",
        "conflict, worst group: best multiple of DPO minus group-robust",
        "nats won for the worse-off group over the best multiple of DPO's solution",
    ),
    (
        "preferences will shift, groups are unknown",
        "a larger beta of `dpo`; `kldpo` is one",
        "kldpo_shrinkage",
        "fixed temperature: tau / (1 + tau) times DPO",
        "largest relative difference of KLDPO from a shrunk DPO where Bradley-Terry holds",
    ),
    (
        "few pairs",
        "a larger beta, a ridge, `kldpo` or `wdpo`: all of them shrink",
        "dro_small_sample",
        "n = 100: DPO's excess loss minus that of KLDPO 1",
        "nats that KLDPO wins at n = 100; the ridge wins more, and at n = 25,600 KLDPO and WDPO lose",
    ),
    (
        "diversity",
        "a larger beta of `dpo` before another divergence of `f_dpo`",
        "f_dpo_frontier",
        "uniform reference, equal reward: reverse KL more diverse than forward_kl",
        "nats of entropy that the forward KL has less "
        "at "
        "equal reward; under a skewed reference the order changes",
    ),
    (
        "people of several kinds, one policy for all",
        "`kl_nlhf` or `maximal_lottery` over candidates, not one reward",
        "nlhf_distortion",
        "distortion on the universal worst case = C(b)",
        "relative distance to the best worst case there is; "
        "the Borda rule's, and RLHF's, is larger (`borda_distortion`)",
    ),
)


def row(situation: str, take: str, slug: str, check: str, reading: str, checks: pd.DataFrame) -> str:
    """One line; the number is the committed one."""
    found = checks.loc[(checks.slug == slug) & (checks["name"] == check)]
    return f"| {situation} | {take} | {number(found.iloc[0])}: {reading} | [`{slug}`](claims.md#{slug}) |"


def table() -> str:
    """The decision table."""
    checks = pd.read_csv(ROOT / "paper_figures/tables/checks.csv")
    return "\n".join(
        [
            "| if you have | then | measured in simulation | claim |",
            "|---|---|---|---|",
            *(row(*r, checks) for r in ROWS),
        ]
    )


def page() -> str:
    """docs/choosing.md with its table replaced."""
    return between((ROOT / "docs/choosing.md").read_text(encoding="utf-8"), START, END, table())
