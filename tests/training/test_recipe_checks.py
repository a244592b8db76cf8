"""A recipe is valid if and only if the trainer can do what it asks for, on random recipes.

The other road is `trainer_refuses`: what the trainer's own pieces refuse, asked of them where they can be
asked alone, and otherwise written down a second time. A control takes the trainer's rules out of the recipe.
"""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from distalign import objectives
from distalign.checks import InputError
from distalign.training import prepare
from distalign.training import recipe as recipe_module
from distalign.training.evaluation.models import evaluate
from distalign.training.memory.changes import possible_changes
from distalign.training.memory.geometry import BUILT_IN
from distalign.training.model.shared_prompt import install
from distalign.training.parallel import World
from distalign.training.recipe import Recipe
from distalign.training.recipe_file import located, read

OPTIONS = {
    name: yaml.safe_load(located(f"smollm2_{name}").read_text()).get("objective_options", {})
    for name in objectives.names()
}
ALONE = World(0, 1, torch.device("cpu"))
MODEL = BUILT_IN["HuggingFaceTB/SmolLM2-135M-Instruct"]
SETTINGS = settings(max_examples=100, deadline=None, derandomize=True, database=None)
HURRIED = settings(SETTINGS, max_examples=600, phases=[Phase.generate])

fractions = st.floats(0, 0.99)
counts = st.integers(1, 64)
rates = st.floats(1e-9, 1e3)
FIELDS = {
    "eval_data": st.sampled_from([None, None, "e.jsonl"]),
    "eval_fraction": st.sampled_from([0.0, 0.0, 0.2]),
    "output_dir": st.sampled_from(["out/a", "b"]),
    "max_length": st.sampled_from([1, 64, 1024, 4096]),
    "max_prompt_length": st.sampled_from([None, 32, 512, 2048]),
    "chat_template": st.sampled_from([None, True, False]),
    "skip_bad_rows": st.booleans(),
    "dtype": st.sampled_from(["bfloat16", "float32"]),
    "fp32_logits": st.booleans(),
    "share_prompt": st.sampled_from([True, False, "auto"]),
    "chunk_tokens": counts,
    "attn_implementation": st.sampled_from(["sdpa", "eager", "flash_attention_2", "flex_attention", "paged"]),
    "gradient_checkpointing": st.booleans(),
    "trust_remote_code": st.booleans(),
    "load_in_4bit": st.booleans(),
    "lora_rank": st.sampled_from([0, 4, 16]),
    "lora_alpha": rates,
    "lora_target": st.sampled_from(["all-linear", "all-linear", "q_proj, v_proj", "q_proj, lm_head"]),
    "lora_dropout": st.sampled_from([0.0, 0.0, 0.0, 0.05]),
    "use_dora": st.sampled_from([False, False, True]),
    "lora_modules_to_save": st.sampled_from([None, None, "norm", "lm_head"]),
    "lora_target_parameters": st.sampled_from([None, None, "experts.down_proj"]),
    "adapter_reference": st.sampled_from([None, None, "base", "adapter"]),
    "learning_rate": rates,
    "lr_scheduler_type": st.sampled_from(["cosine", "linear", "constant"]),
    "warmup_ratio": fractions,
    "weight_decay": fractions,
    "max_grad_norm": rates,
    "adam_beta1": fractions,
    "adam_beta2": fractions,
    "adam_epsilon": rates,
    "per_device_train_batch_size": counts,
    "gradient_accumulation_steps": counts,
    "micro_batch_tokens": st.sampled_from([None, 512, 8192, 9999]),
    "num_train_epochs": rates,
    "max_steps": st.sampled_from([-1, 1, 100]),
    "seed": st.integers(0, 2**31),
    "wdpo_method": st.sampled_from(["adversarial", "finite_difference", "double_backward"]),
    "parallel": st.sampled_from(["ddp", "fsdp2"]),
    "eval_steps": counts,
    "save_steps": counts,
    "save_total_limit": counts,
    "logging_steps": counts,
    "report_to": st.sampled_from(["none", "tensorboard", "wandb", ["trackio"], ["tensorboard", "wandb"], []]),
    "resume_from_checkpoint": st.booleans(),
    "reference_cache": st.sampled_from([None, "cache"]),
}
"""Every field but model, data and objective; values that only their own range forbids are left to
test_recipe.
"""


