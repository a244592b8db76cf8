"""A recipe: everything that a training run depends on, checked before anything is loaded.

Fields have the names that TRL gives them, where it has them. A recipe is written as a YAML file, and flags
of the command line override its values. A `Recipe` that exists is valid: its constructor makes every check
that needs neither data nor model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from distalign.checks import InputError, names_in
from distalign.training.recipe_checks import (
    check_objective,
    check_ranges,
    check_together,
    check_trainer,
    named_objective,
    typed,
)

if TYPE_CHECKING:
    from torch import Tensor

    from distalign.training.data.rows import PreferenceData


Tracker = Literal["none", "tensorboard", "wandb", "trackio"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run.

    Attributes:
        model: directory or Hub id of a causal language model, or folder of a LoRA adapter to go on training.
        objective: name in `distalign.objectives`, for instance dpo or aot_paired; with a reward or a
            preference (`OnlineRecipe`) also rlhf or nlhf.
        objective_options: the objective's keyword arguments, for instance {beta: 0.1}.
        train_data: .jsonl, .json, .csv or .parquet file, folder of save_to_disk, Hub data set as id or
            id:split, or .yaml file that mixes several of them; with a reward or a preference, a file of
            prompts.
        eval_data: held-out data, the same kinds; none means a fraction of the training data or no evaluation.
        eval_fraction: share of the prompts of train_data that is held out where eval_data is not given.
        output_dir: folder for checkpoints, metrics, model and card.
        max_length: tokens of prompt and one completion together; longer completions are cut and counted.
        max_prompt_length: tokens of the prompt; none means as many as max_length leaves.
        max_cut_share: largest share of completions that max_length may cut before the run refuses to start.
        chat_template: apply the tokenizer's chat template; none means where the data are messages.
        assistant_only_loss: score only the assistant's messages of a completion with several turns.
        ranking_pairs: pairs made of K ranked responses: all that differ in rank, or the best and the worst.
        skip_bad_rows: drop and count malformed rows instead of stopping at the first.
        dtype: precision of weights and activations; the optimiser's copy is float32 always.
        fp32_logits: take log-probabilities from float32 logits, tile by tile.
        share_prompt: compute the prompt that responses share once; auto does so where it is measured to be
            exact for this model.
        chunk_tokens: tokens whose logits exist at one time.
        attn_implementation: attention of transformers: eager, sdpa, flash_attention_2, flex_attention, ...
        gradient_checkpointing: recompute activations in the backward pass.
        trust_remote_code: run code that comes with the model.
        load_in_4bit: quantise the frozen weights to NF4; needs an adapter and bitsandbytes.
        lora_rank: rank of the adapters; 0 trains all weights.
        lora_alpha: numerator of the adapters' scale, alpha / rank.
        lora_target: modules that get an adapter: all-linear, or names separated by commas.
        lora_dropout: 0; any other value is refused.
        use_dora: train the norms of the adapted weights' rows, too (DoRA).
        lora_modules_to_save: modules of which a copy is trained in full beside the adapters, names separated
            by commas.
        lora_target_parameters: parameters that get an adapter and are no linear layer, such as the experts of
            a mixture, names separated by commas.
        adapter_reference: where model is an adapter, which policy is the reference: base, the model without
            it, or adapter, the model with the adapter as it stands.
        learning_rate: peak of the schedule.
        lr_scheduler_type: shape of the schedule after warm-up.
        warmup_ratio: share of the steps in which the learning rate climbs.
        weight_decay: AdamW's decoupled decay.
        max_grad_norm: norm to which the gradient of the global batch is clipped.
        adam_beta1: decay of the mean of gradients.
        adam_beta2: decay of the mean of squared gradients.
        adam_epsilon: added to the root of the mean square.
        per_device_train_batch_size: pairs (or lines) of one process in one micro-step.
        gradient_accumulation_steps: micro-steps before an update; the global batch is the product, times
            processes.
        micro_batch_tokens: fill micro-batches to this many padded tokens instead; the global batch stays the
            product.
        num_train_epochs: passes over the data.
        max_steps: updates; -1 means as many as the epochs hold.
        seed: of the order of the data and of new adapters.
        wdpo_method: how wdpo's penalty is taken: adversarial and finite_difference work with any attention
            kernel.
        parallel: how several processes share the model.
        reduce_once: under fsdp2, add gradients over the processes once an update instead of in each
            micro-batch; where all weights are trained each process then holds a whole float32 gradient.
        eval_steps: updates between evaluations; 0 evaluates at the end only.
        save_steps: updates between checkpoints; 0 saves at the end only.
        save_total_limit: checkpoints kept.
        logging_steps: updates between rows of metrics.csv, and between lines where there is no terminal.
        report_to: tracker, or a list of several.
        resume_from_checkpoint: go on from the last good checkpoint in output_dir.
        reference_cache: folder of cached reference log-probabilities; none means output_dir/reference.
        push_to_hub: repository on the Hub, private if it is made, that the trained model is pushed to.

    Raises:
        InputError: a value has the wrong type or is out of range, two values exclude each other, the
            objective does not take its options, or the trainer cannot do what the recipe asks for.

    Example:
        >>> recipe = Recipe(model="m", train_data="d.jsonl", objective="dpo", objective_options={"beta": 0.1})
        >>> recipe.learning_rate, objective_of(recipe).func.__name__
        (1e-06, 'dpo')
    """

    model: str
    objective: str
    train_data: str
    objective_options: dict[str, float | str | bool] = field(default_factory=dict)
    eval_data: str | None = None
    eval_fraction: float = 0.0
    output_dir: str = "out/train"
    max_length: int = 1024
    max_prompt_length: int | None = None
    max_cut_share: float = 0.2
    chat_template: bool | None = None
    assistant_only_loss: bool = True
    ranking_pairs: Literal["all", "best_worst"] = "all"
    skip_bad_rows: bool = False
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    fp32_logits: bool = True
    share_prompt: bool | Literal["auto"] = "auto"
    chunk_tokens: int = 512
    attn_implementation: str = "sdpa"
    gradient_checkpointing: bool = False
    trust_remote_code: bool = False
    load_in_4bit: bool = False
    lora_rank: int = 0
    lora_alpha: float = 32.0
    lora_target: str = "all-linear"
    lora_dropout: float = 0.0
    use_dora: bool = False
    lora_modules_to_save: str | None = None
    lora_target_parameters: str | None = None
    adapter_reference: Literal["base", "adapter"] | None = None
    learning_rate: float = 1e-6
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    micro_batch_tokens: int | None = None
    num_train_epochs: float = 1.0
    max_steps: int = -1
    seed: int = 0
    wdpo_method: Literal["adversarial", "finite_difference", "double_backward"] = "adversarial"
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    reduce_once: bool = False
    eval_steps: int = 0
    save_steps: int = 0
    save_total_limit: int = 2
    logging_steps: int = 1
    report_to: Tracker | list[Tracker] = "none"
    resume_from_checkpoint: bool = True
    reference_cache: str | None = None
    push_to_hub: str | None = None

    def __post_init__(self) -> None:
        """Check each value, what excludes what, the objective by a dry call, and what the trainer can do."""
        for name, hint in get_type_hints(type(self)).items():
            object.__setattr__(self, name, typed(name, getattr(self, name), hint))
        values = vars(self)
        check_ranges(values)
        check_together(values)
        self._check_objective()
        check_trainer(values)

    def _check_objective(self) -> None:
        check_objective(self.objective, self.objective_options)

    @property
    def adapts(self) -> bool:
        """Whether an adapter is trained, a new one or that of a folder, while the model's weights stay."""
        return self.lora_rank > 0 or self.adapter_reference is not None

    @property
    def new_adapter(self) -> dict[str, Any]:
        """What `distalign.training.model.adapters.new_adapter` is given, besides the model."""
        return {
            "rank": self.lora_rank,
            "alpha": self.lora_alpha,
            "target": self.lora_target,
            "dora": self.use_dora,
            "modules_to_save": names_in(self.lora_modules_to_save),
            "target_parameters": names_in(self.lora_target_parameters),
        }

    @property
    def switches_off(self) -> bool:
        """Whether the reference is the policy with its adapter switched off."""
        return self.adapts and self.adapter_reference != "adapter"

    @property
    def batch_size(self) -> int:
        """Pairs (or lines) of one process in one update; times the processes, the global batch."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


def objective_of(recipe: Recipe) -> partial[Tensor]:
    """The recipe's objective, its options bound: the very function of `distalign.objectives`, or of
    `distalign.policy_gradient`, whose methods return no loss (`distalign.bridge.online.losses`).

    Raises:
        InputError: no objective of that name.
    """
    return partial(named_objective(recipe.objective), **recipe.objective_options)


def check_data(recipe: Recipe, data: PreferenceData) -> None:
    """Raise unless the data hold what the objective reads.

    Raises:
        InputError: the objective compares pairs and the data are unpaired, a class is empty, or groups are
            missing.
    """
    from distalign import objectives
    from distalign.objectives import declared

    says, name = declared(objective_of(recipe)), recipe.objective
    if says.data == "pairs" and not data.paired:
        others = [n for n in objectives.names() if declared(getattr(objectives, n)).data != "pairs"]
        raise InputError(
            f"objective {name} compares pairs but {recipe.train_data} is unpaired (prompt, completion, "
            f"label): give prompt, chosen, rejected, or use one of {', '.join(others)}"
        )
    if not any(e.chosen is not None for e in data.examples):
        raise InputError(
            f"{recipe.train_data} holds no preferred response: objective {name} needs at least one"
        )
    if says.data != "chosen" and not any(e.rejected is not None for e in data.examples):
        raise InputError(
            f"{recipe.train_data} holds no dispreferred response: objective {name} needs at least one, sft "
            "none"
        )
    if "groups" in says.needs and not data.has_groups:
        raise InputError(
            f"objective {name} reads the group of each pair but {recipe.train_data} has no column `group`: "
            "add it, or use dpo"
        )
