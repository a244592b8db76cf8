"""`distalign simulate`: from a file of votes to a table, a figure and a short report."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from threadpoolctl import threadpool_limits

from distalign.checks import InputError
from distalign.figures import BOUND, METHODS, STYLE, new, save, write_table
from distalign.files import write_whole
from distalign.populations.survey import Votes, load_votes, read_table
from distalign.populations.survey_fit import FittedUsers, fit_users
from distalign.simulation.simulate import Details, simulate
from distalign.solvers.certified import checked_budget

LONGEST = "longest text"


def run_simulation(votes: Path, out: Path, items: Path | None = None, topic: str | None = None, *, kl_budget: float = 1.0,
                   bootstrap: int = 200, seed: int = 0) -> pd.DataFrame:
    """Fit users to votes, apply every rule to them, and write what happens.

    Writes below `out`: simulation.csv (the table), simulation.pdf and .png, win_matrix.csv, policies.csv (a column of
    probabilities a method) and report.md. With the items' texts the policy that answers with the longest text is measured
    too: length is what a comparison of texts most easily measures instead of quality.

    Args:
        votes: CSV or CSV.gz with columns user (or worker), first, second, vote, and topic where there are several.
        out: folder, created.
        items: CSV with columns item (or argument) and text.
        topic: which topic to keep.
        kl_budget: nats from the uniform reference.
        bootstrap: resamples of users.
        seed: of the bootstrap and of the cross-validation folds.

    Returns:
        The table of `distalign.simulation.simulate.simulate`.

    Raises:
        InputError: before anything is computed, if a file or an argument cannot be used.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> votes = [(user, *vote) for user in ("ann", "bob", "cy") for vote in
        ...          (("tea", "milk", "first"), ("milk", "beer", "second"), ("tea", "beer", "equal"))]
        >>> pd.DataFrame(votes, columns=["user", "first", "second", "vote"]).to_csv(folder / "votes.csv", index=False)
        >>> run_simulation(folder / "votes.csv", folder / "out", bootstrap=2).method.tolist()[:2]
        ['reference', 'Borda']
        >>> sorted(path.name for path in (folder / "out").iterdir())[:3]
        ['policies.csv', 'report.md', 'simulation.csv']
    """
    checked_budget(kl_budget)
    if out.exists() and not out.is_dir():
        raise InputError(f"out {out} is a file: name a folder")
    data = load_votes(votes, topic)
    texts = None if items is None else _texts(items, data)
    with threadpool_limits(1):
        fitted = fit_users(data, seed=seed)
    baselines = {} if texts is None else {LONGEST: _longest(texts)}
    table, details = simulate(fitted.users, kl_budget=kl_budget, bootstrap=bootstrap, seed=seed, baselines=baselines)
    text = report(table, details, fitted, data, texts, topic)
    caption = (f"Semi-synthetic population calibrated on votes{f' ({topic})' if topic else ''}: average utility with 95 % "
               f"bootstrap intervals over users, and distortion. KL budget {kl_budget:g} nats, seed {seed}.")
    save(draw(table), out / "simulation", caption, table)
    write_table(pd.DataFrame(details.win, pd.Index(data.items, name="item"), data.items).reset_index(), out / "win_matrix.csv")
    write_table(_policies(details, fitted, data, texts), out / "policies.csv")
    write_whole(out / "report.md", lambda p: p.write_text(text))
    return table


def draw(table: pd.DataFrame) -> Figure:
    """Average and tenth-percentile utility by method with intervals, and distortion beside them under its bound."""
    with mpl.rc_context(STYLE):
        figure, (left, right) = new(3.4, 0.5 + 0.27 * len(table), panels=2)
        place = np.arange(len(table))[::-1]
        left.plot([], [], marker="o", color="black", linestyle="none", label="average over users")
        for y, (_, row) in zip(place, table.iterrows(), strict=True):
            _dot(left, row, "average_utility", y)
            left.plot(row["tenth_percentile"], y - 0.25, marker="d", color="0.35", markersize=3, markerfacecolor="white",
                      linestyle="none", label="tenth percentile of users" if y == 0 else None)
            if np.isfinite(row["distortion"]):
                _dot(right, row, "distortion", y)
            else:
                right.annotate(f"{row['distortion']:g}", (1, y), fontsize=7, va="center")
        right.axvline(table["bound"].iloc[0], **BOUND, label="C, the worst case of the best rule")
        left.set(xlabel="utility", ylabel="method", yticks=place, yticklabels=table["method"], xlim=(0, 1))
        right.set(xlabel="distortion in the method's own ball", yticks=place, yticklabels=[], xscale="log")
        right.set_xlim(0.95, 1.1 * max(right.get_xlim()[1], 2))
        right.xaxis.set_major_locator(LogLocator(10, (1, 1.5, 2, 3, 5)))
        right.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        right.xaxis.set_minor_formatter(NullFormatter())
        for axes, columns in ((left, 2), (right, 1)):
            axes.set_ylim(-0.6, len(table) - 0.4)
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns)
        return figure


def _dot(axes: Axes, row: pd.Series, measure: str, y: float) -> None:
    colour, marker, _ = METHODS.get(str(row["method"]).split(",")[0], METHODS["reference"])
    low, value, high = row[f"{measure}_low"], row[measure], row[f"{measure}_high"]
    span = np.clip([[value - low], [high - value]], 0, None)
    axes.errorbar(value, y, xerr=span, fmt=marker, color=colour, elinewidth=1, capsize=2)


def report(table: pd.DataFrame, details: Details, fitted: FittedUsers, votes: Votes, texts: list[str] | None,
           topic: str | None) -> str:
    """A short account in Markdown: what was fitted, what came out, and what it does not say."""
    counts = np.bincount(votes.user)
    users = fitted.users
    lines = [
        f"# Alignment rules on a semi-synthetic population{f': {topic}' if topic else ''}", "",
        f"{len(counts)} users calibrated on {len(votes.score)} votes on {len(votes.items)} items; half of the users gave "
        f"{int(np.median(counts))} vote(s) or fewer. A vote on an unseen pair has log-likelihood {fitted.held_out:.4f} under "
        f"individual users and {fitted.held_out_single:.4f} under one shared reward (five folds; penalties "
        f"{fitted.common_penalty:g} and {fitted.own_penalty:g}; the fit is within {fitted.certificate:.1g} logits of its "
        "optimum).", "",
        *([_length(votes, texts), ""] if texts is not None else []),
        f"Bradley-Terry temperature {users.bt_temperature:.3f}; in the worst case no rule can guarantee a distortion below "
        f"C = {table['bound'].iloc[0]:.3f}, which NLHF and the maximal lottery never exceed.", "",
        "| method | KL (nats) | average utility | tenth percentile | distortion |", "|---|---|---|---|---|",
        *(f"| {row['method']} | {row['kl']:.3f} | {_interval(row, 'average_utility')} | "
          f"{_interval(row, 'tenth_percentile')} | {_interval(row, 'distortion')} |" for _, row in table.iterrows()), "",
        "Intervals: 95 % bootstrap over users; utilities are not fitted again, only the population's law and the policies.",
        f"Uncertified solves: {(~table['certified']).sum()} of {len(table)}, and "
        f"{sum(details.failed_resamples.values())} in the resamples.", "",
        "## What this does not say", "",
        "True utilities are unobserved: the utilities here are a model calibrated on the votes, and every distortion is one of "
        "that model. Comparisons do not identify the zero of a user's utility: each user's least liked item was put at 0, a "
        "convention on which averages over users depend. All users share one scale, the largest range of any user. Users with "
        "few votes are drawn towards the common utility, so the fitted users are more alike than the voters.", ""]
    return "\n".join(lines)


def _interval(row: pd.Series, measure: str) -> str:
    value, low, high = (row[f"{measure}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"


def _length(votes: Votes, texts: list[str]) -> str:
    length = np.array([len(t) for t in texts])
    decided = (votes.score != 0.5) & (length[votes.first] != length[votes.second])
    longer = (length[votes.first] > length[votes.second]) == (votes.score == 1)
    return (f"Length baseline: the longer text won {100 * longer[decided].mean():.1f} % of the {decided.sum()} decided votes "
            "between texts of different length.")


def _texts(path: Path, votes: Votes) -> list[str]:
    table = read_table(path, ("text",), aliases={"argument": "item"}, needs="item").drop_duplicates("item").set_index("item")
    missing = [item for item in votes.items if item not in table.index]
    if missing:
        raise InputError(f"{path} has no text for {len(missing)} of the {len(votes.items)} items voted on, among them "
                         f"{missing[0]!r}")
    return [str(table.at[item, "text"]) for item in votes.items]


def _longest(texts: list[str]) -> np.ndarray:
    length = np.array([len(t) for t in texts])
    return (length == length.max()) / (length == length.max()).sum()


def _policies(details: Details, fitted: FittedUsers, votes: Votes, texts: list[str] | None) -> pd.DataFrame:
    columns = {"item": list(votes.items), **({} if texts is None else {"text": texts}),
               "average_utility": fitted.users.average_utility}
    return pd.DataFrame(columns | {method: found.policy for method, found in details.policies.items()})
