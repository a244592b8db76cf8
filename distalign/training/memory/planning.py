"""Whether a recipe fits a device: its memory, its work, and what to change where it does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from distalign.checks import InputError
from distalign.training.memory.adapter import shape_of
from distalign.training.memory.changes import Change, bytes_of, possible_changes
from distalign.training.memory.geometry import Geometry
from distalign.training.memory.plan import Memory, Work, memory, work
from distalign.training.recipe import Recipe
from distalign.training.recipe_online import OnlineRecipe

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Plan:
    """What a recipe needs on each device; memory is an estimate.

    Attributes:
        model: sizes of the model.
        memory: bytes by part.
        work: arithmetic of one update.
        changes: changes to the recipe that save memory, those that leave the result alone first.
        limit: bytes of a device.
    """

    model: Geometry
    memory: Memory
    work: Work
    changes: tuple[Change, ...]
    limit: float

    @property
    def fits(self) -> bool:
        """Whether the peak is within the limit."""
        return self.memory.total <= self.limit

    @property
    def table(self) -> pd.DataFrame:
        """One row a part of the memory that is not empty: part, and its size in GB (1e9 bytes)."""
        import pandas as pd

        parts = {name: size for name, size in self.memory.by_name().items() if size}
        return pd.DataFrame({"part": list(parts), "GB": [size / 1e9 for size in parts.values()]})

    def plot(self) -> Axes:
        """Bars of the parts of the memory, with peak and limit; `axes.figure` is the figure itself."""
        from distalign.figures import BOUND, new

        table = self.table
        _, (axes,) = new()
        axes.barh(table["part"], table["GB"], color="0.6")
        axes.axvline(self.memory.total / 1e9, color="#D55E00", label="peak (estimate)")
        axes.axvline(self.limit / 1e9, **BOUND, label="memory of the device")
        axes.invert_yaxis()
        axes.set(xlabel="GB on each device")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
        return axes


def plan(recipe: Recipe, *, gpu: str = "80GB", devices: int = 1, prompt_share: float = 0.0) -> Plan:
    """Say what a recipe needs in memory and work, before anything is downloaded.

    Args:
        recipe: the run.
        gpu: memory of a device, for instance 80GB, 141GB or 16GiB.
        devices: how many; under parallel fsdp2 they share the states.
        prompt_share: share of prompt tokens in prompt and response; 0 is the worst case.

    Raises:
        InputError: an argument is out of range, or the sizes of the model cannot be found out.

    Example:
        >>> recipe = Recipe(model="HuggingFaceTB/SmolLM2-135M-Instruct", train_data="d", objective="sft")
        >>> found = plan(recipe, gpu="80GB")
        >>> found.fits, found.table.columns.tolist()
        (True, ['part', 'GB'])
    """
    if isinstance(recipe, OnlineRecipe):
        raise InputError(
            f"objective {recipe.objective} writes its own texts, whose drawing this estimate does not know: "
            "plan dpo with the same model, max_length and batch, and add the memory of the drawing"
        )
    limit = bytes_of(gpu)
    if devices < 1 or not 0 <= prompt_share < 1:
        raise InputError(
            f"--devices must be at least 1 and --prompt_share lie in [0, 1), got {devices} and {prompt_share}"
        )
    model = shape_of(recipe)
    return Plan(
        model,
        memory(recipe, model, devices=devices, prompt_share=prompt_share),
        work(recipe, model, prompt_share=prompt_share),
        tuple(possible_changes(recipe, model, devices=devices, prompt_share=prompt_share)),
        limit,
    )