@st.composite
def some_values(draw):
    """Values of a recipe: a few fields at random, the rest at their defaults, so that many are valid."""
    values = {"model": "m", "train_data": "d.jsonl"}
    values |= draw(st.fixed_dictionaries({}, optional=FIELDS))
    name = draw(st.sampled_from(["wdpo", *objectives.names()]) | st.just("wdpo"))
    options = dict(OPTIONS[name])
    if name == "wdpo":
        options["through"] = draw(st.sampled_from(["ratio", "policy"]))
    if "beta" in options and not draw(st.integers(0, 9)):
        options["beta"] = -1.0
    return values | {"objective": name, "objective_options": options}


def trainer_refuses(values):
    """Whether the trainer cannot do what a recipe asks for, whatever the data and the model."""
    defaults = Recipe(model="m", train_data="d", objective="sft")
    r = SimpleNamespace(**{**vars(defaults), **values})
    fsdp2, twice = r.parallel == "fsdp2", r.wdpo_method == "double_backward"
    new, old = r.lora_rank > 0, r.adapter_reference is not None
    adapter = new or old
    ratio = r.objective == "wdpo" and r.objective_options["through"] == "ratio"
    return any(
        [
            r.max_length < 2,  # a token of prompt and one of completion
            r.max_prompt_length is not None and r.max_prompt_length >= r.max_length,
            r.micro_batch_tokens is not None and r.micro_batch_tokens < r.max_length,
            r.eval_data is not None and r.eval_fraction > 0,
            "lm_head" in r.lora_target,
            r.load_in_4bit and not adapter,
            new and old,
            r.lora_dropout > 0,
            not new and any([r.use_dora, r.lora_modules_to_save, r.lora_target_parameters]),
            r.lora_modules_to_save == "lm_head",
            r.use_dora and r.lora_target_parameters is not None,
            ratio and r.adapter_reference == "adapter",
            r.load_in_4bit and fsdp2,
            r.share_prompt is True and not shares_prompts(r.attn_implementation),
            r.objective_options.get("beta", 1) <= 0,
            ratio and not adapter,
            ratio and r.gradient_checkpointing,
            r.objective == "wdpo" and twice and fsdp2,
            r.objective == "wdpo" and twice and r.attn_implementation not in ("eager", "sdpa"),
        ]
    )


def shares_prompts(attention):
    """Ask `install` itself, of a model that has nothing but the name of its attention."""
    model = SimpleNamespace(
        config=SimpleNamespace(_attn_implementation=attention), set_attn_implementation=lambda name: None
    )
    try:
        install(model)
    except (InputError, KeyError):  # KeyError: known, but its kernel is not installed here
        return attention.startswith("flash_attention")
    return True


def is_valid(values):
    try:
        Recipe(**values)
    except InputError:
        return False
    return True


class Reached(Exception):
    """The trainer began to read."""


def valid_as_the_trainer_says(how):
    """The property, as a function that runs it."""

    @how
    @given(some_values())
    def check(values):
        assert is_valid(values) is not trainer_refuses(values)

    return check


def changes_stay_valid(how):
    """The property of the planner: each change that it offers gives a recipe that the trainer can run."""

    @how
    @given(some_values(), st.sampled_from([1, 2]))
    def check(values, devices):
        if not is_valid(values) or trainer_refuses(values):
            return
        for change in possible_changes(Recipe(**values), MODEL, devices=devices):
            assert not trainer_refuses(values | change.values), change.values

    return check


test_valid_if_and_only_if_the_trainer_can = valid_as_the_trainer_says(SETTINGS)
test_every_change_that_plan_offers_is_valid = changes_stay_valid(SETTINGS)


