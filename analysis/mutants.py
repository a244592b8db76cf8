"""The mutation score of the test suite as the page docs/mutants.md, from the rows that
`python -m tests.mutants run` wrote.
"""

import pandas as pd

from analysis.ledger import ROOT

TABLE = ROOT / "docs" / "mutants.csv"

TEXT = """# Mutants

<!-- Written by `python -m analysis` from `docs/mutants.csv`: do not edit. -->

A mutant is the package with one small mistake in one function, made in memory: a comparison turned round, a
sum for a difference, a number 10 % off (or 1 more, if whole), `max` for `min`. It is killed if a test fails,
or takes more than twice its time and 20 seconds ({timeouts} of them here). {count} mutants are drawn with
seed {seed}, the same number from each of {rooms} packages, every place in a package being equally likely.
Each was judged by the tests that reach its line, quickest first, as many as fit in three seconds, and most of
those in studies that survived by one claim whose study reaches it; `make mutants`, two hours
of one core, allows 30 seconds and three claims. Slow tests and tests that start other processes are left out.
Both can only understate the score.

| package | mutants | killed at first | killed now | equivalent | score without equivalents |
|---|---|---|---|---|---|
{table}

"Killed at first" is by tests that were there before the run. What survived was asked for by new tests, each
against a formula of its own, and "killed now" counts those, too; the column `commit` of the table names the
tree. "Equivalent" mutants change no value that the package promises, so no test should kill them. The raw
score counts them as misses: **{raw:.1%}** ({raw_first:.1%} at first); without them it is **{score:.1%}**.

## Survivors

{survivors}
"""


def page() -> str:
    """The page: how, a row a package, a row a survivor."""
    rows = pd.read_csv(TABLE, keep_default_na=False)
    rows["package"] = [file.split("/")[1] for file in rows.file]
    groups = [(f"`{name}`", own) for name, own in rows.groupby("package", sort=False)]
    lines = [f"| {name} | {' | '.join(counted(own))} |" for name, own in [*groups, ("all", rows)]]
    first = rows[rows["first"] != ""]
    return TEXT.format(
        timeouts=int((rows.killed_by == "timeout").sum()),
        count=len(rows),
        seed=rows.seed.iloc[0],
        rooms=rows.package.nunique(),
        table="\n".join(lines),
        raw=(rows.killed_by != "").mean(),
        raw_first=len(first) / len(rows),
        score=score(rows),
        survivors=survivors(rows[rows.killed_by == ""]),
    )


def equivalent(rows: pd.DataFrame) -> pd.Series:
    """Survivors whose reason says that they are equivalent."""
    return (rows.killed_by == "") & rows.reason.str.startswith("equivalent")


def score(rows: pd.DataFrame) -> float:
    """Share of the mutants killed, among those that are not equivalent."""
    return float((rows.killed_by != "").sum() / (~equivalent(rows)).sum())


def counted(rows: pd.DataFrame) -> list[str]:
    """The cells of one row of the table."""
    numbers = [len(rows), (rows["first"] != "").sum(), (rows.killed_by != "").sum(), equivalent(rows).sum()]
    return [*map(str, numbers), f"{score(rows):.1%}"]


def survivors(rows: pd.DataFrame) -> str:
    """A row a survivor."""
    lines = ["| where | mutation | why it survives |", "|---|---|---|"]
    for row in rows.itertuples():
        place = f"`{row.file.removeprefix('distalign/')}:{row.line}` `{row.function}`"
        lines.append(f"| {place} | `{row.mutation}` | {row.reason or 'not looked at'} |")
    return "\n".join(lines)
