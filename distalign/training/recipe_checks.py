"""The checks of a recipe that need neither data nor model.

A recipe comes here as a mapping of its fields' names to their values.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from distalign.checks import InputError, names_in, suggestion

_UNIT = ("adam_beta1", "adam_beta2", "eval_fraction", "warmup_ratio")
_POSITIVE = (
    "max_length",
    "max_prompt_length",
    "chunk_tokens",
    "lora_alpha",
    "learning_rate",
    "max_grad_norm",
    "adam_epsilon",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "micro_batch_tokens",
    "num_train_epochs",
    "save_total_limit",
    "logging_steps",
)
_NONNEGATIVE = ("lora_rank", "weight_decay", "seed", "eval_steps", "save_steps")
ON_OWN_TEXTS = ("nlhf", "rlhf")
"""Objectives of `distalign.policy_gradient`, which are trained on texts that the policy itself writes."""

SHARES_PROMPTS = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")
"""Attention implementations that `distalign.training.model.shared_prompt` knows."""


def typed(name: str, value: Any, hint: Any) -> Any:
    """`value` as `hint` asks; whole numbers pass for floats, nothing else is converted.

    Raises:
        InputError: another type.

    Example:
        >>> typed("learning_rate", 1, float), typed("seed", 2.0, int)
        (1.0, 2)
    """
    options = get_args(hint) if get_origin(hint) not in (None, dict, Literal) else (hint,)
    for kind in options:
        if get_origin(kind) is Literal:
            if value in get_args(kind):
                return value
        elif get_origin(kind) is list:
            if isinstance(value, list | tuple) and all(word in get_args(get_args(kind)[0]) for word in value):
                return list(value)
        elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        elif (
            kind is int
            and not isinstance(value, bool)
            and isinstance(value, int | float)
            and math.isfinite(value)
            and value == int(value)
        ):
            return int(value)
        elif isinstance(value, get_origin(kind) or kind) and not (
            kind in (int, float) and isinstance(value, bool)
        ):
            return value
    raise InputError(f"{name} must be {_expected(options)}, got {value!r}")


def _expected(options: tuple[Any, ...]) -> str:
    words = {
        float: "a number",
        int: "a whole number",
        str: "text",
        bool: "true or false",
        type(None): "nothing (null)",
    }
    return " or ".join(
        f"one of {', '.join(map(str, get_args(kind)))}"
        if get_origin(kind) is Literal
        else "a list of them"
        if get_origin(kind) is list
        else words.get(kind, "a mapping of names to values")
        for kind in options
    )


def check_ranges(values: Mapping[str, Any]) -> None:
    """Raise unless each value of a recipe, given by its name, lies in its range."""
    for name, value in values.items():
        number = 0.5 if value is None else value
        if name in _POSITIVE and not number > 0:
            raise InputError(f"{name} must be above 0, got {value!r}")
        if name in _NONNEGATIVE and not number >= 0:
            raise InputError(f"{name} must be at least 0, got {value!r}")
        if name in _UNIT and not 0 <= number < 1:
            raise InputError(f"{name} must lie in [0, 1), got {value!r}")
        if name == "max_cut_share" and not 0 <= number <= 1:
            raise InputError(f"{name} must lie in [0, 1], got {value!r}: 1 lets all completions be cut")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{name} must be finite, got {value!r}")
        if isinstance(value, str) and not value:
            raise InputError(f"{name} is empty: give a value, or leave the key out")
    if values["max_length"] < 2:
        raise InputError(
            f"max_length must be at least 2, got {values['max_length']}: one token of prompt and one of "
            "completion"
        )
    if values["max_steps"] != -1 and values["max_steps"] < 1:
        raise InputError(
            f"max_steps must be -1 (as many as the epochs hold) or at least 1, got {values['max_steps']}"
        )


def check_together(values: Mapping[str, Any]) -> None:
    """Raise where two values of a recipe exclude each other."""
    length, prompt, budget = (values[k] for k in ("max_length", "max_prompt_length", "micro_batch_tokens"))
    if prompt is not None and prompt >= length:
        raise InputError(
            f"max_prompt_length {prompt} leaves no token for a completion: keep it below max_length {length}"
        )
    if budget is not None and budget < length:
        raise InputError(
            f"micro_batch_tokens {budget} is less than one response of max_length {length}: raise it or "
            "lower max_length"
        )
    adapts = values["lora_rank"] or values["adapter_reference"]
    if values["load_in_4bit"] and not adapts:
        raise InputError(
            "load_in_4bit freezes the weights: set lora_rank, for instance 16, to have something to train"
        )
    if values["eval_data"] and values["eval_fraction"]:
        raise InputError("eval_data and eval_fraction are two ways to say what is held out: give one of them")
    trackers = values["report_to"]
    if isinstance(trackers, list) and (len(set(trackers)) < len(trackers) or "none" in trackers):
        raise InputError(
            f"report_to {trackers} names one twice, or none beside others: name each tracker once, or say "
            "none"
        )
    _check_adapter(values)


_SHAPES = ("use_dora", "lora_modules_to_save", "lora_target_parameters")
"""Fields that say what a new adapter is like."""


def _check_adapter(values: Mapping[str, Any]) -> None:
    """Raise where what a recipe says of its adapter cannot be."""
    if values["lora_dropout"]:
        raise InputError(
            f"lora_dropout {values['lora_dropout']:g} cannot be: the gradient of a global batch takes two "
            "passes over the same rows, and dropout would give them other log-probabilities in each; leave "
            "it out"
        )
    if values["lora_rank"] and values["adapter_reference"]:
        raise InputError(
            "adapter_reference is for a model that is an adapter, which has a rank of its own: leave "
            "lora_rank out to go on with it, or adapter_reference to train a new one"
        )
    for name in _SHAPES:
        if values[name] and not values["lora_rank"]:
            raise InputError(
                f"{name} says what a new adapter is like, and none is made: set lora_rank, or leave it out "
                "(an adapter in a folder is what its adapter_config.json says)"
            )
        if isinstance(values[name], str) and not names_in(values[name]):
            raise InputError(f"{name} {values[name]!r} names nothing: give names, or leave it out")
    if values["use_dora"] and values["lora_target_parameters"]:
        raise InputError(
            "use_dora knows linear layers only, and lora_target_parameters are none: leave one of them out"
        )
    for name, what in (("lora_target", "the adapter"), ("lora_modules_to_save", "the trained copy")):
        if heads := {"lm_head", "embed_out"} & set(names_in(values[name])):
            raise InputError(
                f"{name} names the language-model head ({', '.join(heads)}): log-probabilities are taken "
                f"from the head in tiles and would miss {what}; leave it out"
            )
    written = Path(values["output_dir"]) / "model"
    if os.path.abspath(values["model"]) == os.path.abspath(written):
        raise InputError(
            f"model {values['model']} is the folder that this run would write its own model to: choose "
            "another output_dir"
        )


def check_trainer(values: Mapping[str, Any]) -> None:
    """Raise where a recipe asks for what the trainer cannot do with any model.

    wdpo differentiates the model by its inputs, and through='ratio' does so with the adapter switched off,
    too.
    """
    if values["parallel"] == "fsdp2" and values["load_in_4bit"]:
        raise InputError(
            "parallel fsdp2 cannot shard 4-bit weights: say parallel ddp, or load_in_4bit: false"
        )
    untried = ("use_dora", "lora_modules_to_save", "lora_target_parameters", "adapter_reference")
    if values["parallel"] == "fsdp2" and (named := [name for name in untried if values[name]]):
        raise InputError(
            f"parallel fsdp2 with {named[0]} has not been compared with one process: say parallel ddp, or "
            f"leave {named[0]} out"
        )
    if values["reduce_once"] and values["objective"] == "wdpo":
        raise InputError(
            "reduce_once does not know the passes of wdpo, which differentiates the model several times: "
            "leave it out"
        )
    attention = values["attn_implementation"]
    if values["share_prompt"] is True and attention not in SHARES_PROMPTS:
        raise InputError(
            f"attn_implementation {attention} is not known to share prompts: say one of "
            f"{', '.join(SHARES_PROMPTS)}, or share_prompt: auto"
        )
    if values["objective"] != "wdpo":
        return
    if values["objective_options"].get("through", "ratio") == "ratio":
        _check_ratio(values)
    if values["wdpo_method"] == "double_backward" and values["parallel"] == "fsdp2":
        raise InputError(
            "wdpo_method double_backward differentiates through the sharding of fsdp2, which has no second "
            "derivative: say parallel ddp, or wdpo_method adversarial or finite_difference"
        )
    if values["wdpo_method"] == "double_backward" and attention not in ("eager", "sdpa"):
        raise InputError(
            f"wdpo_method double_backward differentiates attention twice, which {attention} does not allow: "
            "say attn_implementation eager or sdpa, or wdpo_method adversarial"
        )


def _check_ratio(values: Mapping[str, Any]) -> None:
    if not values["lora_rank"] and not values["adapter_reference"]:
        raise InputError(
            "wdpo through='ratio' (its default) runs the reference at moved embeddings, too, which needs "
            "an adapter that can be switched off: set lora_rank, or say through: policy under "
            "objective_options"
        )
    if values["adapter_reference"] == "adapter":
        raise InputError(
            "wdpo through='ratio' (its default) runs the reference at moved embeddings, too, and the adapter "
            "as it stood is not kept: say adapter_reference: base, or through: policy under objective_options"
        )
    if values["gradient_checkpointing"]:
        raise InputError(
            "wdpo through='ratio' cannot recompute activations with the adapter off: say "
            "gradient_checkpointing: false, or through: policy under objective_options"
        )


def named_objective(name: str) -> Callable[..., Any]:
    """The objective of that name: a loss of `distalign.objectives`, or a method of
    `distalign.policy_gradient`.

    Raises:
        InputError: there is none.
    """
    from distalign import objectives, policy_gradient

    if name in ON_OWN_TEXTS:
        return getattr(policy_gradient, name)
    if name not in objectives.names():
        known = (*objectives.names(), *ON_OWN_TEXTS)
        raise InputError(f"objective {name!r} is not known: {suggestion(name, known)}")
    return getattr(objectives, name)


def options_of(objective: str) -> Mapping[str, inspect.Parameter]:
    """The keyword arguments of an objective."""
    signature = inspect.signature(named_objective(objective))
    return {n: p for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}


def check_objective(name: str, options: Mapping[str, Any]) -> None:
    """Bind the options to the objective's signature and call it once on eight made-up pairs.

    Raises:
        InputError: no objective of that name, options that it does not take, or one that is no loss of given
            responses.
    """
    check_options(name, options)
    if name in ON_OWN_TEXTS:
        raise InputError(
            f"objective {name} is trained on texts that the policy writes, not on given responses: make an "
            "OnlineRecipe, with reward or preference"
        )
    try:
        named_objective(name)(_dry_batch(), **options)
    except (TypeError, AttributeError) as error:
        raise InputError(f"objective {name} does not take {dict(options)}: {error}") from error


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise unless these are options of the objective, and all that it needs are there."""
    parameters = options_of(name)
    for option in options:
        if option not in parameters:
            near = suggestion(str(option), parameters)
            raise InputError(f"objective {name} has no option {option!r}: {near}")
        if isinstance(options[option], bool) and "bool" not in str(parameters[option].annotation):
            raise InputError(
                f"{option} of objective {name} must be a number or a word, got {options[option]!r}: "
                "leave it out for its default"
            )
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in options]
    if missing:
        raise InputError(
            f"objective {name} needs {', '.join(missing)}: give it under objective_options, or as "
            f"--{missing[0]} on the command line"
        )


def _dry_batch() -> Any:
    import torch

    from distalign.preferences import PreferenceLogProbs

    inputs = torch.linspace(0.1, 1.0, 16).reshape(8, 2).requires_grad_()
    a, b = -inputs[:, 0], -inputs.square()[:, 1]
    ones = torch.ones(8, dtype=torch.long)
    return PreferenceLogProbs(
        a, b, 0.9 * b, 0.9 * a, groups=ones, chosen_tokens=ones, rejected_tokens=ones, inputs=(inputs,)
    )
