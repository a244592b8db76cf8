"""Put the verdicts of other root seeds into the committed tables: `python -m analysis.seeds OUT [OUT ...]`.

Each OUT is the folder of `distalign verify [SLUG ...] --preset full --seed N --out OUT`, of the same code as
the committed tables. Its claims replace those of the same root seed. Rows of code or presets that are no
longer the committed ones are dropped, and named.
"""

import hashlib
import json
import sys
from pathlib import Path

import pandas as pd

from analysis.ledger import ROOT
from distalign.checks import InputError
from distalign.claims import CLAIMS, Claim
from distalign.figures import write_table

TABLES = ROOT / "paper_figures" / "tables"
COLUMNS = ["slug", "verdict", "check", "statistic", "low", "high", "checks", "seen_to_fail", "as_expected"]
KEY = ["root_seed", "slug"]


def asked(claim: Claim) -> str:
    """Digest of the arguments that a claim runs with at full size and under planted defects."""
    presets = [claim.presets["full"], claim.presets.get("control", claim.presets["test"])]
    return hashlib.sha256(json.dumps(presets).encode()).hexdigest()[:8]


def collect(folders: list[Path], tables: Path) -> pd.DataFrame:
    """One row a claim and root seed, with the digests of the code and of the presets that it was run by.

    Raises:
        InputError: a folder was made by other code or at another preset than the committed tables.
    """
    committed = json.loads((tables / "provenance.json").read_text(encoding="utf-8"))
    presets = {claim.slug: asked(claim) for claim in CLAIMS}
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
        digests = {"source": ledger.slug.map(record["source"]), "asked": ledger.slug.map(presets)}
        found.append(ledger.assign(**digests))
    rows = pd.concat(found, ignore_index=True).drop_duplicates(KEY, keep="last")
    fresh = (rows.source == rows.slug.map(committed["source"])) & (rows.asked == rows.slug.map(presets))
    for row in rows[~fresh].itertuples():
        print(f"dropped: {row.slug} at root seed {row.root_seed}, which was run by other code or presets")
    order = {slug: i for i, slug in enumerate(presets)}
    return rows[fresh].sort_values(
        KEY, key=lambda column: column.map(order) if column.name == "slug" else column
    )


if __name__ == "__main__":
    write_table(collect([Path(name) for name in sys.argv[1:]], TABLES), TABLES / "seeds.csv")
