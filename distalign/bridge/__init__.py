"""The bridge: claims of the theory on language models, whose law over a finite set of responses is known
exactly.

`load` makes a policy over candidates, `train_policy` fits one to an exact law. Names are imported when they
are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalign._lazy import lazy

if TYPE_CHECKING:
    from distalign.bridge.candidates.language_model import LanguageModel
    from distalign.bridge.candidates.policies import Trainable, load, reference_law
    from distalign.bridge.candidates.train import Trained, train_policy

__all__ = ["LanguageModel", "Trainable", "Trained", "load", "reference_law", "train_policy"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "distalign.bridge.candidates.language_model": ["LanguageModel"],
        "distalign.bridge.candidates.policies": ["Trainable", "load", "reference_law"],
        "distalign.bridge.candidates.train": ["Trained", "train_policy"],
    },
)
