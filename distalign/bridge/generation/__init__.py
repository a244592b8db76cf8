"""Language models that write freely: what a method must end at, predicted from draws of the reference.

Every population optimum is a tilt of the reference policy, so draws of the reference carry its exact
prediction before anything is trained: `tilts`. A trained model is then measured by two roads, on the same
draws and on texts of its own: `estimates`. `draws` reads both from the files of `distalign generate`.

Source: ours; no paper has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalign._lazy import lazy

if TYPE_CHECKING:
    from distalign.bridge.generation.draws import Draws, draws_of
    from distalign.bridge.generation.estimates import (
        Check,
        Distances,
        Estimate,
        Fresh,
        Reweighted,
        distances,
        frontier,
        over_prompts,
        overlap,
        roads,
    )
    from distalign.bridge.generation.tilts import (
        Tilt,
        bradley_terry_reward,
        f_dpo,
        ipo,
        kl_ball,
        kldpo,
        nlhf,
        p_plus,
        p_plus_thumbs,
        rlhf,
        win_matrix,
    )

__all__ = [
    "Check",
    "Distances",
    "Draws",
    "Estimate",
    "Fresh",
    "Reweighted",
    "Tilt",
    "bradley_terry_reward",
    "distances",
    "draws_of",
    "f_dpo",
    "frontier",
    "ipo",
    "kl_ball",
    "kldpo",
    "nlhf",
    "over_prompts",
    "overlap",
    "p_plus",
    "p_plus_thumbs",
    "rlhf",
    "roads",
    "win_matrix",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "distalign.bridge.generation.draws": ["Draws", "draws_of"],
        "distalign.bridge.generation.estimates": [
            "Check",
            "Distances",
            "Estimate",
            "Fresh",
            "Reweighted",
            "distances",
            "frontier",
            "over_prompts",
            "overlap",
            "roads",
        ],
        "distalign.bridge.generation.tilts": [
            "Tilt",
            "bradley_terry_reward",
            "f_dpo",
            "ipo",
            "kl_ball",
            "kldpo",
            "nlhf",
            "p_plus",
            "p_plus_thumbs",
            "rlhf",
            "win_matrix",
        ],
    },
)
