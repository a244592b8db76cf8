"""The same claim in both worlds, as the page docs/worlds.md: predicted, simulated, measured on a language
model.

Reads the committed ledger and checks, never computes. Which claim of simulation stands beside one on a
language model says its `twin` in `distalign/claims/language_models.py`.
"""

import pandas as pd

from analysis import free_predictions
from analysis.ledger import ROOT, on_language_models, plain, verdict, verdicts
from distalign.claims import CLAIMS, Claim
from distalign.simulation.ledger import number

HEAD = "| in simulation | on a language model | worlds agree |\n|---|---|---|\n"
INTRODUCTION = """# Two worlds

<!-- Written by `python -m analysis` from `paper_figures/tables/ledger.csv` (preset `full`): do not edit. -->

Every claim on a language model stands beside the claim in simulation that predicts the same. "Language model"
means its probabilities of a finite set of candidate responses, normalised: exact numbers, and not free
generation. Claims on language models simulate the same data on a table, too; their checks, below the table,
say which world they speak of, and what was predicted stands above them. Numbers are those of a claim's first
check, brackets are 99 % intervals."""


def checks() -> pd.DataFrame:
    """The committed checks."""
    return pd.read_csv(ROOT / "paper_figures/tables/checks.csv")


def told(slug: str, ledger: pd.DataFrame) -> str:
    """A claim's verdict, first check and number."""
    if slug not in ledger.index:
        return ""
    check, found = plain(str(ledger.check[slug])), number(ledger.loc[slug])
    return f"[`{slug}`](claims.md#{slug}): **{verdict(slug, ledger)}**; {check}, {found}"


def agree(claim: Claim, ledger: pd.DataFrame) -> str:
    """Whether both worlds said what their claims expect; empty where one of them has not run."""
    both = (claim.slug, claim.twin)
    if not all(one in ledger.index for one in both):
        return ""
    return "yes" if all(bool(ledger.as_expected[one]) for one in both) else "**no**"


def row(claim: Claim, ledger: pd.DataFrame) -> str:
    """One claim on a language model beside its twin."""
    here = told(claim.slug, ledger) or f"`{claim.slug}`: not run yet"
    return f"| {told(claim.twin, ledger)} | {here} | {agree(claim, ledger)} |"


def listed(claim: Claim, found: pd.DataFrame) -> str:
    """What is predicted, and all checks of a claim with their numbers."""
    mine = found.loc[found.slug == claim.slug]
    lines = [f"| {plain(str(r['name']))} | {r['outcome']} | {number(r)} |" for _, r in mine.iterrows()]
    predicted = f"Predicted: {plain(claim.prediction)}"
    table = "\n".join(["| check | verdict | number |\n|---|---|---|", *lines])
    return "\n\n".join([f"## {claim.slug}", predicted, *([table] if lines else [])])


def page() -> str:
    """docs/worlds.md."""
    ledger, found = verdicts(), checks()
    mine = [c for c in CLAIMS if on_language_models(c)]
    parts = [
        INTRODUCTION,
        HEAD + "\n".join(row(c, ledger) for c in mine),
        free_predictions.section(found),
        *(listed(c, found) for c in mine),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
