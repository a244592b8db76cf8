"""The page docs/controls.md: each check beside the planted defects on which it fails."""

import functools

import numpy as np
import pandas as pd
from scipy.stats import nct, t

from analysis.ledger import NAMES, ROOT, plain, verdicts
from distalign.claims import CLAIMS
from distalign.intervals import FEW, LEVEL, LEVEL_OF_FEW
from distalign.simulation import ledger

TABLES = ROOT / "paper_figures" / "tables"
HEAD = """# Planted defects

<!-- Written by `python -m analysis` from `paper_figures/tables/controls.csv`: do not edit. -->

A check that cannot fail shows nothing. Each study lists mistakes that a careless developer could have made in
the code that it tests; one function of the package is replaced by a wrong one while the rows are computed and
judged, at the smallest preset. A check counts as seen to fail if it passes there without a defect and fails
with at least one."""


def fails(controls: pd.DataFrame) -> pd.DataFrame:
    """One row a check that passes without defects, one column a defect: whether the check fails on it."""
    passed = controls.pivot(index="name", columns="defect", values="passed").astype(bool)
    asked = [name for name in dict.fromkeys(controls.name) if passed.loc[name, ""]]
    return ~passed.loc[asked, [d for d in dict.fromkeys(controls.defect) if d]]


def section(slug: str, controls: pd.DataFrame) -> str:
    """One claim: its defects by number, and its checks with the numbers of those on which they fail."""
    table = fails(controls)
    defects = "\n".join(f"{i}. {plain(d)}" for i, d in enumerate(table.columns, 1))
    rows = "\n".join(
        f"| {plain(str(name))} | {', '.join(str(i) for i, f in enumerate(row, 1) if f) or '**none**'} |"
        for name, row in zip(table.index, table.to_numpy(), strict=True)
    )
    return f"### {slug}\n\n{defects}\n\n| check | fails on |\n|---|---|\n{rows}"


def seeds() -> str:
    """Verdicts at the other root seeds, in a sentence and a table of those that differ."""
    path = TABLES / "seeds.csv"
    if not path.is_file():
        return "The full ledger was run at the committed root seed only."
    rows, committed = pd.read_csv(path), verdicts()
    rows["committed"] = rows.slug.map(committed.verdict)
    differ = rows[(rows.verdict != rows.committed) | ~rows.as_expected]
    told = []
    for seed, there in rows.groupby("root_seed"):
        left = ", ".join(f"`{slug}`" for slug in committed.index if slug not in set(there.slug))
        unseen = int((there.checks - there.seen_to_fail).sum())
        told.append(
            f"At root seed {seed}, {int(there.as_expected.sum())} of {len(there)} claims are as expected; "
            f"{unseen} of {int(there.checks.sum())} checks were not seen to fail there."
            + (f" Not run: {left}." if left else "")
        )
    told.append(
        "Rows are kept while their code is the committed one. What was at fault in earlier rows, and how it "
        "was mended, stands on the page on [thresholds](thresholds.md#what-root-seeds-1-and-2-taught)."
    )
    if differ.empty:
        return " ".join(told)
    table = "\n".join(
        f"| {r.slug} | {r.root_seed} | {r.committed} | {r.verdict} ({plain(r.check)}) "
        f"| {r.seen_to_fail} of {r.checks} |"
        for r in differ.itertuples()
    )
    head = "| claim | root seed | committed | there | seen to fail there |\n|---|---|---|---|---|"
    return (
        " ".join(told)
        + " A correct package should be as expected at nearly every root seed. For each of these claims it "
        "is open what is at fault:\n\n"
        f"{head}\n{table}"
    )


