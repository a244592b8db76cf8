"""Every objective, one paper's loss per file, each `f(batch, *, hyperparameters) -> scalar`."""

from distalign.objectives._declare import Declared, declared, objective

__all__ = ["Declared", "declared", "objective"]
