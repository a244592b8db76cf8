"""Every objective, one paper's loss per file, each `f(batch, *, hyperparameters) -> scalar`.

`names()` lists them. A new one is added by its import below. Source: each loss names its own.
"""

from distalign.objectives._declare import Declared as Declared
from distalign.objectives._declare import Description as Description
from distalign.objectives._declare import SmallBatchWarning as SmallBatchWarning
from distalign.objectives._declare import declared as declared
from distalign.objectives._declare import described as described
from distalign.objectives._declare import description_of as description_of
from distalign.objectives._declare import objective as objective
from distalign.objectives.aot import aot_paired as aot_paired
from distalign.objectives.aot import aot_unpaired as aot_unpaired
from distalign.objectives.bco import bco as bco
from distalign.objectives.bpo import bpo as bpo
from distalign.objectives.chi2_dpo import chi2_dpo as chi2_dpo
from distalign.objectives.chi_po import chi_po as chi_po
from distalign.objectives.ddro import ddro as ddro
from distalign.objectives.dpo import cdpo as cdpo
from distalign.objectives.dpo import dpo as dpo
from distalign.objectives.dpo import rdpo as rdpo
from distalign.objectives.f_dpo import f_dpo as f_dpo
from distalign.objectives.ipo import ipo as ipo
from distalign.objectives.ipo import ipo_per_token as ipo_per_token
from distalign.objectives.kldpo import kldpo as kldpo
from distalign.objectives.kto import kto as kto
from distalign.objectives.rdro import rdro as rdro
from distalign.objectives.robust_baselines import dr_dpo as dr_dpo
from distalign.objectives.robust_baselines import group_dpo as group_dpo
from distalign.objectives.sft import sft as sft
from distalign.objectives.wdpo import wdpo as wdpo


def names() -> tuple[str, ...]:
    """Names of all objectives, in alphabetical order.

    Example:
        >>> names()[:3]
        ('aot_paired', 'aot_unpaired', 'bco')
    """
    return tuple(
        sorted(n for n, f in globals().items() if isinstance(getattr(f, "declared", None), Declared))
    )


__all__ = sorted(n for n in globals() if not n.startswith("_"))  # pyright: ignore[reportUnsupportedDunderAll]
