"""An evaluation as files: tables with their dictionary, and three figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from distalign.checks import InputError, one_of
from distalign.figures import STYLE, legend_below, new, save, write_table
from distalign.files import write_text
from distalign.training.evaluation.dictionary import METRICS
from distalign.training.evaluation.evaluate import Evaluation

_SIDES = {"chosen": ("#0072B2", "-"), "rejected": ("#D55E00", (0, (4, 2)))}
_POINTS = np.linspace(0.005, 0.995, 199)


def write(evaluation: Evaluation, out: Path, title: str = "") -> None:
    """Write evaluation.csv with its dictionary, responses.csv, notes.txt and the figures the data allow.

    Raises:
        InputError: a file cannot be written.
    """
    write_table(evaluation.table, out / "evaluation.csv")
    described = [
        (name, unit, text) for name, (unit, text) in METRICS.items() if name in set(evaluation.table.metric)
    ]
    write_table(
        pd.DataFrame(described, columns=["metric", "unit", "meaning"]), out / "evaluation_dictionary.csv"
    )
    write_table(evaluation.responses, out / "responses.csv")
    write_text(out / "notes.txt", "".join(note + "\n" for note in evaluation.notes))
    with rc_context(STYLE):
        _figures(evaluation, out / "figures", title)


def _figures(evaluation: Evaluation, out: Path, title: str) -> None:
    if "dominance_w1" not in evaluation.values():  # one class alone
        return
    values, quantiles = evaluation.values(), quantile_table(evaluation.responses)
    save(
        draw_dominance(quantiles),
        out / "dominance",
        f"{title}Quantiles of held-out rewards. Where the chosen curve lies below the rejected one, "
        f"dominance is violated: at {values['violated_quantiles']:.1%} of quantiles, by "
        f"{values['dominance_w1']:.3g} on average.",
        quantiles,
    )
    if "accuracy" not in values:
        return
    pairs = pair_table(evaluation.responses)
    bins, lengths = calibration_table(pairs), length_table(pairs)
    save(
        draw_calibration(bins),
        out / "calibration",
        f"{title}Share of pairs whose chosen response has the larger reward, by confidence "
        f"sigmoid(|margin|). Expected error {values['calibration_preference']:.3f}; areas of the marks grow "
        "with the share of the pairs.",
        bins,
    )
    save(
        draw_lengths(lengths),
        out / "length",
        f"{title}Accuracy by the log ratio of lengths; 95 % intervals take pairs for independent. Overall "
        f"{values['accuracy']:.3f}, at equal length {values['accuracy_equal_length']:.3f}; preferring the "
        f"longer response gets {values['longer_wins']:.3f}.",
        lengths,
    )


def drawn(evaluation: Evaluation, figure: str) -> Figure:
    """One figure of an evaluation by name; `Evaluation.plot` says which there are.

    Raises:
        InputError: another name, or data that do not have what the figure shows.
    """
    one_of("figure", figure, ("dominance", "calibration", "length"))
    needs = "dominance_w1" if figure == "dominance" else "accuracy"
    if needs not in evaluation.values():
        held = "chosen and rejected responses" if figure == "dominance" else "pairs"
        raise InputError(f"figure {figure!r} shows {held} and the held-out data have none: name another one")
    with rc_context(STYLE):
        if figure == "dominance":
            return draw_dominance(quantile_table(evaluation.responses))
        pairs = pair_table(evaluation.responses)
        if figure == "calibration":
            return draw_calibration(calibration_table(pairs))
        return draw_lengths(length_table(pairs))


def quantile_table(responses: pd.DataFrame) -> pd.DataFrame:
    """Quantile functions of both classes' rewards at 199 levels, weighted."""
    out = {"level": _POINTS}
    for side in _SIDES:
        reward, frequency = (
            responses.loc[responses.side == side, name].to_numpy() for name in ("reward", "frequency")
        )
        order = np.argsort(reward)
        place = np.minimum(
            np.searchsorted(np.cumsum(frequency[order]), _POINTS - 1e-12), max(len(reward) - 1, 0)
        )
        out[side] = reward[order][place] if len(reward) else np.full(len(_POINTS), np.nan)
    return pd.DataFrame(out)


