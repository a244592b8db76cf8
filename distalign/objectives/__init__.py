"""Every objective, one paper's loss per file, each `f(batch, *, hyperparameters) -> scalar`."""

from distalign.objectives._declare import Declared, SmallBatchWarning, declared, objective
from distalign.objectives.aot import aot_paired, aot_unpaired
from distalign.objectives.bco import bco
from distalign.objectives.chi_po import chi_po
from distalign.objectives.ddro import ddro
from distalign.objectives.dpo import cdpo, dpo, rdpo
from distalign.objectives.f_dpo import f_dpo
from distalign.objectives.ipo import ipo, ipo_per_token
from distalign.objectives.kldpo import kldpo
from distalign.objectives.kto import kto
from distalign.objectives.rdro import rdro
from distalign.objectives.robust_baselines import dr_dpo, group_dpo
from distalign.objectives.sft import sft
from distalign.objectives.wdpo import wdpo

__all__ = [
    "Declared",
    "SmallBatchWarning",
    "aot_paired",
    "aot_unpaired",
    "bco",
    "cdpo",
    "chi_po",
    "ddro",
    "declared",
    "dpo",
    "dr_dpo",
    "f_dpo",
    "group_dpo",
    "ipo",
    "ipo_per_token",
    "kldpo",
    "kto",
    "objective",
    "rdpo",
    "rdro",
    "sft",
    "wdpo",
]
