"""Fine-tuning of causal language models by the objectives of `distalign.objectives`, exact over the global
batch.

    >>> from distalign.training import read, train
    >>> recipe = read("smollm2_rdro", {"max_steps": 10})
    >>> # train(recipe)

Pieces, each usable alone: `data` (files to token ids), `scorer` (token ids to log-probabilities), `step` and
    `wasserstein` (the
gradient of a global batch), `loop`, `evaluate`, `generate`, `plan`.
"""

from distalign.training.data.load import load_preferences
from distalign.training.loop import Summary, train
from distalign.training.model.scorer import Scorer
from distalign.training.recipe import Recipe
from distalign.training.recipe_file import read

__all__ = ["Recipe", "Scorer", "Summary", "load_preferences", "read", "train"]
