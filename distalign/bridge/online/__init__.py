"""Online training: a language model is trained on texts that it writes itself, anew in every update.

RLHF and regularised NLHF by policy gradient (`distalign.policy_gradient`), and losses of pairs on fresh pairs
(online DPO). `train` runs a recipe of `distalign.training.recipe_online`; the updates, checkpoints and
journal are those of `distalign.training.loop`.

Exact are: the gradient of the global batch, whatever the micro-batch; the law of the texts, temperature 1
without truncation under the weights of the very update; and the resumption of a run that was killed, to the
same bits, for the random numbers of an update are a function of seed and update alone.

Source: ours; the methods' sources are named with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalign._lazy import lazy

if TYPE_CHECKING:
    from distalign.bridge.online.prepare import train
    from distalign.training.recipe_online import OnlineRecipe

__all__ = ["OnlineRecipe", "train"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "distalign.bridge.online.prepare": ["train"],
        "distalign.training.recipe_online": ["OnlineRecipe"],
    },
)