@pytest.mark.parametrize("property_of", [valid_as_the_trainer_says, changes_stay_valid])
def test_both_properties_fail_without_the_rules_of_the_trainer(property_of, monkeypatch):
    monkeypatch.setattr(recipe_module, "check_trainer", lambda values: None)
    with pytest.raises(AssertionError):
        property_of(HURRIED)()


WDPO = {"objective": "wdpo", "objective_options": {"beta": 0.1, "radius": 0.1, "through": "policy"}}
REFUSED = [
    ({"parallel": "fsdp2", "load_in_4bit": True, "lora_rank": 4}, "cannot shard 4-bit weights"),
    ({"parallel": "fsdp2", "use_dora": True, "lora_rank": 4}, "use_dora has not been compared"),
    ({"parallel": "fsdp2", "adapter_reference": "base"}, "adapter_reference has not been compared"),
    ({"attn_implementation": "paged", "share_prompt": True}, "paged is not known to share prompts"),
    ({"objective": "wdpo", "objective_options": {"beta": 0.1, "radius": 0.1}}, "set lora_rank"),
    (
        {
            "objective": "wdpo",
            "objective_options": {"beta": 0.1, "radius": 0.1},
            "lora_rank": 4,
            "gradient_checkpointing": True,
        },
        "cannot recompute activations",
    ),
    (WDPO | {"wdpo_method": "double_backward", "parallel": "fsdp2"}, "has no second derivative"),
    (
        WDPO | {"wdpo_method": "double_backward", "attn_implementation": "flash_attention_2"},
        "flash_attention_2 does not allow",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSED)
def test_what_the_trainer_cannot_do_is_refused_by_the_recipe(changes, sentence, monkeypatch, tmp_path):
    values = {"model": "m", "train_data": "d.jsonl", "objective": "sft"} | changes
    with pytest.raises(InputError, match=sentence):
        Recipe(**values)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(InputError, match=sentence):
        read(tmp_path / "r.yaml")
    monkeypatch.setattr(recipe_module, "check_trainer", lambda values: None)
    assert Recipe(**values)


@settings(SETTINGS, max_examples=60)
@given(some_values())
def test_train_has_no_other_check_before_it_reads(values):
    """A valid recipe gets as far as the tokenizer; what is asked of this machine before is set aside."""

    def reached(*args, **kwargs):
        raise Reached

    if not is_valid(values):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "check_tracker", lambda name: None)
        patch.setattr(prepare.Path, "mkdir", lambda *args, **kwargs: None)
        patch.setattr(prepare.os, "access", lambda *args: True)
        patch.setattr(prepare, "adapter_of", lambda recipe: None)
        patch.setattr(prepare, "tokenizer_of", reached)
        with pytest.raises(Reached):
            prepare.prepare(Recipe(**values), ALONE, print, False)


def test_the_planner_leaves_out_what_the_trainer_refuses():
    """Three changes that it offered before the recipe had these rules."""
    ratio = Recipe(
        model="m",
        train_data="d",
        objective="wdpo",
        objective_options={"beta": 0.1, "radius": 0.1},
        lora_rank=4,
        per_device_train_batch_size=4,
    )
    assert not any("gradient_checkpointing" in c.values for c in possible_changes(ratio, MODEL))
    sharded = Recipe(model="m", train_data="d", objective="sft", lora_rank=4, parallel="fsdp2")
    assert not any("load_in_4bit" in c.values for c in possible_changes(sharded, MODEL, devices=2))
    whole = replace(sharded, parallel="ddp", load_in_4bit=True)
    assert not any("parallel" in c.values for c in possible_changes(whole, MODEL, devices=2))


def test_an_evaluation_asks_for_no_adapter():
    """Nothing is trained there, so the rule on adapters does not hold up an evaluation by wdpo's rewards."""
    with pytest.raises(
        InputError, match="m is no adapter and holds no card of distalign, so its reference is not known"
    ):
        evaluate("m", "d.jsonl", objective="wdpo", options={"beta": 0.1, "radius": 0.1})
