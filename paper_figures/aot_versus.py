"""Four measures of four methods at the divergence that DPO spends, as differences from DPO.

Where the class is misspecified, paired AOT violates paired dominance least. Markers: means with 99 %
intervals over seeds; left of 0 is less than DPO.
"""

import numpy as np

from distalign.figures import legend_below, new

METHODS = ("IPO", "KTO", "AOT paired", "AOT unpaired")
POPULATIONS = {"well specified": ("#0072B2", "o", -0.1), "misspecified": ("#D55E00", "s", 0.1)}
MEASURES = {
    "paired_violation": "paired violation\n(nats)",
    "unpaired_violation": "unpaired violation\n(nats)",
    "utility": "utility\n(share of the best)",
    "chosen": "chosen log-ratio\n(nats)",
}


def draw(table):
    figure, panels = new(height=2.5, panels=4)
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
        first = axes is panels[0]
        axes.set_yticks(range(len(METHODS)), METHODS if first else [""] * len(METHODS))
        axes.set(xlabel=f"{name},\nminus DPO's", ylabel="method" if first else " ", ylim=(3.5, -0.5))
        axes.locator_params(axis="x", nbins=3)
    legend_below(figure, columns=2)
    return figure
