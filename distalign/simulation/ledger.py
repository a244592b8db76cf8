"""The ledger: every claim is run, judged beside its negative control, and written to tables and figures."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from distalign.claims import Claim
from distalign.figures import drawing, save, write_table
from distalign.files import write_whole
from distalign.simulation import sweep
from distalign.simulation.source import source_digest, versions
from distalign.simulation.verdict import Verdict, judge


@dataclass(frozen=True)
class Entry:
    """One claim's line in the ledger.

    Attributes:
        claim: the claim.
        verdict: what its rows say.
        control: what the same checks say of the rows that the planted defect gave.
        table: the table of the study, from which the figure is drawn.
    """

    claim: Claim
    verdict: Verdict
    control: Verdict
    table: pd.DataFrame

    @property
    def as_expected(self) -> bool:
        """Whether the claim has the verdict that it expects and its negative control fails."""
        return self.verdict.passed and self.verdict.outcome == self.claim.expects and not self.control.passed


def plan(claims: Sequence[Claim], preset: str, seed: int) -> dict[str, list[sweep.Cell]]:
    """The cells of each claim, by slug."""
    return {c.slug: sweep.cells_of(c.slug, c.study, c.presets[preset], seed) for c in claims}


def entry(claim: Claim, cells: Sequence[sweep.Cell], folder: Path) -> Entry:
    """Judge one claim from its finished cells."""
    study = importlib.import_module(claim.study)
    rows = sweep.rows([cell for cell in cells if not cell.control], folder)
    planted = sweep.rows([cell for cell in cells if cell.control], folder)
    return Entry(
        claim,
        judge(claim.kind, study.checks(rows)),
        judge(claim.kind, study.checks(planted)),
        study.table(rows),
    )


def frame(entries: Sequence[Entry]) -> pd.DataFrame:
    """One row a claim: what it is, its verdict, that of the negative control, and the number behind each."""
    rows = []
    for e in entries:
        lead, planted = e.verdict.leading, e.control.leading
        rows.append(
            {
                "slug": e.claim.slug,
                "paper": e.claim.paper,
                "statement": e.claim.statement,
                "source": e.claim.source,
                "kind": e.claim.kind,
                "verdict": e.verdict.outcome,
                "check": lead.name,
                "statistic": lead.statistic,
                "low": lead.low,
                "high": lead.high,
                "checks": len(e.verdict.checks),
                "excluded": sum(c.excluded for c in e.verdict.checks),
                "control": e.control.outcome,
                "control_check": planted.name,
                "control_statistic": planted.statistic,
                "as_expected": e.as_expected,
            }
        )
    return pd.DataFrame(rows)


def checks(entries: Sequence[Entry]) -> pd.DataFrame:
    """One row a check, the negative controls' included."""
    return pd.DataFrame(
        [
            {"slug": e.claim.slug, "control": control, **asdict(check)}
            for e in entries
            for control, verdict in ((False, e.verdict), (True, e.control))
            for check in verdict.checks
        ]
    )


def number(check_or_row: pd.Series) -> str:
    """A statistic with its interval, to three digits."""
    text = f"{check_or_row['statistic']:.3g}"
    if math.isfinite(check_or_row["low"]):
        text += f" [{check_or_row['low']:.3g}, {check_or_row['high']:.3g}]"
    return text


def provenance(claims: Sequence[Claim], preset: str, seed: int) -> dict[str, object]:
    """What the numbers came from: preset, root seed, libraries, and the digest of each study."""
    return {
        "preset": preset,
        "seed": seed,
        "versions": versions(),
        "source": {c.slug: source_digest(c.study) for c in claims},
    }


def caption(e: Entry, preset: str, seed: int) -> str:
    """A figure's caption: the prediction, each check with its number, and where they come from."""
    told = "; ".join(f"{c.name}: {c.outcome} ({number(pd.Series(asdict(c)))})" for c in e.verdict.checks)
    return (
        f"{e.claim.slug}. {e.claim.prediction} {told}. Intervals are 99 % intervals over seeds. "
        f"Preset {preset}, root seed {seed}, source {source_digest(e.claim.study)}."
    )


def markdown(table: pd.DataFrame) -> str:
    """The ledger as a Markdown table."""
    lines = [
        "| slug | paper | statement | kind | verdict | number | negative control | as expected |",
        "|" + "---|" * 8,
    ]
    for _, r in table.iterrows():
        lines.append(
            f"| {r.slug} | {r.paper} | {r.statement} | {r.kind} | {r.verdict} | {number(r)} | {r.control} | "
            f"{'yes' if r.as_expected else 'NO'} |"
        )
    return "\n".join(lines) + "\n"


def write(entries: Sequence[Entry], out: Path, preset: str, seed: int) -> None:
    """Write ledger.{csv,json,md}, checks.csv, provenance.json, and each claim's table and figure below `out`.

    Nothing written depends on the time, the machine, or the number of workers: two runs of the same source
    agree byte for byte.
    """
    table = frame(entries)
    write_table(table, out / "ledger.csv")
    write_table(checks(entries), out / "checks.csv")
    write_whole(out / "ledger.json", lambda p: p.write_text(to_json(entries)))
    write_whole(out / "ledger.md", lambda p: p.write_text(markdown(table)))
    record = json.dumps(provenance([e.claim for e in entries], preset, seed), indent=1)
    write_whole(out / "provenance.json", lambda p: p.write_text(record + "\n"))
    for e in entries:
        write_table(e.table, out / "tables" / f"{e.claim.slug}.csv")
        if e.claim.figure:
            save(
                drawing(e.claim.slug)(e.table),
                out / "figures" / e.claim.slug,
                caption(e, preset, seed),
                e.table,
            )


def to_json(entries: Sequence[Entry]) -> str:
    """The ledger with its checks, for machines."""
    listed = [
        {**row, "checks": [asdict(c) for c in e.verdict.checks]}
        for row, e in zip(frame(entries).to_dict(orient="records"), entries, strict=True)
    ]
    return json.dumps(_plain(listed), indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity: both become null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
