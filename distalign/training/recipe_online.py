"""Recipes of online training: the policy writes the texts it is trained on, anew in every update.

An online recipe is a recipe with `reward` or `preference`. Its `train_data` are prompts, its global batch
counts prompts, and its objective is `rlhf` or `nlhf` (`distalign.policy_gradient`), or an objective of
`distalign.objectives` that is a mean over pairs, for instance dpo: then every update has fresh pairs of the
policy's own texts (online DPO), labelled softly, and the reference stays.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from distalign.checks import InputError, suggestion
from distalign.training.recipe import Recipe
from distalign.training.recipe_checks import (
    ON_OWN_TEXTS,
    check_objective,
    check_options,
    named_objective,
)

KEYS = ("reward", "preference")
"""Either key makes a recipe an online one."""

_OFFLINE = (
    "eval_data",
    "eval_fraction",
    "eval_steps",
    "max_prompt_length",
    "max_cut_share",
    "assistant_only_loss",
    "ranking_pairs",
    "skip_bad_rows",
    "wdpo_method",
    "reference_cache",
)
"""Fields of `Recipe` that are about responses of a file: here they must stay as they are."""

_EXAMPLE = "readers"  # the users that ship with `distalign label`
_SAMPLING = ("temperature", "top_p", "top_k", "min_p")


@dataclass(frozen=True, kw_only=True)
class OnlineRecipe(Recipe):
    """One online training run; fields that are not listed here are those of `Recipe`.

    Attributes:
        reward: score of a response: length, sentiment, folder or Hub id of a reward model, or module:function
            of prompts and responses. nlhf and pairs turn it into preferences by the Bradley-Terry model.
        preference: module:function of prompts, first and second responses that returns the probabilities that
            the first are preferred, or a .yaml file of users with mixtures of scores or the example readers;
            for nlhf and for pairs.
        reference_samples: draws of the reference with the scores of a file of users (`distalign score`),
            whose means and deviations set the scale of the users' utilities.
        samples_per_prompt: texts K that the policy writes to each prompt, at least 2: each is compared with
            the others.
        max_new_tokens: of a text; longer ones are cut there, and counted.
        generation_batch_size: prompts whose texts are drawn at once, for the memory of the drawing.

    Raises:
        InputError: as `Recipe`; the objective cannot be trained on the policy's own texts, not exactly one of
            reward and preference is given, or a field is set that is about responses of a file.

    Example:
        >>> recipe = OnlineRecipe(
        ...     model="m", train_data="prompts.jsonl", objective="rlhf", objective_options={"beta": 0.1},
        ...     reward="length",
        ... )
        >>> recipe.samples_per_prompt
        4
    """

    reward: str | None = None
    preference: str | None = None
    reference_samples: str | None = None
    samples_per_prompt: int = 4
    max_new_tokens: int = 128
    generation_batch_size: int = 16

    def _check_objective(self) -> None:
        name = self.objective
        if name in ON_OWN_TEXTS:
            check_options(name, self.objective_options)
            _call_once(name, self.objective_options)
        else:
            check_objective(name, self.objective_options)
            _check_pairs(name)
        if (self.reward is None) == (self.preference is None):
            raise InputError(
                f"objective {name} needs exactly one of reward and preference: say what its texts are worth, "
                "or which of two is preferred"
            )
        if name == "rlhf" and self.reward is None:
            raise InputError(
                "rlhf needs a reward, not a preference: give reward, or objective nlhf, whose reward is the "
                "margin over the policy's own texts"
            )
        asked = self.preference or ""
        users = asked == _EXAMPLE or asked.endswith((".yaml", ".yml"))
        if users != (self.reference_samples is not None):
            raise InputError(
                f"preference {self.preference} is a file of users: give reference_samples, the reference's "
                "draws with their scores, which set the scale of the utilities"
                if users
                else "reference_samples set the scale of a file of users, and preference names none: leave "
                "them out"
            )
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name, least in (("samples_per_prompt", 2), ("max_new_tokens", 1), ("generation_batch_size", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.max_new_tokens >= self.max_length:
            raise InputError(
                f"max_new_tokens {self.max_new_tokens} leaves no token for a prompt: keep it below "
                f"max_length {self.max_length}"
            )
        if self.parallel != "ddp":
            raise InputError("online training runs on one process: leave parallel out")
        defaults = {field.name: field.default for field in fields(Recipe)}
        for name in _OFFLINE:
            if getattr(self, name) != defaults[name]:
                raise InputError(
                    f"{name} is about responses of a file, and objective {self.objective} with "
                    f"{'reward' if self.reward else 'preference'} writes its own: leave it out"
                )


def is_online(values: Mapping[str, Any]) -> bool:
    """Whether the values of a recipe make it an online one."""
    return values.get("objective") in ON_OWN_TEXTS or any(values.get(key) is not None for key in KEYS)


def refuse_sampling(values: Mapping[str, Any], where: str) -> None:
    """Raise where a recipe asks for another sampling rule than the policy itself."""
    for name in _SAMPLING:
        if name in values:
            raise InputError(
                f"{where}: {name} cannot be set: the gradient is an expectation under the policy itself, so "
                "texts are drawn at temperature 1 without truncation; leave it out"
            )


def _check_pairs(name: str) -> None:
    from distalign.objectives import declared, names

    able = [
        other
        for other in names()
        if (says := declared(named_objective(other))).data == "pairs"
        and says.coupling == "pair"
        and not says.needs
    ]
    if name not in able:
        raise InputError(
            f"objective {name} is not a mean over pairs, so it cannot be trained on fresh pairs: "
            f"{suggestion(name, (*able, *ON_OWN_TEXTS))}"
        )


def _call_once(name: str, options: Mapping[str, Any]) -> None:
    """Call a method of policy gradient on made-up texts, so that a bad option is found at once."""
    import torch

    function = named_objective(name)
    shape = (1, 2) if "reward" in inspect.signature(function).parameters else (1, 2, 2)
    try:
        function(torch.zeros(shape), torch.zeros(1, 2), **options)
    except TypeError as error:
        raise InputError(f"objective {name} does not take {dict(options)}: {error}") from error
