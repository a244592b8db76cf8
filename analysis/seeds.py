"""Put the verdicts of other root seeds into the committed tables: `python -m analysis.seeds OUT [OUT ...]`.

Each OUT is the folder of `distalign verify [SLUG ...] --preset full --seed N --out OUT`, of the same code as
the committed tables. Its claims replace those of the same root seed. Rows of code that is no longer the
committed one are dropped, and named.
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
    """One row a claim and root seed, with the digest of the code that it was run by.

    Raises:
        InputError: a folder was made by other code or at another preset than the committed tables.
    """
    committed = json.loads((tables / "provenance.json").read_text(encoding="utf-8"))
    path = tables / "seeds.csv"
    found = [pd.read_csv(path)] if path.is_file() else []
    for folder in folders:
        record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        for slug, digest in record["source"].items():
            if record["preset"] != committed["preset"] or digest != committed["source"][slug]:
                raise InputError(
                    f"{folder}: {slug} was not run by the committed code at full size: run it again"
                )
        ledger = pd.read_csv(folder / "ledger.csv")[COLUMNS]
        ledger.insert(1, "root_seed", record["seed"])
        found.append(ledger.assign(source=ledger.slug.map(record["source"])))
    rows = pd.concat(found, ignore_index=True).drop_duplicates(KEY, keep="last")
    order = {claim.slug: i for i, claim in enumerate(CLAIMS)}
    rows = rows[rows.source == rows.slug.map(committed["source"])]
    return rows.sort_values(KEY, key=lambda column: column.map(order) if column.name == "slug" else column)


if __name__ == "__main__":
    before = (
        pd.read_csv(TABLES / "seeds.csv")[KEY]
        if (TABLES / "seeds.csv").is_file()
        else pd.DataFrame(columns=KEY)
    )
    kept = collect([Path(name) for name in sys.argv[1:]], TABLES)
    write_table(kept, TABLES / "seeds.csv")
    gone = set(before.itertuples(index=False, name=None)) - set(kept[KEY].itertuples(index=False, name=None))
    for seed, slug in sorted(gone):
        print(f"dropped: {slug} at root seed {seed}, which was run by other code")
