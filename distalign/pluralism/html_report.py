"""The report of `distalign simulate` as a page: one file that opens without a network.

Names and texts come from the data of users, so each is escaped before it stands in the page.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from distalign.figures import STYLE
from distalign.pluralism.own_rules import Rule
from distalign.pluralism.report import cited, described, interval, reading, sources_of
from distalign.pluralism.scenario import Scenario
from distalign.simulation.page import document, image

_TITLES = {
    "gain": "What each method achieves",
    "frontier": "The frontier",
    "groups": "Who wins and who loses",
    "wins": "Who beats whom",
}
_MEASURES = {
    "gain": "gain (share of what the ball allows)",
    "average_utility": "average utility",
    "tenth_percentile": "tenth percentile",
    "worst_off": "worst-off",
    "distortion": "distortion",
}
_MOST, _LONGEST, _ROWS = 3, 600, 60
_REM_AN_INCH = 8.5


@dataclass(frozen=True, eq=False)
class Part:
    """What the page shows of one population.

    Attributes:
        scenario: the population at its first point.
        table: its rows of `distalign.pluralism.grid.summary`.
        groups: its rows of `distalign.pluralism.grid.group_summary`.
        policies: (methods, alternatives) probabilities.
        figures: caption and PNG by view.
    """

    scenario: Scenario
    table: pd.DataFrame
    groups: pd.DataFrame
    policies: pd.DataFrame
    figures: Mapping[str, tuple[str, bytes]]


def html_report(
    parts: Sequence[Part], methods: Sequence[str | Rule], fields: Sequence[str], command: str
) -> str:
    """The page: populations, methods, frontier, groups, chosen alternatives, citations and the command.

    Args:
        parts: one a population.
        methods: the words that named the methods.
        fields: the swept fields.
        command: what made it.
    """
    scenarios = [part.scenario for part in parts]
    calibrated = reading(pd.concat([part.table for part in parts]), scenarios)
    listed = "".join(
        f"<li><b>{escape(label)}</b>: {escape(text.replace('`', ''))}</li>"
        for label, text in sources_of(methods, scenarios).items()
    )
    body = [
        "<h1>Alignment methods on populations</h1>",
        f"<p>Made by <code>{escape(command)}</code></p>",
        *(block for part in parts for block in _population(part, fields)),
        "<h2>How to read it</h2>",
        *(f"<p>{escape(sentence)}</p>" for sentence in calibrated),
        "<h2>What was used</h2>",
        f"<ul>{listed}</ul>",
        f"<pre>{escape(cited(methods, scenarios))}</pre>",
    ]
    return document("distalign simulate", body)


def _population(part: Part, fields: Sequence[str]) -> list[str]:
    scenario = part.scenario
    return [
        f"<h2>{escape(scenario.name)}</h2>",
        *(f"<p>{escape(sentence)}</p>" for sentence in (*scenario.about, described(scenario))),
        _sizes(scenario),
        *_view(part, "gain"),
        _methods(part.table, fields),
        *_view(part, "frontier"),
        *_view(part, "groups"),
        _groups(part.groups),
        "<h3>What the methods choose</h3>",
        _chosen(part),
        *_view(part, "wins"),
    ]


def _view(part: Part, view: str) -> list[str]:
    if view not in part.figures:
        return []
    caption, png = part.figures[view]
    return [f"<h3>{_TITLES[view]}</h3>", _figure(caption, png), f"<p>{escape(caption)}</p>"]


def _figure(caption: str, png: bytes) -> str:
    """A figure in the size in which its text is read; on a narrow screen two thirds of it, and scrolled."""
    size = _REM_AN_INCH * struct.unpack(">I", png[16:20])[0] / STYLE["savefig.dpi"]
    width = f"clamp({size / 1.5:.1f}rem, 100%, {size:.1f}rem)"
    return f'<div class="figure">{image(caption, png)}</div>'.replace("<img ", f'<img style="width:{width}" ')


def _sizes(scenario: Scenario) -> str:
    """The groups of the population and their shares."""
    if scenario.groups is None:
        return ""
    shares = np.bincount(scenario.group_of, scenario.weights)
    rows = [[name, f"{share:.1%}"] for name, share in zip(scenario.group_names, shares, strict=True)]
    return _table(["group", "share of users"], rows[:_ROWS])


def _methods(table: pd.DataFrame, fields: Sequence[str]) -> str:
    rows = []
    for _, row in table.head(_ROWS).iterrows():
        name = str(row["method"]) + (" *" if row["off_budget"] else "")  # pyright: ignore[reportGeneralTypeIssues]
        numbers = [interval(row, measure) for measure in _MEASURES]
        rows.append([*(f"{row[f]:g}" for f in fields), name, f"{row['kl']:.3g}", *numbers])
    head = [*fields, "method", "KL (nats)", *_MEASURES.values()]
    notes = table.loc[table["note"] != ""].drop_duplicates(["method", "note"])
    told = [f"<li>{escape(str(r['method']))}: {escape(str(r['note']))}.</li>" for _, r in notes.iterrows()]
    more = len(table) - _ROWS
    return (
        _table(head, rows, "numbers whole")
        + (f"<p>{more} more rows are in summary.csv.</p>" if more > 0 else "")
        + "<p>* off the budget: compared with all lotteries and not with the ball.</p>"
        + (f"<ul>{''.join(told)}</ul>" if told else "")
    )


def _groups(groups: pd.DataFrame) -> str:
    """Methods x groups: the average utility of each group, and its change against the reference."""
    names = list(dict.fromkeys(groups["group"]))
    if not names or len(names) > 12:
        return "<p>The table is groups.csv.</p>" if names else ""
    by = {(str(r["method"]), str(r["group"])): r for r in groups.to_dict("records")}
    rows = [
        [
            m,
            *(
                f"{by[m, g]['utility']:.3f} ({round(by[m, g]['change'], 3) + 0.0:+.3f})"
                if (m, g) in by
                else ""
                for g in names
            ),
        ]
        for m in dict.fromkeys(map(str, groups["method"]))
    ]
    told = "<p>Average utility of each group; in brackets the change against the reference.</p>"
    return _table(["method", *names], rows) + told


def _chosen(part: Part) -> str:
    """The most probable alternatives of each method, with their texts."""
    texts = dict(zip(part.scenario.alternatives or (), part.scenario.texts or (), strict=False))
    rows = []
    for method, policy in part.policies.iterrows():
        top = policy.sort_values(ascending=False, kind="stable").head(_MOST)
        for i, (name, share) in enumerate(top.items()):
            if share < 0.01:
                continue
            text = texts.get(str(name), "")
            shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
            rows.append(
                [str(method) if i == 0 else "", f"{share:.3f}", str(name), *([shown] if texts else [])]
            )
    return _table(["method", "probability", "alternative", *(["text"] if texts else [])], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "numbers") -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><tr>{top}</tr>{body}</table></div>'
