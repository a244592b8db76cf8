"""How far real preferences must move before DPO is no better than the reference.

`python -m analysis.real_shift --ukp FILE --polis FOLDER...` writes docs/real_shift.csv from the public votes
(`distalign.pluralism.sources.votes` and `distalign.pluralism.load_polis` say where they are); `page` makes
the section of docs/real_votes.md from it.

The law P is that of one comparison: a pair, and which of the two is preferred. For UKPConvArg1 it is that of
the votes of one debate and side, a vote of "equal" counting half for each. For Polis it is that of the fitted
participants on all pairs of the statements that they answered; each opinion group has a law Q of its own.
DPO is the Bradley-Terry projection of P, at the reference's scale free of beta. Its break-even radius is

    r = min { KL(Q || P) : E_Q log(1 + exp(-t)) >= log 2 },  t the difference of DPO's rewards,

in nats a comparison (`distalign.theory.robust.break_even`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.ledger import ROOT
from distalign.pluralism import load_polis, load_votes
from distalign.solvers.choice.reward import reward_mle
from distalign.solvers.robust.kl_ball import kl_worst_case
from distalign.theory.robust.break_even import kl_break_even
from distalign.types import Array

TABLE = ROOT / "docs" / "real_shift.csv"
SHRUNK = {"radius": 1.0, "radius_half": 0.5, "radius_least": 0.01}
"""Multiples of DPO's log-ratios: DPO itself, half of it (KLDPO at temperature 1), and next to none."""

TEXT = """## How far real preferences must move

`python -m analysis.real_shift --ukp votes.csv --polis folder` computes these numbers from the public files
(`docs/real_shift.csv`, of 2026-11-30). The claim `dro_worst_shift` has the theory, on random populations.
The break-even radius is the least KL divergence, in nats a comparison, of a law of comparisons under which
the policy's loss is log 2, that of the reference: how far people must move before training was in vain. DPO
is the exact Bradley-Terry fit (a table of rewards) to all votes, not a language model, so these are losses on
the votes it was fitted to; a vote of "equal" counts half for each side. The comparisons of Polis are those
that its answers imply at a Bradley-Terry temperature of 5, so they are semi-synthetic. By another road, the
worst law in a ball of that radius, DPO's loss is log 2 to 1e-9 in each row.

{ukp}

For the opinion groups of Polis there is a shift that really exists: one group judges in place of all.

{polis}

{reading}
"""


def measures(win: Array, weights: Array) -> dict[str, float]:
    """Break-even radii of DPO and of its multiples under the law of comparisons.

    Args:
        win: (m, m) chance that x is preferred to y.
        weights: (m, m) symmetric weights of pairs.
    """
    law, margin = _law(win, weights), _margins(win, weights)
    found = {
        name: kl_break_even(np.logaddexp(0, -c * margin[law > 0]), law[law > 0]) for name, c in SHRUNK.items()
    }
    losses = np.logaddexp(0, -margin[law > 0])
    other_road = float(kl_worst_case(losses, law[law > 0], found["radius"]).value)
    return {"loss": float(law[law > 0] @ losses), **found, "worst_loss_there": other_road}


def _law(win: Array, weights: Array) -> Array:
    """(m, m) chance of a comparison whose chosen is x and whose rejected is y."""
    law = weights * win * (1 - np.eye(len(win)))
    return law / law.sum()


def _margins(win: Array, weights: Array) -> Array:
    """(m, m) differences of the rewards that DPO fits."""
    reward = reward_mle(win, weights).reward
    return reward[:, None] - reward[None, :]


def of_votes(path: Path) -> list[dict[str, object]]:
    """One row a debate and side."""
    topics = pd.read_csv(path, usecols=["topic"]).topic.unique()
    rows = []
    for topic in sorted(topics):
        votes = load_votes(path, topic, columns={"user": "worker"})
        size = len(votes.items)
        wins = np.zeros((size, size))
        np.add.at(wins, (votes.first, votes.second), votes.score)
        np.add.at(wins, (votes.second, votes.first), 1 - votes.score)
        pairs = wins + wins.T
        win = np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1), 0.5)
        rows.append(
            {"data": "UKPConvArg1", "name": topic, "comparisons": len(votes.score), **measures(win, pairs)}
        )
    return rows


def of_groups(folder: Path) -> list[dict[str, object]]:
    """One row for all participants of a conversation, and one for each opinion group."""
    everyone = load_polis(folder)
    weights = np.ones((everyone.size, everyone.size))
    law, margin = _law(everyone.win, weights), _margins(everyone.win, weights)
    rows: list[dict[str, object]] = [
        {
            "data": "Polis",
            "name": folder.name,
            "people": len(everyone.utilities),
            **measures(everyone.win, weights),
        }
    ]
    for code, name in enumerate(everyone.group_names):
        some = everyone.group_of == code
        win = everyone.answers_of(np.flatnonzero(some)).win
        own, inside = _law(win, weights), law > 0
        rows.append(
            {
                "data": "Polis",
                "name": folder.name,
                "group": str(name),
                "people": int(some.sum()),
                "loss": float((own * np.logaddexp(0, -margin)).sum()),
                "moved": float((own[inside] * np.log(own[inside] / law[inside])).sum()),
            }
        )
    return rows


def page() -> str:
    """The section of docs/real_votes.md."""
    rows = pd.read_csv(TABLE, dtype={"group": "str"})
    votes, groups = rows[rows.data == "UKPConvArg1"], rows[rows.data == "Polis"]
    spread = votes[["comparisons", "loss", *SHRUNK]].quantile([0, 0.5, 1])
    lines = [
        "| UKPConvArg1 | votes | DPO's loss | break-even of DPO | of half its log-ratios | of a hundredth |",
        "|" + "---|" * 6,
    ]
    for name, (_, r) in zip(("least", "median", "largest"), spread.iterrows(), strict=True):
        lines.append(
            f"| {name} of {len(votes)} debates and sides | {r.comparisons:.0f} | {r.loss:.3f} | "
            + " | ".join(f"{r[k]:.4f}" for k in SHRUNK)
            + " |"
        )
    more = [
        "| Polis | people | DPO's loss | break-even of DPO | of half | of a hundredth | KL(group, all) |",
        "|" + "---|" * 7,
    ]
    for _, r in groups.iterrows():
        group = "everyone" if pd.isna(r.group) else f"group {r.group}"
        radii = " | ".join("" if pd.isna(r[k]) else f"{r[k]:.4f}" for k in SHRUNK)
        moved = "" if pd.isna(r.moved) else f"{r.moved:.4f}"
        more.append(f"| {r['name']}, {group} | {r.people:.0f} | {r.loss:.3f} | {radii} | {moved} |")
    apart = groups.dropna(subset="group")
    lost = int((apart.loss >= np.log(2)).sum())
    reading = (
        f"Of the {len(apart)} groups DPO of everyone loses to the reference in {lost} (log 2 is "
        f"{np.log(2):.3f}). A group may lie farther from everyone than the break-even radius and still be "
        "served: the radius is that of the worst direction."
    )
    return TEXT.format(ukp="\n".join(lines), polis="\n".join(more), reading=reading)


def main() -> None:
    """Write docs/real_shift.csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--ukp", type=Path, required=True, help="votes.csv of UKPConvArg1: topic, first, second, worker, vote"
    )
    parser.add_argument("--polis", type=Path, nargs="+", required=True, help="folders of Polis conversations")
    given = parser.parse_args()
    rows = of_votes(given.ukp)
    for folder in given.polis:
        rows += of_groups(folder)
    pd.DataFrame(rows).to_csv(TABLE, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
