"""Put the verdicts of other root seeds into the committed tables: `python -m analysis.seeds OUT [OUT ...]`.

Each OUT is the folder of `distalign verify [SLUG ...] --preset full --seed N --out OUT`, of the same code as
the committed tables. Its claims replace those of the same root seed. Rows of code or presets that are no
longer the committed ones are dropped, and named.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from analysis.ledger import ROOT
from distalign.checks import InputError
from distalign.claims import CLAIMS
from distalign.figures import write_table

TABLES = ROOT / "paper_figures" / "tables"
COLUMNS = ["slug", "verdict", "check", "statistic", "low", "high", "checks", "seen_to_fail", "as_expected"]
KEY = ["root_seed", "slug"]


def collect(folders: list[Path], tables: Path) -> pd.DataFrame:
    """One row a claim and root seed, with the digests of the code and of the presets that it was run by.

    Raises:
        InputError: a folder was made by other code or at another preset than the committed tables.
    """
    committed = json.loads((tables / "provenance.json").read_text(encoding="utf-8"))
    wanted = [committed["source"], committed["asked"]]
    path = tables / "seeds.csv"
    found = [pd.read_csv(path)] if path.is_file() else []
    for folder in folders:
        record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        for slug in record["source"]:
            digests = [record["source"][slug], record["asked"][slug]]
            if record["preset"] != committed["preset"] or digests != [of[slug] for of in wanted]:
                raise InputError(
                    f"{folder}: {slug} was run by other code or presets than the committed: run it again"
                )
        ledger = pd.read_csv(folder / "ledger.csv")[COLUMNS]
        ledger.insert(1, "root_seed", record["seed"])
        found.append(ledger.assign(**{what: ledger.slug.map(record[what]) for what in ("source", "asked")}))
    rows = pd.concat(found, ignore_index=True).drop_duplicates(KEY, keep="last")
    fresh = (rows.source == rows.slug.map(wanted[0])) & (rows.asked == rows.slug.map(wanted[1]))
    for row in rows[~fresh].itertuples():
        print(f"dropped: {row.slug} at root seed {row.root_seed}, which was run by other code or presets")
    order = {claim.slug: i for i, claim in enumerate(CLAIMS)}
    return rows[fresh].sort_values(
        KEY, key=lambda column: column.map(order) if column.name == "slug" else column
    )


if __name__ == "__main__":
    write_table(collect([Path(name) for name in sys.argv[1:]], TABLES), TABLES / "seeds.csv")
