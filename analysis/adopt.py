"""Put newly verified claims beside the committed ones: `python -m analysis.adopt out/full`.

`make full` runs every claim. Where only some are new, `distalign verify SLUG --preset full --out out/full` runs those, and this
copies their tables, figures and lines into paper_figures/, in the order of the claims, and leaves the others' as they are.
"""

import json
import shutil
import sys
from pathlib import Path

from analysis.ledger import ROOT
from distalign.checks import InputError
from distalign.claims import CLAIMS
from distalign.files import write_whole

SUFFIXES = ("pdf", "png", "txt")


def merged(old: str, new: str, slugs: set[str]) -> str:
    """The lines of `old`, with those of `slugs` from `new`, one header, in the order of the claims."""
    head, *kept = old.splitlines()
    first, *fresh = new.splitlines()
    if head != first:
        raise InputError("the columns have changed since the other claims ran: run `make full`")
    lines = [line for line in kept if line.split(",")[0] not in slugs] + [x for x in fresh if x.split(",")[0] in slugs]
    order = {c.slug: i for i, c in enumerate(CLAIMS)}
    return "\n".join([head, *sorted(lines, key=lambda line: order.get(line.split(",")[0], len(order)))]) + "\n"


def agreed(old: dict, new: dict) -> dict:
    """One provenance of both: the same preset, seed and versions, or the numbers could not stand in one table."""
    if new["preset"] != "full":
        raise InputError(f"preset {new['preset']}: what is committed is of the preset full, so give --preset full to verify")
    for what in ("seed", "versions"):
        if old[what] != new[what]:
            raise InputError(f"{what} {new[what]} and not {old[what]}, which the committed claims ran with: run `make full`")
    source = {**old["source"], **new["source"]}
    return {**old, "source": {c.slug: source[c.slug] for c in CLAIMS if c.slug in source}}


def adopt(out: Path, home: Path) -> list[str]:
    """Copy what `out` holds into `home` (paper_figures) and return the slugs.

    Raises:
        InputError: `out` is no folder of `distalign verify --preset full`, or ran with another seed or other versions.
    """
    if not (out / "provenance.json").is_file():
        raise InputError(f"{out} holds no provenance.json: give the --out of `distalign verify SLUG --preset full`")
    tables, figures = home / "tables", home / "figures"
    new = json.loads((out / "provenance.json").read_text())
    record = agreed(json.loads((tables / "provenance.json").read_text()), new)
    slugs = set(new["source"])
    texts = {"provenance.json": json.dumps(record, indent=1) + "\n"}
    for name in ("ledger.csv", "checks.csv"):
        texts[name] = merged((tables / name).read_text(), (out / name).read_text(), slugs)
    for name, text in texts.items():
        write_whole(tables / name, lambda path, text=text: path.write_text(text))
    for slug in slugs:
        shutil.copy(out / "tables" / f"{slug}.csv", tables)
        for path in (out / "figures" / f"{slug}.{suffix}" for suffix in SUFFIXES):
            if path.is_file():
                shutil.copy(path, figures)
    return sorted(slugs)


if __name__ == "__main__":
    try:
        print("adopted", *adopt(Path(sys.argv[1] if sys.argv[1:] else "out/full"), ROOT / "paper_figures"))
    except InputError as error:
        sys.exit(f"analysis.adopt: {error}")
