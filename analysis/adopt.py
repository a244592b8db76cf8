"""Put newly verified claims beside the committed ones: `python -m analysis.adopt out/full`.

`make full` runs every claim. Where only some are new, `distalign verify SLUG --preset full --out out/full`
runs those, and this copies their tables, figures and lines into paper_figures/, in the order of the claims,
and leaves the others' as they are.

`python -m analysis.adopt --unchanged REVISION` is for code that was only passed on: a function that two
others now share, a front that chooses between them. A committed table of that git revision keeps its place if
the claim's digest was right there and every definition that its study reached there is still reached, word
for word.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
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
    lines = [line for line in kept if line.split(",")[0] not in slugs] + [
        x for x in fresh if x.split(",")[0] in slugs
    ]
    order = {c.slug: i for i, c in enumerate(CLAIMS)}
    return (
        "\n".join([head, *sorted(lines, key=lambda line: order.get(line.split(",")[0], len(order)))]) + "\n"
    )


def agreed(old: dict, new: dict) -> dict:
    """One provenance of both: the same preset, seed and versions, or the numbers could not stand in one
    table.
    """
    if new["preset"] != "full":
        raise InputError(
            f"preset {new['preset']}: what is committed is of the preset full, so give --preset full to "
            "verify"
        )
    for what in ("seed", "versions"):
        if old[what] != new[what]:
            raise InputError(
                f"{what} {new[what]} and not {old[what]}, which the committed claims ran with: run `make "
                "full`"
            )
    both = {what: {**old[what], **new[what]} for what in ("source", "asked")}
    listed = {
        what: {c.slug: digests[c.slug] for c in CLAIMS if c.slug in digests} for what, digests in both.items()
    }
    return {**old, **listed}


def adopt(out: Path, home: Path) -> list[str]:
    """Copy what `out` holds into `home` (paper_figures) and return the slugs.

    Raises:
        InputError: `out` is no folder of `distalign verify --preset full`, or ran with another seed or other
            versions.
    """
    if not (out / "provenance.json").is_file():
        raise InputError(
            f"{out} holds no provenance.json: give the --out of `distalign verify SLUG --preset full`"
        )
    tables, figures = home / "tables", home / "figures"
    new = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    record = agreed(json.loads((tables / "provenance.json").read_text(encoding="utf-8")), new)
    slugs = set(new["source"])
    texts = {"provenance.json": json.dumps(record, indent=1) + "\n"}
    for name in ("ledger.csv", "checks.csv", "controls.csv"):
        texts[name] = merged(
            (tables / name).read_text(encoding="utf-8"), (out / name).read_text(encoding="utf-8"), slugs
        )
    for name, text in texts.items():
        write_whole(tables / name, lambda path, text=text: path.write_text(text, encoding="utf-8"))
    for slug in slugs:
        shutil.copy(out / "tables" / f"{slug}.csv", tables)
        for path in (out / "figures" / f"{slug}.{suffix}" for suffix in SUFFIXES):
            if path.is_file():
                shutil.copy(path, figures)
    return sorted(slugs)


READ = """
import json
from distalign.claims import CLAIMS
from distalign.simulation.source import definitions_reached, source_digest
print(json.dumps({c.slug: [source_digest(c.study), definitions_reached(c.study)] for c in CLAIMS}))
"""


def read_tree(folder: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Digest and definitions of every claim's study, as the package below `folder` has them."""
    done = subprocess.run(
        [sys.executable, "-c", READ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {slug: (digest, found) for slug, (digest, found) in json.loads(done.stdout).items()}


def unchanged(
    before: dict, after: dict, committed: dict[str, str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The digests of claims whose code was only added to, and for the others the definitions that are gone.

    Args:
        before, after: what `read_tree` says of the two trees.
        committed: the digests in provenance.json.
    """
    kept, gone = {}, {}
    for slug, (digest, found) in after.items():
        if slug not in committed or committed[slug] == digest:
            continue
        old_digest, old_found = before[slug]
        lost = [name for key, name in old_found.items() if key not in found]
        if old_digest == committed[slug] and not lost:
            kept[slug] = digest
        else:
            gone[slug] = lost or ["its table was older than its code there, too"]
    return kept, gone


def keep(revision: str, home: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Write the new digests of claims whose code is unchanged since `revision` into provenance and
    captions.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", revision, "distalign"], cwd=ROOT, capture_output=True, check=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        before = read_tree(Path(folder))
    record = json.loads((home / "tables" / "provenance.json").read_text(encoding="utf-8"))
    kept, gone = unchanged(before, read_tree(ROOT), record["source"])
    for slug, digest in kept.items():
        caption = home / "figures" / f"{slug}.txt"
        if caption.is_file():
            text = caption.read_text(encoding="utf-8").replace(record["source"][slug], digest)
            write_whole(caption, lambda path, text=text: path.write_text(text, encoding="utf-8"))
        record["source"][slug] = digest
    write_whole(
        home / "tables" / "provenance.json",
        lambda path: path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8"),
    )
    return kept, gone


def main(arguments: list[str]) -> None:
    home = ROOT / "paper_figures"
    if arguments[:1] == ["--unchanged"]:
        kept, gone = keep((arguments[1:] or ["HEAD"])[0], home)
        print("unchanged:", *kept)
        for slug, names in gone.items():
            print(f"run again: {slug}, for it no longer reaches {', '.join(sorted(names)[:4])}")
    else:
        print("adopted", *adopt(Path((arguments or ["out/full"])[0]), home))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"analysis.adopt: {error}")
