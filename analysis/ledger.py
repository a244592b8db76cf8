"""The claims as a short table and in full on the page docs/claims.md, from the committed ledger."""

import re
from pathlib import Path

import pandas as pd

from distalign.bibliography import PAPERS
from distalign.claims import CLAIMS, Claim
from distalign.simulation.ledger import number, seen

ROOT = Path(__file__).parents[1]
NAMES = {
    "aot": "AOT",
    "f_dpo": "f-DPO",
    "robust": "WDPO, KLDPO",
    "density_ratio": "DDRO, RDRO",
    "distortion": "Distortion",
    "condorcet": "Condorcet cycles",
    "dro_rebel": "DRO-REBEL",
    "misspecified": "DPO as a misspecified estimator",
    "bpo": "BPO",
    "probabilistic_voting": "Probabilistic voting",
    "clipped_rlhf": "Clipped RLHF",
    "coverage": "Coverage and f-divergences",
    "heterogeneous": "Heterogeneous preferences",
}
HEAD = "| claim | about | kind | in simulation | on a language model |\n" + "|---" * 5 + "|\n"


def path_of(dotted: str) -> str:
    """The file of a dotted module or of a name inside one."""
    parts = dotted.split(".")
    while not (ROOT.joinpath(*parts).with_suffix(".py")).is_file():
        parts.pop()
    return "/".join(parts) + ".py"


def verdicts() -> pd.DataFrame:
    """The committed ledger by slug."""
    return pd.read_csv(ROOT / "paper_figures/tables/ledger.csv").set_index("slug")


def on_language_models(claim: Claim) -> bool:
    """Whether the claim is about a language model."""
    return claim.world == "language model"


def verdict(slug: str, ledger: pd.DataFrame) -> str:
    """What the full run said; a claim that is in no committed ledger yet has no verdict."""
    return str(ledger.verdict[slug]) if slug in ledger.index else "not run yet"


def drawn(claim: Claim) -> str:
    """The committed figure, if there is one."""
    path = f"paper_figures/figures/{claim.slug}.png"
    return path if (ROOT / path).is_file() else ""


def twins(claim: Claim) -> list[Claim]:
    """The claims on language models that stand in this claim's row."""
    return [c for c in CLAIMS if c.twin == claim.slug]


def own_row(claim: Claim) -> bool:
    """Claims on language models stand beside their twin in simulation where they have one."""
    return not claim.twin


def row(claim: Claim, ledger: pd.DataFrame) -> str:
    """One claim in a line: what it is about, and what the full run said in both worlds."""
    here = f"**{verdict(claim.slug, ledger)}**"
    there = ", ".join(f"[`{c.slug}`](#{c.slug}): **{verdict(c.slug, ledger)}**" for c in twins(claim))
    worlds = ("", here) if on_language_models(claim) else (here, there)
    name = f"[`{claim.slug}`](#{claim.slug})"
    return f"| {name} | {plain(claim.title)} | {claim.kind} | {worlds[0]} | {worlds[1]} |"


def table() -> str:
    """The short table, in the order of the ledger."""
    ledger = verdicts()
    return HEAD + "\n".join(row(c, ledger) for c in CLAIMS if own_row(c))


def plain(text: str) -> str:
    """A sentence whose formulas stand as they are: outside of code Markdown would read their stars, bars and
    underscores.
    """
    parts = text.split("`")
    return "`".join(part if i % 2 else re.sub(r"([\\*_|<])", r"\\\1", part) for i, part in enumerate(parts))


def section(claim: Claim, ledger: pd.DataFrame) -> str:
    """One claim in full."""
    links = {"code under test": claim.code, "prediction computed in": claim.theory, "study": claim.study}
    lines = [
        f"### {claim.slug}",
        f"{plain(claim.statement)}. *Source: {claim.source}.*",
        f"Predicted: {plain(claim.prediction)}",
    ]
    if claim.slug in ledger.index:
        line = ledger.loc[claim.slug]
        lines.append(
            f"**{line.verdict}** ({claim.kind}; {plain(line.check)}: {number(line)}; {line.checks} checks, "
            f"{line.excluded} exclusions). {seen(line)} checks fail on one of {line.defects} planted "
            f"[defects](controls.md#{claim.slug})."
        )
    else:
        lines.append(f"Not run yet at full size ({claim.kind}).")
    places = [f"[{name}](../{path_of(dotted)})" for name, dotted in links.items()]
    if drawn(claim):
        places.append(f"[figure](../{drawn(claim)})")
    if other := [c.slug for c in twins(claim)] or ([claim.twin] if claim.twin else []):
        places.append(f"in the other world: {', '.join(f'[{s}](#{s})' for s in other)}")
    return "\n\n".join([*lines, " · ".join([*places, f"`distalign verify {claim.slug}`"])])


def page() -> str:
    """docs/claims.md."""
    ledger = verdicts()
    parts = [
        "# The claims",
        "<!-- Written by `python -m analysis` from `distalign/claims` and `paper_figures/tables/ledger.csv` "
        "(preset `full`): do not edit. -->",
        "The kind of a claim fixes what may be said of it: a bound that holds is *not violated*, an error "
        "that falls faster than its guarantee is *respected, faster than guaranteed*; neither is ever "
        '"verified". The number is that of the first check; brackets are 99 % intervals. Each check '
        "has to fail on a mistake planted in the code that it tests: [planted defects](controls.md).",
        table(),
    ]
    for paper, name in NAMES.items():
        parts += [
            f"## {name}",
            *(
                f"{p.title.replace('{', '').replace('}', '')} "
                f"([{p.arxiv}](https://arxiv.org/abs/{p.arxiv})). Text seen: {p.seen}."
                for p in PAPERS
                if p.name == paper
            ),
        ]
        parts += [section(c, ledger) for c in CLAIMS if c.paper == paper]
    return "\n\n".join(parts) + "\n"


def between(text: str, start: str, end: str, inside: str) -> str:
    """`text` with what stands between two marks replaced."""
    before, rest = text.split(start)
    after = rest.split(end)[1]
    return f"{before}{start}\n{inside}\n{end}{after}"
