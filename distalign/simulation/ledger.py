"""The ledger: every claim is run, judged, judged again with planted defects, and written to tables and
figures.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from distalign.claims import Claim
from distalign.figures import described, drawing, save, write_table
from distalign.files import write_text
from distalign.simulation import sweep
from distalign.simulation.committed import committed_defects
from distalign.simulation.defects import planted
from distalign.simulation.source import source_digest, versions
from distalign.simulation.verdict import Verdict, judge


@dataclass(frozen=True)
class Entry:
    """One claim's line in the ledger.

    Attributes:
        claim: the claim.
        verdict: what its rows say.
        controls: what the same checks say at the smallest preset: first without a defect (under the empty
            text), then with each planted defect, by its text: all of the study, or at the preset `quick` as
            few as its checks need.
        table: the table of the study, from which the figure is drawn.
    """

    claim: Claim
    verdict: Verdict
    controls: dict[str, Verdict]
    table: pd.DataFrame

    def fails_on(self, check: str) -> list[str]:
        """The planted defects on which the check of this name fails, while it passes without them."""
        passed = {text: c.passed for text, v in self.controls.items() for c in v.checks if c.name == check}
        if not passed.pop("", False):
            return []
        return [text for text, fine in passed.items() if not fine]

    @property
    def unseen(self) -> list[str]:
        """The checks that no planted defect was seen to fail."""
        return [c.name for c in self.verdict.checks if not self.fails_on(c.name)]

    @property
    def as_expected(self) -> bool:
        """Whether the claim has the verdict that it expects, and each of its checks fails on a defect."""
        return self.verdict.passed and self.verdict.outcome == self.claim.expects and not self.unseen


@dataclass(frozen=True)
class Plan:
    """The cells of one claim.

    Attributes:
        cells: the cells of the preset asked for.
        controls: the cells of the smallest preset, without a defect and with each that is planted, by its
            text.
        spare: likewise of the defects that are planted only if some check fails on none of the others.
    """

    cells: list[sweep.Cell]
    controls: dict[str, list[sweep.Cell]]
    spare: dict[str, list[sweep.Cell]]

    @property
    def all(self) -> list[sweep.Cell]:
        """Every cell once, those of spare defects left out."""
        found = [*self.cells, *(c for listed in self.controls.values() for c in listed)]
        return list({(c.defect, json.dumps(c.arguments, sort_keys=True)): c for c in found}.values())


def plan(claims: Sequence[Claim], preset: str, seed: int) -> dict[str, Plan]:
    """The cells of each claim, by slug.

    Defects are planted in the smallest preset, `test`, because it is cheap. A check that only a larger preset
    makes is seen to fail nowhere. The preset `quick` plants as few of them as the committed ledger needs for
    every check to fail once (`committed_defects`), and the others where that is not enough.
    """
    few = committed_defects() if preset == "quick" else {}
    found = {}
    for c in claims:
        smallest = sweep.cells_of(c.slug, c.study, c.presets.get("control", c.presets["test"]), seed)
        defects = importlib.import_module(c.study).DEFECTS
        each = {d.text: sweep.with_defect(smallest, d) for d in defects}
        chosen = few.get(c.slug, each)
        controls = {"": smallest, **{text: cells for text, cells in each.items() if text in chosen}}
        spare = {text: cells for text, cells in each.items() if text not in chosen}
        found[c.slug] = Plan(sweep.cells_of(c.slug, c.study, c.presets[preset], seed), controls, spare)
    return found


def entry(claim: Claim, plan: Plan, folder: Path) -> Entry:
    """Judge one claim from its finished cells; those of spare defects are computed if they are needed."""
    study = importlib.import_module(claim.study)
    defects = {d.text: d for d in study.DEFECTS}

    def judged(text: str, cells: list[sweep.Cell]) -> Verdict:
        with planted(defects[text]) if text else contextlib.nullcontext():
            return judge(claim.kind, study.checks(sweep.rows(cells, folder)))

    rows = sweep.rows(plan.cells, folder)
    controls = {text: judged(text, cells) for text, cells in plan.controls.items()}
    found = Entry(claim, judge(claim.kind, study.checks(rows)), controls, study.table(rows))
    if not found.unseen:
        return found
    sweep.run([cell for cells in plan.spare.values() for cell in cells], folder)
    controls |= {text: judged(text, cells) for text, cells in plan.spare.items()}
    return replace(found, controls={text: controls[text] for text in ("", *defects)})


def frame(entries: Sequence[Entry]) -> pd.DataFrame:
    """One row a claim: what it is, its verdict, the number behind it, and how many of its checks were seen to
    fail on a planted defect.
    """
    rows = []
    for e in entries:
        lead = e.verdict.leading
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
                "defects": len(e.controls) - 1,
                "seen_to_fail": len(e.verdict.checks) - len(e.unseen),
                "as_expected": e.as_expected,
            }
        )
    return pd.DataFrame(rows)


def checks(entries: Sequence[Entry]) -> pd.DataFrame:
    """One row a check, with the number of planted defects on which it fails."""
    return pd.DataFrame(
        [
            {"slug": e.claim.slug, **asdict(check), "fails_on": len(e.fails_on(check.name))}
            for e in entries
            for check in e.verdict.checks
        ]
    )


def controls(entries: Sequence[Entry]) -> pd.DataFrame:
    """One row a check and planted defect, at the smallest preset; the rows without a defect come first."""
    return pd.DataFrame(
        [
            {
                "slug": e.claim.slug,
                "defect": text,
                "name": check.name,
                "outcome": check.outcome,
                "passed": check.passed,
                "statistic": check.statistic,
            }
            for e in entries
            for text, verdict in e.controls.items()
            for check in verdict.checks
        ]
    )


def number(check_or_row: Any) -> str:
    """A statistic with its interval, to three digits."""
    text = f"{check_or_row['statistic']:.3g}"
    if math.isfinite(check_or_row["low"]):
        text += f" [{check_or_row['low']:.3g}, {check_or_row['high']:.3g}]"
    return text


def seen(row: pd.Series) -> str:
    """How many checks of a claim were seen to fail on a planted defect.

    Example:
        >>> seen(pd.Series({"seen_to_fail": 4, "checks": 5}))
        '4 of 5'
    """
    return f"{row['seen_to_fail']} of {row['checks']}"


def asked(claim: Claim, preset: str) -> str:
    """Digest of the arguments that a claim runs with at this preset, and under planted defects.

    Example:
        >>> from distalign.claims import claims
        >>> asked(*claims(("aot_rate",)), "full") == asked(*claims(("aot_rate",)), "quick")
        False
    """
    presets = [claim.presets[preset], claim.presets.get("control", claim.presets["test"])]
    return hashlib.sha256(json.dumps(presets).encode()).hexdigest()[:8]


def provenance(claims: Sequence[Claim], preset: str, seed: int) -> dict[str, object]:
    """What the numbers came from: preset, root seed, libraries, and the digests of each study's code and of
    the arguments that it ran with.
    """
    return {
        "preset": preset,
        "seed": seed,
        "versions": versions(),
        "source": {c.slug: source_digest(c.study) for c in claims},
        "asked": {c.slug: asked(c, preset) for c in claims},
    }


def caption(e: Entry, preset: str, seed: int) -> str:
    """A figure's caption: what it shows, the leading check with its number, and where the numbers come from.

    It has at most 80 words; `checks.csv` and the claim's page have the other checks.
    """
    leading = pd.Series({**asdict(e.verdict.leading), "checks": len(e.verdict.checks)})
    return caption_of(e.claim.slug, leading, preset, seed, source_digest(e.claim.study))


def caption_of(slug: str, leading: Any, preset: str, seed: int, source: str) -> str:
    """The caption of a claim's figure from the row of its leading check.

    Args:
        slug: the claim.
        leading: name, outcome, statistic, low and high of the check, and how many checks there are.
        preset: the preset that was run.
        seed: its root seed.
        source: the digest of the study.
    """
    of = "" if leading["checks"] == 1 else f" (of {leading['checks']})"
    told = f"{leading['name']}: {leading['outcome']} ({number(leading)})"
    return (
        f"{slug}. {described(slug)} Leading check{of}: {told}. "
        f"Preset {preset}, root seed {seed}, source {source}."
    )


def markdown(table: pd.DataFrame) -> str:
    """The ledger as a Markdown table."""
    lines = [
        "| slug | paper | statement | kind | verdict | number | checks seen to fail | as expected |",
        "|" + "---|" * 8,
    ]
    for _, r in table.iterrows():
        lines.append(
            f"| {r.slug} | {r.paper} | {r.statement} | {r.kind} | {r.verdict} | {number(r)} | {seen(r)} | "
            f"{'yes' if r.as_expected else 'NO'} |"
        )
    return "\n".join(lines) + "\n"


def write(entries: Sequence[Entry], out: Path, preset: str, seed: int) -> None:
    """Write ledger.{csv,json,md}, checks.csv, controls.csv and provenance.json below `out`.

    Nothing written depends on the time, the machine, or the number of workers: two runs of the same source
    agree byte for byte.
    """
    table = frame(entries)
    write_table(table, out / "ledger.csv")
    write_table(checks(entries), out / "checks.csv")
    write_table(controls(entries), out / "controls.csv")
    write_text(out / "ledger.json", to_json(entries))
    write_text(out / "ledger.md", markdown(table))
    record = json.dumps(provenance([e.claim for e in entries], preset, seed), indent=1)
    write_text(out / "provenance.json", record + "\n")


def write_claim(e: Entry, out: Path, preset: str, seed: int) -> None:
    """Write a claim's table and figure below `out`; the figure as PDF, too, where the preset is `full`."""
    write_table(e.table, out / "tables" / f"{e.claim.slug}.csv")
    if e.claim.figure:
        figure = drawing(e.claim.slug)(e.table)
        kinds = ("pdf", "png") if preset == "full" else ("png",)
        save(figure, out / "figures" / e.claim.slug, caption(e, preset, seed), e.table, kinds)


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
