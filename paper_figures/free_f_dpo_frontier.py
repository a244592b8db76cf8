"""f-DPO ends where draws predicted, if the network reaches it.

(a) Reward against KL for a saturating reward, with 99 % intervals; dashes: predicted. (b) KL of the writer's
texts against the predicted one; filled: optima that are tilts by a sum.
"""

from distalign.figures import DIVERGENCES, METHODS, legend_below, new


def draw(table):
    figure, (plane, spent) = new(panels=2, height=3.3)
    frontier = table[table.method == "reverse_kl"].sort_values("predicted_kl")
    plane.plot(
        frontier.predicted_kl, frontier.predicted, color="black", linewidth=0.8, label="predicted frontier"
    )
    for method, mine in table.groupby("method", sort=False):
        name, _, arm = method.partition(", ")
        colour, marker, _ = METHODS["RLHF" if name == "policy gradient" else name]
        if name == "policy gradient":
            colour, marker = "#000000", "X"
        style = {"color": colour, "marker": marker, "linestyle": "none"}
        if arm != "quarter":
            face = colour if arm == "sum" else "none"
            spent.plot(mine.predicted_kl, mine.fresh_kl, **style, markerfacecolor=face, markersize=4.5)
        if arm == "sum":
            continue
        label = DIVERGENCES.get(name, "policy gradient (RLHF)")
        plane.errorbar(
            mine.kl,
            mine["mean"],
            yerr=[(mine["mean"] - mine.low).clip(0), (mine.high - mine["mean"]).clip(0)],
            elinewidth=0.6,
            capsize=1.5,
            label=label + (", a quarter of the texts" if arm else ""),
            **style,
            markerfacecolor="none" if arm else colour,
        )
        if not arm:
            plane.plot(mine.predicted_kl, mine.predicted, "_", color=colour, markersize=7)
    dpo = table[table.method == "reverse_kl"]
    if "reach_kl" in table:
        best = {"color": "#AA3377", "markersize": 7, "label": "DPO's best tilt by a sum"}
        spent.plot(dpo.predicted_kl, dpo.reach_kl, "+", **best)
    most = table.predicted_kl.max()
    spent.plot([0, most], [0, most], color="black", linewidth=0.8, label="as predicted")
    plane.set(xlabel="KL to the reference, nats", ylabel="gain in reward (standard deviation 1)")
    spent.set(xlabel="predicted KL, nats", ylabel="KL of the texts, nats")
    legend_below(plane, 2)
    legend_below(spent)
    return figure
