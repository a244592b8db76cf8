"""Fine-tuning of causal language models by the objectives of `distalign.objectives`, exact over the global
batch.

    >>> from distalign.training import read, train
    >>> recipe = read("smollm2_rdro", {"max_steps": 10})
    >>> # train(recipe)

Pieces, each usable alone: `data` (files to token ids), `model` (token ids to log-probabilities),
`distalign.step` and `wasserstein` (the gradient of a global batch), `loop`, `evaluation`, `memory`. Names are
imported when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalign._lazy import lazy

if TYPE_CHECKING:
    from distalign.training.check import check_file
    from distalign.training.data.load import load_preferences
    from distalign.training.data.rows import TokenRow
    from distalign.training.evaluation.evaluate import Evaluation
    from distalign.training.evaluation.models import evaluate, generate
    from distalign.training.evaluation.samples import Samples
    from distalign.training.loop import Summary, train
    from distalign.training.memory.planning import Plan, plan
    from distalign.training.model.policy import load_policy, tokenizer_of
    from distalign.training.model.scorer import Scorer
    from distalign.training.model.scoring import score_rows
    from distalign.training.recipe import Recipe
    from distalign.training.recipe_file import read

__all__ = [
    "Evaluation",
    "Plan",
    "Recipe",
    "Samples",
    "Scorer",
    "Summary",
    "TokenRow",
    "check_file",
    "evaluate",
    "generate",
    "load_policy",
    "load_preferences",
    "plan",
    "read",
    "score_rows",
    "tokenizer_of",
    "train",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "distalign.training.check": ["check_file"],
        "distalign.training.data.load": ["load_preferences"],
        "distalign.training.data.rows": ["TokenRow"],
        "distalign.training.evaluation.evaluate": ["Evaluation"],
        "distalign.training.evaluation.models": ["evaluate", "generate"],
        "distalign.training.evaluation.samples": ["Samples"],
        "distalign.training.loop": ["Summary", "train"],
        "distalign.training.memory.planning": ["Plan", "plan"],
        "distalign.training.model.policy": ["load_policy", "tokenizer_of"],
        "distalign.training.model.scorer": ["Scorer"],
        "distalign.training.model.scoring": ["score_rows"],
        "distalign.training.recipe": ["Recipe"],
        "distalign.training.recipe_file": ["read"],
    },
)
