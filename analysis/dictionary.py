"""The page docs/data_dictionary.md: every column of every committed table, its type, unit and meaning.

Meanings stand in `analysis/columns.csv`, one line a column name; a line `table.column` speaks of one table
and goes before.
"""

import ast
from pathlib import Path

import pandas as pd

from analysis.ledger import ROOT, path_of, plain
from distalign.claims import CLAIMS

TABLES = ROOT / "paper_figures" / "tables"
GLOSSARY = Path(__file__).with_name("columns.csv")
WHOLE = {
    "ledger": "One row a claim: its verdict, the number behind it, and how many checks were seen to fail.",
    "checks": "One row a check of every claim.",
    "controls": "One row a check and planted defect, at the smallest preset; first without a defect.",
    "few_defects": "One row a claim and planted defect; those of a claim fail each of its checks, and "
    "`verify --preset quick` plants no others unless they do not suffice.",
    "seeds": "One row a claim and root seed other than the committed one, at full size.",
}
TYPES = {
    "f": "number",
    "i": "whole number",
    "u": "whole number",
    "b": "true or false",
    "O": "text",
    "U": "text",
    "T": "text",
}
HEAD = """# Data dictionary

<!-- Written by `python -m analysis` from the tables and `analysis/columns.csv`: do not edit. -->

Tables are CSV with every digit (six in the wheel), one observation a row; an empty cell is a quantity that
the row does not have. Log-probabilities, log-ratios and losses are in nats; a unit of 1 is a pure number.
`paper_figures/tables/provenance.json` holds preset, seed, versions and the digest of each study's source."""


def glossary() -> dict[str, tuple[str, str]]:
    """Unit and meaning by column, or by table.column."""
    rows = pd.read_csv(GLOSSARY, keep_default_na=False)
    return {r.column: (r.unit, r.meaning) for r in rows.itertuples()}


def names(table: str, known: dict[str, tuple[str, str]], columns: list[str]) -> list[str | None]:
    """The glossary's line for each column; None where there is none."""
    return [next((n for n in (f"{table}.{c}", c) if n in known), None) for c in columns]


def missing() -> list[str]:
    """Columns of committed tables that the glossary does not explain."""
    known = glossary()
    listed = {path.stem: list(pd.read_csv(path, nrows=0).columns) for path in sorted(TABLES.glob("*.csv"))}
    return [
        f"{t}.{c}"
        for t, columns in listed.items()
        for c, found in zip(columns, names(t, known, columns), strict=True)
        if not found
    ]


def sentence(table: str) -> str:
    """What a table is: the docstring of its study's `table`."""
    if table in WHOLE:
        return WHOLE[table]
    claim = next((c for c in CLAIMS if c.slug == table), None)
    if claim is None:
        return "Not the table of one claim."
    tree = ast.parse((ROOT / path_of(claim.study)).read_text(encoding="utf-8"))
    found = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "table")
    return (ast.get_docstring(found) or "").split("\n\n")[0]


def section(path: Path, known: dict[str, tuple[str, str]]) -> str:
    """One table."""
    data = pd.read_csv(path)
    rows = []
    for column, name in zip(data.columns, names(path.stem, known, list(data.columns)), strict=True):
        unit, meaning = known[name] if name else ("", "MISSING")
        rows.append(
            f"| {plain(column)} | {TYPES[data[column].dtype.kind]} | {plain(unit)} | {plain(meaning)} |"
        )
    return "\n\n".join(
        [
            f"## {path.stem}",
            plain(sentence(path.stem)),
            f"{len(data)} rows.",
            "| column | type | unit | meaning |\n|---|---|---|---|\n" + "\n".join(rows),
        ]
    )


def page() -> str:
    """docs/data_dictionary.md."""
    known = glossary()
    return "\n\n".join([HEAD, *(section(path, known) for path in sorted(TABLES.glob("*.csv")))]) + "\n"
