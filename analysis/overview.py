"""The figure of the README's first screen: `python -m analysis.overview` writes its table and draws it.

Reads the committed tables of two claims, never computes anything that they do not hold: the KL of a policy
whose reference is uniform over m responses is log m minus its entropy.
"""

import numpy as np
import pandas as pd

from analysis.ledger import ROOT
from distalign.figures import described, drawing, save, write_table
from distalign.simulation.studies.f_dpo.f_dpo_frontier import RESPONSES

SLUG, HOME = "overview", ROOT / "paper_figures"
SHARES = (0.3, 0.5, 0.7, 0.9)
"""Of the attainable gain, at which the table's policies are shown."""
COLUMNS = ["world", "kind", "method", "setting", "kl", "kl_low", "kl_high", "mean", "low", "high"]


def table() -> pd.DataFrame:
    """Gain in reward against KL, in a table and in a language model that writes: predicted and found."""
    return pd.concat([_of_tables(), _of_models()], ignore_index=True).reindex(columns=COLUMNS)


def _of_tables() -> pd.DataFrame:
    found = pd.read_csv(HOME / "tables" / "f_dpo_frontier.csv")
    found = found.loc[(found.reference == "uniform") & (found.matched == "reward")]
    best = found.loc[found.divergence == "reverse_kl"].set_index("setting")
    line = pd.DataFrame({"kl": np.log(RESPONSES) - best.entropy, "mean": best.share, "kind": "predicted"})
    rest = found.loc[(found.divergence != "reverse_kl") & found.setting.isin(SHARES)]
    kl = line.kl[rest.setting].to_numpy()
    marks = pd.DataFrame(
        {
            "kind": "found",
            "method": rest.divergence,
            "setting": rest.setting,
            "kl": kl - rest["mean"],  # what it spends above the frontier is the entropy that it lacks
            "kl_low": kl - rest.high,
            "kl_high": kl - rest.low,
            "mean": rest.share,
        }
    )
    line = line.assign(method="reverse_kl").reset_index()
    return pd.concat([line, marks]).assign(world="table")


def _of_models() -> pd.DataFrame:
    found = pd.read_csv(HOME / "tables" / "free_f_dpo_frontier.csv").rename(columns={"beta": "setting"})
    best = found.loc[found.method == "reverse_kl"].drop(columns=["low", "high"])
    line = best.assign(kl=best.predicted_kl, mean=best.predicted, kind="predicted")
    marks = found.loc[~found.method.str.contains(",")].assign(kind="found")
    return pd.concat([line.sort_values("kl"), marks]).assign(world="language model")


def main() -> None:
    """Write paper_figures/tables/overview.csv and the figure."""
    made = table()
    write_table(made, HOME / "tables" / f"{SLUG}.csv")
    save(drawing(SLUG)(made), HOME / "figures" / SLUG, f"{SLUG}. {described(SLUG)}", made)
    (HOME / "figures" / f"{SLUG}.csv").unlink()  # it is the one among the tables


if __name__ == "__main__":
    main()
