"""Language models that write freely: what a method must end at, predicted from draws of the reference.

Every population optimum is a tilt of the reference policy, so draws of the reference carry its exact
prediction before anything is trained: `tilts`. A trained model is then measured by two roads, on the same
draws and on texts of its own: `estimates`. `draws` reads both from the files of `distalign generate`.
`scores` gives texts numbers, `users` gives users utilities of them, and `labels` makes preference data.

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
    from distalign.bridge.generation.labels import Labels, label
    from distalign.bridge.generation.scores import Score, score, score_of
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
    from distalign.bridge.generation.users import Scale, Users, Utilities, read_users, utilities_of

__all__ = [
    "Check",
    "Distances",
    "Draws",
    "Estimate",
    "Fresh",
    "Labels",
    "Reweighted",
    "Scale",
    "Score",
    "Tilt",
    "Users",
    "Utilities",
    "bradley_terry_reward",
    "distances",
    "draws_of",
    "f_dpo",
    "frontier",
    "ipo",
    "kl_ball",
    "kldpo",
    "label",
    "nlhf",
    "over_prompts",
    "overlap",
    "p_plus",
    "p_plus_thumbs",
    "read_users",
    "rlhf",
    "roads",
    "score",
    "score_of",
    "utilities_of",
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
        "distalign.bridge.generation.labels": ["Labels", "label"],
        "distalign.bridge.generation.scores": ["Score", "score", "score_of"],
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
        "distalign.bridge.generation.users": ["Scale", "Users", "Utilities", "read_users", "utilities_of"],
    },
)