def pair_table(responses: pd.DataFrame) -> pd.DataFrame:
    """One row a pair: margin, whether its sign is correct, log ratio of lengths, frequency."""
    sides = {side: responses[responses.side == side].set_index("line") for side in _SIDES}
    margin = sides["chosen"].reward - sides["rejected"].reward
    return pd.DataFrame(
        {
            "margin": margin,
            "correct": (margin > 0) + 0.5 * (margin == 0),
            "frequency": sides["chosen"].frequency,
            "log_length_ratio": np.log(sides["chosen"].tokens / sides["rejected"].tokens),
        }
    )


def calibration_table(pairs: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Mean confidence and share right in equal bins of confidence from 1/2 to 1."""
    confidence = 1 / (1 + np.exp(-np.minimum(pairs.margin.abs(), 700)))
    place = np.minimum(((confidence.to_numpy() - 0.5) * 2 * bins).astype(int), bins - 1)
    return _binned(pairs.assign(confidence=confidence), place, "confidence")


def length_table(pairs: pd.DataFrame, bins: int = 7) -> pd.DataFrame:
    """Share right in bins of equal counts of the log ratio of lengths, with Wilson's interval."""
    from distalign.intervals import wilson

    ratio = pairs.log_length_ratio.to_numpy()
    edges = np.unique(np.quantile(ratio, np.linspace(0, 1, bins + 1)[1:-1]))
    table = _binned(pairs, np.searchsorted(edges, ratio), "log_length_ratio")
    bounds = [wilson(share, int(n), 0.95) for share, n in zip(table.share_right, table.n, strict=True)]
    return table.assign(low=[low for low, _ in bounds], high=[high for _, high in bounds])


def draw_dominance(table: pd.DataFrame) -> Figure:
    """Both quantile functions, shaded where the rejected one is larger."""
    figure, (axes,) = new()
    for side, (colour, style) in _SIDES.items():
        axes.plot(table.level, table[side], color=colour, linestyle=style, label=side)
    axes.fill_between(
        table.level,
        table.chosen,
        table.rejected,
        where=table.rejected > table.chosen,
        color="0.8",
        label="violated",
        linewidth=0,
    )
    axes.set(xlabel="quantile level", ylabel="reward")
    legend_below(figure, columns=2)
    return figure


def draw_calibration(table: pd.DataFrame) -> Figure:
    """Share right against confidence, with the diagonal of perfect calibration."""
    figure, (axes,) = new()
    axes.plot([0.5, 1], [0.5, 1], color="0.5", linewidth=0.8, linestyle=(0, (1, 1)), label="calibrated")
    axes.plot(table.confidence, table.share_right, color="#0072B2", linewidth=0.8)
    axes.scatter(
        table.confidence,
        table.share_right,
        s=4 + 150 * table.frequency,
        color="#0072B2",
        zorder=3,
        label="held-out pairs",
    )
    axes.set(
        xlabel="confidence of the preference", ylabel="share right", xlim=(0.49, 1.01), ylim=(-0.02, 1.02)
    )
    legend_below(figure, columns=2)
    return figure


def draw_lengths(table: pd.DataFrame) -> Figure:
    """Accuracy by the ratio of lengths beside the rule that the longer response wins."""
    figure, (axes,) = new()
    x = table.log_length_ratio
    axes.errorbar(
        x,
        table.share_right,
        yerr=np.clip([table.share_right - table.low, table.high - table.share_right], 0, None),
        color="#0072B2",
        marker="o",
        elinewidth=0.8,
        capsize=1.5,
        label="policy's reward",
    )
    axes.plot(
        [x.min(), 0, 0, x.max()],
        [0, 0, 1, 1],
        color="black",
        linewidth=0.9,
        linestyle=(0, (4, 2)),
        label="longer wins",
    )
    axes.set(xlabel="log of chosen length over rejected length", ylabel="share right", ylim=(-0.05, 1.05))
    legend_below(figure, columns=2)
    return figure


def _binned(pairs: pd.DataFrame, place: np.ndarray, by: str) -> pd.DataFrame:
    rows = []
    for _, part in pairs.groupby(place):
        w = part.frequency / part.frequency.sum() if part.frequency.sum() > 0 else part.frequency
        rows.append(
            {
                by: float(w @ part[by]),
                "share_right": float(w @ part.correct),
                "frequency": float(part.frequency.sum()),
                "n": len(part),
            }
        )
    return pd.DataFrame(rows)
