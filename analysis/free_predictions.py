"""What draws of the reference predicted beside what a trained writer did, as a section of docs/worlds.md.

Reads the committed tables and checks, never computes: a number that a table does not have is left blank.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.ledger import ROOT
from distalign.simulation.ledger import number

HEAD = "| claim | what | predicted | reweighted | fresh | both roads |\n|---|---|---|---|---|---|"
INTRODUCTION = """## Predicted, and measured by both roads

Claims on models that write freely. Predictions are of draws of the reference, or exact (`free_oracle`), and
made before training. "Reweighted" is measured on these draws, "fresh" on texts of the trained model; the last
column is the claim's check that both agree, prompt by prompt. Where a table has no mean of a road its cell is
empty.
[Why some differ](free_generation.md#where-a-trained-model-leaves-its-prediction-and-why)."""


@dataclass(frozen=True)
class Measure:
    """One line: a row of the table of a claim, and the columns of its numbers.

    Attributes:
        slug: the claim.
        what: the number's name, unit included.
        rows: values of columns that choose the row.
        predicted: its column.
        reweighted, fresh: columns of the roads, or "".
    """

    slug: str
    what: str
    rows: dict[str, Any] = field(default_factory=dict)
    predicted: str = "predicted"
    reweighted: str = "mean"
    fresh: str = ""


def _frontier(method: str, beta: float) -> list[Measure]:
    rows = {"method": method, "beta": beta}
    name = f"{method}, beta {beta:g}"
    return [
        Measure("free_f_dpo_frontier", f"{name}: gain, logits", rows, fresh="fresh"),
        Measure("free_f_dpo_frontier", f"{name}: KL, nats", rows, "predicted_kl", "kl", "fresh_kl"),
    ]


POPULATION = {"size": np.inf}
MEASURES = [
    *(m for name in ("reverse_kl", "jensen_shannon", "forward_kl") for m in _frontier(f"{name}, sum", 1.0)),
    *_frontier("reverse_kl", 0.7),
    *_frontier("policy gradient", 0.7),
    *(
        Measure("free_calibration", f"{d}, beta 1: the authors' error", {"divergence": d, "beta": 1.0})
        for d in ("reverse_kl, sum", "reverse_kl", "forward_kl")
    ),
    *(
        Measure("free_consistency", f"{m}: KL from p+, nats", {"method": m} | POPULATION)
        for m in ("RDRO", "DDRO", "SFT", "DPO, sums", "DPO")
    ),
    *(
        Measure("free_distortion", f"{m}: average utility", {"method": m}, "predicted_utility", "utility")
        for m in ("NLHF", "RLHF")
    ),
    *(
        Measure("free_shift", f"{m}: loss of the worse-off group, nats", rows, "predicted_worst")
        for m, angle in (("DPO", 120.0), ("KLDPO", 120.0), ("group-robust", 75.0))
        for rows in [{"method": m, "angle": angle}]
    ),
    Measure(
        "free_dominance",
        "DPO, prompts held out: KL, nats",
        {"method": "DPO"},
        "predicted_kl",
        "kl",
        "fresh_kl",
    ),
    Measure(
        "free_dominance", "DPO, prompts held out: violation, nats", {"method": "DPO"}, "optimum_violation"
    ),
]


def _tables() -> dict[str, pd.DataFrame]:
    """Committed tables by claim; those that have not run are left out."""
    folder = ROOT / "paper_figures/tables"
    paths = {m.slug: folder / f"{m.slug}.csv" for m in MEASURES}
    return {slug: pd.read_csv(path) for slug, path in paths.items() if path.exists()}


def _line(measure: Measure, table: pd.DataFrame, roads: str) -> str:
    """One row of the page.

    Raises:
        LookupError: the table has no such row, or several.
    """
    chosen = table
    for column, value in measure.rows.items():
        chosen = chosen[chosen[column] == value]
    if len(chosen) != 1:
        raise LookupError(f"{measure.slug}: {len(chosen)} rows of {measure.rows}")
    row = pd.DataFrame(chosen).iloc[0]
    cells = [f"{row[c]:.3g}" if c else "" for c in (measure.predicted, measure.reweighted, measure.fresh)]
    what = measure.what.replace("_", r"\_")
    return f"| [`{measure.slug}`](claims.md#{measure.slug}) | {what} | {' | '.join(cells)} | {roads} |"


def _oracle(folder_table: pd.DataFrame) -> list[str]:
    """The roads of free_oracle beside exact values, at the most draws."""
    lines = []
    for name in ("reward", "KL"):
        found = folder_table[(folder_table.name == name) & folder_table.road.isin(["reweighted", "fresh"])]
        last = pd.DataFrame(found[found["size"] == found["size"].max()]).set_index("road")
        means = [f"{last.exact[r] + last.bias[r]:.4g}" for r in ("reweighted", "fresh")]
        lines.append(
            f"| [`free_oracle`](claims.md#free_oracle) | {name}, exact; mean estimates | "
            f"{last.exact['fresh']:.4g} | {' | '.join(means)} | |"
        )
    return lines


def section(checks: pd.DataFrame) -> str:
    """The section, of the committed checks and tables."""
    lines, tables = [], _tables()
    oracle = ROOT / "paper_figures/tables/free_oracle.csv"
    if oracle.exists():
        lines += _oracle(pd.read_csv(oracle))
    for measure in MEASURES:
        if measure.slug not in tables:
            continue
        mine = checks[(checks.slug == measure.slug) & checks.name.str.startswith("both roads agree")]
        told = [f"{row['outcome']}, {number(row)}" for _, row in mine.iterrows()]
        lines.append(_line(measure, tables[measure.slug], "; ".join(told)))
    return "\n\n".join([INTRODUCTION, "\n".join([HEAD, *lines])])
