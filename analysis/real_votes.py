"""Objectives on real votes as the page docs/real_votes.md, from the table that
`distalign.training.demo.compare` wrote.
"""

import pandas as pd

from analysis import real_shift
from analysis.ledger import ROOT

COLUMNS = {
    "accuracy": "accuracy",
    "accuracy_matched_length": "accuracy, lengths within a quarter",
    "calibration_preference": "calibration error",
    "violated_quantiles": "quantiles that violate dominance",
    "displacement": "displacement of the chosen (nats)",
    "votes_longer_half": "votes of those who like length",
    "votes_other_half": "votes of the others",
}

TEXT = """# Objectives on real votes

<!-- Written by `python -m analysis` from `docs/real_votes.csv`: do not edit. -->

`python -m distalign.training.demo.compare --votes folder` computes these numbers; the folder holds the votes
and arguments of UKPConvArg1 (`distalign.training.data.votes` says where it is public).

SmolLM2-135M-Instruct with adapters of rank 16, trained for six updates of 16 pairs by each shipped recipe on
majority votes between arguments of at most 60 words, and read from checkpoints 0, 3 and 6 on debates held
out: {pairs} pairs in {debates} debates, one seed. Objectives move at different speeds, so all are read where
half the variance of log pi/pi_ref among the arguments of one prompt reaches {spread:.3g} nats (for small
steps a KL divergence restricted to those arguments, each weighted by how often it was compared; ours). One
yardstick for all: rewards are 0.1 log pi/pi_ref. Brackets are 95 % intervals over debates.

**Preferring the longer argument is right for {longer:.3f} of the pairs**; the highest accuracy below is
{best:.3f}. Where intervals overlap, as most do, nothing is claimed of the order. The last two columns are a
shift: accuracy on single votes of the half of the voters who voted for the longer argument more often in the
debates trained on, and of the other half.

"""


def page() -> str:
    """The page: a sentence on how, a row an objective."""
    rows = pd.read_csv(ROOT / "docs/real_votes.csv")
    first = rows[rows.metric == "accuracy"].iloc[0]
    longer = rows[rows.metric == "longer_wins"].value.iloc[0]
    lines = [
        "| objective | updates | " + " | ".join(COLUMNS.values()) + " |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for objective, own in rows.groupby("objective", sort=False):
        found = own.set_index("metric")
        lines.append(
            f"| `{objective}` | {own.updates.iloc[0]:.1f} | "
            + " | ".join(told(found.loc[m]) for m in COLUMNS)
            + " |"
        )
    best = rows[rows.metric == "accuracy"].value.max()
    return TEXT.format(
        pairs=int(first.n), debates=int(first.clusters), spread=first.spread, longer=longer, best=best
    ) + ("\n".join(lines) + "\n\n" + real_shift.page())


def told(row: pd.Series) -> str:
    """A number with its interval, where it has one."""
    interval = "" if pd.isna(row.low_95) else f" [{row.low_95:.3f}, {row.high_95:.3f}]"
    return f"{row.value:.3f}{interval}"
