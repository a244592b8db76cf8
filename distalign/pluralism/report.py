"""The report of `distalign simulate`: what each population is, what came out, and what was used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from distalign.bibliography import DISTALIGN, PAPERS
from distalign.pluralism.methods import parse_methods, source_of
from distalign.pluralism.own_rules import Rule
from distalign.pluralism.scenario import Scenario
from distalign.pluralism.sources.votes import AGAIN

_ROWS, _WIDTH = 15, 140


def report(
    title: str,
    parts: Sequence[tuple[Scenario, pd.DataFrame]],
    methods: Sequence[str | Rule],
    fields: Sequence[str],
) -> str:
    """The report in Markdown: what each population is, what came out, how to read it, and what was used.

    Args:
        title: of the document.
        parts: pairs of a population (at its first point) and its rows of `distalign.pluralism.grid.summary`.
        methods: the words that named the methods.
        fields: the swept fields.
    """
    lines = [f"# {title}", ""]
    for scenario, table in parts:
        lines += [
            f"## {scenario.name}",
            "",
            *(f"{sentence}\n" for sentence in scenario.about),
            described(scenario),
            "",
            *_table(table, fields),
            "",
        ]
    return "\n".join(
        [
            *lines,
            "## How to read it\n",
            *(f"{text}\n" for text in reading(pd.concat([t for _, t in parts]), [s for s, _ in parts])),
            *_used(methods, [s for s, _ in parts]),
            "",
        ]
    )


def _fitting(table: pd.DataFrame, point: list[str]) -> pd.DataFrame:
    """At most `_ROWS` rows, three or more of each point; the first ones where there are too many points."""
    parts = table.groupby(point, sort=False, dropna=False)
    each = _ROWS // parts.ngroups
    if len(table) <= _ROWS or each < 3:
        return table.head(_ROWS)
    behind = table["off_budget"].astype(bool) | (table["method"] == "reference")
    places = [part.index[np.argsort(behind[part.index], kind="stable")[:each]] for _, part in parts]
    return table.loc[np.sort(np.concatenate(places))]


def repeated(scenarios: Iterable[Scenario]) -> list[str]:
    """What was read of votes that repeat an earlier one, one sentence a population that has any."""
    return [f"{s.name[:20]}: {told}" for s in scenarios for told in s.about if AGAIN in told]


def first_screen(table: pd.DataFrame, fields: Sequence[str], where: str, told: Sequence[str] = ()) -> str:
    """What the terminal shows: at most 20 lines, each method with its intervals.

    Where not all rows fit, each population and point has its part of them, methods within the budget first.

    Args:
        table: rows of `distalign.pluralism.grid.summary`.
        fields: the swept fields.
        where: the folder that holds everything.
        told: sentences on populations; the first is shown.

    Example:
        >>> from distalign.pluralism import simulate
        >>> print(first_screen(simulate("two_camps", ["Borda", "NLHF"]).table, [], "out"))
        method   gain  average utility  worst-off  distortion  KL (nats)
        Borda*  1.301            0.560      0.500       1.000      1.386
        NLHF    0.944            0.537      0.267       1.007      0.500
        * off the budget: compared with all lotteries and not with the ball
    """
    several = table["population"].nunique() > 1
    columns = [
        *(["population"] if several else []),  # pyright: ignore[reportGeneralTypeIssues]
        *fields,
        *("method", "gain", "average utility", "worst-off", "distortion", "KL (nats)"),
    ]
    lines = [columns]
    for _, row in _fitting(table, ["population", *fields]).iterrows():
        lines.append(
            [
                *([str(row["population"])[:20]] if several else []),  # pyright: ignore[reportGeneralTypeIssues]
                *(f"{row[f]:.4g}" for f in fields),
                str(row["method"])[:26] + ("*" if row["off_budget"] else ""),  # pyright: ignore
                *(_short(row, m) for m in ("gain", "average_utility", "worst_off", "distortion")),
                f"{row['kl']:.3f}",
            ]
        )
    width = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = {"population", "method"}
    shown = [
        "  ".join(
            cell.ljust(w) if name in left else cell.rjust(w)
            for cell, w, name in zip(line, width, columns, strict=True)
        ).rstrip()[:_WIDTH]
        for line in lines
    ]
    if len(table) > _ROWS:
        shown.append(f"... and {len(table) - _ROWS} more rows: {where}/summary.csv")
    if table["off_budget"].any():  # pyright: ignore[reportGeneralTypeIssues]
        shown.append("* off the budget: compared with all lotteries and not with the ball")
    if told:
        more = f" (and of {len(told) - 1} other populations: {where}/report.md)" if told[1:] else ""
        shown.append(told[0] + more)
    if table["uncertified"].any():  # pyright: ignore[reportGeneralTypeIssues]
        shown.append(
            f"{table['uncertified'].sum()} of {table['seeds'].sum()} have no certificate, so no numbers: "
            f"{where}/report.md says why"
        )
    return "\n".join(shown)


def json_values(value: Any) -> Any:
    """The same values for JSON, which has neither NaN nor infinity: null, and the words "inf" and "-inf".

    Example:
        >>> json_values([{"kl_limit": float("inf"), "seeds": np.int64(1), "low": float("nan")}])
        [{'kl_limit': 'inf', 'seeds': 1, 'low': None}]
    """
    if isinstance(value, dict):
        return {str(k): json_values(v) for k, v in value.items()}
    if isinstance(value, list):
        return [json_values(v) for v in value]
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        return None if math.isnan(plain) else "inf" if plain > 0 else "-inf"
    return plain


def _short(row: pd.Series, measure: str) -> str:
    value, low, high = (row[f"{measure}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.3f}" if np.isnan(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def described(s: Scenario) -> str:
    """What a population is, in sentences: types, alternatives, temperature, pairs, ball and guarantee."""
    b = s.bt_temperature
    warm = f"{b.min():.4g}" if np.ptp(b) == 0 else f"from {b.min():.4g} to {b.max():.4g}"
    pairs = "two independent draws" if s.product else "correlated weights"
    ball = (
        f"KL budget {s.kl_budget:g} nats"
        if s.kl_strength is None
        else f"the KL that lambda = {s.kl_strength:g} spends"
    )
    data = "infinitely many" if s.n is None else f"those of {s.n} users, {s.comparisons_per_user} each"
    best = (
        "; no method that sees one comparison a user can promise less over all populations"
        if np.ptp(b) == 0
        else ""
    )
    return (
        f"{len(s.weights)} types of users, {s.size} alternatives, Bradley-Terry temperature {warm}, pairs "
        f"from {pairs}, {ball}. Comparisons: {data}. Given the exact law NLHF and the maximal lottery have "
        f"distortion at most C = {s.bound:.4g} on every population of these temperatures{best}."
    )


def _table(table: pd.DataFrame, fields: Sequence[str]) -> list[str]:
    columns = [
        *fields,
        "method",
        "ball (nats)",
        "KL (nats)",
        "average utility",
        "tenth percentile",
        "worst-off",
        "distortion",
        "gain",
    ]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for _, row in table.iterrows():
        cells = [
            *(f"{row[f]:g}" for f in fields),
            str(row["method"]),
            f"{row['kl_limit']:.4g}",
            f"{row['kl']:.4g}",
            *(
                interval(row, m)
                for m in ("average_utility", "tenth_percentile", "worst_off", "distortion", "gain")
            ),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    notes = table.loc[table["note"] != ""].drop_duplicates(["method", "note"])
    return [*lines, "", *(f"* {row['method']}: {row['note']}." for _, row in notes.iterrows())]


def interval(row: pd.Series, measure: str) -> str:
    """A number of a summary with its interval, where it has one."""
    value, low, high = (row[f"{measure}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.4f}" if np.isnan(low) else f"{value:.4f} [{low:.4f}, {high:.4f}]"


def reading(table: pd.DataFrame, scenarios: Sequence[Scenario]) -> list[str]:
    """How the numbers are to be read, one paragraph an entry."""
    told = [
        "Distortion is the best average utility in the method's own ball over the one achieved, 1 at best. "
        "The ball is the KL budget for methods that keep to it and all lotteries (inf) for the others. "
        "The gain is the average utility above the reference's, as a share of the most that the KL budget "
        "allows; off the budget it may exceed 1. "
        "Objectives are minimised over all policies on the alternatives, at the beta that spends the budget "
        "unless a note says otherwise; their certificate is the gradient, so a loss that is not convex is "
        "certified at a local minimum only.",
        "Intervals (95 %): Student's, over seeds where a number of users n is given; else over the people "
        "the types were estimated from, drawn again; none where types are given exactly.",
        f"Uncertified or declined: {sum(table['uncertified'])} of {sum(table['seeds'])} solves; they have no "
        "numbers and are left out of means.",
    ]
    if any(s.people for s in scenarios):
        told.append(
            "True utilities are unobserved: this is a semi-synthetic population, calibrated on real "
            "answers, and every number is one of that model. It is not the distortion of the people who "
            "answered."
        )
    return told


def sources_of(methods: Sequence[str | Rule], scenarios: Sequence[Scenario]) -> dict[str, str]:
    """The source of each method that was used, by its name."""
    chosen = {m.label: source_of(m) for s in scenarios for m in parse_methods(methods, [s])}
    return {
        "users, rules and distortion": "Gölz, Haghtalab and Yang, arXiv 2505.23749, Section 2.",
        **{label: text for label, text in chosen.items() if text},
    }


def cited(methods: Sequence[str | Rule], scenarios: Sequence[Scenario]) -> str:
    """BibTeX of distalign and of the papers behind the methods."""
    texts = sources_of(methods, scenarios).values()
    papers = [p for p in PAPERS if any(p.arxiv in text for text in texts)]
    return "\n\n".join([DISTALIGN, *(p.bibtex() for p in papers)])


def _used(methods: Sequence[str | Rule], scenarios: Sequence[Scenario]) -> list[str]:
    return [
        "## What was used",
        "",
        *(f"* {label}: {text}" for label, text in sources_of(methods, scenarios).items()),
        "",
        "```bibtex",
        cited(methods, scenarios),
        "```",
    ]
