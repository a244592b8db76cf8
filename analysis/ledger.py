"""Write the README's table of claims from the committed ledger: `python analysis/ledger.py`."""

from pathlib import Path

import pandas as pd

from distalign.claims import CLAIMS, Claim
from distalign.simulation.ledger import number

ROOT = Path(__file__).parents[1]
START, END = "<!-- claims: written by analysis/ledger.py -->", "<!-- end of claims -->"
NAMES = {"aot": "AOT", "f_dpo": "f-DPO", "robust": "WDPO, KLDPO", "density_ratio": "DDRO, RDRO", "distortion": "Distortion"}


def path_of(dotted: str) -> str:
    """The file of a dotted module or of a name inside one."""
    parts = dotted.split(".")
    while not (ROOT.joinpath(*parts).with_suffix(".py")).is_file():
        parts.pop()
    return "/".join(parts) + ".py"


def row(claim: Claim, line: pd.Series) -> str:
    """One claim: what is tested, where each part of it lies, what the full run said."""
    figure = f"[figure](paper_figures/figures/{claim.slug}.png)" if claim.figure else ""
    places = {"code": claim.code, "theory": claim.theory, "study": claim.study}
    links = " ".join(f"[{name}]({path_of(dotted)})" for name, dotted in places.items()) + f" {figure}"
    return (f"| `{claim.slug}` | {NAMES[claim.paper]} | {claim.statement} ({claim.source}) | {claim.kind} | {links} | "
            f"**{line.verdict}**: {number(line)} | {line.control} |")


def table() -> str:
    """The table of all claims, in the order of the ledger."""
    ledger = pd.read_csv(ROOT / "paper_figures/tables/ledger.csv").set_index("slug")
    head = "| claim | paper | statement | kind | where | verdict: number behind it | planted defect |\n" + "|---" * 7 + "|\n"
    return head + "\n".join(row(c, ledger.loc[c.slug]) for c in CLAIMS)


def updated(readme: str) -> str:
    """The README with the table between its marks replaced."""
    before, rest = readme.split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(updated(path.read_text()))
