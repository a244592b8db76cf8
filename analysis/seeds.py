"""Put the verdicts of other root seeds into the committed tables: `python -m analysis.seeds OUT [OUT ...]`.

Each OUT is the folder of `distalign verify --preset full --seed N --out OUT`, of the same code as the
committed tables.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from analysis.ledger import ROOT
from distalign.checks import InputError
from distalign.figures import write_table

TABLES = ROOT / "paper_figures" / "tables"
COLUMNS = ["slug", "verdict", "check", "statistic", "low", "high", "checks", "seen_to_fail", "as_expected"]


def collect(folders: list[Path], tables: Path) -> pd.DataFrame:
    """One row a claim and root seed.

    Raises:
        InputError: a folder was made by other code or at another preset than the committed tables.
    """
    committed = json.loads((tables / "provenance.json").read_text(encoding="utf-8"))
    found = []
    for folder in folders:
        record = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        for slug, digest in record["source"].items():
            if record["preset"] != committed["preset"] or digest != committed["source"][slug]:
                raise InputError(
                    f"{folder}: {slug} was not run by the committed code at full size: run it again"
                )
        ledger = pd.read_csv(folder / "ledger.csv")[COLUMNS]
        ledger.insert(1, "root_seed", record["seed"])
        found.append(ledger)
    return pd.concat(found, ignore_index=True)


if __name__ == "__main__":
    write_table(collect([Path(name) for name in sys.argv[1:]], TABLES), TABLES / "seeds.csv")
