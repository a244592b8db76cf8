"""Four measures of five methods at one KL divergence, as differences from DPO."""

import numpy as np

from distalign.figures import new

METHODS = ("IPO", "KTO", "AOT paired", "AOT unpaired")
POPULATIONS = {"well specified": ("#0072B2", "o", -0.1), "misspecified": ("#D55E00", "s", 0.1)}
MEASURES = {
    "paired_violation": "paired violation (nats)",
    "unpaired_violation": "unpaired violation (nats)",
    "utility": "utility (share of the best)",
    "chosen": "chosen log-ratio (nats)",
}


def draw(table):
    figure, panels = new(width=1.75, height=2.6, panels=4)
    for axes, (measure, name) in zip(panels, MEASURES.items(), strict=True):
        for population, (colour, marker, shift) in POPULATIONS.items():
            mine = (
                table[(table.quantity == measure) & (table.population == population)]
                .set_index("method")
                .loc[list(METHODS)]
            )
            mean = mine.difference_mean
            error = np.clip([mean - mine.difference_low, mine.difference_high - mean], 0, None)
            axes.errorbar(
                mean,
                np.arange(len(METHODS)) + shift,
                xerr=error,
                color=colour,
                marker=marker,
                linestyle="none",
                elinewidth=0.8,
                capsize=1.5,
                label=population,
            )
        axes.axvline(0, color="black", linewidth=0.7)
        axes.set_yticks(range(len(METHODS)), METHODS if axes is panels[0] else [""] * len(METHODS))
        axes.set(
            xlabel=f"{name},\nminus DPO's", ylabel="method" if axes is panels[0] else " ", ylim=(3.5, -0.5)
        )
        axes.locator_params(axis="x", nbins=4)
    panels[2].legend(fontsize=6, loc="upper left")
    return figure