def powers(checks: pd.DataFrame) -> pd.DataFrame:
    """The separations, with how many halves of its interval each mean lies above zero (`halves`), and how
    probable it is that other seeds show it (`power`).

    Of N differences with mean m and lower half h of the interval, m / h times Student's quantile t is taken
    for the noncentrality of the next sample's m / s: the power is the probability that it exceeds t.
    """
    found = checks[checks.kind == "separation"].copy()
    degrees = found.detail.str.extract(r"^(\d+) paired", expand=False).astype(float) - 1
    quantile = t.isf((1 - np.where(degrees + 1 < FEW, LEVEL_OF_FEW, LEVEL)) / 2, degrees)
    half = found.statistic - found.low
    found["halves"] = (found.statistic / half).where(half > 0, np.inf)
    seen = np.isfinite(found.halves)
    found["power"] = np.where(seen, nct.sf(quantile, degrees, found.halves.where(seen, 0) * quantile), 1.0)
    found.loc[half.isna(), "power"] = 0.0  # too few differences for an interval
    return found


def again() -> str:
    """How probable it is that another root seed shows all separations, and those that are least certain."""
    found = powers(pd.read_csv(TABLES / "checks.csv")).sort_values("power")
    told = (
        "A separation shows at another root seed only with enough replicates for its effect. Were effects "
        f"and spreads what they are at the committed root seed, all {len(found)} separations would show "
        f"there together with probability {found.power.prod():.4f} (noncentral t, one factor a check). The "
        "least certain:"
    )
    head = "| claim | check | replicates | mean / half of its interval | power |\n|---|---|---|---|---|"
    lines = [
        f"| {slug} | {plain(name)} | {detail.split()[0]} | {halves:.2f} | {power:.4f} |"
        for slug, name, detail, halves, power in found[["slug", "name", "detail", "halves", "power"]]
        .head(10)
        .itertuples(index=False)
    ]
    return told + "\n\n" + "\n".join([head, *lines])


@functools.cache
def few() -> str:
    """paper_figures/tables/few_defects.csv: of each claim the defects that `verify --preset quick` plants.

    Together they fail every check that some defect fails. Greedily, the next one fails the most further
    checks for the cells that it is planted in; then what is needless is dropped, the dearest first.
    """
    lines, plans = [], ledger.plan(CLAIMS, "full", 0)
    for slug, controls in committed_controls().groupby("slug", sort=False):
        table = fails(controls)
        planned = plans[str(slug)].controls
        cells = {text: sum(bool(c.defect) for c in planned[text]) for text in table.columns}
        needed, chosen = table.any(axis=1), []
        while needed.any():
            gain = table.loc[needed].sum() / (1 + pd.Series(cells))
            chosen.append(gain.idxmax())
            needed &= ~table[chosen[-1]]
        for text in sorted(chosen, key=lambda text: -cells[text]):
            rest = [other for other in chosen if other != text]
            if (table[rest].any(axis=1) == table.any(axis=1)).all():
                chosen = rest
        lines += [{"slug": slug, "defect": text} for text in table.columns if text in chosen]
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def committed_controls() -> pd.DataFrame:
    """The committed table of checks and planted defects."""
    return pd.read_csv(TABLES / "controls.csv").fillna({"defect": ""})


def page() -> str:
    """docs/controls.md."""
    controls = committed_controls()
    found = verdicts()
    parts = [
        HEAD,
        f"Of {found.checks.sum()} checks {found.seen_to_fail.sum()} were seen to fail, on "
        f"{found.defects.sum()} defects of {len(found)} claims. `distalign verify --preset quick` plants "
        f"as few of them as every check needs to fail once, {few().count(chr(10)) - 1} (`few_defects.csv`), "
        "and the others where a check fails on none of these.",
        "## Other root seeds",
        seeds(),
        "### How probable is the same at another root seed?",
        again(),
    ]
    for paper, name in NAMES.items():
        parts.append(f"## {name}")
        parts += [
            section(c.slug, controls[controls.slug == c.slug])
            for c in CLAIMS
            if c.paper == paper and c.slug in found.index
        ]
    return "\n\n".join(parts) + "\n"
